"""The documents, taken apart: their tables, their sections, their code blocks and their commands."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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


@dataclass(frozen=True)
class Document:
    """A page of Markdown.

    Args:
        name: its path in the repository.
    """

    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """Everything outside of the fenced blocks."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The fenced blocks in order."""
        found: list[Block] = []
        chapter = before = language = ""
        inside: list[str] | None = None
        for line in self.text.splitlines():
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
        return tuple(found)

    @property
    def commands(self) -> list[str]:
        """The lines of the shell blocks."""
        return [line for block in self.blocks if block.language == "sh" for line in block.text.splitlines()]

    @property
    def spans(self) -> list[str]:
        """What stands in backticks, outside of the fenced blocks."""
        return [" ".join(span.split()) for span in code(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading of this page may name behind its #."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}

    @property
    def links(self) -> list[str]:
        """The targets of all links and pictures."""
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @property
    def sections(self) -> dict[str, str]:
        """Heading of the second level -> what stands under it."""
        _, *parts = re.split(r"^## ", self.prose, flags=re.MULTILINE)
        return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}

    def table(self, first_column: str) -> list[list[str]]:
        """Return the cells of the table whose first column has this title, without its header."""
        lines = self.prose.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
        rows = []
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        return rows


def code(text: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


README = Document("README.md")
METHODS = Document("docs/methods.md")
NETS = Document("docs/nets.md")
RESULTS = Document("docs/results.md")
ADDING = Document("docs/adding.md")
DEPENDENCIES = Document("docs/dependencies.md")
PAGES = tuple(Document(f"docs/{path.name}") for path in sorted((ROOT / "docs").glob("*.md")))
OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md", "checkpoints/README.md", "dataset/splits/README.md")
DOCUMENTS = (README, *PAGES, *(Document(name) for name in OTHERS))
MANUAL = (README, *(page for page in PAGES if page != ADDING))  # whose commands are run one by one
