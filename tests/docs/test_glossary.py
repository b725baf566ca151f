"""The glossary defines each domain noun that occurs in the name of a public class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.documents import DOCS, ROOT

ENTRIES = re.findall(r"^- \*\*(.+?)\*\*: .+", (DOCS / "glossary.md").read_text(), flags=re.MULTILINE)
DEFINED_IN_PASSING = re.findall(r"(?<!\*)\*(\w[\w ]+)\*(?!\*)", (DOCS / "glossary.md").read_text())
"""Terms that an entry for another one explains, in italics."""
ORDINARY = """
action admin again ahead ambiguous announced announcer anonymous body broken cache change check comparer
config convertor copied corrupt current database date decider delivery died error evaluate expired figure
file form found given gone health id int invalid join json kafka kind limit linear loaded loader manual metric
millstream missing no not nothing occupied online open output packed patient pending planner problem progress
purpose rate reached readiness ready real rebuilt recent refused repeatable report result retail run sale
sampling schema seen setting shown size slot source spec sqlite status stopped storage stored stuck tensor
time to tolerant touched trained trainer type unavailable unknown unreadable array changed decayed fault
growing left out part retrieved scored sum value adam basis deep judged network lately open q scaling valued
waiting scale data empty endpoint fetcher process pause cancelled positive line
http secret away draining placed estimated utf validity kept
"""
"""Words of programming, of other products, and of plain English."""


def public_classes() -> Iterator[tuple[str, str]]:
    """File and name of each class at the top of a module, unless its name begins with a dash."""
    for package in ("pipeline", "consumers", "producers"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield str(file.relative_to(ROOT)), node.name


def stem(word: str) -> str:
    """The singular in small letters, as far as a rule knows it."""
    word = word.lower()
    for plural, singular in (("ies", "y"), ("ches", "ch"), ("s", "")):
        if word.endswith(plural) and not word.endswith(("ss", "us")):
            return word.removesuffix(plural) + singular
    return word


def words(text: str) -> set[str]:
    """Stems of the words of a term or of a class's name."""
    return {stem(word) for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text.replace("LoRA", "Lora"))}


DEFINED = {word for term in [*ENTRIES, *DEFINED_IN_PASSING] for word in words(term)}
ORDINARY_STEMS = {stem(word) for word in ORDINARY.split()}


@pytest.mark.parametrize(("file", "name"), list(public_classes()))
def test_the_nouns_of_a_class_are_defined(file: str, name: str) -> None:
    missing = words(name) - DEFINED - ORDINARY_STEMS
    assert not missing, f"{file}: {name}: docs/glossary.md has no entry for {', '.join(sorted(missing))}"


def test_entries_stand_in_order() -> None:
    text = (DOCS / "glossary.md").read_text()
    for part in text.split("\n## "):
        terms = [term.lower() for term in re.findall(r"^- \*\*(.+?)\*\*", part, flags=re.MULTILINE)]
        assert all(one < other for one, other in pairwise(terms))


def test_every_line_of_the_list_is_an_entry() -> None:
    lines = [line for line in (DOCS / "glossary.md").read_text().splitlines() if line.startswith("- ")]
    assert len(lines) == len(ENTRIES)


def test_words_of_the_code_before_are_not_used() -> None:
    gone = re.compile(r"\b(workshop|overseer|tape|judgement|orderbook|handover|untold)\b", re.IGNORECASE)
    pages = [Path(ROOT / "README.md"), *DOCS.rglob("*.md")]
    assert [page.name for page in pages if gone.search(page.read_text())] == []
