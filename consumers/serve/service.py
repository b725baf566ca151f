"""The recommendation service: answers queries from the current View, and submits impressions; no HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from consumers.serve.features import LATELY_MS
from consumers.serve.impressions import Fields, stored_context
from consumers.serve.query import QueryKind, RecommendationQuery, facts_of
from consumers.serve.ranking import Answer, recommend_all, similar
from consumers.serve.rating import predict_rating
from consumers.serve.response import ResponseFields, item_fields
from consumers.serve.rewards import NotShown, UnknownImpression, reward_event
from consumers.serve.schemas import (
    AnonymousAct,
    AnswerProvenance,
    ModelCard,
    PredictedRating,
    RankedAction,
    Ranking,
    RankingRequest,
    Readiness,
    Recommendations,
    RefusedSnapshot,
    RewardedAct,
    RewardRequest,
    SnapshotCard,
)
from consumers.serve.state.current import CurrentState, UserState
from consumers.serve.state.serving_state import View
from consumers.serve.state.shown import NOTHING_SHOWN, ShownItems
from consumers.serve.state.steering import steered_by
from consumers.serve.user_query import UserQuery
from consumers.serve.user_request import UserRequest
from pipeline import metrics
from pipeline.clock import now_ms
from pipeline.errors import DeliveryError, MillstreamError
from pipeline.events import Attributes, Features, Interaction
from pipeline.policy.arms import GREEDY_ALONE, Arms
from pipeline.policy.draws import NO_EXPLORATION, Exploration
from pipeline.rules.compiled import NO_SHAPING, RequestFacts, Shaping
from pipeline.state.acted_items import NO_ITEMS
from pipeline.state.profiles import NO_ATTRIBUTES, read_attributes
from pipeline.value.features import MOST_ITEMS, pack

NOT_REMEMBERED = (
    "no answer with this id is remembered: it is too old, its server wrote no impression, or that of another "
    "server is not read yet; an interaction that names it as its impression is taken in at any time"
)
NO_SNAPSHOT = "none"
"""The snapshot in the impression of an answer without one."""
Known = TypeVar("Known")


class NotReady(MillstreamError):
    """The server has not read the log to its end yet, or not what policy is in use."""


class UnknownItem(MillstreamError):
    """The item is in neither the catalogue nor any interaction."""

    def __init__(self) -> None:
        super().__init__("this item is in neither the catalogue nor any interaction")


class NoRatings(MillstreamError):
    """No rating was learned yet."""


class UserAnswer(NamedTuple):
    """An answer, and what it followed from.

    Attributes:
        view: what was known.
        answer: the items.
        shaping: what business rules did to it.
        steered_by: digest of all that rules made it depend on.
        now: ms since the epoch.
        arms: had the policy that made it.
    """

    view: View
    answer: Answer
    shaping: Shaping
    steered_by: str
    now: int
    arms: Arms

    @property
    def items(self) -> list[str]:
        """Ids of the items, in their order."""
        return [self.view.index.ids[row] for row in self.answer.rows]


class RecommendationService:
    """Answers all queries of the HTTP interface; thread-safe."""

    def __init__(
        self,
        current: CurrentState,
        context: int,
        submit: Callable[[Fields], None] | None = None,
        clock: Callable[[], int] = now_ms,
        shown: ShownItems | None = None,
        append: Callable[[Interaction], None] | None = None,
        arms: Arms | None = GREEDY_ALONE,
        writes_features: bool = False,
        others: int = 0,
    ) -> None:
        """Answer from the state that the follower keeps up to date.

        Args:
            current: the state.
            context: number of the latest acts that the model reads.
            submit: called with the fields of each `Impression`; None to write no impressions.
            clock: ms since the epoch.
            shown: what was shown lately; nothing without it. Impressions that are submitted are added.
            append: appends an act to the log; None to take in no rewards.
            arms: have the policies that make the slates of answers which are written as impressions; others
                are greedy. None if they are not known yet: nobody gets a slate before `use` says them.
            writes_features: whether impressions have features, from which values are learned.
            others: of how many items that were not shown they have them, too.
        """
        self._current = current
        self._context = context
        self._submit = submit
        self._clock = clock
        self._shown = shown or ShownItems()
        self._append = append
        self._arms = arms
        self._writes_features = writes_features
        self._others = others

    def use(self, arms: Arms) -> None:
        """Make the slates of later answers by other policies."""
        self._arms = arms

    def for_user(
        self, user: str, session: str | None, query: RecommendationQuery, impression: str | None = None
    ) -> Recommendations:
        """Recommend items for a user, and submit an impression of them.

        Args:
            impression: its id, to draw what an earlier answer of this id drew; None makes a new one.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        (fields,) = self.for_all([UserRequest(user, session, query, impression=impression)])
        return Recommendations.model_validate(fields)

    def for_all(self, requests: Sequence[UserRequest]) -> list[ResponseFields]:
        """Recommend items for users in one pass of the model, and submit impressions of them.

        Returns:
            The fields of `Recommendations`, of each.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        named, began = [self._named(request) for request in requests], time.time()
        with self._current.lock.reading():
            answers = self._for_all(named)
        for request in named:
            self._current.followed.answered(request.user, began, request.impression)
        return answers

    def _named(self, request: UserRequest) -> UserRequest:
        """Give a request whose answer will be written the id of its impression."""
        if request.impression is not None or request.user is None or self._submit is None:
            return request
        if not request.query.record:
            return request
        return request._replace(impression=uuid.uuid4().hex)

    def _for_all(self, requests: Sequence[UserRequest]) -> list[ResponseFields]:
        return [
            self._fields(
                found.view,
                request.query,
                found.answer,
                found.shaping,
                self._submit_impression(request, found),
            )
            for request, found in zip(requests, self._answer_all(requests), strict=True)
        ]

    def answer_for(self, user: str, session: str | None, query: RecommendationQuery) -> UserAnswer:
        """Choose items for a user, without an impression.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        with self._current.lock.reading():
            (answer,) = self._answer_all([UserRequest(user, session, query)])
        return answer

    def _answer_all(self, requests: Sequence[UserRequest]) -> list[UserAnswer]:
        """Choose items for users."""
        users = [request.user for request in requests if request.user is not None]
        view, known = self._current.for_users(users)
        view, now, of_users = _ready(view), self._clock(), iter(known)
        asked, digests, arms = [], [], _ready(self._arms)
        for request in requests:
            user = request.stranger(now) if request.user is None else next(of_users)
            asked.append(self._asked(view, request, user, now, arms))
            digests.append(steered_by(view.rules, user.attributes, attributes_read(view)))
        answers = recommend_all(view, asked, self._context, now)
        return [
            UserAnswer(view, answer, one.shaping, digest, now, arms)
            for answer, one, digest in zip(answers, asked, digests, strict=True)
        ]

    def _asked(self, view: View, request: UserRequest, known: UserState, now: int, arms: Arms) -> UserQuery:
        user, query, shown = request.user, request.query, NO_ITEMS
        if user is not None and query.exclude_shown_ms:
            shown = self._shown.since(user, now - query.exclude_shown_ms).digests
        shaping = _shaping(view, query, "history" if user is None else "user", now, known.attributes)
        exploration, lately = NO_EXPLORATION, NOTHING_SHOWN
        if user is not None and request.impression is not None:
            arm = arms.of(user)
            exploration = Exploration(arm.policy, request.impression, arm.shadows, self._others)
            lately = self._shown.since(user, now - LATELY_MS) if self._writes_features else lately
        return UserQuery(
            known.history,
            request.session,
            query,
            known.older,
            shaping,
            shown,
            user,
            exploration,
            lately,
            known.attributes,
        )

    def for_history(
        self,
        history: Sequence[AnonymousAct],
        session: str | None,
        query: RecommendationQuery,
        attributes: Attributes | None = None,
    ) -> Recommendations:
        """Recommend items for a history sent with the request, and the attributes of whose it is.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        (fields,) = self.for_all([UserRequest(None, session, query, history, attributes=attributes)])
        return Recommendations.model_validate(fields)

    def similar_to(self, item: str, query: RecommendationQuery) -> Recommendations:
        """List items similar to an item.

        Raises:
            NotReady: the log was not read to its end yet.
            UnknownItem: the item is unknown.
        """
        with self._current.lock.reading():
            view = _ready(self._current.view)
            if view.index.row(item) is None:
                raise UnknownItem
            now = self._clock()
            shaping = _shaping(view, query, "similar", now)
            answer = similar(view, item, query, shaping, now=now)
        return Recommendations.model_validate(self._fields(view, query, answer, shaping))

    def rating_of(self, user: str, item: str) -> PredictedRating:
        """Predict the rating that a user would give an item.

        Raises:
            NotReady: the log was not read to its end yet.
            UnknownItem: the item is unknown.
            NoRatings: the snapshot has learned none.
        """
        with self._current.lock.reading():
            view, (known,) = self._current.for_users([user])
            view = _ready(view)
            row = view.index.row(item)
            if row is None:
                raise UnknownItem
            found = predict_rating(view, known.history, row)
        if found is None:
            raise NoRatings("no rating was learned yet: none can be predicted")
        return PredictedRating(user=user, item=item, **found._asdict(), **self._provenance(view))

    def rank(self, request: RankingRequest) -> Ranking:
        """Rank given actions for a user, and submit an impression of those that are shown.

        Business rules and the times of sale decide which may be shown; what the user saw, bought or disliked
        does not, because the caller chose the actions.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        actions = frozenset(request.actions)
        query = RecommendationQuery(len(request.actions), only=actions, shown=request.shown)
        answer = self.for_user(request.user, request.session, query)
        ranking = [RankedAction(item=shown.item, score=shown.score) for shown in answer.items]
        ranked = {action.item for action in ranking}
        return Ranking(
            **{name: getattr(answer, name) for name in AnswerProvenance.model_fields},
            event_id=answer.impression,
            ranking=ranking,
            left_out=[item for item in dict.fromkeys(request.actions) if item not in ranked],
        )

    def reward(self, impression: str, request: RewardRequest) -> RewardedAct:
        """Append what came of an answer as an act of its user.

        Raises:
            UnknownImpression: no impression of this id is remembered.
            NotShown: the item was not in it.
            RewardCollision: it has another reward.
            DeliveryError, LogUnavailable: the act may or may not be stored.
        """
        target = self._shown.first(impression)
        if target is None:
            raise UnknownImpression(NOT_REMEMBERED)
        item = request.item or target.item
        if not target.has(item):
            raise NotShown("this item was not in the answer: send one that was, or none for the first")
        if self._append is None:
            raise DeliveryError("this server does not append to the log")
        event = reward_event(impression, target.user, item, request.reward, target.time)
        self._append(event)
        return RewardedAct(event_id=event.event_id, item=event.item, type=event.type)

    def unknown(self, items: Sequence[str]) -> list[str]:
        """Return which of the items nobody knows; none while the server is not ready."""
        view = self._current.view
        return [item for item in items if view.index.row(item) is None] if view else []

    def model(self) -> ModelCard:
        """Describe the served snapshot, and what was read since.

        Raises:
            NotReady: the log was not read to its end yet.
        """
        view = _ready(self._current.view)
        return ModelCard(
            **self._provenance(view),
            card=_card(view),
            refused=self._refused(),
            items=len(view.index),
            users=self._current.users,
            unlearned=view.unlearned,
            pending_texts=view.pending_texts,
        )

    def readiness(self) -> Readiness:
        """Report whether the service can answer, with which snapshot, and whether only from memory."""
        view, degradation = self._current.view, self._current.degradation
        return Readiness(
            ready=view is not None and self._arms is not None,
            snapshot=str(view.snapshot.version) if view and view.snapshot else None,
            refused=self._refused(),
            degraded=degradation.reason if degradation else None,
        )

    def _fields(
        self,
        view: View,
        query: RecommendationQuery,
        answer: Answer,
        shaping: Shaping,
        impression: str | None = None,
    ) -> ResponseFields:
        """Return the fields of `Recommendations`, which are built here and need no validation."""
        for rule in shaping.applied(answer.slate):
            metrics.RULE_APPLICATIONS.labels(rule).inc()
        metrics.ANSWERS.labels("exact" if answer.is_exact else "uncertain").inc()
        items = item_fields(view, answer, shaping, query.explain)
        return {
            **self._provenance(view),
            "items": items,
            "source": answer.source,
            "reason": answer.reason,
            "exact": answer.is_exact,
            "impression": impression,
        }

    def _provenance(self, view: View) -> ResponseFields:
        manifest = view.snapshot.manifest if view.snapshot else None
        return {
            "snapshot": manifest.version if manifest else None,
            "learned_through": manifest.learned_through if manifest else None,
            "offsets": view.offsets,
            "staleness_seconds": view.staleness(self._clock()),
            "log_away_seconds": self._log_away_seconds(),
        }

    def _log_away_seconds(self) -> float:
        degradation = self._current.degradation
        return max(0.0, self._clock() / 1000 - degradation.since) if degradation else 0.0

    def _submit_impression(self, request: UserRequest, found: UserAnswer) -> str | None:
        """Submit an impression with all that reproducing the answer needs; return its id."""
        found = found._replace(answer=found.answer.first(request.query.shown))
        view, answer, slate = found.view, found.answer, found.answer.slate
        user, impression = request.user, request.impression
        if self._submit is None or user is None or impression is None or not answer.rows:
            return None
        stored = stored_context(request.query, request.session, view.pending_texts, found.steered_by)
        items, arm, experiment = found.items, found.arms.of(user), found.arms.experiment
        explored = len(slate.explored.intersection(slate.rows))
        metrics.SHOWN_ITEMS.labels(arm.policy.name, "explored").inc(explored)
        metrics.SHOWN_ITEMS.labels(arm.policy.name, "best").inc(len(items) - explored)
        self._shown.add(impression, user, items, found.now)
        self._submit(
            {
                "impression_id": impression,
                "user": user,
                "snapshot": str(view.snapshot.version) if view.snapshot else NO_SNAPSHOT,
                "time": found.now,
                "items": items,
                "scores": answer.scores,
                "policy": arm.policy.name,
                "policy_version": arm.policy.version,
                "propensities": slate.propensities,
                "pool": slate.drawn.pool,
                "shadows": slate.shadows(),
                "experiment": experiment,
                "arm": arm.name if experiment else None,
                "features": self._features(answer),
                "offsets": view.offsets,
                "context": {"source": answer.source, **stored},
            }
        )
        return impression

    def _features(self, answer: Answer) -> Features | None:
        """Return the features of an answer's items, if they are written, and the items not too many."""
        features = answer.features if self._writes_features else None
        if features is None or len(answer.rows) > MOST_ITEMS:
            return None
        known = features.items(np.concatenate((np.array(answer.rows, dtype=np.int64), answer.others)))
        return pack(features.state, *np.split(known, [len(answer.rows)]))

    def _refused(self) -> RefusedSnapshot | None:
        refusal = self._current.refusal
        return RefusedSnapshot(version=refusal.version, reason=refusal.reason) if refusal else None


def attributes_read(view: View) -> Sequence[str]:
    """Return the attributes of users that the model of a View reads."""
    return view.snapshot.manifest.sizes.user_attributes if view.snapshot else ()


def _ready(known: Known | None) -> Known:
    if known is None:
        raise NotReady("the server has not read the log yet; /readyz says whether something is wrong")
    return known


def _shaping(
    view: View, query: RecommendationQuery, kind: QueryKind, now: int, attributes: bytes = NO_ATTRIBUTES
) -> Shaping:
    """Return what the rules do to an answer; `attributes` are the user's, as they are stored."""
    if not view.rules.rules:
        return NO_SHAPING
    user = read_attributes(attributes) if view.rules.reads_users else {}
    return view.rules.shaping(RequestFacts(now, facts_of(query, kind), user))


def _card(view: View) -> SnapshotCard | None:
    if view.snapshot is None:
        return None
    manifest = view.snapshot.manifest
    return SnapshotCard(**manifest.model_dump(include=set(SnapshotCard.model_fields)))
