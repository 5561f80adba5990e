"""Example net: an autoencoder that also says how well it expects to do at each pixel."""

import torch
from torch import Tensor, nn

LOG_SCALE = (-5.0, 3.0)  # bounds of the expected error's logarithm, so that no flat region counts as certain


class ExampleNet(nn.Module):
    """Squeeze an image through a narrow code and restore it, with a Laplace distribution for each pixel.

    The height and width of an image must be multiples of 8.

    Args:
        width: channels of the first layer; the second has twice as many.
        code_channels: channels of the code, whose cells are 8 x 8 pixels.
    """

    def __init__(self, width: int, code_channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, code_channels, 4, stride=2, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(code_channels, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 6, 4, stride=2, padding=1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the error and the logarithm of the expected error of an image in [0, 1], all (B, 3, H, W).

        Raises:
            ValueError: the image's height or width is not a multiple of 8.
        """
        if image.shape[2] % 8 or image.shape[3] % 8:
            raise ValueError(f"an image of {tuple(image.shape[2:])} pixels; its sides must be multiples of 8")
        centred = 4 * image - 2
        restored, log_scale = self.decoder(self.encoder(centred)).chunk(2, dim=1)
        return (centred - restored).abs(), log_scale.clamp(*LOG_SCALE)

    def negative_log_likelihood(self, image: Tensor) -> Tensor:
        """Return the mean over all pixels, a scalar, up to a constant."""
        error, log_scale = self(image)
        return (error * torch.exp(-log_scale) + log_scale).mean()
