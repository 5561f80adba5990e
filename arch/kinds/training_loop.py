"""The one training loop of the project: epochs over shuffled batches, kept on disk now and then."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arch.runtime import Runtime
from configuration.errors import UserError
from data_io.records import BatchLoader, LazyFeatures, Task, TrainBatch, derive_seed

logger = logging.getLogger(__name__)
Turns = Iterator[tuple[Tensor, Sequence[Optimizer]]]  # losses, each with the optimisers that follow it


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]:
        """Return all that it knows."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take it back."""


@dataclass(frozen=True)
class Training:
    """What the loop is told of the training of a method on one task.

    Args:
        name: of the method, for errors.
        net: what is trained.
        optimizers: of all that is trained.
        schedulers: of learning rates, stepped after every epoch.
        num_epochs: passes over the rows.
        checkpoint_every: epochs between two states that are kept.
        gradient_clip: largest norm of the gradient of all parameters together; None for no bound.
        scales_loss: whether half-precision gradients are scaled.
        rows: epoch -> (M,) rows of the training images in their order; all epochs have equally many.
        turns: yields the losses of a batch, each with the optimisers that follow it before the next.
        end_epoch: looks at the net after an epoch; returns whether training may end.
        state: returns what the method knows besides the optimisers.
        load_state: takes it back.
    """

    name: str
    net: nn.Module
    optimizers: Sequence[Optimizer]
    schedulers: Sequence[LRScheduler]
    num_epochs: int
    checkpoint_every: int
    gradient_clip: float | None
    scales_loss: bool
    rows: Callable[[int], Tensor]
    turns: Callable[[TrainBatch, Sequence[Optimizer]], Turns]
    end_epoch: Callable[[int], bool]
    state: Callable[[], dict[str, Any]]
    load_state: Callable[[Mapping[str, Any]], None]


class TrainingLoop:
    """Train on one task, from the first epoch or from where it was interrupted.

    Every epoch draws its order and its noise from seeds of its own, so that what follows an interruption
    does not depend on what came before.

    Args:
        training: what is done.
        loader: the training images.
        task: the task.
        runtime: the bar, and where states are kept and come from.
    """

    def __init__(self, training: Training, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        self.training = training
        self.loader = loader
        self.task = task
        self.runtime = runtime
        self.scaler = GradScaler(runtime.device.type, enabled=training.scales_loss)
        self._parts: list[_Stateful] = [*training.optimizers, *training.schedulers, self.scaler]

    def run(self) -> None:
        """Go through the epochs that are left.

        Raises:
            UserError: the loss is not finite any more.
        """
        training, task = self.training, self.task
        first = self._take_up()
        num_batches = self.loader.num_batches(len(training.rows(first)))
        with self.runtime.bar("train", training.num_epochs * num_batches) as bar:
            bar.update(first * num_batches)
            for epoch in range(first, training.num_epochs):
                torch.manual_seed(derive_seed(task.seed, task.setting, task.id, task.step, "epoch", epoch))
                training.net.train()
                for batch in self.loader.in_order(training.rows(epoch)):
                    loss = self._step(batch, epoch)
                    bar.set_postfix_str(
                        f"epoch {epoch + 1}/{training.num_epochs}, loss {loss:.4g}", refresh=False
                    )
                    bar.update()
                for scheduler in training.schedulers:
                    scheduler.step()
                is_done = training.end_epoch(epoch)
                logger.debug("task %s, epoch %d: loss %.6g", task.name, epoch + 1, loss)
                if is_done:
                    break
                if epoch + 1 < training.num_epochs and (epoch + 1) % training.checkpoint_every == 0:
                    self.runtime.keep(self._state(epoch + 1))

    def _step(self, batch: TrainBatch, epoch: int) -> float:
        """Descend along every loss of one batch; return the first one."""
        values = []
        for loss, followers in self.training.turns(batch, self.training.optimizers):
            if isinstance(batch.features, LazyFeatures):
                batch.features.forget()  # what the gradient needs of them, its graph holds
            values.append(float(loss.detach()))
            if not math.isfinite(values[-1]):
                raise UserError(
                    f"{self.training.name}: the loss is {values[-1]} in epoch {epoch + 1}; "
                    "lower the learning rate, or use --amp off"
                )
            self._descend(loss, followers)
        return values[0]

    def _descend(self, loss: Tensor, optimizers: Sequence[Optimizer]) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.training.gradient_clip is not None:
            for optimizer in optimizers:
                self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self.training.net.parameters(), self.training.gradient_clip)
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()

    def _state(self, epoch: int) -> dict[str, Any]:
        parts = [part.state_dict() for part in self._parts]
        return {"epoch": epoch, **self.training.state(), "parts": parts}

    def _take_up(self) -> int:
        """Put back what an interrupted training had reached; return the epoch that comes next."""
        state = self.runtime.interrupted
        if state is None:
            return 0
        try:
            self.training.load_state(state)
            for part, found in zip(self._parts, state["parts"], strict=True):
                part.load_state_dict(found)
            return int(state["epoch"])
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{self.training.name}: the state to go on from is of another making ({reason}); "
                "run without --resume"
            ) from error
