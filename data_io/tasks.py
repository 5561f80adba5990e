"""Which classes make a task, and which tasks may be trained and tested together; no file is needed."""

from collections.abc import Iterable
from itertools import pairwise

from configuration.errors import UserError


def task_classes(num_classes: int, num_task: int) -> tuple[range, ...]:
    """Return the consecutive class ids of each task: chunks of ceil(num_classes / num_task).

    The last chunks are shorter where the classes would run out: every task has at least one class, so
    15 classes make 4 tasks of 4, 4, 4, 3 and 6 tasks of 3, 3, 3, 3, 2, 1.

    Raises:
        UserError: there are more tasks than classes, or none.
    """
    if not 1 <= num_task <= num_classes:
        raise UserError(
            f"num_task {num_task}: the data set has {num_classes} classes; set 1 to {num_classes}"
        )
    size = -(-num_classes // num_task)
    starts = [min(task_id * size, num_classes - (num_task - task_id)) for task_id in range(num_task + 1)]
    return tuple(range(start, end) for start, end in pairwise(starts))


def chosen_classes(task_ids: Iterable[int], num_classes: int, num_task: int) -> dict[int, range]:
    """Return the class ids of each of these tasks: what has to be on disk.

    Raises:
        UserError: there is no such task, or `num_task` does not fit.
    """
    chunks = task_classes(num_classes, num_task)
    chosen = sorted(set(task_ids))
    unknown = [task_id for task_id in chosen if not 0 <= task_id < num_task]
    if unknown:
        raise UserError(f"-tid/-vid {_typed(unknown)}: no such task; choose from 0 to {num_task - 1}")
    return {task_id: chunks[task_id] for task_id in chosen}


def _typed(ids: Iterable[int]) -> str:
    return " ".join(str(task_id) for task_id in ids)
