"""The semi-supervised setting: a few labelled anomalies among the training images."""

import random
from collections.abc import Sequence

from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.draws import ANOMALY_CAP, add_anomalies, task_rng
from data_io.records import Split
from data_io.steps import Drawn, PlannedStep, TaskRecords, fewer_than_wanted, plan_each


def add_labelled_anomalies(
    split: Split,
    count: int,
    overlap: bool,
    rng: random.Random,
    anomaly_cap: float = ANOMALY_CAP,
    kind: str | None = None,
) -> Split:
    """Return the split with min(count, floor(anomaly_cap x A)) anomalies added to training.

    Args:
        split: training samples, and test samples of which A are anomalous.
        count: wanted number of anomalies.
        overlap: whether they stay in the test set.
        rng: the draw's own generator; a smaller count draws the first images of a larger one.
        anomaly_cap: share of the anomalies that may be drawn.
        kind: of defect that alone is drawn; the test set then has the other kinds only, the hard setting of
            Ding et al., CVPR 2022. None for all kinds.

    Raises:
        UserError: the count or the cap is negative, or there are no anomalies of this kind or of no other.
    """
    if kind is None:
        return add_anomalies(split, count, overlap, rng, anomaly_cap)
    kinds = sorted({sample.kind for sample in split.test if sample.image_label == 1})
    if kind not in kinds or len(kinds) == 1:
        raise UserError(f"semi_kind {kind}: there must be this kind of defect and another; found {kinds}")
    known, others = (
        tuple(sample for sample in split.test if (sample.kind == kind) == is_known)
        for is_known in (True, False)
    )
    drawn = add_anomalies(Split(train=split.train, test=known), count, False, rng, anomaly_cap)
    return Split(train=drawn.train, test=others)


def plan_semi(
    trained: Sequence[TaskRecords], tested: Sequence[TaskRecords], config: RunConfig
) -> tuple[PlannedStep, ...]:
    """Plan a model for each task, with labelled anomalies among its images."""
    return plan_each(trained, tested, config, _with_anomalies)


def _with_anomalies(record: TaskRecords, config: RunConfig) -> Drawn:
    keys, split = config.setting, record.split
    rng = task_rng(config.run.seed, "labelled anomalies", record.name)
    semi = add_labelled_anomalies(
        split, keys.semi_anomaly_num, keys.semi_overlap, rng, keys.anomaly_cap, keys.semi_kind
    )
    num_drawn = len(semi.train) - len(split.train)
    params = {
        "semi_anomaly_num": keys.semi_anomaly_num,
        "semi_overlap": keys.semi_overlap,
        "semi_kind": keys.semi_kind,
        "anomaly_cap": keys.anomaly_cap,
        "drawn": num_drawn,
    }
    return Drawn(
        semi, params, fewer_than_wanted(record.name, "semi_anomaly_num", keys.semi_anomaly_num, num_drawn)
    )
