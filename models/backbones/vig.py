"""ViG and pyramid ViG: the cells of a feature map as nodes of a graph that follows from the features.

Source: Han et al., "Vision GNN: An Image is Worth Graph of Nodes", NeurIPS 2022. The modules have the names
of the authors' code, so that its published weights fit. Differs from the source: no classifier, no dropout;
the bias of the pyramid's distances is computed and not read from the weights.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_SIDE = 224  # pixels; the position table fits no other
NUM_NEIGHBOURS = 9  # k of the first block
GROUPS = 4  # of the convolution after the aggregation
REDUCTIONS = (
    4,
    2,
    1,
    1,
)  # side of the squares of nodes that are pooled to one neighbour, by stage of a pyramid
BLOCKS_PER_DILATION = 4  # every fourth block looks one step farther


class VigShape(NamedTuple):
    """Blocks and channels of each stage; a single stage is the isotropic net, four are a pyramid."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...]


class Grapher(nn.Module):
    """Give each node the largest differences to its nearest nodes, and mix the channels.

    Args:
        channels: C.
        num_neighbours: k.
        dilation: every so manieth of the nearest k * dilation nodes is a neighbour.
        reduction: side of the squares of nodes whose mean is a possible neighbour; 1 for no squares.
        side: of the feature map, in nodes, for a bias towards near positions; None for no bias.
    """

    position_bias: Tensor | None  # (N, N / reduction^2), added to the distances

    def __init__(
        self, channels: int, num_neighbours: int, dilation: int, reduction: int = 1, side: int | None = None
    ) -> None:
        super().__init__()
        self.num_neighbours = num_neighbours
        self.dilation = dilation
        self.reduction = reduction
        self.fc1 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        mix = nn.Sequential(
            nn.Conv2d(2 * channels, 2 * channels, 1, groups=GROUPS), nn.BatchNorm2d(2 * channels), nn.GELU()
        )
        self.graph_conv = nn.Sequential(OrderedDict(gconv=nn.Sequential(OrderedDict(nn=mix))))
        self.fc2 = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.BatchNorm2d(channels))
        bias = None if side is None else position_bias(channels, side, reduction)
        self.register_buffer("position_bias", bias, persistent=False)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        hidden = self.fc1(feature)
        node = hidden.flatten(2)
        other = node if self.reduction == 1 else F.avg_pool2d(hidden, self.reduction).flatten(2)
        index = nearest_nodes(node, other, self.num_neighbours, self.dilation, self.position_bias)
        joined = interleave(node, max_relative(node, other, index))
        return feature + self.fc2(self.graph_conv(joined.unflatten(2, feature.shape[2:])))


class FeedForward(nn.Module):
    """Two pointwise convolutions and a shortcut.

    Args:
        channels: C; 4 C in between.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels))
        self.fc2 = nn.Sequential(nn.Conv2d(4 * channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        return feature + self.fc2(F.gelu(self.fc1(feature)))


class Vig(nn.Module):
    """The net up to the deepest block asked for.

    Args:
        shape: blocks and channels by stage.
        layers: what `forward` returns: block0, block1, ... count from 0 as in the authors' code, where the
            convolutions between the stages of a pyramid count as blocks; `pooled` is the mean over the last.
    """

    def __init__(self, shape: VigShape, layers: Sequence[str]) -> None:
        super().__init__()
        self.layers = frozenset(layers)
        is_pyramid = len(shape.blocks) > 1
        side = INPUT_SIDE // (4 if is_pyramid else 16)
        self.stem = nn.Sequential(OrderedDict(convs=_stem(shape.channels[0], is_pyramid)))
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.channels[0], side, side))
        names = block_names(shape)
        count = len(names) if "pooled" in layers else 1 + max(names.index(layer) for layer in layers)
        self.backbone = nn.Sequential(*list(_blocks(shape, side))[:count])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a normalised (B, 3, 224, 224) image to its features by layer."""
        features = {}
        feature = self.stem(image) + self.pos_embed
        for number, block in enumerate(self.backbone):
            feature = block(feature)
            if f"block{number}" in self.layers:
                features[f"block{number}"] = feature
        if "pooled" in self.layers:
            features["pooled"] = feature.mean(dim=(2, 3))
        return features


def block_names(shape: VigShape) -> tuple[str, ...]:
    """Return the names of the layers, in their order."""
    return tuple(f"block{number}" for number in range(sum(shape.blocks) + len(shape.blocks) - 1))


def nearest_nodes(
    node: Tensor, other: Tensor, num_neighbours: int, dilation: int, bias: Tensor | None
) -> Tensor:
    """Return the (B, N, k) positions in `other` of each node's neighbours, by the distance of directions.

    Args:
        node: (B, C, N).
        other: (B, C, M), the possible neighbours.
        num_neighbours: k.
        dilation: every so manieth of the nearest is taken, the first one included.
        bias: (N, M), added to the squared distances; None for none.
    """
    with torch.autocast(node.device.type, enabled=False):  # rounding to 16 bits would change the neighbours
        query, key = F.normalize(node.float(), dim=1), F.normalize(other.float(), dim=1)
        square = key.square().sum(1, keepdim=True)  # the node's own norm is the same for all its neighbours
        base = square if bias is None else square + bias
        distance = torch.baddbmm(base, query.mT, key, alpha=-2)
        nearest = distance.topk(num_neighbours * dilation, largest=False).indices
    return nearest[:, :, ::dilation]


def max_relative(node: Tensor, other: Tensor, index: Tensor) -> Tensor:
    """Return the (B, C, N) largest differences, by channel, of each node's neighbours to the node.

    Args:
        node: (B, C, N).
        other: (B, C, M).
        index: (B, N, k) positions of the neighbours in `other`.
    """
    first_row = torch.arange(len(other), device=other.device) * other.shape[2]
    row = (index + first_row[:, None, None]).flatten()
    neighbour = other.mT.flatten(0, 1).index_select(0, row).unflatten(0, index.shape)
    return neighbour.amax(2).mT - node


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Return the channels of two (B, C, N) in turn, (B, 2C, N)."""
    return torch.stack([first, second], dim=2).flatten(1, 2)


def neighbour_schedule(shape: VigShape) -> list[tuple[int, int]]:
    """Return the number of neighbours and the dilation of each graph block."""
    count = sum(shape.blocks)
    is_pyramid = len(shape.blocks) > 1
    last = NUM_NEIGHBOURS if is_pyramid else 2 * NUM_NEIGHBOURS
    numbers = [int(number) for number in torch.linspace(NUM_NEIGHBOURS, last, count, device="cpu")]
    smallest = 49 if is_pyramid else 196  # nodes of the last map: no block may ask for more
    return [
        (k, min(block // BLOCKS_PER_DILATION + 1, smallest // max(numbers)))
        for block, k in enumerate(numbers)
    ]


def position_bias(channels: int, side: int, reduction: int) -> Tensor:
    """Return minus the similarities of the sine and cosine codes of the positions, (N, N / reduction^2).

    Args:
        channels: length of a code, a multiple of 4.
        side: of the map, in nodes; N = side^2.
        reduction: side of the squares that are one neighbour; the columns are resized as the authors do it.
    """
    frequency = 10000.0 ** -(torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    code = torch.cat([angle.sin(), angle.cos()], dim=1)
    column, row = code.repeat(side, 1), code.repeat_interleave(side, 0)
    position = torch.cat([column, row], dim=1)
    similarity = (2 * position @ position.T / channels).float()
    size = (side**2, side**2 // reduction**2)
    return -F.interpolate(similarity[None, None], size=size, mode="bicubic")[0, 0]


def _blocks(shape: VigShape, side: int) -> Iterator[nn.Module]:
    schedule = iter(neighbour_schedule(shape))
    is_pyramid = len(shape.blocks) > 1
    for stage, (count, channels) in enumerate(zip(shape.blocks, shape.channels, strict=True)):
        if stage > 0:
            halve = nn.Conv2d(shape.channels[stage - 1], channels, 3, stride=2, padding=1)
            yield nn.Sequential(OrderedDict(conv=nn.Sequential(halve, nn.BatchNorm2d(channels))))
            side //= 2
        for _ in range(count):
            reduction = REDUCTIONS[stage] if is_pyramid else 1
            grapher = Grapher(channels, *next(schedule), reduction, side if is_pyramid else None)
            yield nn.Sequential(grapher, FeedForward(channels))


def _stem(channels: int, is_pyramid: bool) -> nn.Sequential:
    divisors = (2, 1, 1) if is_pyramid else (8, 4, 2, 1, 1)  # of the channels, layer by layer
    modules: list[nn.Module] = []
    previous = 3
    for number, divisor in enumerate(divisors):
        width, stride = channels // divisor, 1 if number == len(divisors) - 1 else 2
        modules += [nn.Conv2d(previous, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.GELU()]
        previous = width
    return nn.Sequential(*modules[:-1])
