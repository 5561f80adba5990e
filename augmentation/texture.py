"""Textures that defects are made of: generated ones, and the operations that vary any texture.

Source: DRAEM, ICCV 2021, and its code. Differs from the source: brightness changes the luminance of YCbCr,
where the code draws one of several colour spaces.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from augmentation.color import equalized, hsv_to_rgb, luminance, rgb_to_hsv, sharpened, stretched
from augmentation.perlin import draw_perlin_noise
from augmentation.rotation import draw_degrees, rotate

NUM_OPERATIONS = 3  # of each texture, all different
EXPONENTS = (1, 5)  # of the cells of generated textures
LEVELS = 255  # of 8 bits, the unit that the ranges of the operations are published in


class _Operations:
    """The operations; each maps (B, 3, H, W) in [0, 1] to the same, with numbers drawn for each image.

    Args:
        generator: on the CPU, so that the draw does not depend on the device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def _uniform(self, image: Tensor, low: float, high: float, channels: int = 1) -> Tensor:
        draw = torch.rand(len(image), channels, 1, 1, generator=self.generator)
        return (low + (high - low) * draw).to(image.device)

    def gamma(self, image: Tensor) -> Tensor:
        return image ** self._uniform(image, 0.5, 2.0, channels=3)

    def brightness(self, image: Tensor) -> Tensor:
        factor = self._uniform(image, 0.8, 1.2)
        shift = self._uniform(image, -30 / LEVELS, 30 / LEVELS)
        return image + (factor - 1) * luminance(image) + shift

    def sharpness(self, image: Tensor) -> Tensor:
        return sharpened(image, self._uniform(image, 0.0, 2.0))

    def hue_and_saturation(self, image: Tensor) -> Tensor:
        hue, saturation, value = rgb_to_hsv(image).split(1, dim=1)
        reach = 50 / LEVELS
        hue = (hue + self._uniform(image, -reach, reach)) % 1
        saturation = (saturation + self._uniform(image, -reach, reach)).clamp(0, 1)
        return hsv_to_rgb(torch.cat([hue, saturation, value], dim=1))

    def solarize(self, image: Tensor) -> Tensor:
        threshold = self._uniform(image, 32 / LEVELS, 128 / LEVELS)
        is_chosen = self._uniform(image, 0.0, 1.0) < 0.5
        return torch.where(is_chosen & (image >= threshold), 1 - image, image)

    def posterize(self, image: Tensor) -> Tensor:
        bits = torch.randint(1, 9, (len(image), 1, 1, 1), generator=self.generator).to(image.device)
        step = 2.0 ** (8 - bits)
        return ((image * LEVELS) / step).floor() * step / LEVELS

    def invert(self, image: Tensor) -> Tensor:
        return 1 - image

    def autocontrast(self, image: Tensor) -> Tensor:
        return stretched(image, self._uniform(image, 0.0, 0.2)[:, :, 0, 0])

    def equalize(self, image: Tensor) -> Tensor:
        return equalized(image)

    def rotation(self, image: Tensor) -> Tensor:
        return rotate(image, draw_degrees(len(image), 45.0, self.generator, image.device), "bilinear")


_OPERATIONS: tuple[Callable[[_Operations, Tensor], Tensor], ...] = (
    _Operations.gamma,
    _Operations.brightness,
    _Operations.sharpness,
    _Operations.hue_and_saturation,
    _Operations.solarize,
    _Operations.posterize,
    _Operations.invert,
    _Operations.autocontrast,
    _Operations.equalize,
    _Operations.rotation,
)


def vary_textures(texture: Tensor, generator: torch.Generator) -> Tensor:
    """Change each of (B, 3, H, W) textures in [0, 1] by three operations, drawn for it with their order."""
    operations = _Operations(generator)
    choice = torch.rand(len(texture), len(_OPERATIONS), generator=generator).argsort(dim=1)[
        :, :NUM_OPERATIONS
    ]
    varied = texture.clone()
    for turn in choice.unbind(1):
        for number in turn.unique().tolist():
            row = (turn == number).nonzero()[:, 0].to(texture.device)
            varied[row] = _OPERATIONS[number](operations, varied[row]).clamp(0, 1)
    return varied


def generated_textures(
    count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
) -> Tensor:
    """Return (B, 3, H, W) textures of grey Perlin noise, n / 2 + 1/4 cut at black.

    Colour and full contrast would give a defect away whatever its shape. Noise and formula are those of
    anomalib's DRAEM without a folder of textures.
    """
    noise = draw_perlin_noise(count, size, EXPONENTS, generator, device)
    return (0.25 + 0.5 * noise).clamp(0, 1)[:, None].repeat(1, 3, 1, 1)


def shifted_images(image: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` random ones of (B, 3, H, W) images, each shifted in a circle."""
    rows = torch.randint(len(image), (count,), generator=generator).tolist()
    shifts = torch.rand(count, 2, generator=generator) * torch.tensor(image.shape[2:])
    pairs = zip(rows, shifts.long().tolist(), strict=True)
    return torch.cat([image[:0], *(image[row : row + 1].roll(shift, dims=(2, 3)) for row, shift in pairs)])
