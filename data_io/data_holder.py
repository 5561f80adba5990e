"""DataHolder: from a data set and a configuration to the steps of the chosen setting, with their images."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augmentation.fewshot import augment
from configuration.config import RunConfig, Setting, SettingSection
from configuration.errors import UserError
from data_io.decode import Geometry, Pixels
from data_io.images import HeldImages, Images, ImageTable, Progress
from data_io.loaders import ScoringLoader, TrainLoader
from data_io.masks import MaskReader
from data_io.records import Sample, Split, derive_seed
from data_io.split_file import replay
from data_io.steps import PlannedStep, TestSet, plan
from data_io.tasks import chosen_classes
from data_io.tensor_store import TensorStore
from dataset.base import DatasetBase


@dataclass(frozen=True)
class TestData:
    """One test set with its images; the ground truth never reaches a method.

    Args:
        plan: which task, category and samples.
        loader: the images in the order of the samples.
        ground_truth_mask: (H, W) uint8 per sample; None where an anomalous image has no or an empty mask.
    """

    plan: TestSet
    loader: ScoringLoader
    ground_truth_mask: tuple[Pixels | None, ...]


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


class DataHolder:
    """Build the steps of a run: list, split, decode, and check everything before any training.

    Attributes:
        data_hash: of the chosen tasks' files; after `create`.
        notes: lines for the user, such as missing masks; after `create`.

    Args:
        dataset_class: the loader of the data set.
        config: the run's configuration.
        needs_labels: whether training batches carry labels and masks.
        needs_reference: whether training comes with reference images.
        store: the cache of decoded images; None for none.
        progress: wraps an iterable, given what it does and its length, with a progress bar.
    """

    def __init__(
        self,
        dataset_class: type[DatasetBase],
        config: RunConfig,
        needs_labels: bool = False,
        needs_reference: bool = False,
        store: TensorStore | None = None,
        progress: Progress = lambda items, _what, _total: items,
    ) -> None:
        self.config = config
        self.needs_labels = needs_labels
        self.needs_reference = needs_reference
        self.store = store
        self.progress = progress
        self.dataset = dataset_class(config.data.root, config.dataset_params, config.run.seed)
        self.geometry = Geometry(config.data.data_size, config.data.data_crop_size)
        self.device = torch.device(config.run.device)
        self.data_hash = ""
        self.notes: list[str] = []

    def create(self) -> list[Step]:
        """Return the steps in the order in which they run.

        Raises:
            UserError: a folder or class is missing, or a file cannot be read.
        """
        self.notes += self.dataset.prepare()
        splits = self._splits()
        self.data_hash = data_hash(self.dataset.root, splits.values())
        planned = plan(splits, self.dataset.classes, self.config)
        if self.config.data.split_file is not None:
            root = self.dataset.root
            planned = replay(planned, self.config.data.split_file, splits, self.dataset.classes, root)
        table = self._decode(planned)
        masks = self._masks(planned)
        self.notes += _fewer_than_wanted(planned)
        self.notes.append(self._described(planned, table))
        return [self._step(number, step, table, masks) for number, step in enumerate(planned)]

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
            self.notes += self.dataset.notes(class_id)
            splits[class_id] = Split(train, test)
        return splits

    def _refuse_empty(self, class_id: int, train: Sequence[Sample], test: Sequence[Sample]) -> None:
        name = f"{self.config.run.dataset}: class {class_id} ({self.dataset.classes[class_id]})"
        for split, samples in (("training", train), ("test", test)):
            if not samples:
                raise UserError(
                    f"{name} has no {split} image under {self.dataset.root} "
                    f"({self.config.data.root_origin}); complete the folder or choose another -tid"
                )

    def _described(self, planned: Sequence[PlannedStep], table: ImageTable) -> str:
        train = {sample for step in planned for sample in step.train}
        test = {sample for step in planned for test in step.tests for sample in test.samples}
        anomalous = sum(sample.image_label for sample in test)
        return (
            f"{self.config.run.dataset} in {self.dataset.root}: {len(train)} training images, "
            f"{len(test)} test images ({anomalous} anomalous), steps: {len(planned)}, "
            f"kept in: {table.place}, data_hash: {self.data_hash}"
        )

    def _decode(self, planned: Sequence[PlannedStep]) -> ImageTable:
        samples = [
            sample
            for step in planned
            for part in (step.train, *(t.samples for t in step.tests))
            for sample in part
        ]
        return ImageTable(
            list(dict.fromkeys(sample.path for sample in samples)),
            self.geometry,
            self.device,
            self.config.data.data_memory_mb,
            self.config.data.num_workers,
            self.store,
            self.progress,
        )

    def _masks(self, planned: Sequence[PlannedStep]) -> dict[Sample, Pixels | None]:
        """Return the ground truth of the test images, at the size of the pixel metrics."""
        data = self.config.data
        tested = dict.fromkeys(sample for step in planned for test in step.tests for sample in test.samples)
        masks = self._read_masks(list(tested), data.mask_size, data.mask_crop_size)
        missing = [sample for sample, mask in masks.items() if mask is None]
        if missing:
            first = missing[0].path
            self.notes.append(
                f"{len(missing)} anomalous images without a mask, such as {first}, "
                "count for the image metrics only"
            )
        return masks

    def _read_masks(
        self, samples: Sequence[Sample], size: int | None, crop: int | None
    ) -> dict[Sample, Pixels | None]:
        threshold, workers = self.dataset.mask_threshold, self.config.data.num_workers
        reader = MaskReader(size, crop, self.geometry.share, threshold, self.store, workers)
        return reader.read(samples, self.progress)

    def _step(
        self, number: int, plan: PlannedStep, table: ImageTable, masks: Mapping[Sample, Pixels | None]
    ) -> Step:
        tests = tuple(
            TestData(
                plan=test,
                loader=ScoringLoader(table, table.rows_of(test.samples), self.config.data.valid_batch_size),
                ground_truth_mask=tuple(masks[sample] for sample in test.samples),
            )
            for test in plan.tests
        )
        decode_seconds = table.seconds * len(plan.train) / len(table)
        return Step(number, plan, self._train_loader(plan, table), tests, decode_seconds)

    def _train_loader(self, plan: PlannedStep, table: ImageTable) -> TrainLoader:
        data, setting = self.config.data, self.config.setting
        rows = table.rows_of(plan.train)
        images: Images = table
        label, mask = self._labels(plan) if self.needs_labels else (None, None)
        if self.config.run.setting is Setting.FEWSHOT and setting.fewshot_data_aug:
            images, mask = augmented(table, rows, mask, setting, plan.task.generator("few-shot augmentation"))
            label = None if label is None else label.repeat_interleave(1 + setting.fewshot_num_dg)
            rows = torch.arange(len(images.key))
        reference = self._reference(plan, table) if self.needs_reference else None
        return TrainLoader(images, rows, data.train_batch_size, label, mask, reference, data.batch_limit)

    def _labels(self, plan: PlannedStep) -> tuple[Tensor, Tensor]:
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
        masks = self._read_masks(train, self.geometry.resize, self.geometry.crop)
        missing = [sample.path for sample, mask in masks.items() if mask is None]
        if missing:
            self.notes.append(
                f"{len(missing)} labelled anomalies without a mask, such as {missing[0]}, "
                "have an empty one in training"
            )
        blank = np.zeros((self.geometry.crop, self.geometry.crop), np.uint8)
        found = [masks[sample] for sample in train]
        stacked = np.stack([blank if mask is None else mask for mask in found])
        return torch.tensor([sample.image_label for sample in train]), torch.from_numpy(stacked)

    def _reference(self, plan: PlannedStep, table: ImageTable) -> Tensor:
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
        return table.rows_of(normal)[order[:wanted]]


def _fewer_than_wanted(planned: Sequence[PlannedStep]) -> Iterator[str]:
    """Yield a line per draw that took all there is, and not as many as were asked for."""
    for step in planned:
        for key in ("fewshot_exm", "semi_anomaly_num", "transfer_target_sample_num"):
            wanted, drawn = (step.drawn.get(name, 0) for name in (key, "drawn"))
            if isinstance(wanted, int) and isinstance(drawn, int) and 0 < drawn < wanted:
                yield f"{step.task.name}: {key} is {wanted}, and there are only {drawn} to draw"


def data_hash(root: Path, splits: Iterable[Split]) -> str:
    """Return 12 hex digits that depend on the relative names and the sizes of all images only."""
    samples = sorted({sample for split in splits for part in (split.train, split.test) for sample in part})
    lines = [
        f"{sample.path.relative_to(root).as_posix()}\t{sample.path.stat().st_size}" for sample in samples
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()


def augmented(
    table: ImageTable, rows: Tensor, mask: Tensor | None, setting: SettingSection, generator: torch.Generator
) -> tuple[HeldImages, Tensor | None]:
    """Return each of these images followed by its generated copies, which have keys of their own.

    The masks (N, H, W) are transformed with their images.
    """
    kinds, num_generated = setting.fewshot_aug_type, setting.fewshot_num_dg
    image, mask = augment(table.read(rows), mask, kinds, num_generated, generator)
    what = (kinds, 1 + num_generated, generator.initial_seed())
    keys = [
        key if copy == 0 else derive_seed(key, *what, position, copy)
        for position, key in enumerate(table.key[rows].tolist())
        for copy in range(1 + num_generated)
    ]
    return HeldImages(image, torch.tensor(keys)), mask
