"""Decode images and masks: one geometry for both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from configuration.errors import UserError
from data_io.image_file import Levels, opened, shown_size, to_grey, to_rgb
from data_io.records import Sample

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Geometry:
    """Squash to (resize, resize), then cut the central (crop, crop); in pixels."""

    resize: int
    crop: int

    @property
    def share(self) -> float:
        """The share of each side that the crop keeps."""
        return self.crop / self.resize


def decode_image(path: Path, geometry: Geometry, levels: Levels | None = None) -> Pixels:
    """Return the image as (3, crop, crop) uint8 RGB, resized bilinearly with antialiasing.

    Args:
        path: the file.
        geometry: of the result.
        levels: black and white of an image of more than 8 bits; see `to_rgb`.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    side = geometry.resize
    with opened(path) as found:
        image = to_rgb(found, levels).resize((side, side), Image.Resampling.BILINEAR)
    margin = round((side - geometry.crop) / 2)
    image = image.crop((margin, margin, margin + geometry.crop, margin + geometry.crop))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def decode_mask(
    sample: Sample, size: int | None, crop: int | None, share: float, threshold: float
) -> Pixels | None:
    """Return the ground truth of an anomalous image as (h, w) uint8 of 0 and 1.

    Args:
        sample: the image and its mask files, joined by "or".
        size: side of the squashed mask before the crop, in pixels; None keeps the image's own size.
        crop: side of the central crop, in pixels; None: the share of `size`.
        share: share of each side that the crop of the image keeps.
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
    return fit_mask(marked.astype(np.uint8), size, crop, share)


def fit_mask(mask: Pixels, size: int | None, crop: int | None, share: float) -> Pixels:
    """Bring a (H, W) mask to the geometry of its image: nearest resize, then the same central crop."""
    if size is not None:
        mask = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    height, width = mask.shape
    keep_h = crop if crop is not None else round(height * share)
    keep_w = crop if crop is not None else round(width * share)
    top, left = round((height - keep_h) / 2), round((width - keep_w) / 2)
    return np.ascontiguousarray(mask[top : top + keep_h, left : left + keep_w])


def blank_mask(sample: Sample, size: int | None, crop: int | None, share: float) -> Pixels:
    """Return the empty mask of a normal image."""
    if size is not None:
        side = crop if crop is not None else round(size * share)
        return np.zeros((side, side), np.uint8)
    return np.zeros(native_shape(sample, share), np.uint8)


def decode_channel(path: Path, share: float) -> tuple[int, NDArray[np.bool_]]:
    """Return the grey value of a mask that marks one defect, and what it marks, at its own size, cropped."""
    with opened(path) as image:
        grey = to_grey(image)
    marked = fit_mask((grey > 0).astype(np.uint8), None, None, share) > 0
    return int(grey.max()), marked


def native_shape(sample: Sample, share: float) -> tuple[int, int]:
    """Return the (height, width) of an image's own size after the crop, without decoding it."""
    height, width = shown_size(sample.path)
    return round(height * share), round(width * share)


def _same_size(mask_path: Path, grey: Pixels, image_path: Path) -> None:
    height, width = shown_size(image_path)
    if grey.shape != (height, width):
        found = f"{grey.shape[1]} x {grey.shape[0]}"
        raise UserError(
            f"{mask_path}: the mask is {found}, its image {image_path} is {width} x {height}; mend one"
        )
