from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from dataset.mtd import MTD, listed
from tests.trees import Size, write_tree

REAL = Path(__file__).resolve().parents[3] / "../shared/data/mtd"


@pytest.fixture
def paths(tmp_path: Path) -> Callable[[int, str], set[Path]]:
    """Return what a seed and a split give of 40 normal and 4 anomalous images that no list knows."""
    root = write_tree("mtd", tmp_path, Size(train=35, good=5, bad=4, side=8))
    return lambda seed, split: {s.path for s in MTD(root, seed=seed).samples(0, split)}


def test_the_lists_are_disjoint_and_the_small_ones_are_parts_of_the_full_ones() -> None:
    full_train, full_test = (listed("full", split) for split in ("train", "test"))
    assert (len(full_train), len(full_test)) == (761, 583)
    assert full_train.isdisjoint(full_test)
    assert {name.split("/")[0] for name in full_train} == {"MT_Free"}
    small_train, small_test = (listed("small", split) for split in ("train", "test"))
    assert (len(small_train), len(small_test)) == (100, 160)
    assert small_train < full_train
    assert small_test < full_test


def test_images_that_no_list_knows_are_split_80_to_20_by_the_seed(
    paths: Callable[[int, str], set[Path]],
) -> None:
    train, test = paths(0, "train"), paths(0, "test")
    assert (len(train), len(test)) == (32, 8 + 4)
    assert train.isdisjoint(test)
    assert train == paths(0, "train")
    assert train != paths(1, "train")


def test_the_images_that_no_list_knows_are_told(tmp_path: Path) -> None:
    root = write_tree("mtd", tmp_path, Size(train=3, good=1, bad=2, side=8))
    assert "6 images that the split list does not know are split 80/20" in MTD(root).notes(0)[1]


def test_listed_images_go_where_the_list_says(tmp_path: Path) -> None:
    train, test = sorted(listed("full", "train"))[:3], sorted(listed("full", "test"))[-3:]
    for name in (*train, *test):
        path = tmp_path / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    dataset = MTD(tmp_path)
    assert [sample.path for sample in dataset.samples(0, "train")] == [
        tmp_path / f"{name}.jpg" for name in train
    ]
    assert [sample.path for sample in dataset.samples(0, "test")] == [
        tmp_path / f"{name}.jpg" for name in test
    ]
    assert len(dataset.notes(0)) == 1


@pytest.mark.data
@pytest.mark.parametrize(("split", "counts"), [("full", (761, 191, 392)), ("small", (100, 60, 100))])
def test_the_real_release_is_split_as_listed(
    split: Literal["full", "small"], counts: tuple[int, int, int]
) -> None:
    if not REAL.is_dir():
        pytest.skip("the real MTD images are not beside the checkout")
    dataset = MTD(REAL, MTD.Params(mtd_split=split))
    train, test = (dataset.samples(0, part) for part in ("train", "test"))
    num_anomalous = sum(sample.image_label for sample in test)
    assert (len(train), len(test) - num_anomalous, num_anomalous) == counts
    assert all(len(sample.mask_paths) == sample.image_label for sample in (*train, *test))
    assert not any("split list" in line for line in dataset.notes(0))
