"""Reverse distillation: a decoder restores the teacher's feature maps from a narrow embedding of them.

It learns to do so for normal images alone, so that where the two differ something is anomalous.
Source: Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022, and the
authors' code.
Differs from the source: no gradient is computed for the teacher, which is fixed there too; layers that the
authors create and never run are left out; net_tiny and the timm models that `MIRRORS` lacks are mirrored as
ResNet-18 is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction
from arch.kinds.gradient import GradientMethod
from configuration.config import RunConfig
from data_io.records import ScoringBatch, TrainBatch
from loss_function.cosine import cosine_distance, flattened_loss, pixel_loss
from models.backbones.backbone import Backbone
from models.common.anomaly_map import level_maps, mean_anomaly_map
from models.common.folding import folded
from models.reverse.net_reverse import LEAST_SIDE, STRIDES, ReverseNet, mirror_of

LAYERS = ("layer1", "layer2", "layer3")
LOSSES = {"flatten": flattened_loss, "pixel": pixel_loss}


class ReverseDistillation(GradientMethod):
    """Train embedding and decoder; the teacher's maps of a training image are computed once.

    The next task of a continual run, or the target of a transfer, goes on from the weights, the batch
    statistics and the moments of Adam that there are (finetune), or starts anew (replace).
    """

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/reverse.yaml that begin with an underscore."""

        loss: Literal["flatten", "pixel"]
        map_mode: Literal["add", "mul"]
        sigma: float  # of the Gaussian that smooths the map, in pixels
        ocbe_width: int
        base_lr: float
        beta1: float
        beta2: float
        weight_decay: float
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            if self.sigma < 0:
                raise ValueError(f"_sigma must be at least 0, not {self.sigma}")
            if self.ocbe_width < 1:
                raise ValueError(f"_ocbe_width must be at least 1, not {self.ocbe_width}")

    nets = ("net_reverse", *LAYER_NETS)
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would be learnt as normal"

    net: ReverseNet
    params: Params
    backbone: Backbone

    @classmethod
    def unsupported(cls, config: RunConfig, params: Params) -> str | None:
        """Return why the decoder cannot restore maps of this size, or has no such width; None if it can."""
        side = config.data.data_crop_size
        if side < 2 * LEAST_SIDE or side % LEAST_SIDE:
            return f"data_crop_size {side}: net_reverse takes a multiple of {LEAST_SIDE}, and at least 64"
        mirror = mirror_of(config.run.backbone)
        width = params.ocbe_width
        if not mirror.has_bottlenecks and width != mirror.base_width:
            return f"_ocbe_width {width}: for {config.run.backbone} there are no bottlenecks; leave it 64"
        return None

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, LAYERS)
        strides = tuple(self.backbone.strides[layer] for layer in LAYERS)
        if strides != STRIDES:
            raise ValueError(
                f"{self.backbone.name} has maps of strides {strides}, and it takes {STRIDES} pixels"
            )
        channels = [self.backbone.channels[layer] for layer in LAYERS]
        mirror = mirror_of(config.run.backbone)
        self.net = ReverseNet(channels, mirror, params.ocbe_width).to(self.device)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for the whole net."""
        params = self.params
        betas = (params.beta1, params.beta2)
        return [
            Adam(self.net.parameters(), params.base_lr, betas, weight_decay=params.weight_decay, fused=True)
        ]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return how far the restored maps turn away from the teacher's."""
        maps = self._maps(batch)
        return LOSSES[self.params.loss](maps, self.net(maps))

    def scoring_net(self) -> ReverseNet:
        """Return a copy whose norms are folded."""
        return folded(self.net)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Upsample, join and smooth the levels' cosine distances; the highest pixel gives the image score."""
        maps = self._maps(batch)
        levels = [cosine_distance(one, other, (1,)) for one, other in zip(maps, self.net(maps), strict=True)]
        anomaly_map = self.joined(levels, batch.size)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)

    def joined(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return the smoothed (B, H, W) sum or product of levels (B, h_l, w_l)."""
        sigma = self.params.sigma
        if self.params.map_mode == "add":  # then the levels may be smoothed one by one, at a lower cost
            return level_maps(levels, size, sigma, align_corners=True).sum(0)
        product = level_maps(levels, size, sigma=0, align_corners=True).prod(0)
        return mean_anomaly_map([product], size, sigma)

    def _maps(self, batch: ScoringBatch) -> list[Tensor]:
        return [maps.contiguous(memory_format=torch.channels_last) for maps in batch.maps(LAYERS)]
