"""The steps of a run: what is trained on, and what is tested after it, in every setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configuration.config import RunConfig, Setting, SettingSection
from data_io.draws import task_rng
from data_io.fewshot import take_shots
from data_io.noisy import add_noise
from data_io.records import Sample, Split, Task
from data_io.semi import add_labelled_anomalies
from data_io.tasks import chosen_classes

POOLED = "all"  # category of the test set that holds every category of a task


@dataclass(frozen=True)
class TestSet:
    """What one result row is computed on.

    Args:
        task_id: the tested task.
        category: name of the class; "all" for all classes of a task together.
        samples: the test images, in the order listed by the data set.
    """

    task_id: int
    category: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class PlannedStep:
    """One training and the tests that follow it.

    Args:
        task: what the method is told.
        train: the training images; shots come in the order of their draw, drawn anomalies last.
        tests: the test sets; the last one of a task stands for the whole task.
        is_fresh: whether a new model starts here; else the last step's model goes on.
        drawn: the setting's parameters and, as "drawn", the number of images really drawn; JSON-able.
    """

    task: Task
    train: tuple[Sample, ...]
    tests: tuple[TestSet, ...]
    is_fresh: bool
    drawn: Mapping[str, object]


@dataclass(frozen=True)
class _TaskRecords:
    """The samples of one task: all of them, and the test samples by category."""

    id: int
    split: Split
    test_by_category: Mapping[str, tuple[Sample, ...]]

    @property
    def name(self) -> str:
        return "+".join(self.test_by_category)

    def tests(self, test: tuple[Sample, ...]) -> tuple[TestSet, ...]:
        """Return one test set per category and, where there are several, the pooled one; of `test` only."""
        kept = frozenset(test)
        found = [
            TestSet(self.id, category, tuple(sample for sample in samples if sample in kept))
            for category, samples in self.test_by_category.items()
        ]
        return (*found, TestSet(self.id, POOLED, test)) if len(found) > 1 else tuple(found)


def plan(splits: Mapping[int, Split], names: Sequence[str], config: RunConfig) -> tuple[PlannedStep, ...]:
    """Return the ordered steps of a run, the same for the same seed.

    Args:
        splits: training and test samples by class id; only the classes of the chosen tasks are needed.
        names: class names of the whole data set, by class id.
        config: the run; nothing of it is read but setting, tasks and seed.

    Raises:
        UserError: the chosen tasks do not exist, or a number is out of range.
    """
    run = config.run
    chosen = chosen_classes((*run.train_task_ids, *run.valid_task_ids), len(names), config.data.num_task)
    records = {
        task_id: _TaskRecords(
            task_id,
            Split(
                tuple(sample for class_id in class_ids for sample in splits[class_id].train),
                tuple(sample for class_id in class_ids for sample in splits[class_id].test),
            ),
            {names[class_id]: tuple(splits[class_id].test) for class_id in class_ids},
        )
        for task_id, class_ids in chosen.items()
    }
    trained = [records[task_id] for task_id in run.train_task_ids]
    tested = [records[task_id] for task_id in run.valid_task_ids]
    if run.setting is Setting.CONTINUAL:
        return _continual(trained, config)
    if run.setting is Setting.TRANSFER:
        return _transfer(trained[0], tested[0], config)
    if len(trained) == 1:
        return (_independent(trained[0], tested, config),)
    return tuple(_independent(record, [record], config) for record in trained)


def _task(record: _TaskRecords, step: int, config: RunConfig) -> Task:
    return Task(record.id, record.name, config.run.setting.value, step, config.run.seed)


def _independent(trained: _TaskRecords, tested: Sequence[_TaskRecords], config: RunConfig) -> PlannedStep:
    """Plan a model of its own for one task; images that it trains on leave this task's test set."""
    split, drawn = _draw(trained, config)
    tests = [record.tests(split.test if record is trained else record.split.test) for record in tested]
    return PlannedStep(_task(trained, 0, config), split.train, sum(tests, ()), is_fresh=True, drawn=drawn)


def _continual(records: Sequence[_TaskRecords], config: RunConfig) -> tuple[PlannedStep, ...]:
    """Plan one model that learns task after task and is tested on all tasks seen so far."""
    tests = [record.tests(record.split.test) for record in records]
    return tuple(
        PlannedStep(
            _task(record, step, config),
            record.split.train,
            sum(tests[: step + 1], ()),
            is_fresh=step == 0,
            drawn={},
        )
        for step, record in enumerate(records)
    )


def _transfer(source: _TaskRecords, target: _TaskRecords, config: RunConfig) -> tuple[PlannedStep, ...]:
    """Plan training on the source, then on a few images of the target; both are tested after each."""
    num_shots = config.setting.transfer_target_sample_num
    shots = take_shots(target.split, num_shots, task_rng(config.run.seed, "shots", target.name)).train
    tests = source.tests(source.split.test) + target.tests(target.split.test)
    wanted = {"transfer_target_sample_num": num_shots, "source": source.id, "target": target.id}
    return (
        PlannedStep(_task(source, 0, config), source.split.train, tests, True, {**wanted, "drawn": 0}),
        PlannedStep(_task(target, 1, config), shots, tests, False, {**wanted, "drawn": len(shots)}),
    )


def _draw(record: _TaskRecords, config: RunConfig) -> tuple[Split, dict[str, object]]:
    """Return the split that the setting makes of a task, and what to write about it in the row."""
    keys, split = config.setting, record.split
    match config.run.setting:
        case Setting.NOISY:
            rng = task_rng(config.run.seed, "noise", record.name)
            noisy = add_noise(split, keys.noisy_ratio, keys.noisy_overlap, rng, keys.anomaly_cap)
            return noisy, {
                "noisy_ratio": keys.noisy_ratio,
                "noisy_overlap": keys.noisy_overlap,
                "anomaly_cap": keys.anomaly_cap,
                "drawn": len(noisy.train) - len(split.train),
            }
        case Setting.SEMI:
            rng = task_rng(config.run.seed, "labelled anomalies", record.name)
            semi = add_labelled_anomalies(
                split, keys.semi_anomaly_num, keys.semi_overlap, rng, keys.anomaly_cap, keys.semi_kind
            )
            return semi, {
                "semi_anomaly_num": keys.semi_anomaly_num,
                "semi_overlap": keys.semi_overlap,
                "semi_kind": keys.semi_kind,
                "anomaly_cap": keys.anomaly_cap,
                "drawn": len(semi.train) - len(split.train),
            }
        case Setting.FEWSHOT:
            rng = task_rng(config.run.seed, "shots", record.name)
            few = take_shots(split, keys.fewshot_exm, rng)
            return few, {**_fewshot_keys(keys), "drawn": len(few.train)}
        case Setting.VANILLA | Setting.CONTINUAL | Setting.TRANSFER:
            return split, {}


def _fewshot_keys(keys: SettingSection) -> dict[str, object]:
    augmentation = {
        "fewshot_num_dg": keys.fewshot_num_dg,
        "fewshot_aug_type": list(keys.fewshot_aug_type),
    }
    return {
        "fewshot_exm": keys.fewshot_exm,
        "fewshot_data_aug": keys.fewshot_data_aug,
        "fewshot_feat_aug": keys.fewshot_feat_aug,
        **(augmentation if keys.fewshot_data_aug else {}),
    }
