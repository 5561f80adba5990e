"""The semi-supervised setting: a few labelled anomalies among the training images."""

import random

from data_io.draws import ANOMALY_CAP, add_anomalies
from data_io.records import Split


def add_labelled_anomalies(
    split: Split, count: int, overlap: bool, rng: random.Random, anomaly_cap: float = ANOMALY_CAP
) -> Split:
    """Return the split with min(count, floor(anomaly_cap x A)) anomalies added to training.

    Args:
        split: training samples, and test samples of which A are anomalous.
        count: wanted number of anomalies.
        overlap: whether they stay in the test set.
        rng: the draw's own generator; a smaller count draws the first images of a larger one.
        anomaly_cap: share of the anomalies that may be drawn.

    Raises:
        UserError: the count or the cap is negative.
    """
    return add_anomalies(split, count, overlap, rng, anomaly_cap)
