"""Profiles: the newest record of a user counts, and only what is declared is read."""

from __future__ import annotations

import pytest

from pipeline.checkpoints.checks import read_profiles
from pipeline.events import User, event_digest
from pipeline.state.profiles import NO_ATTRIBUTES, Profiles, declared, read_attributes, stored_attributes

ANN = event_digest("ann")


def test_the_newest_record_of_a_user_counts_as_a_whole() -> None:
    profiles = Profiles(["country", "plan"])
    profiles.ingest([User(user="ann", attributes={"plan": "gold", "country": "DE"})])
    profiles.ingest([User(user="ann", attributes={"country": "FR", "age": 40})])
    assert read_attributes(profiles.of(ANN)) == {"country": "FR"}
    profiles.read(["age"])
    assert read_attributes(profiles.of(ANN)) == {"age": 40}, "what is not declared is kept"


@pytest.mark.parametrize("gone", ["ann", User(user="ann")])
def test_a_tombstone_and_a_record_without_attributes_remove_them(gone: User | str) -> None:
    profiles = Profiles(["country"])
    profiles.ingest([User(user="ann", attributes={"country": "DE"}), gone])
    assert (profiles.of(ANN), len(profiles)) == (NO_ATTRIBUTES, 0)


def test_equal_attributes_are_equal_bytes_in_any_order() -> None:
    one = stored_attributes({"plan": "gold", "country": "DE"})
    assert one == stored_attributes({"country": "DE", "plan": "gold"})
    assert declared(one, ("plan",)) == stored_attributes({"plan": "gold"})
    assert declared(one, ()) == declared(one, ("age",)) == declared(b"", ("plan",)) == NO_ATTRIBUTES
    assert declared(stored_attributes({"plan": ()}), ("plan",)) == NO_ATTRIBUTES


def test_nothing_is_read_where_nothing_is_declared() -> None:
    profiles = Profiles()
    profiles.ingest([User(user="ann", attributes={"country": "DE"})])
    assert profiles.of(ANN) == NO_ATTRIBUTES


def test_a_copy_stays_as_it_was_and_lines_are_read_again() -> None:
    profiles = Profiles(["country"])
    profiles.ingest([User(user=name, attributes={"country": "DE", "tags": ("a", "b")}) for name in "abc"])
    copy = profiles.copy()
    profiles.ingest(["a"])
    assert (len(copy), len(profiles)) == (3, 2)
    again = Profiles(["country"])
    again.load(read_profiles(b"".join(copy.lines())))
    assert list(again.lines()) == list(copy.lines())


@pytest.mark.parametrize(
    "content", [b"[1,{}]\n[1,{}]\n", b'["ann",{}]\n', b"[-1,{}]\n", b'[1,{"a":null}]\n', b"no"]
)
def test_forged_lines_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_profiles(content)
