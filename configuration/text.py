"""Text from files of any editor, and text for one line of a terminal, a log or a table."""

import codecs
import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from configuration.errors import UserError, shown

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARKS = (  # at the start of a file: which encoding it has
    (codecs.BOM_UTF8, "utf-8-sig"),
    *((mark, "utf-16") for mark in UTF16_MARKS),
)


class OneLine(logging.Formatter):
    """A format whose messages take one line each, whatever the names in them hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - name of the standard library
        """Return the record's line, its message escaped; a traceback that follows it is left as it is."""
        record.message = shown(record.message)
        return super().formatMessage(record)


def log_to(stream: TextIO) -> None:
    """Show messages from level INFO on; a run whose output nobody reads any more goes on."""
    output = logging.StreamHandler(stream)
    output.setFormatter(OneLine("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[output])
    logging.raiseExceptions = False


def read_text(path: Path, mend: str, called: str = "") -> str:
    """Return the text of a UTF-8 file, or of a UTF-16 one that begins with its mark, with plain line ends.

    Args:
        path: the file.
        mend: how to mend a file that cannot be read, for the error.
        called: what errors call the file; "" for its path.

    Raises:
        UserError: the file cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{called or path}: cannot be read ({error.strerror}); {mend}") from error
    return decoded(content, called or str(path), mend)


def decoded(content: bytes, called: str, mend: str) -> str:
    """Return the text of a file's content; see `read_text`."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{called}: is neither UTF-8 nor UTF-16 text (byte {error.start}); save it as UTF-8, or {mend}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_table(path: Path, columns: Sequence[str], mend: str) -> list[dict[str, str]]:
    """Return the rows of a table of text by column, whichever of , ; and tab is between its cells.

    Args:
        path: the file; its first line names its columns, in any order, and maybe others.
        columns: those that it must have.
        mend: see `read_text`.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a row that lacks a cell.
    """
    text = read_text(path, mend)
    delimiter = delimiter_of(text.partition("\n")[0], columns)
    if delimiter is None:
        raise UserError(f"{path}: the first line must name the columns {', '.join(columns)}; {mend}")
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path}: is no table ({error}); {mend}") from error
    for number, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise UserError(f"{path}: row {number} has fewer cells than there are columns; {mend}")
    return rows


def delimiter_of(header: str, columns: Sequence[str]) -> str | None:
    """Return what is between the names of these columns in a first line; None where it does not hold them."""
    for delimiter in ",;\t":
        if set(columns) <= set(header.replace('"', "").split(delimiter)):
            return delimiter
    return None


def expanded(path: str) -> Path:
    """Return a path with ~ and ~name replaced.

    Raises:
        ValueError: nobody has this name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"names a user who is not there: '{path}'") from None
