"""FAVAE: a variational autoencoder that reconstructs an image and a teacher's features of it.

Source: Dehaene and Eline, "Anomaly localization by modeling perceptual features", arXiv 2008.05369, 2020. The
authors published no code; what the paper leaves open follows the best-known reimplementation.
Differs from the source: the teacher sees images normalised as its weights want them; training images are not
augmented; the decoder runs once per step; maps are raw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction
from arch.kinds.gradient import GradientMethod
from arch.kinds.held_out import HeldOut, HeldOutParams
from configuration.config import RunConfig
from data_io.records import ScoringBatch, TrainBatch
from loss_function.variational import divergence_from_standard_normal, squared_error
from models.backbones.backbone import Backbone
from models.common.anomaly_map import level_maps
from models.favae.net_favae import FAVAENet, Reconstruction


class FAVAE(GradientMethod):
    """Train the autoencoder; keep the epoch with the smallest loss on the images held out.

    The next task of a continual run, or the target of a transfer, goes on from the weights and the batch
    statistics that there are (finetune), or starts anew (replace).
    """

    @dataclass(frozen=True)
    class Params(HeldOutParams):
        """The keys of 1_model_base/favae.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        pixel_target: Literal["unit", "normalized"]
        teacher_input: Literal["normalized", "unit"]
        kld_weight: float
        lr: float
        weight_decay: float
        patience: int | None  # epochs
        sigma: float  # pixels
        smoothing: Literal["2d", "rows"]
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.patience is not None and self.patience < 1:
                raise ValueError(f"_patience must be at least 1 or null, not {self.patience}")
            if self.sigma < 0:
                raise ValueError(f"_sigma must not be negative, as {self.sigma} is")

    nets = ("net_favae", "vgg16", *LAYER_NETS)
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would be reconstructed as well"

    net: FAVAENet
    backbone: Backbone
    params: Params

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.held_out = HeldOut(self.held_out_error, params.val_fraction, params.patience)
        self.backbone = backbone = Backbone(config.run.backbone, params.layers)
        self.pixel_mean, self.pixel_std = (
            value.to(self.device, copy=True) for value in (backbone.mean, backbone.std)
        )
        if params.teacher_input == "unit":
            backbone.skip_normalisation()
        channels = [backbone.channels[layer] for layer in params.layers]
        strides = [backbone.strides[layer] for layer in params.layers]
        self.net = FAVAENet(config.data.data_crop_size, channels, strides).to(self.device)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for the autoencoder and the adapters."""
        return [Adam(self.net.parameters(), lr=self.params.lr, weight_decay=self.params.weight_decay)]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the squared errors of pixels and features and the divergence of the codes, summed."""
        errors, found = self._errors(batch)
        divergence = divergence_from_standard_normal(found.mean, found.log_variance)
        return torch.stack([error.sum() for error in errors]).sum() + self.params.kld_weight * divergence

    def held_out_error(self, batch: TrainBatch) -> Tensor:
        """Return the loss, with the codes' means in place of draws."""
        return self.loss(batch)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Enlarge, smooth and add the errors of all levels; the highest pixel gives the image score."""
        errors, _ = self._errors(batch)
        sigma = self.params.sigma
        sides = (sigma, sigma) if self.params.smoothing == "2d" else (0.0, sigma)
        anomaly_map = level_maps(errors, batch.size, sides).sum(0)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)

    def _errors(self, batch: ScoringBatch) -> tuple[list[Tensor], Reconstruction]:
        """Return the (B, h, w) squared errors of the pixels and of each map, summed over channels."""
        image = batch.image
        if self.params.pixel_target == "normalized":
            image = (image - self.pixel_mean) / self.pixel_std
        found = self.net(image)
        targets = [image, *batch.maps(self.params.layers)]
        pairs = zip([found.image, *found.features], targets, strict=True)
        return [squared_error(one, other) for one, other in pairs], found
