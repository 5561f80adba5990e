"""Colour jitter of whole batches: every image has its own change of brightness, contrast, saturation and hue.

The four changes act as torchvision's `ColorJitter` does, always in that order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_GRAY = (0.2989, 0.587, 0.114)  # shares of red, green and blue in the brightness (ITU-R 601-2)


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
    gray = _gray(image)
    weight = torch.ones_like(gray) if region is None else region[:, None].to(gray)
    mean = (gray * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1)
    image = (mean + contrast * (image - mean)).clamp(0, 1)
    gray = _gray(image)
    image = (gray + saturation * (image - gray)).clamp(0, 1)
    return _turn_hue(image, hue[:, 0])


def _gray(image: Tensor) -> Tensor:
    return (image * image.new_tensor(_GRAY)[:, None, None]).sum(1, keepdim=True)


def _turn_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of (B, 3, H, W) by a share (B, 1, 1) of the circle; value and chroma stay."""
    red, green, blue = image.unbind(1)
    value = image.amax(1)
    chroma = value - image.amin(1)
    scale = torch.where(chroma > 0, chroma, 1)
    sixth = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    channel = image.new_tensor([5, 3, 1])[:, None, None]
    distance = (channel + (sixth + 6 * turn)[:, None]) % 6  # the hexcone model, channel by channel
    share = torch.minimum(distance, 4 - distance).clamp(0, 1)
    return (value[:, None] - chroma[:, None] * share).clamp(0, 1)
