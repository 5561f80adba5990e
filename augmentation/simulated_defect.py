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
        blend: lowest and highest weight of the image under a defect.
        exponents: lowest and highest power of two of the cells of a mask's noise.
        threshold: noise above it is defect.
        retries: how often the masks that came out empty are drawn again.
    """

    p_anomaly: float
    p_rotate: float
    blend: tuple[float, float]
    exponents: tuple[int, int]
    threshold: float
    retries: int

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
            low, high = self.blend
            weight = low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)
            mixed = torch.lerp(vary_textures(texture, generator), clean[:count], weight.to(clean.device))
            defective[:count] = torch.where(mask[:count, None] > 0, mixed, clean[:count])
        return Simulated(clean, defective, mask)

    def _rotated(self, image: Tensor, generator: torch.Generator) -> Tensor:
        row = (torch.rand(len(image), generator=generator) < self.p_rotate).nonzero()[:, 0]
        degrees = draw_degrees(len(row), QUARTER, generator, image.device)
        row = row.to(image.device)
        return image.index_copy(0, row, rotate(image[row], degrees)) if len(row) else image

    def _masks(
        self, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        mask = self._draw(count, size, generator, device)
        for _ in range(self.retries):
            row = (mask.sum(dim=(1, 2)) == 0).nonzero()[:, 0]
            if len(row) == 0:
                break
            mask[row] = self._draw(len(row), size, generator, device)
        return mask

    def _draw(
        self, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        noise = draw_perlin_noise(count, size, self.exponents, generator, device)
        degrees = draw_degrees(count, QUARTER, generator, device)
        return (rotate(noise[:, None], degrees)[:, 0] > self.threshold).float()
