"""Repeat the split of an earlier run from its split.json, file by file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configuration.errors import UserError
from configuration.text import read_text
from data_io.records import Sample, Split
from data_io.steps import ALL_CLASSES, PlannedStep

_MEND = "name the split.json of a run"


def replay(
    planned: Sequence[PlannedStep], path: Path, splits: Mapping[int, Split], names: Sequence[str], root: Path
) -> tuple[PlannedStep, ...]:
    """Return the planned steps with the files that split.json names instead of newly drawn ones.

    Args:
        planned: the steps of this run; setting and tasks must be those of the file.
        path: the file.
        splits: class id -> its samples.
        names: class names of the whole data set, by class id.
        root: folder of the data set; the file's names are relative to it.

    Raises:
        UserError: the file cannot be read, is of another setting or of other tasks, or names a missing image.
    """
    recorded = _read(path)
    wanted = [(step["setting"], step["train_task"], sorted(map(int, step["test"]))) for step in recorded]
    found = [
        (step.task.setting, step.task.id, sorted({test.task_id for test in step.tests})) for step in planned
    ]
    if wanted != found:
        raise UserError(f"--split {path}: has the steps (setting, -tid, -vid) {wanted}, the run has {found}")
    category_of = {
        sample: names[class_id]
        for class_id, split in splits.items()
        for sample in (*split.train, *split.test)
    }
    by_name = {sample.path.relative_to(root).as_posix(): sample for sample in category_of}
    return tuple(
        _replayed(step, record, _Lookup(path, by_name, category_of))
        for step, record in zip(planned, recorded, strict=True)
    )


class _Lookup:
    """Samples by their names in the file."""

    def __init__(self, path: Path, by_name: Mapping[str, Sample], category_of: Mapping[Sample, str]) -> None:
        self.path = path
        self.by_name = by_name
        self.category_of = category_of

    def samples(self, names: Sequence[str], category: str = ALL_CLASSES) -> tuple[Sample, ...]:
        missing = [name for name in names if name not in self.by_name]
        if missing:
            raise UserError(
                f"--split {self.path}: {missing[0]} is not in the data set; set -dp to the same data"
            )
        found = (self.by_name[name] for name in names)
        return tuple(sample for sample in found if category in (ALL_CLASSES, self.category_of[sample]))


def _replayed(step: PlannedStep, record: Mapping[str, Any], lookup: _Lookup) -> PlannedStep:
    tests = tuple(
        replace(test, samples=lookup.samples(record["test"][str(test.task_id)], test.category))
        for test in step.tests
    )
    params = record["setting_params"]
    wrong = sorted({key for key in {*params, *step.drawn} if not _fits(key, params, step.drawn)})
    if wrong:
        raise UserError(
            f"--split {lookup.path}: setting_params {wrong[0]} is not one of this setting; {_MEND}"
        )
    return replace(step, train=lookup.samples(record["train"]), tests=tests, drawn=params, notes=())


def _fits(key: str, params: Mapping[str, object], own: Mapping[str, object]) -> bool:
    """Return whether a file's parameter is of the kind that the setting's own is; texts are plain names."""
    own_key = key.removesuffix("_asked")
    if key not in params or own_key not in own:
        return False
    value, like = params[key], own[own_key]
    if isinstance(value, list):
        return isinstance(like, list) and all(isinstance(item, str) and item.isidentifier() for item in value)
    if isinstance(like, bool):
        return isinstance(value, bool)
    if isinstance(like, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or isinstance(value, str)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        steps = json.loads(read_text(path, _MEND))["steps"]
        for step in steps:
            lists = [step["train"], *step["test"].values()]
            is_plain = all(isinstance(name, str) for names in lists for name in names)
            is_plain &= all(key.isdecimal() for key in step["test"]) and isinstance(
                step["setting_params"], dict
            )
            if (
                not is_plain
                or not isinstance(step["train_task"], int)
                or not isinstance(step["setting"], str)
            ):
                raise ValueError("a value of another kind")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"--split {path}: not the split.json of a run ({error!r}); {_MEND}") from error
    return list(steps)
