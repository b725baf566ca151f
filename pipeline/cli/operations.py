"""Operator commands: history, rollback, candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import ReasonOption, as_version, console, log_of_settings
from pipeline.clock import now_ms
from pipeline.config import load_settings

if TYPE_CHECKING:
    from pipeline.control.records import ControlRecord
    from pipeline.eventlog.port import EventLog
    from pipeline.eventlog.topics import Topics
    from pipeline.retraining.candidates import Candidates

app = typer.Typer()
candidates_app = typer.Typer(
    help="List, show, promote and reject the candidates of retrains.", no_args_is_help=True
)
app.add_typer(candidates_app, name="candidates")
OUTCOME = "`millstream history` shows whether the learner carries it out"


@app.command()
def history() -> None:
    """List alarms, requests, gate decisions with their costs, promotions and rollbacks."""
    from pipeline.control.history import read_history
    from pipeline.reports.history import history_table

    with log_of_settings() as (event_log, topics, _):
        console.print(history_table(read_history(event_log, topics)), soft_wrap=True)


@app.command()
def rollback(
    version: Annotated[
        str,
        typer.Argument(
            parser=as_version,
            metavar="VERSION",
            help="The version to return to, such as 3-120; see `millstream history`.",
        ),
    ],
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Learn the later events again, instead of only folding them.")
    ] = False,
    reason: ReasonOption = "by hand",
) -> None:
    """Order learner and servers to return to an earlier version, if journal or checkpoints know it."""
    from pipeline.checkpoints.listing import folder_of
    from pipeline.checkpoints.versions import check_known
    from pipeline.control.records import Rollback
    from pipeline.snapshots.version import Version

    order = Rollback(version=version, relearn=relearn, generation=None, ordered_at=now_ms(), reason=reason)
    with log_of_settings() as (event_log, topics, settings):
        check_known(event_log, topics, folder_of(settings), Version.parse(version))
        _append(event_log, topics, order)
    console.print(f"recorded: {order.key}; {OUTCOME}", soft_wrap=True)


@app.command()
def pause(reason: ReasonOption = "by hand") -> None:
    """Order the learner to learn nothing new until `millstream resume`; servers go on answering.

    It still carries out rollbacks and promotions. It stays paused when it is started again.
    """
    from pipeline.control.pauses import read_pause
    from pipeline.control.records import Pause

    with log_of_settings() as (event_log, topics, _):
        if standing := read_pause(event_log, topics):
            raise typer.BadParameter(f"learning is paused already: {standing.key}, {standing.reason}")
        _append(event_log, topics, order := Pause(ordered_at=now_ms(), reason=reason))
    console.print(f"recorded: {order.key}; the learner pauses before its next batch", soft_wrap=True)


@app.command()
def resume(reason: ReasonOption = "by hand") -> None:
    """Order the learner to learn on, from where it paused."""
    from pipeline.control.pauses import read_pause
    from pipeline.control.records import Resume

    with log_of_settings() as (event_log, topics, _):
        if read_pause(event_log, topics) is None:
            raise typer.BadParameter("learning is not paused")
        _append(event_log, topics, order := Resume(ordered_at=now_ms(), reason=reason))
    console.print(f"recorded: {order.key}; the learner goes on", soft_wrap=True)


@candidates_app.command("list")
def list_candidates() -> None:
    """List all kept candidates, oldest first."""
    from pipeline.reports.candidates import candidates_table

    console.print(candidates_table(_candidates().all()), soft_wrap=True)


@candidates_app.command("show")
def show_candidate(name: str) -> None:
    """Print plan, outcome, reasons, figures and cost of a candidate as JSON."""
    candidate = _candidates().named(name)
    plan, decision = candidate.plan(), candidate.decision()
    shown = {"plan": plan.model_dump(), "decision": decision.model_dump() if decision else None}
    console.print_json(orjson.dumps(shown).decode())


@candidates_app.command("promote")
def promote_candidate(
    name: str,
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if it was compared with another champion.")
    ] = False,
    reason: ReasonOption = "by hand",
) -> None:
    """Order the learner to adopt a candidate, regardless of the Gate."""
    from pipeline.control.records import Promotion

    candidate = _candidates().named(name)
    decision = candidate.decided()
    candidate.check_trained()
    generation = None if force else decision.generation
    order = Promotion(candidate=candidate.name, generation=generation, ordered_at=now_ms(), reason=reason)
    with log_of_settings() as (event_log, topics, _):
        _append(event_log, topics, order)
    console.print(f"recorded: {order.key}; {OUTCOME}", soft_wrap=True)


@candidates_app.command("reject")
def reject_candidate(name: str, reason: ReasonOption = "by hand") -> None:
    """Reject a candidate."""
    from pipeline.control.records import GateDecision

    candidate = _candidates().named(name)
    changes = {"outcome": "rejected", "reasons": [reason], "decided_at": now_ms()}
    decision = GateDecision.model_validate({**dict(candidate.decided()), **changes})
    with log_of_settings() as (event_log, topics, _):
        candidate.conclude(decision)
        _append(event_log, topics, decision)
    console.print(f"recorded: {decision.key}", soft_wrap=True)


def _append(event_log: EventLog, topics: Topics, record: ControlRecord) -> None:
    with event_log.writer() as writer:
        writer.append(topics.control, record.key, record.encode())
        writer.flush()


def _candidates() -> Candidates:
    from pipeline.checkpoints.listing import folder_of
    from pipeline.retraining.candidates import Candidates

    return Candidates(folder_of(load_settings()))
