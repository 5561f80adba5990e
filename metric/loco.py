"""Saturated per-region overlap (sPRO) of MVTec LOCO AD, exact.

Source: Bergmann et al., IJCV 130, 2022, section 4 (saturated per-region overlap). The release's own evaluation
picks some thresholds; here every distinct score is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metric.aupro import OverlapArea
from metric.ranking import pack, rank

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)  # false-positive rates of the published tables


@dataclass(frozen=True)
class Channel:
    """One ground-truth channel, that is one defect.

    Args:
        mask: (H, W) bool, with at least one marked pixel.
        saturation_area: marked pixels that count as the whole defect, from `saturation_area`.
    """

    mask: NDArray[np.bool_]
    saturation_area: int


def saturation_area(defect_area: int, threshold: float, relative: bool) -> int:
    """Return the pixels of a defect that must be found for the full score, at least 1.

    Args:
        defect_area: marked pixels.
        threshold: share of the defect area in (0, 1] if relative, else pixels.
        relative: what the release's configuration says of this kind of defect.
    """
    area = int(threshold * defect_area) if relative else min(int(threshold), defect_area)
    return max(area, 1)


def au_spro(
    anomaly_maps: Sequence[NDArray[np.float32]],
    channels: Sequence[Sequence[Channel]],
    limits: Sequence[float] = LIMITS,
) -> dict[float, float] | None:
    """Return the area under the mean sPRO over the false-positive rate, by limit, divided by the limit.

    At a threshold, the sPRO of a channel is its covered share of the saturation area, at most 1; normal pixels
    are those that no channel of their image marks. For one anomaly type pass the good images and that type's.

    Args:
        anomaly_maps: N maps (H_i, W_i) at the original sizes.
        channels: N lists of channels, empty for good images.
        limits: false-positive rates in (0, 1].

    Returns:
        None without a channel or without a normal pixel.

    Raises:
        ValueError: lengths or shapes do not match, a score is not finite, or a channel is empty or has a
            saturation area outside 1 ... its marked pixels.
    """
    images = [
        (np.asarray(scores, dtype=np.float32), found)
        for scores, found in zip(anomaly_maps, channels, strict=True)
    ]
    num_normal = sum(int(np.count_nonzero(_normal_mask(scores, found))) for scores, found in images)
    packed, weight = _decisive_pixels(images)
    if num_normal == 0 or len(packed) == 0:
        return None
    overlap = OverlapArea(weight, limits)
    for ranks in rank(_normal_pixels(images), num_normal, packed):
        overlap.add(ranks)
    return dict(zip(overlap.limits, overlap.area.tolist(), strict=True))


Image = tuple[NDArray[np.float32], Sequence[Channel]]


def _normal_mask(scores: NDArray[np.float32], channels: Sequence[Channel]) -> NDArray[np.bool_]:
    normal = np.ones(scores.shape, bool)
    for channel in channels:
        normal &= ~channel.mask
    return normal


def _normal_pixels(images: Sequence[Image]) -> Iterator[NDArray[np.float32]]:
    for scores, channels in images:
        yield scores[_normal_mask(scores, channels)] if channels else scores.ravel()


def _decisive_pixels(images: Sequence[Image]) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Pack the highest pixels of each channel, as many as saturate it, and weigh the channels from tag 1 on.

    Each of them adds 1 / saturation area to its channel's sPRO; the pixels below them add nothing.
    """
    packed = [np.empty(0, np.uint64)]
    area = [1]
    for i, (scores, channels) in enumerate(images):
        for channel in channels:
            if channel.mask.shape != scores.shape:
                raise ValueError(f"image {i}: channel {channel.mask.shape} and map {scores.shape} must match")
            marked = scores[channel.mask]
            if not 1 <= channel.saturation_area <= len(marked):
                raise ValueError(f"image {i}: saturation area {channel.saturation_area} of {len(marked)} pixels")
            kept = len(marked) - channel.saturation_area
            packed.append(pack(np.partition(marked, kept)[kept:], len(area)))
            area.append(channel.saturation_area)
    weight = 1 / (np.array(area) * max(len(area) - 1, 1))
    return np.concatenate(packed), weight
