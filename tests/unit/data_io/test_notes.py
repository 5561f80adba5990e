"""Lines about the data, and the levels of deep images."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_io import notes
from data_io.image_file import Levels
from data_io.levels import levels_of
from data_io.records import Sample, Split
from data_io.table import Storage

STORAGE = Storage(torch.device("cpu"), 100, 2)


def grey(path: Path, value: int, kind: type = np.uint16) -> Sample:
    Image.fromarray(np.full((4, 4), value, kind)).save(path)
    return Sample(path, 0)


def test_the_training_images_of_a_class_tell_its_levels(tmp_path: Path) -> None:
    dim, bright, flat = (
        Split(
            (grey(tmp_path / f"{name}0.png", low, kind), grey(tmp_path / f"{name}1.png", high, kind)),
            (grey(tmp_path / f"{name}t.png", 255, kind),),
        )
        for name, low, high, kind in (
            ("dim", 5, 3000, np.uint16),
            ("bright", 5, 60000, np.uint16),
            ("flat", 5, 200, np.uint8),
        )
    )
    found = levels_of([dim, bright, flat], None, STORAGE)
    assert {found[sample.path] for sample in (*dim.train, *dim.test)} == {Levels(0, 4095)}
    assert {found[sample.path] for sample in (*bright.train, *bright.test)} == {Levels(0, 65535)}
    assert not {sample.path for sample in (*flat.train, *flat.test)} & found.keys()
    assert set(levels_of([dim, bright], 1023, STORAGE).values()) == {Levels(0, 1023)}
    lines = list(notes.of_levels("folder", found))
    assert (
        lines[0]
        == "folder: 3 images of more than 8 bits; black is 0, white 4095 (--set white_level changes it)"
    )
    assert len(lines) == 2


def test_further_pages_are_told(tmp_path: Path) -> None:
    one, two = tmp_path / "one.tif", tmp_path / "two.tif"
    Image.new("L", (4, 4)).save(one)
    Image.new("L", (4, 4)).save(two, save_all=True, append_images=[Image.new("L", (4, 4))])
    with ThreadPoolExecutor(2) as pool:
        assert list(notes.of_further_pages("folder", [one], pool)) == []
        (line,) = notes.of_further_pages("folder", [one, two], pool)
    assert line == f"folder: 1 files hold several images, such as {two}; the first alone is read"


def framed() -> np.ndarray:
    mask = np.ones((9, 9), np.uint8)
    mask[1:-1, 1:-1] = 0
    return mask


@pytest.mark.parametrize(
    ("mask", "is_doubtful"),
    [
        (np.zeros((9, 9), np.uint8), False),
        (np.tri(9, dtype=np.uint8), True),
        (np.tri(9, k=-1, dtype=np.uint8), False),
        (framed(), True),
        (np.pad(np.ones((4, 9), np.uint8), ((0, 5), (0, 0))), False),
    ],
)
def test_a_mask_of_most_of_its_image_or_of_its_border_is_told(mask: np.ndarray, is_doubtful: bool) -> None:
    sample = Sample(Path("a.png"), 1, Path("a_mask.png"))
    lines = list(notes.of_doubtful_masks({sample: mask, Sample(Path("b.png"), 1): None}))
    assert bool(lines) == is_doubtful
    assert all(
        "1 masks mark most of their image or its whole border, such as a_mask.png" in line for line in lines
    )
