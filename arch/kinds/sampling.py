"""Sampling: rows of images in an order that never ends, and images drawn from a folder."""

import torch
from torch import Tensor

from arch.runtime import ImageReader
from data_io.records import Task


def endless_rows(rows: Tensor, start: int, count: int, name: str, task: Task) -> Tensor:
    """Return the entries from `start` on of an endless row of permutations of (N,) rows.

    Args:
        rows: what is permuted.
        start: first entry.
        count: number of entries.
        name: of the row; each has permutations of its own.
        task: gives their generators.
    """
    first, last = start // len(rows), (start + count) // len(rows)
    permuted = [
        rows[torch.randperm(len(rows), generator=task.generator(f"{name} {number}"))]
        for number in range(first, last + 1)
    ]
    return torch.cat(permuted)[start - first * len(rows) :][:count]


def drawn_images(images: ImageReader, count: int) -> Tensor:
    """Return (count, 3, H, W) images in [0, 1], drawn with replacement."""
    return images.read(torch.randint(len(images), (count,))).float().div_(255)
