"""Views: slightly changed copies of normal images, where there are too few of them to know their spread."""

import torch
from torch import Tensor

from augmentation.color_jitter import change_color, draw_color_change

_JITTER = 0.1  # strength of the change of colour, as in CutPaste's training
_SHIFT = 0.05  # largest shift, as a share of the side


def draw_views(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return one view of each image (B, 3, H, W): other colours, shifted; the border is repeated.

    Args:
        image: in [0, 1].
        generator: of the CPU.
    """
    count, _, height, width = image.shape
    image = change_color(image, draw_color_change(count, _JITTER, generator))
    shift = ((2 * torch.rand(2, count, 1, generator=generator) - 1) * _SHIFT).to(image.device)
    row, column = (
        (torch.arange(side, device=image.device) + (share * side).round()).long().clamp(0, side - 1)
        for side, share in zip((height, width), shift, strict=True)
    )
    return image.take_along_dim(row[:, None, :, None], 2).take_along_dim(column[:, None, None, :], 3)
