"""A loader of images that a test makes itself, for methods that are trained without a data set."""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from arch.base import ModelBase, Runtime
from data_io.feature_cache import FeatureCache
from data_io.records import BatchLoader, FeatureReader, ScoringBatch, Task, TrainBatch, with_features


class MadeLoader:
    """Serve float images as `data_io.records.BatchLoader` says; an image's key is its row.

    Args:
        image: (N, 3, H, W) in [0, 1].
        batch_size: images in a batch.
        image_label: (N,) int64, for methods that need labels.
        reference_image: (R, 3, H, W), for methods that compare with some.
    """

    read_features: FeatureReader | None = None

    def __init__(
        self,
        image: Tensor,
        batch_size: int,
        image_label: Tensor | None = None,
        reference_image: Tensor | None = None,
    ) -> None:
        self.image = image
        self.num_images = len(image)
        self.batch_size = batch_size
        self.image_label = image_label
        self.reference_image = reference_image

    def __len__(self) -> int:
        return self.num_batches(self.num_images)

    def num_batches(self, num_rows: int) -> int:
        return math.ceil(num_rows / self.batch_size)

    def __iter__(self) -> Iterator[TrainBatch]:
        return self.in_order(torch.arange(self.num_images))

    def in_order(self, rows: Tensor) -> Iterator[TrainBatch]:
        for part in rows.split(self.batch_size):
            label = None if self.image_label is None else self.image_label[part]
            batch = TrainBatch(image=self.image[part], image_key=part, image_label=label)
            yield with_features(batch, self.read_features)


def random_images(count: int, side: int = 64, seed: int = 0) -> Tensor:
    """Return (count, 3, side, side) noise in [0, 1]."""
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def reader(method: ModelBase) -> FeatureReader | None:
    """Return what reads the features of the method's frozen backbone, without a cache."""
    is_frozen = method.backbone is not None and method.has_frozen_backbone
    return method.backbone.extract if is_frozen and method.backbone is not None else None


def in_setting(method: ModelBase, setting: str) -> None:
    """Let the method think that its run is of another setting."""
    method.config = replace(method.config, run=replace(method.config.run, setting=setting))


def cached(method: ModelBase) -> FeatureCache:
    """Return a cache, in memory alone, of the features of the method's frozen backbone."""
    assert method.backbone is not None
    return FeatureCache(method.backbone, None, 1000, method.device, "off")


def for_method(
    method: ModelBase, loader: MadeLoader, read_features: FeatureReader | None = None
) -> MadeLoader:
    """Return a loader of the same images with the frozen features that the method asks for."""
    bound = copy(loader)
    bound.read_features = read_features or reader(method)
    return bound


def train(
    method: ModelBase,
    loader: MadeLoader | BatchLoader,
    task: Task,
    read_features: FeatureReader | None = None,
    **lent: Any,
) -> None:
    """Train a method as the runner does, on a made loader with the frozen features that it asks for."""
    bound = for_method(method, loader, read_features) if isinstance(loader, MadeLoader) else loader
    method.train_model(bound, task, Runtime(method.device, **lent))


def batch_of(image: Tensor) -> ScoringBatch:
    """Return a batch of test images that nobody has features of."""
    return ScoringBatch(image, torch.arange(len(image)))


def scoring(method: ModelBase, image: Tensor, image_key: Tensor | None = None) -> ScoringBatch:
    """Return a batch of test images with the frozen features that the method asks for."""
    key = torch.arange(len(image)) if image_key is None else image_key
    return with_features(ScoringBatch(image, key), reader(method))


def training(method: ModelBase, batch: TrainBatch) -> TrainBatch:
    """Return a training batch with the frozen features that the method asks for."""
    return with_features(batch, reader(method))
