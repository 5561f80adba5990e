"""SimpleNet's loss: true patches are judged above a margin, noisy ones below its negative.

Source: Liu et al., "SimpleNet: A Simple Network for Image Anomaly Detection and Localization", CVPR 2023.
"""

from torch import Tensor
from torch.nn import functional as F


def margin_loss(true: Tensor, fake: Tensor, margin: float) -> Tensor:
    """Return the scalar mean max(0, margin - true) + mean max(0, margin + fake) of (R,) judgements."""
    return F.relu(margin - true).mean() + F.relu(margin + fake).mean()
