"""Densities of image embeddings: shrunk Gaussians, one per task, and kernels. Everything is float64.

Source of the shrinkage: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
matrices", Journal of Multivariate Analysis 2004.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.common.gaussian import inverse_root
from models.common.resizable import ResizableModule

Shrinkage = Literal["ledoit_wolf", "none"]


class Gaussian(NamedTuple):
    """What is remembered of the embeddings of n normal images.

    Args:
        num_images: n.
        mean: (D,) float64.
        covariance: (D, D) float64.
    """

    num_images: int
    mean: Tensor
    covariance: Tensor


def fit_gaussian(sample: Tensor, shrinkage: Shrinkage) -> Gaussian:
    """Return mean and covariance (divided by n) of embeddings (N, D), shrunk or not."""
    sample = sample.double()
    mean = sample.mean(0)
    centred = sample - mean
    covariance = centred.T @ centred / len(sample)
    if shrinkage == "ledoit_wolf":
        covariance = _shrunk(covariance, centred)
    return Gaussian(len(sample), mean, covariance)


def _shrunk(covariance: Tensor, centred: Tensor) -> Tensor:
    """Draw a covariance S (D, D) towards m I, where m is its mean variance.

    The share of m I is the estimated squared error of S, over its squared distance to m I, 1 at the most.
    """
    count, width = centred.shape
    variance = covariance.trace() / width
    square = covariance.square().sum()
    distance = (square / width - variance**2).clamp_min(0)
    error = (centred.square().sum(1).square().mean() - square) / (width * count)
    share = torch.minimum(error, distance) / distance if distance > 0 else torch.zeros_like(distance)
    return (1 - share) * covariance + share * variance * torch.eye(width).to(covariance)


class NearestGaussian(ResizableModule):
    """The Mahalanobis distance to the nearest of T Gaussians."""

    mean: Tensor  # (T, D)
    root: Tensor  # (T, D, D) inverse Cholesky factors

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0, 0, dtype=torch.float64))
        self.register_buffer("root", torch.empty(0, 0, 0, dtype=torch.float64))

    def fit(self, gaussians: Sequence[Gaussian]) -> None:
        """Take over these Gaussians.

        Raises:
            SingularCovarianceError: a covariance cannot be factorised.
        """
        self.root = inverse_root(torch.stack([gaussian.covariance for gaussian in gaussians]))
        self.mean = torch.stack([gaussian.mean for gaussian in gaussians])

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, D) float64 embeddings to (B,) distances."""
        whitened = (embedding - self.mean[:, None]) @ self.root.mT
        return torch.linalg.vector_norm(whitened, dim=2).amin(0)


class GaussianMemory(ResizableModule):
    """The Gaussians of the tasks so far; nothing else is kept of a task."""

    count: Tensor  # (T,) int64
    mean: Tensor  # (T, D)
    covariance: Tensor  # (T, D, D)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.empty(0, dtype=torch.int64))
        self.register_buffer("mean", torch.empty(0, width, dtype=torch.float64))
        self.register_buffer("covariance", torch.empty(0, width, width, dtype=torch.float64))

    @property
    def gaussians(self) -> list[Gaussian]:
        """The Gaussians in the order of the tasks."""
        return [
            Gaussian(int(count), mean, covariance)
            for count, mean, covariance in zip(self.count, self.mean, self.covariance, strict=True)
        ]

    def append(self, gaussian: Gaussian) -> None:
        """Remember the Gaussian of one more task."""
        self.count = torch.cat([self.count, torch.tensor([gaussian.num_images]).to(self.count)])
        self.mean = torch.cat([self.mean, gaussian.mean[None]])
        self.covariance = torch.cat([self.covariance, gaussian.covariance[None]])


class KernelDensity(ResizableModule):
    """Minus the logarithm of the mean of Gaussian kernels of width 1 around N embeddings.

    The constant of the density is left out: it is far larger than the differences between images.
    """

    sample: Tensor  # (N, D)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sample", torch.empty(0, 0, dtype=torch.float64))

    def fit(self, sample: Tensor) -> None:
        """Take over the embeddings (N, D)."""
        self.sample = sample.double()

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, D) float64 embeddings to (B,) scores."""
        square = torch.cdist(embedding, self.sample, compute_mode="donot_use_mm_for_euclid_dist").square()
        return math.log(len(self.sample)) - torch.logsumexp(-square / 2, dim=1)
