"""Residual blocks of IGD's decoder and critic, with resampling and convolution made one.

Nearest-neighbour enlargement followed by a convolution is a transposed convolution of stride 2, and a
convolution followed by the mean over 2 x 2 pixels is one of stride 2, each with a kernel one larger whose
entries are sums of the original's. That is exact, borders included, and takes less than half the products.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class EnlargingConv(nn.Conv2d):
    """Double the sides by repetition, then convolve.

    Args:
        before: channels that come in.
        after: channels that go out.
        kernel_size: side of the kernel, odd.
        bias: whether a number is added to each channel.
    """

    def __init__(self, before: int, after: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(before, after, kernel_size, padding=kernel_size // 2, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', 2h, 2w)."""
        kernel = 4 * _pair_means(self.weight.flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(feature, kernel, self.bias, stride=2, padding=self.kernel_size[0] // 2)


class ReducingConv(nn.Conv2d):
    """Convolve, then average over 2 x 2 pixels; arguments as those of `EnlargingConv`."""

    def __init__(self, before: int, after: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(before, after, kernel_size, padding=kernel_size // 2, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h / 2, w / 2)."""
        return F.conv2d(feature, _pair_means(self.weight), self.bias, stride=2, padding=self.padding)


def _pair_means(kernel: Tensor) -> Tensor:
    """Return the (..., k + 1, k + 1) means of 2 x 2 neighbours in a (..., k, k) kernel with zeros around."""
    return F.avg_pool2d(F.pad(kernel, (1, 1, 1, 1)), 2, stride=1)


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
