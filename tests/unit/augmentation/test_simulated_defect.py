"""Simulated defects: the blend by hand, the shares, and what stays clean."""

import dataclasses

import pytest
import torch
from torch import Tensor

from augmentation import simulated_defect
from augmentation.simulated_defect import DefectSimulator

ALWAYS = DefectSimulator(
    p_anomaly=1.0,
    p_rotate=0.0,
    blend_min=0.0,
    blend_max=0.0,
    perlin_min=1,
    perlin_max=3,
    perlin_threshold=0.3,
    retry_empty_mask=0,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, value: float = 1.0) -> Tensor:
    return torch.full((count, 3, 32, 32), value)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave textures as they are."""
    monkeypatch.setattr(simulated_defect, "vary_textures", lambda texture, _generator: texture)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.0), (0.8, 0.8), (1.0, 1.0)])
def test_a_defect_is_a_mixture_and_the_rest_stays(weight: float, expected: float) -> None:
    simulator = dataclasses.replace(ALWAYS, blend_min=weight, blend_max=weight)
    clean, defective, mask = simulator(images(4), images(4, 0.0), generator())
    assert 0.02 < mask.mean() < 0.5
    assert set(mask.unique().tolist()) == {0, 1}
    inside = mask[:, None].expand_as(clean) > 0
    torch.testing.assert_close(defective[inside], torch.full_like(defective[inside], expected))
    assert torch.equal(defective[~inside], clean[~inside])
    assert torch.equal(clean, images(4))


@pytest.mark.usefixtures("plain")
def test_weights_are_drawn_for_each_image_within_their_bounds() -> None:
    simulator = dataclasses.replace(ALWAYS, blend_min=0.2, blend_max=0.6)
    _, defective, mask = simulator(images(30), images(30, 0.0), generator())
    weight = torch.stack([one[:, m > 0].mean() for one, m in zip(defective, mask, strict=True) if m.any()])
    assert weight.min() >= 0.2
    assert weight.max() <= 0.6
    assert weight.std() > 0.05


def test_images_without_a_texture_stay_clean() -> None:
    clean, defective, mask = ALWAYS(images(5), images(2, 0.0), generator())
    assert torch.equal(defective[2:], clean[2:])
    assert not mask[2:].any()
    assert mask[:2].any()


def test_the_share_of_defective_images_is_the_probability() -> None:
    simulator = dataclasses.replace(ALWAYS, p_anomaly=0.5)
    counts = [simulator.num_defects(8, generator(seed)) for seed in range(200)]
    assert sum(counts) / 1600 == pytest.approx(0.5, abs=0.05)
    assert ALWAYS.num_defects(8, generator()) == 8
    assert dataclasses.replace(ALWAYS, p_anomaly=0.0).num_defects(8, generator()) == 0


def test_some_images_are_rotated_and_their_target_with_them() -> None:
    simulator = dataclasses.replace(ALWAYS, p_rotate=0.3)
    image = torch.rand(200, 3, 16, 16, generator=generator())
    clean, defective, mask = simulator(image, image[:0], generator())
    turned = (clean != image).flatten(1).any(1)
    assert turned.float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert torch.equal(clean, defective)
    assert not mask.any()


def test_empty_masks_are_drawn_again_if_asked_for() -> None:
    rare = dataclasses.replace(ALWAYS, perlin_min=0, perlin_max=1, perlin_threshold=0.5)
    few, many = (
        dataclasses.replace(rare, retry_empty_mask=retries)(images(60), images(60, 0.0), generator()).mask
        for retries in (0, 20)
    )
    assert not few.flatten(1).any(1).all()
    assert many.flatten(1).any(1).all()


def test_the_same_seed_gives_the_same_defects() -> None:
    first, again, other = (ALWAYS(images(3), images(3, 0.0), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.defective, again.defective)
    assert not torch.equal(first.mask, other.mask)


def test_colours_stay_in_range_whatever_is_done_to_texture_and_image() -> None:
    simulator = dataclasses.replace(ALWAYS, p_rotate=0.5, blend_max=0.8)
    image, texture = (torch.rand(24, 3, 32, 32, generator=generator(seed)) for seed in (0, 1))
    for found in simulator(image, texture, generator()):
        assert found.min() >= 0
        assert found.max() <= 1
