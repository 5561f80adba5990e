"""Two programs that take turns: each waits before every piece of its work until it is told to go on."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
READY, DONE = "pace: ready", "pace: done"  # how a program's lines begin; what else it prints is ignored


def paced(phase: str, items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, each after a line of standard input; print the seconds until the next is asked for."""
    for item in items:
        sys.stdout.write(f"{READY} {phase}\n")
        sys.stdout.flush()
        if not sys.stdin.readline():
            sys.exit("nobody waits for the next piece of work")
        start = time.perf_counter()
        yield item
        sys.stdout.write(f"{DONE} {time.perf_counter() - start}\n")
        sys.stdout.flush()
