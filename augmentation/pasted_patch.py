"""Pseudo anomalies: a patch of an image, its colours a little changed, pasted elsewhere in the image.

Source: Ding et al., "Catching Both Gray and Black Swans: Open-set Supervised Anomaly Detection", CVPR 2022,
and the authors' code: sizes, aspects and the strength of the changes.
"""

import math

import torch
from torch import Tensor
from torchvision.transforms import v2

AREA = (0.02, 0.15)  # share of the image that a patch takes
ASPECT = (0.3, 1 / 0.3)  # width by height
JITTER = 0.1  # of brightness, contrast, saturation and hue


def paste_patches(image: Tensor) -> Tensor:
    """Return (B, 3, H, W) images in [0, 1], each with one of its own patches pasted at another place."""
    height, width = image.shape[2:]
    jitter = v2.ColorJitter(JITTER, JITTER, JITTER, JITTER)
    pasted = image.clone()
    for source, target in zip(image, pasted, strict=True):
        size = draw_patch_size(height, width)
        target[draw_patch(height, width, size)] = jitter(source[draw_patch(height, width, size)])
    return pasted


def draw_patch_size(height: int, width: int) -> tuple[int, int]:
    """Draw height and width of a patch, in pixels; the logarithm of its aspect is uniform."""
    area = _uniform(*AREA) * height * width
    aspect = math.exp(_uniform(*map(math.log, ASPECT)))
    sides = math.sqrt(area / aspect), math.sqrt(area * aspect)
    return max(1, min(height, round(sides[0]))), max(1, min(width, round(sides[1])))


def draw_patch(height: int, width: int, size: tuple[int, int]) -> tuple[slice, slice, slice]:
    """Draw the place of a patch inside an image: what to index a (C, H, W) image by."""
    top = int(torch.randint(height - size[0] + 1, ()))
    left = int(torch.randint(width - size[1] + 1, ()))
    return slice(None), slice(top, top + size[0]), slice(left, left + size[1])


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
