"""DRAEM's nets: an autoencoder that repairs defects, and a U-Net that compares image and repair.

Source: Zavrtanik et al., "DRAEM", ICCV 2021, section 3, and the authors' code. Differs from it: nowhere.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MULTIPLE = 32  # pixels; the sides of an image must be multiples of the U-Net's coarsest stride
INIT_STD = 0.02  # of the first weights, around 0 in convolutions and around 1 in norms
SCORE_SIDE = 21  # pixels; side of the square whose mean probability scores an image


def _convolutions(*channels: int) -> nn.Sequential:
    """Return 3x3 convolutions, each with BatchNorm and ReLU, from width to width."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        modules += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


def _halved(feature: Tensor) -> Tensor:
    return F.max_pool2d(feature, 2)


def doubled(feature: Tensor) -> Tensor:
    """Return a (B, C, h, w) map at twice its size, bilinearly, the corners in place.

    As two matrix products: on a GPU `F.interpolate` has no gradient that is both repeatable and fast.
    """
    down, across = (_doubling(side, feature) for side in feature.shape[2:])
    return down @ feature @ across.T


def _doubling(length: int, like: Tensor) -> Tensor:
    """Return the (2 * length, length) matrix of linear interpolation."""
    place = torch.arange(2 * length, device=like.device) * ((length - 1) / (2 * length - 1))
    away = (place[:, None] - torch.arange(length, device=like.device)).abs()
    return (1 - away).clamp_min(0).to(like.dtype)


class ReconstructiveNet(nn.Module):
    """Autoencoder without skip connections.

    Args:
        width: channels w of the first block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.encoder = nn.ModuleList(
            _convolutions(*channels)
            for channels in (
                (3, w, w),
                (w, 2 * w, 2 * w),
                (2 * w, 4 * w, 4 * w),
                (4 * w, 8 * w, 8 * w),
                (8 * w, 8 * w, 8 * w),
            )
        )
        self.decoder = nn.ModuleList(
            _convolutions(*channels)
            for channels in (
                (8 * w, 8 * w, 8 * w, 4 * w),
                (4 * w, 4 * w, 4 * w, 2 * w),
                (2 * w, 2 * w, 2 * w, w),
                (w, w, w, w),
            )
        )
        self.last = nn.Conv2d(w, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map a (B, 3, H, W) image to its repair, (B, 3, H, W)."""
        feature = self.encoder[0](image)
        for block in self.encoder[1:]:
            feature = block(_halved(feature))
        for block in self.decoder:
            feature = block(doubled(feature))
        return self.last(feature)


class DiscriminativeNet(nn.Module):
    """U-Net with skip connections.

    Args:
        width: channels w of the first block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [factor * width for factor in (1, 2, 4, 8, 8, 8)]
        inputs = [6, *widths[:-1]]
        self.encoder = nn.ModuleList(_convolutions(a, b, b) for a, b in zip(inputs, widths, strict=True))
        below = [8 * width, 8 * width, 4 * width, 2 * width, width]  # channels that come up
        skipped = widths[-2::-1]
        risen = [8 * width, 4 * width, 2 * width, width, width]  # channels after the doubling
        self.up = nn.ModuleList(_convolutions(a, b) for a, b in zip(below, risen, strict=True))
        self.decoder = nn.ModuleList(
            _convolutions(a + s, b, b) for a, s, b in zip(risen, skipped, [*below[1:], width], strict=True)
        )
        self.last = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, pair: Tensor) -> Tensor:
        """Map repair and image, (B, 6, H, W), to the logits of normal and defective, (B, 2, H, W)."""
        feature = self.encoder[0](pair)
        skips = []
        for block in self.encoder[1:]:
            skips.append(feature)
            feature = block(_halved(feature))
        for up, block in zip(self.up, self.decoder, strict=True):
            feature = block(torch.cat([up(doubled(feature)), skips.pop()], dim=1))
        return self.last(feature)


class DraemNet(nn.Module):
    """Both nets, the second on the output of the first.

    Args:
        reconstructive_width: channels of the autoencoder's first block.
        discriminative_width: channels of the U-Net's first block.
    """

    def __init__(self, reconstructive_width: int, discriminative_width: int) -> None:
        super().__init__()
        self.reconstructive = ReconstructiveNet(reconstructive_width)
        self.discriminative = DiscriminativeNet(discriminative_width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, INIT_STD)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, INIT_STD)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the repair (B, 3, H, W) and the logits (B, 2, H, W) of an image in [0, 1].

        Raises:
            ValueError: the image's height or width is not a multiple of 32.
        """
        height, width = image.shape[2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(
                f"an image of {height} x {width} pixels; its sides must be multiples of {MULTIPLE}"
            )
        repair = self.reconstructive(image)
        return repair, self.discriminative(torch.cat([repair, image], dim=1))


def image_score(probability: Tensor, side: int = SCORE_SIDE) -> Tensor:
    """Return the (B,) largest mean of a (B, H, W) map over squares of this odd side; outside of it is 0."""
    return F.avg_pool2d(probability, side, stride=1, padding=side // 2).amax(dim=(1, 2))
