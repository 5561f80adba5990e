"""What every data set promises, on a miniature of each layout that it reads."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.errors import UserError
from configuration.registration import DATASETS, load
from data_io.records import Sample
from dataset.base import DatasetBase
from dataset.folders import IMAGE_ENDINGS
from tests.trees import CATEGORIES, TWO_LAYOUTS, WRITERS, Size, write_tree

DRAWN_BY_ITSELF = {"_example"}
SIZE = Size(train=5, good=3, bad=4)
LAYOUTS = [(name, False) for name in CATEGORIES] + [(name, True) for name in TWO_LAYOUTS]


def labelled(dataset: DatasetBase) -> dict[tuple[str, int, str], tuple[int, int]]:
    """Return (split, class, name without ending) -> (label, number of masks) of all classes on disk."""
    found = {}
    for task_id, name in enumerate(dataset.classes):
        if name in CATEGORIES[name_of(dataset)]:
            for split in ("train", "test"):
                for sample in dataset.samples(task_id, split):
                    key = str(sample.path.relative_to(dataset.root).with_suffix(""))
                    found[split, task_id, key] = (sample.image_label, len(sample.mask_paths))
    return found


def name_of(dataset: DatasetBase) -> str:
    return next(name for name, (_, class_name) in DATASETS.items() if class_name == type(dataset).__name__)


def both(dataset: DatasetBase, task_id: int = 0) -> tuple[list[Sample], list[Sample]]:
    return dataset.samples(task_id, "train"), dataset.samples(task_id, "test")


def test_every_data_set_has_a_miniature_tree() -> None:
    missing = set(DATASETS) - set(WRITERS) - DRAWN_BY_ITSELF
    assert not missing, f"write the layout of {sorted(missing)} into tests/trees.py"


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout[0]}-{'rearranged' if layout[1] else 'release'}")
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> DatasetBase:
    name, rearranged = request.param
    root = write_tree(name, tmp_path / name, SIZE, rearranged=rearranged)
    found: DatasetBase = load(DATASETS[name])(root)
    return found


def test_training_is_normal_and_disjoint_from_test(dataset: DatasetBase) -> None:
    train, test = both(dataset)
    assert {sample.image_label for sample in train} == {0}
    assert {sample.path for sample in train}.isdisjoint(sample.path for sample in test)
    assert sum(sample.image_label for sample in test) == SIZE.bad
    num_normal = len(train) + sum(not sample.image_label for sample in test)
    assert num_normal == SIZE.train + SIZE.good


def test_listings_are_sorted_by_path_and_repeat(dataset: DatasetBase) -> None:
    for samples in both(dataset):
        assert samples == sorted(samples, key=lambda sample: sample.path)
        assert all(sample.path.is_file() for sample in samples)
    assert both(dataset) == both(dataset)


def test_each_mask_marks_the_defect_of_its_own_image(dataset: DatasetBase) -> None:
    for sample in both(dataset)[1]:
        assert (sample.kind == "good") == (sample.image_label == 0) == (not sample.mask_paths)
        if sample.image_label:
            pixels = np.asarray(Image.open(sample.path).convert("L"), dtype=float)
            masks = [np.asarray(Image.open(path)) >= dataset.mask_threshold for path in sample.mask_paths]
            assert masks[0].shape == pixels.shape
            assert pixels[masks[0]].mean() > pixels[~masks[0]].mean() + 50, "the drawn defects are bright"


def test_letter_case_of_endings_does_not_matter(dataset: DatasetBase) -> None:
    before = labelled(dataset)
    for path in sorted(dataset.root.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS:
            path.rename(path.with_suffix(path.suffix.swapcase()))
    assert labelled(type(dataset)(dataset.root)) == before


def test_nothing_is_decoded(dataset: DatasetBase) -> None:
    before = labelled(dataset)
    for path in dataset.root.rglob("*"):
        if path.suffix.lower() in IMAGE_ENDINGS:
            path.write_bytes(b"")
    assert labelled(type(dataset)(dataset.root)) == before


def test_other_classes_need_not_be_on_disk(dataset: DatasetBase) -> None:
    before = both(dataset)
    for name in dataset.classes[1:]:
        shutil.rmtree(dataset.root / name, ignore_errors=True)
    assert both(type(dataset)(dataset.root)) == before


def test_an_anomalous_image_without_its_mask_stays_anomalous(dataset: DatasetBase) -> None:
    victim = next(sample for sample in both(dataset)[1] if sample.image_label)
    for path in victim.mask_paths:
        path.unlink()
    found = {sample.path: sample for sample in both(type(dataset)(dataset.root))[1]}[victim.path]
    assert (found.image_label, found.mask_paths) == (1, ())


def test_a_folder_without_the_data_is_named_in_one_line(dataset: DatasetBase, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(UserError) as error:
        type(dataset)(nowhere).samples(0, "train")
    message = str(error.value)
    assert message.startswith(f"{name_of(dataset)}: ")
    assert str(nowhere) in message
    assert "-dp" in message
    assert "\n" not in message


def test_the_layout_is_told_in_one_line_where_there_are_two(dataset: DatasetBase) -> None:
    lines = [line for line in dataset.notes(0) if "layout" in line]
    assert len(lines) == (name_of(dataset) in TWO_LAYOUTS)
    assert all("\n" not in line for line in lines)
