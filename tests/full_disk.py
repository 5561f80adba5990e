"""A disk that is full, for tests of what a write does that is cut in the middle."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files_cut_at(limit: int) -> Iterator[None]:
    """Let no file grow over this many bytes.

    The limit holds for the whole process, and pytest's own report may be a file: keep nothing but the write
    inside.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
