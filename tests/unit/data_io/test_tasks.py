import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.errors import UserError
from data_io.tasks import chosen_classes, task_classes
from tests.unit.data_io.made_splits import PROPERTY


@pytest.mark.parametrize(
    ("num_classes", "num_task", "lengths"),
    [
        (15, 15, [1] * 15),
        (15, 1, [15]),
        (15, 4, [4, 4, 4, 3]),
        (15, 5, [3] * 5),
        (15, 6, [3, 3, 3, 3, 2, 1]),  # plain chunks of three would leave task 5 without a class
        (10, 4, [3, 3, 3, 1]),
        (1, 1, [1]),
    ],
)
def test_tasks_are_chunks_of_classes(num_classes: int, num_task: int, lengths: list[int]) -> None:
    assert [len(chunk) for chunk in task_classes(num_classes, num_task)] == lengths


@PROPERTY
@given(st.integers(1, 60), st.data())
def test_every_class_is_in_one_task_and_no_task_is_empty(num_classes: int, data: st.DataObject) -> None:
    num_task = data.draw(st.integers(1, num_classes))
    chunks = task_classes(num_classes, num_task)
    assert len(chunks) == num_task
    assert all(chunks)
    assert [class_id for chunk in chunks for class_id in chunk] == list(range(num_classes))


@pytest.mark.parametrize("num_task", [0, -1, 16])
def test_a_number_of_tasks_that_the_classes_cannot_fill_is_refused(num_task: int) -> None:
    with pytest.raises(UserError, match=rf"num_task {num_task}: .*15 classes"):
        task_classes(15, num_task)


def test_only_the_classes_of_the_chosen_tasks_are_needed() -> None:
    assert chosen_classes([2, 0, 2], 15, 6) == {0: range(3), 2: range(6, 9)}


@pytest.mark.parametrize("task_id", [6, -1])
def test_a_task_that_does_not_exist_is_refused(task_id: int) -> None:
    with pytest.raises(UserError, match=rf"-tid/-vid {task_id}: .*0 to 5"):
        chosen_classes([0, task_id], 15, 6)


def test_all_tasks_that_do_not_exist_are_named() -> None:
    with pytest.raises(UserError, match=r"-tid/-vid -1 6 7: no such task; choose from 0 to 5"):
        chosen_classes([7, 6, 0, -1], 15, 6)
