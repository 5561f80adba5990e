"""The tree that most data sets share, and what a data set says of itself for the doctor.

`<root>/<category>/{train,test}/<kind>/<image>`, masks in `<category>/ground_truth/<kind>/`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from configuration.errors import UserError
from data_io.records import Sample
from dataset.base import DatasetBase
from dataset.folders import LeftOut, described, images_in, left_out, subfolders, unmasked_images_in

Masks = Mapping[str, Path | tuple[Path, ...]]

RESTORE = "restore it from the archive"
TREE = "train/good/, test/good/, test/<kind>/"
MASK_SUFFIXES = ("_mask", "_label", "")  # MVTec and its kin, DAGM, BTAD and VisA
NORMAL_NAMES = frozenset({"good", "normal", "ok", "okay", "pass", "defect-free", "defect_free", "no_defect"})
CLASS_INDEX_VALUES = frozenset({*range(64), 255})  # grey values of masks that may number the kinds of defect


class Counts(NamedTuple):
    """Number of images of one category, as published."""

    train: int
    test_good: int
    test_anomalous: int


@dataclass(frozen=True)
class Expected:
    """What the doctor holds one category against.

    Args:
        counts: the published counts; None where nobody published any.
        mask_values: grey values that a sound mask may have; None if any.
        masks_optional: whether an anomalous image may come without a mask.
    """

    counts: Counts | None = None
    mask_values: frozenset[int] | None = frozenset({0, 255})
    masks_optional: bool = False


class MVTecLayout(DatasetBase):
    """A data set in the layout of MVTec AD; one that was released in another layout reads both.

    Attributes:
        published: category -> counts, for the doctor.
        mask_values: see `Expected`.
        masks_optional: see `Expected`.
        normal_kinds: names of the folders of normal images.
        release_layout: the original layout in a few words; empty where it is this very tree.
    """

    published: ClassVar[Mapping[str, Counts]] = {}
    mask_values: ClassVar[frozenset[int] | None] = frozenset({0, 255})
    masks_optional: ClassVar[bool] = False
    normal_kinds: ClassVar[frozenset[str]] = frozenset({"good"})
    release_layout: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The name that the data set has on the command line."""
        return type(self).__name__.lower()

    def samples(self, task_id: int, split: str) -> list[Sample]:
        """List the images of one class and split ('train' or 'test'), sorted by path.

        Raises:
            UserError: there are none.
        """
        read = self.tree_samples if self.is_rearranged(task_id) else self.release_samples
        found = read(task_id, split)
        if not found:
            raise UserError(self._nothing_of(task_id, split))
        return found

    def _nothing_of(self, task_id: int, split: str) -> str:
        """Say that a split has no image: what there is instead, or how to set the folder."""
        folder = self.category_folder(task_id)
        missing = f"{self.name}: no image of class {self.classes[task_id]} under {folder / split}"
        if not folder.is_dir():
            return f"{missing}; set -dp to the folder that holds {self.contents(task_id)}"
        place = next(place for place in (folder / split / "good", folder / split, folder) if place.is_dir())
        layout = self.release_layout or TREE
        return (
            f"{missing}: {place} holds {described(place)}; the layout is {layout}, with images in its folders"
        )

    def notes(self, task_id: int) -> list[str]:
        """Say which of its layouts a data set was found in, and what may not be meant so."""
        lines = []
        if self.release_layout:
            layout = "train/, test/, ground_truth/" if self.is_rearranged(task_id) else self.release_layout
            lines.append(f"{self.name}: found in the layout {layout}")
        test = self.samples(task_id, "test")
        for kind in sorted({sample.kind for sample in test if sample.image_label}):
            if kind.lower() in NORMAL_NAMES:
                lines.append(
                    f"{self.name}: test/{kind}/ counts as a kind of defect; "
                    "if its images are normal, rename it to good/"
                )
        names = Counter(sample.path.with_suffix("") for sample in test if sample.image_label)
        if twins := sum(number for number in names.values() if number > 1):
            lines.append(
                f"{self.name}: {twins} anomalous images share their name with another one, but for the "
                "ending; a mask is that of the image with its own ending"
            )
        return lines

    def expected(self, task_id: int) -> Expected:
        """Return what the doctor holds one class against."""
        return Expected(self.published.get(self.classes[task_id]), self.mask_values, self.masks_optional)

    def category_folder(self, task_id: int) -> Path:
        """Return the folder of one class."""
        return self.root / self.classes[task_id]

    def contents(self, task_id: int) -> str:
        """Return what the data set's folder should hold, for the error."""
        return f"{self.classes[task_id]}/"

    def left_out(self, task_id: int) -> list[LeftOut]:
        """List the files in the folders of one class that are not read."""
        samples = [*self.samples(task_id, "train"), *self.samples(task_id, "test")]
        used = {path for sample in samples for path in (sample.path, *sample.mask_paths)}
        places = {sample.path.parent for sample in samples}
        if self.is_rearranged(task_id):
            places = {self.category_folder(task_id) / split for split in ("train", "test")}
        return [found for place in sorted(places) for found in left_out(place, used)]

    def is_rearranged(self, task_id: int) -> bool:
        """Return whether a class lies in the common tree, by looking."""
        return (self.category_folder(task_id) / "train" / "good").is_dir()

    def release_samples(self, task_id: int, split: str) -> list[Sample]:
        """List a class that lies as released, [] if nothing is there; most releases are the common tree."""
        return self.tree_samples(task_id, split)

    def tree_samples(self, task_id: int, split: str) -> list[Sample]:
        """List a class that lies in the common tree, [] if nothing is there; 'train' is normal only."""
        folder = self.category_folder(task_id)
        found: list[Sample] = []
        for kind in subfolders(folder / split):
            if kind.name in self.normal_kinds:
                found += [Sample(path, image_label=0) for path in unmasked_images_in(kind)]
            elif split == "test":
                masks = masks_in(folder / "ground_truth" / kind.name)
                found += anomalous_samples(unmasked_images_in(kind), masks, kind.name)
        return found


def anomalous_samples(paths: Sequence[Path], masks: Masks, kind: str) -> list[Sample]:
    """Return the samples of the anomalous images in a folder.

    Where images share their name but for the ending, a mask is that of the image with its own ending.
    """
    names = Counter(path.stem for path in paths)
    found = [anomalous_sample(path, masks, kind) for path in paths]
    return [
        sample
        if names[sample.path.stem] == 1
        or all(mask.suffix == sample.path.suffix for mask in sample.mask_paths)
        else replace(sample, mask_path=None)
        for sample in found
    ]


def anomalous_sample(path: Path, masks: Masks, kind: str) -> Sample:
    """Return the sample of an anomalous image with its mask, if `masks` has one for it."""
    names = (path.stem + suffix for suffix in MASK_SUFFIXES)
    mask_path = next((masks[name] for name in names if name in masks), None)
    return Sample(path, image_label=1, mask_path=mask_path, kind=kind)


def masks_in(folder: Path) -> Masks:
    """Index a folder's masks by stem; a subfolder holds all masks of the image that it is named after."""
    masks: dict[str, Path | tuple[Path, ...]] = {path.stem: path for path in images_in(folder)}
    for subfolder in subfolders(folder):
        if files := tuple(images_in(subfolder)):
            masks[subfolder.name] = files
    return masks
