"""The README, taken apart: its tables, its code blocks and its commands."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = "How to add a method or a data set"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        chapter: heading of the second level that it stands under.
        before: the line of text before it.
        language: what the fence says.
        text: the lines inside, each with its line break.
    """

    chapter: str
    before: str
    language: str
    text: str


def text() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[Block]:
    """Return the fenced blocks in order."""
    found: list[Block] = []
    chapter = before = ""
    inside: list[str] | None = None
    language = ""
    for line in text().splitlines():
        if line.startswith("```") and inside is None:
            inside, language = [], line[3:]
        elif line.startswith("```") and inside is not None:
            found.append(Block(chapter, before, language, "".join(f"{row}\n" for row in inside)))
            inside = None
        elif inside is not None:
            inside.append(line)
        elif line:
            chapter = line[3:] if line.startswith("## ") else chapter
            before = line
    return found


def prose() -> str:
    """Return everything outside of the fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return the shell commands outside of the chapter on additions, which has a test of its own."""
    shell = [block for block in blocks() if block.language == "sh" and block.chapter != CHAPTER]
    return [line for block in shell for line in block.text.splitlines()]


def table(first_column: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this title, without its header."""
    lines = prose().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def code(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)
