"""Densities of embeddings: hand cases, and scikit-learn as a second implementation."""

import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import KernelDensity as PeerKernelDensity
from torch import Tensor

from models.common.density import Gaussian, GaussianMemory, KernelDensity, NearestGaussian, fit_gaussian
from models.common.gaussian import SingularCovarianceError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def table(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_distance_is_that_worked_by_hand() -> None:
    density = NearestGaussian()
    density.fit([Gaussian(1, torch.zeros(2).double(), table([0.25, 0.0], [0.0, 1.0]))])
    assert density(table([1.0, 2.0])).item() == pytest.approx(2.828427, abs=1e-6)


def test_shrinkage_is_that_worked_by_hand() -> None:
    covariance = fit_gaussian(table([2.0, 0], [-2, 0], [0, 1], [0, -1]), "ledoit_wolf").covariance
    torch.testing.assert_close(covariance, torch.diag(table([1.291667, 1.208333])[0]), rtol=0, atol=1e-6)
    covariance = fit_gaussian(table([1.0, 0], [-1, 0], [0, 1], [0, -1]), "ledoit_wolf").covariance
    torch.testing.assert_close(covariance, torch.eye(2).double() / 2)


@pytest.mark.parametrize("shape", [(5, 3), (40, 12), (12, 40), (3, 100), (200, 20)])
def test_shrinkage_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    sample = normal(*shape) @ normal(shape[1], shape[1], seed=1) + 3
    found = fit_gaussian(sample, "ledoit_wolf")
    peer = LedoitWolf().fit(sample.numpy())
    torch.testing.assert_close(found.covariance, torch.from_numpy(peer.covariance_))
    torch.testing.assert_close(found.mean, torch.from_numpy(peer.location_))
    plain = fit_gaussian(sample, "none").covariance
    torch.testing.assert_close(plain, torch.cov(sample.T, correction=0))
    torch.testing.assert_close(found.covariance.trace(), plain.trace())


def test_distances_are_those_of_the_dense_inverse_to_the_nearest_gaussian() -> None:
    gaussians = [fit_gaussian(normal(50, 6, seed=s) + s, "ledoit_wolf") for s in (0, 1)]
    density, query = NearestGaussian(), normal(7, 6, seed=9)
    density.fit(gaussians)
    gaps = [query - gaussian.mean for gaussian in gaussians]
    squares = [
        torch.einsum("bi,ij,bj->b", gap, torch.linalg.inv(gaussian.covariance), gap)
        for gap, gaussian in zip(gaps, gaussians, strict=True)
    ]
    torch.testing.assert_close(density(query), torch.stack(squares).amin(0).sqrt())


def test_a_singular_covariance_is_refused() -> None:
    with pytest.raises(SingularCovarianceError):
        NearestGaussian().fit([fit_gaussian(normal(4, 8), "none")])
    with pytest.raises(SingularCovarianceError):
        NearestGaussian().fit([fit_gaussian(torch.ones(4, 8), "ledoit_wolf")])


def test_kernels_are_those_of_scikit_learn_up_to_the_constant() -> None:
    sample, query = normal(30, 5) / 3, normal(9, 5, seed=1)
    density = KernelDensity()
    density.fit(sample)
    peer = -PeerKernelDensity(bandwidth=1.0).fit(sample.numpy()).score_samples(query.numpy())
    gap = torch.from_numpy(peer) - density(query)
    torch.testing.assert_close(gap, torch.full((9,), 5 / 2).double() * torch.log(torch.tensor(2 * torch.pi)))


def test_densities_and_memories_are_restored_at_the_size_that_they_had() -> None:
    density, memory, kernels = NearestGaussian(), GaussianMemory(6), KernelDensity()
    for seed in (0, 1):
        memory.append(fit_gaussian(normal(20, 6, seed=seed), "ledoit_wolf"))
    density.fit(memory.gaussians)
    kernels.fit(normal(20, 6))
    restored = NearestGaussian(), GaussianMemory(6), KernelDensity()
    for new, old in zip(restored, (density, memory, kernels), strict=True):
        new.load_state_dict(old.state_dict())
    query = normal(4, 6, seed=5)
    assert torch.equal(restored[0](query), density(query))
    assert torch.equal(restored[2](query), kernels(query))
    assert [gaussian.num_images for gaussian in restored[1].gaussians] == [20, 20]
    assert torch.equal(restored[1].covariance, memory.covariance)
