"""Planning: which version a retrain begins from, and which part of the log it learns."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from consumers.retrain.reading import LogView, WaitingProgress
from consumers.retrain.requests import ManualRequest
from pipeline.checkpoints.store import Checkpoints
from pipeline.clock import now_ms
from pipeline.config import PlanConfig
from pipeline.control.alarms import RetrainRequest
from pipeline.errors import ChampionGone, NoCheckpoint, OffsetsExpired, TopicError
from pipeline.eventlog.port import Offsets, named
from pipeline.journal.entry import read_journal
from pipeline.journal.follow import recorded
from pipeline.journal.position import Position
from pipeline.retraining.candidates import Candidates, RetrainPlan
from pipeline.snapshots.version import Version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planner:
    """Plans retrains, and writes the plans down as candidates."""

    log: LogView
    checkpoints: Checkpoints
    candidates: Candidates
    config: PlanConfig

    def plan(self, name: str, request: RetrainRequest | ManualRequest | None) -> RetrainPlan:
        """Return the plan of a candidate; make and write it down if the candidate has none yet.

        Args:
            name: of the candidate.
            request: what it is for; None if its plan was written down earlier.

        Raises:
            CandidateUnknown: there is neither plan nor request.
            ChampionGone: another state was adopted since the alarm; an empty plan is written down.
            OffsetsExpired: the journal no longer reaches back to the alarm; likewise.
            Stopped: it was asked to stop while it waited for events.
            NoCheckpoint, TopicError: nothing was learned yet that could be retrained.
        """
        candidate = self.candidates.named(name)
        if request is None or candidate.is_planned:
            return candidate.plan()
        plan = self._planned(request)
        self.candidates.begin(plan)
        log.info("retraining %s from %s", plan.name, plan.champion)
        return plan

    def after_alarm(self, request: RetrainRequest) -> RetrainPlan:
        """Make the plan that answers an alarm; wait until enough has come after the alarm.

        Raises:
            ChampionGone: another state was adopted since.
            Stopped: it was asked to stop.
        """
        alarm = Version(request.alarm.generation, request.alarm.step)
        awaited = WaitingProgress("to train on (retrain.plan.wait_events)", self.config.wait_events)
        for entry, after in self.log.follow_journal(self._journal_before(alarm), awaited):
            version = Version.parse(entry.version)
            if version > alarm and entry.is_break:
                raise ChampionGone(f"{entry.cause} replaced the model that {request.key} is about")
            if version <= alarm:
                awaited.begin = awaited.now
            elif awaited.learned >= self.config.wait_events:
                champion = Position.after(entry, after)
                window = self._window(champion.offsets, awaited.learned)
                return self._plan(request.key, request.key, champion, window)
        raise AssertionError("following a journal does not end")

    def by_hand(self, request: ManualRequest) -> RetrainPlan:
        """Make a plan from the newest checkpoint with enough events after it, or else the newest.

        Raises:
            NoCheckpoint: there is none yet.
            TopicError: it has learned nothing since `request.since`.
        """
        champion = self._checkpoint()
        if request.since is None:
            window = self._window(champion.offsets, self.config.window_events)
        else:
            window = self._window_since(champion, request.since)
        return self._plan(request.key, None, champion, window)

    def _planned(self, request: RetrainRequest | ManualRequest) -> RetrainPlan:
        if isinstance(request, ManualRequest):
            return self.by_hand(request)
        try:
            return self.after_alarm(request)
        except (ChampionGone, OffsetsExpired):
            self.candidates.begin(empty_plan(request))
            raise

    def _journal_before(self, alarm: Version) -> int:
        """Offset in the journal of the newest checkpoint before an alarm; 0 if there is none."""
        earlier = [at for at in self.checkpoints.positions() if Version.parse(at.version) < alarm]
        return earlier[-1].journal if earlier else 0

    def _checkpoint(self) -> Position:
        """The newest checkpoint that has enough events after it, or else the newest."""
        topics = self.log.topics
        found = self._since_last_break()
        if not found:
            raise NoCheckpoint(
                "there is no checkpoint to begin from yet, or none since the last promotion or rollback: "
                "let `millstream learn` run first"
            )
        end = recorded(topics, self.log.event_log.end_offsets([topics.interactions]))
        latest = end - self.config.held_out_events - self.config.trial_events
        fit = [at for at in found if recorded(topics, at.offsets) <= latest]
        return (fit or found)[-1]

    def _since_last_break(self) -> list[Position]:
        """The checkpoints after the last adoption or gap, oldest first."""
        found = self.checkpoints.positions()
        begin = min((at.journal for at in found), default=None)
        entries = read_journal(self.log.event_log, self.log.topics.journal, begin)
        broken = max((after for entry, after in entries if entry.is_break), default=0)
        return [at for at in found if at.journal >= broken]

    def _window(self, ends: Offsets, records: int) -> Offsets:
        """Offsets where the last records before `ends` begin, each partition giving its share."""
        begins = self.log.event_log.begin_offsets([self.log.topics.interactions])
        held = sum(ends[source] - begin for source, begin in begins.items())
        share = min(1.0, records / held) if held else 0.0
        return {
            source: ends[source] - round(share * (ends[source] - begin)) for source, begin in begins.items()
        }

    def _window_since(self, champion: Position, since: datetime) -> Offsets:
        """Offsets of the first records at or after a time."""
        topics = self.log.topics
        starts = self.log.event_log.offsets_at([topics.interactions], int(since.timestamp() * 1000))
        if recorded(topics, starts) >= recorded(topics, champion.offsets):
            raise TopicError(
                f"{champion.version}, which is to be retrained, has learned nothing since {since}: "
                "let the learner catch up, or give an earlier --since"
            )
        return starts

    def _plan(self, name: str, request: str | None, champion: Position, window: Offsets) -> RetrainPlan:
        return RetrainPlan(
            name=name,
            request=request,
            champion=champion.version,
            window=named(window),
            held_out=self.config.held_out_events,
            trial=self.config.trial_events,
            planned_at=now_ms(),
        )


def empty_plan(request: RetrainRequest) -> RetrainPlan:
    """Make the plan of a request that came too late to be answered: there is nothing to do."""
    champion = Version(request.alarm.generation, request.alarm.step)
    return RetrainPlan(
        name=request.key,
        request=request.key,
        champion=str(champion),
        window={},
        held_out=0,
        trial=0,
        planned_at=now_ms(),
    )
