"""The shared vocabulary: samples, splits, tasks and batches."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from configuration.errors import UserError


@dataclass(frozen=True, order=True)
class Sample:
    """One image file of a data set, with all that is known about it before it is opened.

    Args:
        path: the image file.
        image_label: 0 for a normal, 1 for an anomalous image.
        mask_path: the ground truth file; several files are joined by "or"; None where there is none.
        kind: the kind of defect, as the release names it; "good" for normal images.
    """

    path: Path
    image_label: int
    mask_path: Path | tuple[Path, ...] | None = None
    kind: str = "good"

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The ground truth files, none, one or several."""
        if self.mask_path is None:
            return ()
        return self.mask_path if isinstance(self.mask_path, tuple) else (self.mask_path,)


@dataclass(frozen=True)
class Split:
    """The training and test samples of one task."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


def derive_seed(seed: int, *purpose: object) -> int:
    """Return a 63-bit seed that depends on the run's seed and on what it is for, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def file_identity(path: Path) -> tuple[str, int, int]:
    """Return what changes when a file is replaced: its place, its size and the time of its last change.

    Raises:
        UserError: the file cannot be found.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return str(path.resolve()), found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Task:
    """What a method may know of the task that it trains on.

    Args:
        id: position of the task in the data set.
        name: its category or categories.
        setting: vanilla, semi, fewshot, continual, noisy or transfer.
        step: 0 for the first training of a model, then 1, 2, ... (continual: next task; transfer: target).
        seed: the run's seed.
    """

    id: int
    name: str
    setting: str
    step: int
    seed: int

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator of this task's own, so that no draw depends on another."""
        return torch.Generator().manual_seed(
            derive_seed(self.seed, self.setting, self.id, self.step, purpose)
        )


@dataclass(frozen=True)
class ScoringBatch:
    """All that a method sees of a test image.

    Args:
        image: (B, 3, H, W) float32 in [0, 1].
        image_key: (B,) int64, equal for equal image content; what the feature cache is keyed by.
    """

    image: Tensor
    image_key: Tensor


@dataclass(frozen=True)
class TrainBatch(ScoringBatch):
    """A batch of training images; the last two are None unless the method declares `needs_labels`.

    Args:
        image_label: (B,) int64, 0 or 1.
        ground_truth_mask: (B, H, W) uint8, 0 or 1.
    """

    image_label: Tensor | None = None
    ground_truth_mask: Tensor | None = None


class BatchLoader(Protocol):
    """The training images of one task, on the device, in batches.

    Iterating gives every image once in a fixed order; the last batch may be smaller.

    Attributes:
        num_images: N.
        batch_size: images in a batch.
        image_label: (N,) int64 on the CPU; None unless the method declares `needs_labels`.
        reference_image: (R, 3, H, W) float32 in [0, 1], `ref_num` of the normal images; None unless the
            method declares `needs_reference`.
    """

    num_images: int
    batch_size: int
    image_label: Tensor | None
    reference_image: Tensor | None

    def __iter__(self) -> Iterator[TrainBatch]:
        """Yield the images once, in file order."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def in_order(self, rows: Tensor) -> Iterator[TrainBatch]:
        """Yield the images of these rows (M,) in this order, in batches; rows may repeat."""

    def num_batches(self, num_rows: int) -> int:
        """Return the number of batches that `in_order` makes of so many rows."""


class ImageReader(Protocol):
    """Decoded images by row."""

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, rows: Tensor) -> Tensor:
        """Return the images of these rows as (B, 3, H, W) uint8 on the device."""


class Bar(Protocol):
    """A progress bar that its loop moves on by itself."""

    def update(self, n: int = 1) -> object:
        """Count n more as done."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show a text behind the bar."""


class _NoBar:
    def update(self, n: int = 1) -> None:
        """Show nothing."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show nothing."""


def no_bar(_what: str, _total: int) -> AbstractContextManager[Bar]:
    """Return a bar that is never seen."""
    return nullcontext(_NoBar())
