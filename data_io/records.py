"""The shared vocabulary: samples, splits, tasks and batches."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

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


def data_hash(root: Path, splits: Iterable[Split]) -> str:
    """Return 12 hex digits that depend on the relative names and the sizes of all images only."""
    samples = sorted({sample for split in splits for part in (split.train, split.test) for sample in part})
    lines = [
        f"{sample.path.relative_to(root).as_posix()}\t{sample.path.stat().st_size}" for sample in samples
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()


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

    @property
    def has_shots(self) -> bool:
        """Whether it is learned from a handful of images: in few-shot learning, on a transfer's target."""
        return self.setting == "fewshot" or (self.setting == "transfer" and self.step > 0)

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator of this task's own, so that no draw depends on another."""
        return torch.Generator().manual_seed(
            derive_seed(self.seed, self.setting, self.id, self.step, purpose)
        )


FeatureReader = Callable[["ScoringBatch"], Mapping[str, Tensor]]


@dataclass(frozen=True)
class ScoringBatch:
    """All that a method sees of a test image.

    Args:
        image: (B, 3, H, W) float32 in [0, 1].
        image_key: (B,) int64, equal for equal image content; what the feature cache is keyed by.
        features: layer -> (B, C, h, w) of the frozen backbone, read through the cache when the first is asked
            for; empty without a frozen backbone.
    """

    image: Tensor
    image_key: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of the images, in pixels."""
        return self.image.shape[2], self.image.shape[3]

    def maps(self, layers: Sequence[str]) -> list[Tensor]:
        """Return the features of these layers, in this order."""
        return [self.features[layer] for layer in layers]


@dataclass(frozen=True)
class TrainBatch(ScoringBatch):
    """A batch of training images; the last two are None unless the method needs labels.

    Args:
        image_label: (B,) int64, 0 or 1.
        ground_truth_mask: (B, H, W) uint8, 0 or 1.
    """

    image_label: Tensor | None = None
    ground_truth_mask: Tensor | None = None


Batch = TypeVar("Batch", bound=ScoringBatch)


class LazyFeatures(Mapping[str, Tensor]):
    """The frozen feature maps of a batch by layer, read once, when the first of them is asked for.

    Args:
        read: reads the maps of a batch.
        batch: the batch, without features.
    """

    def __init__(self, read: FeatureReader, batch: ScoringBatch) -> None:
        self.read = read
        self._batch = batch
        self._found: Mapping[str, Tensor] | None = None

    def forget(self) -> None:
        """Hold the maps no longer; who asks again has them read again."""
        self._found = None

    def _maps(self) -> Mapping[str, Tensor]:
        if self._found is None:
            self._found = self.read(self._batch)
        return self._found

    def __getitem__(self, layer: str) -> Tensor:
        """Return the map of a layer."""
        return self._maps()[layer]

    def __iter__(self) -> Iterator[str]:
        """Yield the layers."""
        return iter(self._maps())

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._maps())


def with_features(batch: Batch, read: FeatureReader | None) -> Batch:
    """Return the batch with its frozen features; as it is where nobody reads any."""
    return batch if read is None else replace(batch, features=LazyFeatures(read, batch))


def view_of(batch: Batch, image: Tensor, image_key: Tensor) -> Batch:
    """Return a batch of other images made of those of a batch, with frozen features of their own.

    Args:
        batch: the images that the views are made of.
        image: (B, 3, H, W) float32 in [0, 1].
        image_key: (B,) int64; see `view_key`.
    """
    view = replace(batch, image=image, image_key=image_key, features={})
    return with_features(view, batch.features.read if isinstance(batch.features, LazyFeatures) else None)


def view_key(image_key: Tensor, purpose: str, number: int) -> Tensor:
    """Return the (B,) keys of views of images with these keys; each purpose numbers its own."""
    return torch.tensor([derive_seed(key, purpose, number) for key in image_key.tolist()])


@dataclass(frozen=True)
class Needs:
    """What a method needs besides images, to learn from or to compare with.

    Args:
        labels: training batches with labels and masks.
        reference: normal images to compare with.
    """

    labels: bool = False
    reference: bool = False


NO_NEEDS = Needs()


class BatchLoader(Protocol):
    """The training images of one task, on the device, in batches.

    Iterating gives every image once in a fixed order; the last batch may be smaller.

    Attributes:
        num_images: N.
        batch_size: images in a batch.
        image_label: (N,) int64 on the CPU; None unless the method needs labels.
        reference_image: (R, 3, H, W) float32 in [0, 1], `ref_num` of the normal images; None unless the
            method needs reference images.
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
