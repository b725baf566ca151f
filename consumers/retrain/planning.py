"""Planning: which version a retrain begins from, and which part of the log it sees."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from consumers.retrain.retrainer import Workshop
from pipeline.control.alarms import RetrainRequest
from pipeline.errors import ChampionGone, TopicError
from pipeline.eventlog.port import EventLog, Offsets, named, read
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import read_journal
from pipeline.journal.follow import follow_journal, recorded
from pipeline.journal.position import Position
from pipeline.retraining.candidates import Candidates, RetrainPlan
from pipeline.snapshots.snapshot import Version


@dataclass(frozen=True)
class PlanConfig:
    """Amounts of a plan, in records of the interactions topic.

    Attributes:
        window: to train on, by hand; after an alarm, the window begins at the alarm.
        wait: between an alarm and the end of the window: what is new must be seen to be learned.
        held_out: to validate on.
        trial: to compare on.
    """

    window: int
    wait: int
    held_out: int
    trial: int


def open_request(event_log: EventLog, topics: Topics, candidates: Candidates) -> RetrainRequest | None:
    """The newest request for a retrain, unless it was answered; older ones are answered with it."""
    newest = None
    for record in read(event_log, topics.control):
        try:
            newest = RetrainRequest.decode(record.value or b"{}")
        except (AttributeError, ValueError):
            continue  # another kind of record, or none of ours
    if newest is None or candidates.named(newest.key).decision() is not None:
        return None
    return newest


def no_plan(request: RetrainRequest) -> RetrainPlan:
    """What is put down for a request that came too late to be answered."""
    champion = f"{request.alarm.generation}-{request.alarm.step}"
    now = int(time.time() * 1000)
    return RetrainPlan(
        name=request.key,
        request=request.key,
        champion=champion,
        window={},
        held_out=0,
        trial=0,
        planned_at=now,
    )


def plan_for(shop: Workshop, shape: PlanConfig, request: RetrainRequest) -> RetrainPlan:
    """The plan that answers a request; waits until enough has come after the alarm.

    Raises:
        ChampionGone: another state was adopted since.
        Stopped: it was told to stop.
    """
    alarm = Version(request.alarm.generation, request.alarm.step)
    earlier = [at for at in shop.checkpoints.positions() if Version.parse(at.version) < alarm]
    alarmed = 0
    for entry, after in follow_journal(
        shop.event_log, shop.topics, earlier[-1].journal if earlier else 0, shop.stop
    ):
        version, now = Version.parse(entry.version), recorded(shop.topics, entry.offsets)
        if version > alarm and entry.adopts is not None:
            raise ChampionGone(f"{entry.adopts.order} replaced the model that {request.key} is about")
        if version <= alarm:
            alarmed = now
        elif now - alarmed >= shape.wait:
            champion = Position.after(entry, after)
            return _plan(shop, shape, now - alarmed, champion, request.key, request.key)
    raise AssertionError("a journal that grows does not end")


def plan_now(shop: Workshop, shape: PlanConfig, since: datetime | None) -> RetrainPlan:
    """A plan by hand: from the newest checkpoint with enough after it, or else the newest.

    `since` says where the window begins, instead of its size.

    Raises:
        TopicError: there is no checkpoint yet, or none that has learned anything since.
    """
    checkpoints = _of_this_model(shop)
    if not checkpoints:
        raise TopicError(
            "there is no checkpoint to begin from yet, or none since the last promotion or rollback: "
            "let `millstream learn` run first"
        )
    come = recorded(shop.topics, shop.event_log.end_offsets([shop.topics.interactions]))
    latest = come - shape.held_out - shape.trial
    fit = [at for at in checkpoints if recorded(shop.topics, at.offsets) <= latest]
    name = f"by-hand-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    champion = (fit or checkpoints)[-1]
    plan = _plan(shop, shape, shape.window, champion, name, None)
    if since is None:
        return plan
    starts = shop.event_log.offsets_at([shop.topics.interactions], int(since.timestamp() * 1000))
    if recorded(shop.topics, starts) >= recorded(shop.topics, champion.offsets):
        raise TopicError(f"{champion.version}, which is to be retrained, has learned nothing since {since}")
    return plan.model_copy(update={"window": named(starts)})


def _of_this_model(shop: Workshop) -> list[Position]:
    """The checkpoints after the last adoption, oldest first."""
    found = shop.checkpoints.positions()
    begin = min((at.journal for at in found), default=None)
    entries = read_journal(shop.event_log, shop.topics.journal, begin)
    adopted = max((after for entry, after in entries if entry.adopts is not None), default=0)
    return [at for at in found if at.journal >= adopted]


def _plan(
    shop: Workshop, shape: PlanConfig, window: int, champion: Position, name: str, request: str | None
) -> RetrainPlan:
    return RetrainPlan(
        name=name,
        request=request,
        champion=champion.version,
        window=named(_window(shop, champion.offsets, window)),
        held_out=shape.held_out,
        trial=shape.trial,
        planned_at=int(time.time() * 1000),
    )


def _window(shop: Workshop, ends: Offsets, records: int) -> Offsets:
    """Where the last records before some offsets begin, each partition giving its share."""
    begins = shop.event_log.begin_offsets([shop.topics.interactions])
    held = sum(ends[source] - begin for source, begin in begins.items())
    share = min(1.0, records / held) if held else 0.0
    return {source: ends[source] - round(share * (ends[source] - begin)) for source, begin in begins.items()}
