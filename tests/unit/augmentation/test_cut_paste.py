"""What CutPaste pastes, from where and to where."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from augmentation.cut_paste import (
    TITLES,
    Patch,
    draw_large_patch,
    draw_scar,
    make_variants,
    move,
)

MANY = 100_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, side: int = 64) -> Tensor:
    """Images in which no colour stands twice."""
    pixels = torch.randperm(count * side * side * 3, generator=generator()).double() / (
        count * side * side * 3
    )
    return pixels.float().view(count, 3, side, side)


def box(changed: Tensor) -> tuple[int, int, int]:
    """Return height and width of the box around the True of (H, W), and how many there are."""
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1, int(changed.sum())


def extent(patch: Patch) -> tuple[Tensor, Tensor]:
    """Return the height and width of the upright boxes around the pasted rectangles."""
    cos, sin = patch.angle.cos().abs(), patch.angle.sin().abs()
    return patch.height * cos + patch.width * sin, patch.height * sin + patch.width * cos


@pytest.mark.parametrize("draw", [draw_large_patch, draw_scar])
@pytest.mark.parametrize("size", [(256, 256), (64, 64), (40, 96)])
def test_a_patch_lies_inside_where_it_comes_from_and_where_it_goes(
    draw: Callable[..., Patch], size: tuple[int, int]
) -> None:
    patch = draw(MANY, size, generator())
    tall, wide = extent(patch)
    for side, corner, length, centre, reach in (
        (size[0], patch.top, patch.height, patch.center_y, tall),
        (size[1], patch.left, patch.width, patch.center_x, wide),
    ):
        assert corner.min() >= 0
        assert ((corner + length) <= side).all()
        assert (corner == corner.round()).all()
        assert (centre - reach / 2).min() > -1e-3
        assert (centre + reach / 2).max() < side + 1e-3
    assert min(patch.height.min(), patch.width.min()) >= 1


def test_large_patches_have_the_published_areas_and_aspects() -> None:
    patch = draw_large_patch(MANY, (256, 256), generator())
    area = patch.height * patch.width / 256**2
    assert area.min() > 0.018
    assert area.max() < 0.155
    assert area.mean().item() == pytest.approx(0.085, abs=1e-3)
    logarithm = (patch.width / patch.height).log()
    assert logarithm.abs().max() < math.log(1 / 0.3) + 0.05
    assert logarithm.mean().abs() < 0.01
    assert (patch.angle == 0).all()


def test_scars_have_the_published_sides_and_angles() -> None:
    patch = draw_scar(MANY, (256, 256), generator())
    assert (int(patch.width.min()), int(patch.width.max())) == (2, 16)
    assert (int(patch.height.min()), int(patch.height.max())) == (10, 25)
    assert patch.angle.abs().max() <= math.pi / 4 + 1e-6
    assert patch.angle.mean().abs() < 0.01


@pytest.mark.parametrize("variant", TITLES)
def test_a_constant_image_stays_as_it_is_without_jitter(variant: str) -> None:
    image = torch.full((5, 3, 64, 64), 0.3)
    made, _ = make_variants(image, variant, jitter=0, generator=generator())  # type: ignore[arg-type]
    assert torch.equal(made, image.repeat(len(TITLES[variant]), 1, 1, 1))


def test_only_one_rectangle_changes_and_holds_pixels_of_the_same_image() -> None:
    image = images(8)
    made, _ = make_variants(image, "cutpaste", jitter=0, generator=generator())
    assert torch.equal(made[:8], image)
    for before, after in zip(image, made[8:], strict=True):
        changed = (before != after).any(0)
        height, width, count = box(changed)
        assert 0.85 * height * width <= count <= height * width, "source and goal may share rows or columns"
        assert count <= 0.155 * 64**2
        at = after[:, changed].T
        assert torch.isin(at, before).all()
        source = torch.stack([(before == pixel[:, None, None]).all(0).nonzero()[0] for pixel in at[:50]])
        goal = changed.nonzero()[:50]
        assert len((goal - source).unique(dim=0)) == 1, "a patch moves as one"


def test_a_scar_changes_nothing_outside_of_a_small_box() -> None:
    image = images(32)
    made, _ = make_variants(image, "scar", jitter=0, generator=generator())
    longest = math.ceil(math.hypot(16, 25)) + 2
    for before, after in zip(image, made[32:], strict=True):
        height, width, count = box((before != after).any(0))
        assert max(height, width) <= longest
        assert 10 <= count <= 16 * 25 + 60
    _, inside = move(image, draw_scar(32, (64, 64), generator(5)))
    share = inside.flatten(1).sum(1) / (extent(draw_scar(32, (64, 64), generator(5)))[0] ** 2)
    assert share.min() < 0.4, "turned and narrow, not a square"


@pytest.mark.parametrize("variant", TITLES)
def test_labels_come_variant_by_variant(variant: str) -> None:
    made, label = make_variants(images(4), variant, generator=generator())  # type: ignore[arg-type]
    classes = len(TITLES[variant])
    assert made.shape == (4 * classes, 3, 64, 64)
    assert label.tolist() == [number for number in range(classes) for _ in range(4)]
    assert made.min() >= 0
    assert made.max() <= 1


def test_all_variants_of_an_image_share_its_change_of_colour() -> None:
    made, _ = make_variants(images(4), "3way", generator=generator())
    assert (made[:4] != images(4)).float().mean() > 0.9, "the colours change everywhere"
    for other in (made[4:8], made[8:]):
        same = (other == made[:4]).all(1).float().mean((1, 2))
        assert (same > 0.75).all()
        assert (same < 1).all()


def test_a_union_has_patches_of_both_kinds_in_equal_shares() -> None:
    image = images(1, side=128).expand(400, -1, -1, -1)
    made, _ = make_variants(image, "union", jitter=0, generator=generator())
    changed = (made[:400] != made[400:]).any(1).flatten(1).sum(1)
    largest_scar = 16 * 25 + 30  # pixels, and what rounding adds
    assert 150 < (changed > largest_scar).sum() < 230, "half of them are large, few of these are small"
    assert (changed < 0.02 * 128**2).sum() > 150, "smaller than any large patch"


def test_the_same_seed_gives_the_same_batch_and_another_one_does_not() -> None:
    image = images(4)
    first, again, other = (make_variants(image, "3way", generator=generator(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(make_variants(image, "3way")[0], first), "without a generator the global one draws"


def test_a_patch_that_is_turned_by_a_quarter_lands_as_turned() -> None:
    image = images(1, side=8)
    values = (4.0, 4.0, 0.0, 0.0, 6.0, 6.0, math.pi / 2)
    moved, inside = move(image, Patch._make(torch.tensor([value]) for value in values))
    assert inside[0].nonzero().tolist() == [[r, c] for r in range(4, 8) for c in range(4, 8)]
    torch.testing.assert_close(moved[..., 4:, 4:], image[..., :4, :4].rot90(-1, (2, 3)))
