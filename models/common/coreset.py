"""Greedy k-centre coresets and the random projections in which their distances are taken.

Source: PatchCore, Roth et al., CVPR 2022, algorithm 1, in the official code's approximate form (the
distances to a few start points begin the search). Differs from the source: picks are found in speculative
batches, which gives the same sequence with far fewer passes over the points.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

CHUNK_ROWS = 2048  # rows whose distances to a block of centres stay in a core's second-level cache


def project_uniform(patch_feature: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Project (N, D) rows to (N, width) by a dense matrix, uniform on +-1/sqrt(D); as they are if D = width.

    The matrix has the distribution of a fresh bias-free linear layer, as in PatchCore's official code. The
    generator lives on the CPU, so that the draw does not depend on the device.
    """
    channels = patch_feature.shape[1]
    if channels == width:
        return patch_feature
    matrix = (2 * torch.rand(channels, width, generator=generator) - 1) / math.sqrt(channels)
    return patch_feature @ matrix.to(patch_feature)


def project_sparse(
    patch_feature: Tensor, num_rows: int, generator: torch.Generator, eps: float = 0.9
) -> Tensor:
    """Project (N, D) rows by a sparse random matrix; as they are where that would not make them narrower.

    The width keeps all distances among `num_rows` such rows within a factor 1 +- eps (Johnson and
    Lindenstrauss, in the form of Dasgupta and Gupta 2003); the share of entries that are not 0 is 1/sqrt(D)
    (Li et al. 2006, after Achlioptas 2003).
    """
    channels = patch_feature.shape[1]
    width = max(1, int(4 * math.log(num_rows) / (eps**2 / 2 - eps**3 / 3)))
    if width >= channels:
        return patch_feature
    density = 1 / math.sqrt(channels)
    draw = torch.rand(channels, width, generator=generator)
    sign = (draw < density / 2).float() - (draw >= 1 - density / 2).float()
    return patch_feature @ (sign / math.sqrt(density * width)).to(patch_feature)


def mean_distance(patch_feature: Tensor, start_row: Tensor) -> Tensor:
    """Return the (N,) mean Euclidean distances of (N, D) points to the points in the rows `start_row`."""
    start = patch_feature[start_row]
    chunks = patch_feature.split(CHUNK_ROWS)
    return torch.cat(
        [torch.cdist(chunk, start, compute_mode="donot_use_mm_for_euclid_dist").mean(1) for chunk in chunks]
    )


def full_distance(patch_feature: Tensor) -> Tensor:
    """Return the (N,) norms of the rows of the N x N matrix of Euclidean distances of (N, D) points.

    Needs no such matrix: sum_j |z_i - z_j|^2 = N |z_i - c|^2 + sum_j |z_j - c|^2 with c the mean.
    """
    chunks = patch_feature.split(CHUNK_ROWS)
    mean = patch_feature.mean(0, dtype=torch.float64)
    square = torch.cat([(chunk - mean).square().sum(1) for chunk in chunks])
    return (len(patch_feature) * square + square.sum()).sqrt().to(patch_feature.dtype)


def greedy_coreset(
    patch_feature: Tensor,
    num_picks: int,
    start_distance: Tensor | None = None,
    block_size: int = 512,
    on_progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Pick rows one after another, each the farthest from the start and from the rows picked before it.

    The sequence is that of the plain algorithm: pick the row of the largest m (the first of equals), then
    m_i = min(m_i, |z_i - z_pick|). Here each pass takes the `block_size` rows of the largest m as candidates
    and plays the algorithm among them alone, as long as the winner is above every row outside. Distances
    are float32, so that picks whose m agree to about 1e-6 of the squared norms may change places.

    Args:
        patch_feature: (N, D) float32 points.
        num_picks: number of picks M, 1 to N.
        start_distance: (N,) first m; None takes row 0 as the first pick.
        block_size: candidates per pass; changes the speed only.
        on_progress: called after each pass with the number of new picks.

    Returns:
        (M,) int64 row numbers in the order of picking; they repeat only where M exceeds the distinct rows.

    Raises:
        ValueError: `num_picks` is not within 1 to N.
    """
    if not 1 <= num_picks <= len(patch_feature):
        raise ValueError(f"num_picks must be within 1 and {len(patch_feature)}, not {num_picks}")
    points = _centred(patch_feature)
    norm = points.square().sum(1)
    nearest = torch.full_like(norm, torch.inf) if start_distance is None else start_distance.clone()
    picks: list[Tensor] = []
    missing = num_picks
    while missing:
        found = _picks_of_pass(points, nearest, min(block_size, len(points)), missing)
        _lower(nearest, points, norm, found)
        picks.append(found)
        missing -= len(found)
        if on_progress is not None:
            on_progress(len(found))
    return torch.cat(picks)


def _centred(points: Tensor) -> Tensor:
    """Shift points to the one nearest to their mean: short vectors lose little in |a|^2 + |b|^2 - 2ab.

    A point instead of the mean itself, because differences of whole numbers are exact.
    """
    mean = points.mean(0)
    distance = torch.cat([(chunk - mean).square().sum(1) for chunk in points.split(CHUNK_ROWS)])
    return points - points[distance.argmin()]


def _picks_of_pass(points: Tensor, nearest: Tensor, block_size: int, limit: int) -> Tensor:
    """Return the next 1 to `limit` picks, given the (N,) distances m."""
    first = nearest.argmax()
    value, candidate = nearest.topk(block_size)
    outside = value[-1].item()  # no row that is not a candidate has a larger distance
    candidate = torch.cat([first[None], candidate]).unique()  # sorted, so that the first of equals wins
    block = points[candidate].double()
    square = block.square().sum(1)
    pairwise = (square[:, None] + square - 2 * block @ block.T).clamp_(min=0).sqrt_().to(nearest).cpu()
    value = nearest[candidate].cpu()
    accepted = [int(torch.searchsorted(candidate, first))]
    while len(accepted) < limit:
        value = torch.minimum(value, pairwise[accepted[-1]])
        best = int(value.argmax())
        if value[best] <= outside:
            break
        accepted.append(best)
    return candidate[accepted]


def _lower(nearest: Tensor, points: Tensor, norm: Tensor, pick: Tensor) -> None:
    """Lower the (N,) distances m in place to those to the new picks, where these are nearer."""
    centre = -2 * points[pick].T
    for rows in range(0, len(points), CHUNK_ROWS):
        chunk = slice(rows, rows + CHUNK_ROWS)
        square = torch.addmm(norm[pick], points[chunk], centre).amin(1).add_(norm[chunk])
        torch.minimum(nearest[chunk], square.clamp_(min=0).sqrt_(), out=nearest[chunk])
    nearest[pick] = 0
