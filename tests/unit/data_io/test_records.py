"""Frozen features come with a batch: lazily, once, and for views of its images as well."""

from collections.abc import Mapping

import torch
from torch import Tensor

from data_io.records import ScoringBatch, Task, TrainBatch, derive_seed, view_key, view_of, with_features


class CountingReader:
    """Gives the mean colour as a map; keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[ScoringBatch] = []

    def __call__(self, batch: ScoringBatch) -> Mapping[str, Tensor]:
        self.asked.append(batch)
        return {"layer1": batch.image.mean(1, keepdim=True), "layer2": batch.image}


def batch(kind: type[ScoringBatch] = ScoringBatch) -> ScoringBatch:
    return kind(torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 6]))


def test_features_are_read_when_the_first_is_asked_for_and_once() -> None:
    read = CountingReader()
    bound = with_features(batch(), read)
    assert not read.asked
    assert list(bound.features) == ["layer1", "layer2"]
    one, other = bound.maps(["layer2", "layer1"])
    assert torch.equal(one, bound.image)
    assert other.shape == (2, 1, 4, 6)
    assert len(read.asked) == 1
    assert not read.asked[0].features, "the reader sees the images, not itself"


def test_a_batch_without_a_reader_has_no_features() -> None:
    assert not with_features(batch(), None).features
    assert batch().size == (4, 6)


def test_views_have_features_keys_and_labels_of_their_own() -> None:
    read = CountingReader()
    labelled = with_features(TrainBatch(batch().image, batch().image_key, image_label=torch.ones(2)), read)
    view = view_of(labelled, labelled.image.flip(3), view_key(labelled.image_key, "mirrored", 1))
    assert isinstance(view, TrainBatch)
    assert view.image_label is labelled.image_label
    assert torch.equal(view.features["layer2"], labelled.image.flip(3))
    assert view.image_key.tolist() == [derive_seed(5, "mirrored", 1), derive_seed(6, "mirrored", 1)]
    assert not view_of(batch(), batch().image, batch().image_key).features


def test_shots_are_few_images_and_a_transfers_target() -> None:
    tasks = [Task(0, "task", setting, step, 0) for setting, step in (("fewshot", 0), ("transfer", 1))]
    others = [Task(0, "task", setting, step, 0) for setting, step in (("transfer", 0), ("continual", 1))]
    assert all(task.has_shots for task in tasks)
    assert not any(task.has_shots for task in others)
