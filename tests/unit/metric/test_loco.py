"""AU-sPRO against a literal implementation of its definition and hand-worked cases."""

import numpy as np
import pytest
from scipy import ndimage

from metric.loco import SPRO_LIMITS, Channel, au_spro, saturation_area


def slow_au_spro(maps: list[np.ndarray], channels: list[list[Channel]], limit: float) -> float:
    """Measure every channel at every threshold, then integrate by trapezoids to the limit."""
    normal = np.concatenate(
        [
            scores[~np.any([np.zeros(scores.shape, bool), *(channel.mask for channel in found)], axis=0)]
            for scores, found in zip(maps, channels, strict=True)
        ]
    )
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([scores.ravel() for scores in maps]))[::-1]:
        spro = [
            min(np.count_nonzero(scores[channel.mask] >= threshold) / channel.saturation_area, 1.0)
            for scores, found in zip(maps, channels, strict=True)
            for channel in found
        ]
        points.append((float(np.mean(normal >= threshold)), float(np.mean(spro))))
    rate, value = np.array(points).T
    after = int(np.argmax(rate >= limit))  # the first point that the limit cuts off
    share = (limit - rate[after - 1]) / (rate[after] - rate[after - 1])
    rate[after] = limit
    value[after] = value[after - 1] + share * (value[after] - value[after - 1])
    return float(np.trapezoid(value[: after + 1], rate[: after + 1]) / limit)


@pytest.mark.parametrize("levels", [1, 4, 10**6])
def test_equals_the_definition_with_ties_and_overlapping_channels(levels: int) -> None:
    rng = np.random.default_rng(levels)
    maps, channels = [], []
    for i in range(6):
        shape = (15 + i, 18)
        masks = [ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.15 for _ in range(i % 3)]
        scores = rng.normal(size=shape) + sum(masks, np.zeros(shape))
        maps.append((np.round(scores * levels) / levels).astype(np.float32))
        areas = [int(mask.sum()) for mask in masks]
        channels.append(
            [
                Channel(mask, saturation_area(area, 0.4 if k else 12, relative=bool(k)))
                for k, (mask, area) in enumerate(zip(masks, areas, strict=True))
            ]
        )
    found = au_spro(maps, channels)
    assert found is not None
    assert tuple(found) == SPRO_LIMITS == (0.01, 0.05, 0.1, 0.3, 1.0), "those of the published tables"
    for limit, value in found.items():
        assert value == pytest.approx(slow_au_spro(maps, channels, limit), abs=1e-12)


def test_saturated_channel_needs_only_part_of_its_pixels() -> None:
    # Two of four marked pixels lead, the other two are last: full with a saturation area of 2, half with 4.
    scores = np.array([[9, 8, 0, 0, 5, 5, 5, 5]], np.float32)
    mask = np.array([[1, 1, 1, 1, 0, 0, 0, 0]], bool)
    assert au_spro([scores], [[Channel(mask, 2)]], [1.0]) == pytest.approx({1.0: 1.0})
    assert au_spro([scores], [[Channel(mask, 4)]], [1.0]) == pytest.approx({1.0: 0.5})


def test_full_saturation_area_and_no_limit_give_the_auroc() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((1, 50)).astype(np.float32)
    mask = rng.random((1, 50)) < 0.3
    found = au_spro([scores], [[Channel(mask, int(mask.sum()))]], [1.0])
    pairs = scores[mask][:, None] > scores[~mask][None]
    assert found == pytest.approx({1.0: pairs.mean()})


def test_good_images_lower_the_false_positive_rate() -> None:
    scores = np.array([[3, 2, 1]], np.float32)
    channel = Channel(np.array([[0, 1, 0]], bool), 1)
    alone = au_spro([scores], [[channel]], [1.0])
    with_good = au_spro([scores, np.zeros((2, 3), np.float32)], [[channel], []], [1.0])
    assert alone == pytest.approx({1.0: 0.5})
    assert with_good == pytest.approx({1.0: 7 / 8})


@pytest.mark.parametrize(
    ("defect_area", "threshold", "relative", "expected"),
    [
        (100, 0.25, True, 25),
        (10, 0.25, True, 2),
        (1, 0.5, True, 1),
        (100, 30, False, 30),
        (20, 30, False, 20),
    ],
)
def test_saturation_area(defect_area: int, threshold: float, relative: bool, expected: int) -> None:
    assert saturation_area(defect_area, threshold, relative) == expected


def test_none_without_channels_or_without_normal_pixels() -> None:
    scores = np.ones((2, 2), np.float32)
    assert au_spro([scores], [[]]) is None
    assert au_spro([scores], [[Channel(np.ones((2, 2), bool), 1)]]) is None


@pytest.mark.parametrize("area", [0, 3])
def test_saturation_area_beyond_the_defect_is_refused(area: int) -> None:
    with pytest.raises(ValueError, match="saturation area"):
        Channel(np.array([[True, True, False]]), area)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="bool"):
        Channel(np.ones((2, 2), np.uint8), 1)
    with pytest.raises(ValueError, match="another shape"):
        au_spro([np.ones((2, 3), np.float32)], [[Channel(np.ones((3, 2), bool), 1)]])
