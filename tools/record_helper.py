"""The result tables: one row per evaluation, one per run, in CSV files that any number of processes share."""

import functools
import json
import math
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from configuration.errors import UserError
from tools.files import append_rows, check_columns, locked, mendable, table_rows

METRICS = (
    "image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro"
)  # fmt: skip
_METRIC_DECIMALS = 6
_OTHER_DECIMALS = 3  # seconds, images per second, mebibytes
_PROBE_BYTES = 65536  # what must fit on the disk for a run to start
_GIT_SECONDS = 10  # longest wait for git
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ResultRow:
    """One evaluated (training step, test task); the fields are the columns of results.csv, in order.

    None means that a value does not exist. `setting_params` holds the setting's keys as the configuration
    spells them, and whatever else says what was really drawn; a transfer names its tasks "source", "target".
    Times are in seconds, memory is in MiB, metrics are fractions; `cache` is cold, warm or off.
    """

    run_id: str
    started_at: str
    paradigm: str
    setting: str
    setting_params: Mapping[str, object]
    dataset: str
    model: str
    net: str
    backbone: str
    weights: str
    seed: int
    train_task: int
    train_category: str
    valid_task: int
    valid_category: str
    n_train: int
    n_test: int
    n_test_anomalous: int
    image_auroc: float | None
    image_ap: float | None
    image_f1max: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    pixel_f1max: float | None
    pixel_aupro: float | None
    extra_metrics: Mapping[str, float | None]
    fit_seconds: float
    predict_seconds: float
    images_per_second: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float | None
    cache: str
    device: str
    amp: str
    config_hash: str
    data_hash: str
    code_version: str


COLUMNS = tuple(field.name for field in fields(ResultRow))
_PLACE = ("run_id", "train_task", "valid_task", "valid_category")  # no two rows share all of them
_TYPES = get_type_hints(ResultRow)
_IDENTITY = COLUMNS[: COLUMNS.index("seed") + 1]
_SUMMARY_COLUMNS = (
    *_IDENTITY,
    *("train_task", "valid_task"),
    *(f"{kind}_{metric}" for kind in ("mean", "fm", "fm_all") for metric in METRICS),
    *("mean_extra_metrics", "device", "amp", "config_hash", "code_version"),
)


def append(work_dir: Path, row: ResultRow, suffix: str, again: bool = False) -> None:
    """Append a row to results.csv and to the file of its setting under benchmark/.

    Args:
        work_dir: where the results go.
        row: the row.
        suffix: what the setting adds to the name of its file, such as "_5_num".
        again: whether a run that was interrupted goes on: a file that has the row gets no second one, and
            the other one the same.

    Raises:
        UserError: a file has other columns, or cannot be written; then it holds its whole rows as before.
    """
    cells = [_cell(column, getattr(row, column)) for column in COLUMNS]
    parts = (row.setting, row.dataset, row.model, f"task_{row.train_task}", f"result{suffix}.csv")
    if strange := [part for part in parts if part in ("", ".", "..") or set(part) & set("/\\")]:
        raise UserError(f"{strange[0]!r} is no name of a file or folder; the run it comes from is not ours")
    table = work_dir.joinpath("benchmark", *parts)
    with locked(work_dir):
        for path in (work_dir / "results.csv", table):
            found = _found(path, COLUMNS, cells, _PLACE) if again else None
            if found is None:
                append_rows(path, COLUMNS, [cells])
            else:
                cells = found


def append_summary(
    work_dir: Path,
    rows: Sequence[ResultRow],
    forgetting: Mapping[str, float | None],
    again: bool = False,
) -> str:
    """Append the row of one run to summary.csv; of the setting's parameters, those that all rows share.

    Returns:
        What it says, in a line for a terminal.

    Args:
        work_dir: where the results go.
        rows: the rows that the means are taken over; a metric that some of them lack is the mean over the
            others, and mean_extra_metrics says over how many (`tasks_with_<metric>`).
        forgetting: fm_<metric> and fm_all_<metric> of a continual run; else empty.
        again: whether a run that was interrupted goes on, which may have its row.

    Raises:
        ValueError: there is no row, or a forgetting measure of another name.
        UserError: summary.csv has other columns, or cannot be written.
    """
    unknown = set(forgetting).difference(_SUMMARY_COLUMNS)
    if not rows or unknown:
        raise ValueError(f"no row to summarise, or no such column: {sorted(unknown)}")
    values = {column: getattr(rows[0], column, None) for column in _SUMMARY_COLUMNS}
    values["setting_params"] = {
        key: value
        for key, value in rows[0].setting_params.items()
        if all(row.setting_params.get(key) == value for row in rows)
    }
    for column in ("train_task", "valid_task"):
        values[column] = " ".join(dict.fromkeys(str(getattr(row, column)) for row in rows))
    for metric in METRICS:
        values[f"mean_{metric}"] = _mean([getattr(row, metric) for row in rows])
    shared = [name for name in rows[0].extra_metrics if all(name in row.extra_metrics for row in rows)]
    values["mean_extra_metrics"] = {
        **{name: _mean([row.extra_metrics[name] for row in rows]) for name in shared},
        **{f"tasks_with_{metric}": number for metric, number in _lacking(rows)},
    }
    values.update(forgetting)
    cells = [_cell(column, values[column]) for column in _SUMMARY_COLUMNS]
    path = work_dir / "summary.csv"
    with locked(work_dir):
        if not again or _found(path, _SUMMARY_COLUMNS, cells, ["run_id"]) is None:
            append_rows(path, _SUMMARY_COLUMNS, [cells])
    return _summary_line(values, rows)


def _summary_line(values: Mapping[str, object], rows: Sequence[ResultRow]) -> str:
    lacking = dict(_lacking(rows))
    parts = [f"mean of {len(rows)} rows"]
    for metric in METRICS:
        if (mean := values[f"mean_{metric}"]) is not None:
            parts.append(f"{metric} {mean:.4f}" + (f" (of {lacking[metric]})" if metric in lacking else ""))
    forgotten = [(metric, values.get(f"fm_{metric}")) for metric in METRICS]
    parts += [f"forgetting of {metric} {value:.4f}" for metric, value in forgotten if value is not None]
    return "  ".join(parts)


def _found(path: Path, columns: Sequence[str], cells: Sequence[str], key: Sequence[str]) -> list[str] | None:
    """Return the cells of the row of a file that agrees with these in the columns of the key."""
    places = [columns.index(column) for column in key]
    wanted = [cells[place] for place in places]
    rows = (row for row in table_rows(path, columns) if len(row) == len(columns))
    return next((row for row in rows if [row[place] for place in places] == wanted), None)


def read(work_dir: Path, run_id: str | None = None) -> list[ResultRow]:
    """Return the rows of results.csv in their order; a torn last line is none, and no file has no rows.

    Args:
        work_dir: where the results are.
        run_id: the run whose rows are wanted; None for all.

    Raises:
        UserError: the file cannot be read, has other columns, or one of these rows a cell that is no value of
            its column.
    """
    path = work_dir / "results.csv"
    lines = enumerate(table_rows(path, COLUMNS), start=2)
    return [_row(path, line, cells) for line, cells in lines if run_id in (None, *cells[:1])]


def _row(path: Path, line: int, cells: Sequence[str]) -> ResultRow:
    try:
        by_column = zip(COLUMNS, cells, strict=True)
        return ResultRow(**{column: _value(_TYPES[column], cell) for column, cell in by_column})
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: line {line} is no row of results ({error}); mend or remove it") from error


def _value(kind: object, cell: str) -> Any:
    """Return what a cell holds, of the type of its column."""
    if kind is str:
        return cell
    if kind is int:
        return int(cell)
    if kind in (float, float | None):
        return float(cell) if cell else None
    return json.loads(cell or "{}")


def check_writable(work_dir: Path) -> None:
    """Check, before anything long starts, that results can be appended here; leave nothing but the folder.

    Raises:
        UserError: the folder cannot be written, the disk is full, or a table is of another version.
    """
    with mendable(work_dir):
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    check_columns(work_dir / "summary.csv", _SUMMARY_COLUMNS)
    for path in (work_dir / "results.csv", *work_dir.glob("benchmark/*/*/*/task_*/result*.csv")):
        check_columns(path, COLUMNS)


@functools.cache
def code_version() -> str:
    """Return the commit of the checkout, "-dirty" added if it was edited; else the package's version."""
    if (_ROOT / ".git").exists():
        command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return done.stdout.strip()
    found = re.search(
        r'^version = "(.+)"', (_ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    return found[1] if found else "unknown"


def _exists(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None and _exists(value)]
    return sum(found) / len(found) if found else None


def _lacking(rows: Sequence[ResultRow]) -> Iterator[tuple[str, int]]:
    """Yield the metrics that some rows lack and others have, with the number of those."""
    for metric in METRICS:
        number = sum(_exists(getattr(row, metric)) for row in rows)
        if 0 < number < len(rows):
            yield metric, number


def _cell(column: str, value: object) -> str:
    if not _exists(value):
        return ""
    if isinstance(value, Mapping):
        return _json(value)
    if isinstance(value, float):
        is_metric = column.removeprefix("mean_").removeprefix("fm_").removeprefix("all_") in METRICS
        return f"{value:.{_METRIC_DECIMALS if is_metric else _OTHER_DECIMALS}f}"
    return str(value)


def _json(values: Mapping[str, object]) -> str:
    """Return compact JSON with floats rounded like metrics; what does not exist is left out."""
    rounded = {
        key: round(value, _METRIC_DECIMALS) if isinstance(value, float) else value
        for key, value in values.items()
        if _exists(value)
    }
    return json.dumps(rounded, separators=(",", ":"), ensure_ascii=False)
