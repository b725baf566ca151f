"""The window of a retrain: interactions as Segments, each act new in exactly one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.config import SegmentConfig
from pipeline.events import Interaction
from pipeline.state.histories import Act
from pipeline.state.segments import Segment, chunks, segment_of
from pipeline.state.stream import StreamState


def folded_segments(
    interactions: Sequence[Interaction], stream: StreamState, config: SegmentConfig
) -> list[Segment]:
    """Build Segments of the last interactions that the stream state has folded.

    The context of a user includes all acts of the history before the first interaction.
    """
    segments = list[Segment]()
    for user, acts in _by_user(interactions).items():
        history = stream.histories.of(user)
        before = history[: max(0, len(history) - len(acts))]
        segments += chunks(segment_of((*before, *acts), len(before), stream.catalogue.row), config)
    return _with_targets(segments)


def upcoming_segments(
    interactions: Iterable[Interaction], stream: StreamState, config: SegmentConfig
) -> list[Segment]:
    """Build Segments of interactions after the stream state; skip items that it does not know."""
    known = [event for event in interactions if event.item in stream.catalogue]
    by_user = _by_user(known).items()
    return _with_targets(
        piece for user, acts in by_user for piece in chunks(stream.segment(user, acts), config)
    )


def _by_user(interactions: Iterable[Interaction]) -> dict[str, list[Act]]:
    acts: dict[str, list[Act]] = {}
    for event in interactions:
        acts.setdefault(event.user, []).append(Act.of(event))
    return acts


def _with_targets(segments: Iterable[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.targets.size]
