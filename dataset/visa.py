"""VisA: twelve objects, split by the authors' one-class list.

Source: Zou, Jeong, Pemula, Zhang, Dabeer: SPot-the-Difference, ECCV 2022.
"""

from functools import cached_property

from configuration.text import read_table
from data_io.records import Sample
from dataset.folders import images_in, inside
from dataset.mvtec_layout import CLASS_INDEX_VALUES, RESTORE, Counts, MVTecLayout, anomalous_sample, masks_in

COUNTS = {
    "candle": Counts(900, 100, 100),
    "capsules": Counts(542, 60, 100),
    "cashew": Counts(450, 50, 100),
    "chewinggum": Counts(453, 50, 100),
    "fryum": Counts(450, 50, 100),
    "macaroni1": Counts(900, 100, 100),
    "macaroni2": Counts(900, 100, 100),
    "pcb1": Counts(904, 100, 100),
    "pcb2": Counts(901, 100, 100),
    "pcb3": Counts(905, 101, 100),
    "pcb4": Counts(904, 101, 100),
    "pipe_fryum": Counts(450, 50, 100),
}

LIST = "split_csv/1cls.csv"


class VisA(MVTecLayout):
    """<category>/Data/{Images/{Normal,Anomaly},Masks/Anomaly}/, split by `split_csv/1cls.csv`."""

    published = COUNTS
    classes = tuple(COUNTS)
    mask_values = CLASS_INDEX_VALUES
    release_layout = "split_csv/1cls.csv"

    @cached_property
    def split_rows(self) -> list[dict[str, str]]:
        """The rows of the authors' list: object, split, label, image, mask."""
        return read_table(self.root / LIST, ("object", "split", "label", "image"), RESTORE)

    def release_samples(self, task_id: int, split: str) -> list[Sample]:
        """List what the authors' list names, also images that are missing: opening them names them."""
        data = self.category_folder(task_id) / "Data"
        if not data.is_dir():
            return []
        masks = masks_in(data / "Masks" / "Anomaly")
        on_disk = {
            f"{label}/{path.stem}": path
            for label in ("Normal", "Anomaly")
            for path in images_in(data / "Images" / label)
        }
        found = []
        for row in self.split_rows:
            if (row["object"], row["split"]) == (self.classes[task_id], split):
                listed = inside(self.root, row["image"], LIST)
                path = on_disk.get(f"{listed.parent.name}/{listed.stem}", listed)
                is_normal = row["label"] == "normal"
                found.append(Sample(path, 0) if is_normal else anomalous_sample(path, masks, row["label"]))
        return sorted(found, key=lambda sample: sample.path)
