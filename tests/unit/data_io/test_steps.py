"""The order of events, and upstream's defects of sampling (1) and evaluation order (3) as negative tests."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.errors import UserError
from data_io.records import Split, Task
from data_io.steps import PlannedStep, plan
from tests.unit.data_io.made_splits import PROPERTY, SEEDS, data_sets, make_config, make_split, names_of

DRAWING = ["semi", "fewshot", "noisy"]
INDEPENDENT = ["vanilla", *DRAWING]
FOUR = {class_id: make_split(f"class{class_id}", 30, 6, 8 + class_id, class_id) for class_id in range(4)}
NAMES = names_of(FOUR)


def planned(
    setting: str, train: tuple[int, ...], valid: tuple[int, ...], num_task: int = 4, **keys: Any
) -> tuple[PlannedStep, ...]:
    return plan(FOUR, NAMES, make_config(setting, train, valid, num_task, **keys))


def pairs(steps: tuple[PlannedStep, ...]) -> list[tuple[int, int]]:
    return [(step.task.id, test.task_id) for step in steps for test in step.tests]


@st.composite
def runs(draw: st.DrawFn, choices: list[str]) -> tuple[dict[int, Split], str, tuple[int, ...]]:
    data_set = draw(data_sets())
    order = draw(st.permutations(list(data_set)))
    return data_set, draw(st.sampled_from(choices)), tuple(order[: draw(st.integers(1, len(order)))])


@PROPERTY
@given(runs([*INDEPENDENT, "continual"]), st.booleans(), SEEDS)
def test_no_training_image_is_tested_unless_overlap_says_so(
    run: tuple[dict[int, Split], str, tuple[int, ...]], overlap: bool, seed: int
) -> None:
    data_set, setting, ids = run
    config = make_config(
        setting, ids, ids, len(data_set), seed, noisy_ratio=0.5, noisy_overlap=overlap, semi_overlap=overlap
    )
    for step in plan(data_set, names_of(data_set), config):
        tested = {sample for test in step.tests for sample in test.samples}
        shared = tested & set(step.train)
        expected = {sample for sample in step.train if sample.image_label} if overlap else set()
        assert shared == expected


@PROPERTY
@given(runs(DRAWING), SEEDS)
def test_a_draw_depends_neither_on_other_tasks_nor_on_their_order_nor_on_use_before(
    run: tuple[dict[int, Split], str, tuple[int, ...]], seed: int
) -> None:
    data_set, setting, ids = run
    names = names_of(data_set)
    together = plan(data_set, names, make_config(setting, ids, ids, len(data_set), seed))
    random.seed(seed)
    for task_id, step in zip(ids, together, strict=True):
        config = make_config(setting, (task_id,), (task_id,), len(data_set), seed)
        assert plan({task_id: data_set[task_id]}, names, config) == (step,)


@PROPERTY
@given(runs(DRAWING), SEEDS)
def test_the_row_says_what_was_really_drawn(
    run: tuple[dict[int, Split], str, tuple[int, ...]], seed: int
) -> None:
    data_set, setting, ids = run
    config = make_config(setting, ids, ids, len(data_set), seed)
    for step in plan(data_set, names_of(data_set), config):
        whole = data_set[step.task.id]
        taken = set(step.train) - (set(whole.train) if setting != "fewshot" else set())
        assert step.drawn["drawn"] == len(taken)
        assert {sample.image_label for sample in taken} <= {int(setting != "fewshot")}
        assert json.loads(json.dumps(step.drawn)) == step.drawn


@pytest.mark.parametrize("setting", DRAWING)
def test_the_same_seed_gives_the_same_files_and_another_seed_others(setting: str) -> None:
    drawn = [planned(setting, (3,), (3,), seed=seed, noisy_ratio=0.2)[0].train for seed in range(30)]
    assert drawn == [planned(setting, (3,), (3,), seed=seed, noisy_ratio=0.2)[0].train for seed in range(30)]
    assert len(set(drawn)) > 25


def test_a_seed_draws_the_same_images_in_every_release() -> None:
    expected = (
        [7, 8, 1, 3, 6],  # labelled anomalies
        [2, 24, 14, 28, 25],  # shots
        [7, 6, 3, 10, 5, 9],  # noise
    )
    for setting, numbers in zip(DRAWING, expected, strict=True):
        (step,) = planned(setting, (3,), (3,), noisy_ratio=0.2)
        assert [int(sample.path.stem) for sample in step.train[-len(numbers) :]] == numbers


def test_the_row_carries_the_parameters_of_its_setting() -> None:
    def drawn(setting: str, **keys: Any) -> object:
        return planned(setting, (0,), (0,), **keys)[0].drawn

    assert drawn("vanilla") == {}
    assert drawn("noisy") == {
        "noisy_ratio": 0.1,
        "noisy_overlap": False,
        "anomaly_cap": 0.75,
        "drawn": 3,
    }
    assert drawn("semi", semi_anomaly_num=10) == {
        "semi_anomaly_num": 10,
        "semi_overlap": False,
        "semi_kind": None,
        "anomaly_cap": 0.75,
        "drawn": 6,
    }
    plain = {"fewshot_exm": 40, "fewshot_data_aug": False, "fewshot_feat_aug": False, "drawn": 30}
    assert drawn("fewshot", fewshot_exm=40) == plain
    augmented = {"fewshot_data_aug": True, "fewshot_num_dg": 4, "fewshot_aug_type": ["rotation"]}
    assert drawn("fewshot", fewshot_exm=40, fewshot_data_aug=True) == {**plain, **augmented}


def test_continual_is_one_model_tested_on_all_tasks_seen_so_far() -> None:
    steps = planned("continual", (2, 0, 3), (2, 0, 3))
    assert pairs(steps) == [(2, 2), (0, 2), (0, 0), (3, 2), (3, 0), (3, 3)]
    assert [step.is_fresh for step in steps] == [True, False, False]
    assert [step.task.step for step in steps] == [0, 1, 2]
    assert [step.train for step in steps] == [FOUR[2].train, FOUR[0].train, FOUR[3].train]
    assert steps[1].task == Task(id=0, name="class0", setting="continual", step=1, seed=66)
    assert [step.drawn for step in steps] == [{}, {}, {}]
    tested = [test.samples for test in steps[2].tests]
    assert tested == [FOUR[2].test, FOUR[0].test, FOUR[3].test]


def test_transfer_trains_on_a_few_target_images_after_the_source() -> None:
    steps = planned("transfer", (2,), (1,), transfer_target_sample_num=8)
    assert [step.task.step for step in steps] == [0, 1]
    assert [step.is_fresh for step in steps] == [True, False]
    assert steps[0].train == FOUR[2].train
    assert len(steps[1].train) == 8
    assert set(steps[1].train) <= set(FOUR[1].train)
    told = {"transfer_target_sample_num": 8, "source": 2, "target": 1}
    assert [step.drawn for step in steps] == [{**told, "drawn": 0}, {**told, "drawn": 8}]
    assert steps[1].task == Task(id=1, name="class1", setting="transfer", step=1, seed=66)
    assert [test.samples for test in steps[0].tests] == [FOUR[2].test, FOUR[1].test]
    assert steps[1].train == planned("fewshot", (1,), (1,), fewshot_exm=8)[0].train


def test_a_single_task_can_be_tested_on_others() -> None:
    (step,) = planned("noisy", (1,), (3, 1), noisy_ratio=0.2)
    assert pairs((step,)) == [(1, 3), (1, 1)]
    assert step.tests[0].samples == FOUR[3].test
    assert len(step.tests[1].samples) == len(FOUR[1].test) - 6


def test_one_model_over_all_classes_is_tested_by_category_and_on_all() -> None:
    (step,) = planned("vanilla", (0,), (0,), num_task=1)
    assert step.task.name == "class0+class1+class2+class3"
    assert step.train == sum((split.train for split in FOUR.values()), ())
    assert [test.category for test in step.tests] == [*NAMES, "all"]
    assert [test.samples for test in step.tests[:-1]] == [split.test for split in FOUR.values()]
    assert step.tests[-1].samples == sum((split.test for split in FOUR.values()), ())


def test_classes_in_chunks_of_unequal_length() -> None:
    steps = planned("continual", (0, 1, 2), (0, 1, 2), num_task=3)
    names = ["class0", "class1", "all"], ["class2"], ["class3"]
    assert [test.category for test in steps[2].tests] == [name for task in names for name in task]
    assert [step.task.id for step in steps] == [0, 1, 2]


def test_drawn_images_leave_their_category_and_the_pooled_test_set() -> None:
    (step,) = planned("semi", (0,), (0,), num_task=1, semi_anomaly_num=12)
    by_category = [sample for test in step.tests[:-1] for sample in test.samples]
    assert tuple(by_category) == step.tests[-1].samples
    assert len(by_category) == sum(len(split.test) for split in FOUR.values()) - 12
    assert set(by_category).isdisjoint(step.train)


@pytest.mark.parametrize(("setting", "cap", "drawn"), [(DRAWING[0], 0.25, 2), (DRAWING[2], 0.5, 5)])
def test_the_cap_bounds_what_is_drawn(setting: Any, cap: float, drawn: int) -> None:
    (step,) = planned(setting, (3,), (3,), anomaly_cap=cap, semi_anomaly_num=9, noisy_ratio=0.9)
    assert (step.drawn["anomaly_cap"], step.drawn["drawn"]) == (cap, drawn)
    assert len(step.train) == len(FOUR[3].train) + drawn


def test_one_kind_of_defects_is_learned_and_the_others_are_tested() -> None:
    test = tuple(
        replace(sample, kind="crack" if row % 2 else "hole") if sample.image_label else sample
        for row, sample in enumerate(FOUR[3].test)
    )
    config = make_config(DRAWING[0], (3,), (3,), 4, semi_kind="crack", semi_anomaly_num=2)
    (step,) = plan({3: Split(FOUR[3].train, test)}, NAMES, config)
    assert [sample.kind for sample in step.train if sample.image_label] == ["crack", "crack"]
    assert {sample.kind for sample in step.tests[0].samples if sample.image_label} == {"hole"}
    assert step.drawn["semi_kind"] == "crack"


def test_wrong_tasks_are_refused() -> None:
    with pytest.raises(UserError, match="no such task"):
        planned("vanilla", (4,), (4,))
    with pytest.raises(UserError, match="at least 1"):
        planned("transfer", (0,), (1,), transfer_target_sample_num=0)


# Upstream's defects: 1.x sampling, 3.x order of evaluation.


@pytest.mark.parametrize("setting", ["semi", "noisy"])
def test_upstream_1_1_normal_test_images_are_not_drawn_as_anomalies(setting: str) -> None:
    few_anomalies = {0: make_split("class0", 100, 60, 10, order=3)}
    for seed in range(20):
        config = make_config(setting, (0,), (0,), 1, seed)
        (step,) = plan(few_anomalies, ["class0"], config)
        assert {sample.image_label for sample in step.train[100:]} == {1}


def test_upstream_1_2_a_task_with_few_anomalies_does_not_lower_the_number_of_the_next() -> None:
    data_set = {0: make_split("class0", 9, 9, 5), 1: make_split("class1", 9, 9, 40)}
    config = make_config("semi", (0, 1), (0, 1), 2, semi_anomaly_num=10)
    assert [step.drawn["drawn"] for step in plan(data_set, ["class0", "class1"], config)] == [3, 10]


def test_upstream_1_3_the_draw_is_seeded_by_the_run_and_not_by_the_global_generator() -> None:
    random.seed(1)
    first = planned("fewshot", (0,), (0,))
    random.seed(2)
    assert planned("fewshot", (0,), (0,)) == first


def test_upstream_1_4_several_vanilla_tasks_are_independent_models() -> None:
    steps = planned("vanilla", (2, 0), (2, 0))
    assert pairs(steps) == [(2, 2), (0, 0)]
    assert all(step.is_fresh and step.task.step == 0 for step in steps)


def test_upstream_1_5_test_images_keep_the_order_of_the_data_set() -> None:
    for setting in INDEPENDENT:
        for step in planned(setting, (0, 1), (0, 1)):
            listed = FOUR[step.task.id].test
            (test,) = step.tests
            assert [listed.index(sample) for sample in test.samples] == sorted(
                listed.index(sample) for sample in test.samples
            )


def test_upstream_1_6_classes_that_nobody_asked_for_need_not_be_there() -> None:
    config = make_config("noisy", (3,), (3,), 4)
    assert plan({3: FOUR[3]}, NAMES, config) == planned("noisy", (3,), (3,))


def test_upstream_3_1_the_method_is_told_the_task_and_not_the_position() -> None:
    assert [step.task.id for step in planned("continual", (3, 1), (3, 1))] == [3, 1]
    assert [step.task.name for step in planned("continual", (3, 1), (3, 1))] == ["class3", "class1"]


def test_upstream_3_2_no_typed_task_is_left_untested() -> None:
    assert pairs(planned("vanilla", (0,), (1, 2, 3))) == [(0, 1), (0, 2), (0, 3)]


def test_upstream_3_3_transfer_tests_source_and_target_after_both_steps() -> None:
    assert pairs(planned("transfer", (0,), (1,))) == [(0, 0), (0, 1), (1, 0), (1, 1)]
