"""DRA: four heads learn normality, labelled anomalies, pasted anomalies, and differences to normal images.

Source: Ding et al., "Catching Both Gray and Black Swans: Open-set Supervised Anomaly Detection", CVPR 2022,
and the authors' code.
Differs from the source: references are clean normal images; those of the test are fixed and not rotated, so
that an image has one score; a patch is pasted into the normal image that was drawn, not into another one; no
anomaly hides among the normal images. The paper's hard setting is `semi_kind`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from arch.base import LAYER_NETS, Prediction, Runtime
from arch.kinds.labelled import LabelledMethod
from arch.kinds.sampling import drawn_images
from arch.runtime import ImageReader
from augmentation.cut_paste import paste_patches
from augmentation.rotation import rotate_at_random
from configuration.config import RunConfig
from data_io.records import BatchLoader, Needs, ScoringBatch, Task, TrainBatch
from models.common.anomaly_map import mean_anomaly_map
from models.dra.net_dra import DRANet, HeadScores

NORMAL, SEEN, PSEUDO = 0, 1, 2  # labels of the images of a batch


class DRA(LabelledMethod):
    """Train trunk and heads on batches of references, normal and pseudo anomalous images, and anomalies."""

    @dataclass(frozen=True)
    class Params(LabelledMethod.Params):
        """The keys of 1_model_base/dra.yaml that begin with an underscore."""

        pseudo: Literal["cutmix", "outlier", "none"]
        outlier: Path | None  # folder of normal images of other products
        pseudo_prob: float
        lr_step_at: Literal["start", "end"]
        map: Literal["none", "heads"]

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 <= self.pseudo_prob <= 1:
                raise ValueError(f"_pseudo_prob must be in 0 to 1, not {self.pseudo_prob}")
            if (self.pseudo == "outlier") != (self.outlier is not None):
                raise ValueError("_pseudo: outlier and a folder for _outlier go together")

    nets = ("net_dra", *LAYER_NETS)
    setting_reason = "it is an open-set supervised method: run with --semi and --semi-anomaly-num >= 1"
    localizes = False  # unless its key says so
    needs = Needs(labels=True, reference=True)
    anomaly_every = 3

    net: DRANet
    params: Params
    other_images: ImageReader

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config, params)
        self.localizes = params.map == "heads"
        self.image_folder = params.outlier
        self.step_offset = int(params.lr_step_at == "start")
        self.net = DRANet(self.backbone, params.n_scales, params.topk).to(self.device)

    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Open the folder of other products' images, if there is one."""
        if self.image_folder is not None:
            self.other_images = runtime.folder_images(self.config.data.data_crop_size)

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the sum of the losses of the heads."""
        assert batch.image_label is not None
        num_references = self.num_references(self.config)
        image, label = self.with_pseudo(batch.image[num_references:], batch.image_label[num_references:])
        image = rotate_at_random(torch.cat([batch.image[:num_references], image]), self.params.rotation)
        scores, _ = self.net(image, num_references)
        return self.head_loss(scores, label)

    def with_pseudo(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (B, 3, H, W), some of the normal ones made anomalous, and their labels (B,).

        They get a pasted patch, or are replaced by images of other products.
        """
        if self.params.pseudo == "none":
            return image, label
        is_chosen = torch.rand(len(label), device=label.device) < self.params.pseudo_prob
        rows = (is_chosen & (label == NORMAL)).nonzero()[:, 0]
        image, label = image.clone(), label.clone()
        is_pasted = self.params.pseudo == "cutmix"
        image[rows] = paste_patches(image[rows]) if is_pasted else drawn_images(self.other_images, len(rows))
        label[rows] = PSEUDO
        return image, label

    def head_loss(self, scores: HeadScores, label: Tensor) -> Tensor:
        """Return the sum of the losses: each head learns to answer its own question, where it applies."""
        not_pseudo, not_seen = label != PSEUDO, label != SEEN
        return (
            self.criterion(scores.holistic, label == NORMAL)
            + self.criterion(scores.seen[not_pseudo], label[not_pseudo] == SEEN)
            + self.criterion(scores.pseudo[not_seen], label[not_seen] == PSEUDO)
            + self.criterion(scores.composite, label != NORMAL)
        )

    def end_task(self, loader: BatchLoader, task: Task) -> None:
        """Keep the features of the reference images."""
        assert loader.reference_image is not None
        self.net.eval()
        self.net.set_references(loader.reference_image)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score by all heads; the map is the sum of those that look at patches."""
        scores, instances = self.net(batch.image)
        anomaly_map = mean_anomaly_map(instances, batch.size, sigma=0) if self.params.map == "heads" else None
        return Prediction(scores.image_score(), anomaly_map)
