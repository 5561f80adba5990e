"""The forgetting measure of hand-computed tables."""

import numpy as np
import pytest

from metric.forgetting import forgetting

NAN = float("nan")


def test_three_tasks_by_hand() -> None:
    # Task 0: best of 0.9 and 0.95 less 0.7 is 0.25; task 1: 0.8 - 0.85 is -0.05; the last one counts as 0.
    scores = [[0.9, NAN, NAN], [0.95, 0.8, NAN], [0.7, 0.85, 0.6]]
    assert forgetting(scores) == pytest.approx((0.1, 0.2 / 3))


def test_upper_triangle_is_not_read() -> None:
    assert forgetting([[0.9, 1.0], [0.7, 0.8]]) == pytest.approx((0.2, 0.1))
    scores = [[0.9, 1.0, 1.0], [0.95, 0.8, 1.0], [0.7, 0.85, 0.6]]
    assert forgetting(scores) == pytest.approx((0.1, 0.2 / 3))


def test_missing_scores_leave_their_task_out() -> None:
    # Task 1 has no earlier score, task 2 no final one; tasks 0 and 3 remain.
    scores: list[list[float | None]] = [
        [None] * 4,
        [0.9, None, None, None],
        [0.8, None, 0.5, None],
        [0.6, 0.7, None, 0.9],
    ]
    assert forgetting(scores) == pytest.approx((0.3, 0.15))


def test_missing_last_task_is_left_out_of_both() -> None:
    assert forgetting([[0.9, None], [0.7, None]]) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("scores", [[[0.9]], [[None, None], [None, None]], [[0.9, None], [None, 0.5]]])
def test_none_where_no_task_could_be_forgotten(scores: list[list[float | None]]) -> None:
    assert forgetting(scores) == (None, None)


@pytest.mark.parametrize("shape", [(1, 2), (2,), (2, 2, 2)])
def test_table_that_is_not_square_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scores must be"):
        forgetting(np.zeros(shape))
