"""The subnet of a cross-scale coupling: convolutions within each scale and to the scales next to it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.1  # slope of the LeakyReLU below 0


class CrossScaleSubnet(nn.Module):
    """Predict scales and shifts for the maps of all scales from halves of these maps.

    Args:
        channels_in: channels of each half map.
        hidden: channels between the convolutions.
        channels_out: channels of each output.
        kernel_size: side of all kernels; odd.
        sides: cells along a side of each scale's maps, each half of the one before.
    """

    def __init__(
        self, channels_in: int, hidden: int, channels_out: int, kernel_size: int, sides: Sequence[int]
    ) -> None:
        super().__init__()

        def convolution(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
            return nn.Conv2d(channels, width, kernel_size, stride=stride, padding=kernel_size // 2)

        self.first = nn.ModuleList(convolution(channels_in, hidden) for _ in sides)
        self.within = nn.ModuleList(convolution(hidden, channels_out) for _ in sides)
        self.up = nn.ModuleList(UpsamplingConv(hidden, channels_out, kernel_size, side) for side in sides[1:])
        self.down = nn.ModuleList(convolution(hidden, channels_out, stride=2) for _ in sides[1:])
        self.gain = nn.Parameter(torch.zeros(len(sides)))  # a new flow only permutes

    def forward(self, halves: Sequence[Tensor]) -> list[Tensor]:
        """Map (B, C_in, h_l, w_l) to (B, C_out, h_l, w_l), the largest scale first."""
        hidden = [
            F.leaky_relu_(first(half.contiguous(memory_format=torch.channels_last)), LEAK)
            for first, half in zip(self.first, halves, strict=True)
        ]
        found = [within(feature) for within, feature in zip(self.within, hidden, strict=True)]
        for scale, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            found[scale] = found[scale] + up(hidden[scale + 1])
            found[scale + 1] = found[scale + 1] + down(hidden[scale])
        return [feature * gain for feature, gain in zip(found, self.gain, strict=True)]


class UpsamplingConv(nn.Conv2d):
    """A convolution of the map doubled in size by bilinear interpolation, with a quarter of its products.

    Interpolation acts on cells, a kernel's tap on channels, so they may change places: each tap is applied
    on the small grid, then all are interpolated, moved to where the kernel has them, and summed, which is
    one small matrix per axis.

    Args:
        channels_in: channels of the small map.
        channels_out: channels of the large one.
        kernel_size: side K of the kernel; odd.
        side: cells along a side of the small map.
    """

    taps: Tensor  # (K, 2 * side, side): what each tap makes of one side

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, side: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size)
        doubled = F.interpolate(torch.eye(side)[None], scale_factor=2, mode="linear")[0].T
        reach = kernel_size // 2
        padded = F.pad(doubled, (0, 0, reach, reach))
        taps = torch.stack([padded[tap : tap + 2 * side] for tap in range(kernel_size)])
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, 2h, 2w)."""
        assert self.bias is not None
        size = self.kernel_size[0]
        weight = self.weight.permute(2, 3, 0, 1).reshape(-1, self.in_channels, 1, 1)
        products = F.conv2d(feature_map, weight).permute(0, 2, 3, 1).unflatten(3, (size, size, -1))
        rows = torch.einsum("bhwyxc,yHh->bHwxc", products, self.taps)
        large = torch.einsum("bHwxc,xWw->bHWc", rows, self.taps)
        return (large + self.bias).permute(0, 3, 1, 2)
