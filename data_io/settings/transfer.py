"""The transfer setting: training on a source task, then on a few normal images of a target task."""

from collections.abc import Sequence

from configuration.config import RunConfig
from data_io.draws import task_rng
from data_io.settings.fewshot import take_shots
from data_io.steps import PlannedStep, TaskRecords, fewer_than_wanted


def plan_transfer(
    trained: Sequence[TaskRecords], tested: Sequence[TaskRecords], config: RunConfig
) -> tuple[PlannedStep, ...]:
    """Plan both steps; source and target are tested after each of them."""
    (source,), (target,) = trained, tested
    num_shots = config.setting.transfer_target_sample_num
    shots = take_shots(target.split, num_shots, task_rng(config.run.seed, "shots", target.name)).train
    tests = source.tests(source.split.test) + target.tests(target.split.test)
    wanted = {"transfer_target_sample_num": num_shots, "source": source.id, "target": target.id}
    first, second = source.task(0, config), target.task(1, config)
    notes = fewer_than_wanted(target.name, "transfer_target_sample_num", num_shots, len(shots))
    return (
        PlannedStep(first, source.split.train, tests, is_fresh=True, drawn={**wanted, "drawn": 0}),
        PlannedStep(second, shots, tests, is_fresh=False, drawn={**wanted, "drawn": len(shots)}, notes=notes),
    )
