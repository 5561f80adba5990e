"""Rotation of whole batches on their device, each image by an angle of its own, about its centre."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate(image: Tensor, degrees: Tensor, mode: Literal["nearest", "bilinear"]) -> Tensor:
    """Return images turned counter-clockwise, filled with 0.

    Args:
        image: (B, C, H, W).
        degrees: (B,).
        mode: how the pixels of the turned images are found between those of the images.
    """
    height, width = image.shape[2:]
    angle = torch.deg2rad(degrees)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    across = torch.stack([cosine, -sine * (height / width), zero], dim=1)
    down = torch.stack([sine * (width / height), cosine, zero], dim=1)
    with torch.autocast(image.device.type, enabled=False):  # which would move pixels
        grid = F.affine_grid(torch.stack([across, down], dim=1), list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False)


def rotate_at_random(image: Tensor, max_degrees: float) -> Tensor:
    """Return (B, C, H, W) images rotated by angles drawn evenly from both ways up to `max_degrees`."""
    share = torch.rand(len(image), device=image.device)
    return rotate(image, (2 * share - 1) * max_degrees, "nearest")


def draw_degrees(count: int, largest: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return (B,) angles, uniform on +-`largest`; the generator is on the CPU."""
    return ((2 * torch.rand(count, generator=generator) - 1) * largest).to(device)
