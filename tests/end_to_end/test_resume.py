"""An interrupted run goes on to the result of an uninterrupted one."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from arch.kinds.training_loop import TrainingLoop
from main import main
from paradigms.report import Report
from tests.conftest import Rows, read_rows
from tools.checkpoint import load_training, save_training
from tools.files import locked
from tools.record_helper import METRICS

METHOD = ["-m", "_example", "-d", "_example", "-g", "cpu", "--no-vis"]
SMALL = {"data_size": 64, "data_crop_size": 64, "_width": 4, "checkpoint_every": 1}
KEYS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
STEPS_OF_AN_EPOCH = 30

Interrupt = Callable[[int], None]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Press Ctrl-C in the given training step, counted from now on."""
    plain = TrainingLoop._step

    def press_after(num_steps: int) -> None:
        done = iter(range(num_steps))

        def step(loop: TrainingLoop, *args: object) -> float:
            if next(done, None) is None:
                monkeypatch.setattr(TrainingLoop, "_step", plain)
                raise KeyboardInterrupt
            return plain(loop, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(TrainingLoop, "_step", step)

    return press_after


def metrics_of(work_dir: Path, table: str = "results.csv") -> list[list[str]]:
    wanted = METRICS if table == "results.csv" else [f"{k}_{m}" for k in ("mean", "fm") for m in METRICS]
    rows: Rows = read_rows(work_dir / table)
    return [[row[name] for name in ("train_task", "valid_task", *wanted)] for row in rows]


def image_scores(work_dir: Path) -> list[str]:
    (folder,) = (work_dir / "runs").iterdir()
    return (folder / "scores.csv").read_text().splitlines()


@pytest.mark.parametrize(
    ("setting", "num_steps"),
    [
        (
            ["-v", "-tid", "1", "0", "-ne", "3"],
            STEPS_OF_AN_EPOCH + 7,
        ),  # in the second epoch of the first task
        (["-v", "-tid", "1", "0", "-ne", "3"], 4 * STEPS_OF_AN_EPOCH + 7),  # of the second task
        (["-c", "-tid", "1", "0", "-ne", "2"], 3 * STEPS_OF_AN_EPOCH + 7),
        (["-c", "-tid", "1", "0", "-ne", "2"], 2 * STEPS_OF_AN_EPOCH + 7),  # before its first checkpoint
        (["-t", "-ttn", "4", "-tid", "1", "-vid", "0", "-ne", "3"], 3 * STEPS_OF_AN_EPOCH + 5),
    ],
)
def test_a_run_goes_on_to_the_same_result(
    setting: list[str], num_steps: int, interrupt: Interrupt, example_root: Path, tmp_path: Path
) -> None:
    words = [*setting, *METHOD, *KEYS, "-rp", str(example_root)]
    if "-t" in setting:
        words += ["--set", "num_epochs=3"]  # -ne is the length of the second step
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert main([*words, "-wd", str(whole)]) == 0
    interrupt(num_steps)
    assert main([*words, "-wd", str(halved)]) == 130
    (folder,) = (halved / "runs").iterdir()
    torch.manual_seed(12345)
    assert main([*words, "-wd", str(halved), "--resume", str(folder)]) == 0
    assert metrics_of(halved) == metrics_of(whole)
    assert metrics_of(halved, "summary.csv") == metrics_of(whole, "summary.csv")
    assert image_scores(halved) == image_scores(whole)
    assert len({row["run_id"] for row in read_rows(halved / "results.csv")}) == 1


def test_a_run_ended_while_it_draws_goes_on_without_a_second_row(
    example_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> None:
        raise KeyboardInterrupt

    words = ["-v", "-tid", "1", "0", *METHOD[:-1], *KEYS, "-rp", str(example_root), "-ne", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(Report, "_draw", draw)
        assert main([*words, "-wd", str(tmp_path)]) == 130
    assert len(read_rows(tmp_path / "results.csv")) == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert main([*words, "-wd", str(tmp_path), "--resume", str(folder)]) == 0
    assert [row["train_task"] for row in read_rows(tmp_path / "results.csv")] == ["1", "0"]
    assert len(image_scores(tmp_path)) == 1 + 50 + 50


def test_a_run_that_another_process_is_at_is_refused(
    interrupt: Interrupt, example_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-v", "-tid", "1", *METHOD, *KEYS, "-rp", str(example_root), "-wd", str(tmp_path), "-ne", "2"]
    interrupt(STEPS_OF_AN_EPOCH + 7)
    assert main(words) == 130
    (folder,) = (tmp_path / "runs").iterdir()
    capsys.readouterr()
    with locked(folder):
        assert main([*words, "--resume", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another process is at this run" in line
    assert not (tmp_path / "results.csv").exists()
    assert main([*words, "--resume", str(folder)]) == 0
    assert len(read_rows(tmp_path / "results.csv")) == len(read_rows(tmp_path / "summary.csv")) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "run.log",
        "scores.csv",
        "split.json",
    ]


def test_rows_of_finished_steps_that_a_table_has_lost_are_written_again(
    interrupt: Interrupt, example_root: Path, tmp_path: Path
) -> None:
    words = ["-v", "-tid", "1", "0", *METHOD, *KEYS, "-rp", str(example_root), "-wd", str(tmp_path)]
    words += ["-ne", "1"]
    interrupt(STEPS_OF_AN_EPOCH + 7)
    assert main(words) == 130
    (folder,) = (tmp_path / "runs").iterdir()
    before = read_rows(tmp_path / "results.csv")
    shutil.rmtree(tmp_path / "benchmark")
    assert main([*words, "--resume", str(folder)]) == 0
    first, second = read_rows(tmp_path / "results.csv")
    assert [first] == before
    for row in (first, second):
        file = tmp_path / f"benchmark/vanilla/_example/_example/task_{row['train_task']}/result.csv"
        assert read_rows(file) == [row]


def test_what_cannot_go_on_is_refused_in_one_line(
    interrupt: Interrupt, example_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-v", "-tid", "1", *METHOD, *KEYS, "-rp", str(example_root), "-wd", str(tmp_path), "-ne", "2"]

    def refused(*more: str) -> str:
        capsys.readouterr()
        assert main([*words, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    interrupt(STEPS_OF_AN_EPOCH + 7)
    assert main(words) == 130
    (folder,) = (tmp_path / "runs").iterdir()
    assert "begun with seed '66', and the run has '3'" in refused("--resume", str(folder), "--seed", "3")
    assert "not a run of" in refused("--resume", str(tmp_path))
    assert "no such folder" in refused("--resume", str(tmp_path / "runs/none"))
    save_training(folder / "checkpoint.pt", {"step": 0})
    assert "begun with paradigm None" in refused("--resume", str(folder))
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    assert "damaged" in refused("--resume", str(folder))
    (folder / "checkpoint.pt").unlink()
    assert "nothing to go on with" in refused("--resume", str(folder))
    assert not (tmp_path / "results.csv").exists()


FORGERIES: dict[str, Callable[[Any], object]] = {
    "no rows": lambda state: state.pop("rows"),
    "a stranger": lambda state: state.update(color="red"),
    "a step before the first": lambda state: state.update(step=-1),
    "a step like a text": lambda state: state.update(step="1"),
    "time without end": lambda state: state.update(fit_seconds=float("inf")),
    "a row of strangers": lambda state: state.update(rows=[(0, {"color": "red"})]),
    "a training of another net": lambda state: state["training"]["run"].update(learned={"x": torch.ones(2)}),
    "a training without its epoch": lambda state: state["training"].pop("epoch"),
    "a training that is a list": lambda state: state.update(training=[1]),
    "weights that are not finite": lambda state: state["training"]["run"].update(
        learned={key: value * float("nan") for key, value in state["training"]["run"]["learned"].items()}
    ),
}


def test_a_forged_checkpoint_is_one_line_and_leads_nowhere(
    interrupt: Interrupt, example_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-v", "-tid", "1", "0", *METHOD, *KEYS, "-rp", str(example_root), "-wd", str(tmp_path / "work")]
    words += ["-ne", "2"]
    interrupt(3 * STEPS_OF_AN_EPOCH + 7)
    assert main(words) == 130
    (folder,) = (tmp_path / "work/runs").iterdir()
    kept = load_training(folder / "checkpoint.pt")
    (number, row), *_ = kept["rows"]
    way_out = {**row, "dataset": "../../../../out"}
    forgeries = dict(FORGERIES)
    forgeries["a way out"] = lambda state: state.update(rows=[(number, way_out)])
    for name, forge in forgeries.items():
        state = deepcopy(kept)
        forge(state)
        save_training(folder / "checkpoint.pt", state)
        capsys.readouterr()
        assert main([*words, "--resume", str(folder)]) == 2, name
        assert len(capsys.readouterr().err.splitlines()) == 1, name
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    save_training(folder / "checkpoint.pt", kept)
    assert main([*words, "--resume", str(folder)]) == 0
