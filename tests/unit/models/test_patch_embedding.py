import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.common.patch_embedding import PatchEmbedding, average_embedding


def literal_chain(feature_maps: list[Tensor], patch_size: int, pretrain: int, target: int) -> Tensor:
    """PatchCore's steps one by one: unfold, resize every plane, flatten, pool each layer, join, pool."""
    batch, _, height, width = feature_maps[0].shape
    layers = []
    for feature_map in feature_maps:
        channels, h, w = feature_map.shape[1:]
        planes = F.unfold(feature_map, patch_size, padding=patch_size // 2).view(batch, -1, h, w)
        planes = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)
        rows = planes.permute(0, 2, 3, 1).reshape(-1, 1, channels * patch_size**2)
        layers.append(F.adaptive_avg_pool1d(rows, pretrain)[:, 0])
    joined = torch.stack(layers, dim=1).flatten(1)
    return F.adaptive_avg_pool1d(joined[:, None], target)[:, 0]


@pytest.mark.parametrize(
    ("channels", "patch_size", "pretrain", "target"),
    [
        ((512, 1024), 3, 1024, 1024),  # WideResNet50
        ((512, 1024), 3, 1536, 1536),  # SimpleNet's widths
        ((128, 256), 3, 1024, 1024),  # ResNet18
        ((128, 256), 3, 384, 384),
        ((128, 256), 5, 1024, 1024),
        ((10, 21), 3, 37, 51),  # an output that mixes both layers
        ((6, 8, 12), 1, 20, 31),
    ],
)
def test_embedding_equals_the_literal_chain(
    channels: tuple[int, ...], patch_size: int, pretrain: int, target: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = [(8, 6), (4, 3), (2, 2)]
    feature_maps = [
        torch.rand(2, c, *side, generator=generator) for c, side in zip(channels, sides, strict=False)
    ]
    embedding = PatchEmbedding(channels, patch_size, pretrain, target)(feature_maps)
    expected = literal_chain(feature_maps, patch_size, pretrain, target)
    assert embedding.shape == (2 * 8 * 6, target)
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-6)


def test_weights_for_wide_resnet_are_those_worked_out_by_hand() -> None:
    embedding = PatchEmbedding((512, 1024), 3, 1024, 1024)
    assert embedding.groups == [512, 512]
    first = torch.tensor([[1.0, 1, 1], [1, 2, 1], [1, 1, 1]]) / 10
    torch.testing.assert_close(embedding.get_buffer("kernel0"), first.expand(512, 1, 3, 3))
    torch.testing.assert_close(embedding.get_buffer("kernel1"), torch.full((512, 2, 3, 3), 1 / 18))


def test_constant_maps_stay_constant_inside_and_lose_the_padding_share_at_the_border() -> None:
    maps = [torch.full((1, 512, 8, 8), 2.0), torch.full((1, 1024, 4, 4), 2.0)]
    rows = PatchEmbedding((512, 1024))(maps).view(8, 8, 1024)
    torch.testing.assert_close(rows[3, 3], torch.full((1024,), 2.0))
    torch.testing.assert_close(rows[0, 0, :512], torch.full((512,), 2.0 * 5 / 10))


def test_rows_are_image_major_and_independent_of_the_batch() -> None:
    maps = [torch.rand(3, 8, 4, 4), torch.rand(3, 16, 2, 2)]
    embedding = PatchEmbedding((8, 16), target_dimension=24, pretrain_dimension=24)
    rows = embedding(maps)
    alone = embedding([one[1:2] for one in maps])
    torch.testing.assert_close(rows[16:32], alone)


def test_kernels_follow_from_the_arguments_and_are_not_saved() -> None:
    assert not PatchEmbedding((8, 16), target_dimension=24).state_dict()


def test_even_patch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        PatchEmbedding((8,), patch_size=2)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_average_embedding_counts_padding_and_repeats_blocks(mode: str) -> None:
    maps = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    rows = average_embedding(maps, mode=mode)
    fine = F.unfold(maps[0], 3, padding=1).view(2, 3, 9, 16).sum(2) / 9
    coarse = (F.unfold(maps[1], 3, padding=1).view(2, 5, 9, 4).sum(2) / 9).view(2, 5, 2, 2)
    if mode == "nearest":
        coarse = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    else:
        coarse = F.interpolate(coarse, size=(4, 4), mode="bilinear")
    expected = torch.cat([fine, coarse.flatten(2)], dim=1).permute(0, 2, 1).reshape(32, 8)
    torch.testing.assert_close(rows, expected)
