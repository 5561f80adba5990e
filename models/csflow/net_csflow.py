"""CS-Flow's net: one flow through the feature maps of several scales at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.common.coupling import ChannelPermutation, atan_clamp, couple, uncouple
from models.csflow.cross_scale_subnet import CrossScaleSubnet

KERNEL_SIZES = (3, 5)  # of all blocks but the last, and of the last


class CrossScaleBlock(nn.Module):
    """Permute the channels of each scale, then move both halves in turn: an invertible step of the flow.

    Args:
        channels: channels C of every map, at least 2.
        hidden: channels inside the subnets.
        kernel_size: side of the subnets' kernels; odd.
        clamp: bound on the logarithm of the scales.
        sides: cells along a side of each scale's maps.
    """

    def __init__(
        self, channels: int, hidden: int, kernel_size: int, clamp: float, sides: Sequence[int]
    ) -> None:
        super().__init__()
        self.halves = [channels - channels // 2, channels // 2]
        self.clamp = atan_clamp(clamp)
        first, second = self.halves
        self.permutations = nn.ModuleList(ChannelPermutation(channels) for _ in sides)
        self.move_first = CrossScaleSubnet(second, hidden, 2 * first, kernel_size, sides)
        self.move_second = CrossScaleSubnet(first, hidden, 2 * second, kernel_size, sides)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Map (B, C, h_l, w_l) maps to maps of the same shapes and to (B,) log-determinants."""
        permuted = [permute(found) for permute, found in zip(self.permutations, maps, strict=True)]
        first, second = self._split(permuted)
        first, log_det_first = self._couple(first, self.move_first(second))
        second, log_det_second = self._couple(second, self.move_second(first))
        return _join(first, second), log_det_first + log_det_second

    def inverse(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the (B, C, h_l, w_l) maps that `forward` maps to these."""
        first, second = self._split(maps)
        second = self._uncouple(second, self.move_second(first))
        first = self._uncouple(first, self.move_first(second))
        permutations: Any = self.permutations  # a ModuleList knows its members as modules only
        return [
            permutation.inverse(found)
            for permutation, found in zip(permutations, _join(first, second), strict=True)
        ]

    def _split(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        parts = [found.split(self.halves, dim=1) for found in maps]
        return [first for first, _ in parts], [second for _, second in parts]

    def _couple(self, halves: Sequence[Tensor], raws: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        found = [couple(half, raw, self.clamp) for half, raw in zip(halves, raws, strict=True)]
        return [half for half, _ in found], torch.stack([log_det for _, log_det in found]).sum(0)

    def _uncouple(self, halves: Sequence[Tensor], raws: Sequence[Tensor]) -> list[Tensor]:
        return [uncouple(half, raw, self.clamp) for half, raw in zip(halves, raws, strict=True)]


class CSFlowNet(nn.Module):
    """A chain of cross-scale blocks; the last one has the largest kernels.

    Args:
        channels: channels C of every map.
        sides: cells along a side of each scale's maps, each half of the one before.
        num_blocks: length of the chain.
        hidden: channels inside the subnets.
        clamp: bound on the logarithm of the scales.
    """

    def __init__(
        self, channels: int, sides: Sequence[int], num_blocks: int, hidden: int, clamp: float
    ) -> None:
        super().__init__()
        small, large = KERNEL_SIZES
        self.blocks = nn.ModuleList(
            CrossScaleBlock(channels, hidden, small if block < num_blocks - 1 else large, clamp, sides)
            for block in range(num_blocks)
        )
        self.to(memory_format=torch.channels_last)  # as the convolutions' outputs are to be

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Map (B, C, h_l, w_l) feature maps to latent maps and to (B,) log-determinants."""
        latents = list(maps)
        log_det = latents[0].new_zeros(len(latents[0]))
        for block in self.blocks:
            latents, block_log_det = block(latents)
            log_det = log_det + block_log_det
        return latents, log_det


def _join(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    return [torch.cat(pair, dim=1) for pair in zip(first, second, strict=True)]


def mean_energy(latents: Sequence[Tensor]) -> Tensor:
    """Return (B,) means of z^2 / 2 over all elements of (B, C, h_l, w_l) latent maps."""
    return 0.5 * torch.cat([latent.flatten(1) for latent in latents], dim=1).square().mean(dim=1)
