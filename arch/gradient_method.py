"""What methods trained by gradient descent share: what the training loop asks of them."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arch.base import ModelBase
from arch.training_loop import TrainingLoop
from configuration.config import RunConfig
from data_io.records import BatchLoader, Task, TrainBatch

GOING_ON = ("continual", "transfer")  # settings in which a model is trained more than once
Turns = Iterator[tuple[Tensor, Sequence[Optimizer]]]  # losses, each with the optimisers that follow it


class GradientMethod(ModelBase):
    """Train `self.net` on shuffled batches; the last epoch is the result.

    The next task of a continual run, or the target of a transfer, goes on from the weights and the moments of
    the optimiser that there are; `_continual: replace` and `_transfer: replace` start it anew.

    Attributes:
        gradient_clip: largest norm of the gradient of all parameters together; None for no bound.
    """

    gradient_clip: float | None = None

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

    def begin_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Prepare for a task before its first epoch, for instance by statistics of the data."""

    def epoch_rows(self, train_loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return the (M,) rows of the training images that an epoch goes through, in its order.

        All epochs of a task have equally many.
        """
        return torch.randperm(train_loader.num_images, generator=task.generator(f"order {epoch}"))

    def end_epoch(self, train_loader: BatchLoader, task: Task, epoch: int) -> None:
        """Look at the net after an epoch, for instance on training images that were held out."""

    def end_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Finish a task after its last epoch, for instance by a density of the features."""

    def num_epochs(self, task: Task) -> int:
        """Return the passes over the training images; a transfer's second step may have its own number."""
        setting, train = self.config.setting, self.config.train
        if task.setting == "transfer" and task.step > 0 and setting.transfer_num_epochs is not None:
            return setting.transfer_num_epochs
        if train.num_epochs is None:
            raise ValueError(f"{type(self).__name__}: its YAML file needs the key num_epochs")
        return train.num_epochs

    def mode(self, task: Task) -> str:
        """Return what becomes of what was learned before: replace at step 0, else as the keys say."""
        if task.step == 0:
            return "replace"
        key = "transfer" if task.setting == "transfer" else "continual"
        return str(getattr(self.config.params, key, "finetune"))

    def is_done(self) -> bool:
        """Return whether training may end before its last epoch; asked after every epoch."""
        return False

    def extra_state(self) -> dict[str, Tensor]:
        """Return what training keeps outside the net, such as the best state so far."""
        return {}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `extra_state` returned."""

    def run_state(self) -> dict[str, Any]:
        """Return what an interrupted run needs to go on with its next step."""
        return {**super().run_state(), "first": self._first_state, "moments": self._moments}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `run_state` returned."""
        super().load_run_state(state)
        self._first_state, self._moments = state["first"], state["moments"]

    def train_model(self, train_loader: BatchLoader, task: Task) -> None:
        """Train on one task, or go on where its training was interrupted.

        Raises:
            UserError: the loss is not finite any more.
        """
        if self.interrupted is None:
            self._start_anew(task)
        self.begin_task(train_loader, task)
        loop = TrainingLoop(self, train_loader, task)
        loop.run()
        if task.setting in GOING_ON:
            self._moments = [optimizer.state_dict()["state"] for optimizer in loop.optimizers]
        self.end_task(train_loader, task)

    def carried_optimizers(self, task: Task) -> Sequence[Optimizer]:
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
        if task.step == 0 and task.setting in GOING_ON:
            self._first_state = {key: value.clone() for key, value in self.net.state_dict().items()}
