"""Text of any editor, and lines that stay lines."""

import logging
from pathlib import Path

import pytest

from configuration.errors import UserError, shown
from configuration.text import OneLine, read_table, read_text

COLUMNS = ("object", "image")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain Größe 你好", "plain Größe 你好"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("caf\udce9", r"caf\udce9"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_would_break_or_colour_a_line_is_escaped(text: str, line: str) -> None:
    assert shown(text) == line
    assert str(UserError(text, "next")) == f"{line}\nnext"
    record = logging.LogRecord("x", logging.INFO, "", 0, "file %s", (text,), None)
    assert OneLine("%(message)s").format(record) == f"file {line}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unambiguous_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    path.write_bytes((mark + "1\tß\r\n2\r").encode(encoding))
    assert read_text(path, "mend it").lstrip("\ufeff") == "1\tß\n2\n"


def test_latin_1_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("Größe".encode("latin-1"))
    with pytest.raises(
        UserError, match=r"x\.txt: is neither UTF-8 nor UTF-16 text \(byte 2\); save it as UTF-8, or mend"
    ):
        read_text(path, "mend it")
    with pytest.raises(UserError, match=r"none: cannot be read \(No such file or directory\); mend it"):
        read_text(tmp_path / "none", "mend it")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_its_columns_in_any_order(delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    lines = [["image", "more", "object"], ["a.png", "1", "candle"]]
    path.write_bytes("\r\n".join(delimiter.join(line) for line in lines).encode("utf-8-sig"))
    assert read_table(path, COLUMNS, "mend it") == [{"image": "a.png", "more": "1", "object": "candle"}]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("candle,a.png\n", "the first line must name the columns object, image"),
        ("", "the first line must name the columns"),
        ("object,image\ncandle\n", "row 2 has fewer cells than there are columns"),
        ("object,image\n" + "x" * 200_000, "is no table"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"x\.csv: {line}.*; mend it"):
        read_table(path, COLUMNS, "mend it")
