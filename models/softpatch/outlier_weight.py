"""Outlier weights: how far a patch lies from the patches at the same position of the other images.

Source: SoftPatch, Jiang et al., NeurIPS 2022, and the authors' code; the Local Outlier Factor is that of
Breunig et al., SIGMOD 2000. Differs from the source: positions are handled in batches.
"""

import torch
from torch import Tensor

from models.common.gaussian import GaussianGrid, gather_moments

CHUNK_BYTES = 2**24  # of the largest tensor that a batch of positions needs; larger ones leave the cache
MIN_IMAGES = 3  # of two patches, each is as far from the other
EPSILON = 0.01  # added to the variances of the Gaussians, as in the authors' code
DENSITY_FLOOR = 1e-10  # keeps the density of equal patches finite; scikit-learn's value


def outlier_weight(patch_feature: Tensor, method: str, num_neighbors: int) -> Tensor:
    """Return the (N, P) weights of (N, P, d) patch features, N images of P positions; higher is noisier.

    Args:
        patch_feature: float.
        method: "lof" (or its other name "lof_gpu"), "nearest" or "gaussian".
        num_neighbors: k of the Local Outlier Factor; at most N - 1 are used.

    Raises:
        ValueError: there is no such method.
    """
    if method not in ("lof", "lof_gpu", "nearest", "gaussian"):
        raise ValueError(f"method must be lof, lof_gpu, nearest or gaussian, not {method}")
    count, positions, width = patch_feature.shape
    if count < MIN_IMAGES:
        return patch_feature.new_ones(count, positions)
    num_neighbors = min(num_neighbors, count - 1)
    largest = max(count * count, count * num_neighbors * width, width * width) * patch_feature.element_size()
    chunks = patch_feature.split(max(1, CHUNK_BYTES // largest), dim=1)
    with torch.autocast(patch_feature.device.type, enabled=False):  # bfloat16 would blur the neighbours
        return torch.cat([_weigh(chunk.transpose(0, 1), method, num_neighbors) for chunk in chunks]).T


def local_outlier_factor(points: Tensor, num_neighbors: int) -> Tensor:
    """Return the (P, N) factors of P groups of N points (P, N, d); 1 is as dense as the neighbours.

    lrd(a) = k / sum_b max(kdist(b), |a - b|) over the k nearest b; LOF(a) = mean_b lrd(b) / lrd(a).

    Args:
        points: float.
        num_neighbors: k, 1 to N - 1; the point itself is not its neighbour.
    """
    distance, index = _neighbours(points, num_neighbors)
    reach = torch.maximum(distance, _of_neighbours(distance.amax(2), index))
    density = 1 / (reach.mean(2) + DENSITY_FLOOR)
    return _of_neighbours(density, index).mean(2) / density


def nearest_weight(points: Tensor) -> Tensor:
    """Return 1 + the distance to the nearest other of the group: (P, N, d) points to (P, N)."""
    return 1 + _neighbours(points, 1)[0][:, :, 0]


def gaussian_weight(points: Tensor) -> Tensor:
    """Return 1 + the Mahalanobis distance to the group's own Gaussian: (P, N, d) points to (P, N)."""
    gaussian = GaussianGrid(EPSILON).to(points.device)
    if points.shape[1] < points.shape[2]:
        gaussian.fit_few(points.clone())
    else:
        gaussian.fit(gather_moments([points]))
    return 1 + gaussian(points)


def _weigh(points: Tensor, method: str, num_neighbors: int) -> Tensor:
    points = points.to(torch.promote_types(points.dtype, torch.float32)).contiguous()
    if method == "gaussian":
        return gaussian_weight(points)
    if method == "nearest":
        return nearest_weight(points)
    return local_outlier_factor(points, num_neighbors)


def _neighbours(points: Tensor, num_neighbors: int) -> tuple[Tensor, Tensor]:
    """Return the (P, N, k) distances to the k nearest others of the group, and their positions in it.

    A matrix product finds the neighbours; their distances come from differences, so that equal points are at
    distance 0.
    """
    groups, count, width = points.shape
    centred = points - points.mean(1, keepdim=True)
    square = centred.square().sum(2)
    score = torch.baddbmm(square[:, None], centred, centred.mT, alpha=-2)  # the square less the point's own
    score.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    index = score.topk(num_neighbors, largest=False, sorted=False).indices
    row = index + count * torch.arange(groups, device=index.device)[:, None, None]
    near = points.view(-1, width).index_select(0, row.flatten()).view(groups, count, num_neighbors, width)
    return torch.linalg.vector_norm(near.sub_(points[:, :, None]), dim=3), index


def _of_neighbours(value: Tensor, index: Tensor) -> Tensor:
    """Read the values (P, N) of the neighbours (P, N, k)."""
    return value.gather(1, index.flatten(1)).view(index.shape)
