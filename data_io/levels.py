"""Which grey values are black and white in images of more than 8 bits, as the training images tell."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from data_io.image_file import Levels, is_deep, levels_for, value_range
from data_io.records import Split, derive_seed, file_identity
from data_io.table import Decoder, Storage, Table

_RANGES = Decoder(
    name="ranges",
    shape=(2,),
    dtype=torch.float64,
    key=lambda path: derive_seed(0, *file_identity(path), "range"),
    decode=value_range,
)


def levels_of(splits: Iterable[Split], white: float | None, storage: Storage) -> Mapping[Path, Levels]:
    """Return image -> levels, of the classes whose first training image has more than 8 bits.

    A class has the same levels whichever of its images are drawn, and whichever other classes are chosen.

    Args:
        splits: each of one class.
        white: what the user says is white; None: what the training images of the class show.
        storage: how they are read.

    Raises:
        UserError: an image cannot be read.
    """
    found: dict[Path, Levels] = {}
    for split in splits:
        train = [sample.path for sample in split.train]
        if not is_deep(train[0]):
            continue
        if white is None:
            ranges = Table(train, _RANGES, storage).read(torch.arange(len(train)))
            levels = levels_for(float(ranges[:, 0].min()), float(ranges[:, 1].max()))
        else:
            levels = Levels(0, white)
        found |= dict.fromkeys((sample.path for sample in (*split.train, *split.test)), levels)
    return found
