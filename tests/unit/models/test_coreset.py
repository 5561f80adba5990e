import math

import pytest
import torch
from torch import Tensor

from models.common.coreset import (
    full_distance,
    greedy_coreset,
    mean_distance,
    project_sparse,
    project_uniform,
)


def plain_greedy(points: Tensor, num_picks: int, start_distance: Tensor) -> list[int]:
    """The algorithm as it is defined, one pass per pick, by direct differences."""
    m, picks = start_distance, []
    for _ in range(num_picks):
        picks.append(int(m.argmax()))
        distance = (points.double() - points[picks[-1]]).square().sum(1).sqrt()
        m = torch.minimum(m, distance.float())
    return picks


def clustered(rows: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = 3 * torch.randn(20, width, generator=generator)
    cluster = torch.randint(20, (rows,), generator=generator)
    return 50 + centre[cluster] + torch.randn(rows, width, generator=generator)


def test_picks_on_a_line_as_worked_out_by_hand() -> None:
    points = torch.arange(10.0)[:, None]
    start = mean_distance(points, torch.tensor([0]))
    assert greedy_coreset(points, 4, start).tolist() == [9, 4, 2, 6]


@pytest.mark.parametrize("block_size", [1, 16, 64, 5000])
def test_block_size_changes_the_speed_only(block_size: int) -> None:
    points = clustered(3000, 24)
    start = mean_distance(points, torch.tensor([3, 1000, 2000]))
    assert greedy_coreset(points, 200, start, block_size).tolist() == plain_greedy(points, 200, start)


@pytest.mark.parametrize("block_size", [1, 16, 64])
def test_true_ties_go_to_the_first_row(block_size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.randint(0, 6, (900, 4), generator=generator).float()
    start = mean_distance(points, torch.tensor([7]))
    assert len(start.unique()) < 100, "there must be ties"
    assert greedy_coreset(points, 150, start, block_size).tolist() == plain_greedy(points, 150, start)


def test_without_a_start_row_zero_is_first_and_the_farthest_follow() -> None:
    points = clustered(500, 8)
    picks = greedy_coreset(points, 50).tolist()
    assert picks == plain_greedy(points, 50, torch.full((500,), torch.inf))
    assert picks[0] == 0


def test_exact_variant_starts_from_the_norms_of_the_distance_matrix() -> None:
    points = clustered(400, 16)
    matrix = torch.cdist(points.double(), points.double())
    start = full_distance(points)
    torch.testing.assert_close(start, matrix.norm(dim=1).float(), rtol=1e-6, atol=0)
    assert greedy_coreset(points, 40, start).tolist() == plain_greedy(points, 40, start)


def test_mean_distance_to_start_rows() -> None:
    points = clustered(3000, 12)
    expected = torch.cdist(points.double(), points[[5, 7]].double()).mean(1)
    torch.testing.assert_close(mean_distance(points, torch.tensor([5, 7])), expected.float())


def test_covering_radius_never_grows_and_picks_are_distinct() -> None:
    points = clustered(1000, 8)
    picks = greedy_coreset(points, 100)
    assert len(set(picks.tolist())) == 100
    distance = torch.cdist(points, points[picks]).cummin(1).values.amax(0)
    assert bool((distance.diff() <= 0).all())


def test_more_picks_than_distinct_rows_and_all_rows() -> None:
    points = torch.tensor([[0.0], [0], [4], [4]])
    assert points[greedy_coreset(points, 4)[:2], 0].tolist() == [0, 4]
    assert sorted(greedy_coreset(torch.arange(7.0)[:, None], 7).tolist()) == list(range(7))


def test_progress_counts_every_pick_once_and_inputs_are_left_alone() -> None:
    points = clustered(1000, 8)
    start = mean_distance(points, torch.tensor([0]))
    points_before, start_before = points.clone(), start.clone()
    steps: list[int] = []
    greedy_coreset(points, 100, start, 16, steps.append)
    assert sum(steps) == 100
    assert min(steps) >= 1
    assert torch.equal(points, points_before)
    assert torch.equal(start, start_before)


@pytest.mark.parametrize("num_picks", [0, 5])
def test_number_of_picks_out_of_range_is_refused(num_picks: int) -> None:
    with pytest.raises(ValueError, match="num_picks"):
        greedy_coreset(torch.zeros(4, 2), num_picks)


def test_uniform_projection_has_the_moments_of_a_linear_layer() -> None:
    matrix = project_uniform(torch.eye(1024), 128, torch.Generator().manual_seed(0))
    assert matrix.shape == (1024, 128)
    assert float(matrix.abs().max()) <= 1 / 32
    assert math.isclose(float(matrix.square().mean()), 1 / 1024 / 3, rel_tol=0.02)
    points = torch.rand(5, 128)
    assert project_uniform(points, 128, torch.Generator()) is points


def test_sparse_projection_keeps_distances_and_has_the_stated_width_and_density() -> None:
    points = torch.randn(3000, 1600, generator=torch.Generator().manual_seed(0))
    projected = project_sparse(points, len(points), torch.Generator().manual_seed(1))
    assert projected.shape == (3000, 197)  # int(4 ln 3000 / 0.162)
    ratio = projected[:50].pow(2).sum(1) / points[:50].pow(2).sum(1)
    assert 0.85 < float(ratio.mean()) < 1.15
    matrix = project_sparse(torch.eye(1600), 1600, torch.Generator().manual_seed(1))
    assert math.isclose(float((matrix != 0).float().mean()), 1 / 40, rel_tol=0.05)


def test_sparse_projection_that_would_widen_is_skipped() -> None:
    points = torch.rand(3000, 33)
    assert project_sparse(points, len(points), torch.Generator()) is points
