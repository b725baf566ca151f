"""A journal entry says the same after the wire as before it, in few bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

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
    decoded = JournalEntry.model_validate_json(entry.encode())
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
        JournalEntry.model_validate_json(
            b'{"generation":1,"step":1,"verb":"guess","fingerprint":"","ends":{}}'
        )


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
