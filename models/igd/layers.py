"""Residual blocks of IGD's decoder and critic, with resampling and convolution made one.

Nearest-neighbour enlargement followed by a convolution is a transposed convolution of stride 2, and a
convolution followed by the mean over 2 x 2 pixels is one of stride 2, each with a kernel one larger whose
entries are sums of the original's. That is exact, borders included, and takes less than half the products.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResamplingConv(nn.Conv2d, ABC):
    """What both kinds of convolution share: the kernel of one and how it becomes the other's.

    Args:
        before: channels that come in.
        after: channels that go out.
        kernel_size: side k of the kernel, odd.
        bias: whether a number is added to each channel.
    """

    spread: Tensor  # (k^2, (k + 1)^2): which entries of the kernel each entry of the larger one sums up

    def __init__(self, before: int, after: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(before, after, kernel_size, padding=kernel_size // 2, bias=bias)
        side = self.spread_of_side(kernel_size)
        self.register_buffer("spread", torch.kron(side, side), persistent=False)

    @staticmethod
    @abstractmethod
    def spread_of_side(kernel_size: int) -> Tensor:
        """Return the (k, k + 1) matrix of one side."""

    def larger_kernel(self) -> Tensor:
        """Return the (C', C, k + 1, k + 1) kernel."""
        side = self.kernel_size[0] + 1
        return (self.weight.flatten(2) @ self.spread).unflatten(2, (side, side))


class EnlargingConv(ResamplingConv):
    """Double the sides by repetition, then convolve."""

    @staticmethod
    def spread_of_side(kernel_size: int) -> Tensor:
        """Return what adds neighbours, back to front: a transposed convolution runs its kernel backwards."""
        return _neighbours(kernel_size).flip(0)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', 2h, 2w)."""
        kernel, padding = self.larger_kernel().transpose(0, 1), self.kernel_size[0] // 2
        return F.conv_transpose2d(feature, kernel, self.bias, stride=2, padding=padding)


class ReducingConv(ResamplingConv):
    """Convolve, then average over 2 x 2 pixels."""

    @staticmethod
    def spread_of_side(kernel_size: int) -> Tensor:
        """Return what averages neighbours."""
        return _neighbours(kernel_size) / 2

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h / 2, w / 2)."""
        return F.conv2d(feature, self.larger_kernel(), self.bias, stride=2, padding=self.padding)


def _neighbours(count: int) -> Tensor:
    """Return the (count, count + 1) matrix with ones on its diagonal and right of it."""
    identity = torch.eye(count)
    return F.pad(identity, (0, 1)) + F.pad(identity, (1, 0))


class MapNorm(nn.LayerNorm):
    """Normalise each image over channels and positions, with a weight and a bias for every entry.

    In float32 whatever the precision of the input; the layout in memory stays channels last.

    Args:
        channels: C.
        side: h = w.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__([side, side, channels])

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        rows = feature.permute(0, 2, 3, 1).float()
        return super().forward(rows).permute(0, 3, 1, 2)


class EnlargingBlock(nn.Module):
    """Residual block that doubles the sides.

    Args:
        before: channels that come in.
        after: channels that go out.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(before, after, 1)
        self.main = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.ReLU(),
            EnlargingConv(before, after, 3, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1),
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', 2h, 2w)."""
        skipped = F.interpolate(self.skip(feature), scale_factor=2.0, mode="nearest")
        return self.main(feature) + skipped


class ReducingBlock(nn.Module):
    """Residual block that halves the sides.

    Args:
        before: channels that come in.
        after: channels that go out.
        side: h = w of what comes in.
    """

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(before, after, 1)
        self.main = nn.Sequential(
            MapNorm(before, side),
            nn.ReLU(),
            nn.Conv2d(before, before, 3, padding=1, bias=False),
            MapNorm(before, side),
            nn.ReLU(),
            ReducingConv(before, after, 3),
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h / 2, w / 2)."""
        return self.main(feature) + self.skip(F.avg_pool2d(feature, 2))
