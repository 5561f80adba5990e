"""All pixel metrics in one pass over the ranking of the pixels."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from metric.aupro import AUPRO_LIMIT, OverlapArea, connected_regions
from metric.ranking import RankingMetrics, pack, rank

Pair = tuple[NDArray[np.float32], NDArray[np.bool_]]


def pixel_metrics(images: Sequence[Pair]) -> dict[str, float] | None:
    """Return pixel AUROC, AP, F1-max and AUPRO, by the names auroc, ap, f1max and aupro.

    Args:
        images: anomaly map (H_i, W_i) and mask (H_i, W_i) of every image, all zero for a normal one.

    Returns:
        None without a marked or without a normal pixel.

    Raises:
        ValueError: a map is not finite; not checked where the metrics do not exist.
    """
    num_normal = sum(mask.size - int(np.count_nonzero(mask)) for _, mask in images)
    packed, weight = _marked_pixels(images)
    if num_normal == 0 or len(packed) == 0:
        return None
    curve = RankingMetrics()
    overlap = OverlapArea(weight, [AUPRO_LIMIT])
    for ranks in rank(_normal_pixels(images), num_normal, packed):
        curve.add(ranks)
        overlap.add(ranks)
    return {**curve.values(), "aupro": float(overlap.area[0])}


def _normal_pixels(images: Sequence[Pair]) -> Iterator[NDArray[np.float32]]:
    for anomaly_map, mask in images:
        yield anomaly_map[~mask]


def _marked_pixels(images: Sequence[Pair]) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Pack the marked pixels (P,), tagged by region from 1 on, and weigh the regions, by tag (R + 1,)."""
    packed = [np.empty(0, np.uint64)]
    region_size = [np.zeros(1, np.int64)]
    num_regions = 0
    for anomaly_map, mask in images:
        if not mask.any():
            continue
        region, count = connected_regions(mask)
        marked = region[mask]
        packed.append(pack(anomaly_map[mask], (marked + num_regions).astype(np.uint32)))
        region_size.append(np.bincount(marked)[1:])
        num_regions += count
    size = np.concatenate(region_size)
    weight = np.zeros(len(size))
    weight[1:] = 1 / (num_regions * size[1:])
    return np.concatenate(packed), weight
