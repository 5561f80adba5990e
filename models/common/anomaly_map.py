"""From patch scores to pixels: bilinear upsampling and Gaussian smoothing as one linear map per side.

Source: PatchCore, Roth et al., CVPR 2022, section 3.3 (sigma = 4 pixels); smoothing as scipy's
`gaussian_filter`: cut at 4 sigma, border mirrored with the edge repeated.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sigma = float | tuple[float, float]

# pixels: PatchCore and SPADE, section 3.3; PaDiM, section IV-B; the code of CFA, SimpleNet and DevNet
SIGMA = 4.0

TRUNCATE = 4.0  # standard deviations at which scipy's gaussian_filter cuts the kernel


class AnomalyMapper(nn.Module):
    """Upsample and smooth patch scores: map = A_h S A_w^T, exactly interpolation and then the filter.

    Args:
        grid: (h, w) of the patch scores.
        size: (H, W) of the maps, in pixels.
        sigma: standard deviation of the Gaussian, in pixels of the map; 0 for no smoothing. Two numbers:
            down and across.
        align_corners: put the centres of the corner patches on the corner pixels; else patches have an area,
            and their borders meet those of the map.
    """

    vertical: Tensor  # (H, h)
    horizontal: Tensor  # (w, W)

    def __init__(
        self,
        grid: tuple[int, int],
        size: tuple[int, int],
        sigma: Sigma = SIGMA,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        both = sigma if isinstance(sigma, tuple) else (sigma, sigma)
        vertical, horizontal = (
            _operator(*side, align_corners) for side in zip(grid, size, both, strict=True)
        )
        self.register_buffer("vertical", vertical, persistent=False)
        self.register_buffer("horizontal", horizontal.T, persistent=False)

    def forward(self, patch_score: Tensor) -> Tensor:
        """Map (B, h, w) patch scores to (B, H, W) anomaly maps."""
        with torch.autocast(patch_score.device.type, enabled=False):  # which would round the maps
            return self.vertical @ (patch_score.float() @ self.horizontal)


def level_maps(
    level_scores: Sequence[Tensor], size: tuple[int, int], sigma: Sigma = SIGMA, align_corners: bool = False
) -> Tensor:
    """Return the (L, B, H, W) maps of L levels, each with (B, h_l, w_l) scores."""
    mappers = [AnomalyMapper((s.shape[1], s.shape[2]), size, sigma, align_corners) for s in level_scores]
    return torch.stack([mapper.to(s.device)(s) for mapper, s in zip(mappers, level_scores, strict=True)])


def mean_anomaly_map(level_scores: Sequence[Tensor], size: tuple[int, int], sigma: Sigma = SIGMA) -> Tensor:
    """Return the (B, H, W) mean of the maps of several levels, each with (B, h_l, w_l) scores."""
    return level_maps(level_scores, size, sigma).mean(0)


@lru_cache(maxsize=32)
def _operator(inputs: int, outputs: int, sigma: float, align_corners: bool) -> Tensor:
    """Return the (outputs, inputs) float32 matrix that upsamples and then smooths one side."""
    identity = torch.eye(inputs, dtype=torch.float64)
    upsampling = F.interpolate(identity[None], size=outputs, mode="linear", align_corners=align_corners)[0].T
    return (_smoothing(outputs, sigma) @ upsampling).float()


def _smoothing(length: int, sigma: float) -> Tensor:
    """Return the (length, length) float64 matrix of a Gaussian filter with mirrored borders."""
    if sigma == 0:
        return torch.eye(length, dtype=torch.float64)
    radius = int(TRUNCATE * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1)
    weight = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
    source = (torch.arange(length)[:, None] + offset) % (2 * length)
    source = torch.minimum(source, 2 * length - 1 - source)  # ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ...
    smoothing = torch.zeros(length, length, dtype=torch.float64)
    return smoothing.scatter_add_(1, source, (weight / weight.sum()).expand(length, -1))
