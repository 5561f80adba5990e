"""PaDiM's net: the golden draw of channels, embedding, and scores that depend on the position."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.padim.net_padim import PaDiMNet, draw_channels

WIDTHS = (4, 8, 16)


def maps(batch: int, seed: int = 0, side: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, width, side >> level, side >> level, generator=generator)
        for level, width in enumerate(WIDTHS)
    ]


def rows(feature_maps: list[Tensor], *index: int) -> list[Tensor]:
    return [feature_map[list(index)] for feature_map in feature_maps]


def net(count: int = 10) -> PaDiMNet:
    return PaDiMNet(WIDTHS, draw_channels(sum(WIDTHS), count, seed=66), epsilon=0.01)


def learned(feature_maps: list[Tensor], count: int = 10) -> PaDiMNet:
    built = net(count)
    built.learn([built.embed(feature_maps)], len(feature_maps[0]))
    return built


@pytest.mark.parametrize(
    ("seed", "total", "count", "first"),
    [
        (66, 448, 100, [36, 159, 222, 126, 402, 228, 150, 131]),
        (66, 1792, 550, [145, 638, 890, 504]),
        (1024, 448, 100, [408, 9, 247, 435]),
        (1024, 1792, 550, [1632, 39, 990, 1740]),
    ],
)
def test_channels_are_those_of_the_published_seeds(
    seed: int, total: int, count: int, first: list[int]
) -> None:
    drawn = draw_channels(total, count, seed)
    assert drawn[: len(first)] == first
    assert len(set(drawn)) == count


@pytest.mark.parametrize("count", [0, 29])
def test_channels_that_are_not_there_cannot_be_drawn(count: int) -> None:
    with pytest.raises(ValueError, match="count must be within 1 and 28"):
        draw_channels(28, count, seed=0)


@pytest.mark.parametrize("side", [8, 9])
def test_choosing_before_repeating_is_choosing_after_it(side: int) -> None:
    feature_maps, built = maps(3, side=side), net()
    repeated = torch.cat([F.interpolate(m, size=(side, side), mode="nearest") for m in feature_maps], dim=1)
    expected = repeated[:, built.channel].flatten(2).permute(2, 0, 1)
    assert torch.equal(built.embed(feature_maps), expected)


def test_coarse_cells_are_repeated_in_blocks() -> None:
    built = PaDiMNet([1, 1], [1], epsilon=0.01)
    coarse = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    embedding = built.embed([torch.zeros(1, 1, 8, 8), coarse])
    expected = coarse[0, 0].repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert torch.equal(embedding.view(8, 8), expected)


@pytest.mark.parametrize("num_images", [1, 6, 9, 10, 30])
def test_scores_are_the_plain_formula_with_few_and_many_images(num_images: int) -> None:
    train, test = maps(num_images), maps(2, seed=1)
    built = learned(train)
    sample, query = built.embed(train).double(), built.embed(test).double()
    difference = query - sample.mean(1, keepdim=True)
    centred = sample - sample.mean(1, keepdim=True)
    covariance = centred.mT @ centred / max(num_images - 1, 1) + 0.01 * torch.eye(10).double()
    square = (difference @ torch.linalg.inv(covariance) * difference).sum(2)
    expected = square.sqrt().T.reshape(2, 8, 8).float()
    assert built.gaussians.has_low_rank == (num_images < 10)
    torch.testing.assert_close(built(test), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_images", [7, 30])
def test_batches_of_training_images_change_nothing(num_images: int) -> None:
    train, test = maps(num_images), maps(2, seed=1)
    split = net()
    parts = zip(*(feature_map.split(4) for feature_map in train), strict=True)
    split.learn((split.embed(list(part)) for part in parts), num_images)
    torch.testing.assert_close(split(test), learned(train)(test), rtol=1e-4, atol=1e-4)


def test_merged_tasks_are_one_task() -> None:
    train, test = maps(20), maps(2, seed=1)
    merged = net()
    for part in (rows(train, *range(6)), rows(train, *range(6, 20))):
        merged.merge([merged.embed(part)])
    assert int(merged.gaussians.count) == 20
    torch.testing.assert_close(merged(test), learned(train)(test), rtol=1e-3, atol=1e-3)


def test_a_learned_task_replaces_the_one_before() -> None:
    built, test = learned(maps(20)), maps(2, seed=1)
    second = maps(5, seed=2)
    built.learn([built.embed(second)], 5)
    torch.testing.assert_close(built(test), learned(second)(test))


def test_positions_are_not_pooled() -> None:
    generator = torch.Generator().manual_seed(3)
    pattern = [5 * torch.randn(1, *m.shape[1:], generator=generator) for m in maps(1)]
    built = learned([m + p for m, p in zip(maps(30), pattern, strict=True)])
    image = [m + p for m, p in zip(maps(1, seed=1), pattern, strict=True)]
    shifted = [torch.roll(m, 4 >> level, dims=3) for level, m in enumerate(image)]
    assert built(shifted).mean() > 2 * built(image).mean()


@pytest.mark.parametrize("num_images", [5, 30])
def test_a_pasted_patch_scores_above_the_training_images(num_images: int) -> None:
    train = maps(num_images)
    pasted = [m.clone() for m in train]
    pasted[0][:, :, 2:4, 2:4] += 10
    built = learned(train)
    clean, stained = built(train), built(pasted)
    assert (stained.amax(dim=(1, 2)) > clean.amax(dim=(1, 2))).all()
    assert (stained[:, 2:4, 2:4] > clean[:, 2:4, 2:4]).all()
    torch.testing.assert_close(stained[:, 5:], clean[:, 5:])


@pytest.mark.parametrize("num_images", [5, 30])
def test_a_restored_net_scores_the_same_whatever_its_seed(num_images: int) -> None:
    built, test = learned(maps(num_images)), maps(2, seed=1)
    restored = PaDiMNet(WIDTHS, draw_channels(sum(WIDTHS), 10, seed=1), epsilon=0.01)
    restored.load_state_dict(built.state_dict())
    assert torch.equal(restored(test), built(test))
