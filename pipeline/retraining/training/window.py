"""The window of a retrain: interactions as Segments, each act new in exactly one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.config import SegmentConfig
from pipeline.events import Interaction
from pipeline.state.histories import Act, without
from pipeline.state.segments import Segment, chunks
from pipeline.state.stream import StreamState


def folded_segments(
    interactions: Sequence[Interaction], stream: StreamState, config: SegmentConfig
) -> list[Segment]:
    """Build Segments of the last interactions that the stream state has folded.

    The context of a user includes all acts of the history before the first interaction.
    """
    return list(_folded(interactions, stream, config))


def has_target(interactions: Sequence[Interaction], stream: StreamState, config: SegmentConfig) -> bool:
    """Return whether there is anything to learn from interactions that the stream state has folded."""
    return any(True for _ in _folded(interactions, stream, config))


def upcoming_segments(
    interactions: Iterable[Interaction], stream: StreamState, config: SegmentConfig
) -> list[Segment]:
    """Build Segments of interactions after the stream state; skip items that it does not know."""
    known = [event for event in interactions if event.item in stream.catalogue]
    by_user = acts_by_user(known).items()
    return _with_targets(
        piece for user, acts in by_user for piece in chunks(stream.segment(user, acts), config)
    )


def acts_by_user(interactions: Iterable[Interaction]) -> dict[str, list[Act]]:
    """Group interactions by user, in their order."""
    acts: dict[str, list[Act]] = {}
    for event in interactions:
        acts.setdefault(event.user, []).append(Act.of(event))
    return acts


def _folded(
    interactions: Sequence[Interaction], stream: StreamState, config: SegmentConfig
) -> Iterator[Segment]:
    for user, acts in acts_by_user(interactions).items():
        before = without(stream.histories.of(user), acts)
        yield from _with_targets(chunks(stream.segment_after(user, before, acts), config))


def _with_targets(segments: Iterable[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.targets.size]
