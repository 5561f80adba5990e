"""net_tiny: a small backbone, made to imitate the first three feature maps of ResNet-18."""

from torch import Tensor, nn
from torch.nn import functional as F


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class SeparableBlock(nn.Module):
    """Residual block of a depthwise and a pointwise convolution.

    Args:
        channels: feature channels C, in and out.
        kernel_size: side of the depthwise kernel; odd.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False
        )
        self.norm1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        hidden = F.relu(self.norm1(self.depthwise(feature)))
        return F.relu(feature + self.norm2(self.pointwise(hidden)))


class NetTiny(nn.Module):
    """Maps of stride 4, 8 and 16 with the widths of ResNet-18: layer1 (64), layer2 (128) and layer3 (256)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 32), _convolution(32, 64))
        self.layer1 = nn.Sequential(*(SeparableBlock(64, kernel_size=3) for _ in range(2)))
        self.layer2 = nn.Sequential(
            _convolution(64, 128), *(SeparableBlock(128, kernel_size=5) for _ in range(2))
        )
        self.layer3 = nn.Sequential(
            _convolution(128, 256), *(SeparableBlock(256, kernel_size=5) for _ in range(2))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised (B, 3, H, W) image to the (B, 256, H/16, W/16) map of layer3."""
        return self.layer3(self.layer2(self.layer1(self.stem(image))))
