"""The training loop: what a step does to the weights, and what is kept of an unfinished training."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from arch.base import Runtime
from arch.kinds.training_loop import Training, TrainingLoop, Turns
from data_io.records import Task, TrainBatch
from tests.loaders import MadeLoader, random_images

CPU = torch.device("cpu")
TASK = Task(id=0, name="task", setting="vanilla", step=0, seed=0)
SLOPE = 1000.0  # of the loss


class Line(nn.Module):
    """A weight whose loss is SLOPE times the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def training(net: Line, **changes: Any) -> Training:
    def turns(_batch: TrainBatch, optimizers: Sequence[Optimizer]) -> Turns:
        yield SLOPE * net.weight, optimizers

    def load_state(state: Mapping[str, Any]) -> None:
        net.load_state_dict(state["net"])

    values: dict[str, Any] = {
        "name": "line",
        "net": net,
        "optimizers": [SGD(net.parameters(), lr=0.5, momentum=0.5)],
        "schedulers": [],
        "num_epochs": 1,
        "checkpoint_every": 1,
        "gradient_clip": None,
        "scales_loss": False,
        "rows": lambda _epoch: torch.arange(2),
        "turns": turns,
        "end_epoch": lambda _epoch: False,
        "state": lambda: {"net": {key: value.clone() for key, value in net.state_dict().items()}},
        "load_state": load_state,
    }
    return Training(**{**values, **changes})


def run(made: Training, **lent: Any) -> None:
    loader = MadeLoader(random_images(2, side=4), batch_size=2)
    TrainingLoop(made, loader, TASK, Runtime(CPU, **lent)).run()


@pytest.mark.parametrize("scales_loss", [False, True])
def test_the_gradient_is_clipped_at_its_own_scale(scales_loss: bool) -> None:
    net = Line()
    run(training(net, gradient_clip=2.0, scales_loss=scales_loss))
    assert net.weight.item() == pytest.approx(-0.5 * 2.0), "the learning rate times the bound"


def test_without_a_bound_the_gradient_stays_as_it_is() -> None:
    net = Line()
    run(training(net))
    assert net.weight.item() == pytest.approx(-0.5 * SLOPE)


def test_an_unfinished_training_is_kept_every_so_many_epochs_but_not_at_its_end() -> None:
    kept: list[dict[str, Any]] = []
    run(training(Line(), num_epochs=5, checkpoint_every=2), keep=kept.append)
    assert [state["epoch"] for state in kept] == [2, 4]
    kept.clear()
    run(training(Line(), num_epochs=4, checkpoint_every=2), keep=kept.append)
    assert [state["epoch"] for state in kept] == [2]


def test_an_interrupted_training_goes_on_with_its_moments() -> None:
    whole, going_on = Line(), Line()
    kept: list[dict[str, Any]] = []
    run(training(whole, num_epochs=2), keep=lambda state: kept.append(deepcopy(state)))
    epochs: list[int] = []

    def end_epoch(epoch: int) -> bool:
        epochs.append(epoch)
        return False

    run(training(going_on, num_epochs=2, end_epoch=end_epoch), interrupted=kept[0])
    assert epochs == [1]
    assert going_on.weight.item() == whole.weight.item() == pytest.approx(-0.5 * SLOPE * (1 + 1.5))


def test_training_ends_when_an_epoch_says_so() -> None:
    epochs: list[int] = []

    def end_epoch(epoch: int) -> bool:
        epochs.append(epoch)
        return epoch == 1

    run(training(Line(), num_epochs=9, end_epoch=end_epoch))
    assert epochs == [0, 1]
