"""Orders that cannot be carried out are refused aloud, and the learner goes on as if they were none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.eventlog.port import TopicPartition
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.learning.control import Refusal
from pipeline.learning.frozen import Frozen
from pipeline.learning.journal import Verb, read_journal
from pipeline.learning.position import Position
from tests.life import Life
from tests.mill import Mill

HOUR_MS = 3_600_000


def verbs(mill: Mill) -> list[tuple[str, Verb]]:
    return [(entry.version, entry.verb) for entry, _ in read_journal(mill.log, mill.topics.journal)]


def refused(mill: Mill, life: Life, key: str) -> str:
    """The reason of the one refusal, after which learning must go on as if nothing had been."""
    generation, step = life.position.generation, life.position.step
    life.new(1)
    assert (life.position.generation, life.position.step) == (generation, step + 1)
    assert Verb.ADOPT not in [verb for _, verb in verbs(mill)]
    (refusal,) = mill.told(Refusal)
    assert refusal.order == key
    return refusal.reason


def test_an_unknown_candidate_is_refused(mill: Mill) -> None:
    with mill.busy() as life:
        assert "cannot be read" in refused(mill, life, mill.promote("nobody"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
@pytest.mark.parametrize("file", ["learned.safetensors", "catalogue.json", "manifest.json"])
def test_a_damaged_candidate_is_refused(mill: Mill, file: str, damage: Callable[[Path], None]) -> None:
    with mill.busy() as life:
        damage(mill.candidate("damaged", life.frozen()) / file)
        assert refused(mill, life, mill.promote("damaged"))


def with_nan(frozen: Frozen, name: str) -> Frozen:
    """A state with one value that is not finite, in a tensor whose name begins so."""
    parts = [
        {key: tensor.clone() for key, tensor in part.items()}
        for part in (frozen.learned, frozen.table, frozen.counts)
    ]
    next(tensor for part in parts for key, tensor in part.items() if key.startswith(name)).fill_(torch.nan)
    return replace(frozen, learned=parts[0], table=parts[1], counts=parts[2])


@pytest.mark.parametrize("name", ["parameter.", "mixer.", "exp_avg_sq.", "residual", "content", "popularity"])
def test_a_candidate_with_a_value_that_is_not_finite_is_refused(mill: Mill, name: str) -> None:
    with mill.busy() as life:
        mill.candidate("broken", with_nan(life.frozen(), name))
        assert "not finite" in refused(mill, life, mill.promote("broken"))


def elsewhere(position: Position) -> Position:
    """The same in the log of another model."""
    offsets = {TopicPartition(f"other.{t}", p): end for (t, p), end in position.offsets.items()}
    return replace(position, offsets=offsets)


def ahead(position: Position) -> Position:
    """Where the log has not come to."""
    return replace(position, offsets=dict.fromkeys(position.offsets, 10**6))


def with_one_partition(position: Position) -> Position:
    return replace(position, offsets={s: end for s, end in position.offsets.items() if s.partition == 0})


@pytest.mark.parametrize("moved", [elsewhere, ahead, with_one_partition])
def test_a_candidate_of_another_log_is_refused(mill: Mill, moved: Callable[[Position], Position]) -> None:
    with mill.busy() as life:
        frozen = life.frozen()
        mill.candidate("foreign", replace(frozen, position=moved(frozen.position)))
        assert refused(mill, life, mill.promote("foreign"))


def misfit(frozen: Frozen) -> Frozen:
    """Weights of other shapes than the sizes say, as of another backbone."""
    return replace(frozen, learned={name: torch.zeros(3, 7) for name in frozen.learned})


def lacking(frozen: Frozen) -> Frozen:
    return replace(frozen, learned={})


@pytest.mark.parametrize("broken", [misfit, lacking])
def test_a_candidate_that_does_not_fit_is_refused(mill: Mill, broken: Callable[[Frozen], Frozen]) -> None:
    with mill.busy() as life:
        mill.candidate("misfit", broken(life.frozen()))
        assert refused(mill, life, mill.promote("misfit"))


def test_what_the_log_has_lost_cannot_be_learned_again(mill: Mill, tmp_path: Path) -> None:
    with mill.busy() as life:
        mill.candidate("old", life.frozen())
        life.new()
        later = max(record.append_time for record in mill.records(mill.topics.interactions))
        later += int(mill.settings.log.retention_hours * HOUR_MS) + 1
        with SqliteLog(tmp_path / "log.db", lambda: later) as log:
            log.upkeep()
        mill.shop(5)
        key = mill.promote("old")
        assert "lost to retention" in refused(mill, life, key)


def test_an_order_for_another_generation_is_refused(mill: Mill) -> None:
    with mill.busy() as life:
        mill.candidate("better", life.frozen())
        reason = refused(mill, life, mill.promote("better", generation=2))
    assert "generation 2" in reason and "this is 1" in reason


@pytest.mark.parametrize("version", ["0-0", "1-4", "1-99", "2-1", "7-0"])
def test_a_version_that_never_was_cannot_be_returned_to(mill: Mill, version: str) -> None:
    with mill.busy() as life:
        assert f"knows no version {version}" in refused(mill, life, mill.roll_back(version))
