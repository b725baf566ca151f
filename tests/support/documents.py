"""README and docs as data: their fenced blocks and their inline code, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN_MARK = "<!-- run -->"
"""On the line before a block of commands that the tests run, and do not only parse."""
_FENCE = re.compile(
    rf"^(?P<mark>{re.escape(RUN_MARK)}\n)?```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        place: file and line, for messages.
        language: as the fence names it; empty where it names none.
        runs: whether it is marked to be run.
    """

    place: str
    language: str
    text: str
    runs: bool

    @property
    def commands(self) -> list[str]:
        """Its lines, without comments."""
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]


def pages() -> list[Path]:
    """All pages that a reader gets: those at the root, and the docs."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """The path of a page below the root, for test ids."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(
            place=f"{name_of(page)}:{text.count(chr(10), 0, found.start()) + 1}",
            language=found["language"].strip(),
            text=found["text"],
            runs=found["mark"] is not None,
        )
        for found in _FENCE.finditer(text)
    ]


def inline_code(page: Path) -> Iterator[str]:
    """Each piece of code within a sentence or a table; line breaks become spaces."""
    text = _FENCE.sub("", page.read_text())
    return (" ".join(found.split()) for found in _INLINE.findall(text))


def table_rows(page: Path, heading: str = "") -> list[list[str]]:
    """Cells of all table rows of a page that begin with code, from a heading on if given."""
    text = page.read_text()
    rows = [line for line in text[text.index(heading) :].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
