"""CS-Flow: how unlikely an image's features at three scales are under one flow that couples the scales.

Source: Rudolph et al., "Fully Convolutional Cross-Scale-Flows for Image-based Defect Detection", WACV 2022,
and the authors' code.
Differs from the source: EfficientNet-B5 is torchvision's, which pads evenly on both sides; the channels are
permuted by the run's seed; latent values are not cut at 1e6, a flow that diverges stops the run; the last
epoch is reported, not the best one on the test set.
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
from models.common.anomaly_map import level_maps
from models.csflow.net_csflow import CSFlowNet, mean_energy
from models.csflow.pyramid_backbone import PyramidBackbone


class CSFlow(GradientMethod):
    """Train one flow through all scales on cached features.

    The next task of a continual run, or the target of a transfer, goes on from the flow that there is
    (finetune), or starts anew (replace).
    """

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/csflow.yaml that begin with an underscore."""

        layer: str  # of the backbone
        n_scales: int
        n_coupling_blocks: int
        fc_internal: int  # channels inside the subnets
        clamp: float  # bound on the logarithm of the scales
        map_mode: Literal["largest", "product", "mean"]
        lr: float
        weight_decay: float
        adam_eps: float
        grad_clip: float | None  # largest norm of the gradient; null for no bound
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            if min(self.n_scales, self.n_coupling_blocks, self.fc_internal) < 1:
                raise ValueError("_n_scales, _n_coupling_blocks and _fc_internal must be at least 1")
            if min(self.clamp, self.adam_eps) <= 0 or (self.grad_clip is not None and self.grad_clip <= 0):
                raise ValueError("_clamp, _adam_eps and _grad_clip must be above 0")

    nets = ("net_csflow", "efficientnet_b5", *LAYER_NETS)
    settings = NORMAL_ONLY
    setting_reason = "it learns the density of normal images alone, labelled anomalies would become likely"

    net: CSFlowNet
    params: Params
    backbone: PyramidBackbone

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.gradient_clip = params.grad_clip
        self.backbone = PyramidBackbone(config.run.backbone, params.layer, params.n_scales)
        side, scales = config.data.data_crop_size, range(params.n_scales)
        smallest = self.backbone.stride << scales[-1]  # image of which the last scale has one cell
        if side % smallest:
            raise ValueError(
                f"data_crop_size {side} must be a multiple of {smallest}, for {len(scales)} scales"
            )
        self.net = CSFlowNet(
            self.backbone.width,
            [(side // self.backbone.stride) >> scale for scale in scales],
            params.n_coupling_blocks,
            params.fc_internal,
            params.clamp,
        ).to(self.device)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for the flow."""
        params = self.params
        return [
            Adam(
                self.net.parameters(),
                lr=params.lr,
                eps=params.adam_eps,  # of weight beside the gradients of a mean over all elements
                weight_decay=params.weight_decay,
                fused=True,
            )
        ]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the negative log-likelihood per element of the features."""
        latents, log_det = self.net(batch.maps(self.backbone.layers))
        return flow_loss(latents, log_det) / sum(latent[0].numel() for latent in latents)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Give the mean energy as the image score; a cell of the map is the energy over its channels."""
        latents, _ = self.net(batch.maps(self.backbone.layers))
        scores = [latent.square().mean(dim=1) for latent in latents]
        shown = scores[:1] if self.params.map_mode == "largest" else scores
        maps = level_maps(shown, batch.size, sigma=0)
        anomaly_map = maps.prod(0) if self.params.map_mode == "product" else maps.mean(0)
        return Prediction(image_score=mean_energy(latents), anomaly_map=anomaly_map)
