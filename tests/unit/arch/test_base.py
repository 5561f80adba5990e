"""What an author of a method may forget is one line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from arch.base import NORMAL_ONLY, ModelBase, Prediction, Runtime
from configuration import registration
from configuration.config import RunConfig, load_config
from configuration.errors import UserError
from data_io.records import BatchLoader, ScoringBatch, Task
from paradigms.method_factory import build_method
from tests.loaders import batch_of, random_images

WORDS = ["-v", "-m", "_example", "-d", "_example", "-g", "cpu"]


class Careful(ModelBase):
    nets = ("net_example",)
    settings = NORMAL_ONLY
    forgets = ""

    def __init__(self, config: RunConfig, params: object) -> None:
        if self.forgets != "super().__init__()":
            super().__init__(config)
        if self.forgets != "self.net":
            self.net = nn.Linear(1, 1)

    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Learn nothing."""

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        return Prediction(torch.zeros(len(batch.image)), None)


class WithoutNet(Careful):
    forgets = "self.net"


class WithoutInit(Careful):
    forgets = "super().__init__()"


class AsksTooEarly(Careful):
    def __init__(self, config: RunConfig, params: object) -> None:
        self.side = vars(self.params)
        super().__init__(config, params)


class WithoutNets(Careful):
    pass


class WithoutSettings(Careful):
    pass


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load_config([*WORDS, "-wd", str(tmp_path)])


def register(monkeypatch: pytest.MonkeyPatch, method: type[ModelBase]) -> None:
    monkeypatch.setitem(registration.MODELS, "_example", (__name__, method.__name__))
    monkeypatch.setattr(registration, "check_tables", lambda: None)  # this file is in no folder of theirs


@pytest.mark.parametrize(
    ("method", "line"),
    [
        (WithoutNet, "WithoutNet has no self.net; its __init__ sets self.net"),
        (WithoutInit, "WithoutInit has no self.device; its __init__ begins with super().__init__(config)"),
        (AsksTooEarly, "AsksTooEarly has no self.params; its __init__ begins with super().__init__(config)"),
    ],
)
def test_what_init_forgets_is_told(
    method: type[ModelBase], line: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, method)
    with pytest.raises(UserError) as caught:
        build_method(config, store=None)
    assert str(caught.value) == f"{__name__}: {line}"


@pytest.mark.parametrize(("method", "name"), [(WithoutNets, "nets"), (WithoutSettings, "settings")])
def test_a_method_declares_its_nets_and_settings(
    method: type[ModelBase], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Careful, name)
    register(monkeypatch, method)
    with pytest.raises(UserError) as caught:
        load_config(WORDS)
    assert str(caught.value) == f"{__name__}: {method.__name__} must declare '{name}'; see docs/adding.md"


def test_another_name_that_is_not_there_is_an_attribute_error(config: RunConfig) -> None:
    with pytest.raises(AttributeError, match="Careful has no attribute 'colour'"):
        _ = Careful(config, None).colour  # type: ignore[attr-defined]


def test_a_method_of_another_paradigm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Careful, "paradigms", ("c3d",))
    register(monkeypatch, Careful)
    with pytest.raises(UserError, match="--paradigm c2d: _example runs with -p c3d"):
        load_config(WORDS)


@pytest.mark.parametrize(
    ("setting", "step", "key", "mode"),
    [
        ("continual", 0, {"continual": "append"}, "replace"),
        ("continual", 1, {"continual": "append", "transfer": "merge"}, "append"),
        ("transfer", 1, {"continual": "append", "transfer": "merge"}, "merge"),
        ("continual", 1, {}, "finetune"),
    ],
)
def test_the_keys_say_what_becomes_of_what_was_learned(
    setting: str, step: int, key: dict[str, str], mode: str, config: RunConfig
) -> None:
    params = type("Params", (), {**key, "__dataclass_fields__": {}})()
    config = replace(config, params=params, run=replace(config.run, setting=setting))
    method = Careful(config, params)
    assert method.mode(Task(id=0, name="task", setting=setting, step=step, seed=0)) == mode


def test_scores_come_batch_by_batch(config: RunConfig) -> None:
    found = Careful(config, None).prediction([batch_of(random_images(2, 8)), batch_of(random_images(3, 8))])
    assert found.image_score.tolist() == [0] * 5
    assert found.anomaly_map is None
