"""Compare trained methods with anomalib step by step: one step of ours, one of theirs, and so on.

Run from the repository, on a machine that does nothing else:
    python3 -m benchmarks.bench_pairs -dp MTD -w RESNET18 [-m stpm reverse] [--epochs 3] [--peer PYTHON]

The arguments are those of benchmarks.bench_methods. Each program runs in a process of its own and waits
while the other one works, so that a machine whose speed changes slows both of them. A step is a batch of 8
images with all that an epoch needs; what ours does at the end of an epoch counts to the step after it. The
steps of the first epoch, in which ours reads the frozen features, are not counted, nor is the first batch
that is predicted. A ratio above 1 means that ours is faster.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

from arch.runtime import Bar, no_bar
from benchmarks.bench_methods import PEERS, TRAINED, peer_command, peer_python, words_of
from benchmarks.pacing import DONE, READY, paced
from configuration.config import load_config
from configuration.registration import ROOT
from paradigms import evaluation
from paradigms.centralized import c2d

FIRST_EPOCH = 13  # batches of 8 of the small split
OURS = "--as-child"


class PacedBar:
    """A progress bar of a training that waits before every step.

    Args:
        total: steps of the training.
    """

    def __init__(self, total: int) -> None:
        self._steps = paced("train", range(total))

    def update(self, _n: int = 1) -> None:
        """End one step and wait for the next; called once before the first step."""
        next(self._steps, None)

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show nothing."""


def paced_bar(what: str, total: int) -> AbstractContextManager[Bar]:
    """Return a paced bar for a training, one that does nothing for all else."""
    return nullcontext(PacedBar(total)) if what == "train" else no_bar(what, total)


def run_ours(words: Sequence[str]) -> None:
    """Run the program, every training step and every batch of the predictions when it is told to."""
    with (
        patch.object(c2d, "progress_bar", paced_bar),
        patch.object(evaluation, "progress", lambda loader, *_: paced("predict", loader)),
    ):
        c2d.run(load_config(words))


class Turns:
    """A program that waits before every piece of its work.

    Args:
        command: starts it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.phase = self._next(READY)

    def go(self) -> float:
        """Let it do one piece of its work; return the seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds = float(self._next(DONE))
        self.phase = self._next(READY)
        return seconds

    def _next(self, start: str) -> str:
        """Return what stands behind the next line that starts so; nothing where the program has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line.removeprefix(start).strip()
        if self._process.wait() != 0:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        return ""


def pairs(first: Turns, second: Turns) -> dict[str, list[tuple[float, float]]]:
    """Let both do their work in turn; return the seconds of each by phase, where both were in it."""
    found: dict[str, list[tuple[float, float]]] = {"train": [], "predict": []}
    for phase, seconds in found.items():
        while phase in (first.phase, second.phase):
            both = first.phase == second.phase
            times = tuple(program.go() for program in (first, second) if program.phase == phase)
            if both:
                seconds.append((times[0], times[1]))
    return found


def report(model: str, phase: str, seconds: Sequence[tuple[float, float]]) -> None:
    """Print the median times and the quartiles of the ratios."""
    ours, theirs = (1000 * statistics.median(column) for column in zip(*seconds, strict=True))
    low, middle, high = statistics.quantiles([second / first for first, second in seconds], n=4)
    print(
        f"{model}, {phase}: {ours:.0f} ms, anomalib {theirs:.0f} ms, "
        f"ratio {middle:.2f} ({low:.2f} to {high:.2f}), {len(seconds)} pairs",
        flush=True,
    )


def compare(model: str, options: argparse.Namespace, python: str, folder: Path) -> None:
    """Run a method and its peer once and print both."""
    words = words_of(model, options, 0, folder)
    ours = Turns([sys.executable, "-m", "benchmarks.bench_pairs", OURS, *words])
    (split,) = (folder / "runs").glob("*/split.json")  # written before the first step
    theirs = Turns([*peer_command(python, model, options, 0, split), "paced=true"])
    found = pairs(ours, theirs)
    report(model, "train", found["train"][FIRST_EPOCH:])
    report(model, "predict", found["predict"][1:])


def main() -> None:
    """Compare every method in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-dp", dest="data", required=True, help="MTD in its release layout")
    parser.add_argument("-w", dest="weights", required=True, help="ImageNet weights of ResNet-18")
    parser.add_argument("-m", dest="models", nargs="+", default=[m for m in TRAINED if m in PEERS])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--peer", help="an interpreter that has the peer")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs must be at least 2, since the first one is not counted")
    options.split = "small"
    python = peer_python(options.peer)
    if python is None:
        return
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            compare(model, options, python, Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == [OURS]:
        run_ours(sys.argv[2:])
    else:
        main()
