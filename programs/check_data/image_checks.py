"""What opening image files tells: damage, masks that do not fit, pictures that are there twice."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Array = NDArray[np.float32]

BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what PIL raises for damaged files
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
        size: (width, height) in pixels.
        digest: equal for equal pixels.
        thumbnail: (THUMBNAIL ** 2,) grey values, brightness and contrast removed.
    """

    path: Path
    size: tuple[int, int]
    digest: bytes
    thumbnail: Array


def look_at(path: Path) -> Look | Problem:
    """Decode an image, or say why that cannot be done."""
    try:
        with Image.open(path) as image:
            digest = hashlib.blake2b(image.tobytes()).digest()
            grey = image.convert("L").convert("F")  # float, so that a thumbnail is not rounded
            size = image.size
    except BROKEN as error:
        return unreadable(path, error)
    small = np.asarray(
        grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR), dtype=np.float32
    ).ravel()
    contrast = max(float(small.std()), 1.0)  # of 255; an even surface keeps its even thumbnail
    return Look(path, size, digest, (small - small.mean()) / contrast)


def unreadable(path: Path, error: Exception) -> Problem:
    """Return the problem of a file that PIL could not decode."""
    reason = (
        "no image" if isinstance(error, UnidentifiedImageError) else getattr(error, "strerror", None) or error
    )
    return Problem("fault", "unreadable", f"{path}: {reason}")


def mask_problems(
    path: Path, size: tuple[int, int], threshold: int, values: frozenset[int] | None
) -> Iterator[Problem]:
    """Yield what is wrong with one mask.

    Args:
        path: the mask.
        size: (width, height) of its image, in pixels.
        threshold: smallest grey value that counts as marked.
        values: grey values, or colour numbers, that a sound mask may have; None if any.
    """
    try:
        with Image.open(path) as mask:
            grey = np.asarray(mask.convert("L"))
            stored = np.asarray(mask) if mask.mode == "P" else grey
    except BROKEN as error:
        yield unreadable(path, error)
        return
    height, width = grey.shape
    if (width, height) != size:
        yield Problem("fault", "mask size", f"{path}: {width} x {height}, its image is {size[0]} x {size[1]}")
    if grey.max() < threshold:
        yield Problem("warning", "empty mask", f"{path}: marks nothing, no grey value of {threshold} or more")
    strange = [] if values is None else sorted({*np.unique(stored).tolist()} - values)
    if strange:
        examples = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        yield Problem("fault", "mask values", f"{path}: unexpected grey values {examples}")


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
