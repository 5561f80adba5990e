"""Area under the per-region overlap curve, exact: a marked pixel adds the area right of where it is found."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from metric.ranking import Ranks

AUPRO_LIMIT = 0.3  # false-positive rate, as in Bergmann et al., IJCV 129, 2021
EIGHT_CONNECTED = np.ones((3, 3), np.uint8)


class OverlapArea:
    """Running area under a weighted recall curve over the false-positive rate, divided by the limit.

    The curve joins the points of all distinct thresholds by straight lines, starts at (0, 0) and is cut at
    the limit. With weights of 1 / (regions x pixels of the region) the recall is the per-region overlap.

    Args:
        weight: (T,) what a pixel adds to the recall, by its tag in the ranking.
        limits: (L,) false-positive rates in (0, 1] to integrate to.

    Attributes:
        area: (L,) in [0, 1]; final once every block of a ranking is added.
    """

    def __init__(self, weight: NDArray[np.float64], limits: Sequence[float]) -> None:
        if not all(0 < limit <= 1 for limit in limits):
            raise ValueError(f"limits must lie in (0, 1], not {tuple(limits)}")
        self.weight = weight
        self.limits = tuple(limits)
        self.area = np.zeros(len(self.limits))

    def add(self, ranks: Ranks) -> None:
        """Add the share of one block."""
        weight = self.weight[ranks.tag]
        begin = ranks.normal_above / ranks.num_normal
        end = ranks.false_positive / ranks.num_normal
        for i, limit in enumerate(self.limits):
            self.area[i] += float(np.dot(weight, _area_right_of(begin, end, limit))) / limit


def _area_right_of(begin: NDArray[np.float64], end: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return the areas (K,) up to the limit under ramps from 0 at `begin` to 1 at `end`, 1 from there on.

    A ramp has a width where normal pixels have exactly the score of the marked pixel.
    """
    area = limit - np.minimum(end, limit)
    tied = np.flatnonzero((end > begin) & (begin < limit))
    climbed = np.minimum(end[tied], limit) - begin[tied]
    area[tied] += climbed**2 / (2 * (end[tied] - begin[tied]))
    return area


def connected_regions(ground_truth_mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the 8-connected regions of a mask (H, W) 1, 2, ..., unmarked pixels 0; return how many also."""
    region, count = ndimage.label(ground_truth_mask, EIGHT_CONNECTED)
    return region, count
