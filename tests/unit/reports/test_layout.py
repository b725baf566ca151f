"""Tables fold where the terminal is narrow; what people copy stays whole, and nothing is lost."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from pipeline.reports.layout import table

PLACE, WORDS = "shop.interactions/12/123456", "every word of this is still there"


def printed(columns: int, title: str = "letters", place: str = PLACE) -> str:
    screen = io.StringIO()
    made = table(title, ("place", "what", "count"), [(place, WORDS, "7")], whole=("place",), right=("count",))
    Console(file=screen, width=columns).print(made, soft_wrap=True)
    return screen.getvalue()


@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_a_whole_column_is_never_broken_and_others_lose_nothing(columns: int) -> None:
    lines = [line.strip("│").split("│") for line in printed(columns).splitlines() if line.startswith("│")]
    assert [line[0].strip() for line in lines if line[0].strip()] == [PLACE]
    assert " ".join(" ".join(line[1] for line in lines).split()) == WORDS
    assert [line[2] for line in lines if line[2].strip()] == [" " * 5 + "7 "]


def test_a_table_is_no_wider_than_the_terminal_if_it_can_be() -> None:
    assert max(map(len, printed(80).splitlines())) <= 80
    assert max(map(len, printed(200).splitlines())) < 100


def test_texts_are_no_markup() -> None:
    page = printed(200, "of [bold]shop[/bold]", "[red]x[/red]/0/1")
    assert "of [bold]shop[/bold]" in page and "[red]x[/red]/0/1" in page


def test_cells_may_have_several_lines() -> None:
    page = printed(200, place="first\nsecond one")
    assert re.search(r"│ first +│", page) and re.search(r"│ second one │", page)
