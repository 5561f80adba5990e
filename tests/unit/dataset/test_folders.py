"""What counts as an image or a kind, and what is said of the rest."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.errors import UserError
from dataset.base import DatasetBase
from dataset.dagm import DAGM
from dataset.folder import Folder
from dataset.folders import images_in, subfolders, summary, unmasked_images_in
from dataset.mvtec2df3d import MVTec2DF3D
from dataset.mvtecloco import MVTecLOCO
from dataset.visa import VisA
from tests.trees import CATEGORIES, write_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree("folder", tmp_path / "folder")


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths


def reasons(dataset: DatasetBase) -> dict[str, str]:
    return {left.path.relative_to(dataset.root).as_posix(): left.reason for left in dataset.left_out(0)}


def test_every_harmless_format_is_an_image(tmp_path: Path) -> None:
    names = ["a.png", "b.JPG", "c.jfif", "d.webp", "e.pgm", "f.ppm", "g.gif", "h.jp2", "i.tiff", "j.bmp"]
    paths = touch(tmp_path, *names, "k.npy", "l.svg", "m.eps", ".hidden.png")
    assert images_in(tmp_path) == paths[: len(names)]


def test_folders_of_systems_and_editors_are_no_kinds(tmp_path: Path) -> None:
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found", "hole", "good"):
        (tmp_path / name).mkdir()
    assert [path.name for path in subfolders(tmp_path)] == ["good", "hole"]


def test_what_is_not_read_is_told_with_its_reason(root: Path) -> None:
    image = root / "test/good/000.png"
    for name in (
        "test/good/batch2/7.png",
        "test/.ipynb_checkpoints/8.png",
        "test/loose.png",
        "train/hole/9.png",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(image, root / name)
    kind = next(place for place in subfolders(root / "test") if place.name != "good")
    shutil.copy(image, kind / f"{images_in(kind)[0].stem}_mask.png")
    touch(root, "train/good/points.npy", "test/good/.DS_Store", "test/good/Thumbs.db")
    os.mkfifo(root / "test/good/pipe.png")
    before = [len(Folder(root).samples(0, split)) for split in ("train", "test")]
    assert before == [5, 7]
    assert reasons(Folder(root)) == {
        "test/good/batch2/7.png": "in folders that are not read",
        "test/.ipynb_checkpoints/8.png": "in hidden or system folders",
        "test/loose.png": "in folders that are not read",
        "train/hole/9.png": "in folders that are not read",
        f"test/{kind.name}/{images_in(kind)[0].stem}_mask.png": (
            "masks beside their images instead of in ground_truth/<kind>/"
        ),
        "train/good/points.npy": "of an ending that is not read",
        "test/good/pipe.png": "that are no regular files",
    }
    line = summary(Folder(root).left_out(0))
    assert line.startswith("7 files left out: ")
    assert f"1 of an ending that is not read, such as {root}/train/good/points.npy" in line


@pytest.mark.parametrize("name", list(CATEGORIES))
def test_nothing_is_left_out_of_a_release(name: str, tmp_path: Path) -> None:
    from configuration.registration import DATASETS, load

    dataset: DatasetBase = load(DATASETS[name])(write_tree(name, tmp_path / name))
    (task_id, *_) = (dataset.classes.index(category) for category in CATEGORIES[name])
    assert dataset.left_out(task_id) == []


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        ("mvtecloco", MVTecLOCO, "breakfast_box/test/good"),
        ("mvtec2df3d", MVTec2DF3D, "bagel/test/good/rgb"),
        ("visa", VisA, "candle/Data/Images/Normal"),
        ("dagm", DAGM, "Class1/Train"),
    ],
)
def test_other_endings_are_told_in_every_layout(
    name: str, kind: type[DatasetBase], place: str, tmp_path: Path
) -> None:
    root = write_tree(name, tmp_path / name)
    (path,) = touch(root / place, "strange.raw")
    assert reasons(kind(root)) == {path.relative_to(root).as_posix(): "of an ending that is not read"}


def test_masks_beside_their_images_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a_mask.png", "b.jpg", "b_GT.png", "c_mask.png", "mask.png")
    assert [path.name for path in unmasked_images_in(tmp_path)] == [
        "a.png",
        "b.jpg",
        "c_mask.png",
        "mask.png",
    ]


def test_images_of_one_name_do_not_share_a_mask(root: Path) -> None:
    kind = next(place for place in subfolders(root / "test") if place.name != "good")
    first = images_in(kind)[0]
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(first.with_suffix(".jpg"))
    twins = [
        s for s in Folder(root).samples(0, "test") if s.path.parent == kind and s.path.stem == first.stem
    ]
    assert [(sample.path.suffix, len(sample.mask_paths)) for sample in twins] == [(".jpg", 0), (".png", 1)]
    assert any("share their name" in note for note in Folder(root).notes(0))


def test_an_empty_split_is_told_by_what_was_found(root: Path) -> None:
    shutil.rmtree(root / "train/good")
    touch(root, "train/OK/1.npy", "train/extra.npy")
    with pytest.raises(
        UserError, match=r"train holds the folders OK and files of \.npy \(1\); the layout is"
    ):
        Folder(root).samples(0, "train")
    touch(root, "train/good/2.npy")
    with pytest.raises(UserError, match=r"train/good holds files of \.npy \(1\)"):
        Folder(root).samples(0, "train")


@pytest.mark.parametrize("name", ["normal", "OK", "Good"])
def test_a_kind_that_is_called_normal_is_told(root: Path, name: str) -> None:
    shutil.copytree(root / "test/good", root / "test" / name)
    assert any(f"test/{name}/ counts as a kind of defect" in note for note in Folder(root).notes(0))
