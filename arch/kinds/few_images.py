"""Training images with views of them, for a density that has to be made of a few images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from augmentation.views import draw_views
from data_io.records import BatchLoader, Task

FEW = 16  # training images; from this many on there are no views


def num_with_views(num_images: int, wanted: int) -> int:
    """Return how many images and views there are: as many as wanted, where the images are few."""
    return max(num_images, wanted) if num_images < FEW else num_images


def images_with_views(loader: BatchLoader, task: Task, wanted: int) -> Iterator[Tensor]:
    """Yield the training images (B, 3, H, W) in batches, then views of them, in turn."""
    for batch in loader:
        yield batch.image
    count = loader.num_images
    rows = torch.arange(num_with_views(count, wanted) - count) % count
    generator = task.generator("views")
    for batch in loader.in_order(rows):
        yield draw_views(batch.image, generator)
