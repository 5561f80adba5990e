"""Colour changes of a batch against torchvision's, image by image."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from augmentation.color_jitter import ColorChange, change_color, draw_color_change


def images(count: int = 6, side: int = 16) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def only(count: int, **values: float) -> ColorChange:
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | values
    return ColorChange(**{name: torch.full((count,), value) for name, value in neutral.items()})


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("value", [-0.3, 0.1, 0.45])
def test_one_change_is_that_of_torchvision(name: str, value: float) -> None:
    image = images()
    factor = value if name == "hue" else 1 + value
    expected = getattr(functional, f"adjust_{name}")(image, factor)
    torch.testing.assert_close(change_color(image, only(6, **{name: factor})), expected, rtol=0, atol=2e-5)


def test_every_image_has_its_own_change() -> None:
    image = images()
    change = draw_color_change(6, 0.3, torch.Generator().manual_seed(1))
    assert all(len(set(values.tolist())) == 6 for values in change)
    for row in range(6):
        alone = change_color(image[row : row + 1], ColorChange._make(v[row : row + 1] for v in change))
        torch.testing.assert_close(change_color(image, change)[row], alone[0])


def test_draws_stay_within_the_strength() -> None:
    change = draw_color_change(10_000, 0.1, torch.Generator().manual_seed(0))
    for values, centre in zip(change, (1, 1, 1, 0), strict=True):
        assert (values - centre).abs().max() <= 0.1 + 1e-6
        assert values.min() < centre - 0.099
        assert values.max() > centre + 0.099


def test_no_change_is_the_identity_and_a_full_turn_of_the_hue_too() -> None:
    image = images()
    torch.testing.assert_close(change_color(image, only(6)), image, rtol=0, atol=1e-5)
    torch.testing.assert_close(change_color(image, only(6, hue=1.0)), image, rtol=0, atol=1e-5)
    gray = image[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(change_color(gray, only(6, hue=0.3)), gray, rtol=0, atol=1e-5)


def test_the_contrast_of_a_region_is_about_its_own_mean() -> None:
    image = images(1)
    region = torch.zeros(1, 16, 16, dtype=torch.bool)
    region[:, 4:9, 2:12] = True
    found = change_color(image, only(1, contrast=1.4), region)[:, :, 4:9, 2:12]
    expected = functional.adjust_contrast(image[:, :, 4:9, 2:12], 1.4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
