"""The noisy setting: unlabelled anomalies among the normal training images."""

import random
from collections.abc import Sequence

from configuration.config import RunConfig
from data_io.draws import ANOMALY_CAP, add_anomalies, floor_share, task_rng
from data_io.records import Split
from data_io.steps import Drawn, PlannedStep, TaskRecords, fewer_than_wanted, plan_each


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


def plan_noisy(
    trained: Sequence[TaskRecords], tested: Sequence[TaskRecords], config: RunConfig
) -> tuple[PlannedStep, ...]:
    """Plan a model for each task, with noise among its images."""
    return plan_each(trained, tested, config, _with_noise)


def _with_noise(record: TaskRecords, config: RunConfig) -> Drawn:
    keys, split = config.setting, record.split
    rng = task_rng(config.run.seed, "noise", record.name)
    noisy = add_noise(split, keys.noisy_ratio, keys.noisy_overlap, rng, keys.anomaly_cap)
    drawn, wanted = len(noisy.train) - len(split.train), floor_share(keys.noisy_ratio, len(split.train))
    ratio: dict[str, object] = {"noisy_ratio": keys.noisy_ratio}
    if drawn < wanted:
        ratio = {"noisy_ratio": drawn / len(split.train), "noisy_ratio_asked": keys.noisy_ratio}
    params = {
        **ratio,
        "noisy_overlap": keys.noisy_overlap,
        "anomaly_cap": keys.anomaly_cap,
        "drawn": drawn,
    }
    return Drawn(noisy, params, fewer_than_wanted(record.name, "noisy_ratio", wanted, drawn))
