"""What every data set is: which file has which label, mask and task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data_io.records import Sample
from dataset.folders import LeftOut
from dataset.folders import images_in as images_in
from dataset.folders import summary as summary


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

    def left_out(self, task_id: int) -> list[LeftOut]:
        """List the files in the folders of one class that are not read."""
        return []
