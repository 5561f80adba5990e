"""DAGM 2007: ten synthetic textures with weak elliptical labels.

Source: competition "Weakly supervised learning for industrial optical inspection", Wieler and Hahn, 2007.
"""

from pathlib import Path

from configuration.text import read_text
from data_io.records import Sample
from dataset.folders import LeftOut, images_in
from dataset.mvtec_layout import RESTORE, Counts, MVTecLayout, anomalous_sample, masks_in

# Images in each half, defects in Train, defects in Test. Training takes the normal images of Train alone.
HALVES = {
    "Class1": (575, 79, 71),
    "Class2": (575, 66, 84),
    "Class3": (575, 66, 84),
    "Class4": (575, 82, 68),
    "Class5": (575, 70, 80),
    "Class6": (575, 83, 67),
    "Class7": (1150, 150, 150),
    "Class8": (1150, 150, 150),
    "Class9": (1150, 150, 150),
    "Class10": (1150, 150, 150),
}
COUNTS = {
    name: Counts(half - in_train, half - in_test, in_test)
    for name, (half, in_train, in_test) in HALVES.items()
}


class DAGM(MVTecLayout):
    """Class<n>/{Train,Test}/<0001>.PNG; `Label/<0001>_label.PNG` for defective images only."""

    published = COUNTS
    classes = tuple(COUNTS)
    release_layout = "Class<n>/{Train,Test}/Label"

    def release_samples(self, task_id: int, split: str) -> list[Sample]:
        """List the normal images of Train, or all of Test."""
        folder = self.category_folder(task_id) / split.capitalize()
        masks = masks_in(folder / "Label")
        defective = listed_as_defective(folder / "Label" / "Labels.txt")
        found = []
        for path in images_in(folder):
            sample = anomalous_sample(path, masks, kind="defect")
            if sample.mask_path is None and path.stem not in defective:
                sample = Sample(path, image_label=0)
            found.append(sample)
        return [sample for sample in found if split == "test" or not sample.image_label]

    def left_out(self, task_id: int) -> list[LeftOut]:
        """List the files that are not read; Label/ holds masks of defects that nobody trains on, too."""
        return [found for found in super().left_out(task_id) if found.path.parent.name != "Label"]


def listed_as_defective(labels: Path) -> frozenset[str]:
    """Return the stems that Labels.txt marks as defective, so that a lost mask makes no image normal.

    A line reads `<number> <0 or 1> <image> 0 <mask or 0>`; the first line holds a version number.
    """
    if not labels.is_file():
        return frozenset()
    rows = (line.split() for line in read_text(labels, RESTORE).splitlines())
    return frozenset(Path(row[2]).stem for row in rows if len(row) > 2 and row[1] == "1")
