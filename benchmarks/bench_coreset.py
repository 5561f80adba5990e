"""Time the coreset and the neighbour search against their plain forms, in one process on one machine.

Run from the repository: python3 -m benchmarks.bench_coreset [rows ...]
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from models.common.coreset import greedy_coreset, mean_distance, project_uniform
from models.common.nearest import NearestNeighbours

T = TypeVar("T")
REPEATS = 3
SEARCHES = 30


def feature_rows(count: int, width: int, generator: torch.Generator) -> Tensor:
    """Return (count, width) rows that, like features, vary in few directions and have a mean."""
    basis = torch.randn(16, width, generator=generator) / 4
    rows = torch.randn(count, 16, generator=generator) @ basis
    return rows.add_(torch.randn(count, width, generator=generator), alpha=0.3).add_(1)


def plain_coreset(points: Tensor, num_picks: int, start_distance: Tensor) -> Tensor:
    """Return the greedy picks by one pass over all points per pick, with norms computed once."""
    norm = points.square().sum(1)
    m, picks = start_distance.clone(), []
    for _ in range(num_picks):
        pick = int(m.argmax())
        picks.append(pick)
        square = torch.addmv(norm, points, points[pick], alpha=-2).add_(norm[pick])
        torch.minimum(m, square.clamp_(min=0).sqrt_(), out=m)
    return torch.tensor(picks)


def median_seconds(work: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Return the median seconds of some calls, and what the last one returned."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def compare_coreset(rows: int, width: int) -> None:
    """Print the times of both forms for 1 % of the rows, projected to 128, and how many picks are equal."""
    generator = torch.Generator().manual_seed(0)
    points = project_uniform(feature_rows(rows, width, generator), 128, generator)
    start = mean_distance(points, torch.randperm(rows, generator=generator)[:10])
    num_picks = rows // 100
    ours, picks = median_seconds(lambda: greedy_coreset(points, num_picks, start), REPEATS)
    plain, expected = median_seconds(lambda: plain_coreset(points, num_picks, start), REPEATS)
    equal = int((picks == expected).sum())
    print(
        f"coreset {rows} x {width}: {ours:.2f} s, plain {plain:.2f} s, {plain / ours:.0f} times; "
        f"{equal} of {num_picks} picks equal, {len(set(picks.tolist()) & set(expected.tolist()))} in both"
    )


def compare_search(rows: int, width: int) -> None:
    """Print the times of both forms for one image's 1024 patches, and the largest relative difference."""
    generator = torch.Generator().manual_seed(0)
    features = feature_rows(rows + 1024, width, generator)
    bank, query = features[:rows], features[rows:]
    norm = bank.square().sum(1)
    search = NearestNeighbours(bank)
    search.search(query)
    ours, (distance, _) = median_seconds(lambda: search.search(query), SEARCHES)
    plain, (score, _) = median_seconds(lambda: torch.addmm(norm, query, bank.T, alpha=-2).min(1), SEARCHES)
    expected = score + query.square().sum(1)
    difference = float(((distance[:, 0] - expected) / expected).abs().max())
    print(
        f"search 1024 in {rows} x {width}: {1e3 * ours:.2f} ms, plain {1e3 * plain:.2f} ms, "
        f"{plain / ours:.1f} times; relative difference at most {difference:.1e}"
    )


if __name__ == "__main__":
    for count in [int(argument) for argument in sys.argv[1:]] or [50_000, 200_000]:
        compare_coreset(count, 384)
    for bank_width in (384, 1024):
        compare_search(1024, bank_width)
