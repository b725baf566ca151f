"""Commands of policies: what those that are not used would have earned, and what arms have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import JsonOption, console, log_of_settings, now

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.evaluation.off_policy.confidence import Range
    from pipeline.eventlog.port import EventLog, Record
    from pipeline.eventlog.topics import Topics
    from pipeline.state.outcomes import Outcome, OutcomeJoin

app = typer.Typer()
policy_app = typer.Typer(help="Evaluate policies by what came of the answers.", no_args_is_help=True)
experiment_app = typer.Typer(help="Compare the arms of an experiment.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
app.add_typer(experiment_app, name="experiment")
SinceOption = Annotated[
    datetime | None,
    typer.Option(help="Answers appended since then, such as 2026-11-26T12:00:00, UTC; default: all."),
]
JSON_FORMAT = 1


@policy_app.command()
def evaluate(
    name: Annotated[
        str | None, typer.Argument(help="A policy of policy.shadows, or greedy; default: all.")
    ] = None,
    since: SinceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate what policies that were not used would have earned, by the answers of the one that was."""
    from pipeline.errors import NothingToEvaluate
    from pipeline.evaluation.off_policy.evaluation import evaluate as run
    from pipeline.reports.policies import evaluations_table
    from pipeline.state.outcomes import OutcomeJoin

    with log_of_settings() as (event_log, topics, settings):
        join = OutcomeJoin(settings.rewards)
        found = run(_outcomes(event_log, topics, join, since, now()), _range(settings))
    chosen = [each for each in found if name in (None, each.policy)]
    if not chosen:
        raise NothingToEvaluate(_why_nothing(name, [each.policy for each in found], join))
    left = {str(reason): count for reason, count in sorted(join.leftovers.items())}
    if as_json:
        policies = [{**asdict(each), "verdict": each.verdict} for each in chosen]
        _print_json({"format": JSON_FORMAT, "policies": policies, "waiting": join.open, "leftovers": left})
        return
    console.print(evaluations_table(chosen), soft_wrap=True)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left.items())
    console.print(f"{_waiting(join)}; not joined: {reasons or 'nothing'}", soft_wrap=True)


def _why_nothing(name: str | None, evaluated: list[str], join: OutcomeJoin) -> str:
    if name is not None and evaluated:
        return f"no impression says what {name} would have shown, only {', '.join(evaluated)}"
    if join.open:
        return f"{_waiting(join)}, and no other answer says what another policy would have shown"
    return (
        "no answer says what another policy would have shown: let policy.name explore, and name policies in "
        "[policy.shadows]"
    )


def _waiting(join: OutcomeJoin) -> str:
    return f"{join.open:,} answers still wait for acts, for up to rewards.minutes"


@experiment_app.command()
def report(since: SinceOption = None, as_json: JsonOption = False) -> None:
    """Compare the arms of the settings' experiment with its control, by users."""
    from pipeline.errors import NothingToEvaluate
    from pipeline.evaluation.experiments import Experiment
    from pipeline.policy.arms import make_arms
    from pipeline.reports.policies import arms_table
    from pipeline.state.outcomes import OutcomeJoin

    with log_of_settings() as (event_log, topics, settings):
        policy, join, until = settings.policy, OutcomeJoin(settings.rewards), now()
        if not policy.arms:
            raise NothingToEvaluate("there is no experiment: name its arms in [policy.arms]")
        experiment = Experiment(policy.experiment, policy.experiment_hours)
        for outcome in _outcomes(event_log, topics, join, since, until):
            experiment.add(outcome)
    found = experiment.results(make_arms(policy).shares, _range(settings), until - join.window)
    waiting = experiment.users - sum(result.users for result in found)
    if as_json:
        _print_json(
            {"format": JSON_FORMAT, "experiment": policy.experiment, "arms": found, "waiting": waiting}
        )
        return
    console.print(arms_table(policy.experiment, found), soft_wrap=True)
    console.print(f"{waiting:,} users are in their first policy.experiment_hours", soft_wrap=True)


def _outcomes(
    event_log: EventLog, topics: Topics, join: OutcomeJoin, since: datetime | None, until: int
) -> Iterator[Outcome]:
    """Join impressions and acts of a log that were appended since a time."""
    from pipeline.state.outcomes import outcomes

    start = None if since is None else round(since.replace(tzinfo=since.tzinfo or UTC).timestamp() * 1000)
    shown, acts = (_records(event_log, topic, start) for topic in (topics.impressions, topics.interactions))
    return outcomes(shown, acts, join, until)


def _records(event_log: EventLog, topic: str, start: int | None) -> Iterator[Record]:
    """Read a topic in the order of append times; its partitions are read side by side, not in order."""
    from pipeline.eventlog.port import read

    offsets = None if start is None else event_log.offsets_at([topic], start)
    return iter(sorted(read(event_log, topic, offsets), key=lambda record: record.append_time))


def _range(settings: Settings) -> Range:
    from pipeline.evaluation.off_policy.confidence import Range

    return Range(settings.rewards.least, settings.rewards.most)


def _print_json(found: object) -> None:
    console.print_json(orjson.dumps(found, default=list).decode())
