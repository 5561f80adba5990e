"""Focal loss of two classes per pixel. Source: Lin et al., ICCV 2017, with the smoothing of DRAEM's code."""

from torch import Tensor

GAMMA = 2.0  # exponent that plays down what is easy
SMOOTHING = 1e-5  # how far the targets stay away from 0 and 1


def focal_loss(probability: Tensor, mask: Tensor) -> Tensor:
    """Return the mean loss, a scalar.

    Args:
        probability: (B, 2, H, W) of normal and defective; they add up to 1.
        mask: (B, H, W), 1 where a pixel is defective, else 0.
    """
    normal, defective = probability.unbind(1)
    true, false = normal.lerp(defective, mask), defective.lerp(normal, mask)
    likelihood = (1 - SMOOTHING) * true + SMOOTHING * false + SMOOTHING
    return (-((1 - likelihood) ** GAMMA) * likelihood.log()).mean()
