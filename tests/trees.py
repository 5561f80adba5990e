"""Miniature data sets in every layout that the loaders read, drawn from nothing but their own file names.

`write_tree("visa", folder)` writes the original release, `write_tree("visa", folder, rearranged=True)` the
common tree. Normal images are waves of their category and noise; a defect is a bright disc, and its mask.
"""

import csv
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

CATEGORIES = {  # what is written unless a test says otherwise: some of the classes, as on most disks
    "mvtec2d": ("bottle", "cable", "capsule"),
    "mpdd": ("bracket_black", "bracket_brown"),
    "mvtecloco": ("breakfast_box", "screw_bag"),
    "mtd": ("mtd",),
    "btad": ("01", "02", "03"),
    "mvtec2df3d": ("bagel", "cable_gland"),
    "mvtec3d": ("bagel", "cable_gland"),
    "coad": ("screw/A1", "screw/A2"),
    "visa": ("candle", "capsules"),
    "dagm": ("Class1", "Class2"),
    "folder": ("folder",),
}
TWO_LAYOUTS = ("mtd", "btad", "mvtec2df3d", "mvtec3d", "visa", "dagm")


@dataclass(frozen=True)
class Size:
    """How many images each category has, and their height in pixels."""

    train: int = 5
    good: int = 3
    bad: int = 4  # in all kinds of defect together
    side: int = 32


def write_tree(
    dataset: str,
    root: Path,
    size: Size | None = None,
    categories: Sequence[str] | None = None,
    rearranged: bool = False,
) -> Path:
    """Write one data set and return its root."""
    chosen = CATEGORIES[dataset] if categories is None else tuple(categories)
    if rearranged:
        _write_rearranged(dataset, root, chosen, size or Size())
    else:
        WRITERS[dataset](root, chosen, size or Size())
    return root


def draw(key: str, category: str, shape: tuple[int, int], is_bad: bool = False) -> tuple[Pixels, Pixels]:
    """Return an (H, W, 3) image and its (H, W) mask of 0 and 1; the key decides both."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    common = np.random.default_rng(zlib.crc32(category.encode()))
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = common.uniform(80, 130, 3) + rng.normal(0, 8, (*shape, 1))
    for down, aside in common.uniform(
        -0.5, 0.5, (5, 2)
    ):  # waves of the category, each image with its own phases
        image += 12 * np.sin(down * y + aside * x + rng.uniform(0, 2 * np.pi))[..., None]
    mask = np.zeros(shape, dtype=np.uint8)
    if is_bad:
        centre = rng.uniform(0.3, 0.7, 2) * shape
        mask[np.hypot(y - centre[0], x - centre[1]) < 0.15 * min(shape)] = 1
        image[mask > 0] += 90
    return np.clip(image, 0, 255).astype(np.uint8), mask


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _key(path: Path, category: str) -> str:
    """Name a file by what does not depend on where the tree lies."""
    return "/".join((category, *path.parts[-3:]))


def _save_normal(path: Path, category: str, shape: tuple[int, int]) -> None:
    save(path, draw(_key(path, category), category, shape)[0])


def _save_pair(path: Path, mask_path: Path, category: str, shape: tuple[int, int], value: int = 255) -> None:
    image, mask = draw(_key(path, category), category, shape, is_bad=True)
    save(path, image)
    save(mask_path, mask * np.uint8(value))


def _write_kinds(
    folder: Path,
    category: str,
    size: Size,
    *,
    good: str = "good",
    kinds: Sequence[str] = ("hole", "stain"),
    ending: str = ".png",
    mask_ending: str = "_mask.png",
    aspect: float = 1.0,
) -> None:
    """Write one category of the common tree; `good` names the folder of normal images."""
    shape = (size.side, int(size.side * aspect))
    for split, number in (("train", size.train), ("test", size.good)):
        for i in range(number):
            _save_normal(folder / split / good / f"{i:03d}{ending}", category, shape)
    for i in range(size.bad):
        kind, stem = kinds[i % len(kinds)], f"{i // len(kinds):03d}"
        mask_path = folder / "ground_truth" / kind / f"{stem}{mask_ending}"
        _save_pair(folder / "test" / kind / f"{stem}{ending}", mask_path, category, shape)


def _write_mvtec(root: Path, categories: Sequence[str], size: Size) -> None:
    for category in categories:
        _write_kinds(root / category, category, size)


def _write_coad(root: Path, categories: Sequence[str], size: Size) -> None:
    for category in categories:
        _write_kinds(root / category, category, size, ending=".jpg", mask_ending="_mask.jpg")


def _write_folder(root: Path, categories: Sequence[str], size: Size) -> None:
    (category,) = categories
    _write_kinds(root, category, size)


def _write_loco(root: Path, categories: Sequence[str], size: Size) -> None:
    """The first image of each kind has two masks; the validation folder must not be read."""
    shape = (size.side, 2 * size.side)
    defects = (("logical_anomalies", "missing", 250, 20), ("structural_anomalies", "scratch", 236, 1.0))
    for category in categories:
        folder = root / category
        for split, number in (("train", size.train), ("validation", 2), ("test", size.good)):
            for i in range(number):
                _save_normal(folder / split / "good" / f"{i:03d}.png", category, shape)
        for i in range(size.bad):
            kind, _, value, _ = defects[i % 2]
            stem = f"{i // 2:03d}"
            masks = folder / "ground_truth" / kind / stem
            _save_pair(folder / "test" / kind / f"{stem}.png", masks / "000.png", category, shape, value)
            if i < 2:
                second = draw(_key(masks / "001.png", category), category, shape, is_bad=True)[1]
                save(masks / "001.png", second * np.uint8(value))
        rows = [
            {
                "defect_name": name,
                "pixel_value": value,
                "saturation_threshold": threshold,
                "relative_saturation": threshold == 1.0,
            }
            for _, name, value, threshold in defects
        ]
        (folder / "defects_config.json").write_text(json.dumps(rows), encoding="utf-8")


def _write_mtd(root: Path, categories: Sequence[str], size: Size) -> None:
    """Image and mask side by side, every size another; normal images have empty masks."""
    (category,) = categories
    for i in range(size.train + size.good):
        path = root / "MT_Free" / "Imgs" / f"exp{i % 4}_num_{i}.jpg"
        shape = (size.side + i % 3, size.side + 2 * (i % 4))
        image, mask = draw(_key(path, category), category, shape)
        save(path, image[..., 0])
        save(path.with_suffix(".png"), mask)
    for i in range(size.bad):
        path = root / ("MT_Blowhole", "MT_Crack")[i % 2] / "Imgs" / f"exp{i % 4}_num_{i}.jpg"
        _save_pair(path, path.with_suffix(".png"), category, (size.side + i, size.side))


def _write_btad(root: Path, categories: Sequence[str], size: Size, good: str = "ok") -> None:
    for category in categories:
        _write_kinds(
            root / category,
            category,
            size,
            good=good,
            kinds=("ko",),
            ending=".png" if category == "02" else ".bmp",
            mask_ending=".bmp" if category == "03" else ".png",
            aspect=4 / 3 if category == "03" else 1.0,
        )


def _write_3d(root: Path, categories: Sequence[str], size: Size) -> None:
    shape = (size.side, size.side)
    parts = (("train", "good", size.train), ("validation", "good", 2), ("test", "good", size.good))
    for category in categories:
        for split, kind, number in (*parts, ("test", "dent", size.bad)):
            folder = root / category / split / kind
            for i in range(number):
                path = folder / "rgb" / f"{i:03d}.png"
                key = f"{category}/{split}/{kind}/{i}"
                image, mask = draw(key, category, shape, is_bad=kind != "good")
                save(path, image)
                if split == "test":
                    save(folder / "gt" / path.name, mask * np.uint8(255))
                y, x = np.mgrid[: shape[0], : shape[1]] / size.side - 0.5
                position = np.stack([x, y, 0.5 - 0.1 * mask], axis=-1).astype(np.float32)
                (folder / "xyz").mkdir(exist_ok=True)
                tifffile.imwrite(folder / "xyz" / f"{i:03d}.tiff", position, photometric="rgb")


def _write_visa(root: Path, categories: Sequence[str], size: Size) -> None:
    """The masks hold the number of the kind of defect, 1 to 3; only the list says what is trained on."""
    shape = (size.side, int(1.25 * size.side))
    rows = [["object", "split", "label", "image", "mask"]]
    for category in categories:
        for i in range(size.train + size.good):
            image = f"{category}/Data/Images/Normal/{i:04d}.JPG"
            _save_normal(root / image, category, shape)
            rows.append([category, "train" if i < size.train else "test", "normal", image, ""])
        for i in range(size.bad):
            image = f"{category}/Data/Images/Anomaly/{i:03d}.JPG"
            mask = f"{category}/Data/Masks/Anomaly/{i:03d}.png"
            _save_pair(root / image, root / mask, category, shape, value=1 + i % 3)
            rows.append([category, "test", "anomaly", image, mask])
    (root / "split_csv").mkdir(parents=True)
    with (root / "split_csv" / "1cls.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _write_dagm(root: Path, categories: Sequence[str], size: Size) -> None:
    """Both halves hold defects: one in Train, which must not be trained on, and `bad` in Test."""
    shape = (size.side, size.side)
    for category in categories:
        for split, normal, bad in (("Train", size.train, 1), ("Test", size.good, size.bad)):
            folder = root / category / split
            lines = ["1"]
            for i in range(1, normal + bad + 1):
                path, mask_path = folder / f"{i:04d}.PNG", folder / "Label" / f"{i:04d}_label.PNG"
                if i <= bad:
                    _save_pair(path, mask_path, category, shape)
                else:
                    _save_normal(path, category, shape)
                lines.append(f"{i}\t{int(i <= bad)}\t{path.name}\t0\t{mask_path.name if i <= bad else 0}")
            (folder / "Label" / "Labels.txt").write_text("\n".join(lines), encoding="utf-8")


def _write_rearranged(dataset: str, root: Path, categories: Sequence[str], size: Size) -> None:
    """Write the common tree as it was prepared by hand for the data sets that were released otherwise."""
    if dataset == "btad":
        _write_btad(root, categories, size, good="good")
        return
    endings = {
        "mtd": (".jpg", ".png"),
        "visa": (".JPG", ".png"),
        "dagm": (".PNG", "_label.PNG"),
        "mvtec2df3d": (".png", "_mask.png"),
        "mvtec3d": (".png", "_mask.png"),
    }
    ending, mask_ending = endings[dataset]
    for category in categories:
        folder = root if dataset == "mtd" else root / category
        _write_kinds(folder, category, size, kinds=("bad",), ending=ending, mask_ending=mask_ending)


WRITERS: dict[str, Callable[[Path, Sequence[str], Size], None]] = {
    "mvtec2d": _write_mvtec,
    "mpdd": _write_mvtec,
    "mvtecloco": _write_loco,
    "mtd": _write_mtd,
    "btad": _write_btad,
    "mvtec2df3d": _write_3d,
    "mvtec3d": _write_3d,
    "coad": _write_coad,
    "visa": _write_visa,
    "dagm": _write_dagm,
    "folder": _write_folder,
}
