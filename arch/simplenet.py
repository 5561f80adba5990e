"""SimpleNet: a discriminator tells patch features from the same with Gaussian noise.

Source: Liu et al., "SimpleNet: A Simple Network for Image Anomaly Detection and Localization", CVPR 2023, and
the authors' code.
Differs from the source: the last epoch is reported, not the best one on the test set; inputs are resized to
256 pixels (the authors' script resizes to 329 and crops 288).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction
from arch.kinds.gradient import GradientMethod
from configuration.config import RunConfig
from data_io.records import ScoringBatch, Task, TrainBatch
from loss_function.margin import margin_loss
from models.backbones.backbone import Backbone
from models.common.anomaly_map import mean_anomaly_map
from models.common.patch_embedding import PatchEmbedding
from models.simplenet.net_simplenet import SimpleNetHeads, draw_noise

DISCRIMINATOR_WEIGHT_DECAY = 1e-5  # as in the authors' code; the adaptor has AdamW's default


class SimpleNet(GradientMethod):
    """Train adaptor and discriminator; `num_epochs` counts the authors' meta epochs of several passes.

    The next task of a continual run, or the target of a transfer, goes on from the weights and the batch
    statistics that there are (finetune), or starts anew (replace).
    """

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/simplenet.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        patch_size: int  # side of the neighbourhood, in feature map cells
        pretrain_embed_dimension: int
        target_embed_dimension: int
        gan_epochs: int  # passes over the training images per epoch
        noise_std: float
        mix_noise: int  # number of noise scales
        dsc_hidden: int
        dsc_margin: float
        dsc_lr: float
        adaptor_lr: float
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            if self.patch_size < 1 or self.patch_size % 2 == 0:
                raise ValueError(f"_patch_size must be odd, not {self.patch_size}")
            for key in (
                "pretrain_embed_dimension",
                "target_embed_dimension",
                "gan_epochs",
                "mix_noise",
                "dsc_hidden",
            ):
                if getattr(self, key) < 1:
                    raise ValueError(f"_{key} must be at least 1, not {getattr(self, key)}")
            if self.noise_std < 0:
                raise ValueError(f"_noise_std must be at least 0, not {self.noise_std}")

    nets = LAYER_NETS
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, its anomalies are made of noise"

    net: SimpleNetHeads
    params: Params
    backbone: Backbone

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, params.layers)
        self.embedding = PatchEmbedding(
            [self.backbone.channels[layer] for layer in params.layers],
            params.patch_size,
            params.pretrain_embed_dimension,
            params.target_embed_dimension,
        ).to(self.device)
        self.net = SimpleNetHeads(params.target_embed_dimension, params.dsc_hidden).to(self.device)

    def num_epochs(self, task: Task) -> int:
        """Return the passes over the training images."""
        return super().num_epochs(task) * self.params.gan_epochs

    def optimizers(self) -> Sequence[Optimizer]:
        """Return one optimiser for the adaptor and one for the discriminator."""
        return [
            AdamW(self.net.adaptor.parameters(), lr=self.params.adaptor_lr),
            Adam(
                self.net.discriminator.parameters(),
                lr=self.params.dsc_lr,
                weight_decay=DISCRIMINATOR_WEIGHT_DECAY,
            ),
        ]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the loss of the discriminator on patch features as they are and with noise."""
        patch_feature = self._patch_feature(batch)
        noise = draw_noise(patch_feature, self.params.noise_std, self.params.mix_noise)
        true, fake = self.net.judge_with_noise(patch_feature, noise)
        return margin_loss(true, fake, self.params.dsc_margin)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Upsample and smooth the patch scores; the worst patch gives the image score."""
        count, _, height, width = batch.features[self.params.layers[0]].shape
        patch_score = -self.net(self._patch_feature(batch)).view(count, height, width)
        anomaly_map = mean_anomaly_map([patch_score], batch.size)
        return Prediction(image_score=patch_score.amax(dim=(1, 2)), anomaly_map=anomaly_map)

    @torch.no_grad()
    def _patch_feature(self, batch: ScoringBatch) -> Tensor:
        """Return the (B * h * w, D) patch features of a batch, image by image."""
        return self.embedding(batch.maps(self.params.layers))
