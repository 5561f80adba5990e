"""A run that is killed at any moment, and goes on, leaves what a run that nobody killed leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Rows, read_rows
from tests.kills import KILLED, Kill, run_killed
from tests.trees import Size, write_tree
from tools.files import LOCK
from tools.record_helper import COLUMNS

RUN = (
    "-c -m stpm -n net_tiny -d mvtec2d -tid 0 1 -ne 2 -g cpu --no-vis --save-model --save-maps "
    "--set checkpoint_every=1 --set train_batch_size=2 "
    "--set data_size=32 --set data_crop_size=32 --set mask_size=32"
)
OF_A_RUN = {
    *("run_id", "started_at", "fit_seconds", "predict_seconds", "images_per_second"),
    *("peak_memory_mb", "peak_gpu_memory_mb", "cache"),
}
ROWS = 10  # of results.csv, benchmark/, scores.csv for each of the three evaluations, and the summary's


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed.

    Args:
        words: its command line without the work folder.
        work_dir: its work folder.
        count: how often it changed the disk.
    """

    words: Sequence[str]
    work_dir: Path
    count: int


@pytest.fixture(scope="module", params=["cold cache", "no cache"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    write_tree("mvtec2d", folder / "data", Size(train=4, good=2, bad=2, side=32), ("bottle", "cable"))
    words = [*RUN.split(), "-dp", str(folder / "data")]
    if request.param == "no cache":
        words.append("--no-cache")
    code, count = run_killed(words, folder / "work", Kill())
    assert code == 0
    return Whole(words, folder / "work", count)


def tables(work_dir: Path) -> dict[str, Rows]:
    """Return the rows of all tables of a work folder, without what two runs differ in."""
    found = {}
    for path in [*work_dir.glob("*.csv"), *work_dir.glob("benchmark/**/*.csv")]:
        rows = read_rows(path)
        assert all(None not in row and None not in row.values() for row in rows), f"{path}: a torn row"
        kept = [{key: cell for key, cell in row.items() if key not in OF_A_RUN} for row in rows]
        found[path.relative_to(work_dir).as_posix()] = kept
    return found


def run_files(run: Path) -> dict[str, bytes]:
    """Return what stands in the files of a run folder, the log and the models' archives apart."""
    paths = (path for path in run.rglob("*.*") if path.name != LOCK)
    names = dict.fromkeys((path.relative_to(run).as_posix() for path in paths), b"")
    return {**names, **{name: (run / name).read_bytes() for name in ("scores.csv", "split.json")}}


def end(words: Sequence[str], work_dir: Path) -> None:
    """Go on with a killed run, or run it anew where it left nothing to go on with, unless it was done."""
    begun = [path.parent for path in work_dir.glob("runs/*/checkpoint.pt")]
    if begun:
        words = [*words, "--resume", str(begun[0])]
    elif (work_dir / "summary.csv").exists():
        return
    assert run_killed(words, work_dir, Kill())[0] == 0


def check_end(whole: Whole, work_dir: Path) -> None:
    """Compare what an ended run has left with what one that nobody killed has left."""
    assert tables(work_dir) == tables(whole.work_dir)
    results = (work_dir / "results.csv").read_text().splitlines()[1:]
    kept = [
        line for path in work_dir.glob("benchmark/**/*.csv") for line in path.read_text().splitlines()[1:]
    ]
    assert sorted(results) == sorted(kept), "the same rows in both tables"
    run = work_dir / "runs" / results[0].split(",")[COLUMNS.index("run_id")]
    (whole_run,) = (whole.work_dir / "runs").iterdir()
    assert run_files(run) == run_files(whole_run)


def moments(whole: Whole, every: int) -> range:
    return range(every // 2, whole.count, every)


def kill_and_compare(whole: Whole, work_dir: Path, kill: Kill) -> None:
    code, _ = run_killed(whole.words, work_dir, kill)
    assert code == KILLED
    end(whole.words, work_dir)
    check_end(whole, work_dir)


def test_it_may_be_killed_before_some_changes(whole: Whole, tmp_path: Path) -> None:
    for moment in moments(whole, every=whole.count // 8):
        kill_and_compare(whole, tmp_path / str(moment), Kill(at=moment))


@pytest.mark.slow
def test_it_may_be_killed_before_any_change(whole: Whole, tmp_path: Path) -> None:
    for moment in range(whole.count):
        kill_and_compare(whole, tmp_path / str(moment), Kill(at=moment))


@pytest.mark.parametrize("torn", [0, 1, 2, pytest.param(5, marks=pytest.mark.slow), ROWS - 1])
def test_a_torn_row_is_written_again(whole: Whole, torn: int, tmp_path: Path) -> None:
    kill_and_compare(whole, tmp_path, Kill(torn=torn))
