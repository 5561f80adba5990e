"""The vanilla setting: training on all normal images of a task."""

from collections.abc import Sequence

from configuration.config import RunConfig
from data_io.steps import Drawn, PlannedStep, TaskRecords, plan_each


def plan_vanilla(
    trained: Sequence[TaskRecords], tested: Sequence[TaskRecords], config: RunConfig
) -> tuple[PlannedStep, ...]:
    """Plan a model for each task."""
    return plan_each(trained, tested, config, lambda record, _config: Drawn(record.split))
