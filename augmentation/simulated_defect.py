"""Simulated defects: patches of texture, in the shape of thresholded noise, blended into normal images.

Source: DRAEM, ICCV 2021, section 3.3, and the authors' code.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from augmentation.perlin import draw_perlin_noise
from augmentation.rotation import draw_degrees, rotate
from augmentation.texture import vary_textures

QUARTER = 90.0  # degrees; largest rotation of an image and of a mask


class Simulated(NamedTuple):
    """A batch with defects.

    Args:
        clean: (B, 3, H, W) images without them.
        defective: (B, 3, H, W) the same images with them.
        mask: (B, H, W) float, 1 where a defect is.
    """

    clean: Tensor
    defective: Tensor
    mask: Tensor


@dataclass(frozen=True)
class DefectSimulator:
    """How defects are drawn.

    Args:
        p_anomaly: probability that an image gets a defect.
        p_rotate: probability that an image is rotated first, the clean one as well.
        blend_min: lowest weight of the image under a defect.
        blend_max: highest weight.
        perlin_min: lowest power of two of the cells of a mask's noise.
        perlin_max: highest power of two.
        perlin_threshold: noise above it is defect.
        retry_empty_mask: how often the masks that came out empty are drawn again.

    Raises:
        ValueError: a number is out of its range.
    """

    p_anomaly: float
    p_rotate: float
    blend_min: float
    blend_max: float
    perlin_min: int
    perlin_max: int
    perlin_threshold: float
    retry_empty_mask: int

    def __post_init__(self) -> None:
        for key in ("p_anomaly", "p_rotate"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"_{key} must be in [0, 1], not {getattr(self, key)}")
        if not 0 <= self.blend_min <= self.blend_max <= 1:
            raise ValueError("_blend_min must be at most _blend_max, both in [0, 1]")
        if not 0 <= self.perlin_min <= self.perlin_max:
            raise ValueError("_perlin_min must be at most _perlin_max, both at least 0")
        if not 0 <= self.perlin_threshold < 1:
            raise ValueError(f"_perlin_threshold must be at least 0 and below 1, not {self.perlin_threshold}")
        if self.retry_empty_mask < 0:
            raise ValueError(f"_retry_empty_mask must be at least 0, not {self.retry_empty_mask}")

    def num_defects(self, count: int, generator: torch.Generator) -> int:
        """Draw how many of `count` images get a defect: they are the first ones, the order being random."""
        return int((torch.rand(count, generator=generator) < self.p_anomaly).sum())

    def __call__(self, image: Tensor, texture: Tensor, generator: torch.Generator) -> Simulated:
        """Put defects into the first images of a batch.

        Args:
            image: (B, 3, H, W) normal images in [0, 1], in random order.
            texture: (D, 3, H, W) in [0, 1], one for each defect.
            generator: on the CPU, so that the draw does not depend on the device.
        """
        clean = self._rotated(image, generator)
        mask = clean.new_zeros(len(clean), *clean.shape[2:])
        defective = clean.clone()
        count = len(texture)
        if count:
            mask[:count] = self._masks(count, (clean.shape[2], clean.shape[3]), generator, clean.device)
            share = torch.rand(count, 1, 1, 1, generator=generator)
            weight = self.blend_min + (self.blend_max - self.blend_min) * share
            mixed = torch.lerp(vary_textures(texture, generator), clean[:count], weight.to(clean.device))
            defective[:count] = torch.where(mask[:count, None] > 0, mixed, clean[:count])
        return Simulated(clean, defective, mask)

    def _rotated(self, image: Tensor, generator: torch.Generator) -> Tensor:
        row = (torch.rand(len(image), generator=generator) < self.p_rotate).nonzero()[:, 0]
        degrees = draw_degrees(len(row), QUARTER, generator, image.device)
        row = row.to(image.device)
        return image.index_copy(0, row, rotate(image[row], degrees, "bilinear")) if len(row) else image

    def _masks(
        self, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        mask = self._draw(count, size, generator, device)
        for _ in range(self.retry_empty_mask):
            row = (mask.sum(dim=(1, 2)) == 0).nonzero()[:, 0]
            if len(row) == 0:
                break
            mask[row] = self._draw(len(row), size, generator, device)
        return mask

    def _draw(
        self, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        exponents = (self.perlin_min, self.perlin_max)
        noise = draw_perlin_noise(count, size, exponents, generator, device)
        degrees = draw_degrees(count, QUARTER, generator, device)
        return (rotate(noise[:, None], degrees, "bilinear")[:, 0] > self.perlin_threshold).float()
