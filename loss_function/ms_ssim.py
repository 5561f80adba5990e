"""Structural similarity of two images at several scales: the score MS-SSIM.

Source: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment", Asilomar
2003; constants as there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from loss_function.structural_similarity import WINDOW_SIZE, Similarity, similarity

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of the scales, the finest first
SMALLEST_FACTOR = 1e-6  # a smaller one raised to its weight would have an infinite gradient


def similarities(first: Tensor, second: Tensor, data_range: float) -> list[Similarity]:
    """Compare (B, C, H, W) images at five scales, each half the one before, or fewer where images end.

    Args:
        first: in float32; mixed precision is turned off, as variances cancel in it.
        second: likewise.
        data_range: largest possible difference of two values.

    Raises:
        ValueError: the images are smaller than the window.
    """
    num_scales = len(scale_weights(min(first.shape[2:])))
    found = []
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float(), second.float()
        for scale in range(num_scales):
            if scale:
                first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
            found.append(similarity(first, second, data_range))
    return found


def ms_ssim(levels: Sequence[Similarity], side: int) -> Tensor:
    """Return the (B,) mean over channels of the product of the scales' similarities; 1 for equal images.

    Args:
        levels: what `similarities` returned.
        side: the shorter side of the images, in pixels.
    """
    factors = [level.contrast.mean((2, 3)) for level in levels[:-1]] + [levels[-1].full.mean((2, 3))]
    product = torch.ones_like(factors[0])
    for factor, weight in zip(factors, scale_weights(side), strict=True):
        product = product * factor.clamp_min(SMALLEST_FACTOR) ** weight
    return product.mean(1)


def scale_weights(side: int) -> tuple[float, ...]:
    """Return the weights of the scales at which the window fits into images of this side, in pixels.

    From 176 pixels on these are all five. Fewer are scaled to the same sum.

    Raises:
        ValueError: it fits at none.
    """
    fitting = [weight for scale, weight in enumerate(WEIGHTS) if side // 2**scale >= WINDOW_SIZE]
    if not fitting:
        raise ValueError(f"images of {side} pixels are smaller than the window of {WINDOW_SIZE}")
    share = sum(fitting) / sum(WEIGHTS)
    return tuple(weight / share for weight in fitting)
