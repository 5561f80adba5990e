"""Runs of the real program in a process of their own that is killed at a chosen moment."""

import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
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


def run_killed(words: Sequence[str], work_dir: Path, kill_at: int | None, torn: int | None = None) -> Any:
    """Run the program; return its exit code, KILLED if killed, and how often it changed the disk.

    Args:
        words: the command line without the work folder.
        work_dir: the work folder.
        kill_at: number of the change on disk before which it is killed; None for none.
        torn: number of the row that is written by half before it is killed; None for none.
    """
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_run, args=(words, work_dir, kill_at, torn, sender))
    process.start()
    sender.close()
    process.join()
    try:
        count = receiver.recv()
    except EOFError:
        count = None
    return process.exitcode, count


def _run(words: Sequence[str], work_dir: Path, kill_at: int | None, torn: int | None, sender: Any) -> None:
    torch.set_num_threads(1)
    _tear(torn)
    moments = Moments(work_dir, kill_at)
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
