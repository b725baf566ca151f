"""Operator commands: history, rollback, candidates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import console, log_of_settings, now
from pipeline.config import load_settings

if TYPE_CHECKING:
    from pipeline.control.records import ControlRecord
    from pipeline.retraining.candidates import Candidates

app = typer.Typer()
candidates_app = typer.Typer(
    help="List, show, promote and reject the candidates of retrains.", no_args_is_help=True
)
app.add_typer(candidates_app, name="candidates")
ReasonOption = Annotated[str, typer.Option(help="Reason, shown in the history.")]


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+-\d+", text):
        raise typer.BadParameter(f"{text} is not a version such as 3-120")
    return text


@app.command()
def history() -> None:
    """List alarms, requests, gate decisions with their costs, promotions and rollbacks."""
    from pipeline.control.history import read_history
    from pipeline.reports.history import history_table

    with log_of_settings() as (event_log, topics, _):
        console.print(history_table(read_history(event_log, topics)))


@app.command()
def rollback(
    version: Annotated[
        str,
        typer.Argument(
            parser=_version,
            metavar="VERSION",
            help="The version to return to, such as 3-120; see `millstream history`.",
        ),
    ],
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Learn the later events again, instead of only folding them.")
    ] = False,
    reason: ReasonOption = "by hand",
) -> None:
    """Order learner and servers to return to an earlier version."""
    from pipeline.control.records import Rollback

    _order(Rollback(version=version, relearn=relearn, generation=None, ordered_at=now(), reason=reason))


@candidates_app.command("list")
def list_candidates() -> None:
    """List all kept candidates, oldest first."""
    from pipeline.reports.candidates import candidates_table

    console.print(candidates_table(_candidates().all()))


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

    decision = _candidates().named(name).decided()
    generation = None if force else decision.generation
    _order(Promotion(candidate=name, generation=generation, ordered_at=now(), reason=reason))


@candidates_app.command("reject")
def reject_candidate(name: str, reason: ReasonOption = "by hand") -> None:
    """Reject a candidate."""
    candidate = _candidates().named(name)
    changes = {"outcome": "rejected", "reasons": [reason], "decided_at": now()}
    decision = candidate.decided().model_copy(update=changes)
    candidate.conclude(decision)
    _order(decision)


def _order(record: ControlRecord) -> None:
    with log_of_settings() as (event_log, topics, _), event_log.writer() as writer:
        writer.append(topics.control, record.key, record.encode())
        writer.flush()
    console.print(f"recorded: {record.key}", soft_wrap=True)


def _candidates() -> Candidates:
    from pipeline.assembly import checkpoints_of
    from pipeline.retraining.candidates import Candidates

    return Candidates(checkpoints_of(load_settings()).folder)
