"""What methods share that learn from labelled anomalies: balanced batches, fixed epochs, a trained trunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arch.kinds.gradient import GradientMethod
from arch.kinds.sampling import endless_rows
from configuration.config import RunConfig
from data_io.records import BatchLoader, Needs, Task
from loss_function.deviation import CRITERIA
from models.backbones.backbone import Backbone
from optimizer.step_schedule import step_schedule


class LabelledMethod(GradientMethod):
    """Learn from normal images and a few labelled anomalies; an epoch is a fixed number of batches.

    Normal images and anomalies are each drawn from an endless row of permutations, across all epochs.

    Attributes:
        anomaly_every: one in so many images of a balanced batch is a labelled anomaly.
        step_offset: epochs by which the learning rate falls earlier.
    """

    @dataclass(frozen=True)
    class Params:
        """The keys that begin with an underscore, of every method of this kind."""

        layer: Literal["layer1", "layer2", "layer3", "layer4"]
        n_scales: int
        topk: float
        criterion: Literal["deviation", "bce", "focal"]
        balanced: bool
        steps_per_epoch: int
        rotation: float  # degrees
        base_lr: float
        weight_decay: float
        step_size: int  # epochs
        gamma: float

        def __post_init__(self) -> None:
            if min(self.n_scales, self.steps_per_epoch, self.step_size) < 1:
                raise ValueError("_n_scales, _steps_per_epoch and _step_size must be at least 1")
            if not 0 <= self.topk <= 1 or self.rotation < 0:
                raise ValueError("_topk must be in 0 to 1, _rotation at least 0")

    settings = ("semi",)
    has_frozen_backbone = False
    needs = Needs(labels=True)
    gradient_clip = 1.0  # as in the authors' code
    anomaly_every: ClassVar[int]
    params: Params
    backbone: Backbone
    step_offset: int = 0

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.criterion = CRITERIA[params.criterion]
        self.backbone = self._trunk()

    def _trunk(self) -> Backbone:
        """Build the backbone with the map that is scored.

        Raises:
            ValueError: it cannot take the images of the pyramid.
        """
        backbone = Backbone(self.config.run.backbone, [self.params.layer])
        smallest = self.config.data.data_crop_size // 2 ** (self.params.n_scales - 1)
        if backbone.input_size is not None and self.params.n_scales > 1:
            raise ValueError(f"{backbone.name} takes images of one size only; --set _n_scales=1")
        if smallest < backbone.strides[self.params.layer]:
            raise ValueError(
                f"images of {smallest} pixels, the smallest of the pyramid, leave nothing of "
                f"{self.params.layer}; raise data_size or lower _n_scales"
            )
        return backbone

    @classmethod
    def unsupported(cls, config: RunConfig, params: Params) -> str | None:
        """Return why there is nothing to learn from; None if there is."""
        if config.setting.semi_anomaly_num < 1:
            return f"{cls.setting_reason} (semi_anomaly_num is {config.setting.semi_anomaly_num})"
        smallest = cls.num_references(config) + cls.anomaly_every
        if config.data.train_batch_size < smallest:
            return f"train_batch_size must be at least {smallest}, not {config.data.train_batch_size}"
        return None

    @classmethod
    def num_references(cls, config: RunConfig) -> int:
        """Return the reference images that stand in front of every batch."""
        return config.setting.ref_num if cls.needs.reference else 0

    def batch_rows(self, image_label: Tensor, batch_size: int) -> dict[str, tuple[Tensor, int]]:
        """Return what a batch is made of, in its order: the rows to draw from, and how many are drawn."""
        normal, anomalous = (image_label == 0).nonzero()[:, 0], (image_label == 1).nonzero()[:, 0]
        num_references = self.num_references(self.config)
        num_others = batch_size - num_references
        references = {"references": (normal, num_references)}
        if not self.params.balanced:
            return references | {"all": (torch.arange(len(image_label)), num_others)}
        num_anomalous = num_others // self.anomaly_every
        return references | {
            "normal": (normal, num_others - num_anomalous),
            "anomalous": (anomalous, num_anomalous),
        }

    def epoch_rows(self, loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return the rows of all batches of an epoch, one batch after the other."""
        assert loader.image_label is not None
        num_steps = self.params.steps_per_epoch
        parts = self.batch_rows(loader.image_label, loader.batch_size)
        columns = [
            endless_rows(rows, epoch * num_steps * count, num_steps * count, name, task).view(
                num_steps, count
            )
            for name, (rows, count) in parts.items()
        ]
        return torch.cat(columns, dim=1).flatten()

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for trunk and heads together."""
        params = self.params
        return [Adam(self.net.parameters(), lr=params.base_lr, weight_decay=params.weight_decay)]

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        """Return steps: the learning rate falls by `_gamma` every `_step_size` epochs."""
        params = self.params
        return [step_schedule(each, params.step_size, params.gamma, self.step_offset) for each in optimizers]
