"""Pairs of tasks, ranges and sizes."""

import pytest

from configuration.checks import check_tasks, check_values, task_ids
from configuration.merge import Value


def tasks(train: object, valid: object, num_task: int = 4) -> dict[str, Value]:
    return {
        "train_task_id": Value(train, "--train-task-id"),
        "valid_task_id": Value(valid, "--valid-task-id"),
        "num_task": Value(num_task, "x.yaml"),
    }


@pytest.mark.parametrize(
    ("setting", "train", "valid"),
    [
        ("vanilla", (0,), None),
        ("vanilla", (0, 2), None),
        ("semi", (0, 2), (2, 0)),
        ("noisy", (0,), (1, 2, 3)),
        ("continual", (2, 0), (0, 2)),
        ("continual", ("all",), ("all",)),
        ("transfer", (0,), (1,)),
    ],
)
def test_a_pair_that_makes_sense_passes(setting: str, train: object, valid: object) -> None:
    assert list(check_tasks(tasks(train, valid), setting)) == []


@pytest.mark.parametrize(
    ("setting", "train", "valid", "problem"),
    [
        ("vanilla", (0, 1), (0,), "--vanilla: every task has a model of its own"),
        ("vanilla", (99,), None, "--train-task-id: no task 99; choose from 0 to 3"),
        ("vanilla", (-1,), (-1,), "--train-task-id: no task -1; choose from 0 to 3"),
        ("vanilla", (0, 0), None, "--train-task-id: name one task or more, each once"),
        ("vanilla", (), None, "--train-task-id: name one task or more, each once"),
        ("continual", (0, 1), (0,), "--continual: the tasks trained on are the ones tested"),
        ("transfer", (0,), None, "--transfer: give one source task"),
        ("transfer", (0,), (0,), "--transfer: give one source task"),
        ("transfer", (0, 1), (2,), "--transfer: give one source task"),
        ("transfer", (0,), (1, 2), "--transfer: give one source task"),
        ("vanilla", ("all", 1), None, "--train-task-id: no task all; choose from 0 to 3, or all by itself"),
    ],
)
def test_a_pair_that_makes_none_is_refused(setting: str, train: object, valid: object, problem: str) -> None:
    assert next(check_tasks(tasks(train, valid), setting)).startswith(problem)


def test_the_same_tasks_are_tested_in_the_order_of_training() -> None:
    assert task_ids(tasks((2, 0), (0, 2))) == ((2, 0), (2, 0))
    assert task_ids(tasks(("all",), None)) == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert task_ids(tasks((1,), ("all",))) == ((1,), (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("key", "number", "is_fine"),
    [
        ("noisy_ratio", 0.0, True),
        ("noisy_ratio", -0.1, False),
        ("anomaly_cap", 1.0, True),
        ("anomaly_cap", 1.01, False),
        ("fewshot_exm", 0, False),
        ("gpu_id", -1, True),
        ("gpu_id", -2, False),
        ("seed", 0, True),
        ("train_batch_size", 0, False),
    ],
)
def test_numbers_have_their_range(key: str, number: float, is_fine: bool) -> None:
    assert (list(check_values({key: Value(number, "x.yaml")}, "vanilla")) == []) == is_fine


def test_a_crop_lies_within_its_image() -> None:
    sizes = {"data_size": Value(256, "x.yaml"), "data_crop_size": Value(257, "x.yaml")}
    assert list(check_values(sizes, "vanilla")) == [
        "x.yaml: 'data_crop_size' 257 pixels do not fit into data_size 256"
    ]
