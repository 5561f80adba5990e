"""Perlin noise: the grid, the range, the formula point by point, and draws that repeat."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentation.perlin import draw_perlin_noise, perlin_noise

CPU = torch.device("cpu")


def random_angles(count: int, side: int, seed: int = 0) -> Tensor:
    return 2 * math.pi * torch.rand(count, side, side, generator=torch.Generator().manual_seed(seed))


def plain_noise(
    cells: tuple[int, int], angle: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """The formula as it is written, pixel by pixel."""
    noise = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row * cells[0] / size[0], column * cells[1] / size[1]
            top, left = int(y), int(x)
            corners = np.zeros((2, 2))
            for down in (0, 1):
                for right in (0, 1):
                    direction = angle[top + down, left + right]
                    way = (y - top - down, x - left - right)
                    corners[down, right] = math.sin(direction) * way[0] + math.cos(direction) * way[1]
            fade = [6 * t**5 - 15 * t**4 + 10 * t**3 for t in (y - top, x - left)]
            upper, lower = corners[:, 0] + fade[1] * (corners[:, 1] - corners[:, 0])
            noise[row, column] = math.sqrt(2) * (upper + fade[0] * (lower - upper))
    return noise


def test_noise_is_that_of_the_formula() -> None:
    cells, angle = torch.tensor([[4, 2], [1, 4]]), random_angles(2, 5)
    found = perlin_noise(cells, angle, (32, 16))
    for image in (0, 1):
        down, across = cells[image].tolist()
        expected = plain_noise((down, across), angle[image].double().numpy(), (32, 16))
        torch.testing.assert_close(found[image].double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_noise_is_zero_at_the_nodes() -> None:
    noise = perlin_noise(torch.tensor([[8, 4]]), random_angles(1, 9), (64, 64))
    assert noise[0, ::8, ::16].abs().max() < 1e-6
    assert noise.abs().max() > 0.3


def test_noise_stays_within_one() -> None:
    noise = draw_perlin_noise(50, (32, 32), (0, 4), torch.Generator().manual_seed(1), CPU)
    assert noise.shape == (50, 32, 32)
    assert noise.abs().max() <= 1


def test_a_single_cell_is_smooth_and_many_are_not() -> None:
    smooth, rough = (
        perlin_noise(torch.tensor([[count, count]]), random_angles(1, 17), (64, 64)).diff(dim=2).abs().max()
        for count in (1, 16)
    )
    assert smooth < 0.06
    assert rough > 0.2


def test_the_same_seed_gives_the_same_noise_and_each_image_its_own() -> None:
    first, again, other = (
        draw_perlin_noise(3, (32, 32), (0, 3), torch.Generator().manual_seed(seed), CPU) for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("exponent", [0, 2])
def test_the_exponents_bound_the_cells(exponent: int) -> None:
    noise = draw_perlin_noise(4, (32, 32), (exponent, exponent), torch.Generator().manual_seed(0), CPU)
    step = 32 // 2**exponent
    assert noise[:, ::step, ::step].abs().max() < 1e-6
