import math

import pytest
import torch
from torch import Tensor

from augmentation.feature_rotation import ANGLES, rotate_features


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (14, 10)])
def test_shapes(size: tuple[int, int]) -> None:
    rotated, valid = rotate_features(torch.rand(2, 5, *size))
    assert rotated.shape == (6, 5, *size)
    assert valid.shape == (6, *size)
    assert valid.dtype == torch.bool


@pytest.mark.parametrize("size", [(28, 28), (14, 10)])
def test_no_blank_corner_is_valid(size: tuple[int, int]) -> None:
    rotated, valid = rotate_features(torch.full((2, 3, *size), 7.0))
    rows = rotated.permute(0, 2, 3, 1)
    assert bool((rows[~valid] < 6.999).all())
    torch.testing.assert_close(rows[valid], torch.full((int(valid.sum()), 3), 7.0))


def test_a_turned_square_keeps_the_octagon() -> None:
    _, valid = rotate_features(torch.rand(1, 1, 64, 64))
    assert valid.float().mean() == pytest.approx(2 * math.sqrt(2) - 2, abs=0.03)


def test_a_valid_feature_is_the_one_at_the_place_turned_back() -> None:
    """A map that holds its own coordinates must hold the turned-back coordinates after the rotation."""
    size = 21
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    right, up = axis.expand(size, size), -axis[:, None].expand(size, size)
    rotated, valid = rotate_features(torch.stack([right, up])[None])
    for angle, found, where in zip(ANGLES, rotated, valid, strict=True):
        expected = turned_back(right, up, angle)
        torch.testing.assert_close(found[:, where], expected[:, where], atol=1e-4, rtol=0)


def turned_back(right: Tensor, up: Tensor, angle: float) -> Tensor:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return torch.stack([cos * right + sin * up, cos * up - sin * right])
