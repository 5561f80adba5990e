"""Two programs that are compared step by step work in turn, never at once."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.bench_pairs import Turns, pairs

WORK = """
import sys, time
from benchmarks.pacing import paced
name, log, *counts = sys.argv[1:]
print("something else")
for phase, count in zip(("train", "predict"), counts):
    for _ in paced(phase, range(int(count))):
        open(log, "a").write(f"{name} {phase}\\n")
        time.sleep(0.01)
"""


def program(name: str, log: Path, *counts: int) -> Turns:
    return Turns([sys.executable, "-c", WORK, name, str(log), *map(str, counts)])


def test_programs_take_turns_phase_by_phase(tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = pairs(program("ours", log, 2, 2), program("theirs", log, 3, 2))
    assert {phase: len(seconds) for phase, seconds in found.items()} == {"train": 2, "predict": 2}
    assert all(time_taken >= 0.01 for seconds in found.values() for pair in seconds for time_taken in pair)
    assert log.read_text().splitlines() == [
        *["ours train", "theirs train"] * 2,
        "theirs train",
        *["ours predict", "theirs predict"] * 2,
    ]


def test_a_program_does_nothing_before_it_is_told_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    waiting = program("ours", log, 1, 0)
    time.sleep(0.1)
    assert waiting.phase == "train"
    assert not log.exists()
    waiting.go()
    assert waiting.phase == ""


def test_a_program_that_fails_ends_the_comparison() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        Turns([sys.executable, "-c", "raise SystemExit(1)"])
