"""Time and memory of the pixel metrics against scikit-learn and torchmetrics, in CPU seconds of one thread.

Usage: python -m benchmarks.bench_metrics [--maps 100 1000] [--repeats 3]
"""

import argparse
import importlib
import importlib.util
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from metric.loco import Channel, au_spro
from metric.pixel import pixel_metrics

SIZE = 256  # pixels
LOCO_SHAPE = (1100, 1600)  # pixels, as screw_bag
Case = tuple[NDArray[np.float32], NDArray[np.bool_]]


def usual_case(num_maps: int) -> Case:
    """Return smooth maps (N, H, W) in [0, 1] and masks: 60 % of the images have one raised square."""
    rng = np.random.default_rng(0)
    scores = ndimage.gaussian_filter(rng.standard_gamma(2, (num_maps, SIZE, SIZE), np.float32), (0, 4, 4))
    mask = np.zeros(scores.shape, bool)
    for i in range(num_maps * 6 // 10):
        row, column = rng.integers(0, SIZE - 40, 2)
        mask[i, row : row + 40, column : column + 40] = True
    scores[mask] += 2 * scores.std()
    return scores / scores.max(), mask


def half_case(num_maps: int) -> Case:
    """Return noise (N, H, W) and masks that mark the upper half of every image: the worst case."""
    scores = np.random.default_rng(0).random((num_maps, SIZE, SIZE), np.float32)
    mask = np.zeros(scores.shape, bool)
    mask[:, : SIZE // 2] = True
    return scores, mask


def ours(scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> object:
    """Compute AUROC, AP, F1-max and AUPRO."""
    return pixel_metrics(list(zip(scores, mask, strict=True)))


def scikit_learn(scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> object:
    """Compute AUROC and AP."""
    return roc_auc_score(mask.ravel(), scores.ravel()), average_precision_score(mask.ravel(), scores.ravel())


def torchmetrics(scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> object:
    """Compute AUROC and AP; the scores are in [0, 1], so nothing is squashed."""
    import torch

    functional = importlib.import_module("torchmetrics.functional.classification")
    torch.set_num_threads(1)
    flat, label = torch.from_numpy(scores.ravel()), torch.from_numpy(mask.ravel()).long()
    return functional.binary_auroc(flat, label), functional.binary_average_precision(flat, label)


def measure(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median of the CPU seconds, and the peak of the extra memory that numpy allocates, in MB."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return statistics.median(seconds), peak / 1e6


def compare(title: str, case: Case, repeats: int) -> None:
    """Print one line for each code: median time, ratio to ours, extra memory as a multiple of the maps."""
    codes: dict[str, Callable[..., object]] = {"ours (4 metrics)": ours, "scikit-learn (2)": scikit_learn}
    if importlib.util.find_spec("torchmetrics"):
        codes["torchmetrics (2)"] = torchmetrics
    print(title)
    own_seconds = 0.0
    for name, code in codes.items():
        seconds, megabytes = measure(lambda code=code: code(*case), repeats)  # type: ignore[misc]
        own_seconds = own_seconds or seconds
        share = megabytes * 1e6 / case[0].nbytes
        memory = "memory not measured" if code is torchmetrics else f"extra memory {share:.1f} x maps"
        print(f"  {name:18} {seconds:8.3f} s   x {seconds / own_seconds:5.1f}   {memory}")
    if "torchmetrics (2)" not in codes:
        print("  torchmetrics is not installed: skipped")


def time_loco(num_maps: int, repeats: int) -> None:
    """Print the time of AU-sPRO at the original size: every second map has two channels."""
    rng = np.random.default_rng(0)
    maps = [rng.random(LOCO_SHAPE, np.float32) for _ in range(num_maps)]
    channels: list[Sequence[Channel]] = []
    for i in range(num_maps):
        masks = np.zeros((2, *LOCO_SHAPE), bool)
        masks[0, 100:300, 200:500] = masks[1, 600:700, 800:900] = True
        channels.append([Channel(mask, int(mask.sum()) // 2) for mask in masks] if i % 2 else [])
    seconds, megabytes = measure(lambda: au_spro(maps, channels), repeats)
    print(f"AU-sPRO, {num_maps} maps of {LOCO_SHAPE[1]} x {LOCO_SHAPE[0]}")
    share = megabytes * 1e6 / sum(scores.nbytes for scores in maps)
    print(f"  ours {seconds:23.3f} s   extra memory {share:.1f} x maps")


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    for num_maps in arguments.maps:
        compare(f"{num_maps} maps of {SIZE} x {SIZE}", usual_case(num_maps), arguments.repeats)
    num_maps = arguments.maps[0]
    compare(f"{num_maps} maps, half of the pixels marked", half_case(num_maps), arguments.repeats)
    time_loco(num_maps, repeats=1)


if __name__ == "__main__":
    main()
