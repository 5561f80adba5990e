import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from models.common.anomaly_map import AnomalyMapper, mean_anomaly_map


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("grid", "size", "sigma"),
    [
        ((32, 32), (256, 256), 4.0),
        ((28, 20), (100, 224), 2.5),
        ((7, 5), (12, 9), 4.0),
        ((8, 8), (64, 64), 0.0),
    ],
)
def test_map_equals_interpolation_and_scipys_filter(
    grid: tuple[int, int], size: tuple[int, int], sigma: float, align_corners: bool
) -> None:
    score = torch.rand(3, *grid, generator=torch.Generator().manual_seed(0))
    plain = F.interpolate(score[:, None].double(), size=size, mode="bilinear", align_corners=align_corners)
    expected = np.stack([gaussian_filter(one, sigma) for one in plain[:, 0].numpy()])
    found = AnomalyMapper(grid, size, sigma, align_corners)(score)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("position", [(0, 0), (0, 17), (16, 16), (31, 31)])
def test_hot_patch_keeps_its_sum_wherever_it_lies(position: tuple[int, int]) -> None:
    score = torch.zeros(1, 32, 32)
    score[0, position[0], position[1]] = 3.0
    total = float(AnomalyMapper((32, 32), (256, 256))(score).sum())
    assert total == pytest.approx(64 * 3.0, rel=1e-5)


def test_constant_scores_give_a_constant_map() -> None:
    anomaly_map = AnomalyMapper((5, 9), (40, 33))(torch.full((2, 5, 9), -1.5))
    torch.testing.assert_close(anomaly_map, torch.full((2, 40, 33), -1.5))


def test_images_of_a_batch_do_not_mix() -> None:
    score = torch.rand(4, 8, 8)
    mapper = AnomalyMapper((8, 8), (32, 32))
    torch.testing.assert_close(mapper(score)[2:3], mapper(score[2:3]))


def test_mean_over_levels() -> None:
    levels = [torch.rand(2, 16, 16), torch.rand(2, 4, 8)]
    expected = sum(AnomalyMapper((s.shape[1], s.shape[2]), (32, 32))(s) for s in levels) / 2
    torch.testing.assert_close(mean_anomaly_map(levels, (32, 32)), expected)


def test_operators_follow_from_the_arguments_and_are_not_saved() -> None:
    assert not AnomalyMapper((4, 4), (8, 8)).state_dict()


def test_smoothing_may_differ_down_and_across() -> None:
    score = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = AnomalyMapper((12, 12), (12, 12), (0.5, 2.0))(score)
    np.testing.assert_allclose(found[0], gaussian_filter(score[0].double().numpy(), (0.5, 2.0)), atol=1e-6)


def test_mixed_precision_rounds_no_map() -> None:
    score = torch.rand(1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = AnomalyMapper((8, 8), (32, 32))(score)
    assert torch.equal(found, AnomalyMapper((8, 8), (32, 32))(score))
