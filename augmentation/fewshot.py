"""Few-shot augmentation: more training images out of a handful, by the seven `-fat` types.

Copy i = 1..n of an image is made from the image itself, never from another copy, by all chosen types one
after the other. They work by nearest neighbour and fill with black, so an image and its mask move as one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional


@dataclass(frozen=True)
class _Copy:
    """Copy `index` (1..count) of an image; each method is one type and maps (3 or 4, H, W) to the same shape.

    The first three layers are the colours, the fourth is the mask. The strength of most types grows evenly
    from that of the untouched image, which would be index 0.
    """

    index: int
    count: int
    generator: torch.Generator

    def perspective(self, layers: Tensor) -> Tensor:
        """Move each corner inward by up to half the side times a distortion that grows to 0.5."""
        height, width = layers.shape[-2:]
        reach = 0.25 * self.index / self.count
        corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        inward = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
        moved = [
            [
                x + round(right * self._uniform(0, reach * width)),
                y + round(down * self._uniform(0, reach * height)),
            ]
            for (x, y), (right, down) in zip(corners, inward, strict=True)
        ]
        warped: Tensor = functional.perspective(
            layers, corners, moved, interpolation=InterpolationMode.NEAREST
        )
        return warped

    def color_jitter(self, layers: Tensor) -> Tensor:
        """Change brightness, then contrast, of the colours only; the strength grows from 0.5 to 1.5."""
        strength = 0.5 + (self.index - 1) / max(self.count - 1, 1)
        low, high = max(0.0, 1 - strength), 1 + strength
        colors = functional.adjust_brightness(layers[:3], self._uniform(low, high))
        colors = functional.adjust_contrast(colors, self._uniform(low, high))
        return torch.cat([colors, layers[3:]])

    def flip(self, layers: Tensor) -> Tensor:
        """Flip horizontally, vertically, both ways; from copy 4 on each way with probability 0.5."""
        axes = {1: [-1], 2: [-2], 3: [-1, -2]}.get(self.index)
        if axes is None:
            axes = [axis for axis in (-1, -2) if self._uniform(0, 1) < 0.5]
        return layers.flip(axes)

    def translate(self, layers: Tensor) -> Tensor:
        """Shift by up to a share of the side that grows to 0.5, either way."""
        share = 0.5 * self.index / self.count
        height, width = layers.shape[-2:]
        shift = [round(self._uniform(-share * side, share * side)) for side in (width, height)]
        return _affine(layers, shift=shift)

    def scale(self, layers: Tensor) -> Tensor:
        """Shrink about the centre by a factor that falls from 1 to 0.5."""
        return _affine(layers, factor=1 - 0.5 * self.index / self.count)

    def rotation(self, layers: Tensor) -> Tensor:
        """Rotate counter-clockwise; together with the untouched image, the angles share the circle evenly."""
        return _affine(layers, angle=-360 * self.index / (self.count + 1))

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))


def _affine(layers: Tensor, angle: float = 0.0, shift: Sequence[int] = (0, 0), factor: float = 1.0) -> Tensor:
    """Rotate clockwise by degrees, scale about the centre and shift by (x, y) pixels."""
    moved: Tensor = functional.affine(
        layers, angle, shift, factor, shear=[0, 0], interpolation=InterpolationMode.NEAREST
    )
    return moved


_TRANSFORMS: dict[str, Callable[[_Copy, Tensor], Tensor]] = {
    "perspective": _Copy.perspective,
    "color_jitter": _Copy.color_jitter,
    "flip": _Copy.flip,
    "translate": _Copy.translate,
    "scale": _Copy.scale,
    "rotation": _Copy.rotation,
}
KINDS = ("normal", *_TRANSFORMS)  # "normal" does nothing: alone it gives plain copies


def augment(
    image: Tensor, mask: Tensor | None, kinds: Iterable[str], num_generated: int, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return every image, untouched, followed by its generated copies, and the masks likewise.

    Args:
        image: (N, 3, H, W), uint8 or float in [0, 1].
        mask: (N, H, W), 0 or 1, on the same device; None where there is none.
        kinds: names out of `KINDS`; they act in that order, whatever the order here.
        num_generated: copies n per image.
        generator: CPU generator of the random types; the copies of the first images do not depend on how
            many follow.

    Returns:
        (N * (1 + n), 3, H, W) and (N * (1 + n), H, W) or None, of the dtypes given.

    Raises:
        ValueError: an unknown kind or none, or a negative number of copies.
    """
    chosen = set(kinds)
    if not chosen or not chosen <= set(KINDS):
        raise ValueError(f"kinds must be some of {', '.join(KINDS)}, not {sorted(chosen)}")
    if num_generated < 0:
        raise ValueError(f"num_generated must be at least 0, not {num_generated}")
    transforms = [transform for kind, transform in _TRANSFORMS.items() if kind in chosen]
    layers = image if mask is None else torch.cat([image, mask[:, None].to(image.dtype)], dim=1)
    augmented: list[Tensor] = []
    for original in layers:
        augmented.append(original)
        for index in range(1, num_generated + 1):
            copy = original
            for transform in transforms:
                copy = transform(_Copy(index, num_generated, generator), copy)
            augmented.append(copy)
    stacked = torch.stack(augmented)
    return stacked[:, :3], None if mask is None else stacked[:, 3].to(mask.dtype)
