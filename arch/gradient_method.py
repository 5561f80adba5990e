"""What methods trained by gradient descent share: the one training loop of the project."""

import logging
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from arch.base import ModelBase
from configuration.config import RunConfig
from configuration.errors import UserError
from data_io.records import BatchLoader, Task, TrainBatch, derive_seed

logger = logging.getLogger(__name__)


class GradientMethod(ModelBase):
    """Train `self.net` on shuffled batches; the last epoch is the result.

    Every epoch draws its order and its noise from seeds of its own. The next task of a continual run, or the
    target of a transfer, goes on from the weights that there are; `_continual: replace` and
    `_transfer: replace` start it anew.

    Attributes:
        gradient_clip: largest norm of the gradient of all parameters together; None for no bound.
    """

    gradient_clip: float | None = None

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._first_state: dict[str, Tensor] = {}

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

    def num_batches(self, train_loader: BatchLoader) -> int:
        """Return the batches of an epoch; those of one pass unless `epoch_rows` gives other rows."""
        return len(train_loader)

    def epoch_rows(self, train_loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return the (M,) rows of the training images that an epoch goes through, in its order."""
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

    def train_model(self, train_loader: BatchLoader, task: Task) -> None:
        """Train on one task.

        Raises:
            UserError: the loss is not finite any more.
        """
        self._start_anew(task)
        self.begin_task(train_loader, task)
        num_epochs = self.num_epochs(task)
        optimizers = self.optimizers()
        schedulers = self.schedulers(optimizers, num_epochs)
        with self.bar("train", num_epochs * self.num_batches(train_loader)) as bar:
            for epoch in range(num_epochs):
                torch.manual_seed(derive_seed(task.seed, task.setting, task.id, task.step, "epoch", epoch))
                self.net.train()
                for batch in train_loader.in_order(self.epoch_rows(train_loader, task, epoch)):
                    loss = self._step(batch, optimizers, epoch)
                    bar.set_postfix_str(f"epoch {epoch + 1}/{num_epochs}, loss {loss:.4g}", refresh=False)
                    bar.update()
                for scheduler in schedulers:
                    scheduler.step()
                self.end_epoch(train_loader, task, epoch)
                logger.debug("task %s, epoch %d: loss %.6g", task.name, epoch + 1, loss)
        self.end_task(train_loader, task)

    def _start_anew(self, task: Task) -> None:
        """Keep the first weights for the next tasks, which take them back where they start anew."""
        if task.step > 0 and self.mode(task) == "replace":
            self.net.load_state_dict(self._first_state)
        if task.step == 0 and task.setting in ("continual", "transfer"):
            self._first_state = {key: value.clone() for key, value in self.net.state_dict().items()}

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
