"""IGD's net: a linear head on pooled features, a decoder of its codes, a critic, a Gaussian of codes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.backbones.row import IMAGENET_MEAN, IMAGENET_STD
from models.igd.layers import EnlargingBlock, EnlargingConv, ReducingBlock

LEAST_SIDE = 64  # pixels; the decoder starts from one cell for each square of this side
SMALLEST_CENTRE = 0.1  # components of the centre nearer to 0 are moved away from it, as in the authors' code
SMALLEST_SCALE = 1.0  # likewise


class Decoder(nn.Module):
    """Draw an image from a code.

    Args:
        code_size: numbers of a code.
        width: channels D of the largest map.
        side: of the image, in pixels.
    """

    def __init__(self, code_size: int, width: int, side: int) -> None:
        super().__init__()
        cells = side // LEAST_SIDE
        self.start = nn.Sequential(
            nn.Linear(code_size, 8 * width * cells**2), nn.Unflatten(1, (8 * width, cells, cells))
        )
        self.blocks = nn.Sequential(
            EnlargingConv(8 * width, 8 * width, 3),
            EnlargingBlock(8 * width, 8 * width),
            EnlargingBlock(8 * width, 4 * width),
            EnlargingBlock(4 * width, 2 * width),
            EnlargingBlock(2 * width, width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            EnlargingConv(width, 3, 5),
        )

    def forward(self, code: Tensor) -> Tensor:
        """Map (B, D) codes to (B, 3, H, W) normalised images."""
        start = self.start(code).contiguous(memory_format=torch.channels_last)
        return self.blocks(start)


class Critic(nn.Module):
    """Judge how much of another code is mixed into an image.

    Args:
        width: channels D of the largest map.
        side: of the image, in pixels.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        cells = side // LEAST_SIDE
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2),
            *(ReducingBlock(widths[i], widths[i + 1], side // 2 ** (i + 1)) for i in range(4)),
            nn.Conv2d(8 * width, 8 * width, 3, 2, 1),
            nn.Flatten(),
            nn.Linear(8 * width * cells**2, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B,)."""
        return self.layers(image.contiguous(memory_format=torch.channels_last))[:, 0].float()


class IGDNet(nn.Module):
    """All that is learned.

    Args:
        feature_size: numbers of the backbone's pooled feature.
        code_size: numbers of a code.
        width: channels of the largest maps of decoder and critic.
        side: of the images, in pixels, a multiple of 64.
        normalises_batches: let the decoder's batch normalisation learn; else it stays at mean 0 and
            variance 1, where all it does is to scale and shift channels.
    """

    centre: Tensor  # (D,) of the codes of normal images
    scale: Tensor  # () of their squared distances to it
    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)

    def __init__(
        self, feature_size: int, code_size: int, width: int, side: int, normalises_batches: bool
    ) -> None:
        super().__init__()
        self.head = nn.Linear(feature_size, code_size)
        self.decoder = Decoder(code_size, width, side)
        self.critic = Critic(width, side)
        self.normalises_batches = normalises_batches
        self.register_buffer("centre", torch.zeros(code_size))
        self.register_buffer("scale", torch.tensor(SMALLEST_SCALE))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)
        self.train()

    def train(self, mode: bool = True) -> "IGDNet":
        """Set the mode as every module does; of the decoder only where its batch normalisation learns."""
        super().train(mode)
        self.decoder.train(mode and self.normalises_batches)
        return self

    def normalised(self, image: Tensor) -> Tensor:
        """Map a (B, 3, H, W) image in [0, 1] to the units in which images are drawn."""
        return (image - self.mean) / self.std

    def code(self, feature: Tensor) -> Tensor:
        """Map (..., F) pooled features to (..., D) codes, in float32: distances are taken of them."""
        with torch.autocast(feature.device.type, enabled=False):
            return self.head(feature)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, F) pooled features to (B, D) codes and (B, 3, H, W) drawn images, normalised."""
        code = self.code(feature)
        return code, self.decoder(code).float()

    def interpolated(self, code: Tensor, share: Tensor) -> Tensor:
        """Draw (B, 3, H, W) images of codes (B, D) mixed with the codes in reverse order.

        Args:
            code: the codes.
            share: (B,) of the code that stands at an image's own place.
        """
        return self.decoder(torch.lerp(code.flip(0), code, share[:, None])).float()

    def locate(self, feature: Sequence[Tensor]) -> None:
        """Set the centre, and then the scale, by the pooled features (B, F) of normal images in batches."""
        self.set_centre(feature)
        self.set_scale(feature)

    @torch.no_grad()
    def set_centre(self, feature: Sequence[Tensor]) -> None:
        """Make the mean code of normal images the centre.

        The head is linear, so that this is the code of the mean feature.
        """
        code = self.code(torch.cat([*feature]).mean(0))
        self.centre.copy_(torch.where(code.abs() < SMALLEST_CENTRE, SMALLEST_CENTRE * code.sign(), code))

    @torch.no_grad()
    def set_scale(self, feature: Sequence[Tensor]) -> None:
        """Make the mean squared distance of codes to the centre, in each batch at least 1, the scale."""
        squared = [(self.code(part) - self.centre).square().sum(1).mean() for part in feature]
        self.scale.copy_(torch.stack(squared).clamp_min(SMALLEST_SCALE).mean())
