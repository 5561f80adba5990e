"""Structural similarity of two images at several scales: its maps, and the score MS-SSIM.

Source: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment", Asilomar
2003; constants as there.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5  # pixels
BORDER = WINDOW_SIZE // 2  # pixels that a map lacks on every side
STABILISERS = (0.01, 0.03)  # of luminance and of contrast and structure, as shares of the data range
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of the scales, the finest first
SMALLEST_FACTOR = 1e-6  # a smaller one raised to its weight would have an infinite gradient


class Similarity(NamedTuple):
    """How similar the neighbourhoods of two images are, at one scale.

    Args:
        full: (B, C, h - 10, w - 10) luminance, contrast and structure together, in [-1, 1].
        contrast: contrast and structure alone, likewise.
    """

    full: Tensor
    contrast: Tensor


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
            found.append(_similarity(first, second, data_range))
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


def _similarity(first: Tensor, second: Tensor, data_range: float) -> Similarity:
    luminance_stabiliser, contrast_stabiliser = ((k * data_range) ** 2 for k in STABILISERS)
    maps = torch.stack([first, second, first * first, second * second, first * second])
    mean1, mean2, square1, square2, product = _window_means(maps)
    variances = square1 - mean1**2 + square2 - mean2**2
    covariance = product - mean1 * mean2
    contrast = (2 * covariance + contrast_stabiliser) / (variances + contrast_stabiliser)
    luminance = (2 * mean1 * mean2 + luminance_stabiliser) / (mean1**2 + mean2**2 + luminance_stabiliser)
    return Similarity(luminance * contrast, contrast)


def _window_means(maps: Tensor) -> Tensor:
    """Return the (..., h - 10, w - 10) means of (..., h, w) maps, weighted by a Gaussian window.

    The window runs as one matrix per side, faster than a convolution of single channels.
    """
    vertical, horizontal = (_window_matrix(side).to(maps) for side in maps.shape[-2:])
    return vertical @ (maps @ horizontal.T)


@lru_cache(maxsize=16)
def _window_matrix(side: int) -> Tensor:
    """Return the (side - 10, side) float32 matrix of a Gaussian window at each place where it fits."""
    offset = torch.arange(WINDOW_SIZE, dtype=torch.float64) - BORDER
    window = torch.exp(-(offset**2) / (2 * WINDOW_SIGMA**2))
    matrix = torch.zeros(side - 2 * BORDER, side, dtype=torch.float64)
    for place, row in enumerate(matrix):
        row[place : place + WINDOW_SIZE] = window / window.sum()
    return matrix.float()
