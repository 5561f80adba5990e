"""Structural similarity of two images: its maps, and a loss. Source: Wang et al. 2004."""

from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5  # pixels
BORDER = WINDOW_SIZE // 2  # pixels that a map lacks on every side
STABILISERS = (0.01, 0.03)  # of luminance and of contrast and structure, as shares of the data range


class Similarity(NamedTuple):
    """How similar the neighbourhoods of two images are, at one scale.

    Args:
        full: (B, C, h - 10, w - 10) luminance, contrast and structure together, in [-1, 1].
        contrast: contrast and structure alone, likewise.
    """

    full: Tensor
    contrast: Tensor


def structural_similarity_loss(
    image: Tensor, target: Tensor, value_range: float | Literal["auto"] = 1.0
) -> Tensor:
    """Return 1 minus the mean structural similarity of two (B, C, H, W) images with zeros around, a scalar.

    Args:
        image: what is judged.
        target: what it should be.
        value_range: R of the values; "auto" derives it from `image` as DRAEM's code does.
    """
    extent = _range_of(image) if value_range == "auto" else value_range
    padded, padded_target = (F.pad(one, [BORDER] * 4) for one in (image, target))
    return 1 - similarity(padded, padded_target, extent).full.mean()


def similarity(first: Tensor, second: Tensor, data_range: float | Tensor) -> Similarity:
    """Compare (B, C, h, w) images wherever the window fits; the largest difference of two values is given."""
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


def _range_of(image: Tensor) -> Tensor:
    low = torch.where(image.detach().amin() < -0.5, -1.0, 0.0)
    return torch.where(image.detach().amax() > 128, 255.0, 1.0) - low
