"""FAVAE net: a variational autoencoder whose decoder also predicts the feature maps of a teacher."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

CODE = 100  # numbers of the latent code
SLOPE = 0.2  # of every LeakyReLU
DEEPEST_STRIDE = 16  # of the encoder before its bottleneck
# channels in and out, and side of the kernel: 4 halves or doubles the size, 3 keeps it
ENCODER = (
    *((3, 128, 4), (128, 128, 4), (128, 256, 3), (256, 256, 4)),
    *((256, 512, 3), (512, 512, 4), (512, 512, 3), (512, 32, 3)),
)
DECODER = (
    *((32, 512, 3), (512, 512, 3), (512, 512, 4), (512, 256, 3)),
    *((256, 256, 4), (256, 128, 3), (128, 128, 4)),
)
TAPS = {16: 1, 8: 2, 4: 4, 2: 6}  # stride -> the row of DECODER whose output predicts a teacher's map


class Reconstruction(NamedTuple):
    """What the net makes of a batch of images.

    Args:
        image: (B, 3, H, W) in [0, 1].
        features: the teacher's maps (B, C, h, w), predicted.
        mean: (B, 100) of the code's distribution.
        log_variance: (B, 100).
    """

    image: Tensor
    features: list[Tensor]
    mean: Tensor
    log_variance: Tensor


class FAVAENet(nn.Module):
    """The autoencoder and, for each map of the teacher, an adapter of the decoder's map of the same size.

    Args:
        side: of the images, in pixels.
        channels: of each map of the teacher.
        strides: of each map of the teacher, in pixels.

    Raises:
        ValueError: the side or a stride does not fit the autoencoder.
    """

    def __init__(self, side: int, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        if side % DEEPEST_STRIDE:
            raise ValueError(f"data_crop_size must be a multiple of {DEEPEST_STRIDE}, not {side}")
        if not set(strides) <= set(TAPS):
            raise ValueError(
                f"maps of stride {', '.join(map(str, strides))}; the decoder has those of stride 2 to 16 only"
            )
        bottleneck = side // DEEPEST_STRIDE
        self.taps = [TAPS[stride] for stride in strides]
        self.encoder = nn.Sequential(
            *(layer for row in ENCODER for layer in (nn.Conv2d(*_shape(*row)), _finish(row[1])))
        )
        self.to_code = nn.Conv2d(ENCODER[-1][1], 2 * CODE, bottleneck)
        self.from_code = nn.Sequential(
            nn.ConvTranspose2d(CODE, DECODER[0][0], bottleneck), _finish(DECODER[0][0])
        )
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(*_shape(*row)) for row in DECODER)
        self.finishes = nn.ModuleList(_finish(row[1]) for row in DECODER)
        self.to_image = nn.ConvTranspose2d(*_shape(DECODER[-1][1], 3, 4))
        widths = [DECODER[tap][1] for tap in self.taps]
        self.adapters = nn.ModuleList(_adapter(*pair) for pair in zip(widths, channels, strict=True))
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Reconstruction:
        """Encode (B, 3, H, W) images, draw codes (in evaluation mode: take their means), and decode these."""
        mean, log_variance = self.to_code(self.encoder(image)).flatten(1).float().chunk(2, dim=1)
        code = mean
        if self.training:
            code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        decoded, outputs = self._decode(code)
        features = [adapter(outputs[tap]) for adapter, tap in zip(self.adapters, self.taps, strict=True)]
        return Reconstruction(decoded, features, mean, log_variance)

    def _decode(self, code: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map (B, 100) codes to images and the outputs of the transposed convolutions before their norms."""
        feature = self.from_code(code[:, :, None, None])
        outputs = []
        for convolution, finish in zip(self.decoder, self.finishes, strict=True):
            outputs.append(convolution(feature))
            feature = finish(outputs[-1])
        return torch.sigmoid(self.to_image(feature)), outputs


def _shape(inputs: int, outputs: int, kernel: int) -> tuple[int, int, int, int, int]:
    """Return channels, kernel, stride and padding of a convolution."""
    return inputs, outputs, kernel, 2 if kernel == 4 else 1, 1


def _finish(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE, inplace=True))


def _adapter(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, inputs, 1), nn.ReLU(), nn.Conv2d(inputs, outputs, 1))
