"""Rotation of a batch by an angle of each image's own, about the centre, filled with 0."""

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate(image: Tensor, degrees: Tensor) -> Tensor:
    """Return (B, C, H, W) images turned counter-clockwise by (B,) degrees, by bilinear interpolation."""
    height, width = image.shape[2:]
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    row_x = torch.stack([cos, -sin * (height / width), zero], dim=1)
    row_y = torch.stack([sin * (width / height), cos, zero], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def draw_degrees(count: int, largest: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return (B,) angles, uniform on +-`largest`; the generator is on the CPU."""
    return ((2 * torch.rand(count, generator=generator) - 1) * largest).to(device)
