"""What every data set shares: finding its folder's files and naming what is missing."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from configuration.errors import UserError
from data_io.records import Sample

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Saturation:
    """How much of a defect must be found for full credit.

    Args:
        defect_name: as the release names it.
        threshold: a share of the defect's area if relative, else a number of pixels of the original image.
        relative: see `threshold`.
    """

    defect_name: str
    threshold: float
    relative: bool


class DatasetBase(ABC):
    """One release layout: which file has which label, mask and task. Opens no image.

    Args:
        root: folder of the data set.
        params: the record of the data set's own YAML keys, an instance of `Params`.
        seed: the run's seed, for data sets that must split by themselves.

    Attributes:
        classes: category names; the position is the class id, so the order never changes.
        mask_threshold: a mask pixel is marked where its grey value (0 to 255) is at least this.
    """

    @dataclass(frozen=True)
    class Params:
        """Keys of the data set's own; most have none."""

    classes: ClassVar[tuple[str, ...]]
    mask_threshold: ClassVar[int] = 1

    def __init__(self, root: Path, params: object | None = None, seed: int = 0) -> None:
        self.root = root
        self.params = params if params is not None else self.Params()
        self.seed = seed

    @abstractmethod
    def samples(self, task_id: int, split: str) -> list[Sample]:
        """List the images of one class and split ('train' or 'test'), sorted by path."""

    def saturation(self, task_id: int) -> Mapping[int, Saturation] | None:
        """Return grey value of a mask -> when its defect counts as found; None if defects do not saturate."""
        return None

    def prepare(self) -> list[str]:
        """Make the data ready on first use; return the lines to tell the user."""
        return []

    def notes(self, task_id: int) -> list[str]:
        """Return lines worth telling the user about one class, such as which layout was found."""
        return []


def images_in(folder: Path) -> list[Path]:
    """List the image files directly in a folder, in any letter case of the ending, sorted; [] if absent.

    Hidden files are left out: archives made on a Mac carry a `._name.png` beside many images.

    Raises:
        UserError: the folder cannot be read, a link leads nowhere, or a name is no UTF-8.
    """
    if not folder.is_dir():
        return []
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); change its permissions") from error
    images = [Path(entry.path) for entry in found if Path(entry.name).suffix.lower() in IMAGE_ENDINGS]
    for path in images:
        if not path.exists():
            raise UserError(f"{path}: a link to nothing; restore its image or remove it")
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):  # what stands for other bytes
            raise UserError(f"{folder}: the file name {path.name!a} is no UTF-8; rename it")
    return sorted(images)
