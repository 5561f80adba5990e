"""The `-fat` types, and upstream's defects of augmentation (2) as negative tests."""

import pytest
import torch
from torch import Tensor

from augmentation.fewshot import KINDS, augment

GEOMETRIC = ("rotation", "scale", "translate", "flip", "perspective")
RANDOM = ("translate", "flip", "color_jitter", "perspective")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 2, height: int = 32, width: int = 32) -> Tensor:
    """Return random images without a black pixel."""
    return torch.randint(1, 256, (count, 3, height, width), generator=seeded(1)).to(torch.uint8)


def white(size: int = 64) -> Tensor:
    return torch.full((1, 3, size, size), 255, dtype=torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_image_comes_untouched_before_its_copies(kind: str, dtype: torch.dtype) -> None:
    image = images() if dtype == torch.uint8 else images().float() / 255
    found, mask = augment(image, None, [kind], 4, seeded())
    assert mask is None
    assert found.shape == (10, 3, 32, 32)
    assert found.dtype == dtype
    assert torch.equal(found[::5], image)
    assert found.amin() >= image.new_zeros(()).item()
    assert found.amax() <= (255 if dtype == torch.uint8 else 1)


@pytest.mark.parametrize("kind", GEOMETRIC)
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_a_mask_moves_with_its_image(kind: str, size: tuple[int, int]) -> None:
    """Where the image shows its mask in white on grey, it still does so after any type."""
    mask = torch.zeros(2, *size, dtype=torch.uint8)
    mask[0, 4:15, 9:21] = 1
    mask[1, 10:22, 2:9] = 1
    image = (100 + 155 * mask)[:, None].expand(2, 3, *size)
    found, found_mask = augment(image, mask, [kind], 5, seeded())
    assert found_mask is not None
    assert found_mask.shape == (12, *size)
    assert found_mask.dtype == torch.uint8
    assert torch.equal(found[:, 0] == 255, found_mask == 1)
    assert found_mask.sum() > 0


def test_rotation_shares_the_circle() -> None:
    image = images()
    found, _ = augment(image, None, ["rotation"], 3, seeded())
    for quarter in range(4):
        assert torch.equal(found[quarter::4], torch.rot90(image, quarter, (-2, -1)))


def test_flips_come_in_their_order() -> None:
    image = images(1)
    found, _ = augment(image, None, ["flip"], 40, seeded())
    expected = [image[0], image[0].flip(-1), image[0].flip(-2), image[0].flip(-1, -2)]
    for copy, flipped in zip(found[:4], expected, strict=True):
        assert torch.equal(copy, flipped)
    counts = [sum(torch.equal(copy, flipped) for copy in found[4:]) for flipped in expected]
    assert sum(counts) == 37
    assert min(counts) >= 3  # about 9 each


def test_scale_falls_evenly_to_a_half() -> None:
    found, _ = augment(white(), None, ["scale"], 4, seeded())
    shares = (found[:, 0] == 255).float().mean(dim=(1, 2)).sqrt()
    torch.testing.assert_close(shares, torch.tensor([1, 0.875, 0.75, 0.625, 0.5]), atol=0.02, rtol=0)


def test_a_shift_stays_within_its_share_of_the_side() -> None:
    found, _ = augment(white().expand(200, 3, 64, 64)[..., :48], None, ["translate"], 4, seeded())
    visible = (found[:, 0] == 255).view(200, 5, 64, 48)
    for axis, side in ((3, 64), (2, 48)):
        kept = visible.any(dim=axis).float().sum(dim=-1)
        for index in range(5):
            limit = 0.125 * index * side
            assert kept[:, index].min() >= side - limit
            assert kept[:, index].min() <= side - 0.9 * limit  # the limit is used


def test_color_jitter_draws_factors_from_the_stated_range() -> None:
    """Of a grey image, contrast changes nothing and brightness the level by its factor."""
    image = torch.full((300, 3, 4, 4), 0.4)
    found, _ = augment(image, None, ["color_jitter"], 4, seeded())
    factor = (found[:, 0, 0, 0] / 0.4).view(300, 5)
    for index, strength in enumerate((0.5, 0.5 + 1 / 3, 0.5 + 2 / 3, 1.5), start=1):
        low, high = max(0.0, 1 - strength), 1 + strength
        assert low - 1e-5 <= factor[:, index].min() < low + 0.05
        assert high - 0.05 < factor[:, index].max() <= high + 1e-5


def test_color_jitter_changes_the_contrast_about_the_mean() -> None:
    image = torch.tensor([0.1, 0.3]).repeat(1, 3, 8, 4)
    found, _ = augment(image, None, ["color_jitter"], 1, seeded())
    ratio = (found[1, 0, 0, 1] - found[1, 0, 0, 0]) / found[1, 0, 0].mean()
    assert ratio != pytest.approx(1.0, abs=0.01)  # brightness alone keeps it at 0.2 / 0.2


def test_perspective_distorts_more_and_more() -> None:
    found, _ = augment(white().expand(50, 3, 64, 64), None, ["perspective"], 4, seeded())
    black = (found[:, 0] == 0).float().mean(dim=(1, 2)).view(50, 5)
    means = black.mean(dim=0)
    assert means[0] == 0
    assert bool((means.diff() > 0.01).all())
    assert black.max() < 0.75  # each corner keeps at least half of its way to the centre


def test_the_types_act_in_one_order_whatever_the_order_asked_for() -> None:
    image = images()
    one, _ = augment(image, None, ["rotation", "perspective", "flip"], 3, seeded())
    other, _ = augment(image, None, ["flip", "rotation", "perspective"], 3, seeded())
    assert torch.equal(one, other)


@pytest.mark.parametrize("kind", RANDOM)
def test_the_generator_decides_and_nested_shots_have_the_same_copies(kind: str) -> None:
    image = images(4)
    four, _ = augment(image, None, [kind], 5, seeded())
    two, _ = augment(image[:2], None, [kind], 5, seeded())
    other, _ = augment(image, None, [kind], 5, seeded(7))
    assert torch.equal(four[:12], two)
    assert not torch.equal(four, other)


def test_nothing_generated_leaves_the_images() -> None:
    found, _ = augment(images(), None, ["rotation"], 0, seeded())
    assert torch.equal(found, images())


@pytest.mark.parametrize(("kinds", "num_generated"), [(["blur"], 4), ([], 4), (["rotation"], -1)])
def test_wrong_arguments_are_refused(kinds: list[str], num_generated: int) -> None:
    with pytest.raises(ValueError, match=r"kinds|num_generated"):
        augment(images(), None, kinds, num_generated, seeded())


# Upstream's defects of augmentation, by number.


@pytest.mark.parametrize("kind", ["rotation", "scale"])
def test_upstream_2_1_no_copy_is_made_from_another_copy_or_shot(kind: str) -> None:
    found, _ = augment(white().expand(8, 3, 64, 64), None, [kind], 4, seeded())
    for shot in found.view(8, 5, 3, 64, 64):
        assert torch.equal(shot, found[:5])
    assert (found == 0).float().mean(dim=(1, 2, 3)).max() <= 0.76  # scale 0.5 leaves three quarters black


def test_upstream_2_2_color_jitter_leaves_masks_alone() -> None:
    mask = torch.randint(0, 2, (2, 32, 32), generator=seeded(3)).to(torch.uint8)
    _, found = augment(images(), mask, ["color_jitter"], 4, seeded())
    assert found is not None
    assert torch.equal(found, mask.repeat_interleave(5, dim=0))


def test_upstream_2_3_image_0_of_color_jitter_is_untouched() -> None:
    found, _ = augment(images(), None, ["color_jitter"], 4, seeded())
    assert torch.equal(found[::5], images())


def test_upstream_2_4_normal_alone_gives_plain_copies() -> None:
    found, _ = augment(images(), None, ["normal"], 4, seeded())
    assert torch.equal(found, images().repeat_interleave(5, dim=0))
