"""Random rotation of whole batches on their device, each image by an angle of its own."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate(image: Tensor, degrees: Tensor) -> Tensor:
    """Return images rotated counter-clockwise about their centre, by nearest neighbour, filled with black.

    Args:
        image: (B, C, H, W).
        degrees: (B,).
    """
    height, width = image.shape[2:]
    angle = degrees * (math.pi / 180)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    across = torch.stack([cosine, -sine * (height / width), zero], dim=1)
    down = torch.stack([sine * (width / height), cosine, zero], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def rotate_at_random(image: Tensor, max_degrees: float) -> Tensor:
    """Return (B, C, H, W) images rotated by angles drawn evenly from both ways up to `max_degrees`."""
    share = torch.rand(len(image), device=image.device)
    return rotate(image, (2 * share - 1) * max_degrees)
