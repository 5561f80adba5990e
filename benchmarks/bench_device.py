"""Time every method on one device: a training step, a fit, a prediction, the memory.

Run from the repository, on a machine that does nothing else:
    python3 -m benchmarks.bench_device -dp MTD -w RESNET18 -g 0 [-m padim stpm] [--epochs 3] [-- --amp bf16]

MTD is the data set in its release layout, RESNET18 a file of its ImageNet weights; stages that it lacks
start at random. The words behind -- go to every run. A step is the median of the steps after the first few,
with the optimiser and the copy of the loss to the host. The last columns say what bounds it: the share of
the time in which the device computed, and the operations that took most of that, as torch's profiler
counts them.
"""

import argparse
import csv
import math
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from arch.kinds.gradient import GradientMethod
from arch.runtime import Bar, no_bar
from configuration import registration
from configuration.config import load_config
from paradigms.centralized import c2d

WARM_UP = 3  # steps of a training that are not counted
PROFILED = 5  # steps that the profiler looks at
TOP = 3  # operations that are named
COLUMNS = "method        fit s  step ms  images/s  peak MB  GPU MB  AUROC  busy  operations"


class StepClock:
    """A progress bar that notes when each step of a training ends, and profiles some steps.

    Args:
        cuda: whether the device is a GPU.
    """

    def __init__(self, cuda: bool) -> None:
        self.times: list[float] = []
        self.busy = ""
        activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
        self.profiler = profile(activities=[activity], acc_events=True)
        self._kind = "device" if cuda else "cpu"

    def __call__(self, what: str, total: int) -> AbstractContextManager[Bar]:
        """Return this bar for a training, one that notes nothing for all else."""
        return nullcontext(self) if what == "train" else no_bar(what, total)

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show nothing."""

    def update(self, n: int = 1) -> None:
        """Note the time; let the profiler see the steps after those that warm up."""
        self.times += [time.perf_counter()] * bool(n)
        if len(self.times) == WARM_UP:
            self.profiler.start()
        if len(self.times) == WARM_UP + PROFILED:
            self.profiler.stop()
            self.busy = self._described()

    def _described(self) -> str:
        seconds = self.times[-1] - self.times[-1 - PROFILED]
        spent = {event.key: self._self_time(event) for event in self.profiler.key_averages()}
        total = sum(spent.values())
        first = sorted(spent, key=lambda key: -spent[key])[:TOP]
        named = ", ".join(f"{key[:40]} {spent[key] / total:.0%}" for key in first)
        return f"{total / 1e6 / seconds:4.0%}  {named}"

    def _self_time(self, event: object) -> float:
        return float(getattr(event, f"self_{self._kind}_time_total"))

    def step_ms(self) -> float:
        """Return the median milliseconds of the steps after those that were profiled."""
        counted = self.times[WARM_UP + PROFILED :]
        gaps = [after - before for before, after in pairwise(counted)]
        return 1000 * statistics.median(gaps) if gaps else math.nan


def measure(model: str, options: argparse.Namespace, work_dir: Path) -> str:
    """Run a method once; return its line of the table."""
    method_class = registration.load(registration.MODELS[model])
    words = ["-s" if "vanilla" not in method_class.settings else "-v", "-m", model, "-d", "mtd"]
    words += ["-dp", options.data, "--set", "mtd_split=small", "-g", options.gpu, "-wd", str(work_dir)]
    if "resnet18" in method_class.nets:
        words += ["-n", "resnet18", "-w", options.weights, "--partial-weights"]
    if issubclass(method_class, GradientMethod):
        words += ["-ne", str(options.epochs)]
    config = load_config([*words, "--no-vis", *options.words])
    clock = StepClock(config.run.device.startswith("cuda"))
    with patch.object(c2d, "progress_bar", clock):
        c2d.run(config)
    with (work_dir / "results.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    return (
        f"{model:12}{float(row['fit_seconds']):7.1f}{clock.step_ms():9.1f}{row['images_per_second']:>10.6}"
        f"{float(row['peak_memory_mb']):9.0f}{float(row['peak_gpu_memory_mb'] or math.nan):8.0f}"
        f"  {row['image_auroc'][1:5]:>5}  {clock.busy}"
    )


def main() -> None:
    """Measure every method in turn and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-dp", dest="data", required=True, help="MTD in its release layout")
    parser.add_argument("-w", dest="weights", required=True, help="ImageNet weights of ResNet-18")
    parser.add_argument("-g", dest="gpu", default="cpu", help="as of main.py")
    parser.add_argument("-m", dest="models", nargs="+", default=list(registration.MODELS))
    parser.add_argument("--epochs", type=int, default=3, help="of trained methods")
    parser.add_argument("words", nargs="*", help="words of main.py for every run, behind --")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.words}\n{COLUMNS}", flush=True)
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(model, options, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
