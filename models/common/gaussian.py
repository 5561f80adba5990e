"""Gaussians: one multivariate normal distribution per position of a feature grid, and distances to them.

Source: PaDiM, Defard et al., ICPR 2020 workshops, section III-B: mean, sample covariance + epsilon I, and the
Mahalanobis distance. Samples are position first, (P, N, C): every position is a batch of matrix products.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from models.common.resizable import ResizableModule

CHUNK_NUMBERS = 2**21  # numbers of a block of matrices that stays in a CPU's caches
LEAF_SIZE = 16  # of the matrices that are factorised one by one


class SingularCovarianceError(ValueError):
    """A covariance is too close to singular: epsilon is too small for variances as large as these."""


@dataclass(frozen=True)
class Moments:
    """What is known of n samples.

    Args:
        count: number of samples n, the same at every position.
        mean: (P, C).
        scatter: (P, C, C) sum of (x - mean)(x - mean)^T.
    """

    count: int
    mean: Tensor
    scatter: Tensor


def gather_moments(batches: Iterable[Tensor]) -> Moments:
    """Return the moments of samples (P, B, C) that are seen once, batch by batch.

    Sums are of differences to the first batch's mean, so that large means do not cancel.

    Raises:
        ValueError: there is no sample.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise ValueError("moments need at least one sample")
    shift = first.mean(1)
    count, total = 0, torch.zeros_like(shift)
    scatter = shift.new_zeros(*shift.shape, shift.shape[1])
    for sample in chain([first], batches):
        shifted = sample - shift[:, None]
        total += shifted.sum(1)
        scatter.baddbmm_(shifted.mT, shifted)
        count += sample.shape[1]
    offset = total / count
    scatter.baddbmm_(offset[:, :, None], offset[:, None], alpha=-count)
    return Moments(count, shift + offset, scatter)


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Return the moments of all samples of both; the first scatter is overwritten."""
    count = first.count + second.count
    gap = second.mean - first.mean
    scatter = first.scatter.add_(second.scatter)
    scatter.baddbmm_(gap[:, :, None], gap[:, None], alpha=first.count * second.count / count)
    return Moments(count, first.mean + gap * (second.count / count), scatter)


class GaussianGrid(ResizableModule):
    """Gaussians N(mean, scatter / max(n - 1, 1) + epsilon I) at P positions.

    Only what distances need is kept. From moments: the inverse L^-1 of the Cholesky factor, then
    d = |L^-1 (x - mean)|. From fewer samples than channels: R^-1 X with the centred samples X (N, C) and
    R R^T = X X^T + epsilon max(n - 1, 1) I; by the identity of Woodbury
    d^2 = (|x - mean|^2 - |R^-1 X (x - mean)|^2) / epsilon.

    Args:
        epsilon: added to the variances.
    """

    count: Tensor  # () int64
    mean: Tensor  # (P, C)
    factor: Tensor  # (P, C, C) L^-1, or (P, N, C) R^-1 X with N < C

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mean", torch.empty(0, 0))
        self.register_buffer("factor", torch.empty(0, 0, 0))

    @property
    def has_low_rank(self) -> bool:
        """Whether the Gaussians are kept in the form of few samples."""
        return self.factor.shape[1] < self.factor.shape[2]

    def fit(self, moments: Moments) -> None:
        """Take over these moments; their scatter is overwritten.

        Raises:
            SingularCovarianceError: a covariance cannot be factorised.
        """
        with _full_precision(moments.scatter):
            for scatter in self._chunks(moments.scatter):
                scatter.div_(max(moments.count - 1, 1)).diagonal(dim1=1, dim2=2).add_(self.epsilon)
                scatter.copy_(inverse_root(scatter))
        self._keep(moments.count, moments.mean, moments.scatter)

    def fit_few(self, sample: Tensor) -> None:
        """Take over samples (P, N, C), fewer than channels; they are overwritten.

        Raises:
            ValueError: there are as many samples as channels, or more.
            SingularCovarianceError: a covariance cannot be factorised.
        """
        _, count, channels = sample.shape
        if count >= channels:
            raise ValueError(f"{count} samples of {channels} channels: fit() takes their moments")
        mean = sample.mean(1)
        centred = sample.sub_(mean[:, None])
        with _full_precision(centred):
            for rows in self._chunks(centred):
                gram = rows @ rows.mT
                gram.diagonal(dim1=1, dim2=2).add_(self.epsilon * max(count - 1, 1))
                rows.copy_(inverse_root(gram) @ rows)
        self._keep(count, mean, centred)

    def moments(self) -> Moments:
        """Return the moments that `fit` took over, up to rounding.

        Raises:
            ValueError: the Gaussians are in the form of few samples.
        """
        if self.has_low_rank:
            raise ValueError("Gaussians of few samples cannot be turned back into moments")
        count = int(self.count)
        scatter = torch.empty_like(self.factor)
        for target, factor in zip(self._chunks(scatter), self._chunks(self.factor), strict=True):
            root = _inverse(factor.double())
            covariance = root @ root.mT
            covariance.diagonal(dim1=1, dim2=2).sub_(self.epsilon)
            target.copy_(covariance * max(count - 1, 1))
        return Moments(count, self.mean, scatter)

    def forward(self, sample: Tensor) -> Tensor:
        """Map samples (P, B, C) to their (P, B) Mahalanobis distances."""
        with _full_precision(sample):
            parts = zip(*(self._chunks(tensor) for tensor in (sample, self.mean, self.factor)), strict=True)
            return torch.cat([self._distance(*part) for part in parts])

    def _distance(self, sample: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
        difference = sample - mean[:, None]
        square = (difference @ factor.mT).square_().sum(2)
        if self.has_low_rank:
            square = difference.square_().sum(2).sub_(square).clamp_(min=0).div_(self.epsilon)
        return square.sqrt_()

    def _chunks(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Return views of a tensor (P, ...) in blocks of positions."""
        channels = tensor.shape[-1]
        return tensor.split(max(1, CHUNK_NUMBERS // channels**2))

    def _keep(self, count: int, mean: Tensor, factor: Tensor) -> None:
        self.count.fill_(count)
        self.mean, self.factor = mean, factor


def inverse_root(covariance: Tensor) -> Tensor:
    """Return L^-1 of the Cholesky factors L of matrices (P, C, C).

    They are halved until they are small: products run in batches, factorisations one by one.

    Raises:
        SingularCovarianceError: a matrix is not positive definite in this precision.
    """
    size = covariance.shape[1]
    if size <= LEAF_SIZE:
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed.any():
            raise SingularCovarianceError("the covariance of the features is singular within rounding")
        return _inverse(factor)
    half = size // 2
    root = torch.zeros_like(covariance)
    root[:, :half, :half] = upper = inverse_root(covariance[:, :half, :half])
    coupling = upper @ covariance[:, :half, half:]
    root[:, half:, half:] = lower = inverse_root(covariance[:, half:, half:] - coupling.mT @ coupling)
    root[:, half:, :half] = -lower @ (coupling.mT @ upper)
    return root


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context without mixed precision: variances range too far for it."""
    return torch.autocast(tensor.device.type, enabled=False)


def _inverse(lower: Tensor) -> Tensor:
    """Return the inverses of lower triangular matrices (P, C, C)."""
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
