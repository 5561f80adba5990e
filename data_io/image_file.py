"""Open image files of harmless formats: upright, on black where transparent, in eight bits a colour."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from configuration.errors import UserError

# Pillow's readers of these run no other program on what they read.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "PPM", "GIF", "JPEG2000")
BROKEN = (OSError, SyntaxError, ValueError, EOFError)  # what PIL raises for damaged files
PAGED_ENDINGS = frozenset({".tif", ".tiff", ".gif", ".webp"})
_DEEP_MODES = ("I", "F")  # beginnings of the names of those of more than 8 bits
_TURNED = frozenset({5, 6, 7, 8})  # orientations that exchange height and width
_LARGE_PIXELS = 50_000_000  # above this, images are decoded one at a time: a hundred megapixels take 0.6 GB
_MAX_8, _MAX_16 = 255, 65535

Image.MAX_IMAGE_PIXELS = None  # a bound against senders of small files; these are the user's own
warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a file is said once, by its error
_large = Lock()


@dataclass(frozen=True)
class Levels:
    """The grey values of black and white in images of more than 8 bits a colour."""

    black: float
    white: float


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Yield the first page of an image, decoded and upright.

    Raises:
        UserError: the file is missing, truncated, or no image of a harmless format.
    """
    with _lazily(path) as image:
        orientation = _orientation(image)
        with _large if image.width * image.height > _LARGE_PIXELS else nullcontext():
            with _naming(path):
                image.load()
            yield image if orientation == 1 else ImageOps.exif_transpose(image)


def shown_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) of an upright image, without decoding it.

    Raises:
        UserError: see `opened`.
    """
    with _lazily(path) as image:
        sides = image.height, image.width
        return sides[::-1] if _orientation(image) in _TURNED else sides


def num_pages(path: Path) -> int:
    """Return how many images a file holds.

    Raises:
        UserError: see `opened`.
    """
    if path.suffix.lower() not in PAGED_ENDINGS:
        return 1
    with _lazily(path) as image, _naming(path):
        return int(getattr(image, "n_frames", 1))


def is_deep(path: Path) -> bool:
    """Return whether an image has more than 8 bits a colour, without decoding it.

    Raises:
        UserError: see `opened`.
    """
    with _lazily(path) as image:
        return image.mode.startswith(_DEEP_MODES)


def value_range(path: Path) -> NDArray[np.float64]:
    """Return the least and the greatest finite grey value of an image of more than 8 bits, or of none.

    Raises:
        UserError: see `opened`.
    """
    with opened(path) as image:
        values = np.asarray(image)
        finite = values[np.isfinite(values)]
        return np.array([finite.min(initial=0), finite.max(initial=0)], np.float64)


def levels_for(low: float, high: float) -> Levels:
    """Return the levels of values in a range: white is the next power of two (of whole numbers: less one)."""
    whole = float(high).is_integer() and float(low).is_integer() and high > 1
    black = -_power(-low) if low < 0 else 0.0
    return Levels(black, max(_power(high + 1) - 1, _MAX_8) if whole else _power(high))


def _power(value: float) -> float:
    return 2.0 ** math.ceil(math.log2(value)) if value > 0 else 1.0


def to_rgb(image: Image.Image, levels: Levels | None) -> Image.Image:
    """Return 8 bits of red, green and blue.

    Args:
        image: decoded.
        levels: of an image of more than 8 bits; None: 65535 is white in 16 bits, else its own range counts.
    """
    if not image.mode.startswith(_DEEP_MODES):
        return _on_black(image).convert("RGB")
    values = np.nan_to_num(np.asarray(image, np.float64))
    if levels is None:
        is_16_bits = image.mode.startswith("I;16")
        levels = Levels(0, _MAX_16) if is_16_bits else levels_for(values.min(), values.max())
    scaled = (values - levels.black) * (_MAX_8 / (levels.white - levels.black))
    return Image.fromarray(np.clip(scaled.round(), 0, _MAX_8).astype(np.uint8)).convert("RGB")


def to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return the (H, W) grey values of a mask; shares, as a float mask holds them, are of 255."""
    if image.mode == "F" and np.asarray(image).max(initial=0) <= 1:
        return (np.asarray(image) * _MAX_8).clip(0).astype(np.uint8)
    return np.asarray(_on_black(image).convert("L"))


def _on_black(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))


def _orientation(image: Image.Image) -> int:
    """Return the Exif tag by which cameras say how to turn a picture; 1 where nothing is left to turn."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # PIL turns TIFFs by itself; a PNG without the tag would be decoded to look for it
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except BROKEN:
        return 1
    return found if found in range(2, 9) else 1


@contextmanager
def _lazily(path: Path) -> Iterator[Image.Image]:
    with _naming(path):
        image = Image.open(path, formats=FORMATS)
    with image:
        yield image


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: the file is not there any more") from error
    except BROKEN as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}); replace or remove the file"
        ) from error
