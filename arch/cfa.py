"""CFA: patch descriptors that are trained to gather around the mean descriptors of normal images.

Source: Lee et al., "CFA: Coupled-hypersphere-based Feature Adaptation for Target-Oriented Anomaly
Localization", IEEE Access 2022, and the authors' code.
Differs from the source: the last epoch is reported, not the best one on the test set; the centres are the
exact mean over images; the last batch of an epoch is used even where it is smaller; maps are not cut to the
range of the test set; the backbone's features end in a plain ReLU (`_features: official` is the authors').
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction, Runtime
from arch.kinds.gradient import GradientMethod
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.records import BatchLoader, ScoringBatch, Task, TrainBatch, derive_seed
from loss_function.coupled_hypersphere import coupled_hypersphere_loss
from models.backbones.backbone import Backbone
from models.cfa.leaky_backbone import RESNETS, LeakyBackbone
from models.cfa.net_cfa import CFANet
from models.common.anomaly_map import mean_anomaly_map


class CFA(GradientMethod):
    """Train the descriptor and the radius; the centres are those of the first descriptor and stay.

    The next task of a continual run, or the target of a transfer, starts anew (replace), or goes on with the
    descriptor and new centres (finetune), or adds centres to a descriptor that stays (append, not published).
    """

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/cfa.yaml that begin with an underscore."""

        layers: tuple[str, ...]
        features: Literal["official", "standard"]
        gamma_c: int  # positions per centre
        gamma_d: int  # channels of the feature maps per channel of a descriptor
        num_neighbors: int  # centres that attract, and that score
        num_hard_negatives: int  # centres that repel
        radius: float  # first value
        alpha: float
        nu: float
        lr: float
        weight_decay: float
        continual: Literal["replace", "finetune", "append"]
        transfer: Literal["replace", "finetune", "append"]

        def __post_init__(self) -> None:
            if min(self.gamma_c, self.gamma_d, self.num_neighbors, self.num_hard_negatives) < 1:
                raise ValueError(
                    "_gamma_c, _gamma_d, _num_neighbors and _num_hard_negatives must be at least 1"
                )
            if self.radius < 0:
                raise ValueError(f"_radius must be at least 0, not {self.radius}")

    nets = ("net_cfa", *LAYER_NETS)
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would enter its centres"

    net: CFANet
    params: Params
    backbone: Backbone

    @classmethod
    def unsupported(cls, config: RunConfig, params: Params) -> str | None:
        """Return why there are no official features of this backbone; None if there are or need not be."""
        if params.features == "official" and config.run.backbone not in RESNETS:
            return f"_features: official exists for {' and '.join(RESNETS)}; use standard"
        return None

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        backbone = LeakyBackbone if params.features == "official" else Backbone
        self.backbone = backbone(config.run.backbone, params.layers)
        channels = [self.backbone.channels[layer] for layer in params.layers]
        width = max(1, sum(channels) // params.gamma_d)
        self.net = CFANet(channels, width, params.radius, params.num_neighbors).to(self.device)

    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Set the centres by the mean feature maps of the training images.

        Raises:
            UserError: there are fewer centres than attract and repel.
        """
        maps = self._mean_maps(loader, runtime)
        num_positions = maps[0].shape[2] * maps[0].shape[3]
        seed = derive_seed(task.seed, task.setting, task.id, task.step, "centres") % 2**32
        num_centres = max(1, num_positions // self.params.gamma_c)
        needed = self.params.num_neighbors + self.params.num_hard_negatives
        if needed > num_centres:
            raise UserError(
                f"cfa: _num_neighbors and _num_hard_negatives need {needed} centres, and there are "
                f"{num_centres}; lower them or _gamma_c"
            )
        self.net.set_centres(maps, num_centres, seed, append=self.mode(task) == "append")

    def num_epochs(self, task: Task) -> int:
        """Return the passes over the training images; none where only centres are added."""
        return 0 if self.mode(task) == "append" else super().num_epochs(task)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return AdamW with the long-term maximum of AMSGrad, for the descriptor and the radius."""
        params = self.params
        return [AdamW(self.net.parameters(), lr=params.lr, weight_decay=params.weight_decay, amsgrad=True)]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the attraction by the nearest centres and the repulsion by the next ones."""
        params = self.params
        distance = self.net.distance(
            batch.maps(params.layers), params.num_neighbors + params.num_hard_negatives
        )
        return coupled_hypersphere_loss(
            distance, self.net.radius, params.num_neighbors, params.alpha, params.nu
        )

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Upsample and smooth the patch scores; the highest pixel gives the image score."""
        patch_score = self.net(batch.maps(self.params.layers))
        anomaly_map = mean_anomaly_map([patch_score], batch.size)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)

    @torch.no_grad()
    def _mean_maps(self, loader: BatchLoader, runtime: Runtime) -> list[Tensor]:
        """Return the (1, C_l, h_l, w_l) mean feature maps of the training images."""
        sums: list[Tensor] = []
        with runtime.bar("centres", loader.num_images) as bar:
            for batch in loader:
                parts = [maps.double().sum(0, keepdim=True) for maps in batch.maps(self.params.layers)]
                sums = [held + part for held, part in zip(sums, parts, strict=True)] if sums else parts
                bar.update(len(batch.image))
        return [(held / loader.num_images).float() for held in sums]
