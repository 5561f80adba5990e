"""What CutPaste and DNE share: a trunk that learns to tell normal images from pasted ones."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from arch.base import NORMAL_ONLY, Prediction, Runtime
from arch.kinds.few_images import images_with_views, num_with_views
from arch.kinds.gradient import GradientMethod
from arch.kinds.sampling import endless_rows
from augmentation.cut_paste import TITLES, Variant, make_variants
from augmentation.rotation import rotate_at_random
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.records import BatchLoader, ScoringBatch, Task, TrainBatch
from models.backbones.backbone import Backbone
from models.backbones.vit import VitTrunk
from models.common.density import KernelDensity, NearestGaussian, Shrinkage
from models.common.gaussian import SingularCovarianceError
from models.cutpaste.net_cutpaste import CutPasteNet

MOMENTUM = 0.9  # of SGD


@dataclass(frozen=True)
class CutPasteParams:
    """The keys that CutPaste and DNE both have."""

    variant: Variant
    head_layers: int | None  # hidden layers besides the last; None: a linear head
    input_norm: Literal["imagenet", "half"]  # half: mean and standard deviation 0.5
    fixed_norms: bool  # batch norms of the trunk keep their pretrained statistics
    post_rotation: float  # degrees, either way
    optimizer: Literal["sgd", "adam"]
    lr: float
    weight_decay: float
    frozen_steps: int  # updates of the head alone, at first
    steps_per_epoch: int | None  # None: one pass over the training images
    shrinkage: Shrinkage
    density_views: int  # embeddings of a density of few images, their views included

    def __post_init__(self) -> None:
        least = {"frozen_steps": 0, "head_layers": 0, "post_rotation": 0, "lr": 0, "weight_decay": 0}
        for key, bound in {**least, "steps_per_epoch": 1, "density_views": 1}.items():
            value = getattr(self, key)
            if value is not None and value < bound:
                raise ValueError(f"_{key} must be at least {bound}, not {value}")


class CutPasteMethod(GradientMethod):
    """Train a trunk and a head on images and made anomalies; learn a density once, from the last weights."""

    nets = ("resnet18", "efficientnet_lite0", "vit_b_16", "net_tiny")
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would be ignored"
    localizes = False
    has_frozen_backbone = False
    train_aug_types = ("cutpaste",)

    net: CutPasteNet
    params: CutPasteParams
    backbone: Backbone

    def __init__(
        self, config: RunConfig, params: CutPasteParams, density: NearestGaussian | KernelDensity
    ) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, ("pooled",))
        if params.input_norm == "half":
            self.backbone.mean.fill_(0.5)
            self.backbone.std.fill_(0.5)
        if isinstance(self.backbone.trunk, VitTrunk):
            self.backbone.trunk.conv_proj.requires_grad_(False)  # as in IM-IAD; it steadies transformers
        classes = len(TITLES[params.variant])
        self.net = CutPasteNet(self.backbone, classes, params.head_layers, density, params.fixed_norms)
        self.net.to(self.device)

    @abstractmethod
    def learn_density(self, embedding: Tensor, num_images: int, task: Task) -> None:
        """Take over the (N, D) embeddings of a task's normal images, and of views where these are few.

        Raises:
            SingularCovarianceError: a covariance cannot be factorised.
        """

    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Check that there will be embeddings enough.

        Raises:
            UserError: there are too few.
        """
        count = num_with_views(loader.num_images, self.params.density_views)
        needed = self.embeddings_needed()
        if count < needed:
            raise UserError(
                f"{self.config.run.model}: the density needs at least {needed} embeddings, and {task.name} "
                f"gives {count}; set _density_views to {needed} or more, or use more images"
            )

    def embeddings_needed(self) -> int:
        """Return the least number of embeddings with a positive definite covariance."""
        return 3 if self.params.shrinkage == "ledoit_wolf" else self.net.width + 1

    def epoch_rows(self, loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return one pass in random order, or as many steps of an endless row of passes as an epoch has."""
        if self.params.steps_per_epoch is None:
            return super().epoch_rows(loader, task, epoch)
        count = self.params.steps_per_epoch * loader.batch_size
        return endless_rows(torch.arange(loader.num_images), epoch * count, count, "order", task)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return the optimiser of all weights that are trained."""
        params = self.params
        weights = [weight for weight in self.net.parameters() if weight.requires_grad]
        if params.optimizer == "adam":
            return [Adam(weights, lr=params.lr, weight_decay=params.weight_decay)]
        return [SGD(weights, lr=params.lr, momentum=MOMENTUM, weight_decay=params.weight_decay)]

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        """Return the cosine from the learning rate to 0."""
        return [CosineAnnealingLR(optimizer, num_epochs) for optimizer in optimizers]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the cross-entropy of the classes of normal and pasted images."""
        with torch.no_grad():
            image, label = make_variants(batch.image, self.params.variant)
            if self.params.post_rotation:
                image = rotate_at_random(image, self.params.post_rotation)
        is_head_trained = next(self.net.head.parameters()).requires_grad
        is_trunk_trained = not is_head_trained or bool(self.net.num_updates >= self.params.frozen_steps)
        with torch.set_grad_enabled(is_trunk_trained):
            pooled = self.net.pool(image)
        self.net.num_updates += 1
        return F.cross_entropy(self.net.head(pooled), label)

    @torch.no_grad()
    def end_task(self, loader: BatchLoader, task: Task) -> None:
        """Learn the density of the images as they are, from the last weights.

        Raises:
            UserError: the embeddings do not spread.
        """
        self.net.eval()
        images = images_with_views(loader, task, self.params.density_views)
        embedding = torch.cat([self.net.embed(image) for image in images])
        try:
            self.learn_density(embedding, loader.num_images, task)
        except SingularCovarianceError as error:
            raise UserError(
                f"{self.config.run.model}: the embeddings of {task.name} do not spread enough for a "
                "covariance; use more images that differ, or a higher _density_views"
            ) from error

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score images by the density of their embeddings."""
        return Prediction(image_score=self.net(batch.image), anomaly_map=None)
