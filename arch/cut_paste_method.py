"""What CutPaste and DNE share: a trunk that learns to tell normal images from pasted ones."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from arch.base import Prediction
from arch.cut_paste_params import CutPasteParams
from arch.few_images import images_with_views, num_with_views
from arch.gradient_method import GradientMethod
from arch.sampling import endless_rows
from augmentation.cut_paste import TITLES, make_variants
from augmentation.rotation import rotate_at_random
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.records import BatchLoader, ScoringBatch, Task, TrainBatch
from models.common.backbone import Backbone
from models.common.density import KernelDensity, NearestGaussian
from models.common.gaussian import SingularCovarianceError
from models.common.trunk import VitTrunk
from models.cutpaste.net_cutpaste import CutPasteNet

MOMENTUM = 0.9  # of SGD


class CutPasteMethod(GradientMethod):
    """Train a trunk and a head on images and made anomalies; learn a density once, from the last weights."""

    nets = ("resnet18", "vit_b_16", "net_tiny")
    settings = ("vanilla", "fewshot", "continual", "noisy", "transfer")
    setting_reason = "it learns from normal images alone, labelled anomalies would be ignored"
    localizes = False
    has_frozen_backbone = False
    train_aug_types = ("cutpaste",)

    net: CutPasteNet
    backbone: Backbone

    def __init__(
        self, config: RunConfig, params: CutPasteParams, density: NearestGaussian | KernelDensity
    ) -> None:
        super().__init__(config)
        self.common = params
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

    def begin_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Check that there will be embeddings enough.

        Raises:
            UserError: there are too few.
        """
        count = num_with_views(train_loader.num_images, self.common.density_views)
        needed = self.embeddings_needed()
        if count < needed:
            raise UserError(
                f"{self.config.run.model}: the density needs at least {needed} embeddings, and {task.name} "
                f"gives {count}; set _density_views to {needed} or more, or use more images"
            )

    def embeddings_needed(self) -> int:
        """Return the least number of embeddings with a positive definite covariance."""
        return 3 if self.common.shrinkage == "ledoit_wolf" else self.net.width + 1

    def epoch_rows(self, train_loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return one pass in random order, or as many steps of an endless row of passes as an epoch has."""
        if self.common.steps_per_epoch is None:
            return super().epoch_rows(train_loader, task, epoch)
        count = self.common.steps_per_epoch * train_loader.batch_size
        return endless_rows(torch.arange(train_loader.num_images), epoch * count, count, "order", task)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return the optimiser of all weights that are trained."""
        params = self.common
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
            image, label = make_variants(batch.image, self.common.variant)
            if self.common.post_rotation:
                image = rotate_at_random(image, self.common.post_rotation)
        is_head_trained = next(self.net.head.parameters()).requires_grad
        is_trunk_trained = not is_head_trained or bool(self.net.num_updates >= self.common.frozen_steps)
        with torch.set_grad_enabled(is_trunk_trained):
            pooled = self.net.pool(image)
        self.net.num_updates += 1
        return F.cross_entropy(self.net.head(pooled), label)

    @torch.no_grad()
    def end_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Learn the density of the images as they are, from the last weights.

        Raises:
            UserError: the embeddings do not spread.
        """
        self.net.eval()
        images = images_with_views(train_loader, task, self.common.density_views)
        embedding = torch.cat([self.net.embed(image) for image in images])
        try:
            self.learn_density(embedding, train_loader.num_images, task)
        except SingularCovarianceError as error:
            raise UserError(
                f"{self.config.run.model}: the embeddings of {task.name} do not spread enough for a "
                "covariance; use more images that differ, or a higher _density_views"
            ) from error

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score images by the density of their embeddings."""
        return Prediction(image_score=self.net(batch.image), anomaly_map=None)
