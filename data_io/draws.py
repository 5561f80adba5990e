"""Draws from the samples of a task: nested (a small draw is the start of a large one), one generator each."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction

from configuration.errors import UserError
from data_io.records import Sample, Split, derive_seed

ANOMALY_CAP = 0.75  # share of a task's test anomalies that may be drawn: the test must keep some


def task_rng(seed: int, purpose: str, task_name: str) -> random.Random:
    """Return a fresh generator that depends on its three arguments and on nothing else."""
    return random.Random(derive_seed(seed, purpose, task_name))


def draw(samples: Sequence[Sample], count: int, rng: random.Random) -> tuple[Sample, ...]:
    """Return the first `count` of the shuffled samples, all of them where there are fewer.

    Raises:
        UserError: the count is negative.
    """
    if count < 0:
        raise UserError(f"cannot draw {count} images; give a number, ratio or cap of at least 0")
    shuffled = list(samples)
    rng.shuffle(shuffled)
    return tuple(shuffled[:count])


def floor_share(share: float, count: int) -> int:
    """Return floor(share x count) of the decimal number as typed: 0.29 of 100 is 29, not 28."""
    return math.floor(Fraction(str(share)) * count)


def add_anomalies(split: Split, count: int, overlap: bool, rng: random.Random, anomaly_cap: float) -> Split:
    """Return the split with real anomalies of its test set appended to its training set.

    Args:
        split: training and test samples of one task.
        count: wanted number of anomalies; fewer are drawn where the cap says so.
        overlap: whether the drawn images stay in the test set.
        rng: the draw's own generator.
        anomaly_cap: share of the anomalies that may be drawn.
    """
    anomalies = [sample for sample in split.test if sample.image_label == 1]
    drawn = draw(anomalies, min(count, floor_share(anomaly_cap, len(anomalies))), rng)
    removed = frozenset() if overlap else frozenset(drawn)
    kept = tuple(sample for sample in split.test if sample not in removed)
    return Split(train=(*split.train, *drawn), test=kept)
