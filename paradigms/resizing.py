"""Bring anomaly maps to the sizes of their ground truth."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from data_io.decode import Pixels

Maps = NDArray[np.float32] | list[NDArray[np.float32]]


def fit_maps(maps: NDArray[np.float32], masks: Sequence[Pixels | None]) -> Maps:
    """Resize (N, H, W) maps to the sizes of their masks; a map without a mask stays as it is."""
    sizes = {(mask.shape[0], mask.shape[1]) for mask in masks if mask is not None}
    if sizes <= {maps.shape[1:]}:
        return maps
    if len(sizes) == 1:
        return resized(maps, sizes.pop())
    return [
        found if mask is None else resized(found[None], (mask.shape[0], mask.shape[1]))[0]
        for found, mask in zip(maps, masks, strict=True)
    ]


def resized(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (N, H, W) maps bilinearly, pixel centres corresponding."""
    tensor = F.interpolate(torch.from_numpy(maps)[:, None], size=size, mode="bilinear")[:, 0]
    return np.asarray(tensor.numpy(), np.float32)
