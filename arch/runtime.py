"""What a method is lent while it is trained; nothing is written into the method itself."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class ImageReader(Protocol):
    """Decoded images by row."""

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, rows: Tensor) -> Tensor:
        """Return the images of these rows as (B, 3, H, W) uint8 on the device."""


class Bar(Protocol):
    """A progress bar that its loop moves on by itself."""

    def update(self, n: int = 1) -> object:
        """Count n more as done."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show a text behind the bar."""


class _NoBar:
    def update(self, n: int = 1) -> None:
        """Show nothing."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show nothing."""


def no_bar(_what: str, _total: int) -> AbstractContextManager[Bar]:
    """Return a bar that is never seen."""
    return nullcontext(_NoBar())


def _no_folder(_side: int) -> ImageReader:
    raise LookupError("the method names no image folder")


def _keep_nothing(_state: dict[str, Any]) -> None:
    """Leave nothing on disk."""


@dataclass(frozen=True)
class Runtime:
    """What a method is lent for one training.

    Args:
        device: where it computes.
        bar: makes a progress bar for work of a kind and a length.
        folder_images: the images of the method's `image_folder`, squashed to squares of a side in pixels.
        keep: puts the state of an unfinished training on disk.
        interrupted: such a state, to go on from; None to begin.
    """

    device: torch.device
    bar: Callable[[str, int], AbstractContextManager[Bar]] = no_bar
    folder_images: Callable[[int], ImageReader] = _no_folder
    keep: Callable[[dict[str, Any]], None] = _keep_nothing
    interrupted: Mapping[str, Any] | None = None
