import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.errors import UserError
from data_io.records import derive_seed
from dataset import _example
from dataset._example import MARKER, SEED, Example
from dataset.example_images import KINDS, SIZE, VISIBLE, render

DEFECTS = [(category, kind) for category, kinds in KINDS.items() for kind in kinds]


def one_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUM_TRAIN", "NUM_GOOD", "NUM_DEFECTIVE"):
        monkeypatch.setattr(_example, name, 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    one_of_each(monkeypatch)
    monkeypatch.setattr(_example, "KINDS", {"woven_fabric": ("cut",)})


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_the_first_use_draws_every_category_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_of_each(monkeypatch)
    data = Example(tmp_path / "deep" / "_example")
    (line,) = data.prepare()
    where = re.escape(str(tmp_path / "deep" / "_example"))
    assert re.fullmatch(rf"_example: generated 15 images in \d+\.\d s under {where}", line)
    for task_id, category in enumerate(data.classes):
        (train,) = data.samples(task_id, "train")
        assert train.path == data.root / category / "train" / "good" / "000.png"
        test = data.samples(task_id, "test")
        assert sorted(sample.kind for sample in test) == sorted(["good", *KINDS[category]])
        for sample in test:
            image = np.array(Image.open(sample.path))
            assert image.shape == (SIZE, SIZE, 3)
            assert len(sample.mask_paths) == sample.image_label == int(sample.kind != "good")
            for mask_path in sample.mask_paths:
                mask = np.array(Image.open(mask_path))
                assert mask.shape == (SIZE, SIZE)
                assert np.unique(mask).tolist() == [0, 255]


def test_the_published_counts_are_60_20_and_30() -> None:
    pictures = list(_example._pictures())
    for category in KINDS:
        mine = [picture for picture in pictures if picture.category == category]
        train = sum(picture.split == "train" for picture in mine)
        good = sum(picture.split == "test" and picture.kind == "good" for picture in mine)
        assert Example.published[category] == (train, good, len(mine) - train - good) == (60, 20, 30)


@pytest.mark.usefixtures("small")
def test_a_second_use_touches_nothing(tmp_path: Path) -> None:
    data = Example(tmp_path / "_example")
    data.prepare()
    stamps = {file: file.stat().st_mtime_ns for file in data.root.rglob("*")}
    assert data.prepare() == []
    assert {file: file.stat().st_mtime_ns for file in data.root.rglob("*")} == stamps


@pytest.mark.usefixtures("small")
def test_the_pixels_do_not_depend_on_the_run(tmp_path: Path) -> None:
    first, second = Example(tmp_path / "a", seed=1), Example(tmp_path / "b", seed=2)
    first.prepare()
    np.random.seed(5)  # noqa: NPY002 - the global generator must not matter
    second.prepare()
    assert contents(first.root) == contents(second.root)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", ["missing image", "missing mask", "older version"])
def test_an_incomplete_folder_is_drawn_anew(tmp_path: Path, damage: str) -> None:
    data = Example(tmp_path / "_example")
    data.prepare()
    whole = contents(data.root)
    if damage == "missing image":
        (data.root / "woven_fabric" / "train" / "good" / "000.png").unlink()
    elif damage == "missing mask":
        (data.root / "woven_fabric" / "ground_truth" / "cut" / "000_mask.png").unlink()
    else:
        (data.root / MARKER).write_text("version 0")
    assert len(data.prepare()) == 1
    assert contents(data.root) == whole


@pytest.mark.usefixtures("small")
def test_what_an_interrupted_run_left_behind_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "._example.partial" / "woven_fabric").mkdir(parents=True)
    (tmp_path / "._example.partial" / "woven_fabric" / "half.png").write_bytes(b"half")
    (tmp_path / "_example").mkdir()
    data = Example(tmp_path / "_example")
    data.prepare()
    assert not list(tmp_path.rglob("half.png"))
    assert not (tmp_path / "._example.partial").exists()
    assert data.prepare() == []


@pytest.mark.usefixtures("small")
def test_of_several_at_once_one_draws_and_all_find_the_data(tmp_path: Path) -> None:
    def use(_: int) -> tuple[int, int]:
        data = Example(tmp_path / "_example")
        return len(data.prepare()), len(data.samples(0, "test"))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(use, range(3)))
    assert sorted(found) == [(0, 2), (0, 2), (1, 2)]


@pytest.mark.parametrize("name", ["notes.txt", "woven_fabric"])
def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"_example: {re.escape(str(tmp_path))} holds other files; set -dp"):
        Example(tmp_path).prepare()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"_example: cannot write .*; set -dp to a folder"):
        Example(tmp_path / "file" / "_example").prepare()


@pytest.mark.parametrize(("category", "kind"), DEFECTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mask_is_where_the_defect_shows(category: str, kind: str, seed: int) -> None:
    image, mask = render(category, kind, seed)
    clean, empty = render(category, "good", seed)
    change = np.abs(image.astype(int) - clean.astype(int)).max(axis=2)
    assert not empty.any()
    assert not (change[~mask] >= VISIBLE).any()
    assert (change[mask] >= VISIBLE).mean() > 0.5, "the mask is mostly changed pixels"
    assert 8 <= mask.sum() <= 0.1 * SIZE**2


def test_normal_products_differ() -> None:
    for category in KINDS:
        first, second = (render(category, "good", seed)[0].astype(float) for seed in (0, 1))
        assert np.abs(first - second).mean() > 3


@pytest.mark.slow
def test_every_defect_of_the_data_set_shows() -> None:
    areas = [
        render(category, kind, derive_seed(SEED, category, "test", kind, number))[1].sum()
        for category, kind in DEFECTS
        for number in range(_example.NUM_DEFECTIVE)
    ]
    assert min(areas) >= 8
