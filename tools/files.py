"""How this project writes files: whole or not at all, under a lock where processes share them."""

import contextlib
import csv
import errno
import fcntl
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from configuration.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_TAIL = 65536  # bytes at the end of a file in which a torn row is looked for; no row is longer


@contextlib.contextmanager
def mendable(path: Path) -> Iterator[None]:
    """Turn an error of the disk into the one line that tells the user how to mend it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        hint = "free some space" if error.errno in _FULL else "mend that"
        raise UserError(f"{path}: cannot be written ({reason}); {hint} or set -wd elsewhere") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends well, and vanishes when it does not.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        with mendable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    """Append rows to a CSV file that any number of processes share, and its header if it is new.

    The rows are on the disk on return. A row that a killed process left torn is cut off first; when the
    disk is full, what was written of these rows is cut off again. A line break inside a cell becomes a
    blank, so that every line is a whole row.

    Raises:
        UserError: the file has other columns, or cannot be written.
    """
    with mendable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            header = _csv_lines([columns])
            size = _whole_rows(handle, path, header)
            _append(handle, size, (b"" if size else header) + _csv_lines(rows))
        finally:
            os.close(handle)


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Check that a CSV file, if it is there, has these columns.

    Raises:
        UserError: it has others, or cannot be written.
    """
    if path.exists():
        header = _csv_lines([columns])
        with mendable(path), path.open("r+b") as file:
            _check_start(file.read(len(header)), path, header)


def _csv_lines(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([" ".join(cell.splitlines()) for cell in row] for row in rows)
    return buffer.getvalue().encode()


def _check_start(start: bytes, path: Path, header: bytes) -> None:
    if not header.startswith(start):  # a killed process may have left a part of the header
        raise UserError(f"{path}: has other columns than this version writes; move it away and run again")


def _whole_rows(handle: int, path: Path, header: bytes) -> int:
    """Cut off a torn last row; return the size that is left, in bytes."""
    _check_start(os.pread(handle, len(header), 0), path, header)
    size = os.fstat(handle).st_size
    first = max(0, size - _TAIL)
    whole = first + os.pread(handle, _TAIL, first).rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(handle, whole)
    return whole


def _append(handle: int, size: int, data: bytes) -> None:
    """Write all the data and wait for the disk; on an error, cut the file back to its size in bytes."""
    try:
        written = 0
        while written < len(data):
            written += os.write(handle, data[written:])
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
