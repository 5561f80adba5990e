"""Trainings that are killed at any time, again and again, end in the scores of one that nobody killed."""

import random
import time
from pathlib import Path

import pytest

from tests.contract.test_every_method import METHODS, are_trained, quick_words
from tests.kills import Kill, run_killed
from tests.trees import Size, write_tree

ROUNDS = 4
KEYS = ["--set", "checkpoint_every=1", "--set", "mask_size=32", "-ne", "4"]


def killed_rounds(model: str, rounds: int, seed: int, folder: Path) -> list[int]:
    """Return the numbers of the rounds, of so many, whose scores differ from those of a run without kills."""
    root = write_tree("mvtec2d", folder / "data", Size(train=8, good=3, bad=12, side=64), ["bottle"])
    setting = ["-s", "-san", "3"] if model in ("devnet", "dra") else ["-v"]
    words = [
        *setting,
        "-m",
        model,
        *quick_words(model),
        *KEYS,
        "-d",
        "mvtec2d",
        "-dp",
        str(root),
        "-w",
        "none",
    ]
    words += ["--set", "data_size=64", "--set", "data_crop_size=64", "-g", "cpu", "--no-vis"]
    start = time.perf_counter()
    assert run_killed(words, folder / "whole", Kill(threads=0))[0] == 0
    seconds = time.perf_counter() - start
    rng = random.Random(seed)
    return [
        number
        for number in range(rounds)
        if scores(killed(words, folder / str(number), seconds, rng)) != scores(folder / "whole")
    ]


def killed(words: list[str], work_dir: Path, seconds: float, rng: random.Random) -> Path:
    """Kill a run up to three times, then let it end; return its work folder."""
    for left in (3, 2, 1, 0):
        begun = [path.parent for path in work_dir.glob("runs/*/checkpoint.pt")]
        again = ["--resume", str(begun[0])] if begun else []
        wait = rng.uniform(0, seconds) if left else None
        code, _ = run_killed([*words, *again], work_dir, Kill(seconds=wait, threads=0))
        if code == 0:
            return work_dir
    raise AssertionError(f"the run in {work_dir} ended with {code}")


def scores(work_dir: Path) -> str:
    """Return the scores of the one run in a work folder that has any."""
    (path,) = work_dir.glob("runs/*/scores.csv")
    return path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("model", are_trained(METHODS))
def test_kills_at_random_change_nothing(model: str, tmp_path: Path) -> None:
    assert killed_rounds(model, ROUNDS, seed=0, folder=tmp_path) == []
