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
    datetime | None, typer.Option(help="Answers appended since then, UTC; all that the log has.")
]


@policy_app.command()
def evaluate(
    name: Annotated[str | None, typer.Argument(help="A policy of [policy.shadows], or greedy; all.")] = None,
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
    found = [each for each in found if name in (None, each.policy)]
    if not found:
        raise NothingToEvaluate(
            f"no impression whose acts are in says what {name or 'another policy'} would have shown: let "
            "policy.name explore, and name policies in [policy.shadows]"
        )
    left = {str(reason): count for reason, count in sorted(join.leftovers.items())}
    if as_json:
        policies = [{**asdict(each), "verdict": each.verdict} for each in found]
        _print_json({"policies": policies, "open": join.open, "leftovers": left})
        return
    console.print(evaluations_table(found), soft_wrap=True)
    console.print(
        f"{join.open:,} answers still wait for acts; not joined: {left or 'nothing'}", soft_wrap=True
    )


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
    if as_json:
        _print_json({"experiment": policy.experiment, "arms": found})
        return
    console.print(arms_table(policy.experiment, found), soft_wrap=True)


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
