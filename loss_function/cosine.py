"""Reverse distillation's loss: how far the student's feature maps turn away from the teacher's.

Source: Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022,
equations 1 and 2 (a cosine per position), and the authors' code (one cosine of the whole map).
"""

from collections.abc import Sequence

from torch import Tensor

EPSILON = 1e-8  # smallest product of two norms


def cosine_distance(first: Tensor, second: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Return 1 - the cosine of the vectors along `dim`, in float32 whatever the precision of the inputs."""
    first, second = first.float(), second.float()
    squared_norms = first.square().sum(dim) * second.square().sum(dim)
    return 1 - (first * second).sum(dim) * squared_norms.clamp_min(EPSILON**2).rsqrt()


def flattened_loss(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Return the scalar sum over levels of the mean distance of whole maps (B, C, h, w), each one vector."""
    return _summed(teacher, student, (1, 2, 3))


def pixel_loss(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Return the scalar sum over levels of the mean distance at the positions of (B, C, h, w) maps."""
    return _summed(teacher, student, (1,))


def _summed(teacher: Sequence[Tensor], student: Sequence[Tensor], dim: tuple[int, ...]) -> Tensor:
    first, *others = (
        cosine_distance(one, other, dim).mean() for one, other in zip(teacher, student, strict=True)
    )
    return sum(others, start=first)
