"""Random data sets of records for the tests of the settings; no file behind them exists."""

import random
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from configuration.config import DataSection, RunConfig, RunSection, SettingSection
from data_io.records import Sample, Split

PROPERTY = settings(max_examples=200, deadline=None)  # a busy machine is no failure
SEEDS = st.integers(0, 2**32)


def make_split(category: str, num_train: int, num_good: int, num_bad: int, order: int = 0) -> Split:
    """Return a split whose test images are listed in a random order: labels say nothing of positions."""
    train = [Sample(Path(category, "train", f"{i:03}.png"), 0) for i in range(num_train)]
    good = [Sample(Path(category, "good", f"{i:03}.png"), 0) for i in range(num_good)]
    bad = [
        Sample(Path(category, "bad", f"{i:03}.png"), 1, Path(category, f"{i:03}_m.png"))
        for i in range(num_bad)
    ]
    return Split(tuple(train), tuple(random.Random(order).sample(good + bad, num_good + num_bad)))


@st.composite
def splits(draw: st.DrawFn, category: str = "bottle") -> Split:
    """Draw a split, with classes without test anomalies or good test images among them."""
    sizes = draw(st.integers(1, 30)), draw(st.integers(0, 12)), draw(st.integers(0, 12))
    return make_split(category, *sizes, order=draw(st.integers(0, 99)))


@st.composite
def data_sets(draw: st.DrawFn) -> dict[int, Split]:
    """Draw the splits of two to six classes."""
    return {class_id: draw(splits(f"class{class_id}")) for class_id in range(draw(st.integers(2, 6)))}


def names_of(data_set: dict[int, Split]) -> list[str]:
    return [f"class{class_id}" for class_id in data_set]


def make_config(
    setting: str,
    train: tuple[int, ...],
    valid: tuple[int, ...],
    num_task: int,
    seed: int = 66,
    **keys: Any,
) -> RunConfig:
    """Return a configuration that holds what planning may read, and None everywhere else."""
    defaults = {
        "semi_anomaly_num": 5,
        "semi_kind": None,
        "semi_overlap": False,
        "noisy_ratio": 0.1,
        "noisy_overlap": False,
        "anomaly_cap": 0.75,
        "fewshot_exm": 5,
        "fewshot_data_aug": False,
        "fewshot_feat_aug": False,
        "fewshot_num_dg": 4,
        "fewshot_aug_type": ("rotation",),
        "transfer_target_sample_num": 8,
    }
    run = _filled(RunSection, setting=setting, train_task_ids=train, valid_task_ids=valid, seed=seed)
    config: RunConfig = _filled(
        RunConfig,
        run=run,
        data=_filled(DataSection, num_task=num_task),
        setting=_filled(SettingSection, **{**defaults, **keys}),
    )
    return config


def _filled(record: type[Any], **given: Any) -> Any:
    return record(**{field.name: given.pop(field.name, None) for field in fields(record)}, **given)
