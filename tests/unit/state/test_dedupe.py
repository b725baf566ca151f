"""A duplicate is detected while its event is among the last `window` ones, and told from a collision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.events import CONTENT_DIGESTS, Interaction, decode, encode, interaction_digest
from pipeline.state.dedupe import SeenEvents, Sighting
from tests.support.build import purchase

events = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=60)


@given(events, st.integers(1, 8))
def test_it_agrees_with_a_plain_list(sent: list[tuple[int, int]], window: int) -> None:
    seen, naive = SeenEvents(window), list[tuple[int, int]]()
    for digest, content in sent:
        known = dict(naive).get(digest)
        expected = Sighting.NEW if known is None else Sighting.DUPLICATE
        if known not in (None, content):
            expected = Sighting.COLLISION
        assert seen.add(digest, content) is expected
        if expected is Sighting.NEW:
            naive = [*naive, (digest, content)][-window:]
    assert list(zip(*seen.to_array().tolist(), strict=True)) == naive


@given(events, events)
def test_a_rebuilt_window_continues_like_the_original(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    seen = SeenEvents(5)
    for digest, content in before:
        seen.add(digest, content)
    rebuilt = SeenEvents(5, *seen.to_array().tolist())
    assert [rebuilt.add(*one) for one in after] == [seen.add(*one) for one in after]


def test_the_same_id_with_other_content_is_a_collision_and_not_remembered() -> None:
    seen = SeenEvents(5)
    first = purchase("ann", "cup", 1)
    other = first.model_copy(update={"item": "plate"})
    assert seen.is_first(first)
    for _ in range(2):
        with pytest.raises(InvalidEvent) as caught:
            seen.is_first(other)
        assert (caught.value.field, caught.value.code) == ("event_id", RefusalReason.COLLISION)
    assert not seen.is_first(first)


@pytest.mark.parametrize(
    "changes",
    [{"user": "bob"}, {"item": "x"}, {"type": "view"}, {"time": 2}, {"value": 2.0}, {"context": {"a": 2}}],
)
def test_every_field_is_content(changes: dict[str, object]) -> None:
    event = Interaction.model_validate(
        {**purchase("ann", "cup", 1).model_dump(), "context": {"a": 1, "b": 2}}
    )
    other = Interaction.model_validate({**event.model_dump(), **changes})
    assert interaction_digest(event) != interaction_digest(other)
    assert 0 <= interaction_digest(other) < CONTENT_DIGESTS


def test_an_event_sent_again_in_another_form_is_a_duplicate() -> None:
    event = Interaction.model_validate(
        {**purchase("ann", "cup", 1).model_dump(), "context": {"a": 1, "b": 2}}
    )
    reordered = event.model_copy(update={"context": {"b": 2, "a": 1}})
    written = encode(event).replace(b'"time":1', b'"time":1.0')
    digests = {interaction_digest(one) for one in (event, reordered, decode(Interaction, written))}
    assert len(digests) == 1


def test_content_digests_are_pinned_because_checkpoints_hold_them() -> None:
    assert interaction_digest(purchase("ann", "cup", 1)) == 3_699


def test_an_event_can_be_looked_up_without_being_remembered() -> None:
    seen, event = SeenEvents(5), purchase("ann", "cup", 1)
    assert seen.sighting(event) is Sighting.NEW
    assert seen.is_first(event), "it was not remembered"
    assert seen.sighting(event) is Sighting.DUPLICATE
    assert seen.sighting(event.model_copy(update={"item": "lamp"})) is Sighting.COLLISION
