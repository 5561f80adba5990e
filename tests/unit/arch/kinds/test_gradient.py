from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, PolynomialLR

from arch.base import Prediction
from arch.kinds.gradient import GradientMethod, Turns
from configuration.config import load_config
from data_io.records import ScoringBatch, Task, TrainBatch
from tests.loaders import MadeLoader, random_images, train


class Players(GradientMethod):
    """Two numbers: the first one descends towards 1, then the second towards the first."""

    nets = ("net_example",)
    net: nn.ParameterList

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.net = nn.ParameterList([nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))])
        self.made: list[Sequence[Optimizer]] = []
        self.rates: list[float] = []

    def optimizers(self) -> Sequence[Optimizer]:
        self.made.append([SGD([self.net[0]], lr=0.5), Adam([self.net[1]], lr=0.1)])
        return self.made[-1]

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        return [PolynomialLR(optimizer, num_epochs) for optimizer in optimizers]

    def turns(self, batch: TrainBatch, optimizers: Sequence[Optimizer]) -> Turns:
        self.rates.append(optimizers[0].param_groups[0]["lr"])
        yield (self.net[0] - 1).square(), optimizers[:1]
        self.first_after_its_step = self.net[0].item()
        yield (self.net[1] - self.net[0].detach()).square(), optimizers[1:]

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        return Prediction(torch.zeros(len(batch.image)), None)


def players(tmp_path: Path) -> Players:
    words = ["-c", "-m", "_example", "-d", "_example", "-g", "cpu", "-wd", str(tmp_path), "-tid", "0", "1"]
    return Players(load_config([*words, "-ne", "2"]))


def task(step: int) -> Task:
    return Task(id=step, name=f"task {step}", setting="continual", step=step, seed=0)


def images() -> MadeLoader:
    return MadeLoader(random_images(2, side=8), batch_size=2)


def test_each_loss_moves_its_own_optimiser_before_the_next_is_computed(tmp_path: Path) -> None:
    method = players(tmp_path)
    train(method, images(), task(0))
    assert method.made[0][0].state_dict()["param_groups"]
    assert method.rates == [0.5, 0.25]
    assert method.first_after_its_step == pytest.approx(1.0)
    assert 0 < method.net[1].item() < 0.2


def test_the_next_task_keeps_the_moments_and_begins_with_the_first_learning_rate(tmp_path: Path) -> None:
    method = players(tmp_path)
    train(method, images(), task(0))
    train(method, images(), task(1))
    assert method.rates == [0.5, 0.25, 0.5, 0.25]
    assert method.made[1][1].state[method.net[1]]["step"].item() == 4


def test_a_task_that_starts_anew_has_new_optimisers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = players(tmp_path)
    monkeypatch.setattr(method, "mode", lambda _task: "replace")
    train(method, images(), task(0))
    train(method, images(), task(1))
    assert len(method.made) == 2
    assert method.made[1][1].state[method.net[1]]["step"].item() == 2


SETTING_WORDS = {
    "continual": ["-c", "-tid", "0", "1", "-ne", "30"],
    "transfer": ["-t", "-tid", "0", "-vid", "1", "-ne", "7"],
    "vanilla": ["-v", "-ne", "30"],
}


@pytest.mark.parametrize(
    ("setting", "step", "num_epochs"),
    [("transfer", 0, 30), ("transfer", 1, 7), ("continual", 1, 30), ("vanilla", 0, 30)],
)
def test_the_second_step_of_a_transfer_has_its_own_epochs(
    setting: str, step: int, num_epochs: int, tmp_path: Path
) -> None:
    words = [*SETTING_WORDS[setting], "-m", "_example", "-d", "_example", "-g", "cpu", "-wd", str(tmp_path)]
    of_task = replace(task(step), setting=setting)
    assert Players(load_config(words)).num_epochs(of_task) == num_epochs
    if setting == "transfer":
        plain = [word for word in words if word not in ("-ne", "7")]
        assert Players(load_config(plain)).num_epochs(of_task) == 30


def test_the_next_task_goes_on_unless_the_keys_say_otherwise(tmp_path: Path) -> None:
    stpm = [
        "-m",
        "stpm",
        "-n",
        "net_tiny",
        "-d",
        "_example",
        "-g",
        "cpu",
        "-w",
        "none",
        "--set",
        "_continual=replace",
    ]
    for setting, modes in (
        ("continual", ["replace", "replace", "replace"]),
        ("transfer", ["replace", "finetune", "finetune"]),
    ):
        method = Players(load_config([*SETTING_WORDS[setting], *stpm, "-wd", str(tmp_path)]))
        assert [method.mode(task(step)) for step in range(3)] == modes
    assert players(tmp_path).mode(task(1)) == "finetune", "where a method has no such key"


def test_a_method_without_a_loss_says_so(tmp_path: Path) -> None:
    class Forgetful(Players):
        turns = GradientMethod.turns

    method = Forgetful(players(tmp_path).config)
    with pytest.raises(NotImplementedError, match="Forgetful has neither loss nor turns"):
        train(method, images(), task(0))


def test_a_second_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    class Broken(Players):
        def turns(self, batch: TrainBatch, optimizers: Sequence[Optimizer]) -> Turns:
            yield (self.net[0] - 1).square(), optimizers[:1]
            yield self.net[1] * torch.tensor(float("nan")), optimizers[1:]

    method = Broken(players(tmp_path).config)
    with pytest.raises(Exception, match="the loss is nan in epoch 1"):
        train(method, images(), task(0))
