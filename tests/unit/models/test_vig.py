"""The vision graph nets: sizes and names of the authors' code, and graphs worked out by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.backbone import Backbone
from models.backbones.table import row_of
from models.backbones.vig import (
    Grapher,
    Vig,
    VigShape,
    block_names,
    interleave,
    max_relative,
    nearest_nodes,
    neighbour_schedule,
    position_bias,
)

SMALL = VigShape((3,), (16,))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_vig(*layers: str) -> Vig:
    torch.manual_seed(0)
    return Vig(SMALL, layers).eval()


def shape_of(name: str) -> VigShape:
    build: Any = row_of(name).build
    shape: VigShape = build.args[0]
    return shape


def classifier_size(channels: int) -> int:
    """A pointwise convolution to 1024, its norm, and one to 1000 classes."""
    return (channels * 1024 + 1024) + 2 * 1024 + (1024 * 1000 + 1000)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vig_ti_224_gelu", 7_184_744),
        ("vig_s_224_gelu", 22_747_752),
        ("vig_b_224_gelu", 86_841_832),
        ("pvig_ti_224_gelu", 10_714_376),
    ],
)
def test_a_net_has_the_published_number_of_parameters(name: str, size: int) -> None:
    shape = shape_of(name)
    with torch.device("meta"):
        net = Vig(shape, block_names(shape)[-1:])
    assert sum(p.numel() for p in net.parameters()) + classifier_size(shape.channels[-1]) == size


def test_the_net_ends_at_the_deepest_block_in_use() -> None:
    backbone = Backbone("vig_ti_224_gelu", ("block3", "block4"))
    assert sum(p.numel() for p in backbone.parameters()) == 2_827_200
    assert backbone.channels == {"block3": 192, "block4": 192}
    assert backbone.strides == {"block3": 16, "block4": 16}
    assert backbone.input_size == (224, 224)
    assert backbone.mean.flatten().tolist() == backbone.std.flatten().tolist() == [0.5] * 3


def test_blocks_of_a_pyramid_count_the_convolutions_between_its_stages() -> None:
    backbone = Backbone("pvig_ti_224_gelu", ("block1", "block3", "block4", "block5"))
    assert list(backbone.channels.values()) == [48, 96, 96, 240]
    assert list(backbone.strides.values()) == [4, 8, 8, 16]


def test_a_block_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="vig_ti_224_gelu has no layer block12; it has block0, block1"):
        Backbone("vig_ti_224_gelu", ("block12",))


def test_neighbours_and_dilations_are_those_of_the_authors() -> None:
    numbers = [9, 9, 10, 11, 12, 13, 13, 14, 15, 16, 17, 18]
    dilations = [1] * 4 + [2] * 4 + [3] * 4
    assert neighbour_schedule(shape_of("vig_ti_224_gelu")) == list(zip(numbers, dilations, strict=True))
    assert neighbour_schedule(shape_of("pvig_ti_224_gelu")) == [(9, dilation) for dilation in dilations]
    assert neighbour_schedule(shape_of("pvig_b_224_gelu"))[-1] == (9, 5), "49 nodes hold 9 of every fifth"


def test_the_names_of_published_weights_fit() -> None:
    torch.manual_seed(1)
    state = {key: torch.randn(value.shape) for key, value in small_vig("block2").state_dict().items()}
    graph, feed = "backbone.1.0.", "backbone.1.1."
    published = [
        *("pos_embed", "stem.convs.0.weight", "stem.convs.13.running_var"),
        *(f"{graph}fc1.0.weight", f"{graph}fc2.1.bias"),
        *(f"{graph}graph_conv.gconv.nn.0.weight", f"{graph}graph_conv.gconv.nn.1.running_mean"),
        *(f"{feed}fc1.0.bias", f"{feed}fc2.1.weight"),
    ]
    assert set(published) <= set(state)
    assert state[f"{graph}graph_conv.gconv.nn.0.weight"].shape == (32, 8, 1, 1), "four groups"
    with torch.device("meta"):
        pyramid = Vig(shape_of("pvig_ti_224_gelu"), ["block3"])
    assert {"backbone.2.conv.0.weight", "backbone.2.conv.1.bias", "stem.convs.7.bias"} <= set(
        pyramid.state_dict()
    )


def test_weights_of_a_file_are_the_ones_in_use() -> None:
    torch.manual_seed(2)
    whole = Vig(shape_of("vig_ti_224_gelu"), ["block4"]).eval()
    nn.init.normal_(whole.pos_embed)
    backbone = Backbone("vig_ti_224_gelu", ("block3", "block4")).eval()
    extra = {"prediction.0.weight": torch.zeros(1), "backbone.11.0.fc1.0.weight": torch.zeros(1)}
    assert not backbone.load_weights({**whole.state_dict(), **extra}, partial=False)
    image = random(1, 3, 224, 224).sigmoid()
    with torch.no_grad():
        assert torch.equal(backbone(image)["block4"], whole((image - 0.5) / 0.5)["block4"])


def test_differences_to_neighbours_worked_out_by_hand() -> None:
    node = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]]).T[None]
    index = nearest_nodes(node, node, num_neighbours=2, dilation=1, bias=None)
    assert index.tolist() == [[[0, 2], [1, 2], [2, 0]]], "the node itself, then the nearest direction"
    expected = torch.tensor([[1.0, 0.1], [2.0, 0.0], [0.0, 0.0]]).T[None]
    torch.testing.assert_close(max_relative(node, node, index), expected)


def test_channels_are_interleaved() -> None:
    first, second = torch.tensor([1.0, 2.0]).view(1, 2, 1), torch.tensor([3.0, 4.0]).view(1, 2, 1)
    assert interleave(first, second).flatten().tolist() == [1, 3, 2, 4]


def test_neighbours_are_the_plain_nearest_of_every_image_and_dilation_skips() -> None:
    node, other = random(2, 8, 30), random(2, 8, 20, seed=1)
    bias = random(30, 20, seed=2)
    direction, target = F.normalize(node, dim=1).mT, F.normalize(other, dim=1).mT
    distance = (direction[:, :, None] - target[:, None]).square().sum(3) + bias
    expected = distance.argsort(dim=2)[:, :, :12:3]
    assert torch.equal(nearest_nodes(node, other, 4, 3, bias), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest_nodes(node, other, 4, 3, bias), expected), "in float32 whatever --amp says"


def test_a_node_is_its_own_neighbour_unless_the_others_are_pooled() -> None:
    node = random(2, 8, 36)
    assert (max_relative(node, node, nearest_nodes(node, node, 9, 2, None)) >= 0).all()
    pooled = F.avg_pool2d(node.unflatten(2, (6, 6)), 2).flatten(2)
    assert (max_relative(node, pooled, nearest_nodes(node, pooled, 3, 1, None)) < 0).any()


def test_permuted_nodes_give_permuted_features() -> None:
    torch.manual_seed(0)
    grapher = Grapher(channels=16, num_neighbours=9, dilation=2).eval()
    feature, order = random(2, 16, 14, 14), torch.randperm(196)
    shuffled = feature.flatten(2)[:, :, order].unflatten(2, (14, 14))
    with torch.no_grad():
        expected = grapher(feature).flatten(2)[:, :, order].unflatten(2, (14, 14))
        torch.testing.assert_close(grapher(shuffled), expected)


def test_a_rotated_image_gives_rotated_features_but_for_stem_and_position_table() -> None:
    net = small_vig("block2")

    def mean_pool(image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 16).repeat(1, 6, 1, 1)[:, :16]

    net.stem = nn.Sequential()
    net.stem.forward = mean_pool  # type: ignore[method-assign]
    image = random(1, 3, 224, 224, seed=1)  # whose nodes have no two neighbours that are equally near
    with torch.no_grad():
        straight, turned = net(image)["block2"], net(image.rot90(1, (2, 3)))["block2"]
    torch.testing.assert_close(turned, straight.rot90(1, (2, 3)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(turned, straight, atol=0.1)


def test_a_pyramid_prefers_near_positions() -> None:
    bias = position_bias(channels=16, side=6, reduction=1)
    torch.testing.assert_close(bias.diagonal(), torch.full((36,), -1.0))
    torch.testing.assert_close(bias, bias.T)
    assert bias[0, 0] < bias[0, 1] < bias[0, 2], "farther to the right"
    assert bias[0, 0] < bias[0, 6] < bias[0, 12], "farther down"
    assert position_bias(channels=16, side=8, reduction=2).shape == (64, 16)
