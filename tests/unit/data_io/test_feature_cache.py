"""Frozen features: one backbone pass for all that read them, and the same values whatever the way."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_io.feature_cache import FeatureCache
from data_io.records import ScoringBatch, TrainBatch
from data_io.tensor_store import TensorStore


class CountingBackbone:
    """Two layers of pooled pixels; counts the images that it sees."""

    layers: tuple[str, ...] = ("layer1", "layer2")

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.seen = 0

    def extract(self, batch: ScoringBatch) -> dict[str, Tensor]:
        image = batch.image
        self.seen += len(image)
        return {"layer1": self.weight * image[:, :, ::2, ::2], "layer2": self.weight * image[:, :, ::4, ::4]}

    def fingerprint(self) -> str:
        return f"counting-{self.weight}"


def cache_of(
    backbone: CountingBackbone, store: TensorStore | None = None, memory_mb: int = 100
) -> FeatureCache:
    return FeatureCache(backbone, store, memory_mb, torch.device("cpu"), "off")


def images(kind: type[ScoringBatch] = ScoringBatch, first: int = 0) -> ScoringBatch:
    image = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(first))
    return kind(image, torch.arange(first, first + 4))


@pytest.mark.parametrize("with_store", [False, True])
def test_training_images_are_seen_once_over_epochs(tmp_path: Path, with_store: bool) -> None:
    backbone = CountingBackbone()
    cache = cache_of(backbone, TensorStore(tmp_path, 100) if with_store else None)
    first = cache.read(images(TrainBatch))
    again = cache.read(images(TrainBatch))
    assert backbone.seen == 4
    assert all(torch.equal(first[layer], again[layer]) for layer in backbone.layers)
    cache.forget()
    cache.read(images(TrainBatch))
    assert backbone.seen == (4 if with_store else 8)


def test_a_second_run_sees_nothing_and_reads_the_same(tmp_path: Path) -> None:
    first = cache_of(CountingBackbone(), TensorStore(tmp_path, 100)).read(images())
    backbone = CountingBackbone()
    second = cache_of(backbone, TensorStore(tmp_path, 100)).read(images())
    assert backbone.seen == 0
    assert all(torch.equal(first[layer], second[layer]) for layer in backbone.layers)


def test_other_weights_or_precision_are_other_features(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 100)
    cache_of(CountingBackbone(), store).read(images())
    other = CountingBackbone(weight=2.0)
    found = cache_of(other, store).read(images())["layer1"]
    torch.testing.assert_close(found, 2 * images().image[:, :, ::2, ::2])
    rounded = CountingBackbone()
    FeatureCache(rounded, store, 100, torch.device("cpu"), "bf16").read(images())
    assert (other.seen, rounded.seen) == (4, 4)


def test_a_damaged_entry_is_rebuilt(tmp_path: Path) -> None:
    first = cache_of(CountingBackbone(), TensorStore(tmp_path, 100)).read(images())
    damaged = next(path for path in tmp_path.rglob("*") if path.is_file())
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 0xFF
    damaged.write_bytes(content)
    backbone = CountingBackbone()
    again = cache_of(backbone, TensorStore(tmp_path, 100)).read(images())
    assert backbone.seen == 4
    assert all(torch.equal(first[layer], again[layer]) for layer in backbone.layers)


def test_memory_has_a_bound() -> None:
    backbone = CountingBackbone()
    cache = cache_of(backbone, memory_mb=0)
    for _ in range(2):
        cache.read(images(TrainBatch))
    assert backbone.seen == 8


def test_what_is_held_is_counted_once_and_given_back() -> None:
    backbone = CountingBackbone()
    cache = cache_of(backbone, memory_mb=1)
    rows = 2**20 // (4 * (3 * 64 + 3 * 16))  # images whose two layers, float32, fill the mebibyte
    image = torch.zeros(rows, 3, 16, 16)
    for _ in range(2):
        cache.read(TrainBatch(image, torch.arange(rows)))
    assert backbone.seen == cache.num_extracted == rows
    one_more = TrainBatch(image[:1], torch.tensor([-1]))
    for _ in range(2):
        cache.read(one_more)
    assert backbone.seen == rows + 2, "the memory is full"
    cache.forget()
    for _ in range(2):
        cache.read(one_more)
    assert backbone.seen == rows + 3, "and was given back"


def test_test_images_are_not_held() -> None:
    backbone = CountingBackbone()
    cache = cache_of(backbone)
    for _ in range(2):
        cache.read(images())
    assert backbone.seen == 8
