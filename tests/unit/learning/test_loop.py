"""The loop learns batches until they end, lets the metrics say so, and publishes the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from pipeline.learning.batches import Batch
from pipeline.learning.commits import Cadence, Commits
from pipeline.learning.loop import run
from pipeline.metrics import Series, quantiles, value_of
from tests.mill import PREFIX, Life, Mill

NEVER = 10**9
Exposed = Callable[[], Series]


def run_through(mill: Mill, life: Life, batches: Iterator[Batch | None]) -> None:
    never = Cadence(NEVER, NEVER), Cadence(NEVER, NEVER)
    run(batches, life.learner, Commits(PREFIX, mill.log, mill.publisher(), mill.checkpoints, *never))


def grown(before: Series, after: Series, name: str, **labels: str) -> float:
    return value_of(after, name, **labels) - value_of(before, name, **labels)


def test_finite_batches_are_learned_measured_and_published(mill: Mill, exposed: Exposed) -> None:
    mill.stock()
    mill.shop(30)
    mill.act("ann", "red-cup", event_id="e1")
    mill.writer.append(mill.topics.interactions, "bob", b"bad")
    mill.writer.flush()
    before = exposed()
    with mill.life() as life:
        run_through(mill, life, life.unlearned())
    after = exposed()
    assert grown(before, after, "millstream_events_total", daemon="learn") == 30
    assert grown(before, after, "millstream_duplicates_total", daemon="learn") == 1
    assert grown(before, after, "millstream_dead_letters_total", daemon="learn") == 1
    assert grown(before, after, "millstream_batch_seconds_count") == 3
    assert grown(before, after, "millstream_appended_to_learned_seconds_count") == 30
    assert grown(before, after, "millstream_appended_to_published_seconds_count") == 30
    assert grown(before, after, "millstream_quarantined_batches_total") == 0
    assert value_of(after, "millstream_step", daemon="learn") == 3
    assert value_of(after, "millstream_items", daemon="learn") == 12
    assert value_of(after, "millstream_users", daemon="learn") == 5
    assert value_of(after, "millstream_lag_records", daemon="learn") == 0
    assert value_of(after, "millstream_loss") > 0
    foreseen = {"scorer": "mixture", "slice": "all", "figure": "hr@20"}
    assert value_of(after, "millstream_prequential_quality", **foreseen) == 1, "of twelve items"
    assert quantiles(after, "millstream_appended_to_learned_seconds", [0.5])[0] is not None
    manifest = mill.store.manifest(mill.store.versions()[-1])
    assert (manifest.version, manifest.reason, manifest.events) == ("1-3", "shutdown", 30)
    assert manifest.quality["model"]["all"]["n"] == 25, "the first of each user cannot be foreseen"
    assert list(mill.checkpoints.digests()) == ["1-3"]


def test_nothing_to_read_is_nothing_learned(mill: Mill) -> None:
    with mill.life() as life:
        run_through(mill, life, iter([None, None]))
    assert mill.store.versions() == []
    assert mill.checkpoints.digests() == {}


def test_freshness_is_of_new_batches_only(mill: Mill, exposed: Exposed) -> None:
    mill.shop(10)
    with mill.life() as life:
        life.new()
    before = exposed()
    with mill.life() as life:
        run_through(mill, life, life.unlearned())
    after = exposed()
    assert grown(before, after, "millstream_events_total", daemon="learn") == 10
    assert grown(before, after, "millstream_appended_to_learned_seconds_count") == 0


def test_a_batch_without_a_finite_loss_is_counted_and_folded(
    mill: Mill, exposed: Exposed, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill.shop(10)
    with mill.life() as life:
        monkeypatch.setattr(life.learner, "_loss", lambda passed: passed.losses.sum() * torch.nan)
        before = exposed()
        run_through(mill, life, life.unlearned())
        after = exposed()
    assert grown(before, after, "millstream_quarantined_batches_total") == 1
    assert value_of(after, "millstream_loss") == value_of(before, "millstream_loss")
    assert life.learner.stream.events == 10
    assert torch.isfinite(mill.store.load(mill.store.versions()[-1]).residual).all()


def test_what_stops_the_batches_stops_the_loop_without_a_last_word(mill: Mill) -> None:
    def broken(life: Life) -> Iterator[Batch]:
        yield next(life.unlearned())
        raise RuntimeError("fenced, say")

    mill.shop(10)
    with mill.life() as life, pytest.raises(RuntimeError, match="fenced"):
        run_through(mill, life, broken(life))
    assert mill.store.versions() == []
