"""Image pyramid: an image and the same at halves of its size."""

from torch import Tensor
from torch.nn import functional as F


def image_pyramid(image: Tensor, num_scales: int) -> list[Tensor]:
    """Return (B, C, H, W) images at the sizes (H // 2^s, W // 2^s), s = 0, 1, ..., by nearest neighbour."""
    height, width = image.shape[2:]
    smaller = [
        F.interpolate(image, size=(height // 2**scale, width // 2**scale)) for scale in range(1, num_scales)
    ]
    return [image, *smaller]
