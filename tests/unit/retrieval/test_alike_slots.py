"""What is alike is found as it is now, whatever was found and changed before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.model.backbone import Backbone
from pipeline.model.likeness import NO_ITEM, alike
from pipeline.retrieval import alike_slots
from pipeline.retrieval.alike_slots import AlikeFound, AlikeSlots
from pipeline.retrieval.rounded_vectors import NOWHERE, RoundedVectors
from pipeline.retrieval.scan import Queries, Scan
from tests.support.retrieval import RetrievalHarness, retrieval_harness

ITEMS, TARGETS, BEST = 600, 40, 30
ROUNDING = 1e-6


@pytest.fixture(params=[0, 5], ids=["texts", "vectors"])
def harness(backbone: Backbone, request: pytest.FixtureRequest) -> RetrievalHarness:
    return retrieval_harness(backbone, ITEMS, TARGETS, look=request.param)


def slots_of(harness: RetrievalHarness, scanned: np.ndarray) -> AlikeSlots:
    items = harness.table.all()
    content = RoundedVectors(items.content.shape[1], items.content.device)
    content.grow(ITEMS + 8)  # whole groups
    content.put(torch.arange(scanned.size), items.content[torch.from_numpy(scanned)].float())
    return AlikeSlots(content, items.residual.shape[1])


def find(slots: AlikeSlots, latest: np.ndarray, harness: RetrievalHarness, scanned: np.ndarray) -> AlikeFound:
    by_row = np.full(ITEMS, NOWHERE)
    by_row[scanned] = np.arange(scanned.size)
    return slots.find(latest, harness.table.all(), scanned, by_row)


def assert_is_alike(harness: RetrievalHarness, found: AlikeFound, scanned: np.ndarray) -> None:
    """Each slot has its likeness, unless more was left out, and no other more than that."""
    items, latest = harness.table.all(), torch.from_numpy(harness.contexts.latest)
    exact = alike(latest, items, torch.from_numpy(scanned))
    likeness = torch.zeros_like(exact).scatter_reduce(1, found.slots, found.likeness, "amax")
    assert (likeness > 0).any(dim=1).float().mean() > 0.5
    assert (likeness <= exact + ROUNDING).all()
    assert (exact <= torch.maximum(likeness, found.left_out.unsqueeze(1)) + ROUNDING).all()


@pytest.mark.parametrize("step", [1, 3])
def test_all_that_is_alike_is_found(harness: RetrievalHarness, step: int) -> None:
    scanned = np.arange(0, ITEMS, step)
    slots = slots_of(harness, scanned)
    for _ in range(2):  # what is kept is what was found
        found = find(slots, harness.contexts.latest, harness, scanned)
        assert_is_alike(harness, found, scanned)
        assert not found.left_out.any()


def test_of_more_than_are_kept_the_most_alike_are(
    harness: RetrievalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alike_slots, "MOST_SLOTS", 3)
    scanned = np.arange(ITEMS)
    found = find(slots_of(harness, scanned), harness.contexts.latest, harness, scanned)
    assert_is_alike(harness, found, scanned)
    assert found.left_out.any()


def test_of_too_many_equal_texts_none_is_kept(harness: RetrievalHarness) -> None:
    harness.table.set_content(torch.arange(200), harness.table.all().content[:1].expand(200, -1).float())
    scanned, latest = np.arange(ITEMS), np.array([[3, NO_ITEM, NO_ITEM, NO_ITEM]])
    found = find(slots_of(harness, scanned), latest, harness, scanned)
    assert not found.likeness.any()
    exact = alike(torch.from_numpy(latest), harness.table.all(), torch.from_numpy(scanned))
    assert found.left_out >= exact.max()


def test_who_has_no_latest_items_finds_nothing(harness: RetrievalHarness) -> None:
    scanned = np.arange(ITEMS)
    found = find(slots_of(harness, scanned), np.full((2, 4), NO_ITEM), harness, scanned)
    assert not found.likeness.any()
    assert not found.left_out.any()


def searched(harness: RetrievalHarness, scan: Scan) -> tuple[list[list[int]], list[float]]:
    asked = Queries.of(harness.contexts, harness.weights)
    found = scan.search(harness.recommender, asked, harness.table.all(), BEST)
    return np.sort(found.rows, axis=1).tolist(), found.bound.tolist()


@pytest.mark.parametrize("most", [4_096, 170])
def test_a_scan_finds_what_a_new_one_does(
    harness: RetrievalHarness, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(alike_slots, "MOST_ITEMS", most)
    monkeypatch.setattr(alike_slots, "MOST_SLOTS", 8)
    random, table, lasting = np.random.default_rng(0), harness.table, Scan()
    rows = np.arange(ITEMS // 2)
    for step in range(30):
        changed = random.choice(ITEMS, random.integers(0, 9), replace=False)
        texts = table.all().content[torch.from_numpy(random.choice(ITEMS, changed.size))].float()
        table.set_content(torch.from_numpy(changed), texts)
        if step % 3 == 1:
            rows = random.choice(ITEMS, int(random.integers(ITEMS // 2, ITEMS)), replace=False)
        lasting.choose(rows, table.all(), has_content=True)
        lasting.refresh(np.zeros(0, dtype=np.int64), np.sort(changed), table.all())
        new = Scan()
        new.choose(rows, table.all(), has_content=True)
        for scan in (lasting, new):
            shares = harness.popularity.log_share(rows), harness.popularity.trend(rows)
            scan.set_popularity(*map(torch.from_numpy, shares))
        assert searched(harness, lasting) == searched(harness, new)
