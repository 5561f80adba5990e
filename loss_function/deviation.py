"""Losses that push scores of labelled anomalies up and those of normal images to zero.

Source: Pang et al., "Deep Anomaly Detection with Deviation Networks", KDD 2019, equation 7: the deviation
loss; the others are alternatives of the image version's code (Pang et al., arXiv 2108.00462).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

MARGIN = 5.0  # a of the paper: anomalies deviate by as many standard deviations
NUM_REFERENCES = 5000  # l of the paper: scores that stand for those of normal images
FOCUS = 2.0  # gamma of the focal loss


def deviation_loss(score: Tensor, label: Tensor, reference: Tensor) -> Tensor:
    """Return the scalar mean of (1 - y) |dev| + y max(0, margin - dev), 0 for no score.

    Args:
        score: (B,) scores; dev is their distance to the mean of the references, in standard deviations.
        label: (B,) y: 1 where the score shall be high, 0 where it shall be that of a normal image.
        reference: (R,) scores of a prior of normal images.
    """
    deviation = (score - reference.mean()) / reference.std()
    loss = torch.where(label == 1, F.relu(MARGIN - deviation), deviation.abs())
    return _mean(loss)


def drawn_deviation_loss(score: Tensor, label: Tensor) -> Tensor:
    """Return the deviation loss to references that are drawn anew from N(0, 1)."""
    return deviation_loss(score, label, torch.randn(NUM_REFERENCES, device=score.device))


def cross_entropy_loss(score: Tensor, label: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of (B,) scores as logits, 0 for no score."""
    return _mean(F.binary_cross_entropy_with_logits(score, label.to(score.dtype), reduction="none"))


def focal_loss(score: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy, each weighted by (1 - p)^2 of its right answer's probability p."""
    cross_entropy = F.binary_cross_entropy_with_logits(score, label.to(score.dtype), reduction="none")
    return _mean((1 - torch.exp(-cross_entropy)) ** FOCUS * cross_entropy)


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "deviation": drawn_deviation_loss,
    "bce": cross_entropy_loss,
    "focal": focal_loss,
}


def _mean(loss: Tensor) -> Tensor:
    return loss.sum() / max(len(loss), 1)
