"""Ground truth of test images: what is read, what is kept, and what is unknown."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

from configuration.errors import UserError
from data_io.decode import Geometry
from data_io.masks import MaskReader, check_grey_values
from data_io.records import Sample
from data_io.table import Storage
from data_io.tensor_store import CacheStatistics, TensorStore
from dataset.base import Saturation

T = TypeVar("T")


def reader(
    store: TensorStore | None = None, size: int | None = None, crop: int | None = None, threshold: int = 1
) -> MaskReader:
    storage = Storage(torch.device("cpu"), memory_mb=0, num_workers=0, store=store)
    return MaskReader(size, crop, geometry=Geometry(2, 1), threshold=threshold, storage=storage)


def read(sample: Sample, by: MaskReader) -> np.ndarray | None:
    return by.read([sample])[sample]


def write(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    os.utime(path, ns=(0, 10**18))
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """An image of 8 x 12 pixels whose inner half is marked in two shades of grey."""
    mask = np.zeros((8, 12), np.uint8)
    mask[2:6, 3:9] = np.array([100] * 3 + [200] * 3)
    image = write(tmp_path / "a.png", np.zeros((8, 12, 3), np.uint8))
    return Sample(image, 1, write(tmp_path / "m.png", mask))


def test_a_mask_has_the_geometry_of_its_image(sample: Sample) -> None:
    own, squashed = read(sample, reader()), read(sample, reader(size=16))
    assert own is not None
    assert squashed is not None
    assert (own.shape, squashed.shape) == ((4, 6), (8, 8))
    assert own.all()
    cropped = read(sample, reader(size=16, crop=4, threshold=101))
    assert cropped is not None
    np.testing.assert_array_equal(cropped, [[0, 0, 1, 1]] * 4)


def test_a_normal_image_is_blank_and_an_unknown_one_none(sample: Sample, tmp_path: Path) -> None:
    normal = Sample(sample.path, 0)
    lost = Sample(sample.path, 1, tmp_path / "lost.png")
    found = reader(size=16).read([normal, sample, lost])
    assert list(found) == [normal, sample, lost]
    blank = found[normal]
    assert blank is not None
    assert blank.shape == (8, 8)
    assert not blank.any()
    assert found[lost] is None


def test_a_mask_is_decoded_once(sample: Sample, tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "cache", 10)
    first = read(sample, reader(store))
    assert store.take_statistics().misses == 1
    again = read(sample, reader(TensorStore(tmp_path / "cache", 10)))
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(again, first)
    (path,) = sample.mask_paths
    path.write_bytes(bytes(path.stat().st_size))  # would be refused if it were opened again
    os.utime(path, ns=(0, 10**18))
    read(sample, reader(store))
    assert store.take_statistics().status == "warm"


def test_a_mask_that_is_lost_is_left_out_and_no_matter_of_the_cache(sample: Sample, tmp_path: Path) -> None:
    store, lost = TensorStore(tmp_path / "cache", 10), tmp_path / "lost.png"
    assert read(replace(sample, mask_path=lost), reader(store)) is None
    assert store.take_statistics() == CacheStatistics(hits=0, misses=0)
    both = read(replace(sample, mask_path=(*sample.mask_paths, lost)), reader(store))
    assert both is not None
    assert both.all()


def test_the_bar_counts_images(sample: Sample) -> None:
    told: list[tuple[str, int]] = []

    def progress(items: Iterable[T], what: str, total: int) -> Iterable[T]:
        told.append((what, total))
        return items

    storage = replace(reader().storage, progress=progress)
    replace(reader(), storage=storage).read([sample, replace(sample, image_label=0)])
    assert told == [("masks", 2)]


def test_an_empty_mask_is_unknown_from_the_cache_also(sample: Sample, tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "cache", 10)
    assert read(sample, reader(store, threshold=255)) is None
    assert read(sample, reader(store, threshold=255)) is None
    assert store.take_statistics().hits == 1


def test_another_geometry_is_decoded_anew(sample: Sample, tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "cache", 10)
    found = [
        read(sample, reader(store, size, crop, threshold))
        for size, crop, threshold in ((None, None, 1), (16, None, 1), (16, 4, 1), (16, 4, 150))
    ]
    assert [mask.shape for mask in found if mask is not None] == [(4, 6), (8, 8), (4, 4), (4, 4)]
    assert [int(mask.sum()) for mask in found if mask is not None] == [24, 64, 16, 8]


def test_another_share_is_decoded_anew(sample: Sample, tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "cache", 10)
    read(sample, reader(store))
    whole = read(sample, replace(reader(store), geometry=Geometry(1, 1)))
    assert whole is not None
    assert whole.shape == (8, 12)


def test_a_mask_that_is_replaced_is_decoded_anew(sample: Sample, tmp_path: Path) -> None:
    store = TensorStore(tmp_path / "cache", 10)
    read(sample, reader(store))
    (path,) = sample.mask_paths
    mask = np.zeros((8, 12), np.uint8)
    mask[4, 6] = 255
    write(path, mask)
    os.utime(path, ns=(0, 10**18 + 10**9))
    found = read(sample, reader(store))
    assert found is not None
    assert found.sum() == 1


def test_a_mask_of_an_unknown_grey_value_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    paths = [tmp_path / f"{value}.png" for value in (0, 250, 236)]
    for path, value in zip(paths, (0, 250, 236), strict=True):
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    samples = [Sample(tmp_path / "a.png", 1, tuple(paths)), Sample(tmp_path / "b.png", 0)]
    storage = Storage(torch.device("cpu"), 1, 2)
    rules = {value: Saturation("x", 1.0, relative=True) for value in (236, 250)}
    check_grey_values(samples, rules, storage)
    with pytest.raises(UserError, match=r"250\.png: grey value 250 is not in defects_config\.json"):
        check_grey_values(samples, {236: rules[236]}, storage)
