"""Colour jitter of whole batches: every image has its own change of brightness, contrast, saturation and hue.

The four changes act as torchvision's `ColorJitter` does, always in that order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from augmentation.color import hsv_to_rgb, luminance, rgb_to_hsv

GRAY = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue


class ColorChange(NamedTuple):
    """How the colours of B images change.

    Args:
        brightness: (B,) factor.
        contrast: (B,) factor of the difference to the mean grey value.
        saturation: (B,) factor of the difference to the pixel's grey value.
        hue: (B,) share of the colour circle to turn by.
    """

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor


def draw_color_change(count: int, strength: float, generator: torch.Generator | None = None) -> ColorChange:
    """Draw factors from 1 - strength to 1 + strength and turns from -strength to strength, on the CPU.

    Args:
        count: number of images B.
        strength: at most 0.5.
        generator: of the CPU; None for the global one.
    """
    brightness, contrast, saturation, hue = (2 * torch.rand(4, count, generator=generator) - 1) * strength
    return ColorChange(1 + brightness, 1 + contrast, 1 + saturation, hue)


def change_color(image: Tensor, change: ColorChange, region: Tensor | None = None) -> Tensor:
    """Return images with changed colours.

    Args:
        image: (B, 3, H, W) in [0, 1].
        change: of each image.
        region: (B, H, W) bool; the contrast is about the mean of this region; None for the whole image.
    """
    brightness, contrast, saturation, hue = (
        values.to(image.device)[:, None, None, None] for values in change
    )
    image = (image * brightness).clamp(0, 1)
    gray = luminance(image, GRAY)
    weight = torch.ones_like(gray) if region is None else region[:, None].to(gray)
    mean = (gray * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1)
    image = (mean + contrast * (image - mean)).clamp(0, 1)
    gray = luminance(image, GRAY)
    image = (gray + saturation * (image - gray)).clamp(0, 1)
    turn = torch.cat([hue, torch.zeros_like(hue), torch.zeros_like(hue)], dim=1)
    return hsv_to_rgb(rgb_to_hsv(image) + turn).clamp(0, 1)
