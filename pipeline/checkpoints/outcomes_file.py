"""Impressions without an outcome yet, as a file of lines: what is open, what is waited for, what was closed.

Each line is one JSON array, so that 100,000 impressions of some 900 bytes are written and read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import orjson
from pydantic import Field, TypeAdapter

from pipeline.events import MAX_INTEGER, Finite, Id, Impression, Interaction, Milliseconds
from pipeline.state.join_state import JoinState, Leftover, ShownImpression, WaitingActs, kept_of
from pipeline.state.outcomes import CLOSED_IDS, MOST_ACTS

Digest = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Reward = Annotated[Finite, Field(ge=-1e9, le=1e9)]
Tally = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
_HEAD = TypeAdapter(
    tuple[
        Milliseconds,
        dict[Leftover, Tally],
        Annotated[list[Digest], Field(max_length=CLOSED_IDS)],
    ]
)
_OPEN = TypeAdapter(
    tuple[
        Literal["open"],
        Milliseconds,
        Annotated[tuple[Reward, ...], Field(max_length=1_000)],
        Annotated[frozenset[Digest], Field(max_length=MOST_ACTS)],
        Impression,
    ]
)
_WAITING = TypeAdapter(
    tuple[
        Literal["waiting"],
        Id,
        Milliseconds,
        Annotated[tuple[Interaction, ...], Field(min_length=1, max_length=MOST_ACTS)],
    ]
)
_IS_OPEN = b'["open",'


def outcome_lines(state: JoinState) -> Iterator[bytes]:
    """Encode the state of a join, line by line; equal states give equal lines."""
    leftovers = {reason.value: state.leftovers[reason] for reason in sorted(state.leftovers)}
    yield _line(state.clock, leftovers, state.closed.tolist())
    for shown in state.open:
        kept = orjson.Fragment(shown.kept)
        yield _line("open", shown.shown_at, shown.rewards, sorted(shown.acts), kept)
    for name, (since, acts) in state.waiting.items():
        yield _line("waiting", name, since, [vars(act) for act in acts])


def read_outcomes(content: bytes) -> JoinState:
    """Read the state of a join, as if a stranger had written it.

    Raises:
        ValueError: it is none.
    """
    head, *lines = content.splitlines()
    clock, leftovers, closed = _HEAD.validate_json(head)
    read = [_open(line) for line in lines if line.startswith(_IS_OPEN)]
    names, shown = {name for name, _ in read}, tuple(one for _, one in read)
    waiting = dict(_waiting(line) for line in lines if not line.startswith(_IS_OPEN))
    if len(names) != len(shown) or len(set(closed)) != len(closed) or names & waiting.keys():
        raise ValueError("an impression is there twice")
    for times in ([one.shown_at for one in shown], [one.since for one in waiting.values()]):
        if times != sorted(times) or (times and times[-1] > clock):
            raise ValueError("impressions are not in the order in which they were shown")
    return JoinState(clock, shown, waiting, np.array(closed, dtype=np.int64), leftovers)


def _open(line: bytes) -> tuple[str, ShownImpression]:
    _, shown_at, rewards, acts, impression = _OPEN.validate_json(line)
    if len(rewards) != len(impression.items):
        raise ValueError("an impression has not one reward for each item")
    return impression.impression_id, ShownImpression(kept_of(impression), shown_at, rewards, acts)


def _waiting(line: bytes) -> tuple[str, WaitingActs]:
    _, name, since, acts = _WAITING.validate_json(line)
    return name, WaitingActs(since, acts)


def _line(*values: object) -> bytes:
    return orjson.dumps(values) + b"\n"
