"""Reverse distillation's net: a bottleneck embeds the teacher's maps, a decoder restores them.

The decoder mirrors the teacher, with transposed convolutions where that one halves its maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scale = Literal["down", "same", "up"]  # what becomes of the sides of a map: halved, kept, doubled
STRIDES = (4, 8, 16)  # pixels between the neighbours of the teacher's maps
LEAST_SIDE = 32  # pixels; the embedding has a cell for each square of this side


@dataclass(frozen=True)
class Mirror:
    """What a net takes from its teacher's architecture.

    Args:
        has_bottlenecks: blocks of three convolutions, narrow in the middle, instead of two.
        embedding_blocks: residual blocks of the embedding.
        decoder_blocks: residual blocks of each stage of the decoder, the coarsest first.
        base_width: of the decoder's bottlenecks, as ResNets count it (64, wide ones 128).
    """

    has_bottlenecks: bool = False
    embedding_blocks: int = 2
    decoder_blocks: tuple[int, int, int] = (2, 2, 2)
    base_width: int = 64


MIRRORS = {
    "wide_resnet50": Mirror(True, 3, (3, 4, 6), base_width=128),
    "timm/resnet50": Mirror(True, 3, (3, 4, 6)),
    "timm/wide_resnet50_2": Mirror(True, 3, (3, 4, 6), base_width=128),
    "timm/resnet34": Mirror(False, 3, (3, 4, 6)),
}


def mirror_of(backbone: str) -> Mirror:
    """Return what mirrors a backbone, whatever tag timm gives its weights; ResNet-18's if not listed."""
    return MIRRORS.get(backbone.partition(".")[0], Mirror())


class Residual(nn.Module):
    """ReLU of the sum of two branches.

    Args:
        main: the branch of two or three convolutions.
        skip: the branch around it.
    """

    def __init__(self, main: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.skip = skip

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h', w')."""
        return F.relu(self.main(feature) + self.skip(feature), inplace=True)


class Embedding(nn.Module):
    """The one-class bottleneck embedding: three maps become one of half the coarsest one's sides.

    Args:
        channels: widths of the teacher's maps, the finest first.
        mirror: the teacher's architecture.
        base_width: of the bottlenecks, if there are any.
    """

    def __init__(self, channels: Sequence[int], mirror: Mirror, base_width: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fuse1 = nn.Sequential(
            _convolution(fine, middle, 3, 2), nn.ReLU(True), _convolution(middle, coarse, 3, 2), nn.ReLU(True)
        )
        self.fuse2 = nn.Sequential(_convolution(middle, coarse, 3, 2), nn.ReLU(True))
        width = base_width if mirror.has_bottlenecks else None
        self.blocks = _stage(3 * coarse, 2 * coarse, mirror.embedding_blocks, width, "down")

    def forward(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Map the teacher's three maps to (B, 2 * C_3, h_3 / 2, w_3 / 2)."""
        fine, middle, coarse = feature_maps
        return self.blocks(torch.cat([self.fuse1(fine), self.fuse2(middle), coarse], dim=1))


class Decoder(nn.Module):
    """Restore the teacher's maps from the embedding, the coarsest first.

    Args:
        channels: widths of the teacher's maps, the finest first.
        mirror: the teacher's architecture.
    """

    def __init__(self, channels: Sequence[int], mirror: Mirror) -> None:
        super().__init__()
        width = mirror.base_width if mirror.has_bottlenecks else None
        widths = [2 * channels[-1], *reversed(channels)]
        self.stages = nn.ModuleList(
            _stage(before, after, blocks, width, "up")
            for before, after, blocks in zip(widths, widths[1:], mirror.decoder_blocks, strict=False)
        )

    def forward(self, embedding: Tensor) -> list[Tensor]:
        """Map the embedding to three maps of the teacher's shapes, the finest first."""
        restored = [embedding]
        for stage in self.stages:
            restored.append(stage(restored[-1]))
        return restored[:0:-1]


class ReverseNet(nn.Module):
    """The trained part: embedding and decoder.

    Args:
        channels: widths of the teacher's maps of strides 4, 8 and 16.
        mirror: the teacher's architecture.
        embedding_width: base width of the embedding's bottlenecks, if there are any.
    """

    def __init__(self, channels: Sequence[int], mirror: Mirror, embedding_width: int) -> None:
        super().__init__()
        self.embedding = Embedding(channels, mirror, embedding_width)
        self.decoder = Decoder(channels, mirror)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # transposed ones keep PyTorch's start, as in the authors' code
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """Map the teacher's maps (B, C_l, h_l, w_l), the finest first, to restored ones of their shapes."""
        return self.decoder(self.embedding(feature_maps))


def _stage(before: int, after: int, num_blocks: int, width: int | None, scale: Scale) -> nn.Sequential:
    """Return residual blocks, of which the first one changes width and sides.

    Args:
        before: channels that come in.
        after: channels that go out.
        num_blocks: number of blocks.
        width: base width of bottlenecks; None for blocks of two convolutions.
        scale: what the first block does to the sides.
    """
    first = _block(before, after, width, scale)
    return nn.Sequential(first, *(_block(after, after, width, "same") for _ in range(num_blocks - 1)))


def _block(before: int, after: int, width: int | None, scale: Scale) -> Residual:
    if width is None:
        main = [_scaled(before, after, scale), nn.ReLU(True), _convolution(after, after, 3)]
    else:
        inner = after // 4 * width // 64  # as in torchvision's bottlenecks
        main = [_convolution(before, inner, 1), nn.ReLU(True), _scaled(inner, inner, scale)]
        main += [nn.ReLU(True), _convolution(inner, after, 1)]
    return Residual(nn.Sequential(*main), _skip(before, after, scale))


def _skip(before: int, after: int, scale: Scale) -> nn.Module:
    if scale == "same":
        return nn.Identity()
    return _scaled(before, after, "up") if scale == "up" else _convolution(before, after, 1, 2)


def _scaled(before: int, after: int, scale: Scale) -> nn.Sequential:
    if scale != "up":
        return _convolution(before, after, 3, 2 if scale == "down" else 1)
    return nn.Sequential(nn.ConvTranspose2d(before, after, 2, 2, bias=False), nn.BatchNorm2d(after))


def _convolution(before: int, after: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel_size, stride, kernel_size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after))
