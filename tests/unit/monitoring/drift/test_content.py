"""Content shifts are found; unknown items, an unknown catalogue and restarts do no harm."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import ContentConfig
from pipeline.monitoring.drift.content import ContentWatch, Shift

CONFIG = ContentConfig(clusters=4, block=100, reference=8, recent=2)
KINDS, EACH, UNKNOWN = 4, 25, 10


@pytest.fixture(scope="module")
def content() -> Tensor:
    """Vectors of four kinds of items, 25 each, and ten items without content."""
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(KINDS, 8), EACH, axis=0) + random.normal(0, 0.05, (KINDS * EACH, 8))
    return torch.from_numpy(np.concatenate([vectors, np.zeros((UNKNOWN, 8))])).float()


def acts(amount: int, shares: list[float], seed: int) -> NDArray[np.int64]:
    """Rows acted on; the last share is that of the items without content."""
    random = np.random.default_rng(seed)
    kinds = random.choice(KINDS + 1, amount, p=shares)
    return kinds * EACH + random.integers(np.where(kinds == KINDS, UNKNOWN, EACH))


def shifts(watch: ContentWatch, rows: NDArray[np.int64], content: Tensor) -> list[Shift]:
    found = (watch.update(rows[start : start + 64], content) for start in range(0, rows.size, 64))
    return [shift for shift in found if shift is not None]


EVEN, MOVED = [0.25, 0.25, 0.25, 0.2, 0.05], [0.6, 0.1, 0.1, 0.15, 0.05]


def test_a_shift_is_reported_once_with_the_cluster_that_moved_most(content: Tensor) -> None:
    watch = ContentWatch(CONFIG)
    assert shifts(watch, acts(5_000, EVEN, 0), content) == []
    (shift,) = shifts(watch, acts(5_000, MOVED, 1), content)
    assert shift.index > CONFIG.threshold
    assert shift.share_after > shift.share_before
    assert shift.share_before == pytest.approx(0.25, abs=0.05)


def test_acts_on_items_without_content_do_not_count(content: Tensor) -> None:
    known = acts(4_000, EVEN, 0)
    known = known[known < len(content) - UNKNOWN]
    every = np.insert(known, np.repeat(np.arange(known.size), 2), len(content) - 1)
    alone, beside = ContentWatch(CONFIG), ContentWatch(CONFIG)
    assert shifts(beside, every, content) == shifts(alone, known, content) == []
    assert beside.state() == alone.state()
    assert len(alone.state()["blocks"]) == CONFIG.reference + CONFIG.recent


def test_without_content_there_is_no_shift(content: Tensor) -> None:
    watch = ContentWatch(CONFIG)
    assert shifts(watch, acts(3_000, EVEN, 0), torch.zeros_like(content)) == []
    assert watch.update(np.zeros(0, dtype=np.int64), torch.zeros(0, 8)) is None
    assert watch.update(np.zeros(50, dtype=np.int64), content[:1].expand(50, 8)) is None
    assert watch.state() == {"rest": [], "blocks": [], "centres": []}


def test_too_few_items_are_said_once_when_a_shift_could_have_been_found(
    content: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    few, said = content[:3], []
    watch = ContentWatch(CONFIG)
    for _ in range(30):
        watch.update(np.zeros(50, dtype=np.int64), few)
        said.append(len(caplog.messages))
    enough = CONFIG.block * (CONFIG.reference + CONFIG.recent) // 50
    assert said == [0] * (enough - 1) + [1] * (30 - enough + 1)
    assert "there are 3 items with different content, and drift.content.clusters is 4" in caplog.messages[0]


@pytest.mark.parametrize("clusters", [3, 6])
def test_with_another_number_of_clusters_it_begins_again(content: Tensor, clusters: int) -> None:
    before = ContentWatch(CONFIG)
    shifts(before, acts(950, EVEN, 0), content)
    watch = ContentWatch(CONFIG.replace(clusters=clusters))
    watch.load(before.state())
    shifts(watch, acts(2_000, EVEN, 1), content)
    assert {len(counts) for counts in watch.state()["blocks"]} == {clusters}


def test_a_later_item_belongs_to_the_nearest_cluster(content: Tensor) -> None:
    watch = ContentWatch(CONFIG)
    shifts(watch, acts(2_000, EVEN, 0), content)
    newcomers = torch.cat([content, content + 0.01 * content.sign()])
    assert shifts(watch, acts(2_000, EVEN, 1) + len(content), newcomers) == []


@pytest.mark.parametrize("saved", [0, 64, 1_600, 2_048])
def test_a_restored_watch_continues_like_the_original(content: Tensor, saved: int) -> None:
    rows = np.concatenate([acts(2_000, EVEN, 0), acts(2_000, MOVED, 1)])
    unbroken = ContentWatch(CONFIG)
    shifts(unbroken, rows[:saved], content)
    restored = ContentWatch(CONFIG)
    restored.load(orjson.loads(orjson.dumps(unbroken.state())))
    assert shifts(restored, rows[saved:], content) == shifts(unbroken, rows[saved:], content) != []
    assert restored.state() == unbroken.state()
