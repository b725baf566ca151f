"""Maps are drawn from the vectors of items when twice as many have one, and at no other time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.config import RowRates
from pipeline.model.fusion import MOST_READ, Fusion, GatedMap
from pipeline.model.item_table import ItemTable
from pipeline.model.modality_counts import ModalityCounts

WIDTH, IMAGE, SOUND = 4, 6, 3
COLUMNS = WIDTH + IMAGE + SOUND


class Catalogue:
    """A table, its maps, and what was drawn of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int = 300) -> None:
        self.fusion = Fusion(WIDTH, 8, {"image": IMAGE, "sound": SOUND})
        self.table = ItemTable(WIDTH, torch.device("cpu"), RowRates(), COLUMNS)
        self.table.grow(size)
        self.counts = ModalityCounts()
        self.drawn = list[tuple[int, int]]()
        spread = GatedMap.spread

        def noted(drawn: GatedMap, vectors: Tensor) -> None:
            self.drawn.append((vectors.shape[1], len(vectors)))
            spread(drawn, vectors)

        monkeypatch.setattr(GatedMap, "spread", noted)

    def put(self, start: int, stop: int, image: bool = True, sound: bool = False) -> None:
        """Give rows a text, and vectors or none."""
        content = torch.randn(stop - start, COLUMNS, generator=torch.Generator().manual_seed(start))
        content[:, WIDTH : WIDTH + IMAGE] *= image
        content[:, WIDTH + IMAGE :] *= sound
        self.counts.set_content(self.fusion, self.table, torch.arange(start, stop), content)


def test_a_map_is_drawn_when_so_many_items_have_the_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(monkeypatch)
    catalogue.put(0, 63)
    assert catalogue.drawn == []
    catalogue.put(0, 64)
    assert catalogue.drawn == [(IMAGE, 64)]
    catalogue.put(64, 127, sound=True)
    catalogue.put(0, 127, sound=True)
    assert catalogue.drawn[1:] == [(SOUND, 127)]
    catalogue.put(127, 300)
    assert catalogue.drawn[2:] == [(IMAGE, 300)]


def test_items_that_lose_their_vectors_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(monkeypatch)
    catalogue.put(0, 60)
    catalogue.put(0, 30, image=False)
    catalogue.put(60, 90)
    assert catalogue.drawn == []


def test_counts_follow_from_the_table_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(monkeypatch)
    catalogue.put(0, 100)
    catalogue.counts = ModalityCounts()
    catalogue.put(100, 120)
    assert catalogue.drawn == [(IMAGE, 100)]
    catalogue.put(120, 130)
    assert catalogue.drawn == [(IMAGE, 100), (IMAGE, 130)]


def test_of_many_vectors_some_are_read_from_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(monkeypatch, 3 * MOST_READ)
    catalogue.put(0, 3 * MOST_READ)
    assert catalogue.drawn == [(IMAGE, MOST_READ)]


def test_a_table_of_texts_alone_is_only_set() -> None:
    table = ItemTable(WIDTH, torch.device("cpu"), RowRates())
    table.grow(70)
    ModalityCounts().set_content(Fusion(WIDTH, 8, {}), table, torch.arange(70), torch.ones(70, WIDTH))
    assert table.all().content.all()
