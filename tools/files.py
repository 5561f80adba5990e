"""How this project writes files: whole or not at all, under a lock where processes share them."""

import contextlib
import csv
import errno
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from configuration.errors import UserError, shown
from configuration.text import UTF16_MARKS, decoded, delimiter_of

LOCK = ".lock"  # the file in a folder by which processes take turns
_FULL = {errno.ENOSPC, errno.EDQUOT}
_TAIL = 65536  # bytes at the end of a file in which a torn row is looked for; no row is longer
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")  # the temporary names that `replacing` gives
_MEND = "restore it or move it away"
_POLL_SECONDS = 0.01
_ANYONE = 0o666  # a lock says nothing, and whoever shares the folder must be able to take it


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
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")  # see _UNFINISHED
    try:
        with mendable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process has left of files that it was writing in a folder and below it."""
    for path in folder.rglob(".*"):
        if _UNFINISHED.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def locked(folder: Path, busy: str = "") -> Iterator[None]:
    """Hold the lock of a folder, which is made; a process that ends in whatever way lets go of it.

    Args:
        folder: the folder.
        busy: what to say where another process holds it; without this, wait.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0 if busy else -1, mode=_ANYONE)
    with mendable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(poll_interval=_POLL_SECONDS)
        except Timeout as error:
            raise UserError(busy) from error
    try:
        yield
    finally:
        lock.release()


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    """Append rows to a CSV file, and its header if it is new; whose file others write holds a lock.

    The rows are on the disk on return. A row that a killed process left torn is cut off first; when the
    disk is full, what was written of these rows is cut off again. A line break inside a cell is escaped, so
    that every line is a whole row.

    Raises:
        UserError: the file has other columns, or cannot be written.
    """
    with mendable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _adopt(path, columns)
        with path.open("a+b", buffering=0) as file:
            size = _whole_rows(file)
            _append(file, size, (b"" if size else _csv_lines([columns])) + _csv_lines(rows))


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a text file, their ends included, without one that a killed process left torn.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_MEND}") from error
    if not content.startswith(UTF16_MARKS):  # which no file of ours has
        content = content[: content.rfind(b"\n") + 1]
    return decoded(content, str(path), _MEND).splitlines(keepends=True)


def table_rows(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Return the whole rows of a CSV file of these columns, also as spreadsheets save it; [] for no file.

    Raises:
        UserError: the file cannot be read, or has other columns.
    """
    if not path.exists():
        return []
    lines = whole_lines(path)
    if not lines and _is_ours(path.read_bytes(), columns):  # empty, or a torn header
        return []
    delimiter = delimiter_of("".join(lines[:1]).rstrip("\n"), columns)
    try:
        header, *rows = csv.reader(lines or [""], delimiter=delimiter or ",")
    except csv.Error as error:
        raise UserError(f"{path}: is no table ({error}); {_MEND}") from error
    if header != list(columns):
        raise UserError(f"{path}: has other columns than this version writes; move it away and run again")
    return rows


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Check that a CSV file, if it is there, has these columns.

    Raises:
        UserError: it has others, or cannot be written.
    """
    if path.exists():
        with mendable(path), path.open("r+b") as file:
            is_ours = _is_ours(file.read(_TAIL), columns)
        if not is_ours:
            table_rows(path, columns)


def _csv_lines(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([shown(cell) for cell in row] for row in rows)
    return buffer.getvalue().encode()


def _is_ours(content: bytes, columns: Sequence[str]) -> bool:
    """Return whether a file begins as we write it; a killed process may have left a part of the header."""
    header = _csv_lines([columns])
    return header.startswith(content[: len(header)])


def _adopt(path: Path, columns: Sequence[str]) -> None:
    """Bring a table that a spreadsheet has saved back into our form."""
    if path.exists():
        with path.open("rb") as file:
            is_ours = _is_ours(file.read(_TAIL), columns)
        if not is_ours:
            content = _csv_lines([columns, *table_rows(path, columns)])
            with replacing(path) as temporary:
                temporary.write_bytes(content)


def _whole_rows(file: io.FileIO) -> int:
    """Cut off a torn last row; return the size that is left, in bytes."""
    size = file.seek(0, os.SEEK_END)
    first = file.seek(max(0, size - _TAIL))
    whole = first + file.read().rfind(b"\n") + 1
    if whole < size:
        file.truncate(whole)
    return whole


def _append(file: io.FileIO, size: int, data: bytes) -> None:
    """Write all the data and wait for the disk; on an error, cut the file back to its size in bytes."""
    try:
        written = 0
        while written < len(data):
            written += file.write(data[written:])
        os.fsync(file.fileno())
    except OSError:
        file.truncate(size)
        raise


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
