"""Frozen state stays as it was, and files made of it say all of it."""

from __future__ import annotations

import orjson
import pytest

from pipeline.eventlog.partitioner import partition_of
from pipeline.learning.frozen import Frozen, freeze, restore, to_files
from pipeline.learning.learner import Learner
from pipeline.learning.position import Position
from pipeline.state.histories import decode_history
from tests.life import Life
from tests.mill import PARTITIONS, Mill

BIRTH = Position(1, 0, "", 0, {}, through=0, control=0, fold_to={})


def busy(life: Life, mill: Mill) -> Frozen:
    """The state after some batches with everything in them."""
    mill.stock()
    mill.shop(40)
    mill.act("zoë", "item-without-text")
    life.new()
    return life.frozen()


def restored(mill: Mill, files: dict[str, bytes]) -> Learner:
    learner = mill.learner()
    restore(learner, learner.shape.model, files)
    return learner


def test_what_is_frozen_does_not_move_with_the_learner(mill: Mill) -> None:
    with mill.life() as life:
        frozen = busy(life, mill)
        before = to_files(frozen, PARTITIONS)
        mill.upsert("red-cup", "another red cup")
        mill.shop(40)
        life.new()
        assert to_files(frozen, PARTITIONS) == before
        assert to_files(life.frozen(), PARTITIONS) != before


def test_a_restored_learner_makes_the_same_files(mill: Mill) -> None:
    with mill.life() as life:
        files = to_files(busy(life, mill), PARTITIONS)
    assert to_files(freeze(restored(mill, files), BIRTH), PARTITIONS) == files


def test_a_learner_that_has_seen_nothing_can_be_restored(mill: Mill) -> None:
    files = to_files(freeze(mill.learner(), BIRTH), PARTITIONS)
    assert to_files(freeze(restored(mill, files), BIRTH), PARTITIONS) == files


@pytest.mark.parametrize("order", ["backwards", "sorted"])
def test_equal_states_make_equal_files_in_whatever_order_users_came(mill: Mill, order: str) -> None:
    with mill.life() as life:
        files = to_files(busy(life, mill), PARTITIONS)
    names = sorted(files) if order == "sorted" else list(files)[::-1]
    learner = restored(mill, {name: files[name] for name in names})
    users = [user for user, _ in learner.stream.histories.items()]
    assert users != [user for user, _ in life.learner.stream.histories.items()]
    assert to_files(freeze(learner, BIRTH), PARTITIONS) == files


def test_every_user_is_in_the_file_of_their_partition(mill: Mill) -> None:
    with mill.life() as life:
        files = to_files(busy(life, mill), PARTITIONS)
        known = dict(life.learner.stream.histories.items())
    found = {}
    for partition in range(PARTITIONS):
        for user, wire in orjson.loads(files[f"histories-{partition}.json"]).items():
            assert partition_of(user, PARTITIONS) == partition
            found[user] = decode_history(wire.encode())[0]
    assert found == known
    assert "zoë" in known


def test_a_restored_learner_knows_duplicates(mill: Mill) -> None:
    with mill.life() as life:
        frozen = busy(life, mill)
    learner = restored(mill, to_files(frozen, PARTITIONS))
    for partition, digests in frozen.seen.items():
        assert digests.size
        assert not any(learner.stream.first_seen(partition, digest) for digest in digests.tolist())
