"""What methods trained by gradient descent share: what is trained, on which images, and what is kept."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arch.base import ModelBase, Runtime
from arch.kinds.held_out import HeldOut
from arch.kinds.training_loop import Training, TrainingLoop
from arch.kinds.training_loop import Turns as Turns
from configuration.config import RunConfig
from data_io.records import BatchLoader, Task, TrainBatch

logger = logging.getLogger(__name__)


class GradientMethod(ModelBase):
    """Train `self.net` on shuffled batches; the last epoch is the result, or the best on images held out.

    The next task of a continual run, or the target of a transfer, goes on from the weights that there are and
    the moments of the optimiser after the last epoch; `_continual: replace` and `_transfer: replace` start it
    anew.

    Attributes:
        gradient_clip: largest norm of the gradient of all parameters together; None for no bound.
        held_out: chooses the epoch by images that are not trained on; None for the last epoch.
    """

    gradient_clip: float | None = None
    held_out: HeldOut | None = None

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._first_state: dict[str, Tensor] = {}
        self._moments: list[dict[int, Any]] = []  # of each optimiser after the last task

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the scalar loss of one batch; a method has this, or `turns`."""
        raise NotImplementedError(f"{type(self).__name__} has neither loss nor turns")

    def turns(self, batch: TrainBatch, optimizers: Sequence[Optimizer]) -> Turns:
        """Yield the losses of a batch, each with the optimisers that follow it before the next is asked for.

        All optimisers follow one loss, unless nets of a method play against each other.
        """
        yield self.loss(batch), optimizers

    @abstractmethod
    def optimizers(self) -> Sequence[Optimizer]:
        """Return new optimisers for all that is trained."""

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        """Return the learning rate schedules, stepped after every epoch; none unless a method says so."""
        return ()

    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Prepare for a task before its first epoch, for instance by statistics of the data."""

    def epoch_rows(self, loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return the (M,) rows of the training images that an epoch goes through, in its order.

        All epochs of a task have equally many.
        """
        rows = torch.arange(loader.num_images)
        if self.held_out is not None:
            _, rows = self.held_out.split(loader, task)
        return rows[torch.randperm(len(rows), generator=task.generator(f"order {epoch}"))]

    def end_epoch(self, loader: BatchLoader, task: Task, epoch: int) -> bool:
        """Look at the net after an epoch; return whether training may end before its last one."""
        if self.held_out is None:
            return False
        rows, _ = self.held_out.split(loader, task)
        if len(rows) == 0:
            return False
        self.net.eval()
        with torch.no_grad():
            errors = [float(self.held_out.error(batch)) for batch in loader.in_order(rows)]
        error = sum(errors) / len(rows)
        logger.debug("task %s, epoch %d: error %.6g on held-out images", task.name, epoch + 1, error)
        return self.held_out.compare(self.net, error)

    def end_task(self, loader: BatchLoader, task: Task) -> None:
        """Finish a task after its last epoch, for instance by a density of the features."""

    def num_epochs(self, task: Task) -> int:
        """Return the passes over the training images; a transfer's second step may have its own number."""
        setting, train = self.config.setting, self.config.train
        is_target = self.config.setting_row.order == "pair" and task.step > 0
        if is_target and setting.transfer_num_epochs is not None:
            return setting.transfer_num_epochs
        if train.num_epochs is None:
            raise ValueError(f"{type(self).__name__}: its YAML file needs the key num_epochs")
        return train.num_epochs

    def run_state(self) -> dict[str, Any]:
        """Return what an interrupted run needs to go on with its next step."""
        return {**super().run_state(), "first": self._first_state, "moments": self._moments}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `run_state` returned."""
        super().load_run_state(state)
        self._first_state, self._moments = state["first"], state["moments"]

    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Train on one task, or go on where its training was interrupted.

        Raises:
            UserError: the loss is not finite any more.
        """
        if runtime.interrupted is None:
            self._start_anew(task)
        if self.held_out is not None:
            self.held_out.forget()
        self.begin_task(loader, task, runtime)
        training = self._training(loader, task)
        TrainingLoop(training, loader, task, runtime).run()
        if self.config.setting_row.goes_on:
            self._moments = [optimizer.state_dict()["state"] for optimizer in training.optimizers]
        if self.held_out is not None:
            self.held_out.restore(self.net)
        self.end_task(loader, task)

    def _training(self, loader: BatchLoader, task: Task) -> Training:
        optimizers, num_epochs = self._carried_optimizers(task), self.num_epochs(task)
        return Training(
            name=self.config.run.model,
            net=self.net,
            optimizers=optimizers,
            schedulers=self.schedulers(optimizers, num_epochs),
            num_epochs=num_epochs,
            checkpoint_every=self.config.train.checkpoint_every,
            gradient_clip=self.gradient_clip,
            scales_loss=self.config.run.amp == "fp16",
            rows=lambda epoch: self.epoch_rows(loader, task, epoch),
            turns=self.turns,
            end_epoch=lambda epoch: self.end_epoch(loader, task, epoch),
            state=self._training_state,
            load_state=self._load_training_state,
        )

    def _training_state(self) -> dict[str, Any]:
        return {"run": self.run_state(), "extra": {} if self.held_out is None else self.held_out.state()}

    def _load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_run_state(state["run"])
        if self.held_out is not None:
            self.held_out.load_state(state["extra"], self.device)

    def _carried_optimizers(self, task: Task) -> Sequence[Optimizer]:
        """Return the optimisers of a task, with the moments of the task before where it goes on from it."""
        optimizers = self.optimizers()
        if self.mode(task) == "finetune" and self._moments:
            for optimizer, moments in zip(optimizers, self._moments, strict=True):
                optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        return optimizers

    def _start_anew(self, task: Task) -> None:
        """Keep the first weights for the next tasks, which take them back where they start anew."""
        if task.step > 0 and self.mode(task) == "replace":
            self.net.load_state_dict(self._first_state)
        if task.step == 0 and self.config.setting_row.goes_on:
            self._first_state = {key: value.clone() for key, value in self.net.state_dict().items()}
