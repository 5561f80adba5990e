"""Textures and the operations on them, against libraries and against numbers worked out by hand."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from augmentation import color
from augmentation.perlin import draw_perlin_noise
from augmentation.rotation import rotate
from augmentation.texture import EXPONENTS, generated_textures, shifted_images, vary_textures

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, side: int = 24) -> Tensor:
    """Images whose values are levels of 8 bits."""
    return torch.randint(256, (count, 3, side, side), generator=generator()) / 255


def as_pil(image: Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def test_hue_saturation_and_value_are_those_of_the_library_and_lead_back() -> None:
    image = random_images(2, side=6)
    found = color.rgb_to_hsv(image)
    pixels = image.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    expected = torch.tensor([colorsys.rgb_to_hsv(*pixel) for pixel in pixels])
    torch.testing.assert_close(found.permute(0, 2, 3, 1).reshape(-1, 3), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(color.hsv_to_rgb(found), image, rtol=1e-4, atol=1e-5)
    grey = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(color.hsv_to_rgb(color.rgb_to_hsv(grey)), grey)


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.8])
def test_sharpness_is_that_of_pil_inside(factor: float) -> None:
    image = random_images(1)
    expected = as_tensor(ImageEnhance.Sharpness(as_pil(image[0])).enhance(factor))
    found = color.sharpened(image, torch.full((1, 1, 1, 1), factor)).clamp(0, 1)[0]
    assert (found - expected)[:, 1:-1, 1:-1].abs().max() < 1.5 / 255


def test_contrast_is_stretched_as_pil_does() -> None:
    image = 0.2 + 0.5 * random_images(1, side=40)
    image = (image * 255).round() / 255
    for cutoff in (0, 10):
        expected = as_tensor(ImageOps.autocontrast(as_pil(image[0]), cutoff=cutoff))
        found = color.stretched(image, torch.tensor([[cutoff / 100]])).clamp(0, 1)[0]
        assert (found - expected).abs().max() < 0.02
    flat = torch.full((1, 3, 4, 4), 0.3)
    assert torch.equal(color.stretched(flat, torch.tensor([[0.1]])), flat)


def test_equalized_channels_use_all_levels() -> None:
    image = random_images(1, side=64) ** 3
    levels = color.equalized(image).flatten().sort().values
    torch.testing.assert_close(levels, torch.linspace(0, 1, len(levels)), rtol=0, atol=0.15)


def test_rotation_turns_each_image_by_its_own_angle_and_fills_with_zero() -> None:
    image = random_images(3)
    turned = rotate(image, torch.tensor([0.0, 90.0, 45.0]), "bilinear")
    torch.testing.assert_close(turned[0], image[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(turned[1], image[1].rot90(1, (1, 2)), rtol=1e-4, atol=1e-4)
    assert (turned[2, :, 0, 0] == 0).all(), "the corner comes from outside"


def test_every_texture_is_changed_within_range_and_by_draws_of_its_own() -> None:
    image = random_images(1).expand(40, -1, -1, -1)
    varied = vary_textures(image, generator())
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert len({tuple(row.flatten()[:200].tolist()) for row in varied}) == 40
    assert torch.equal(varied, vary_textures(image, generator()))
    assert not torch.equal(varied, vary_textures(image, generator(1)))
    assert torch.equal(image, random_images(1).expand(40, -1, -1, -1)), "the given ones are left alone"


def test_no_texture_gives_none() -> None:
    assert vary_textures(random_images(0), generator()).shape == (0, 3, 24, 24)
    assert generated_textures(0, (24, 24), generator(), CPU).shape == (0, 3, 24, 24)
    assert shifted_images(random_images(2), 0, generator()).shape == (0, 3, 24, 24)


def test_generated_textures_are_grey_noise_around_a_quarter() -> None:
    texture = generated_textures(6, (64, 64), generator(), CPU)
    noise = draw_perlin_noise(6, (64, 64), EXPONENTS, generator(), CPU)
    assert texture.shape == (6, 3, 64, 64)
    for channel in texture.unbind(1):
        torch.testing.assert_close(channel, (0.5 * noise + 0.25).clamp(min=0))
    assert (texture.std(dim=(2, 3)) > 0.05).all()


def test_shifted_images_hold_the_pixels_of_one_image_elsewhere() -> None:
    image = random_images(3)
    shifted = shifted_images(image, 5, generator())
    sums = [round(float(one.double().sum()), 3) for one in image]
    assert all(round(float(one.double().sum()), 3) in sums for one in shifted)
    assert not any(torch.equal(one, other) for one in shifted for other in image)
