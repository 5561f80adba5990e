"""PaDiM: the score of a position is the Mahalanobis distance to the Gaussian of its normal features.

Source: Defard et al., "PaDiM: a Patch Distribution Modeling Framework", ICPR 2020 workshops (arXiv
2011.08785), section III. Differs from the paper: inputs are not cropped to 224 pixels; of a single image the
covariance is epsilon I.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from arch.base import LAYER_NETS, NORMAL_ONLY, ModelBase, Prediction, Runtime
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.records import BatchLoader, ScoringBatch, Task
from models.backbones.backbone import Backbone
from models.common.anomaly_map import mean_anomaly_map
from models.common.gaussian import SingularCovarianceError
from models.padim.net_padim import PaDiMNet, draw_channels

MOST_FEATURES = 550  # channels kept of a net for which no number is given, as of WideResNet-50


class PaDiM(ModelBase):
    """One Gaussian per position over random channels of several layers; nothing is trained by gradient."""

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/padim.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        num_features: int | None  # channels kept; None: all, MOST_FEATURES at the most
        epsilon: float  # added to the variances
        continual: Literal["replace", "merge"]
        transfer: Literal["replace", "merge"]

        def __post_init__(self) -> None:
            if self.num_features is not None and self.num_features < 1:
                raise ValueError(f"_num_features must be at least 1, not {self.num_features}")
            if self.epsilon <= 0:
                raise ValueError(f"_epsilon must be above 0, not {self.epsilon}")

    nets = LAYER_NETS
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would enter its Gaussians"

    net: PaDiMNet
    params: Params
    backbone: Backbone

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, params.layers)
        widths = [self.backbone.channels[layer] for layer in params.layers]
        total = sum(widths)
        count = min(total, MOST_FEATURES) if params.num_features is None else params.num_features
        if count > total:
            raise UserError(
                f"{config.origin['_num_features']}: _num_features is {count}, but {config.run.backbone} has "
                f"{total} channels in {', '.join(params.layers)}; give {total} or fewer"
            )
        self.net = PaDiMNet(widths, draw_channels(total, count, config.run.seed), params.epsilon)
        self.net.to(self.device)

    @torch.no_grad()
    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Fit this task's Gaussians, merged with earlier ones where `_continual` or `_transfer` says so."""
        embeddings = self._embeddings(loader, runtime)
        try:
            if self.later_mode() == "merge":  # from the first task on, whose sums are kept
                self.net.merge(embeddings)
            else:
                self.net.learn(embeddings, loader.num_images)
        except SingularCovarianceError as error:
            raise UserError(f"{self.config.origin['_epsilon']}: {error}; set _epsilon higher") from error

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Upsample and smooth the distances; the worst pixel gives the image score."""
        distance = self.net(batch.maps(self.params.layers))
        anomaly_map = mean_anomaly_map([distance], batch.size)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)

    def _embeddings(self, loader: BatchLoader, runtime: Runtime) -> Iterator[Tensor]:
        with runtime.bar("gaussians", loader.num_images) as bar:
            for batch in loader:
                count, embedding = len(batch.image), self.net.embed(batch.maps(self.params.layers))
                del batch  # and with it the maps
                yield embedding
                bar.update(count)
