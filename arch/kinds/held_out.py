"""Held-out images: normal training images that are not trained on and tell which epoch was the best."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from data_io.records import BatchLoader, Task, TrainBatch

MIN_IMAGES = 10  # of a task; fewer can spare none
BEST = "best."  # before the names of the net's tensors in the state


@dataclass(frozen=True)
class HeldOutParams:
    """The keys of every method that holds images out."""

    val_fraction: float  # share of the training images that is held out

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"_val_fraction must be at least 0 and below 1, not {self.val_fraction}")


class HeldOut:
    """The images of a task that are held out, and the best epoch on them so far.

    From the shots of few-shot learning and of a transfer's target nothing is held out, nor from fewer than
    ten images: there the last epoch is the result. The test set selects nothing.

    Args:
        error: the sum over a batch of what is to be small; the net is in evaluation mode.
        share: of the training images that is held out.
        patience: epochs without a better one after which training ends; None for no end before the last.
    """

    def __init__(
        self, error: Callable[[TrainBatch], Tensor], share: float, patience: int | None = None
    ) -> None:
        self.error = error
        self.share = share
        self.patience = patience
        self.forget()

    def forget(self) -> None:
        """Forget the best epoch of the task before."""
        self._best_error = math.inf
        self._epochs_since_best = 0
        self._best_state: dict[str, Tensor] = {}

    def split(self, loader: BatchLoader, task: Task) -> tuple[Tensor, Tensor]:
        """Return the rows that are held out and those that are trained on: a draw of the task's own."""
        count = loader.num_images
        share = 0.0 if task.has_shots or count < MIN_IMAGES else self.share
        order = torch.randperm(count, generator=task.generator("held out"))
        num_held_out = min(round(share * count), count - 1)
        return order[:num_held_out], order[num_held_out:]

    def compare(self, net: nn.Module, error: float) -> bool:
        """Keep the net if its error on the images held out was never smaller; return whether to end."""
        self._epochs_since_best += 1
        if error < self._best_error:
            self._best_error, self._epochs_since_best = error, 0
            self._best_state = {key: value.clone() for key, value in net.state_dict().items()}
        return self.patience is not None and self._epochs_since_best >= self.patience

    def restore(self, net: nn.Module) -> None:
        """Go back to the best epoch, where images were held out."""
        if self._best_state:
            net.load_state_dict(self._best_state)
        self.forget()

    def state(self) -> dict[str, Tensor]:
        """Return the best epoch so far, its error and its age."""
        return {
            "best_error": torch.tensor(self._best_error, dtype=torch.float64),
            "epochs_since_best": torch.tensor(self._epochs_since_best),
            **{BEST + key: value for key, value in self._best_state.items()},
        }

    def load_state(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Take back what `state` returned."""
        self._best_error = float(state["best_error"])
        self._epochs_since_best = int(state["epochs_since_best"])
        self._best_state = {
            key.removeprefix(BEST): value.to(device, copy=True)
            for key, value in state.items()
            if key.startswith(BEST)
        }
