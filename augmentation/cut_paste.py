"""CutPaste: images with a patch of their own pasted elsewhere, as made anomalies.

Source: Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021.
Works on whole batches on their device: a large patch and a scar are the same move of a rectangle, and each
pixel of the result looks up where it comes from. The few numbers per image are drawn on the CPU.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from augmentation.color_jitter import change_color, draw_color_change

Variant = Literal["cutpaste", "scar", "union", "3way"]
TITLES: dict[str, tuple[str, ...]] = {  # what each variant makes of an image; the position is the class
    "cutpaste": ("normal", "CutPaste"),
    "scar": ("normal", "scar"),
    "union": ("normal", "CutPaste or scar"),
    "3way": ("normal", "CutPaste", "scar"),
}
JITTER = 0.1  # of the colours of an image, and again of a patch; as in the paper
_AREA = (0.02, 0.15)  # of a large patch, as a share of the image
_ASPECT = (0.3, 1 / 0.3)  # width to height of a large patch, uniform in its logarithm
_SCAR_WIDTH = (2, 16)  # pixels
_SCAR_HEIGHT = (10, 25)  # pixels
_SCAR_ANGLE = (-45, 45)  # degrees


class Patch(NamedTuple):
    """A rectangle of each of B images, and where it goes; lengths in pixels, all (B,) float.

    Args:
        height: a whole number.
        width: a whole number.
        top: of the rectangle to copy, a whole number.
        left: likewise.
        center_y: of the pasted rectangle.
        center_x: likewise.
        angle: clockwise, in radians.
    """

    height: Tensor
    width: Tensor
    top: Tensor
    left: Tensor
    center_y: Tensor
    center_x: Tensor
    angle: Tensor


def make_variants(
    image: Tensor, variant: Variant, jitter: float = JITTER, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Return images with changed colours, then the same images with a patch, or each kind of patch.

    Args:
        image: (B, 3, H, W) in [0, 1].
        variant: one of `TITLES`.
        jitter: strength of the changes of colour; 0 for none.
        generator: of the CPU; None for the global one.

    Returns:
        (V * B, 3, H, W) images and their classes (V * B,) int64: 0 for the first B, 1 for the next B, ...
    """
    count, size = len(image), (image.shape[2], image.shape[3])
    if jitter:
        image = change_color(image, draw_color_change(count, jitter, generator))
    patches = []
    if variant != "scar":
        patches.append(draw_large_patch(count, size, generator))
    if variant != "cutpaste":
        patches.append(draw_scar(count, size, generator))
    if variant == "union":
        is_large = torch.rand(count, generator=generator) < 0.5
        patches = [Patch._make(torch.where(is_large, *both) for both in zip(*patches, strict=True))]
    made = [image, *(paste(image, patch, jitter, generator) for patch in patches)]
    return torch.cat(made), torch.arange(len(made), device=image.device).repeat_interleave(count)


def paste(image: Tensor, patch: Patch, jitter: float, generator: torch.Generator | None = None) -> Tensor:
    """Return (B, 3, H, W) images with their patches, in changed colours, pasted at their new places."""
    moved, inside = move(image, patch)
    if jitter:
        moved = change_color(moved, draw_color_change(len(image), jitter, generator), inside)
    return torch.where(inside[:, None], moved, image)


def paste_patches(image: Tensor) -> Tensor:
    """Return (B, 3, H, W) images in [0, 1], each with a large patch of its own pasted at another place.

    Source: these are also the pseudo anomalies of Ding et al., "Catching Both Gray and Black Swans: Open-set
    Supervised Anomaly Detection", CVPR 2022.
    """
    return paste(image, draw_large_patch(len(image), (image.shape[2], image.shape[3])), JITTER)


def draw_large_patch(count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Patch:
    """Draw the rectangles of CutPaste for images of a size (H, W); they lie inside, and stay upright."""
    draw = torch.rand(6, count, generator=generator)
    area = _between(_AREA, draw[0]) * size[0] * size[1]
    aspect = torch.exp(_between((math.log(_ASPECT[0]), math.log(_ASPECT[1])), draw[1]))
    height = torch.sqrt(area / aspect).round().clamp(1, size[0])
    width = torch.sqrt(area * aspect).round().clamp(1, size[1])
    return Patch(
        height,
        width,
        top=_corner(draw[2], height, size[0]),
        left=_corner(draw[3], width, size[1]),
        center_y=_corner(draw[4], height, size[0]) + height / 2,
        center_x=_corner(draw[5], width, size[1]) + width / 2,
        angle=torch.zeros(count),
    )


def draw_scar(count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Patch:
    """Draw the narrow, turned rectangles of CutPaste (Scar); turned, they lie inside as well."""
    draw = torch.rand(7, count, generator=generator)
    height = _between(_SCAR_HEIGHT, draw[0]).round().clamp(1, size[0])
    width = _between(_SCAR_WIDTH, draw[1]).round().clamp(1, size[1])
    angle = torch.deg2rad(_between(_SCAR_ANGLE, draw[2]))
    cos, sin = angle.cos(), angle.sin().abs()
    tall, wide = height * cos + width * sin, height * sin + width * cos
    return Patch(
        height,
        width,
        top=_corner(draw[3], height, size[0]),
        left=_corner(draw[4], width, size[1]),
        center_y=_corner(draw[5], tall.ceil(), size[0]) + tall / 2,
        center_x=_corner(draw[6], wide.ceil(), size[1]) + wide / 2,
        angle=angle,
    )


def move(image: Tensor, patch: Patch) -> tuple[Tensor, Tensor]:
    """Return images with their patches at their new places, and which pixels (B, H, W) are a patch's.

    Pixels are the nearest ones, so nothing is mixed with its surroundings. Outside of the patches there is
    nothing of use.
    """
    height, width = image.shape[2:]
    values = torch.stack(patch).to(image.device)[..., None, None]
    tall, wide, top, left, center_y, center_x, angle = values
    y = torch.arange(height, device=image.device)[:, None] + 0.5 - center_y
    x = torch.arange(width, device=image.device) + 0.5 - center_x
    cos, sin = angle.cos(), angle.sin()
    row = (cos * y - sin * x + tall / 2).floor()
    column = (sin * y + cos * x + wide / 2).floor()
    inside = (row >= 0) & (row < tall) & (column >= 0) & (column < wide)
    row, column = (row + top).clamp(0, height - 1), (column + left).clamp(0, width - 1)
    index = (row * width + column).long().flatten(1)[:, None].expand(-1, image.shape[1], -1)
    return image.flatten(2).gather(2, index).view_as(image), inside


def _between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _corner(draw: Tensor, length: Tensor, side: int) -> Tensor:
    """Return where a length begins on a side; `draw` is from 0 to 1, 1 not included."""
    return (draw * (side - length).clamp_min(0)).floor()
