"""The one training loop of the project: epochs over shuffled batches, kept on disk now and then."""

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from configuration.errors import UserError
from data_io.records import BatchLoader, Task, TrainBatch, derive_seed

if TYPE_CHECKING:
    from arch.gradient_method import GradientMethod

logger = logging.getLogger(__name__)


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]:
        """Return all that it knows."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take it back."""


class TrainingLoop:
    """Train a method on one task, from the first epoch or from where it was interrupted.

    Every epoch draws its order and its noise from seeds of its own, so that what follows an interruption
    does not depend on what came before.

    Args:
        method: says what the loss, the optimisers and the batches are.
        train_loader: the training images.
        task: the task.
    """

    def __init__(self, method: "GradientMethod", train_loader: BatchLoader, task: Task) -> None:
        self.method = method
        self.train_loader = train_loader
        self.task = task
        self.num_epochs = method.num_epochs(task)
        self.optimizers = method.carried_optimizers(task)
        self.schedulers: Sequence[LRScheduler] = method.schedulers(self.optimizers, self.num_epochs)
        self.scaler = GradScaler(method.device.type, enabled=method.config.run.amp == "fp16")
        self._parts: list[_Stateful] = [*self.optimizers, *self.schedulers, self.scaler]

    def run(self) -> None:
        """Go through the epochs that are left.

        Raises:
            UserError: the loss is not finite any more.
        """
        first, every = self._take_up(), self.method.config.train.checkpoint_every
        num_rows = len(self.method.epoch_rows(self.train_loader, self.task, first))
        num_batches = self.train_loader.num_batches(num_rows)
        with self.method.bar("train", self.num_epochs * num_batches) as bar:
            bar.update(first * num_batches)
            for epoch in range(first, self.num_epochs):
                self._seed(epoch)
                self.method.net.train()
                rows = self.method.epoch_rows(self.train_loader, self.task, epoch)
                for batch in self.train_loader.in_order(rows):
                    loss = self._step(batch, epoch)
                    bar.set_postfix_str(
                        f"epoch {epoch + 1}/{self.num_epochs}, loss {loss:.4g}", refresh=False
                    )
                    bar.update()
                for scheduler in self.schedulers:
                    scheduler.step()
                self.method.end_epoch(self.train_loader, self.task, epoch)
                logger.debug("task %s, epoch %d: loss %.6g", self.task.name, epoch + 1, loss)
                if self.method.is_done():
                    break
                if epoch + 1 < self.num_epochs and (epoch + 1) % every == 0:
                    self.method.keep(self._state(epoch + 1))

    def _seed(self, epoch: int) -> None:
        task = self.task
        torch.manual_seed(derive_seed(task.seed, task.setting, task.id, task.step, "epoch", epoch))

    def _step(self, batch: TrainBatch, epoch: int) -> float:
        """Descend along every loss of one batch; return the first one."""
        values = []
        for loss, followers in self.method.turns(batch, self.optimizers):
            values.append(float(loss.detach()))
            if not math.isfinite(values[-1]):
                raise UserError(
                    f"{self.method.config.run.model}: the loss is {values[-1]} in epoch {epoch + 1}; "
                    "lower the learning rate, or use --amp off"
                )
            self._descend(loss, followers)
        return values[0]

    def _descend(self, loss: Tensor, optimizers: Sequence[Optimizer]) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.method.gradient_clip is not None:
            for optimizer in optimizers:
                self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self.method.net.parameters(), self.method.gradient_clip)
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()

    def _state(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "run": self.method.run_state(),
            "extra": self.method.extra_state(),
            "parts": [part.state_dict() for part in self._parts],
        }

    def _take_up(self) -> int:
        """Put back what an interrupted training had reached; return the epoch that comes next."""
        state, self.method.interrupted = self.method.interrupted, None
        if state is None:
            return 0
        self.method.load_run_state(state["run"])
        self.method.load_extra_state(state["extra"])
        for part, found in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(found)
        return int(state["epoch"])
