"""A loader of images that a test makes itself, for methods that are trained without a data set."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from data_io.records import TrainBatch


class MadeLoader:
    """Serve float images as `data_io.records.BatchLoader` says; an image's key is its row.

    Args:
        image: (N, 3, H, W) in [0, 1].
        batch_size: images in a batch.
        image_label: (N,) int64, for methods that need labels.
        reference_image: (R, 3, H, W), for methods that compare with some.
    """

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
            yield TrainBatch(image=self.image[part], image_key=part, image_label=label)


def random_images(count: int, side: int = 64, seed: int = 0) -> Tensor:
    """Return (count, 3, side, side) noise in [0, 1]."""
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
