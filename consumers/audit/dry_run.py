"""Dry run of business rules: ask the latest requests again with the new rules beside those in force."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from consumers.audit.servers import new_state
from consumers.serve.impressions import NotRepeatable, StoredQuery
from consumers.serve.query import RecommendationQuery
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.serving_state import View
from pipeline.config import Settings
from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import EventLog, read, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, decode
from pipeline.rules.compiled import CompiledRules
from pipeline.rules.rule import Rule


class Request(NamedTuple):
    """A request to ask again."""

    user: str
    session: str | None
    query: RecommendationQuery


@dataclass
class DryRun:
    """What new rules would change.

    Attributes:
        answers: number of requests that were asked again.
        changed: number of answers that would differ.
        emptied: number of those that would have no items any more.
        emptied_users: who would be answered so.
        applied: by rule, the number of answers that it would have a part in.
        matches: by enabled rule, the number of items of the catalogue that it can act on.
        entered, left, moved: by item, the number of answers.
    """

    answers: int = 0
    changed: int = 0
    emptied: int = 0
    emptied_users: set[str] = field(default_factory=set)
    applied: Counter[str] = field(default_factory=Counter)
    matches: dict[str, int] = field(default_factory=dict)
    entered: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)

    def add(self, user: str, before: list[str], after: list[str], applied: Iterable[str]) -> None:
        """Compare two answers to the same request."""
        self.answers += 1
        self.changed += before != after
        if before and not after:
            self.emptied += 1
            self.emptied_users.add(user)
        self.applied.update(applied)
        self.entered.update(set(after) - set(before))
        self.left.update(set(before) - set(after))
        first = {item: place for place, item in enumerate(before)}
        self.moved.update(item for place, item in enumerate(after) if first.get(item, place) != place)

    def to_json(self) -> dict[str, object]:
        """Return all figures."""
        return {
            "answers": self.answers,
            "changed": self.changed,
            "emptied": self.emptied,
            "emptied_users": len(self.emptied_users),
            "applied": self.applied,
            "matches": self.matches,
            "entered": self.entered,
            "left": self.left,
            "moved": self.moved,
        }


def dry_run(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    in_force: Mapping[str, Rule],
    new: Iterable[Rule],
    answers: int,
) -> DryRun:
    """Ask the latest requests again, with the rules in force and with new ones beside them; write nothing.

    Requests are those of the latest impressions; without any, users with a history are asked for.

    Args:
        in_force: the rules by name.
        new: rules to add, or to put in the place of those of the same names.
        answers: number of requests, at most.

    Raises:
        NotReady: the log could not be read to its end.
    """
    added = {rule.name: rule for rule in new}
    found = DryRun(applied=Counter(dict.fromkeys(added, 0)))
    with new_state(event_log, topics, settings) as current:
        context = settings.learn.segments.context
        view = current.view
        assert view is not None
        found.matches = CompiledRules(added.values(), view.index).matches
        sides = [
            RecommendationService(_with_rules(current, view, rules), context)
            for rules in (in_force, {**in_force, **added})
        ]
        for request in _requests(event_log, topics, settings, answers):
            before, after = (side.answer_for(*request) for side in sides)
            found.add(request.user, before.items, after.items, after.shaping.applied(after.answer.slate))
    return found


def _with_rules(current: CurrentState, view: View, rules: Mapping[str, Rule]) -> CurrentState:
    """Return the same state under other rules."""
    return current.with_view(replace(view, rules=CompiledRules(rules.values(), view.index)))


def _requests(event_log: EventLog, topics: Topics, settings: Settings, most: int) -> list[Request]:
    """Return the latest requests whose query is stored whole, or one for each of some users."""
    ends, begins = event_log.end_offsets([topics.impressions]), event_log.begin_offsets([topics.impressions])
    start = {source: max(begins[source], end - most) for source, end in ends.items()}
    latest: list[tuple[int, Request]] = []
    for record in read(event_log, topics.impressions, start):
        try:
            impression = decode(Impression, record.value or b"")
            stored = StoredQuery.from_context(impression.context)
        except (InvalidEvent, NotRepeatable):
            continue
        latest.append((record.append_time, Request(impression.user, stored.session, stored.query)))
    latest.sort(key=lambda one: one[0])
    query = RecommendationQuery.by_default(settings.serve)
    return [request for _, request in latest[-most:]] or [
        Request(user, None, query) for user in _users(event_log, topics, most)
    ]


def _users(event_log: EventLog, topics: Topics, most: int) -> list[str]:
    """Choose users with a history at random, the same ones each time."""
    users = read_compacted(event_log, topics.histories)
    return sorted(users, key=lambda user: hashlib.sha256(user.encode()).digest())[:most]
