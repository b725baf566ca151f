"""The desk: answers questions from the current View, and notes what was shown. Knows no HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from consumers.serve.impressions import Asked, Fields
from consumers.serve.ranking import Answer, RecommendationQuery, recommend, similar
from consumers.serve.schemas import (
    AnswerProvenance,
    GivenAct,
    ModelCard,
    Readiness,
    Recommendations,
    RefusedSnapshot,
    ShownItem,
    SnapshotCard,
)
from consumers.serve.state.current import CurrentState
from consumers.serve.state.serving_state import View
from pipeline.errors import MillstreamError
from pipeline.state.histories import Act

NO_SNAPSHOT = "none"
"""How an impression names the snapshot of an answer that had none."""


class NotReady(MillstreamError):
    """The server still reads the log for the first time."""


class UnknownItem(MillstreamError):
    """Neither the catalogue nor any interaction names the item."""


def now_ms() -> int:
    """The wall clock."""
    return int(time.time() * 1000)


class RecommendationService:
    """Every question that can be asked of a server. May be used from several threads."""

    def __init__(
        self,
        current: CurrentState,
        context: int,
        note: Callable[[Fields], None] | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Take what is known from `live`.

        Args:
            live: what the follower shows.
            context: how many of the last acts the model reads.
            note: takes the fields of each `Impression`; None to note nothing.
            clock: ms since the epoch.
        """
        self._current = current
        self._context = context
        self._note = note
        self._clock = clock

    def for_user(self, user: str, session: str | None, query: RecommendationQuery) -> Recommendations:
        """Recommendations for a user; what is shown is noted as an impression.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        view, history = self._current.of(user)
        view = _ready(view)
        answer = recommend(view, history, session, query, self._context)
        asked = Asked.to(query, session, view.pending_texts)
        return self._recommendations(view, answer, self._noted(user, view, asked, answer))

    def for_history(
        self, given: Sequence[GivenAct], session: str | None, query: RecommendationQuery
    ) -> Recommendations:
        """Recommendations for a history that comes with the request.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        view = _ready(self._current.view)
        answer = recommend(view, _acts(given), session, query, self._context)
        return self._recommendations(view, answer, impression=None)

    def similar_to(self, item: str, query: RecommendationQuery) -> Recommendations:
        """Items like another.

        Raises:
            NotReady: the log was not read to its end yet.
            UnknownItem: nobody knows the item.
        """
        view = _ready(self._current.view)
        if view.index.row(item) is None:
            raise UnknownItem("neither the catalogue nor any interaction names this item")
        return self._recommendations(view, similar(view, item, query), impression=None)

    def model(self) -> ModelCard:
        """What is served, and what was read since.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        view = _ready(self._current.view)
        return ModelCard(
            **dict(self._provenance(view)),
            card=_card(view),
            refused=self._refused(),
            items=len(view.index),
            users=self._current.users,
            unlearned=view.unlearned,
            pending_texts=view.pending_texts,
        )

    def readiness(self) -> Readiness:
        """Whether there is anything to answer with."""
        view = self._current.view
        snapshot = str(view.base.version) if view and view.base else None
        return Readiness(ready=view is not None, snapshot=snapshot, refused=self._refused())

    def _recommendations(self, view: View, answer: Answer, impression: str | None) -> Recommendations:
        items = []
        for row, score in zip(answer.rows, answer.scores, strict=True):
            entry = view.index.entries[row]
            title, category = (entry.title, entry.category) if entry else (None, None)
            items.append(ShownItem(item=view.index.ids[row], title=title, category=category, score=score))
        return Recommendations(
            **dict(self._provenance(view)),
            items=items,
            source=answer.source,
            reason=answer.reason,
            impression=impression,
        )

    def _provenance(self, view: View) -> AnswerProvenance:
        manifest = view.base.manifest if view.base else None
        return AnswerProvenance(
            snapshot=manifest.version if manifest else None,
            learned_through=manifest.learned_through if manifest else None,
            offsets=view.offsets,
            staleness_seconds=view.staleness(self._clock()),
        )

    def _noted(self, user: str, view: View, asked: Asked, answer: Answer) -> str | None:
        """Note an impression, with all that is needed to ask again; returns its id.

        An item's propensity is its probability under the mixture, among all that was eligible:
        what a sampling policy would have shown it with. The list itself is its top k, without chance.
        """
        if self._note is None or not answer.rows:
            return None
        impression = uuid.uuid4().hex
        self._note(
            {
                "impression_id": impression,
                "user": user,
                "snapshot": str(view.base.version) if view.base else NO_SNAPSHOT,
                "time": self._clock(),
                "items": [view.index.ids[row] for row in answer.rows],
                "propensities": answer.scores,
                "offsets": view.offsets,
                "context": {"source": answer.source, **asked.context()},
            }
        )
        return impression

    def _refused(self) -> RefusedSnapshot | None:
        refusal = self._current.refusal
        return RefusedSnapshot(version=refusal.version, reason=refusal.reason) if refusal else None


def _ready(view: View | None) -> View:
    if view is None:
        raise NotReady("the server still reads the log; see /readyz")
    return view


def _acts(given: Sequence[GivenAct]) -> tuple[Act, ...]:
    """Given acts as the log would have them; without a time, at the same time as the one before."""
    acts: list[Act] = []
    for act in given:
        time = act.time if act.time is not None else (acts[-1].time if acts else 0)
        acts.append(Act(act.item, act.type, time, act.value, act.session))
    return tuple(acts)


def _card(view: View) -> SnapshotCard | None:
    if view.base is None:
        return None
    manifest = view.base.manifest
    return SnapshotCard(**manifest.model_dump(include=set(SnapshotCard.model_fields)))
