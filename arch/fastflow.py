"""FastFlow: the anomaly score of a patch is how unlikely its features are under a 2D normalizing flow.

Source: Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows",
arXiv:2111.07677, 2021, and the best-known public implementation, as there is none of the authors'.
Differs from the source: the last epoch is reported, not the best one on the test set; the last batch of an
epoch is used even where it is smaller; in place of DeiT and CaiT stands vit_b_16, the patch tokens of whose
block 9 are normalised like the maps of a ResNet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.optim import Adam, Optimizer

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction
from arch.kinds.gradient import GradientMethod
from configuration.config import RunConfig
from data_io.records import ScoringBatch, TrainBatch
from loss_function.flow import flow_loss
from models.backbones.backbone import Backbone
from models.common.anomaly_map import mean_anomaly_map
from models.fastflow.net_fastflow import FastFlowNet, cell_scores


class FastFlow(GradientMethod):
    """Train one flow per feature map on cached features.

    The next task of a continual run, or the target of a transfer, goes on from the flows that there are
    (finetune), or starts anew (replace).
    """

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/fastflow.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        flow_steps: int  # blocks per feature map
        hidden_ratio: float  # channels inside a subnet per channel that it looks at
        conv3x3_only: bool
        norm_affine: bool
        clamp: float  # bound on the logarithm of a coupling's scales
        lr: float
        weight_decay: float
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            if self.flow_steps < 1:
                raise ValueError(f"_flow_steps must be at least 1, not {self.flow_steps}")
            if min(self.hidden_ratio, self.clamp) <= 0:
                raise ValueError("_hidden_ratio and _clamp must be above 0")

    nets = ("net_fastflow", *LAYER_NETS, "vit_b_16")
    settings = NORMAL_ONLY
    setting_reason = "it learns the density of normal images alone, labelled anomalies would become likely"

    net: FastFlowNet
    params: Params
    backbone: Backbone

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, params.layers)
        side = config.data.data_crop_size
        self.net = FastFlowNet(
            list(self.backbone.shapes((side, side)).values()),
            params.flow_steps,
            params.hidden_ratio,
            params.conv3x3_only,
            params.norm_affine,
            params.clamp,
        ).to(self.device)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for the norms and the flows."""
        params = self.params
        return [Adam(self.net.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True)]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the negative log-likelihood of the features, a sum over maps, channels and cells."""
        return flow_loss(*self.net(batch.maps(self.params.layers)))

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Average the upsampled scores of the maps; the highest pixel gives the image score."""
        latents, _ = self.net(batch.maps(self.params.layers))
        anomaly_map = mean_anomaly_map([cell_scores(latent) for latent in latents], batch.size, sigma=0)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)
