"""Backtest: run recorded data through the production learner, without a log or daemons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pipeline.config import RewardsConfig
from pipeline.datasets import Dataset
from pipeline.datasets.busiest_users import BusiestUsers
from pipeline.datasets.undescribed import UndescribedActs
from pipeline.evaluation.classification import ClassificationReport
from pipeline.evaluation.doubts import CappedActs, no_lists, small_catalogue
from pipeline.evaluation.item_groups import groups_of, without_group
from pipeline.evaluation.lists import Figures, ListQuality, computed
from pipeline.evaluation.prequential import Report
from pipeline.evaluation.ratings import RatingQuality, RatingReport
from pipeline.evaluation.regret import regret
from pipeline.evaluation.timeline import Timeline
from pipeline.events import (
    CatalogueRecord,
    Event,
    Impression,
    Interaction,
    Item,
    ItemChange,
    User,
    UserRecord,
)
from pipeline.model.fusion import ModalityFigures
from pipeline.ratings.scale import PositiveActs, RatingScale
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.binary_decisions import BinaryDecisions
from pipeline.training.learner import Learner
from pipeline.training.sampled_lists import ONE_IN


@dataclass(frozen=True)
class BacktestReport:
    """The result of a backtest; `seconds` exclude encoding the initial catalogue, and predicting decisions.

    Attributes:
        timeline: the run in windows.
        decisions: figures of binary decisions by kind, of the kinds that the data has.
        ratings: errors of predicted ratings by slice, if the data has ratings.
        modalities: what the vectors of items say, by name, if any are declared.
        lists: figures of the last lists that the mixture made for a sample of the users.
        groups: the shares of groups of items in these lists, and in the acts that followed.
        warnings: what of data and settings does not fit.
    """

    dataset: str
    events: int
    seconds: float
    quality: Report
    timeline: Timeline = field(default_factory=Timeline)
    decisions: dict[str, ClassificationReport] = field(default_factory=dict)
    ratings: Mapping[str, RatingReport] = field(default_factory=dict)
    modalities: Mapping[str, ModalityFigures] = field(default_factory=dict)
    lists: Figures = field(default_factory=dict)
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, object]:
        """Convert to the JSON that the command writes."""
        return {
            "dataset": self.dataset,
            "events": self.events,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events / self.seconds, 1) if self.seconds else None,
            "quality": self.quality,
            "regret": regret(self.quality),
            "windows": self.timeline.to_json(),
            "lists": computed(self.lists),
            "groups": self.groups,
            "decisions": {kind: asdict(figures) for kind, figures in self.decisions.items()},
            "ratings": {name: errors._asdict() for name, errors in self.ratings.items()},
            "modalities": {name: figures._asdict() for name, figures in self.modalities.items()},
            "warnings": [*self.warnings],
        }


def backtest(
    learner: Learner,
    dataset: Dataset,
    limit: int | None,
    batch_events: int,
    progress: Callable[[int], None],
    rewards: RewardsConfig = RewardsConfig(),  # noqa: B008 (frozen)
    group: str | None = None,
) -> BacktestReport:
    """Test, then train, on the first `limit` interactions, in batches of `batch_events`.

    `progress` is called with the number of interactions of each batch; `rewards` say what is a response to
    an impression; `group` names the attribute of items whose values are compared by their shares of lists.

    Raises:
        DatasetError: a value of the recorded data does not fit its column.
    """
    timeline, lists, ratings = Timeline(), ListQuality(), RatingQuality()
    decisions, shown = BinaryDecisions(rewards), list[Impression]()
    scale, positive = RatingScale(learner.config.ratings), PositiveActs(learner.signals)
    batches = micro_batches(_with_impressions(first_events(dataset.events(), limit), shown), batch_events)
    opening, undescribed, capped, busiest = next(batches), UndescribedActs(), CappedActs(), BusiestUsers()
    undescribed.add(opening.items, opening.interactions)
    busiest.add(opening.interactions)
    learner.score_and_learn(opening)
    began = time.perf_counter()
    for batch in batches:
        asked = time.perf_counter()
        decisions.add(learner, shown, batch.interactions)
        shown.clear()
        began += time.perf_counter() - asked
        scores, events = learner.score_and_learn(batch), len(batch.interactions)
        lists.add(scores.lists)
        if lists.is_due(len(learner.stream.catalogue)):
            lists.update(learner.stream.acts, learner.stream.head.least)
        ended = time.perf_counter()
        timeline.add(scores, events, ended - began, lists.figures)
        ratings.add(*learner.ratings.errors)
        scale.add(batch.interactions)
        positive.add(batch.interactions)
        undescribed.add(batch.items, batch.interactions)
        busiest.add(batch.interactions)
        capped.add(events, learner.stream.capped)
        began = ended
        progress(events)
    total, stream = timeline.total(), learner.stream
    odd = without_group(stream.catalogue, group) if group else None
    found = lists.update(stream.acts, stream.head.least)
    of_lists = small_catalogue(len(stream.catalogue)), no_lists(found, total.events, ONE_IN), odd
    of_acts = positive.warning(), scale.warning(), undescribed.warning(), busiest.warning()
    doubts = *of_acts, capped.warning(), *of_lists
    return BacktestReport(
        dataset.name,
        total.events,
        total.seconds,
        total.quality.report(),
        timeline,
        decisions.report(),
        ratings.report(),
        learner.recommender.figures(),
        found,
        lists.by_group(groups_of(stream.catalogue, group)) if group else {},
        [doubt for doubt in doubts if doubt],
    )


def micro_batches(events: Iterable[Event], size: int) -> Iterator[MicroBatch]:
    """Yield catalogue and users before the first interaction, then batches of `size` interactions."""
    step, items, interactions, users = 0, list[CatalogueRecord](), list[Interaction](), list[UserRecord]()
    for event in events:
        if isinstance(event, Item | ItemChange):
            items.append(event)
        if isinstance(event, User):
            users.append(event)
        if not isinstance(event, Interaction):
            continue
        if step == 0 or len(interactions) == size:
            yield MicroBatch(0, step, items, interactions, users=users)
            step, items, interactions, users = step + 1, [], [], []
        interactions.append(event)
    yield MicroBatch(0, step, items, interactions, users=users)


def _with_impressions(events: Iterable[Event], shown: list[Impression]) -> Iterator[Event]:
    """Yield events; add the impressions among them to a list, which the caller empties."""
    for event in events:
        if isinstance(event, Impression):
            shown.append(event)
        yield event


def first_events(events: Iterator[Event], limit: int | None) -> Iterator[Event]:
    """Yield events up to and including the limit-th interaction."""
    remaining = limit
    for event in events:
        if isinstance(event, Interaction):
            if remaining == 0:
                return
            remaining = remaining - 1 if remaining is not None else None
        yield event
