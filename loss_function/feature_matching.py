"""STPM's loss: how far the student's features point away from the teacher's.

Source: Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021, section 3.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

MatchingLoss = Literal["official", "paper", "open_iad"]


def matching_loss(distances: Sequence[Tensor], kind: MatchingLoss) -> Tensor:
    """Return the sum over layers of the mean distance, times a factor that the step of descent depends on.

    Args:
        distances: (B, h_l, w_l) squared distances of directions of each layer.
        kind: official: factor 1, as in the authors' code. paper: 1/2. open_iad: B/2, a sum over the batch.
    """
    factor = {"official": 1.0, "paper": 0.5, "open_iad": len(distances[0]) / 2}[kind]
    return factor * torch.stack([distance.mean() for distance in distances]).sum()
