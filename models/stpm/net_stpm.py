"""STPM net: a student that imitates the feature maps of a teacher, and the map of where it fails."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.common.backbone import Backbone

Size = tuple[int, int]


class STPMNet(nn.Module):
    """The student: the teacher's architecture with weights of its own, channels last for speed.

    Args:
        name: of the backbone.
        layers: whose maps are imitated.
    """

    def __init__(self, name: str, layers: Sequence[str]) -> None:
        super().__init__()
        self.student = Backbone(name, layers).to(memory_format=torch.channels_last)

    def copy_teacher(self, teacher: Backbone) -> None:
        """Start from the weights of a teacher that is not frozen yet."""
        self.student.load_state_dict(teacher.state_dict())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, H, W) image in [0, 1] to the student's feature maps (B, C, h, w) by layer."""
        features: Mapping[str, Tensor] = self.student(image)
        return dict(features)


def product_map(distances: Sequence[Tensor], size: Size) -> Tensor:
    """Return the (B, H, W) product of the distances (B, h, w) of all levels, each resized to (H, W)."""
    product = resized(distances[0], size)
    for distance in distances[1:]:
        product = product * resized(distance, size)
    return product


def resized(maps: Tensor, size: Size) -> Tensor:
    """Resize maps (B, h, w) to (B, H, W), bilinearly."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear")[:, 0]
