"""Which rows the summary of a run is taken over, and how much a run of several tasks forgot."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from configuration.config import RunConfig
from data_io.data_holder import Step
from metric.forgetting import forgetting
from tools.record_helper import METRICS, ResultRow

Whole = Mapping[tuple[int, int], ResultRow]  # (number of the step, tested task) -> row of the whole task


def whole_rows(steps: Sequence[Step], rows: Iterable[tuple[int, ResultRow]]) -> Whole:
    """Return the rows that stand for whole tasks, not for single classes of them.

    Args:
        steps: of the run.
        rows: each with the number of its step.
    """
    whole = {
        (step.number, test.plan.task_id, test.plan.category)
        for step in steps
        for test in step.tests
        if test.plan.is_whole
    }
    return {
        (number, row.valid_task): row
        for number, row in rows
        if (number, row.valid_task, row.valid_category) in whole
    }


def summarised(config: RunConfig, whole: Whole) -> list[ResultRow]:
    """Return the rows to take means over: all; of a sequence the last step's; of a pair the target's last."""
    last_step = max(number for number, _ in whole)
    match config.setting_row.order:
        case "sequence":
            return [row for (number, _), row in whole.items() if number == last_step]
        case "pair":
            return [whole[last_step, config.run.valid_task_ids[0]]]
        case "each":
            return list(whole.values())


def forgetting_measures(config: RunConfig, whole: Whole) -> dict[str, float | None]:
    """Return fm_<metric> and fm_all_<metric> of a sequence of tasks; nothing of other runs."""
    measures: dict[str, float | None] = {}
    if config.setting_row.order != "sequence":
        return measures
    tasks = config.run.train_task_ids
    for metric in METRICS:
        scores = [
            [getattr(whole.get((step, task)), metric, None) for task in tasks] for step in range(len(tasks))
        ]
        table = np.array(scores, np.float64)  # (T, T) by step and task, NaN where there is none
        measures[f"fm_{metric}"], measures[f"fm_all_{metric}"] = forgetting(table)
    return measures
