"""What is scanned of a snapshot follows its changes, and all else is found by its content."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consumers.serve.state.loaded_snapshot import SnapshotChanges
from consumers.serve.state.scans import SnapshotScan
from pipeline.config import ModelSizes, RetrievalConfig
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import Rows
from pipeline.model.mixer import FEATURES
from pipeline.model.recommender import Recommender
from pipeline.retrieval.scan import MODEL
from pipeline.state.popularity import DecayedPopularity

ITEMS, CAPACITY, WIDTH = 200, 64, 32
CONFIG = RetrievalConfig(scanned=CAPACITY)
NOTHING = np.zeros(0, dtype=np.int64)


@pytest.fixture
def recommender(backbone: Backbone) -> Recommender:
    return Recommender(backbone, ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4), seed=0).eval()


def rows_of(size: int) -> Rows:
    generator = torch.Generator().manual_seed(0)
    content = torch.nn.functional.normalize(torch.randn(size, WIDTH, generator=generator), dim=1)
    return Rows(content, torch.zeros(size, WIDTH), torch.zeros(size))


def popularity_of(size: int) -> DecayedPopularity:
    return DecayedPopularity.of_counts(np.arange(size, dtype=np.float64)[::-1].copy())


def best_by_model(scan: SnapshotScan, recommender: Recommender, user: torch.Tensor) -> int:
    weights = torch.zeros(1, len(FEATURES))
    weights[:, MODEL] = 1
    return int(scan.scan.search(recommender, user[None], weights, 1).rows[0, 0])


def found(scan: SnapshotScan, recommender: Recommender, user: torch.Tensor) -> list[int]:
    return [row for rows in scan.find(recommender, user[None], 3) for row in rows[0].tolist()]


@torch.inference_mode()
def test_the_popular_are_scanned_and_others_found_by_content(recommender: Recommender) -> None:
    items = rows_of(ITEMS)
    scan = SnapshotScan(items, popularity_of(ITEMS), CONFIG)
    assert sorted(scan.scan.rows.tolist()) == list(range(CAPACITY))
    assert best_by_model(scan, recommender, items.content[5]) == 5
    for row in range(CAPACITY, ITEMS):
        assert row in found(scan, recommender, items.content[row])
    assert not set(found(scan, recommender, items.content[5])) & set(range(CAPACITY)) - {scan.scan.rows[0]}


@torch.inference_mode()
def test_changes_are_found(recommender: Recommender) -> None:
    items = rows_of(ITEMS)
    scan = SnapshotScan(items, popularity_of(ITEMS), CONFIG)
    other = torch.nn.functional.normalize(torch.ones(WIDTH), dim=0)
    items.content[150], items.residual[7] = other, 3 * torch.nn.functional.normalize(-other, dim=0)
    scan.update(items, popularity_of(ITEMS), SnapshotChanges(["x"], np.array([150]), np.array([7])))
    assert 150 in found(scan, recommender, other)
    assert best_by_model(scan, recommender, -other) == 7


@torch.inference_mode()
def test_a_small_catalogue_is_scanned_whole_as_it_grows(recommender: Recommender) -> None:
    items = rows_of(CAPACITY)
    scan = SnapshotScan(Rows(*(column[:40] for column in items)), popularity_of(40), CONFIG)
    new = np.arange(40, CAPACITY)
    scan.update(items, popularity_of(CAPACITY), SnapshotChanges([], new, NOTHING))
    assert sorted(scan.scan.rows.tolist()) == list(range(CAPACITY))
    assert scan.by_content is None
    assert best_by_model(scan, recommender, items.content[60]) == 60
    assert np.array_equal(scan.shares, popularity_of(CAPACITY).log_share(scan.scan.rows))
