"""The area under the overlap curve, from hand-made ranks."""

import numpy as np
import pytest

from metric.aupro import OverlapArea, connected_regions
from metric.ranking import pack, rank


def area(anomalous: list[float], normal: list[float], limits: list[float]) -> list[float]:
    overlap = OverlapArea(np.array([0, 1 / len(anomalous)]), limits)
    for ranks in rank([np.array(normal, np.float32)], len(normal), pack(np.array(anomalous, np.float32), 1)):
        overlap.add(ranks)
    return list(overlap.area)


def test_area_to_one_is_the_auroc() -> None:
    assert area([3, 1], [2, 0], [1.0]) == pytest.approx([0.75])


def test_limit_within_a_tie_cuts_the_ramp() -> None:
    # Half the pixels at once; then a ramp from (0, 1/2) to (1/2, 1), cut at 1/4 where it is at 3/4.
    assert area([9, 5], [5, 0], [0.25, 0.5]) == pytest.approx([(1 / 2 + 3 / 4) / 2, 3 / 4])


def test_pixel_found_beyond_the_limit_adds_nothing() -> None:
    assert area([0], [3, 2, 1, -1], [0.3, 0.75, 1.0]) == pytest.approx([0, 0, 0.25])


def test_regions_touch_by_corners() -> None:
    region, count = connected_regions(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool))
    assert count == 2
    np.testing.assert_array_equal(region, [[1, 0, 0, 2], [0, 1, 0, 2]])


@pytest.mark.parametrize("limits", [[0.0], [-0.1], [1.5], [0.3, 1.5]])
def test_limit_out_of_range_is_refused(limits: list[float]) -> None:
    with pytest.raises(ValueError, match="limits"):
        OverlapArea(np.ones(2), limits)
