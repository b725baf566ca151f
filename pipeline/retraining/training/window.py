"""The window: interactions as Segments, each act new in exactly one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.config import SegmentConfig
from pipeline.events import Interaction
from pipeline.state.histories import Act
from pipeline.state.segments import Segment, chunks, segment_of
from pipeline.state.stream import StreamState


def folded(interactions: Sequence[Interaction], stream: StreamState, config: SegmentConfig) -> list[Segment]:
    """Segments of interactions that the stream state has folded, and nothing after them.

    A user's context reaches back before the first interaction as far as the history does.
    """
    segments = list[Segment]()
    for user, acts in _by_user(interactions).items():
        history = stream.histories.of(user)
        before = history[: max(0, len(history) - len(acts))]
        segments += chunks(segment_of((*before, *acts), len(before), stream.catalogue.row), config)
    return _foreseen(segments)


def to_come(interactions: Iterable[Interaction], stream: StreamState, config: SegmentConfig) -> list[Segment]:
    """Segments of interactions that follow the stream state; items it does not know are left out."""
    known = [event for event in interactions if event.item in stream.catalogue]
    by_user = _by_user(known).items()
    return _foreseen(piece for user, acts in by_user for piece in chunks(stream.segment(user, acts), config))


def _by_user(interactions: Iterable[Interaction]) -> dict[str, list[Act]]:
    acts: dict[str, list[Act]] = {}
    for event in interactions:
        acts.setdefault(event.user, []).append(Act.of(event))
    return acts


def _foreseen(segments: Iterable[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.targets.size]
