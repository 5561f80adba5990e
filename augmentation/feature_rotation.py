"""Feature rotation (`-ffa`): more patch features out of a few images, by rotating their feature maps."""

import torch
from torch import Tensor

ANGLES = (45, 135, 225)  # degrees, counter-clockwise


def rotate_features(feature_map: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maps rotated about their centre by each of `ANGLES`, and where they are valid.

    A rotated map keeps its size: what turns out of it is lost, and what turns into it is no feature. A memory
    bank takes the valid rows only, `maps.permute(0, 2, 3, 1)[valid]`, so that no blank corner enters it.

    Args:
        feature_map: (B, C, h, w) float.

    Returns:
        maps (3B, C, h, w), angle after angle, by bilinear interpolation; and valid (3B, h, w), True where all
        that was interpolated lies inside the original map.
    """
    inside = torch.ones_like(feature_map[:, :1])
    rotated = torch.cat([_rotate(feature_map, angle) for angle in ANGLES])
    weight = torch.cat([_rotate(inside, angle) for angle in ANGLES])[:, 0]
    return rotated, weight > 1 - 1e-4  # the weights of the neighbours inside; 1 up to rounding


def with_rotations(patch_feature: Tensor, height: int, width: int) -> Tensor:
    """Return patch features followed by those of the rotated maps, the same number for every image.

    Args:
        patch_feature: (B * h * w, D) rows, image-major.
        height: of the map, h.
        width: of the map, w.
    """
    maps = patch_feature.unflatten(0, (-1, height, width)).permute(0, 3, 1, 2)
    rotated, valid = rotate_features(maps)
    return torch.cat([patch_feature, rotated.permute(0, 2, 3, 1)[valid]])


def _rotate(maps: Tensor, angle: float) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode, functional  # takes seconds, and few runs rotate

    rotated: Tensor = functional.rotate(maps, angle, interpolation=InterpolationMode.BILINEAR)
    return rotated
