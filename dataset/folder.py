"""A data set of one's own: one folder of images, no code."""

from pathlib import Path

from configuration.errors import UserError
from data_io.records import Sample
from dataset.folders import images_in
from dataset.mvtec_layout import CLASS_INDEX_VALUES, TREE, MVTecLayout


class Folder(MVTecLayout):
    """<root>/train/good/, test/good/, test/<kind>/ and, for some or all images, ground_truth/<kind>/.

    Training images may also lie directly in train/.
    """

    classes = ("folder",)
    mask_values = CLASS_INDEX_VALUES
    masks_optional = True

    def category_folder(self, task_id: int) -> Path:
        """Return the root: the one class has no folder of its own."""
        return self.root

    def contents(self, task_id: int) -> str:
        """Return what the data set's folder should hold, for the error."""
        return TREE

    def notes(self, task_id: int) -> list[str]:
        """Say that a test set of one label cannot be scored, and what may not be meant so."""
        lines = super().notes(task_id)
        test = self.samples(task_id, "test")
        if len({sample.image_label for sample in test}) == 1:
            found, wanted = ("anomalous", "good") if test[0].image_label else ("good", "<kind>")
            lines.append(f"folder: all test images are {found}, so metrics stay empty; add test/{wanted}/")
        return lines

    def is_rearranged(self, task_id: int) -> bool:
        """Return True: there is no other layout."""
        return True

    def tree_samples(self, task_id: int, split: str) -> list[Sample]:
        """List one split.

        Raises:
            UserError: test/ holds images, but no folder says which of them are normal.
        """
        found = super().tree_samples(task_id, split)
        loose = [] if found else images_in(self.root / split)
        if loose and split == "test":
            raise UserError(
                f"folder: images directly in {self.root / split} have no label and cannot be scored; "
                "move them to test/good/ and test/<kind>/"
            )
        return found or [Sample(path, image_label=0) for path in loose]
