"""Pixel metrics against a literal implementation of their definitions and against scikit-learn."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from metric.pixel import pixel_metrics

Images = list[tuple[np.ndarray, np.ndarray]]


def slow_aupro(images: Images, limit: float = 0.3) -> float:
    """Walk through all thresholds, measure every region at each, and add up the trapezoids to the limit."""
    regions = []
    for scores, mask in images:
        labelled, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [scores[labelled == number] for number in range(1, count + 1)]
    normal = np.concatenate([scores[~mask] for scores, mask in images])
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([scores.ravel() for scores, _ in images]))[::-1]:
        overlap = np.mean([np.mean(region >= threshold) for region in regions])
        points.append((float(np.mean(normal >= threshold)), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit:
            share = min(1.0, (limit - x0) / (x1 - x0)) if x1 > x0 else 1.0
            area += share * (x1 - x0) * (y0 + y0 + share * (y1 - y0)) / 2
    return area / limit


def blobs(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    mask: np.ndarray = noise > np.quantile(noise, 1 - share)
    return mask


def random_images(seed: int, levels: int, share: float = 0.1) -> Images:
    """Six maps of different sizes, the last two normal; few levels make many ties."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(6):
        shape = (12 + i, 20 - i)
        mask = blobs(rng, shape, share) if i < 4 else np.zeros(shape, bool)
        scores = np.round((rng.normal(size=shape) + mask) * levels) / levels
        images.append((scores.astype(np.float32), mask))
    return images


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_aupro_equals_the_definition(levels: int, share: float) -> None:
    images = random_images(levels, levels, share)
    found = pixel_metrics(images)
    assert found is not None
    assert found["aupro"] == pytest.approx(slow_aupro(images), abs=1e-12)


@pytest.mark.parametrize("levels", [1, 10**6])
def test_other_metrics_equal_scikit_learn(levels: int) -> None:
    images = random_images(5, levels)
    score = np.concatenate([scores.ravel() for scores, _ in images])
    label = np.concatenate([mask.ravel() for _, mask in images])
    precision, recall, _ = precision_recall_curve(label, score)
    found = pixel_metrics(images)
    assert found is not None
    assert found["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert found["ap"] == pytest.approx(average_precision_score(label, score), abs=1e-12)
    assert found["f1max"] == pytest.approx(
        max(2 * precision * recall / (precision + recall + 1e-300)), abs=1e-12
    )


def test_large_maps_that_take_the_bucket_path_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = ndimage.gaussian_filter(rng.gamma(2, size=(4, 256, 256)), (0, 2, 2)).astype(np.float32)
    mask = np.zeros(scores.shape, bool)
    mask[0, 20:60, 20:70] = mask[1, 100:130, 100:140] = True
    scores[mask] += 0.5
    found = pixel_metrics(list(zip(scores, mask, strict=True)))
    assert found is not None
    assert found["auroc"] == pytest.approx(roc_auc_score(mask.ravel(), scores.ravel()), abs=1e-12)
    assert found["ap"] == pytest.approx(average_precision_score(mask.ravel(), scores.ravel()), abs=1e-12)


@pytest.mark.parametrize("rows", [4, 128])
def test_extra_memory_stays_within_four_times_the_maps(rows: int) -> None:
    scores = np.random.default_rng(0).random((48, 256, 256), np.float32)
    mask = np.zeros(scores.shape, bool)
    mask[:, :rows] = True
    tracemalloc.start()
    pixel_metrics(list(zip(scores, mask, strict=True)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * scores.nbytes


def test_any_increasing_map_of_the_scores_changes_nothing() -> None:
    images = random_images(1, 20)
    assert pixel_metrics([(np.exp(scores), mask) for scores, mask in images]) == pixel_metrics(images)


def single_image(scores: list[list[float]], mask: list[list[int]]) -> dict[str, float] | None:
    return pixel_metrics([(np.array(scores, np.float32), np.array(mask, bool))])


def test_diagonal_neighbours_are_one_region() -> None:
    # One region, half found: overlap 1/2 until the normal 2 (of seven) is reached, then 1.
    found = single_image([[3, 0, 0], [0, 1, 0], [2, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert found is not None
    assert found["aupro"] == pytest.approx((1 / 7 * 0.5 + (0.3 - 1 / 7)) / 0.3)


def test_small_and_large_regions_weigh_the_same() -> None:
    # The single pixel comes before all normal ones, the region of three after them.
    found = single_image([[5, 5, 0, 0, 0], [9, 5, 5, 5, 5]], [[0, 0, 1, 1, 1], [1, 0, 0, 0, 0]])
    assert found is not None
    assert found["aupro"] == pytest.approx(0.5)


def test_false_positive_rate_that_jumps_over_the_limit_is_interpolated() -> None:
    # Both pixels share their score: the curve is the diagonal from (0, 0) to (1, 1).
    found = single_image([[1, 1]], [[1, 0]])
    assert found is not None
    assert found["aupro"] == pytest.approx(0.15)
    assert found["auroc"] == 0.5


def test_perfect_map_scores_one_everywhere() -> None:
    mask = [[0, 1, 0, 1], [0, 0, 0, 0]]
    assert single_image([[float(x) for x in row] for row in mask], mask) == pytest.approx(
        {"auroc": 1, "ap": 1, "f1max": 1, "aupro": 1}
    )


@pytest.mark.parametrize("fill", [0, 1])
def test_nothing_without_marked_or_without_normal_pixels(fill: int) -> None:
    assert single_image([[1, 2]], [[fill, fill]]) is None


@pytest.mark.parametrize("position", [0, 1])
def test_maps_that_are_not_finite_are_refused(position: int) -> None:
    scores = [[0.0, 0.0]]
    scores[0][position] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        single_image(scores, [[1, 0]])
