"""Progress bars: only on a terminal, only for what takes longer than two seconds, gone when done."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

from configuration.errors import shown

_DELAY_SECONDS = 2.0

Item = TypeVar("Item")


def progress(iterable: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and show how far they are; `total` where the iterable has no length."""
    with _bar(what, total, iterable) as items:
        yield from items


def progress_bar(what: str, total: int | None) -> Any:
    """Return a bar of tqdm, to use in a `with`, for a loop that reports counts by `update(n)`."""
    return _bar(what, total)


def _bar(what: str, total: int | None, iterable: Iterable[Item] | None = None) -> Any:
    # disable=None: not shown where stderr is no terminal
    what = shown(what)
    return tqdm(iterable, what, total, leave=False, delay=_DELAY_SECONDS, disable=None, dynamic_ncols=True)
