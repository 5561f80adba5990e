"""SPADE: compare each patch with all patches of the training images that are nearest as a whole.

Source: Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", arXiv 2005.02357,
2020, sections 3.2 and 3.3, as the best-known code reads them: distances are not squared (`_distance: l2sq`
squares them, as the paper does). Differs from the paper: each level of the pyramid is matched by itself and
the maps are averaged, instead of matching concatenated descriptors; inputs are not cropped to 224 pixels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from arch.base import LAYER_NETS, NORMAL_ONLY, ModelBase, Prediction, Runtime
from configuration.config import RunConfig
from data_io.records import BatchLoader, ScoringBatch, Task
from models.backbones.backbone import Backbone
from models.backbones.row import POOLED
from models.common.anomaly_map import mean_anomaly_map
from models.spade.net_spade import SPADENet, patch_rows


class SPADE(ModelBase):
    """Nearest images by a global feature, then nearest patches among theirs; nothing is trained."""

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/spade.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        global_feature: Literal["avgpool", "layer3"]
        top_k: int  # images
        kappa: int  # patches
        distance: Literal["l2", "l2sq"]
        continual: Literal["replace", "append"]
        transfer: Literal["replace", "append"]

        def __post_init__(self) -> None:
            if self.top_k < 1:
                raise ValueError(f"_top_k must be at least 1, not {self.top_k}")
            if self.kappa < 1:
                raise ValueError(f"_kappa must be at least 1, not {self.kappa}")

    nets = LAYER_NETS
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would enter its gallery"

    net: SPADENet
    params: Params
    backbone: Backbone

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.global_layer = POOLED if params.global_feature == "avgpool" else params.global_feature
        layers = dict.fromkeys((*params.layers, self.global_layer))
        self.backbone = Backbone(config.run.backbone, tuple(layers))
        squared = params.distance == "l2sq"
        self.net = SPADENet(len(params.layers), params.top_k, params.kappa, squared).to(self.device)

    @torch.no_grad()
    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Keep this task's features, and those of earlier tasks where `_continual` or `_transfer` says so."""
        pooled, galleries = self._gather(loader, runtime)
        self.net.remember(pooled, galleries, append=self.mode(task) == "append")

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Average the upsampled maps of all levels and smooth; the image score comes from whole images."""
        pooled, feature_maps = self._read(batch)
        image_score, levels = self.net(pooled, feature_maps)
        return Prediction(image_score=image_score, anomaly_map=mean_anomaly_map(levels, batch.size))

    def _read(self, batch: ScoringBatch) -> tuple[Tensor, list[Tensor]]:
        """Return the global features (B, D) and the maps (B, C_l, h_l, w_l) of the levels."""
        pooled = batch.features[self.global_layer]
        if pooled.ndim == 4:
            pooled = pooled.mean(dim=(2, 3))
        return pooled, batch.maps(self.params.layers)

    def _gather(self, loader: BatchLoader, runtime: Runtime) -> tuple[Tensor, list[Tensor]]:
        """Return the global features (N, D) and, for each level, the patch features (N, h_l * w_l, C_l)."""
        parts = []
        galleries: list[Tensor] = []
        first = 0
        with runtime.bar("gallery", loader.num_images) as bar:
            for batch in loader:
                pooled, feature_maps = self._read(batch)
                rows = [patch_rows(maps) for maps in feature_maps]
                if not galleries:  # in full at once: joining batches would hold all of them twice
                    galleries = [r.new_empty(loader.num_images, *r.shape[1:]) for r in rows]
                for gallery, part in zip(galleries, rows, strict=True):
                    gallery[first : first + len(part)] = part
                parts.append(pooled)
                first += len(pooled)
                bar.update(len(pooled))
        return torch.cat(parts), galleries
