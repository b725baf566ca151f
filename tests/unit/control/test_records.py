"""Records of the control topic: round trips, distinct kinds, and no name that leads out of its folder."""

from __future__ import annotations

import json
from functools import cache

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.bounded import LONGEST_REASON
from pipeline.control.actions import Removal, SignOut
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest, Signal
from pipeline.control.records import (
    Adoption,
    ControlRecord,
    Gap,
    GateDecision,
    Order,
    Pause,
    Promotion,
    Refusal,
    Resume,
    Rollback,
    order_in,
)
from pipeline.sealing import open_record, seal_record

counts, times, words = st.integers(0, 2**53), st.integers(0, 2**44), st.text(max_size=30)
numbers, steps = st.integers(0, 10**9 - 1), st.integers(0, 10**15 - 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
versions = st.builds("{}-{}".format, st.integers(0, 10**6), st.integers(0, 10**9))
figures = st.dictionaries(
    st.text(min_size=1, max_size=30), st.floats(allow_nan=False, allow_infinity=False), max_size=4
)
generations = st.none() | numbers

promotions = st.builds(Promotion, candidate=names, generation=generations, ordered_at=times, reason=words)
rollbacks = st.builds(
    Rollback,
    version=versions,
    relearn=st.booleans(),
    generation=generations,
    ordered_at=times,
    reason=words,
)
halts = st.builds(Pause, ordered_at=times, reason=words) | st.builds(Resume, ordered_at=times, reason=words)
alarms = st.builds(
    DriftAlarm,
    signal=st.sampled_from(Signal),
    generation=numbers,
    step=steps,
    events=counts,
    before=st.floats(-1e6, 1e6),
    after=st.floats(-1e6, 1e6),
    evidence=figures,
)
others: st.SearchStrategy[ControlRecord] = st.one_of(
    st.builds(Adoption, order=words, version=versions, left=versions, reason=words),
    st.builds(Gap, version=versions, left=versions, lost=counts, reason=words),
    st.builds(Refusal, order=words, reason=words),
    st.builds(
        GateDecision,
        candidate=names,
        champion=versions,
        generation=numbers,
        request=st.none() | words,
        outcome=st.sampled_from(["promoted", "rejected", "held"]),
        reasons=st.lists(words, max_size=3),
        figures=figures,
        cost=figures,
        decided_at=times,
    ),
    alarms,
    st.builds(RetrainRequest, alarm=alarms),
    st.builds(BudgetSpent, generation=numbers, step=steps, in_a_row=counts),
    st.builds(Removal, subject=words, reason=words, removed_at=times),
    st.builds(SignOut, session=st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
)
records: st.SearchStrategy[ControlRecord] = st.one_of(promotions, rollbacks, halts, others)


@cache
def kinds(base: type[ControlRecord] = ControlRecord) -> tuple[type[ControlRecord], ...]:
    """All there are, whoever declares them."""
    return tuple(kind for child in base.__subclasses__() for kind in (child, *kinds(child)))


@given(record=records)
def test_a_record_survives_the_wire_and_says_its_kind(record: ControlRecord) -> None:
    wire = record.encode()
    again = type(record).decode(wire)
    assert (again, again.key) == (record, record.key)
    assert orjson.loads(wire)["kind"] == record.kind


@given(record=records)
def test_no_record_is_taken_for_one_of_another_kind(record: ControlRecord) -> None:
    for kind in set(kinds()) - {type(record)}:
        with pytest.raises(ValueError, match=f"it is no {kind.kind}"):
            kind.decode(record.encode())


@given(record=records)
def test_a_field_that_nobody_knows_is_refused(record: ControlRecord) -> None:
    wire = seal_record(open_record(record.encode()) | {"unknown": 1})
    with pytest.raises(ValidationError):
        type(record).decode(wire)


@given(record=records, bit=st.integers(0, 10_000))
def test_a_changed_bit_is_refused(record: ControlRecord, bit: int) -> None:
    wire = bytearray(record.encode())
    wire[bit // 8 % len(wire)] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="."):
        type(record).decode(bytes(wire))


@pytest.mark.parametrize(
    "change",
    [
        {"version": f"{'9' * 5000}-1"},
        {"version": "1-"},
        {"version": "٣-٤"},
        {"generation": 10**30},
        {"generation": -1},
        {"ordered_at": 10**30},
        {"ordered_at": -1},
        {"relearn": "perhaps"},
    ],
)
def test_a_hostile_rollback_is_refused(change: dict[str, object]) -> None:
    fields = {"kind": "rollback", "version": "1-3", "relearn": False, "generation": 1, "ordered_at": 0}
    wire = json.dumps({**fields, "reason": "", **change}).encode()
    with pytest.raises(ValueError, match="."):
        order_in(wire)


def test_a_long_reason_is_cut_off() -> None:
    order = Rollback(version="1-3", relearn=False, generation=None, ordered_at=0, reason="x" * 10**6)
    assert len(order.reason) == LONGEST_REASON


def test_a_reason_of_bytes_that_are_no_text_is_mended() -> None:
    order = Rollback(version="1-3", relearn=False, generation=None, ordered_at=0, reason="caf\udce9")
    assert order_in(order.encode()) == order
    assert order.reason == "caf?"


def test_a_reason_forges_no_line_of_a_log_and_steers_no_terminal() -> None:
    assert Pause(ordered_at=0, reason="x\x1b]0;title\x07\r\nforged \u202eline").reason == (
        "x ]0;title   forged  line"
    )


@given(one=promotions | rollbacks | halts, other=promotions | rollbacks | halts)
def test_orders_of_equal_keys_differ_in_words_at_most(one: Order, other: Order) -> None:
    if one.key == other.key:
        besides = {"reason", "relearn", "generation"}
        assert one.model_dump(exclude=besides) == other.model_dump(exclude=besides)


@given(order=promotions | rollbacks | halts, other=others)
def test_orders_are_told_from_the_rest(order: Order, other: ControlRecord) -> None:
    assert order_in(order.encode()) == order
    assert order_in(other.encode()) is None


def test_every_kind_has_a_name_of_its_own() -> None:
    names = [kind.kind for kind in kinds()]
    assert len(names) == len(set(names)) == 14


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "../up", "a/b", "/etc", "a\\b", "-rf", "a b", "a\n", "\na", "ä", "a" * 101],
)
def test_a_name_that_is_no_plain_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Promotion(candidate=name, generation=1, ordered_at=0, reason="")
    wire = orjson.dumps(
        {"kind": "promotion", "candidate": name, "generation": 1, "ordered_at": 0, "reason": ""}
    )
    with pytest.raises(ValidationError):
        order_in(wire)


@pytest.mark.parametrize("version", ["", "1", "1-", "-1", "1-2-3", "1-2\n", " 1-2", "../1-2", "a-b", "1.5-2"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ValidationError):
        Rollback(version=version, relearn=False, generation=1, ordered_at=0, reason="")


@pytest.mark.parametrize("generation", [-1, 1.5, "one"])
def test_an_order_is_for_a_generation_or_for_any(generation: object) -> None:
    fields = {"version": "1-2", "relearn": False, "ordered_at": 0, "reason": ""}
    assert Rollback.model_validate({**fields, "generation": None}).generation is None
    with pytest.raises(ValidationError):
        Rollback.model_validate({**fields, "generation": generation})
