"""Batches of decoded images: slices of a table, made float on the device."""

import math
from collections.abc import Iterator
from copy import copy
from typing import TypeVar

import torch
from torch import Tensor

from data_io.images import Images
from data_io.records import FeatureReader, ScoringBatch, TrainBatch, with_features


class TrainLoader:
    """The training images of one task; see `records.BatchLoader` for the contract.

    Args:
        images: the decoded images.
        rows: (N,) int64 rows of them.
        batch_size: images in a batch.
        image_label: (N,) int64, or None where the method needs no labels.
        ground_truth_mask: (N, H, W) uint8, or None likewise.
        reference_rows: (R,) int64 rows of normal images to compare with, or None where none are needed.
        batch_limit: batches in one pass at the most; None for all.

    Attributes:
        read_features: reads the frozen features of a batch; None for none.
    """

    read_features: FeatureReader | None = None

    def __init__(
        self,
        images: Images,
        rows: Tensor,
        batch_size: int,
        image_label: Tensor | None = None,
        ground_truth_mask: Tensor | None = None,
        reference_rows: Tensor | None = None,
        batch_limit: int | None = None,
    ) -> None:
        self.batch_size = batch_size
        self._images = images
        self._batch_limit = batch_limit
        kept = self._kept(len(rows))
        self.num_images = len(kept)
        self.image_label = None if image_label is None else image_label[kept]
        self.reference_image = None if reference_rows is None else read_float(images, reference_rows)
        self._rows = rows[kept]
        self._mask = None if ground_truth_mask is None else ground_truth_mask[kept]

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return self.num_batches(self.num_images)

    def __iter__(self) -> Iterator[TrainBatch]:
        """Yield every image once, in file order."""
        return self.in_order(torch.arange(self.num_images))

    def in_order(self, rows: Tensor) -> Iterator[TrainBatch]:
        """Yield the images of these rows (M,) in this order, in batches; rows may repeat."""
        for part in rows.split(self.batch_size)[: self.num_batches(len(rows))]:
            chosen = self._rows[part]
            batch = TrainBatch(
                image=read_float(self._images, chosen),
                image_key=self._images.key[chosen],
                image_label=self._on_device(self.image_label, part),
                ground_truth_mask=self._on_device(self._mask, part),
            )
            yield with_features(batch, self.read_features)

    def for_scoring(self) -> "ScoringLoader":
        """Return the same images without labels and masks."""
        return with_reader(ScoringLoader(self._images, self._rows, self.batch_size), self.read_features)

    def _kept(self, num_rows: int) -> Tensor:
        """Return the rows that the batch limit leaves: spread evenly, since drawn anomalies come last."""
        count = min(num_rows, self.num_batches(num_rows) * self.batch_size)
        return torch.linspace(0, num_rows - 1, count, dtype=torch.float64).round().long()

    def num_batches(self, num_rows: int) -> int:
        """Return the number of batches that `in_order` makes of so many rows."""
        batches = math.ceil(num_rows / self.batch_size)
        return batches if self._batch_limit is None else min(batches, self._batch_limit)

    def _on_device(self, values: Tensor | None, rows: Tensor) -> Tensor | None:
        return None if values is None else values[rows].to(self._images.device)


class ScoringLoader:
    """The test images of one task, in file order: images, keys and frozen features, nothing else.

    Attributes:
        read_features: reads the frozen features of a batch; None for none.
    """

    read_features: FeatureReader | None = None

    def __init__(self, images: Images, rows: Tensor, batch_size: int) -> None:
        self._images = images
        self._rows = rows
        self.batch_size = batch_size
        self.num_images = len(rows)

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(self.num_images / self.batch_size)

    def __iter__(self) -> Iterator[ScoringBatch]:
        """Yield every image once."""
        for part in self._rows.split(self.batch_size):
            batch = ScoringBatch(image=read_float(self._images, part), image_key=self._images.key[part])
            yield with_features(batch, self.read_features)

    def pixels(self, row: int) -> Tensor:
        """Return one image as (3, H, W) uint8, for pictures."""
        return self._images.read(self._rows[row : row + 1])[0]


Loader = TypeVar("Loader", TrainLoader, ScoringLoader)


def with_reader(loader: Loader, read_features: FeatureReader | None) -> Loader:
    """Return a loader of the same images, whose batches have the frozen features that the reader reads."""
    bound = copy(loader)
    bound.read_features = read_features
    return bound


def read_float(images: Images, rows: Tensor) -> Tensor:
    """Return images as (B, 3, H, W) float32 in [0, 1]."""
    return images.read(rows).float().div_(255)
