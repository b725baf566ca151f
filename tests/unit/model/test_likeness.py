"""Likeness equals a naive loop over a user's latest items."""

from __future__ import annotations

import pytest
import torch

from pipeline.model.item_table import Rows
from pipeline.model.likeness import LEAST, MOST_ALIKE, NEARNESS, NO_ITEM, SCALE, alike

WIDTH, OTHERS, ITEMS = 3, 2, 9


@pytest.fixture
def items() -> Rows:
    """Items of few directions, so that some are alike, one without a text; later columns are no text."""
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(ITEMS, WIDTH + OTHERS, generator=generator)
    content[:, :WIDTH] = torch.nn.functional.normalize(content[:, :WIDTH].abs(), dim=1)
    content[4, :WIDTH] = 0
    return Rows(content.half(), torch.zeros(ITEMS, WIDTH), torch.zeros(ITEMS))


def naive(latest: list[int], item: int, items: Rows) -> float:
    texts = items.text.float()
    cosines = [
        nearness * float(texts[item] @ texts[row])
        for row, nearness in zip(latest, NEARNESS, strict=True)
        if row not in (NO_ITEM, item)
    ]
    return SCALE * max(0.0, max(cosines, default=0.0) - LEAST)


def test_it_is_the_best_of_the_latest(items: Rows) -> None:
    latest = [[0, 1, 2, 3], [5, NO_ITEM, NO_ITEM, NO_ITEM], [4, 4, 8, NO_ITEM], [7, 7, 7, 7]]
    rows = torch.tensor([8, 0, 3, 7, 4])
    found = alike(torch.tensor(latest), items, rows)
    expected = [[naive(own, item, items) for item in rows.tolist()] for own in latest]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-2, rtol=0)
    assert (found > 0).any() and found.max() <= MOST_ALIKE


def test_without_texts_nothing_is_alike(items: Rows) -> None:
    empty = items._replace(content=torch.zeros_like(items.content))
    assert not alike(torch.tensor([[0, 1, 2, 3]]), empty, torch.arange(ITEMS)).any()
