"""Saturated per-region overlap (sPRO) of MVTec LOCO AD, exact.

Source: Bergmann et al., IJCV 130, 2022. Differs from the release's evaluation code: that code refines a set
of thresholds until the curve is smooth enough; here every distinct score is a threshold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metric.aupro import OverlapArea
from metric.ranking import pack, rank

SPRO_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)  # false-positive rates of the published tables


@dataclass(frozen=True)
class Channel:
    """One ground-truth channel, that is one defect of an image.

    Args:
        mask: (H, W) bool.
        saturation_area: marked pixels that count as the whole defect, from `saturation_area`.

    Raises:
        ValueError: the mask is not bool, or the saturation area is not 1 ... all marked pixels.
    """

    mask: NDArray[np.bool_]
    saturation_area: int

    def __post_init__(self) -> None:
        if self.mask.dtype != bool:
            raise ValueError(f"a channel's mask must be bool, not {self.mask.dtype}")
        defect_area = int(np.count_nonzero(self.mask))
        if not 1 <= self.saturation_area <= defect_area:
            raise ValueError(f"saturation area {self.saturation_area} of a defect of {defect_area} pixels")


def saturation_area(defect_area: int, threshold: float, relative: bool) -> int:
    """Return how many pixels of a defect must be found for the full score, at least 1.

    Args:
        defect_area: marked pixels.
        threshold: the share of the defect area in (0, 1] if relative, else pixels.
        relative: whether the release's configuration calls this kind of defect so.
    """
    return max(int(threshold * defect_area) if relative else min(int(threshold), defect_area), 1)


def au_spro(
    anomaly_maps: Sequence[NDArray[np.float32]],
    channels: Sequence[Sequence[Channel]],
    limits: Sequence[float] = SPRO_LIMITS,
) -> dict[float, float] | None:
    """Return the area under the mean sPRO over the false-positive rate, by limit, divided by the limit.

    At a threshold, the sPRO of a channel is its covered share of the saturation area, at most 1; the mean is
    over all channels; normal pixels are those that no channel of their image marks. The value of an anomaly
    type is that of the good images and the type's own.

    Args:
        anomaly_maps: N maps (H_i, W_i) at the original sizes.
        channels: N lists of channels, empty for good images.
        limits: false-positive rates in (0, 1].

    Returns:
        None without a channel or without a normal pixel.

    Raises:
        ValueError: lengths or shapes do not match, a limit is out of range, or a score is not finite.
    """
    num_normal = 0
    for anomaly_map, found in zip(anomaly_maps, channels, strict=True):
        if any(channel.mask.shape != anomaly_map.shape for channel in found):
            raise ValueError(f"a channel of a map {anomaly_map.shape} has another shape")
        num_normal += int(np.count_nonzero(_is_normal(anomaly_map, found)))
    packed, weight = _decisive_pixels(anomaly_maps, channels)
    if num_normal == 0 or len(packed) == 0:
        return None
    overlap = OverlapArea(weight, limits)
    for ranks in rank(_normal_pixels(anomaly_maps, channels), num_normal, packed):
        overlap.add(ranks)
    return dict(zip(limits, overlap.area.tolist(), strict=True))


def _is_normal(anomaly_map: NDArray[np.float32], channels: Sequence[Channel]) -> NDArray[np.bool_]:
    is_marked = np.zeros(anomaly_map.shape, bool)
    for channel in channels:
        is_marked |= channel.mask
    return ~is_marked


def _normal_pixels(
    anomaly_maps: Sequence[NDArray[np.float32]], channels: Sequence[Sequence[Channel]]
) -> Iterator[NDArray[np.float32]]:
    for anomaly_map, found in zip(anomaly_maps, channels, strict=True):
        yield anomaly_map[_is_normal(anomaly_map, found)]


def _decisive_pixels(
    anomaly_maps: Sequence[NDArray[np.float32]], channels: Sequence[Sequence[Channel]]
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Pack the highest pixels of each channel, as many as saturate it, and weigh the channels, from tag 1 on.

    Each of these adds 1 / saturation area to its channel's sPRO; the pixels below them add nothing.
    """
    packed = [np.empty(0, np.uint64)]
    weight = [0.0]
    for anomaly_map, found in zip(anomaly_maps, channels, strict=True):
        for channel in found:
            marked = anomaly_map[channel.mask]
            first = len(marked) - channel.saturation_area
            packed.append(pack(np.partition(marked, first)[first:], len(weight)))
            weight.append(1 / channel.saturation_area)
    return np.concatenate(packed), np.array(weight) / max(len(weight) - 1, 1)
