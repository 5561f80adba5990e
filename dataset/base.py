"""What every data set shares: finding its folder's files and naming what is missing."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from configuration.errors import UserError
from data_io.records import Sample

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


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

    def prepare(self) -> list[str]:
        """Make the data ready on first use; return the lines to tell the user. Most sets have nothing to do."""
        return []

    def notes(self, task_id: int) -> list[str]:
        """Return lines worth telling the user about one class, such as images that no split list knows."""
        return []


def images_in(folder: Path) -> list[Path]:
    """List the image files directly in a folder, in any letter case of the ending, sorted; [] if absent."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())


def require_folder(folder: Path, dataset: str, hint: str) -> Path:
    """Return the folder if it is there, else raise the error that names it and the way to mend it."""
    if not folder.is_dir():
        raise UserError(f"{dataset}: no folder {folder}; {hint}")
    return folder
