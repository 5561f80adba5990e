"""BTAD, beanTech anomaly detection: three products.

Source: Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL, ISIE 2021.
"""

from pathlib import Path

from dataset.mvtec_layout import Counts, MVTecLayout

COUNTS = {"01": Counts(400, 21, 49), "02": Counts(399, 30, 200), "03": Counts(1000, 400, 41)}


class BTAD(MVTecLayout):
    """<category>/{train/ok,test/ok,test/ko,ground_truth/ko}/, masks `<stem>.png` or `.bmp`.

    The root is the release's folder or the one that it was unpacked in.
    """

    published = COUNTS
    classes = tuple(COUNTS)
    normal_kinds = frozenset({"ok", "good"})
    release_layout = "train/ok, test/ok, test/ko"

    def category_folder(self, task_id: int) -> Path:
        """Return the folder of one class, in the release's top folder if that is there."""
        release = self.root / "BTech_Dataset_transformed"
        return (release if release.is_dir() else self.root) / self.classes[task_id]
