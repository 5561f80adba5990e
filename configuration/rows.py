"""What the rows of the registration tables are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Row = tuple[str, str]  # a module and what to take from it


@dataclass(frozen=True)
class ParadigmRow:
    """A way of running.

    Args:
        run: the function that takes a `RunConfig` and returns the result rows.
        train_files: YAML files under configuration/ with the framework's keys; a later one is stronger.
    """

    run: Row
    train_files: tuple[str, ...]


@dataclass(frozen=True)
class SettingRow:
    """A learning setting; its long flag is its name.

    Args:
        flag: the short flag.
        meaning: for --help and --list.
        planner: the function that makes the steps of a run; see `data_io.steps.Planner`.
        order: how tasks are learned: each by a model of its own, or by one model in a sequence, or as a
            pair of source and target.
        suffix: what is added to the names of result files, with `setting_params`, {valid_task} and {types}.
        also_reads: keys that it reads besides those that begin with its name.
        flag_keys: a flag's key -> the key that this flag sets in this setting.
        opened_by: a key that lets methods run which do not know this setting.
    """

    flag: str
    meaning: str
    planner: Row
    order: Literal["each", "sequence", "pair"] = "each"
    suffix: str = ""
    also_reads: tuple[str, ...] = ()
    flag_keys: Mapping[str, str] = field(default_factory=dict)
    opened_by: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether a model that was trained is trained again."""
        return self.order != "each"

    def file_suffix(self, setting_params: Mapping[str, object], valid_task: int) -> str:
        """Return what is added to the names of result files and picture folders, such as "_5_num".

        Where less was reached than asked for, the name has what was asked for.

        Raises:
            KeyError: a parameter is missing.
        """
        types = setting_params.get("fewshot_aug_type")
        joined = "".join(types) if isinstance(types, list | tuple) else ""
        asked = {
            key.removesuffix("_asked"): value
            for key, value in setting_params.items()
            if key.endswith("_asked")
        }
        names = {**setting_params, **asked, "valid_task": valid_task, "types": joined or "normal"}
        return self.suffix.format_map(names)
