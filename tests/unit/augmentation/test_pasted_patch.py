import torch

from augmentation.cut_paste import paste_patches
from tests.loaders import random_images


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
