"""Whole runs of the c2d paradigm: rows, repetition, caches, models, interruption, bad input, a full disk."""

import csv
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from main import main
from tests.conftest import Rows, RunProgram, read_rows
from tests.trees import write_tree
from tools.record_helper import COLUMNS, METRICS, ResultRow, append

CATEGORIES = ("woven_fabric", "brushed_metal", "moulded_part")
TEST_IMAGES = 50  # of one category of _example
SIDE = 64  # pixels; small, so that a run takes a second or two
SMALL = [word for key in ("data_size", "data_crop_size", "mask_size") for word in ("--set", f"{key}={SIDE}")]
PATCHCORE = ("-v", "-m", "patchcore", "-n", "net_tiny", "-w", "none", "-sp", "0.02", *SMALL)
ONE_TASK = (*PATCHCORE, "-d", "_example", "-tid", "1")
ALL_TASKS = (*PATCHCORE, "-d", "_example", "-tid", "all")


def metrics(row: dict[str, str]) -> list[str]:
    return [row[name] for name in METRICS]


def score_rows(work_dir: Path) -> list[Rows]:
    """Return the rows of scores.csv of every run, in the order of the runs."""
    folders = sorted((work_dir / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    return [read_rows(folder / "scores.csv") for folder in folders]


def assert_whole_rows(path: Path) -> Rows:
    """Every line of a table has every column, and the last one is finished."""
    assert path.read_bytes().endswith(b"\n")
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(COLUMNS)
    assert all(len(row) == len(header) for row in rows)
    return read_rows(path)


def test_all_tasks_give_a_row_each_and_a_summary(run_program: RunProgram, tmp_path: Path) -> None:
    rows = run_program(*ALL_TASKS)
    assert [row["train_category"] for row in rows] == list(CATEGORIES)
    for row in rows:
        assert row["train_task"] == row["valid_task"]
        assert (row["n_train"], row["n_test"], row["n_test_anomalous"]) == ("60", str(TEST_IMAGES), "30")
        assert all(0 <= float(value) <= 1 for value in metrics(row))
    (summary,) = read_rows(tmp_path / "summary.csv")
    for name in METRICS:
        mean = sum(float(row[name]) for row in rows) / len(rows)
        assert float(summary[f"mean_{name}"]) == pytest.approx(mean, abs=2e-6)
    (folder,) = (tmp_path / "runs").iterdir()
    assert {row["run_id"] for row in (*rows, summary)} == {folder.name}
    assert (folder / "run.log").read_text().count("random weights") == 1, "-w none is said once"
    for task in range(len(CATEGORIES)):
        own = tmp_path / "benchmark" / "vanilla" / "_example" / "patchcore" / f"task_{task}" / "result.csv"
        assert read_rows(own) == [rows[task]]


def test_anomalies_can_be_learned_as_normal(run_program: RunProgram) -> None:
    words = [*PATCHCORE[1:], "-d", "_example", "-tid", "1", "--set", "semi_use_anomalies_as_normal=true"]
    (row,) = run_program("-s", "-san", "3", *words)
    assert (row["n_train"], row["n_test"], row["n_test_anomalous"]) == ("63", str(TEST_IMAGES - 3), "27")


def test_scores_and_maps_are_kept_for_every_test_image(
    run_program: RunProgram, example_root: Path, tmp_path: Path
) -> None:
    run_program(*ONE_TASK, "--save-maps")
    (scores,) = score_rows(tmp_path)
    names = [row["path"] for row in scores]
    folder = example_root / "_example"
    assert names == sorted(
        path.relative_to(folder).as_posix() for path in folder.glob("brushed_metal/test/*/*.png")
    )
    assert all(int(row["label"]) == ("/good/" not in row["path"]) for row in scores)
    (maps,) = tmp_path.glob("runs/*/maps/*.npz")
    with np.load(maps) as kept:
        found = kept["anomaly_map"] * np.float32(kept["scale"])
    assert found.shape == (TEST_IMAGES, SIDE, SIDE)
    assert np.isfinite(found).all()
    assert found.std(axis=(1, 2)).min() > 0


def test_the_cache_changes_no_digit(run_program: RunProgram, tmp_path: Path) -> None:
    for words in (["--no-cache"], [], [], ["--no-cache"]):
        rows = run_program(*ONE_TASK, *words)
    assert [row["cache"] for row in rows] == ["off", "cold", "warm", "off"]
    assert len({tuple(metrics(row)) for row in rows}) == 1
    first, *others = score_rows(tmp_path)
    assert all(scores == first for scores in others)


def test_images_that_do_not_fit_into_memory_are_streamed(run_program: RunProgram) -> None:
    run_program(*ONE_TASK, "--set", "data_memory_mb=0", "--no-cache")
    run_program(*ONE_TASK, "--set", "data_memory_mb=0", "--set", "feature_memory_mb=0")
    held, *streamed = reversed(run_program(*ONE_TASK))
    assert all(metrics(row) == metrics(held) for row in streamed)


def test_a_kept_model_scores_as_it_did(run_program: RunProgram, tmp_path: Path) -> None:
    run_program(*ONE_TASK, "--save-model")
    (models,) = tmp_path.glob("runs/*/models")
    before, after = run_program(*ONE_TASK, "--load-model", "--load-model-dir", str(models))
    assert metrics(after) == metrics(before)
    first, second = score_rows(tmp_path)
    assert second == first


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--seed", "3"), "trained with seed '66', and the run has '3'"),
        (("--set", "_anomaly_scorer_num_nn=2"), "trained with _anomaly_scorer_num_nn"),
        (("-f", "-fe", "2"), "trained with setting 'vanilla', and the run has 'fewshot'"),
    ],
)
def test_a_model_that_was_made_otherwise_is_refused(
    words: tuple[str, ...],
    named: str,
    run_program: RunProgram,
    example_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_program(*ONE_TASK, "--save-model")
    (models,) = tmp_path.glob("runs/*/models")
    capsys.readouterr()
    own = ONE_TASK[1:] if "-f" in words else ONE_TASK
    places = ["-rp", str(example_root), "-wd", str(tmp_path), "-g", "cpu"]
    assert main([*own, *words, *places, "--load-model", "--load-model-dir", str(models)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert len(list((tmp_path / "runs").iterdir())) == 1, "what is refused leaves no folder"


def test_an_interrupted_run_leaves_whole_rows(
    request: pytest.FixtureRequest,
    example_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def append_and_interrupt(work_dir: Path, row: ResultRow, suffix: str, again: bool) -> None:
        append(work_dir, row, suffix, again)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr("paradigms.report.append", append_and_interrupt)
    words = [*ALL_TASKS, "-rp", str(example_root), "-wd", str(tmp_path), "-g", "cpu", "--no-vis"]
    assert main(words) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert len(assert_whole_rows(tmp_path / "results.csv")) == 1
    assert not (tmp_path / "summary.csv").exists()


@pytest.fixture
def mini_root(tmp_path: Path) -> Path:
    return write_tree("mvtec2d", tmp_path / "mvtec2d", categories=["bottle"])


def empty_a_class(root: Path) -> str:
    shutil.rmtree(root / "bottle" / "train" / "good")
    return "bottle"


def truncate_an_image(root: Path) -> str:
    path = root / "bottle" / "test" / "hole" / "000.png"
    path.write_bytes(path.read_bytes()[:-200])
    return str(path)


def write_text_as_image(root: Path) -> str:
    path = root / "bottle" / "train" / "good" / "003.png"
    path.write_text("not a picture")
    return str(path)


def resize_a_mask(root: Path) -> str:
    path = root / "bottle" / "ground_truth" / "stain" / "001_mask.png"
    Image.new("L", (16, 16), 255).save(path)
    return str(path)


def remove_the_folder(root: Path) -> str:
    shutil.rmtree(root)
    return str(root)


def assert_refused(words: list[str], work_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run; expect exit code 2, one line, and no trace of a run."""
    capsys.readouterr()
    assert main([*words, "-wd", str(work_dir), "-g", "cpu", "--no-vis"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not (work_dir / "results.csv").exists()
    assert not (work_dir / "runs").exists()
    return line


@pytest.mark.parametrize(
    "damage", [remove_the_folder, empty_a_class, truncate_an_image, write_text_as_image, resize_a_mask]
)
def test_bad_data_are_named_before_anything_is_trained(
    damage: Callable[[Path], str], mini_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    culprit = damage(mini_root)
    words = [*PATCHCORE, "-d", "mvtec2d", "-dp", str(mini_root)]
    assert culprit in assert_refused(words, tmp_path / "work", capsys)


def test_a_task_that_does_not_exist_is_refused(
    mini_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*PATCHCORE, "-d", "mvtec2d", "-dp", str(mini_root), "-tid", "99"]
    assert "99" in assert_refused(words, tmp_path / "work", capsys)


def test_weights_of_another_net_are_refused(
    mini_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"encoder.weight": torch.zeros(3, 3)}, path)
    words = [*PATCHCORE, "-d", "mvtec2d", "-dp", str(mini_root), "-w", str(path)]
    assert f"-w {path}" in assert_refused(words, tmp_path / "work", capsys)


def test_a_work_dir_that_cannot_be_written_is_refused(
    mini_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work_dir = tmp_path / "work"
    work_dir.write_text("a file in its place")
    line = assert_refused([*PATCHCORE, "-d", "mvtec2d", "-dp", str(mini_root)], work_dir, capsys)
    assert str(work_dir) in line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None:
        pytest.skip("there is no program to mount a small disk")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_leaves_whole_rows(
    small_disk: Path, example_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*ALL_TASKS, "-rp", str(example_root), "-wd", str(small_disk), "--no-cache", "--no-vis"]
    assert main([*words, "-g", "cpu", "--save-maps"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "free some space" in line
    assert len(assert_whole_rows(small_disk / "results.csv")) == 1
