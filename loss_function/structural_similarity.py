"""Structural similarity as a loss. Source: Wang et al. 2004, in the form of DRAEM's code."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11  # pixels; side of the Gaussian window
SIGMA = 1.5  # pixels
CONSTANTS = (0.01, 0.03)  # shares of the value range that keep the two quotients finite


def structural_similarity_loss(
    image: Tensor, target: Tensor, value_range: float | Literal["auto"] = 1.0
) -> Tensor:
    """Return 1 minus the mean structural similarity of two (B, C, H, W) images, a scalar.

    The Gaussian window is separable, so that 22 products per pixel do the work of 121. Outside of the images
    is 0.

    Args:
        image: what is judged.
        target: what it should be.
        value_range: R of the values; "auto" derives it from `image` as DRAEM's code does.
    """
    extent = _range_of(image) if value_range == "auto" else torch.tensor(value_range)
    c1, c2 = ((share * extent) ** 2 for share in CONSTANTS)
    products = torch.cat([image, target, image * image, target * target, image * target])
    mean_i, mean_t, square_i, square_t, product = _smoothed(products).chunk(5)
    variance_i, variance_t = square_i - mean_i**2, square_t - mean_t**2
    luminance = (2 * mean_i * mean_t + c1) / (mean_i**2 + mean_t**2 + c1)
    contrast = (2 * (product - mean_i * mean_t) + c2) / (variance_i + variance_t + c2)
    return 1 - (luminance * contrast).mean()


def _range_of(image: Tensor) -> Tensor:
    low = torch.where(image.detach().amin() < -0.5, -1.0, 0.0)
    return torch.where(image.detach().amax() > 128, 255.0, 1.0) - low


def _smoothed(image: Tensor) -> Tensor:
    offset = torch.arange(WINDOW, device=image.device, dtype=image.dtype) - WINDOW // 2
    weight = torch.exp(-(offset**2) / (2 * SIGMA**2))
    channels = image.shape[1]
    taps = (weight / weight.sum()).expand(channels, 1, WINDOW)
    half = WINDOW // 2
    rows = F.conv2d(image, taps[:, :, :, None], padding=(half, 0), groups=channels)
    return F.conv2d(rows, taps[:, :, None], padding=(0, half), groups=channels)
