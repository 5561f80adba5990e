"""PatchCore's scores by hand, on one-dimensional patch features."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from models.patchcore.net_patchcore import PatchCoreNet, paper_score, upstream_score


def rows(feature_maps: Sequence[Tensor]) -> Tensor:
    """Take the one map as it is: (B, 1, h, w) to (B * h * w, 1)."""
    return feature_maps[0].permute(0, 2, 3, 1).reshape(-1, 1)


def net(
    memory: list[float], num_neighbors: int = 1, squared: bool = True, reweight: str = "none", b: int = 9
) -> PatchCoreNet:
    built = PatchCoreNet(rows, num_neighbors, squared, reweight, b)
    built.remember(torch.tensor(memory, dtype=torch.float32)[:, None], append=False)
    return built


def patch_map(*values: float) -> list[Tensor]:
    return [torch.tensor(values, dtype=torch.float32)[None, None, None]]


def test_patch_score_is_the_squared_distance_and_the_worst_patch_counts() -> None:
    image_score, patch_score = net([0, 1, 10])(patch_map(3, 1, 9.5))
    torch.testing.assert_close(patch_score, torch.tensor([[[4.0, 0.0, 0.25]]]))
    torch.testing.assert_close(image_score, torch.tensor([4.0]))


def test_distances_rank_images_as_squares_do() -> None:
    images = [torch.linspace(0, 5, 12).view(3, 1, 2, 2)]
    squared, _ = net([0, 1, 10])(images)
    root, _ = net([0, 1, 10], squared=False)(images)
    assert squared.argsort().tolist() == root.argsort().tolist()
    torch.testing.assert_close(root.square(), squared)


def test_neighbours_are_averaged() -> None:
    _, patch_score = net([0, 1, 10], num_neighbors=2)(patch_map(3))
    assert patch_score.item() == pytest.approx((4 + 9) / 2)
    _, patch_score = net([0, 1], num_neighbors=5)(patch_map(3))
    assert patch_score.item() == pytest.approx((4 + 9) / 2)


def test_equation_7_by_hand() -> None:
    # m* = 1, s* = 2, the two rows nearest to m* are 1 and 0
    expected = 2 * (1 - math.exp(2) / (math.exp(2) + math.exp(3)))
    image_score, patch_score = net([0, 1, 10], reweight="paper", b=2)(patch_map(3))
    assert image_score.item() == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(1.4621, abs=1e-4)
    assert patch_score.item() == pytest.approx(4)


def test_equation_7_of_a_distant_patch_stays_finite() -> None:
    image_score, _ = net([0, 1, 10], reweight="paper", b=3)(patch_map(1000.0))
    assert image_score.isfinite().all()
    assert torch.isfinite(upstream_score(torch.tensor([[1e4, 2e4, 9e4]]))).all()


def test_one_row_in_the_neighbourhood_means_no_score_is_left() -> None:
    assert paper_score(torch.tensor([2.0]), torch.tensor([[2.0]])).item() == pytest.approx(0)


def test_upstream_formula_takes_the_farthest_neighbour_and_squares() -> None:
    found = net([0, 1, 2], reweight="upstream", b=2)(patch_map(2.5))[0].item()
    weight = 1 - math.exp(1.5**2) / (math.exp(0.5**2) + math.exp(1.5**2))
    assert found == pytest.approx(weight * 0.25, rel=1e-5)


def test_appended_rows_never_raise_a_score() -> None:
    built = net([0, 1, 10])
    before = built(patch_map(3, 7, 30))[1]
    built.remember(torch.tensor([[6.0], [29.0]]), append=True)
    after = built(patch_map(3, 7, 30))[1]
    assert (after <= before).all()
    assert len(built.memory.bank) == 5
    built.remember(torch.tensor([[6.0]]), append=False)
    assert len(built.memory.bank) == 1


def test_a_restored_net_has_the_same_memory() -> None:
    built, restored = net([0, 1, 10]), net([5])
    restored.load_state_dict(built.state_dict())
    torch.testing.assert_close(restored(patch_map(3, 8))[1], built(patch_map(3, 8))[1])
