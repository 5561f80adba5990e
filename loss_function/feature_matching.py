"""Feature matching: how far a student's features point away from its teacher's.

Source: Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021, section 3.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def direction_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Map two feature maps (B, C, h, w) to the (B, h, w) squared distances of their directions, 0 to 4.

    They are float32 whatever the maps are: half precision has too few digits for small distances.
    """
    difference = F.normalize(teacher.float(), dim=1) - F.normalize(student.float(), dim=1)
    return difference.square().sum(1)


def matching_loss(distances: Sequence[Tensor]) -> Tensor:
    """Return the sum over levels of the mean distance; each level has distances (B, h, w)."""
    return sum((distance.mean() for distance in distances), start=distances[0].new_zeros(()))
