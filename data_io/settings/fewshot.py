"""The few-shot setting: training on a handful of normal images."""

import random
from collections.abc import Sequence

from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.draws import draw, task_rng
from data_io.records import Split
from data_io.steps import Drawn, PlannedStep, ShotCopies, TaskRecords, fewer_than_wanted, plan_each


def take_shots(split: Split, num_shots: int, rng: random.Random) -> Split:
    """Return the split with min(num_shots, N) of its N training samples, in the order of the draw.

    Args:
        split: training and test samples of one task; the test set stays whole.
        num_shots: wanted number of shots; those of a smaller number are the first of a larger one.
        rng: the draw's own generator.

    Raises:
        UserError: no shot is asked for.
    """
    if num_shots < 1:
        raise UserError(
            f"cannot train on {num_shots} images; set fewshot_exm (-fe) "
            "or transfer_target_sample_num (-ttn) to at least 1"
        )
    return Split(train=draw(split.train, num_shots, rng), test=split.test)


def plan_fewshot(
    trained: Sequence[TaskRecords], tested: Sequence[TaskRecords], config: RunConfig
) -> tuple[PlannedStep, ...]:
    """Plan a model for each task, on a few of its images and, where asked for, augmented copies of them."""
    keys = config.setting
    copies = ShotCopies(keys.fewshot_aug_type, keys.fewshot_num_dg) if keys.fewshot_data_aug else None
    return plan_each(trained, tested, config, _shots, copies)


def _shots(record: TaskRecords, config: RunConfig) -> Drawn:
    keys = config.setting
    few = take_shots(record.split, keys.fewshot_exm, task_rng(config.run.seed, "shots", record.name))
    augmentation = {
        "fewshot_num_dg": keys.fewshot_num_dg,
        "fewshot_aug_type": list(keys.fewshot_aug_type),
    }
    params = {
        "fewshot_exm": keys.fewshot_exm,
        "fewshot_data_aug": keys.fewshot_data_aug,
        "fewshot_feat_aug": keys.fewshot_feat_aug,
        **(augmentation if keys.fewshot_data_aug else {}),
        "drawn": len(few.train),
    }
    return Drawn(few, params, fewer_than_wanted(record.name, "fewshot_exm", keys.fewshot_exm, len(few.train)))
