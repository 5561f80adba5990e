"""Decode images and masks: one geometry for both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from configuration.config import Resize
from configuration.errors import UserError
from data_io.image_file import Levels, opened, shown_size, to_grey, to_rgb
from data_io.records import Sample

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Geometry:
    """Resize an image, then cut the central (crop, crop); in pixels.

    Args:
        resize: side of the square that an image is squashed to, or its shorter side.
        crop: side of what is kept.
        rule: "squash" to a square, or resize the "short_side" and keep the proportions, as references do.
    """

    resize: int
    crop: int
    rule: Resize = "squash"

    @property
    def share(self) -> float:
        """The share of a side that the crop keeps."""
        return self.crop / self.resize

    def sides(self, height: int, width: int, size: int) -> tuple[int, int]:
        """Return what an image of these sides is resized to; `size` takes the place of `resize`."""
        if self.rule == "squash":
            return size, size
        short = min(height, width)
        return height * size // short, width * size // short

    def kept(self, height: int, width: int) -> tuple[int, int]:
        """Return the sides of what the crop keeps of an image of these sides, without resizing."""
        if self.rule == "short_side":
            height = width = min(height, width)
        return round(height * self.share), round(width * self.share)


def decode_image(path: Path, geometry: Geometry, levels: Levels | None = None) -> Pixels:
    """Return the image as (3, crop, crop) uint8 RGB, resized bilinearly with antialiasing.

    Args:
        path: the file.
        geometry: of the result.
        levels: black and white of an image of more than 8 bits; see `to_rgb`.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    with opened(path) as found:
        height, width = geometry.sides(found.height, found.width, geometry.resize)
        image = to_rgb(found, levels).resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - geometry.crop) / 2), round((height - geometry.crop) / 2)
    image = image.crop((left, top, left + geometry.crop, top + geometry.crop))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def decode_mask(
    sample: Sample, size: int | None, crop: int | None, geometry: Geometry, threshold: float
) -> Pixels | None:
    """Return the ground truth of an anomalous image as (h, w) uint8 of 0 and 1.

    Args:
        sample: the image and its mask files, joined by "or".
        size: what the mask is resized to before the crop, in pixels; None keeps the image's own size.
        crop: side of the central crop, in pixels; None: the share of `size`.
        geometry: of the image.
        threshold: smallest grey value that counts as marked.

    Returns:
        None where no mask file exists or nothing is marked.

    Raises:
        UserError: a mask cannot be read or has another size than its image.
    """
    marked: NDArray[np.bool_] | None = None
    for path in sample.mask_paths:
        if not path.exists():
            continue
        with opened(path) as image:
            grey = to_grey(image)
        _same_size(path, grey, sample.path)
        marked = grey >= threshold if marked is None else marked | (grey >= threshold)
    if marked is None or not marked.any():
        return None
    return fit_mask(marked.astype(np.uint8), size, crop, geometry)


def fit_mask(mask: Pixels, size: int | None, crop: int | None, geometry: Geometry) -> Pixels:
    """Bring a (H, W) mask to the geometry of its image: nearest resize, then the same central crop."""
    height, width = mask.shape
    if size is not None:
        height, width = geometry.sides(height, width, size)
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    keep_h, keep_w = geometry.kept(height, width) if crop is None else (crop, crop)
    top, left = round((height - keep_h) / 2), round((width - keep_w) / 2)
    return np.ascontiguousarray(mask[top : top + keep_h, left : left + keep_w])


def blank_mask(sample: Sample, size: int | None, crop: int | None, geometry: Geometry) -> Pixels:
    """Return the empty mask of a normal image."""
    if size is not None:
        return np.zeros(geometry.kept(size, size) if crop is None else (crop, crop), np.uint8)
    return np.zeros(native_shape(sample, geometry), np.uint8)


def decode_channel(path: Path, geometry: Geometry) -> tuple[int, NDArray[np.bool_]]:
    """Return the grey value of a mask that marks one defect, and what it marks, at its own size, cropped."""
    with opened(path) as image:
        grey = to_grey(image)
    marked = fit_mask((grey > 0).astype(np.uint8), None, None, geometry) > 0
    return int(grey.max()), marked


def highest_grey(path: Path) -> int:
    """Return the highest grey value of a mask."""
    with opened(path) as image:
        return int(to_grey(image).max())


def native_shape(sample: Sample, geometry: Geometry) -> tuple[int, int]:
    """Return the (height, width) of an image's own size after the crop, without decoding it."""
    return geometry.kept(*shown_size(sample.path))


def _same_size(mask_path: Path, grey: Pixels, image_path: Path) -> None:
    height, width = shown_size(image_path)
    if grey.shape != (height, width):
        found = f"{grey.shape[1]} x {grey.shape[0]}"
        raise UserError(
            f"{mask_path}: the mask is {found}, its image {image_path} is {width} x {height}; mend one"
        )
