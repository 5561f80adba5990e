"""DataHolder: from a data set and a configuration to the steps of the chosen setting, with their images."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from configuration.config import RunConfig
from configuration.errors import UserError
from data_io import notes
from data_io.decode import Geometry, Pixels
from data_io.image_file import Levels
from data_io.images import Images, image_table
from data_io.levels import levels_of
from data_io.loaders import ScoringLoader, TrainLoader, with_reader
from data_io.masks import MaskReader, check_grey_values, mask_threshold
from data_io.records import NO_NEEDS, FeatureReader, Needs, Sample, Split, data_hash
from data_io.shots import augmented
from data_io.split_file import replay
from data_io.steps import PlannedStep, TestSet, plan
from data_io.table import Progress, Storage, Table
from data_io.tasks import chosen_classes
from data_io.tensor_store import TensorStore
from dataset.base import DatasetBase, Saturation

Masks = Mapping[Sample, Pixels | None]  # None where an anomalous image has none, or an empty one


@dataclass(frozen=True)
class TestData:
    """One test set with its images; the ground truth never reaches a method.

    Args:
        plan: which task, category and samples.
        loader: the images in the order of the samples.
        ground_truth_mask: (H, W) uint8 per sample; None where an anomalous image has no or an empty mask.
        saturation: grey value of a mask -> when its defect counts as found; None if defects do not saturate.
        geometry: of the images.
    """

    plan: TestSet
    loader: ScoringLoader
    ground_truth_mask: tuple[Pixels | None, ...]
    saturation: Mapping[int, Saturation] | None
    geometry: Geometry


@dataclass(frozen=True)
class Step:
    """What to train on, and what to evaluate afterwards.

    Args:
        number: position in the run.
        plan: the step as records.
        train_loader: its training images.
        tests: the test sets to evaluate after it.
        decode_seconds: the training images' share of the decoding time.
    """

    number: int
    plan: PlannedStep
    train_loader: TrainLoader
    tests: tuple[TestData, ...]
    decode_seconds: float

    def with_features(self, read_features: FeatureReader | None) -> "Step":
        """Return the step with batches that have the frozen features which the reader reads."""
        tests = (replace(test, loader=with_reader(test.loader, read_features)) for test in self.tests)
        return replace(self, train_loader=with_reader(self.train_loader, read_features), tests=tuple(tests))


@dataclass(frozen=True)
class Prepared:
    """A run, ready to begin.

    Args:
        steps: in the order in which they run.
        data_hash: of the chosen tasks' files.
        notes: lines for the user, such as missing masks.
    """

    steps: tuple[Step, ...]
    data_hash: str
    notes: tuple[str, ...]


class DataHolder:
    """Build the steps of a run: list, split, decode, and check everything before any training.

    Args:
        dataset_class: the loader of the data set.
        config: the run's configuration.
        needs: what the method needs besides images.
        store: the cache of decoded images; None for none.
        progress: wraps an iterable, given what it does and its length, with a progress bar.
    """

    def __init__(
        self,
        dataset_class: type[DatasetBase],
        config: RunConfig,
        needs: Needs = NO_NEEDS,
        store: TensorStore | None = None,
        progress: Progress = lambda items, _what, _total: items,
    ) -> None:
        data = config.data
        self.config = config
        self.needs = needs
        self.dataset = dataset_class(data.root, config.dataset_params, config.run.seed)
        self.geometry = Geometry(data.data_size, data.data_crop_size, data.data_resize)
        self.storage = storage_of(config, store, progress)

    def create(self) -> Prepared:
        """Return the steps of the run.

        Raises:
            UserError: a folder or class is missing, or a file cannot be read.
        """
        prepared = self.dataset.prepare()
        root, names = self.dataset.root, self.dataset.classes
        splits = self._splits()
        found = [note for class_id in splits for note in self.dataset.notes(class_id)]
        hashed = data_hash(root, splits.values())
        levels = levels_of(splits.values(), self.config.data.white_level, self.storage)
        planned = plan(splits, names, self.config)
        if self.config.data.split_file is not None:
            planned = replay(planned, self.config.data.split_file, splits, names, root)
        table = self._decode(planned, levels)
        masks = self._masks(planned)
        marked = [self._training_masks(step) for step in planned]
        steps = tuple(
            self._step(number, step, table, masks, marked[number]) for number, step in enumerate(planned)
        )
        name = self.config.run.dataset
        with ThreadPoolExecutor(max(1, self.storage.num_workers)) as pool:
            pages = tuple(notes.of_further_pages(name, table.paths, pool))
        lines = (
            *prepared,
            *found,
            *notes.of_left_out_files(self.dataset, name, splits),
            *pages,
            *notes.of_levels(name, levels),
            *notes.of_missing_masks("anomalous images", masks, "count for the image metrics only"),
            *notes.of_doubtful_masks(masks),
            *(note for step in planned for note in step.notes),
            self._described(planned, table, hashed),
            *(
                note
                for masks in marked
                for note in notes.of_missing_masks(
                    "labelled anomalies", masks, "have an empty one in training"
                )
            ),
        )
        return Prepared(steps, hashed, tuple(dict.fromkeys(lines)))

    def _splits(self) -> dict[int, Split]:
        """Return class id -> its samples, of the chosen tasks only."""
        run = self.config.run
        chosen = chosen_classes(
            (*run.train_task_ids, *run.valid_task_ids), len(self.dataset.classes), self.config.data.num_task
        )
        splits = {}
        for class_id in (class_id for class_ids in chosen.values() for class_id in class_ids):
            train, test = (tuple(self.dataset.samples(class_id, split)) for split in ("train", "test"))
            self._refuse_empty(class_id, train, test)
            splits[class_id] = Split(train=train, test=test)
            check_grey_values(test, self.dataset.saturation(class_id), self.storage)
        return splits

    def _refuse_empty(self, class_id: int, train: Sequence[Sample], test: Sequence[Sample]) -> None:
        name = f"{self.config.run.dataset}: class {class_id} ({self.dataset.classes[class_id]})"
        for split, samples in (("training", train), ("test", test)):
            if not samples:
                raise UserError(
                    f"{name} has no {split} image under {self.dataset.root} "
                    f"({self.config.data.root_origin}); complete the folder"
                )

    def _described(self, planned: Sequence[PlannedStep], table: Table, hashed: str) -> str:
        train = {sample for step in planned for sample in step.train}
        test = {sample for step in planned for test in step.tests for sample in test.samples}
        anomalous = sum(sample.image_label for sample in test)
        return (
            f"{self.config.run.dataset} in {self.dataset.root}: {len(train)} training images, "
            f"{len(test)} test images ({anomalous} anomalous), steps: {len(planned)}, "
            f"kept in: {table.place}, data_hash: {hashed}"
        )

    def _decode(self, planned: Sequence[PlannedStep], levels: Mapping[Path, Levels]) -> Table:
        parts = [part for step in planned for part in (step.train, *(test.samples for test in step.tests))]
        paths = dict.fromkeys(sample.path for part in parts for sample in part)
        return image_table(list(paths), self.geometry, self.storage, levels)

    def _masks(self, planned: Sequence[PlannedStep]) -> Masks:
        """Return the ground truth of the test images, at the size of the pixel metrics."""
        data = self.config.data
        tested = dict.fromkeys(sample for step in planned for test in step.tests for sample in test.samples)
        return self._read_masks(list(tested), data.mask_size, data.mask_crop_size)

    def _read_masks(self, samples: Sequence[Sample], size: int | None, crop: int | None) -> Masks:
        threshold = mask_threshold(self.config.data.mask_threshold, self.dataset)
        return MaskReader(size, crop, self.geometry, threshold, self.storage).read(samples)

    def _step(
        self, number: int, plan: PlannedStep, table: Table, masks: Masks, training_masks: Masks
    ) -> Step:
        tests = tuple(
            TestData(
                plan=test,
                loader=ScoringLoader(table, _rows(table, test.samples), self.config.data.valid_batch_size),
                ground_truth_mask=tuple(masks[sample] for sample in test.samples),
                saturation=self._saturation(test),
                geometry=self.geometry,
            )
            for test in plan.tests
        )
        decode_seconds = table.seconds * len(plan.train) / len(table)
        return Step(number, plan, self._train_loader(plan, table, training_masks), tests, decode_seconds)

    def _saturation(self, test: TestSet) -> Mapping[int, Saturation] | None:
        classes = self.dataset.classes
        return self.dataset.saturation(classes.index(test.category)) if test.category in classes else None

    def _train_loader(self, plan: PlannedStep, table: Table, masks: Masks) -> TrainLoader:
        data = self.config.data
        rows = _rows(table, plan.train)
        images: Images = table
        label, mask = self._labels(plan, masks) if self.needs.labels else (None, None)
        if plan.copies is not None:
            generator = plan.task.generator("few-shot augmentation")
            images, mask = augmented(table, rows, mask, plan.copies, generator)
            label = None if label is None else label.repeat_interleave(1 + plan.copies.count)
            rows = torch.arange(len(images.key))
        reference = self._reference(plan, table) if self.needs.reference else None
        return TrainLoader(images, rows, data.train_batch_size, label, mask, reference, data.batch_limit)

    def _labels(self, plan: PlannedStep, masks: Masks) -> tuple[Tensor, Tensor]:
        """Return the labels (N,) and the masks (N, H, W) of training images, in their geometry.

        Raises:
            UserError: none of them is a labelled anomaly.
        """
        train = plan.train
        if not any(sample.image_label for sample in train):
            raise UserError(
                f"{self.config.run.model}: {plan.task.name} has no labelled anomaly to learn from; "
                "raise anomaly_cap or leave the task out"
            )
        blank = np.zeros((self.geometry.crop, self.geometry.crop), np.uint8)
        found = [masks[sample] for sample in train]
        stacked = np.stack([blank if mask is None else mask for mask in found])
        return torch.tensor([sample.image_label for sample in train]), torch.from_numpy(stacked)

    def _training_masks(self, plan: PlannedStep) -> Masks:
        """Return the ground truth of the training images in their geometry, where the method needs it."""
        if not self.needs.labels:
            return {}
        return self._read_masks(plan.train, self.geometry.resize, self.geometry.crop)

    def _reference(self, plan: PlannedStep, table: Table) -> Tensor:
        """Return the rows of the normal images that a method compares with, those of a small number first.

        Raises:
            UserError: there are fewer normal training images than asked for.
        """
        normal = [sample for sample in plan.train if sample.image_label == 0]
        wanted = self.config.setting.ref_num
        if len(normal) < wanted:
            raise UserError(
                f"ref_num {wanted}: {self.config.run.model} compares with normal training images, and "
                f"{plan.task.name} has {len(normal)}; --set ref_num={len(normal)}"
            )
        order = torch.randperm(len(normal), generator=plan.task.generator("reference images"))
        return _rows(table, normal)[order[:wanted]]


def storage_of(config: RunConfig, store: TensorStore | None, progress: Progress) -> Storage:
    """Return how the tables of a run are read, and where they may be kept."""
    data = config.data
    return Storage(torch.device(config.run.device), data.data_memory_mb, data.num_workers, store, progress)


def _rows(table: Table, samples: Iterable[Sample]) -> Tensor:
    return table.rows_of(sample.path for sample in samples)
