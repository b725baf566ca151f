"""A journal entry says the same after the wire as before it, in few bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import JournalCorrupt
from pipeline.eventlog.port import FencedWriter, TopicPartition
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from tests.support.model_harness import ModelHarness

ends_strategy = st.dictionaries(
    st.sampled_from(["shop.items", "shop.interactions", "other"]),
    st.lists(st.integers(0, 2**44), min_size=1, max_size=20),
    min_size=1,
).map(
    lambda by_topic: {TopicPartition(t, p): end for t, ends in by_topic.items() for p, end in enumerate(ends)}
)


@given(
    generation=st.integers(0, 10_000),
    step=st.integers(0, 2**40),
    verb=st.sampled_from(Verb),
    ends=ends_strategy,
)
def test_an_entry_survives_the_wire(
    generation: int, step: int, verb: Verb, ends: dict[TopicPartition, int]
) -> None:
    entry = JournalEntry.of(generation, step, verb, "0123456789abcdef", ends)
    decoded = JournalEntry.decode(entry.encode())
    assert decoded == entry
    assert decoded.offsets == ends


def test_an_entry_takes_about_200_bytes() -> None:
    ends = {
        TopicPartition(topic, partition): 1_000_000_000
        for topic in ("millstream.items", "millstream.interactions")
        for partition in range(4)
    }
    assert len(JournalEntry.of(3, 1_000_000, Verb.LEARN, "0123456789abcdef", ends).encode()) < 300


def test_an_entry_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        JournalEntry.decode(b'{"generation":1,"step":1,"verb":"guess","fingerprint":"","ends":{}}')


@given(bit=st.integers(0, 10_000))
def test_a_changed_bit_is_refused(bit: int) -> None:
    wire = bytearray(JournalEntry.of(1, 3, Verb.LEARN, "print", {TopicPartition("items", 0): 9}).encode())
    wire[bit // 8 % len(wire)] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="."):
        JournalEntry.decode(bytes(wire))


ADOPTS = {"kind": "rollback", "state": "adopted/2", "order": "rollback-1-1-1-0", "reason": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"step": -1},
        {"step": 10**30},
        {"generation": 10**12},
        {"ends": {"items": [-1]}},
        {"ends": {"items": [10**30]}},
        {"ends": {"../items": [1]}},
        {"ends": {str(topic): [1] for topic in range(99)}},
        {"control": -1},
        {"through": 10**30},
        {"adopts": {**ADOPTS, "state": "../../outside"}},
        {"adopts": {**ADOPTS, "state": "/outside"}},
        {"adopts": {**ADOPTS, "state": "adopted/../../outside"}},
        {"unknown": 1},
    ],
)
def test_a_hostile_entry_is_named_with_its_place(harness: ModelHarness, change: dict[str, object]) -> None:
    fields = {"v": 1, "generation": 1, "step": 1, "verb": "adopt", "fingerprint": "", "ends": {"items": [1]}}
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        append(journal, range(1))
        journal.append(json.dumps({**fields, "adopts": ADOPTS, **change}).encode())
    entries = read_journal(harness.log, harness.topics.journal)
    assert next(entries)[0].step == 0
    with pytest.raises(JournalCorrupt, match=r"mill.journal/0/1 is no entry of the journal"):
        next(entries)


def test_an_entry_from_before_seals_is_read() -> None:
    wire = b'{"generation":1,"step":1,"verb":"learn","fingerprint":"","ends":{"items":[3]},"v":1}'
    assert JournalEntry.decode(wire).offsets == {TopicPartition("items", 0): 3}


def append(journal: FencedWriter, steps: range) -> list[int]:
    ends = {TopicPartition("items", 0): 1}
    return [journal.append(JournalEntry.of(1, step, Verb.LEARN, "", ends).encode()) for step in steps]


def test_a_journal_is_read_from_an_offset_on(harness: ModelHarness) -> None:
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        offsets = append(journal, range(5))
    everything = list(read_journal(harness.log, harness.topics.journal))
    assert [entry.step for entry, _ in everything] == [0, 1, 2, 3, 4]
    assert [after for _, after in everything] == [offset + 1 for offset in offsets]
    rest = read_journal(harness.log, harness.topics.journal, start=everything[2][1])
    assert [entry.step for entry, _ in rest] == [3, 4]
    assert list(read_journal(harness.log, harness.topics.journal, start=everything[-1][1])) == []
