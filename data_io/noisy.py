"""The noisy setting: unlabelled anomalies among the normal training images."""

import random

from data_io.draws import ANOMALY_CAP, add_anomalies, floor_share
from data_io.records import Split


def add_noise(
    split: Split, ratio: float, overlap: bool, rng: random.Random, anomaly_cap: float = ANOMALY_CAP
) -> Split:
    """Return the split with min(floor(ratio x N), floor(anomaly_cap x A)) anomalies added to training.

    Args:
        split: N training samples, and test samples of which A are anomalous.
        ratio: noise images per training image; they are added, so their share is ratio / (1 + ratio).
        overlap: whether the noise images stay in the test set.
        rng: the draw's own generator; a smaller ratio draws the first images of a larger one.
        anomaly_cap: share of the anomalies that may be drawn.

    Raises:
        UserError: the ratio or the cap is negative.
    """
    return add_anomalies(split, floor_share(ratio, len(split.train)), overlap, rng, anomaly_cap)
