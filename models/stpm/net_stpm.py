"""STPM net: a student that imitates the feature maps of a teacher, and the map of where it fails."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.backbone import Backbone

# classes of residual blocks and the norms that end their branches, in torchvision, timm and net_tiny
LAST_NORMS = (("BasicBlock", "bn2"), ("Bottleneck", "bn3"), ("SeparableBlock", "norm2"))


class STPMNet(nn.Module):
    """The student: the teacher's architecture with weights of its own.

    Args:
        name: of the backbone.
        layers: whose maps are imitated.
    """

    def __init__(self, name: str, layers: Sequence[str]) -> None:
        super().__init__()
        self.student = Backbone(name, layers).to(memory_format=torch.channels_last)

    def silence_residuals(self) -> None:
        """Let every residual block start as the identity, by a last norm whose weights are 0.

        Raises:
            ValueError: the student has no residual block of a known kind.
        """
        norms = [
            getattr(block, norm)
            for block in self.student.modules()
            for kind, norm in LAST_NORMS
            if type(block).__name__ == kind and hasattr(block, norm)
        ]
        if not norms:
            raise ValueError(f"{self.student.name} has no residual blocks whose last norm is known")
        for norm in norms:
            nn.init.zeros_(norm.weight)

    def forward(self, image: Tensor, teacher_maps: Sequence[Tensor]) -> list[Tensor]:
        """Return how far the student's features point away from the teacher's.

        Args:
            image: (B, 3, H, W) in [0, 1].
            teacher_maps: (B, C_l, h_l, w_l) of each layer.

        Returns:
            (B, h_l, w_l) squared distances of each layer, from 0 to 4.
        """
        student_maps = self.student(image).values()
        return [direction_distance(*maps) for maps in zip(teacher_maps, student_maps, strict=True)]


def direction_distance(first: Tensor, second: Tensor) -> Tensor:
    """Map two feature maps (B, C, h, w) to the (B, h, w) squared distances of their directions, from 0 to 4.

    They are float32 whatever the maps are: half precision has too few digits for small ones.
    """
    return (_direction(first) - _direction(second)).square().sum(1)


def _direction(maps: Tensor) -> Tensor:
    """Scale the features at each position to length 1; sums over channels are fastest if these come last."""
    return F.normalize(maps.float().contiguous(memory_format=torch.channels_last), dim=1)


def product_map(distances: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Return the (B, H, W) product of the distances (B, h_l, w_l) of all layers, each resized to (H, W)."""
    product = resized(distances[0], size)
    for distance in distances[1:]:
        product = product * resized(distance, size)
    return product


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, h, w) to (B, H, W), bilinearly."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear")[:, 0]
