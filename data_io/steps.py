"""The steps of a run: what is trained on, and what is tested after it; `data_io/settings/` plans them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from configuration import registration
from configuration.config import RunConfig, ShotAugType
from data_io.records import Sample, Split, Task
from data_io.tasks import chosen_classes

ALL_CLASSES = "all"  # category of the test set that holds every class of a task


@dataclass(frozen=True)
class TestSet:
    """What one result row is computed on.

    Args:
        task_id: the tested task.
        category: name of the class; "all" for all classes of a task together.
        samples: the test images, in the order listed by the data set.
        is_whole: whether these are all test images of the task.
    """

    task_id: int
    category: str
    samples: tuple[Sample, ...]
    is_whole: bool


@dataclass(frozen=True)
class ShotCopies:
    """The augmented copies that training images get.

    Args:
        kinds: what is done to them.
        count: copies of each image, besides the image itself.
    """

    kinds: tuple[ShotAugType, ...]
    count: int


@dataclass(frozen=True)
class PlannedStep:
    """One training and the tests that follow it.

    Args:
        task: what the method is told.
        train: the training images; shots come in the order of their draw, drawn anomalies last.
        tests: the test sets.
        is_fresh: whether a new model starts here; else the last step's model goes on.
        drawn: the setting's parameters and, as "drawn", the number of images really drawn; JSON-able.
        copies: augmented copies of the training images; None for none.
        notes: lines for the user, such as fewer images than asked for.
    """

    task: Task
    train: tuple[Sample, ...]
    tests: tuple[TestSet, ...]
    is_fresh: bool
    drawn: Mapping[str, object]
    copies: ShotCopies | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskRecords:
    """The samples of one task: all of them, and the test samples by category."""

    id: int
    split: Split
    test_by_category: Mapping[str, tuple[Sample, ...]]

    @property
    def name(self) -> str:
        """The category or categories."""
        return "+".join(self.test_by_category)

    def tests(self, test: tuple[Sample, ...]) -> tuple[TestSet, ...]:
        """Return one test set per category and, where there are several, the pooled one; of `test` only."""
        kept = frozenset(test)
        is_single = len(self.test_by_category) == 1
        found = tuple(
            TestSet(self.id, category, tuple(sample for sample in samples if sample in kept), is_single)
            for category, samples in self.test_by_category.items()
        )
        return found if is_single else (*found, TestSet(self.id, ALL_CLASSES, test, is_whole=True))

    def task(self, step: int, config: RunConfig) -> Task:
        """Return what a method may know of the task."""
        return Task(self.id, self.name, config.run.setting, step, config.run.seed)


@dataclass(frozen=True)
class Drawn:
    """What a setting makes of a task.

    Args:
        split: what is trained on and tested.
        params: what to write about it in the row; see `PlannedStep.drawn`.
        notes: lines for the user.
    """

    split: Split
    params: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Planner = Callable[[Sequence[TaskRecords], Sequence[TaskRecords], RunConfig], tuple[PlannedStep, ...]]
Draw = Callable[[TaskRecords, RunConfig], Drawn]


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
        task_id: TaskRecords(
            task_id,
            Split(
                train=tuple(sample for class_id in class_ids for sample in splits[class_id].train),
                test=tuple(sample for class_id in class_ids for sample in splits[class_id].test),
            ),
            {names[class_id]: splits[class_id].test for class_id in class_ids},
        )
        for task_id, class_ids in chosen.items()
    }
    planner: Planner = registration.load(config.setting_row.planner)
    trained, tested = (
        [records[task_id] for task_id in task_ids] for task_ids in (run.train_task_ids, run.valid_task_ids)
    )
    return planner(trained, tested, config)


def plan_each(
    trained: Sequence[TaskRecords],
    tested: Sequence[TaskRecords],
    config: RunConfig,
    draw: Draw,
    copies: ShotCopies | None = None,
) -> tuple[PlannedStep, ...]:
    """Plan a model of its own for each task, tested on that task; a single one is tested on all of `tested`.

    Args:
        trained: the tasks to train on.
        tested: the tasks to test.
        config: the run.
        draw: makes the split of a task.
        copies: augmented copies of the training images.
    """
    steps = []
    for record in trained:
        drawn = draw(record, config)
        others = tested if len(trained) == 1 else [record]
        tests = [other.tests(drawn.split.test if other is record else other.split.test) for other in others]
        steps.append(
            PlannedStep(
                record.task(0, config),
                drawn.split.train,
                sum(tests, ()),
                is_fresh=True,
                drawn=drawn.params,
                copies=copies,
                notes=drawn.notes,
            )
        )
    return tuple(steps)


def fewer_than_wanted(name: str, key: str, wanted: int, found: int) -> tuple[str, ...]:
    """Return a line where a draw took all that it may, and not as many as the key asks for; else nothing."""
    if found >= wanted:
        return ()
    return (f"{name}: {key} asks for {wanted} images, and there are only {found} to draw",)
