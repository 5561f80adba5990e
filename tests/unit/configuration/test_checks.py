"""Pairs of tasks, ranges and sizes."""

from collections.abc import Mapping

import pytest

from configuration.checks import check_nets, check_tasks, check_values, task_ids
from configuration.merge import Value

LARGEST = {
    **dict.fromkeys(("data_size", "data_crop_size", "mask_size", "mask_crop_size"), 16384),
    "seed": 2**63 - 1,
    "anomaly_cap": 1,
    "num_task": 10_000,
    "num_workers": 1024,
    "cache_limit_gb": 1_000_000,
    "train_batch_size": 2**31 - 1,
    "data_memory_mb": 2**31 - 1,
    "_top_k": 2**31 - 1,
}
TIMM_HINT = "; if it is a model of timm, write timm/vgg61"


def problems(keys: Mapping[str, object], setting: str = "vanilla") -> list[str]:
    """Return what is wrong with values of a YAML file."""
    return list(check_values({key: Value(value, "x.yaml") for key, value in keys.items()}, setting))


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
        ("vanilla", (3,), (0,)),
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
        ("vanilla", (4,), None, "--train-task-id: no task 4; choose from 0 to 3"),
        ("vanilla", (0,), (9,), "--valid-task-id: no task 9; choose from 0 to 3"),
        ("vanilla", (0,), (1, 1), "--valid-task-id: name one task or more, each once"),
        ("semi", (0, 1), (2, 3), "--semi: every task has a model of its own"),
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


def test_one_problem_of_tasks_gives_one_line() -> None:
    assert len(list(check_tasks(tasks((0, 1), (0,)), "continual"))) == 1
    assert len(list(check_tasks(tasks((0,), (0,)), "transfer"))) == 1
    assert (
        list(check_tasks({key: tasks((0,), None)[key] for key in ("train_task_id", "num_task")}, "semi"))
        == []
    )


def test_the_same_tasks_are_tested_in_the_order_of_training() -> None:
    assert task_ids(tasks((2, 0), (0, 2))) == ((2, 0), (2, 0))
    assert task_ids(tasks(("all",), None)) == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert task_ids(tasks((1,), ("all",))) == ((1,), (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("smallest", "keys"),
    [
        (-1, "gpu_id"),
        (0, "num_workers data_memory_mb feature_memory_mb cache_limit_gb vis_num seed"),
        (0, "semi_anomaly_num noisy_ratio anomaly_cap fewshot_num_dg"),
        (0, "_lr _base_lr _dsc_lr _adaptor_lr _gamma _momentum _weight_decay _beta1 _beta2"),
        (1, "num_task data_size data_crop_size mask_size mask_crop_size batch_limit"),
        (1, "train_batch_size valid_batch_size num_epochs transfer_num_epochs checkpoint_every"),
        (1, "ref_num fewshot_exm transfer_target_sample_num"),
        (1000, "memory_limit_mb"),
    ],
)
def test_numbers_have_a_smallest_value(smallest: int, keys: str) -> None:
    for key in keys.split():
        assert problems({key: smallest}) == []
        (problem,) = problems({key: smallest - 1})
        assert problem.startswith(f"x.yaml: '{key}' must be ")


@pytest.mark.parametrize(("key", "largest"), LARGEST.items())
def test_some_numbers_have_a_largest_value(key: str, largest: int) -> None:
    assert problems({key: largest}) == []
    (problem,) = problems({key: largest + 1})
    assert problem.endswith((f" to {largest}, not {largest + 1}", f" at most {largest}, not {largest + 1}"))


@pytest.mark.parametrize(
    ("key", "number", "range_in_words"),
    [
        ("noisy_ratio", -0.1, "at least 0"),
        ("anomaly_cap", 1.01, "in 0 to 1"),
        ("_beta1", 1.0, "in 0 to 0.9999"),
        ("_beta2", 1.0, "in 0 to 0.9999"),
    ],
)
def test_a_number_out_of_range_is_told_its_range(key: str, number: float, range_in_words: str) -> None:
    assert problems({key: number}) == [f"x.yaml: '{key}' must be {range_in_words}, not {number}"]


def test_any_number_above_the_smallest_is_fine_where_there_is_no_largest() -> None:
    assert (
        problems(
            {
                "noisy_ratio": 3.0,
                "_lr": 1000.0,
                "train_batch_size": 10**6,
                "cache_limit_gb": 1e5,
                "gpu_id": 99,
            }
        )
        == []
    )


def test_a_crop_lies_within_its_image() -> None:
    sizes = {"data_size": Value(256, "x.yaml"), "data_crop_size": Value(257, "x.yaml")}
    assert list(check_values(sizes, "vanilla")) == [
        "x.yaml: 'data_crop_size' 257 pixels do not fit into data_size 256"
    ]
    assert problems({"mask_size": 256, "mask_crop_size": 257}) == [
        "x.yaml: 'mask_crop_size' 257 pixels do not fit into mask_size 256"
    ]
    assert problems({"data_size": 256, "data_crop_size": 256, "mask_size": 64, "mask_crop_size": 64}) == []
    assert problems({"mask_size": "native", "mask_crop_size": None}) == []
    assert problems({"mask_size": "native", "mask_crop_size": 64}) == [
        "x.yaml: 'mask_crop_size' is no number of pixels of a mask of native size; leave it null"
    ]


def test_labelled_anomalies_of_one_kind_leave_the_test_set() -> None:
    assert problems({"semi_kind": "crack", "semi_overlap": False}, "semi") == []
    assert problems({"semi_kind": None, "semi_overlap": True}, "semi") == []
    assert problems({"semi_kind": "crack", "semi_overlap": True}, "semi") == [
        "x.yaml: 'semi_kind' the test set lacks this kind; leave semi_overlap false"
    ]


def test_test_images_are_never_changed() -> None:
    assert problems({"valid_aug_type": "normal"}) == problems({"valid_aug_type": None}) == []
    assert len(problems({"valid_aug_type": "cutpaste"})) == 1


@pytest.mark.parametrize(
    ("net", "backbone", "inside", "lines"),
    [
        ("resnet18", "resnet18", None, []),
        ("timm/resnet10t", "timm/resnet10t", None, []),
        ("net_draem", "", None, []),
        ("net_cfa", "vgg16", "vgg16", []),
        ("net_cfa", "timm/resnet10t", "timm/resnet10t", []),
        ("timm/", "timm/", None, ["--net timm/: no such net; see --list"]),
        ("net_sfa", "", None, ["--net net_sfa: no such net; did you mean 'net_cfa'?"]),
        ("net_cfa", "vgg61", "vgg61", ["--backbone vgg61: no such net; did you mean 'vgg16'?" + TIMM_HINT]),
        ("net_cfa", "net_dra", "net_dra", ["--backbone net_dra: not a backbone; see --list"]),
    ],
)
def test_a_net_stands_in_the_table_and_its_backbone_is_one(
    net: str, backbone: str, inside: str | None, lines: list[str]
) -> None:
    trunk = Value(net, "--net") if backbone == net else Value(backbone, "--backbone")
    key = None if inside is None else Value(inside, "--backbone")
    assert list(check_nets(Value(net, "--net"), trunk, key)) == lines


def test_a_backbone_has_no_other_inside() -> None:
    net = Value("resnet18", "--net")
    assert list(check_nets(net, net, Value("vgg16", "x.yaml"))) == []
    assert list(check_nets(net, net, Value("vgg16", "--backbone"))) == [
        "--backbone: --net resnet18 is itself a backbone; leave it out"
    ]
