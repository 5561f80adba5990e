"""How a program ends: its exit code, and one line for what a user can mend."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

from configuration.errors import UserError, shown

INTERRUPTED = 130


def run_program(body: Callable[[], int], shows_traceback: bool = False) -> int:
    """Return the exit code of a program: its body's, 2 for what a user can mend, 130 if interrupted.

    Where whoever read the output has gone (`| head -1`), the rest of it is dropped.

    Args:
        body: does the work and returns the exit code.
        shows_traceback: whether the line for the user comes as a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack letters that names have
            stream.reconfigure(errors="backslashreplace")
    try:
        code = body()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 0
    except (UserError, OSError) as error:
        line = _line_for_the_user(error)
        if line is None:
            raise
        sys.stderr.write(traceback.format_exc() if shows_traceback else f"{line}\n")
        return 2


def _line_for_the_user(error: UserError | OSError) -> str | None:
    """Return what a user has to mend, a line for each problem; None if it is nothing of his."""
    if isinstance(error, UserError):
        return str(error)
    if error.filename is not None:
        return f"{shown(os.fsdecode(error.filename))}: {error.strerror}; mend it or name another one"
    if error.errno == errno.ENOSPC:
        _drop_output()
        return f"the output cannot be written ({error.strerror}); free some space"
    return None


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait for the end of a block that imports: half imported libraries lose it, or fail.

    Raises:
        KeyboardInterrupt: it was pressed in the block.
    """
    noted: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _frame: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if noted:
        raise KeyboardInterrupt


def _drop_output() -> None:
    """Let Python's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
