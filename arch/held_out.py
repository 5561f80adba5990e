"""Held-out images: what methods share that keep the epoch which does best on normal images not trained on."""

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from arch.gradient_method import GradientMethod
from configuration.config import RunConfig
from data_io.records import BatchLoader, Task, TrainBatch

logger = logging.getLogger(__name__)

MIN_IMAGES = 10  # of a task; fewer can spare none
BEST = "best."  # before the names of the net's tensors in the extra state


class HeldOutMethod(GradientMethod):
    """Train on a part of a task's images; after its last epoch go back to the best one on the others.

    From the shots of few-shot learning and of a transfer's target nothing is held out, nor from fewer than
    ten images: there the last epoch is the result. The test set selects nothing. The next task of a continual
    run goes on from the weights of the best epoch, with the optimiser's moments of the last one.

    Attributes:
        patience: epochs without a better one after which training ends; None for no end before the last.
    """

    @dataclass(frozen=True)
    class Params:
        """The keys that every such method has."""

        val_fraction: float  # share of the training images that is held out

        def __post_init__(self) -> None:
            if not 0 <= self.val_fraction < 1:
                raise ValueError(f"_val_fraction must be at least 0 and below 1, not {self.val_fraction}")

    params: Params
    patience: int | None = None

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._best_error = math.inf
        self._epochs_since_best = 0
        self._best_state: dict[str, Tensor] = {}

    @abstractmethod
    def held_out_error(self, batch: TrainBatch) -> Tensor:
        """Return the sum over these images of what is to be small; the net is in evaluation mode."""

    def begin_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Forget the best epoch of the task before."""
        self._forget_best()

    def epoch_rows(self, train_loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return the rows that are trained on, in the epoch's order."""
        trained = self._split(train_loader, task)[1]
        return trained[torch.randperm(len(trained), generator=task.generator(f"order {epoch}"))]

    @torch.no_grad()
    def end_epoch(self, train_loader: BatchLoader, task: Task, epoch: int) -> None:
        """Keep the net if the images held out say that it was never better."""
        held_out = self._split(train_loader, task)[0]
        if len(held_out) == 0:
            return
        self.net.eval()
        errors = [float(self.held_out_error(batch)) for batch in train_loader.in_order(held_out)]
        error = sum(errors) / len(held_out)
        logger.debug("task %s, epoch %d: error %.6g on held-out images", task.name, epoch + 1, error)
        self._epochs_since_best += 1
        if error < self._best_error:
            self._best_error, self._epochs_since_best = error, 0
            self._best_state = {key: value.clone() for key, value in self.net.state_dict().items()}

    def is_done(self) -> bool:
        """Return whether the best epoch lies further back than `patience` allows."""
        return self.patience is not None and self._epochs_since_best >= self.patience

    def end_task(self, train_loader: BatchLoader, task: Task) -> None:
        """Go back to the best epoch, where images were held out."""
        if self._best_state:
            self.net.load_state_dict(self._best_state)
        self._forget_best()

    def extra_state(self) -> dict[str, Tensor]:
        """Return the best epoch so far, its error and its age."""
        return {
            "best_error": torch.tensor(self._best_error, dtype=torch.float64),
            "epochs_since_best": torch.tensor(self._epochs_since_best),
            **{BEST + key: value for key, value in self._best_state.items()},
        }

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `extra_state` returned."""
        self._best_error = float(state["best_error"])
        self._epochs_since_best = int(state["epochs_since_best"])
        self._best_state = {
            key.removeprefix(BEST): value.to(self.device, copy=True)
            for key, value in state.items()
            if key.startswith(BEST)
        }

    def _forget_best(self) -> None:
        self._best_error = math.inf
        self._epochs_since_best = 0
        self._best_state = {}

    def _split(self, train_loader: BatchLoader, task: Task) -> tuple[Tensor, Tensor]:
        """Return the rows that are held out and those that are trained on: a draw of the task's own."""
        count = train_loader.num_images
        has_shots = task.setting == "fewshot" or (task.setting == "transfer" and task.step > 0)
        share = 0.0 if has_shots or count < MIN_IMAGES else self.params.val_fraction
        order = torch.randperm(count, generator=task.generator("held out"))
        num_held_out = min(round(share * count), count - 1)
        return order[:num_held_out], order[num_held_out:]
