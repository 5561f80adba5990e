"""Colour operations on batches of images in [0, 1], with a strength of each image's own."""

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue, ITU-R BT.601
CENTRE = 5 / 13  # weight of the middle of PIL's smoothing filter; its eight neighbours share the rest


def luminance(image: Tensor, weights: tuple[float, float, float] = LUMA) -> Tensor:
    """Return the (B, 1, H, W) brightness of (B, 3, H, W) images."""
    return (image * image.new_tensor(weights)[:, None, None]).sum(1, keepdim=True)


def sharpened(image: Tensor, factor: Tensor) -> Tensor:
    """Return smoothed images at factor 0, the same at 1, sharper ones above; `factor` is (B, 1, 1, 1)."""
    channels = image.shape[1]
    kernel = image.new_full((channels, 1, 3, 3), (1 - CENTRE) / 8)
    kernel[:, :, 1, 1] = CENTRE
    smooth = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)
    return torch.lerp(smooth, image, factor)


def stretched(image: Tensor, cutoff: Tensor) -> Tensor:
    """Return images whose channels fill [0, 1] after the `cutoff` share is cut at either end.

    Args:
        image: (B, C, H, W).
        cutoff: (B, 1) share of the pixels, below 0.5.
    """
    values = image.flatten(2).sort(dim=2).values
    last = values.shape[2] - 1
    place = (cutoff * last).long()[:, :, None].expand(-1, image.shape[1], 1)
    low, high = (values.gather(2, index)[..., None] for index in (place, last - place))
    return torch.where(high > low, (image - low) / (high - low).clamp_min(1e-6), image)


def equalized(image: Tensor) -> Tensor:
    """Return images whose channels use all of 256 levels equally often."""
    from torchvision.transforms.v2 import functional  # takes seconds to import

    levels = (image * 255).round().byte()
    equal: Tensor = functional.equalize(levels)
    return equal.to(image.dtype) / 255


def rgb_to_hsv(image: Tensor) -> Tensor:
    """Return hue, saturation and value, each in [0, 1], of (B, 3, H, W) images."""
    value, largest = image.max(dim=1)
    spread = value - image.amin(dim=1)
    red, green, blue = image.unbind(1)
    sector = torch.stack([green - blue, blue - red, red - green], dim=1).gather(1, largest[:, None])[:, 0]
    hue = (sector / spread.clamp_min(1e-6) + 2 * largest) / 6
    saturation = spread / value.clamp_min(1e-6)
    return torch.stack([hue % 1, saturation, value], dim=1)


def hsv_to_rgb(image: Tensor) -> Tensor:
    """Return the inverse of `rgb_to_hsv`."""
    hue, saturation, value = image.unbind(1)
    channels = []
    for offset in (5, 3, 1):  # of red, green and blue on the circle of six sectors
        place = (offset + 6 * hue) % 6
        share = torch.minimum(place, 4 - place).clamp(0, 1)
        channels.append(value * (1 - saturation * share))
    return torch.stack(channels, dim=1)
