"""What a method says of images: raw scores, and maps from methods that localise."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_io.records import ScoringBatch


@dataclass(frozen=True)
class Prediction:
    """Raw scores of one batch; higher is more anomalous.

    Args:
        image_score: (B,) float32.
        anomaly_map: (B, H, W) float32 at the size of the input; None from methods without maps.
    """

    image_score: Tensor
    anomaly_map: Tensor | None


@dataclass(frozen=True)
class TaskPrediction:
    """Raw scores of a whole test set, in its order.

    Args:
        image_score: (N,) float32.
        anomaly_map: (N, H, W) float32, or None.
        seconds: time of the scoring itself, with the device synchronised.
    """

    image_score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32] | None
    seconds: float


def check(prediction: Prediction, batch: ScoringBatch, method: str) -> None:
    """Refuse scores of the wrong shape and scores that are not finite.

    Raises:
        ValueError: a shape is wrong.
        FloatingPointError: a score or a map is not finite.
    """
    count, _, height, width = batch.image.shape
    wanted = {"image_score": (count,), "anomaly_map": (count, height, width)}
    for name, shape in wanted.items():
        found: Tensor | None = getattr(prediction, name)
        if found is not None and found.shape != shape:
            raise ValueError(f"{method}: {name} is {tuple(found.shape)}, not {shape}")
        if found is not None and not bool(torch.isfinite(found).all()):
            raise FloatingPointError(f"{method}: {name} of this batch is not finite")
