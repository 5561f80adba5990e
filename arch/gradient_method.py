"""What methods trained by gradient descent share: the one training loop of the project."""

import logging
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arch.base import ModelBase
from configuration.errors import UserError
from data_io.records import BatchLoader, Task, TrainBatch, derive_seed

logger = logging.getLogger(__name__)


class GradientMethod(ModelBase):
    """Train `self.net` on shuffled batches; the last epoch is the result.

    Every epoch draws its order and its noise from seeds of its own.

    Attributes:
        gradient_clip: largest norm of the gradient of all parameters together; None for no bound.
    """

    gradient_clip: float | None = None

    @abstractmethod
    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the scalar loss of one batch."""

    @abstractmethod
    def optimizers(self) -> Sequence[Optimizer]:
        """Return new optimisers for all that is trained."""

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        """Return the learning rate schedules, stepped after every epoch; none unless a method says so."""
        return ()

    def begin_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Prepare for a task before its first epoch, for instance by statistics of the data."""

    def num_epochs(self, task: Task) -> int:
        """Return the passes over the training images; a transfer's second step may have its own number."""
        setting, train = self.config.setting, self.config.train
        if task.setting == "transfer" and task.step > 0 and setting.transfer_num_epochs is not None:
            return setting.transfer_num_epochs
        if train.num_epochs is None:
            raise ValueError(f"{type(self).__name__}: its YAML file needs the key num_epochs")
        return train.num_epochs

    def train_model(self, train_loader: BatchLoader, task: Task) -> None:
        """Train on one task.

        Raises:
            UserError: the loss is not finite any more.
        """
        self.begin_task(train_loader, task)
        num_epochs = self.num_epochs(task)
        optimizers = self.optimizers()
        schedulers = self.schedulers(optimizers, num_epochs)
        with self.bar("train", num_epochs * len(train_loader)) as bar:
            for epoch in range(num_epochs):
                torch.manual_seed(derive_seed(task.seed, task.setting, task.id, task.step, "epoch", epoch))
                order = torch.randperm(train_loader.num_images, generator=task.generator(f"order {epoch}"))
                self.net.train()
                for batch in train_loader.in_order(order):
                    loss = self._step(batch, optimizers, epoch)
                    bar.set_postfix_str(f"epoch {epoch + 1}/{num_epochs}, loss {loss:.4g}", refresh=False)
                    bar.update()
                for scheduler in schedulers:
                    scheduler.step()
                logger.debug("task %s, epoch %d: loss %.6g", task.name, epoch + 1, loss)

    def _step(self, batch: TrainBatch, optimizers: Sequence[Optimizer], epoch: int) -> float:
        loss = self.loss(batch)
        value = float(loss.detach())
        if not torch.isfinite(loss.detach()):
            raise UserError(
                f"{self.config.run.model}: the loss is {value} in epoch {epoch + 1}; "
                "lower the learning rate, or use --amp off"
            )
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.gradient_clip)
        for optimizer in optimizers:
            optimizer.step()
        return value
