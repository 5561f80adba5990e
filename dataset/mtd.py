"""MTD, magnetic tile defects: five kinds of defects on tiles of many sizes.

Source: Huang, Qiu, Guo, Wang, Yuan: Surface defect saliency of magnetic tile, The Visual Computer 36, 2020.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_io.records import Sample, derive_seed
from dataset.folders import images_in
from dataset.mvtec_layout import Counts, MVTecLayout, anomalous_sample

COUNTS = {"mtd": Counts(761, 191, 392)}  # of the full split list
SPLITS = Path(__file__).parent / "splits"
TRAIN_SHARE = 0.8  # of the normal images; PatchCore (Roth et al., CVPR 2022) tests on the other fifth


class MTD(MVTecLayout):
    """MT_<kind>/Imgs/<name>.jpg with the mask `<name>.png` beside it; the release has no split."""

    @dataclass(frozen=True)
    class Params(MVTecLayout.Params):
        """Keys of 3_dataset_base/mtd.yaml that begin with the data set's name."""

        mtd_split: Literal["full", "small"] = "full"  # "small" for quick runs

    params: Params
    published = COUNTS
    classes = tuple(COUNTS)
    mask_threshold = 128  # masks have soft grey borders; half of full scale is where the defect ends
    mask_values = None
    release_layout = "MT_<kind>/Imgs"

    def category_folder(self, task_id: int) -> Path:
        """Return the root: the one class has no folder of its own."""
        return self.root

    def contents(self, task_id: int) -> str:
        """Return what the data set's folder should hold, for the error."""
        return "MT_Free/ or train/"

    def notes(self, task_id: int) -> list[str]:
        """Name the layout, and the images that had to be split without the list."""
        lines = super().notes(task_id)
        strangers = () if self.is_rearranged(task_id) else unlisted(self._release())
        if strangers:
            lines.append(
                f"mtd: {len(strangers)} images that the split list does not know are split 80/20 by the seed"
            )
        return lines

    def release_samples(self, task_id: int, split: str) -> list[Sample]:
        """List what the chosen split list names, and this split's share of the images that no list knows."""
        release = self._release()
        chosen = listed(self.params.mtd_split, split) | self._share(release, split)
        return [sample for name, sample in release.items() if name in chosen]

    def _release(self) -> dict[str, Sample]:
        """Return name as the split lists have it, without ending -> sample, sorted."""
        found = {}
        for folder in sorted(self.root.glob("MT_*")):
            files = images_in(folder / "Imgs")
            masks = {path.stem: path for path in files if path.suffix.lower() == ".png"}
            kind = folder.name.removeprefix("MT_")
            for path in files:
                if path.suffix.lower() != ".png":
                    name = f"{folder.name}/Imgs/{path.stem}"
                    found[name] = Sample(path, 0) if kind == "Free" else anomalous_sample(path, masks, kind)
        return found

    def _share(self, release: dict[str, Sample], split: str) -> frozenset[str]:
        """Return the unlisted images of a split: a seeded fifth of the normal and all others are tested."""
        strangers = unlisted(release)
        normal = sorted(
            (name for name in strangers if not release[name].image_label),
            key=lambda name: derive_seed(self.seed, "mtd_split", name),
        )
        train = frozenset(normal[: round(TRAIN_SHARE * len(normal))])
        return train if split == "train" else strangers - train


def listed(name: str, split: str) -> frozenset[str]:
    """Return the images of a split list ('full' or 'small'), without their endings."""
    lines = (SPLITS / f"mtd_{name}_{split}.txt").read_text(encoding="utf-8").split()
    return frozenset(line.rpartition(".")[0] for line in lines)


def unlisted(release: dict[str, Sample]) -> frozenset[str]:
    """Return the images that the full list does not know."""
    return frozenset(release) - listed("full", "train") - listed("full", "test")
