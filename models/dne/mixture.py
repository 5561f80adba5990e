"""DNE's mixture: one Gaussian for all tasks, out of one Gaussian per past task."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.common.density import Gaussian, Shrinkage, fit_gaussian


def mix_moments(gaussians: Sequence[Gaussian]) -> Gaussian:
    """Return the mean and the covariance of the mixture, each Gaussian weighted by its count."""
    total = sum(gaussian.num_images for gaussian in gaussians)
    share = [gaussian.num_images / total for gaussian in gaussians]
    mean = torch.stack([w * g.mean for w, g in zip(share, gaussians, strict=True)]).sum(0)
    covariance = torch.zeros_like(gaussians[0].covariance)
    for weight, gaussian in zip(share, gaussians, strict=True):
        gap = gaussian.mean - mean
        covariance += weight * (gaussian.covariance + torch.outer(gap, gap))
    return Gaussian(total, mean, covariance)


def mix_samples(
    past: Sequence[Gaussian],
    embedding: Tensor,
    views: float,
    generator: torch.Generator,
    renormalize: bool,
    shrinkage: Shrinkage,
) -> Gaussian:
    """Fit a Gaussian to the embeddings of a task and to draws of each past one: tasks weigh as their images.

    Args:
        past: Gaussians of earlier tasks; their covariances are positive definite.
        embedding: (N, D) of the current task, of length 1.
        views: embeddings of each image of the current task, and draws for each image of a past one.
        generator: of the CPU.
        renormalize: bring the draws to length 1 as well.
        shrinkage: of the fitted covariance.
    """
    drawn = [_draw(gaussian, round(gaussian.num_images * views), generator) for gaussian in past]
    if renormalize:
        drawn = [F.normalize(rows, dim=1) for rows in drawn]
    return fit_gaussian(torch.cat([*drawn, embedding.double()]), shrinkage)


def _draw(gaussian: Gaussian, count: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(count, len(gaussian.mean), dtype=torch.float64, generator=generator)
    return gaussian.mean + noise.to(gaussian.mean) @ torch.linalg.cholesky(gaussian.covariance).T
