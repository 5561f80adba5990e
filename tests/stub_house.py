"""A small house for tests of the configuration: two methods, a data set, and their YAML files."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from configuration import registration

METHODS = '''
"""Stubs of two methods."""

from dataclasses import dataclass
from typing import Literal

from data_io.records import Needs


class Bank:
    @dataclass(frozen=True)
    class Params:
        layers: tuple[str, ...]
        sampler_percentage: float
        patch_size: int
        distance: Literal["l2", "l2sq"]
        limit: int | None

        def __post_init__(self):
            if not 0 < self.sampler_percentage <= 1:
                raise ValueError(f"_sampler_percentage must be in (0, 1], not {self.sampler_percentage}")

    nets = ("resnet18", "wide_resnet50", "timm/*")
    settings = ("vanilla", "fewshot", "continual", "noisy", "transfer")
    setting_reason = "it learns from normal images alone"
    paradigms = ("c2d",)
    needs = Needs()
    rotates_features = True
    train_aug_types = ("normal",)

    @classmethod
    def unsupported(cls, config, params):
        return "patches of 99 do not exist" if params.patch_size == 99 else None


class Trained:
    @dataclass(frozen=True)
    class Params:
        lr: float

    nets = ("net_trained",)
    settings = ("vanilla", "semi", "fewshot", "continual", "noisy", "transfer")
    setting_reason = ""
    paradigms = ("c2d",)
    needs = Needs(reference=True)
    rotates_features = False
    train_aug_types = ("normal", "cutpaste")

    @classmethod
    def unsupported(cls, config, params):
        return None


def run(config):
    if config.run.seed == 130:
        raise KeyboardInterrupt
    print("ran", config.run.model)
'''
DATASETS = '''
"""Bolts: a stub."""

from dataclasses import dataclass
from typing import Literal


class Bolts:
    @dataclass(frozen=True)
    class Params:
        bolts_split: Literal["full", "small"] = "full"
'''
BANK_YAML = """\
model: bank
net: resnet18
data_size: 224
data_crop_size: 224
train_batch_size: 4
valid_batch_size: 4
train_aug_type: normal
valid_aug_type: normal
_layers: [layer2, layer3]
_sampler_percentage: 0.1
_patch_size: 3
_distance: l2sq
_limit: null
"""
TRAINED_YAML = """\
model: trained
net: net_trained
_backbone: wide_resnet50
train_batch_size: 4
valid_batch_size: 4
train_aug_type: normal
valid_aug_type: normal
num_epochs: 50
semi_anomaly_num: 2
_lr: {resnet18: 0.03, default: 0.0001}
"""
BOLTS_YAML = """\
dataset: bolts
data_path: /bolts
num_task: 3
data_size: 256
data_crop_size: 256
bolts_split: full
"""


class House:
    """The folder of the stub house, with the words of a command line that works in it."""

    vanilla = ("-v", "-m", "bank", "-d", "bolts", "-g", "cpu")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bank = root / "configuration/1_model_base/bank.yaml"
        self.trained = root / "configuration/1_model_base/trained.yaml"
        self.bolts = root / "configuration/3_dataset_base/bolts.yaml"
        self.train = root / "configuration/2_train_base/centralized_learning.yaml"

    def build(self) -> None:
        """Write the files."""
        for path, text in (
            (self.root / "stub_arch/methods.py", METHODS),
            (self.root / "stub_dataset/bolts.py", DATASETS),
            (self.bank, BANK_YAML),
            (self.trained, TRAINED_YAML),
            (self.bolts, BOLTS_YAML),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        source = registration.ROOT / "configuration/2_train_base"
        shutil.copytree(source, self.train.parent)
        planners = [row.planner for row in registration.SETTINGS.values()]
        for module, name in (*registration.NETS.values(), *planners):
            path = self.root / f"{module.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(f"{name} = None\n")


@contextmanager
def stub_house(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Build the house in a folder and let the tables point into it."""
    house = House(root)
    house.build()
    tables = {
        "ROOT": root,
        "MODELS": {"bank": ("stub_arch.methods", "Bank"), "trained": ("stub_arch.methods", "Trained")},
        "DATASETS": {"bolts": ("stub_dataset.bolts", "Bolts")},
        "NETS": {**registration.NETS, "net_trained": ("stub_arch.methods", "Trained")},
        "PARADIGMS": {"c2d": replace(registration.PARADIGMS["c2d"], run=("stub_arch.methods", "run"))},
    }
    for name, table in tables.items():
        monkeypatch.setattr(registration, name, table)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.delenv("IMIAD_DATA", raising=False)
    yield house
    for name in [name for name in sys.modules if name.startswith(("stub_arch", "stub_dataset"))]:
        del sys.modules[name]
