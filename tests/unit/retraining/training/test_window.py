"""Segments of a window: each act is new in exactly one of them, with earlier acts as context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SegmentConfig, StreamConfig
from pipeline.events import Interaction
from pipeline.retraining.training.window import folded_segments, upcoming_segments
from pipeline.state.histories import Act
from pipeline.state.segments import Segment, chunks
from pipeline.state.stream import StreamState
from tests.support.build import MINUTE, purchase, segment

CUT = SegmentConfig(context=3, length=4, overlap=2)


def bought(*things: str, after: int = 0) -> list[Interaction]:
    """Purchases of ``<user><item>``, a minute apart, from so many minutes on."""
    return [purchase(thing[0], thing[1:], MINUTE * at) for at, thing in enumerate(things, start=after)]


def stream_after(events: Sequence[Interaction], history_length: int = 50) -> StreamState:
    stream = StreamState(StreamConfig(history_length=history_length))
    for event in events:
        stream.catalogue.row(event.item)
        stream.histories.fold(event.user, Act.of(event), stream.signals.remembered)
    return stream


def as_words(segments: Sequence[Segment], stream: StreamState) -> list[tuple[str, str]]:
    """Return context and new acts of each Segment, as words."""
    names = [[stream.catalogue.ids[row] for row in segment.items] for segment in segments]
    return [
        ("".join(n[: s.first_new]), "".join(n[s.first_new :])) for n, s in zip(names, segments, strict=True)
    ]


def test_context_comes_from_before_the_window_and_only_acts_of_the_window_are_new() -> None:
    events = bought("xa", "ya", "xb", "xc", "yb")
    stream = stream_after(events)
    assert as_words(folded_segments(events[2:], stream, CUT), stream) == [("a", "bc"), ("a", "b")]


def test_upcoming_acts_follow_the_current_histories() -> None:
    stream = stream_after(bought("xa", "xb", "yb"))
    later = bought("xb", "ya", after=3)
    assert as_words(upcoming_segments(later, stream, CUT), stream) == [("ab", "b"), ("b", "a")]


def test_unknown_items_are_skipped_and_not_added() -> None:
    stream = stream_after(bought("xa", "xb"))
    assert as_words(upcoming_segments(bought("xnew", "xa", after=2), stream, CUT), stream) == [("ab", "a")]
    assert stream.catalogue.ids == ["a", "b"]


def test_a_user_whose_history_is_shorter_than_the_window_keeps_all_acts() -> None:
    events = bought("xa", "xb", "xc", "xd")
    stream = stream_after(events, history_length=2)
    assert as_words(folded_segments(events, stream, CUT), stream) == [("", "abcd")]


def test_acts_that_come_late_are_context_and_not_new() -> None:
    stream = stream_after(bought("ya", "xb", "xc"))
    found = upcoming_segments([*bought("xb", after=3), *bought("xa")], stream, CUT)
    assert as_words(found, stream) == [("abc", "b")]


def test_an_act_without_a_past_is_no_target() -> None:
    events = bought("xa")
    assert folded_segments(events, stream_after(events), CUT) == []


@given(
    length=st.integers(1, 40),
    first_new=st.integers(0, 40),
    config=st.integers(2, 12).flatmap(
        lambda most: st.builds(
            SegmentConfig, context=st.integers(1, 8), length=st.just(most), overlap=st.integers(1, most - 1)
        )
    ),
)
def test_chunks_make_each_new_act_new_once_and_give_each_some_context(
    length: int, first_new: int, config: SegmentConfig
) -> None:
    whole = segment(range(length), first_new=min(first_new, length))
    pieces = list(chunks(whole, config))
    new = Counter(int(item) for piece in pieces for item in piece.items[piece.first_new :])
    assert new == Counter(range(whole.first_new, length))
    for piece in pieces:
        assert list(piece.items) == list(range(piece.items[0], piece.items[-1] + 1))
        assert piece.items[0] == 0 or piece.first_new > 0


@pytest.mark.parametrize("share", [0, 1, 5])
def test_window_and_what_follows_never_share_a_new_act(share: int) -> None:
    events = bought("xa", "xb", "ya", "xc", "yb", "yc")
    stream = stream_after(events)
    window = as_words(folded_segments(events[share:], stream, CUT), stream)
    assert sum(len(new) for _, new in window) == len(events) - share
