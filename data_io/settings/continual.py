"""The continual setting: one model that learns task after task."""

from collections.abc import Sequence

from configuration.config import RunConfig
from data_io.steps import PlannedStep, TaskRecords


def plan_continual(
    trained: Sequence[TaskRecords], tested: Sequence[TaskRecords], config: RunConfig
) -> tuple[PlannedStep, ...]:
    """Plan the tasks in their order, each followed by the tests of all tasks seen so far."""
    tests = [record.tests(record.split.test) for record in trained]
    return tuple(
        PlannedStep(
            record.task(step, config),
            record.split.train,
            sum(tests[: step + 1], ()),
            is_fresh=step == 0,
            drawn={},
        )
        for step, record in enumerate(trained)
    )
