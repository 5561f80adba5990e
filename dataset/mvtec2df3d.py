"""MVTec 3D-AD, its RGB images alone ("2D from 3D").

Source: Bergmann, Jin, Sattlegger, Steger, VISAPP 2022.
"""

from data_io.records import Sample
from dataset.folders import images_in, subfolders
from dataset.mvtec_layout import Counts, MVTecLayout, anomalous_samples, masks_in

COUNTS = {
    "bagel": Counts(244, 22, 88),
    "cable_gland": Counts(223, 21, 87),
    "carrot": Counts(286, 27, 132),
    "cookie": Counts(210, 28, 103),
    "dowel": Counts(288, 26, 104),
    "foam": Counts(236, 20, 80),
    "peach": Counts(361, 26, 106),
    "potato": Counts(300, 22, 92),
    "rope": Counts(298, 32, 69),
    "tire": Counts(210, 25, 87),
}


class MVTec2DF3D(MVTecLayout):
    """<category>/{train,test}/<kind>/{rgb,xyz,gt}/<000>.*; the validation folder is not trained on."""

    published = COUNTS
    classes = tuple(COUNTS)
    release_layout = "<kind>/{rgb,xyz,gt}"

    def is_rearranged(self, task_id: int) -> bool:
        """Return whether the images of a class lie directly in the folders of their kinds."""
        release = self.category_folder(task_id) / "train" / "good" / "rgb"
        return super().is_rearranged(task_id) and not release.is_dir()

    def release_samples(self, task_id: int, split: str) -> list[Sample]:
        """List the RGB images; masks exist in the test split only, and for good images they are empty."""
        found: list[Sample] = []
        for kind in subfolders(self.category_folder(task_id) / split):
            paths = images_in(kind / "rgb")
            if kind.name in self.normal_kinds:
                found += [Sample(path, image_label=0) for path in paths]
            elif split == "test":
                found += anomalous_samples(paths, masks_in(kind / "gt"), kind.name)
        return found
