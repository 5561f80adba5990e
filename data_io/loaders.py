"""Batches of decoded images: slices of the image table, made float on the device."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from data_io.decode import Pixels
from data_io.images import Images
from data_io.records import ScoringBatch, TrainBatch


class TrainLoader:
    """The training images of one task; see `records.BatchLoader` for the contract.

    Args:
        images: the decoded images.
        rows: (N,) int64 rows of them.
        batch_size: images in a batch.
        image_label: (N,) int64, or None where the method needs no labels.
        masks: (H, W) uint8 for every image, or None likewise.
        batch_limit: batches in one pass at the most; None for all.
    """

    def __init__(
        self,
        images: Images,
        rows: Tensor,
        batch_size: int,
        image_label: Tensor | None = None,
        masks: Sequence[Pixels] | None = None,
        batch_limit: int | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.num_images = len(rows) if batch_limit is None else min(len(rows), batch_limit * batch_size)
        self._images = images
        self._rows = rows[: self.num_images]
        self._label = image_label
        self._mask = None if masks is None else torch.from_numpy(np.stack(masks))

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return math.ceil(self.num_images / self.batch_size)

    def __iter__(self) -> Iterator[TrainBatch]:
        """Yield every image once, in file order."""
        return self.in_order(torch.arange(self.num_images))

    def in_order(self, rows: Tensor) -> Iterator[TrainBatch]:
        """Yield the images of these rows (M,) in this order, in batches; rows may repeat."""
        for part in rows.split(self.batch_size):
            chosen = self._rows[part]
            yield TrainBatch(
                image=read_float(self._images, chosen),
                image_key=self._images.key[chosen],
                image_label=None if self._label is None else self._label[part].to(self._images.device),
                ground_truth_mask=None if self._mask is None else self._mask[part].to(self._images.device),
            )


class ScoringLoader:
    """The test images of one task, in file order: images and keys, nothing else."""

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
            yield ScoringBatch(image=read_float(self._images, part), image_key=self._images.key[part])

    def pixels(self, row: int) -> Tensor:
        """Return one image as (3, H, W) uint8, for pictures."""
        return self._images.read(self._rows[row : row + 1])[0]


def read_float(images: Images, rows: Tensor) -> Tensor:
    """Return images as (B, 3, H, W) float32 in [0, 1]."""
    return images.read(rows).float().div_(255)
