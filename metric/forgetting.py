"""Forgetting measure of a continual run: how far the final scores fall below the best earlier ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating] | Sequence[Sequence[float | None]]


def forgetting(scores: Scores) -> tuple[float | None, float | None]:
    """Return the forgetting measure over the tasks but the last, and over all tasks.

    A task's forgetting is its maximum score over the earlier steps minus its final score (Chaudhry et al.,
    ECCV 2018); it is below zero where the task gained. The last task cannot be forgotten yet: it counts as 0
    in the second mean, which the published tables print, and not at all in the first.

    Args:
        scores: (T, T); row k holds the scores after training on task k, column j those on task j. Only the
            lower triangle is read. NaN or None is a score that does not exist; a task without a final or
            without any earlier score is left out of both means.

    Returns:
        None in place of a mean that has no task.

    Raises:
        ValueError: scores is not square.
    """
    table = np.array(scores, dtype=np.float64)  # None becomes NaN
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"scores must be (T, T), not {table.shape}")
    table[np.triu_indices(len(table), k=1)] = np.nan
    best = np.fmax.reduce(table[:-1, :-1], axis=0, initial=np.nan)
    lost = best - table[-1:, :-1].ravel()
    lost = lost[~np.isnan(lost)]
    if len(lost) == 0:
        return None, None
    num_tasks = len(lost) + int(not np.isnan(table[-1, -1]))
    return float(lost.mean()), float(lost.sum()) / num_tasks
