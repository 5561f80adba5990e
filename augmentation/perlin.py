"""Perlin noise, whole batches at once on the device. Source: Perlin 1985, as DRAEM (ICCV 2021) uses it."""

import math

import torch
from torch import Tensor


def perlin_noise(cells: Tensor, angle: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (B, H, W) noise in [-1, 1], which is 0 at the nodes of each image's grid.

    Args:
        cells: (B, 2) int64 cells of the grid, down and across.
        angle: (B, G, G) directions of the gradients at the nodes, in radians; G exceeds the cells.
        size: (H, W), in pixels.
    """
    (y, top), (x, left) = (_position(cells[:, axis], size[axis]) for axis in (0, 1))
    gradient = torch.stack([angle.sin(), angle.cos()], dim=-1)
    image = torch.arange(len(cells), device=cells.device)[:, None, None]

    def corner(down: int, right: int) -> Tensor:
        """Return the product of the gradient at one corner of the cell with the way from there, (B, H, W)."""
        direction = gradient[image, (top + down)[:, :, None], (left + right)[:, None]]
        return direction[..., 0] * (y - down)[:, :, None] + direction[..., 1] * (x - right)[:, None]

    across, down = _fade(x)[:, None], _fade(y)[:, :, None]
    upper = torch.lerp(corner(0, 0), corner(0, 1), across)
    lower = torch.lerp(corner(1, 0), corner(1, 1), across)
    return math.sqrt(2) * torch.lerp(upper, lower, down)


def draw_perlin_noise(
    count: int,
    size: tuple[int, int],
    exponents: tuple[int, int],
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Return (B, H, W) noise whose grids have 2^i cells down and 2^j across, i and j drawn for each image.

    Args:
        count: B.
        size: (H, W), in pixels.
        exponents: lowest and highest i and j.
        generator: on the CPU, so that the draw does not depend on the device.
        device: of the noise.
    """
    low, high = exponents
    cells = 2 ** torch.randint(low, high + 1, (count, 2), generator=generator)
    angle = 2 * math.pi * torch.rand(count, 2**high + 1, 2**high + 1, generator=generator)
    return perlin_noise(cells.to(device), angle.to(device), size)


def _position(cells: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return where in their cells the pixels of a side are, in [0, 1), and which cells these are, (B, L)."""
    place = torch.arange(length, device=cells.device) * (cells[:, None] / length)
    cell = place.floor()
    return place - cell, cell.long()


def _fade(place: Tensor) -> Tensor:
    return place**3 * (place * (6 * place - 15) + 10)
