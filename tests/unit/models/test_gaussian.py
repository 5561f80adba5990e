"""Gaussians per position: hand cases, plain formulas in float64, and the equivalent forms."""

import pytest
import torch
from torch import Tensor

from models.common.gaussian import (
    GaussianGrid,
    Moments,
    SingularCovarianceError,
    gather_moments,
    inverse_root,
    merge_moments,
)


def normal(*shape: int, seed: int = 0, mean: float = 0.0) -> Tensor:
    """Return (P, N, C) samples whose channels are correlated."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(shape[-1], shape[-1], generator=generator) / shape[-1] ** 0.5
    sample: Tensor = mean + torch.randn(shape, generator=generator) @ mixing
    return sample


def plain_moments(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and scatter in two passes of float64."""
    sample = sample.double()
    mean = sample.mean(1)
    centred = sample - mean[:, None]
    return mean, torch.einsum("pni,pnj->pij", centred, centred)


def plain_distance(sample: Tensor, query: Tensor, epsilon: float) -> Tensor:
    """Return (P, B) distances by the dense inverse in float64."""
    mean, scatter = plain_moments(sample)
    covariance = scatter / max(sample.shape[1] - 1, 1) + epsilon * torch.eye(sample.shape[2]).double()
    difference = query.double() - mean[:, None]
    square = torch.einsum("pbi,pij,pbj->pb", difference, torch.linalg.inv(covariance), difference)
    return square.clamp(min=0).sqrt().float()


def fitted(sample: Tensor, epsilon: float = 0.01) -> GaussianGrid:
    grid = GaussianGrid(epsilon)
    grid.fit(gather_moments([sample]))
    return grid


def fitted_few(sample: Tensor, epsilon: float = 0.01) -> GaussianGrid:
    grid = GaussianGrid(epsilon)
    grid.fit_few(sample.clone())
    return grid


def points(*values: list[float]) -> Tensor:
    return torch.tensor([values])


def test_one_channel_by_hand() -> None:
    grid = fitted(points([0.0], [2.0], [4.0]))
    assert grid.mean.item() == 2
    assert grid(points([6.0])).item() == pytest.approx(1.9975, abs=1e-4)  # 4 / sqrt(4.01)


@pytest.mark.parametrize("fit", [fitted, fitted_few])
def test_one_sample_leaves_epsilon_alone(fit) -> None:  # type: ignore[no-untyped-def]
    assert fit(points([0.0, 0.0]))(points([3.0, 4.0])).item() == pytest.approx(50)


def test_two_samples_by_hand() -> None:
    distance = fitted(points([1.0, 0.0], [-1.0, 0.0]))(points([0.0, 1.0], [1.0, 0.0]))
    torch.testing.assert_close(distance, torch.tensor([[10.0, 2.01**-0.5]]))


@pytest.mark.parametrize("sizes", [[40], [1, 39], [7] * 5 + [5], [1] * 40])
def test_moments_in_any_batches_are_those_of_two_passes(sizes: list[int]) -> None:
    sample = normal(3, 40, 6, mean=100.0)
    found = gather_moments(sample.split(sizes, dim=1))
    mean, scatter = plain_moments(sample)
    assert found.count == 40
    torch.testing.assert_close(found.mean.double(), mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.scatter.double(), scatter, rtol=1e-4, atol=1e-3)


def test_merged_moments_are_those_of_all_samples() -> None:
    first, second = normal(3, 12, 5, seed=1), normal(3, 30, 5, seed=2, mean=4.0)
    whole = gather_moments([torch.cat([first, second], dim=1)])
    merged = merge_moments(gather_moments([first]), gather_moments([second]))
    assert merged.count == whole.count
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-4, atol=1e-3)


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        gather_moments([])


@pytest.mark.parametrize("channels", [1, 5, 16, 17, 50])
def test_distances_are_those_of_the_dense_inverse(channels: int) -> None:
    sample, query = normal(4, 60, channels), normal(4, 7, channels, seed=1)
    torch.testing.assert_close(fitted(sample)(query), plain_distance(sample, query, 0.01), rtol=1e-4, atol=0)


@pytest.mark.parametrize("count", [1, 2, 8, 20, 39])
def test_the_form_of_few_samples_agrees_with_the_dense_inverse(count: int) -> None:
    sample = normal(4, count, 40)
    query = torch.cat([normal(4, 7, 40, seed=1), sample], dim=1)  # its own samples lie in its span
    found = fitted_few(sample)
    assert found.has_low_rank
    assert found.factor.shape == (4, count, 40)
    torch.testing.assert_close(found(query), plain_distance(sample, query, 0.01), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found(query), fitted(sample)(query), rtol=1e-3, atol=1e-3)


def test_as_many_samples_as_channels_are_refused_as_few() -> None:
    with pytest.raises(ValueError, match="4 samples of 4 channels"):
        GaussianGrid(0.01).fit_few(normal(1, 4, 4))


def test_samples_that_stand_twice_change_the_covariance_by_their_number_only() -> None:
    sample, query = normal(2, 20, 5), normal(2, 6, 5, seed=1)
    once, twice = fitted(sample, 1e-9)(query), fitted(sample.repeat(1, 2, 1), 1e-9)(query)
    torch.testing.assert_close(twice, once * ((20 - 0.5) / (20 - 1)) ** 0.5, rtol=1e-4, atol=0)


def test_the_order_of_the_channels_is_of_no_account() -> None:
    sample, query = normal(2, 30, 20), normal(2, 6, 20, seed=1)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    shuffled = fitted(sample[..., order])(query[..., order])
    torch.testing.assert_close(shuffled, fitted(sample)(query), rtol=1e-4, atol=0)


def test_positions_know_nothing_of_each_other_nor_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, query = normal(11, 30, 6), normal(11, 3, 6, seed=1)
    whole, few = fitted(sample)(query), fitted_few(sample[:, :4])(query)
    monkeypatch.setattr("models.common.gaussian.CHUNK_NUMBERS", 3 * 6**2)
    torch.testing.assert_close(fitted(sample)(query), whole)
    torch.testing.assert_close(fitted_few(sample[:, :4])(query), few)
    torch.testing.assert_close(fitted(sample[4:5])(query[4:5]), whole[4:5])


def test_moments_come_back_from_the_kept_form() -> None:
    sample = normal(3, 30, 20)
    grid = fitted(sample)
    found = grid.moments()
    mean, scatter = plain_moments(sample)
    assert found.count == 30
    torch.testing.assert_close(found.mean.double(), mean)
    torch.testing.assert_close(found.scatter.double(), scatter, rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="few samples"):
        fitted_few(sample[:, :5]).moments()


def test_an_epsilon_that_rounding_swallows_is_refused() -> None:
    with pytest.raises(SingularCovarianceError, match="singular"):
        fitted(1e5 * normal(2, 30, 1).expand(2, 30, 6))


@pytest.mark.parametrize("size", [1, 16, 17, 50])
def test_the_inverse_root_is_that_of_cholesky(size: int) -> None:
    _, scatter = plain_moments(normal(3, 2 * size, size))
    covariance = scatter + torch.eye(size)
    expected = torch.linalg.inv(torch.linalg.cholesky(covariance))
    torch.testing.assert_close(inverse_root(covariance), expected)


def test_half_precision_around_it_changes_nothing() -> None:
    sample, query = normal(2, 30, 20), normal(2, 6, 20, seed=1)
    expected, few = fitted(sample)(query), fitted_few(sample[:, :9])(query)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(fitted(sample)(query), expected)
        torch.testing.assert_close(fitted_few(sample[:, :9])(query), few)


@pytest.mark.parametrize("fit", [fitted, fitted_few])
def test_a_restored_grid_measures_the_same(fit) -> None:  # type: ignore[no-untyped-def]
    sample, query = normal(2, 9, 20), normal(2, 6, 20, seed=1)
    grid, restored = fit(sample), GaussianGrid(0.01)
    restored.load_state_dict(grid.state_dict())
    assert torch.equal(restored(query), grid(query))
    assert int(restored.count) == 9
    restored.fit(Moments(1, torch.zeros(2, 20), torch.zeros(2, 20, 20)))
    assert torch.equal(fit(sample)(query), grid(query))
