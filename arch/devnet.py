"""DevNet: scores of labelled anomalies are pushed away from what a prior expects of normal images.

Source: Pang et al., "Explainable Deep Few-shot Anomaly Detection with Deviation Networks", arXiv 2108.00462,
2021, and the authors' code.
Differs from the source: the maps of the gradient keep their scale, so that those of several images can be
compared (the authors stretch each to 0..1, and measure each by itself); the anomalies are drawn as in every
semi-supervised run here.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from arch.base import LAYER_NETS, Prediction
from arch.kinds.labelled import LabelledMethod
from augmentation.rotation import rotate_at_random
from configuration.config import RunConfig
from data_io.records import ScoringBatch, TrainBatch
from models.common.anomaly_map import mean_anomaly_map
from models.devnet.net_devnet import DeviationNet


class DevNet(LabelledMethod):
    """Train trunk and head on batches of which half are labelled anomalies."""

    @dataclass(frozen=True)
    class Params(LabelledMethod.Params):
        """The keys of 1_model_base/devnet.yaml that begin with an underscore."""

        map: Literal["gradient", "instance", "none"]

    nets = ("net_devnet", *LAYER_NETS)
    setting_reason = "it needs labelled anomalies: run with --semi and --semi-anomaly-num >= 1"
    anomaly_every = 2

    net: DeviationNet
    params: Params

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config, params)
        self.needs_grad = params.map == "gradient"
        self.localizes = params.map != "none"
        self.net = DeviationNet(self.backbone, params.n_scales, params.topk).to(self.device)

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the loss of the scores of rotated images."""
        assert batch.image_label is not None
        score = self.net(rotate_at_random(batch.image, self.params.rotation))
        return self.criterion(score, batch.image_label)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score by the instances that stand out most; the map is the smoothed gradient, or the instances."""
        if self.params.map == "gradient":
            image_score, gradient = self.net.explain(batch.image)
            return Prediction(image_score, mean_anomaly_map([gradient], batch.size))
        instance_score = self.net.instances(batch.image)
        anomaly_map = None
        if self.params.map == "instance":
            anomaly_map = mean_anomaly_map([level.abs() for level in instance_score], batch.size, sigma=0)
        return Prediction(self.net.pool(instance_score), anomaly_map)
