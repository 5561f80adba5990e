"""The folder of one run: what was asked, what was trained on and tested, every score, the log."""

import contextlib
import json
import logging
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configuration.text import OneLine
from tools.files import append_rows, mendable, remove_unfinished, replacing, whole_lines

_SCORE_COLUMNS = ("step", "train_task", "valid_task", "path", "label", "image_score")
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class StepFiles:
    """The files of one step, by their names relative to the data set's folder.

    Args:
        step: number of the training step in its run.
        setting: the learning setting.
        setting_params: its parameters and what was really drawn; JSON-able.
        train_task: task that is trained on.
        train: files trained on, in order.
        test: test task -> files tested after this step, in order.
    """

    step: int
    setting: str
    setting_params: Mapping[str, object]
    train_task: int
    train: Sequence[str]
    test: Mapping[int, Sequence[str]]


@dataclass(frozen=True)
class RunFolder:
    """work_dir/runs/<run_id>/.

    Args:
        path: the folder; its name is the run_id.
        started_at: local time with its offset from UTC, ISO 8601, to the second.
    """

    path: Path
    started_at: str

    @classmethod
    def create(cls, work_dir: Path) -> "RunFolder":
        """Make the folder of a new run, of its own even among runs that start in the same second.

        Raises:
            UserError: it cannot be made.
        """
        now = datetime.now().astimezone()
        path = work_dir / "runs" / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        with mendable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        return cls(path, now.isoformat(timespec="seconds"))

    @classmethod
    def reopen(cls, path: Path, started_at: str, num_steps: int) -> "RunFolder":
        """Go on with an interrupted run.

        Scores of its unfinished steps, from `num_steps` on, are removed, and files that it was writing.

        Raises:
            UserError: the scores cannot be read or written.
        """
        remove_unfinished(path)
        scores = path / "scores.csv"
        if scores.exists():
            finished = {str(step) for step in range(num_steps)}
            header, *rows = whole_lines(scores) or [""]
            kept = [row for row in rows if row.partition(",")[0] in finished]
            with replacing(scores) as temporary:
                temporary.write_text("".join([header, *kept]), encoding="utf-8", newline="")
        return cls(path, started_at)

    @property
    def run_id(self) -> str:
        """The name of the run: its start and six random hex digits."""
        return self.path.name

    def save_config(self, text: str) -> None:
        """Write config.yaml."""
        with replacing(self.path / "config.yaml") as temporary:
            temporary.write_text(text, encoding="utf-8")

    def save_split(self, steps: Sequence[StepFiles]) -> None:
        """Write split.json, the files of every step, over what was there."""
        with replacing(self.path / "split.json") as temporary:
            text = json.dumps({"steps": [asdict(step) for step in steps]}, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def append_scores(
        self,
        step: int,
        train_task: int,
        valid_task: int,
        names: Sequence[str],
        image_label: NDArray[np.int64],
        image_score: NDArray[np.float32],
    ) -> None:
        """Append the raw scores of one tested task to scores.csv, one row per image.

        Args:
            step: number of the training step in its run.
            train_task: task trained on in this step.
            valid_task: tested task.
            names: N files, relative to the data set's folder.
            image_label: (N,) 0 or 1.
            image_score: (N,); nine digits are written, which give a float32 back exactly.
        """
        tasks = [str(number) for number in (step, train_task, valid_task)]
        rows = [
            [*tasks, name, str(int(label)), f"{score:.9g}"]
            for name, label, score in zip(names, image_label, image_score, strict=True)
        ]
        append_rows(self.path / "scores.csv", _SCORE_COLUMNS, rows)

    def save_maps(
        self,
        step: int,
        valid_task: int,
        anomaly_map: NDArray[np.float32] | Sequence[NDArray[np.float32]],
        kind: np.dtype[Any],
    ) -> None:
        """Write maps/step_<step>_task_<valid_task>.npz, in the order of scores.csv.

        It holds `anomaly_map` (N, H, W) of a kind of floats and `scale`, a power of two: their product is the
        raw map, exactly with float32.
        Without the scale, maps far from 1 would overflow or vanish in float16. Maps of different sizes are
        held one by one, as `anomaly_map_<row>`.
        """
        _, exponent = np.frexp(max((np.abs(found).max(initial=0.0) for found in anomaly_map), default=0.0))
        scaled = [np.ldexp(found, -exponent).astype(kind) for found in anomaly_map]
        if isinstance(anomaly_map, np.ndarray):
            entries = {"anomaly_map": np.stack(scaled)}
        else:
            entries = {f"anomaly_map_{row}": found for row, found in enumerate(scaled)}
        with replacing(self.path / "maps" / f"step_{step}_task_{valid_task}.npz") as temporary:
            np.savez(temporary, allow_pickle=False, scale=np.ldexp(1.0, exponent), **entries)

    @contextlib.contextmanager
    def log(self) -> Iterator[None]:
        """Write what is logged inside the block, from level INFO on, to run.log.

        Raises:
            UserError: run.log cannot be opened.
        """
        with mendable(self.path / "run.log"):
            handler = _LogFile(self.path / "run.log", encoding="utf-8")
        handler.setFormatter(OneLine(_LOG_FORMAT))
        root = logging.getLogger()
        level = root.level
        root.setLevel(min(level, logging.INFO))
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            with contextlib.suppress(OSError):
                handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short, without a traceback on the terminal for every line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the standard library
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
