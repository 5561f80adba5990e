"""STPM: a student learns to imitate a teacher on normal images; where it fails, there is an anomaly.

Source: Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021, and the
authors' code.
Differs from the source: nothing is held out where images are few (see `HeldOut`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.optim import SGD, Optimizer

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction
from arch.kinds.gradient import GradientMethod
from arch.kinds.held_out import HeldOut, HeldOutParams
from configuration.config import RunConfig
from data_io.records import ScoringBatch, TrainBatch
from loss_function.feature_matching import MatchingLoss, matching_loss
from models.backbones.backbone import Backbone
from models.stpm.net_stpm import STPMNet, product_map, resized


class STPM(GradientMethod):
    """Train a student of the teacher's architecture; keep the epoch with the smallest held-out maps.

    The next task of a continual run, or the target of a transfer, goes on with the student that there is
    (finetune), or with a new one (replace).
    """

    @dataclass(frozen=True)
    class Params(HeldOutParams):
        """The keys of 1_model_base/stpm.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        student_init: Literal["random", "zero_residual", "pretrained"]
        loss: MatchingLoss
        lr: float
        momentum: float
        weight_decay: float
        map_base_size: int | Literal["input"]  # pixels
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.map_base_size != "input" and self.map_base_size < 1:
                raise ValueError(f"_map_base_size must be at least 1 or input, not {self.map_base_size}")

    nets = LAYER_NETS
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would be imitated as well"

    net: STPMNet
    backbone: Backbone
    params: Params

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.held_out = HeldOut(self.held_out_error, params.val_fraction)
        self.backbone = Backbone(config.run.backbone, params.layers)
        self.net = STPMNet(config.run.backbone, params.layers).to(self.device)
        if params.student_init == "zero_residual":
            self.net.silence_residuals()

    def freeze_backbone(self) -> None:
        """Start the student from the teacher where the key says so, before the teacher's norms are folded."""
        if self.params.student_init == "pretrained":
            self.net.student.load_state_dict(self.backbone.state_dict())
        super().freeze_backbone()

    def optimizers(self) -> Sequence[Optimizer]:
        """Return stochastic gradient descent for the student."""
        params = self.params
        return [
            SGD(
                self.net.parameters(),
                lr=params.lr,
                momentum=params.momentum,
                weight_decay=params.weight_decay,
            )
        ]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the distance between the student's and the teacher's features."""
        return matching_loss(self._distances(batch), self.params.loss)

    def held_out_error(self, batch: TrainBatch) -> Tensor:
        """Return the sum of the images' mean products."""
        return self._product(batch).mean(dim=(1, 2)).sum()

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Enlarge the product of the levels' distances; the highest pixel gives the image score."""
        anomaly_map = resized(self._product(batch), batch.size)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)

    def _product(self, batch: ScoringBatch) -> Tensor:
        side = self.params.map_base_size
        return product_map(self._distances(batch), batch.size if side == "input" else (side, side))

    def _distances(self, batch: ScoringBatch) -> list[Tensor]:
        """Return the (B, h, w) distances of all layers."""
        return list(self.net(batch.image, batch.maps(self.params.layers)))
