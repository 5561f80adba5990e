"""What opening image files tells: damage, masks that do not fit, pictures that are there twice."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from configuration.errors import UserError
from data_io.image_file import num_pages, opened, to_grey, to_rgb
from data_io.notes import is_doubtful

Array = NDArray[np.float32]

THUMBNAIL = 32  # pixels, height and width
# Pictures are twins below this share of the median distance from a training image to the nearest other one.
# Seen on generated images: copies with other brightness or compression up to 0.29, different ones from 0.48.
TWIN_SHARE = 0.35


class Problem(NamedTuple):
    """Something wrong: a "fault" must be mended before a run, a "warning" is worth knowing."""

    level: str
    kind: str
    text: str


@dataclass(frozen=True)
class Look:
    """What an image file holds.

    Args:
        path: the file.
        size: (height, width) in pixels.
        is_constant: whether all its pixels are alike.
        pages: images in the file.
        digest: equal for equal pixels.
        thumbnail: (THUMBNAIL ** 2,) grey values, brightness and contrast removed.
    """

    path: Path
    size: tuple[int, int]
    is_constant: bool
    pages: int
    digest: bytes
    thumbnail: Array


def look_at(path: Path) -> Look | Problem:
    """Decode an image, or say why that cannot be done."""
    try:
        with opened(path) as image:
            digest = hashlib.blake2b(image.tobytes()).digest()
            pixels = to_rgb(image, None)
    except UserError as error:
        return unreadable(error)
    grey = pixels.convert("L").convert("F")  # float, so that a thumbnail is not rounded
    small = np.asarray(
        grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR), dtype=np.float32
    ).ravel()
    contrast = max(float(small.std()), 1.0)  # of 255; an even surface keeps its even thumbnail
    colours = np.asarray(pixels)
    is_constant = bool((colours == colours[0, 0]).all())
    size = pixels.height, pixels.width
    return Look(path, size, is_constant, num_pages(path), digest, (small - small.mean()) / contrast)


def unreadable(error: UserError) -> Problem:
    """Return the problem of a file that cannot be decoded."""
    return Problem("fault", "unreadable", str(error))


def look_problems(look: Look) -> Iterator[Problem]:
    """Yield what is strange in a sound image."""
    if look.is_constant:
        yield Problem("warning", "constant", f"{look.path}: all its pixels are alike")
    if look.pages > 1:
        yield Problem("warning", "pages", f"{look.path}: holds {look.pages} images; the first alone is read")


def mask_problems(
    path: Path, size: tuple[int, int], threshold: float, values: frozenset[int] | None
) -> Iterator[Problem]:
    """Yield what is wrong with one mask.

    Args:
        path: the mask.
        size: (height, width) of its image, in pixels.
        threshold: smallest grey value that counts as marked.
        values: grey values, or colour numbers, that a sound mask may have; None if any.
    """
    try:
        with opened(path) as mask:
            grey = to_grey(mask)
            stored = np.asarray(mask) if mask.mode == "P" else grey
    except UserError as error:
        yield unreadable(error)
        return
    if grey.shape != size:
        found, wanted = (f"{width} x {height}" for height, width in (grey.shape, size))
        yield Problem("fault", "mask size", f"{path}: {found}, its image is {wanted}")
    marked = grey >= threshold
    if not marked.any():
        text = f"{path}: marks nothing, no grey value of {threshold:g} or more"
        yield Problem("warning", "empty mask", text)
    strange = [] if values is None else sorted({*np.unique(stored).tolist()} - values)
    if strange:
        examples = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        mend = "set where a mask begins to mark: --set mask_threshold=128"
        yield Problem("fault", "mask values", f"{path}: grey values {examples}, as soft borders have; {mend}")
    elif is_doubtful(marked.astype(np.uint8)):
        text = f"{path}: marks most of its image or its whole border; is it inverted?"
        yield Problem("warning", "doubtful mask", text)


def twin_problems(train: Sequence[Look], test: Sequence[Look]) -> Iterator[Problem]:
    """Yield the test images that are also trained on: equal ones as faults, nearly equal ones as warnings."""
    trained = {look.digest: look.path for look in train}
    for look in test:
        if look.digest in trained:
            text = f"{look.path}: the same picture as {trained[look.digest]}, which is trained on"
            yield Problem("fault", "identical", text)
    others = [look for look in test if look.digest not in trained]
    if len(train) < 2 or not others:
        return
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    known, new = (np.stack([look.thumbnail for look in part]) for part in (train, others))
    search = NearestNeighbors(n_neighbors=1).fit(known)
    limit = TWIN_SHARE * np.median(search.kneighbors()[0])  # each one's neighbour is another one
    distance, nearest = search.kneighbors(new)
    for row in np.flatnonzero(distance < limit):
        twin = train[nearest[row, 0]].path
        text = f"{others[row].path}: nearly the same picture as {twin}, which is trained on"
        yield Problem("warning", "similar", text)
