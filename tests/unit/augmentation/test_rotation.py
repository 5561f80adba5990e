import pytest
import torch
from torchvision.transforms.v2 import functional

from augmentation.rotation import rotate, rotate_at_random
from tests.loaders import random_images


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, -1])
def test_quarter_turns_move_every_pixel_of_a_square(quarters: int) -> None:
    image = random_images(2, side=16)
    turned = rotate(image, torch.full((2,), 90.0 * quarters), "nearest")
    assert torch.equal(turned, torch.rot90(image, quarters, dims=(2, 3)))


@pytest.mark.parametrize("size", [(48, 48), (32, 48)])
def test_any_angle_is_that_of_torchvision(size: tuple[int, int]) -> None:
    image = random_images(3, side=48)[:, :, : size[0]]
    turned = rotate(image, torch.tensor([20.0, -65.0, 130.0]), "nearest")
    for one, original, angle in zip(turned, image, (20, -65, 130), strict=True):
        expected = functional.rotate(original, angle)  # nearest neighbour, black
        assert (one == expected).float().mean() > 0.99, "but for pixels that lie between two"


def test_corners_are_black_and_no_colour_is_new() -> None:
    image = 0.5 + 0.5 * random_images(1, side=32)
    turned = rotate(image, torch.tensor([45.0]), "nearest")
    assert (turned[0, :, 0, 0] == 0).all()
    assert set(turned[0, 0].unique().tolist()) <= {0.0, *image[0, 0].unique().tolist()}


def test_every_image_has_an_angle_of_its_own_within_the_bound() -> None:
    torch.manual_seed(0)
    image = torch.zeros(200, 1, 33, 33)
    image[:, :, 16, 32] = 1  # the right end of the middle row
    image[:, :, 15:18, 30:] = 1
    turned = rotate_at_random(image, 60.0)[:, 0]
    place = torch.arange(33) - 16.0
    down, across = (turned * place[:, None]).sum((1, 2)), (turned * place).sum((1, 2))
    angle = torch.rad2deg(torch.atan2(-down, across))
    assert angle.abs().max() < 64
    assert angle.min() < -45
    assert angle.max() > 45
    assert torch.equal(rotate_at_random(image, 0.0), image)


def test_mixed_precision_moves_no_pixel() -> None:
    image, degrees = random_images(2, side=64), torch.tensor([20.0, -65.0])
    with torch.autocast("cpu", torch.bfloat16):
        turned = rotate(image, degrees, "nearest")
    assert torch.equal(turned, rotate(image, degrees, "nearest"))
