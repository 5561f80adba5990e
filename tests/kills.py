"""Runs of the real program in a process of their own that is killed at a chosen moment."""

import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from main import main
from tools import files

_SPAWN = multiprocessing.get_context("forkserver")
_SPAWN.set_forkserver_preload(["paradigms.centralized.c2d", "arch.patchcore", "arch.stpm", "timm"])
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
KILLED = -signal.SIGKILL


class Moments:
    """Count the times that a process changes something on disk, and kill it at one of them.

    Args:
        folder: where changes count.
        kill_at: number of the change that is not made any more; None for none.
    """

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.folder = str(folder)
        self.kill_at = kill_at
        self.count = 0
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._changes(event, arguments):
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1

    def _changes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            return bool(flags & _WRITING) and str(path).startswith(self.folder)
        if event in ("os.rename", "os.remove", "os.mkdir"):
            return str(arguments[0]).startswith(self.folder)
        return event == "os.truncate"


@dataclass(frozen=True)
class Kill:
    """When a process is killed.

    Args:
        at: number of the change on disk that is not made any more; None for none.
        torn: number of the row that is written by half; None for none.
        seconds: time from its start; None for no such end.
        threads: of torch; 0 for its own number.
    """

    at: int | None = None
    torn: int | None = None
    seconds: float | None = None
    threads: int = 1


def run_killed(words: Sequence[str], work_dir: Path, kill: Kill) -> tuple[int | None, int]:
    """Run the program; return its exit code, KILLED if killed, and how often it changed the disk.

    Args:
        words: the command line without the work folder.
        work_dir: the work folder.
        kill: when it is killed.
    """
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_run, args=(words, work_dir, kill, sender))
    process.start()
    sender.close()
    process.join(kill.seconds)
    process.kill()
    process.join()
    count = receiver.recv() if process.exitcode == 0 else 0
    return process.exitcode, count


def _run(words: Sequence[str], work_dir: Path, kill: Kill, sender: Any) -> None:
    if kill.threads:
        torch.set_num_threads(kill.threads)
    _tear(kill.torn)
    moments = Moments(work_dir, kill.at)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = main([*words, "-wd", str(work_dir)])
    sender.send(moments.count)
    sys.exit(code)


def _tear(torn: int | None) -> None:
    plain = files._append
    number = itertools.count()

    def append(file: Any, size: int, data: bytes) -> None:
        if next(number) == torn:
            file.write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        plain(file, size, data)

    files._append = append
