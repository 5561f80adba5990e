"""How a program ends: its exit code, and one line for what a user can mend."""

import errno
import os
import sys
import traceback
from collections.abc import Callable

from configuration.errors import UserError


def run_program(body: Callable[[], int], shows_traceback: bool = False) -> int:
    """Return the exit code of a program: its body's, 2 for what a user can mend, 130 if interrupted.

    Where whoever read the output has gone (`| head -1`), the rest of it is dropped.

    Args:
        body: does the work and returns the exit code.
        shows_traceback: whether the line for the user comes as a traceback.
    """
    try:
        code = body()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        sys.stderr.write(f"the output cannot be written ({error.strerror}); free some space\n")
        return 2
    except UserError as error:
        sys.stderr.write(traceback.format_exc() if shows_traceback else f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _drop_output() -> None:
    """Let Python's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
