"""Example: the anomaly score of a pixel is its error in an autoencoder, in units of the expected error.

Source: a baseline of this project, not from a paper. Differs from the source: nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from arch.base import NORMAL_ONLY, Prediction
from arch.kinds.gradient import GradientMethod
from configuration.config import RunConfig
from data_io.records import ScoringBatch, TrainBatch
from models._example.net_example import ExampleNet


class Example(GradientMethod):
    """A small autoencoder; the next task of a continual or transfer run goes on from its weights."""

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/_example.yaml that begin with an underscore."""

        width: int  # channels of the first layer
        code_channels: int
        lr: float
        smoothing: int  # pixels, odd; side of the square that the map is averaged over

        def __post_init__(self) -> None:
            if min(self.width, self.code_channels) < 1:
                raise ValueError("_width and _code_channels must be at least 1")
            if self.smoothing < 1 or self.smoothing % 2 == 0:
                raise ValueError(f"_smoothing must be odd, not {self.smoothing}")

    nets = ("net_example",)
    settings = NORMAL_ONLY
    setting_reason = "it learns to restore normal images alone, labelled anomalies would be restored as well"
    net: ExampleNet
    params: Params

    @classmethod
    def unsupported(cls, config: RunConfig, params: Params) -> str | None:
        """Return why the net cannot halve an image of this size three times; None if it can."""
        side = config.data.data_crop_size
        return f"data_crop_size must be a multiple of 8, not {side}" if side % 8 else None

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.net = ExampleNet(params.width, params.code_channels).to(self.device)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for the whole net."""
        return [Adam(self.net.parameters(), lr=self.params.lr)]

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the negative log-likelihood of the images."""
        return self.net.negative_log_likelihood(batch.image)

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Average the relative error over colours and neighbours; the worst pixel gives the image score."""
        error, log_scale = self.net(batch.image)
        relative = (error * torch.exp(-log_scale)).mean(dim=1)
        side = self.params.smoothing
        anomaly_map = F.avg_pool2d(relative, side, stride=1, padding=side // 2, count_include_pad=False)
        return Prediction(image_score=anomaly_map.amax(dim=(1, 2)), anomaly_map=anomaly_map)
