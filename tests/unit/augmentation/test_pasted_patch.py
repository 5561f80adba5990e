import math

import pytest
import torch

from augmentation.pasted_patch import draw_patch, draw_patch_size, paste_patches
from tests.loaders import random_images

SIDE = 200


def test_patches_have_the_published_areas_and_aspects() -> None:
    torch.manual_seed(0)
    sizes = torch.tensor([draw_patch_size(SIDE, SIDE) for _ in range(2000)]).double()
    area = sizes.prod(1) / SIDE**2
    assert 0.019 < area.min() < 0.025
    assert 0.145 < area.max() < 0.152
    assert area.mean().item() == pytest.approx(0.085, abs=0.003), "uniform"
    logarithm = (sizes[:, 1] / sizes[:, 0]).log()
    assert logarithm.abs().max().item() == pytest.approx(-math.log(0.3), abs=0.05)
    assert logarithm.mean().abs() < 0.05, "as often high as wide"


def test_places_reach_every_border_and_stay_inside() -> None:
    torch.manual_seed(0)
    places = [draw_patch(10, 20, (8, 17)) for _ in range(200)]
    assert {rows.start for _, rows, _ in places} == {0, 1, 2}
    assert {columns.start for _, _, columns in places} == {0, 1, 2, 3}
    assert {(rows.stop - rows.start, columns.stop - columns.start) for _, rows, columns in places} == {
        (8, 17)
    }


def test_an_image_changes_in_one_rectangle_only() -> None:
    torch.manual_seed(0)
    image = random_images(6, side=64)
    kept = image.clone()
    pasted = paste_patches(image)
    assert torch.equal(image, kept), "the images that were given stay as they are"
    for one, original in zip(pasted, image, strict=True):
        rows, columns = (one != original).any(0).nonzero().unbind(1)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert 0.015 < area / 64**2 < 0.17
        assert ((one != original).any(0).sum() / area) > 0.9
        assert one.min() >= 0
        assert one.max() <= 1


def test_the_colours_of_a_patch_change_a_little() -> None:
    torch.manual_seed(0)
    gray = torch.full((40, 3, 32, 32), 0.5)
    change = (paste_patches(gray) - gray).abs().amax((1, 2, 3))
    assert change.max() < 0.06, "10 % of the brightness, hardly more"
    assert (change > 0.005).float().mean() > 0.5


def test_no_image_is_no_problem() -> None:
    assert paste_patches(torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)
