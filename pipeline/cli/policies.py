"""Commands of policies: what those that are not used would have earned, what arms have, and which is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import JsonOption, console, given, log_of_settings, now
from pipeline.wording import counted

if TYPE_CHECKING:
    from pipeline.config import PolicyConfig, PolicyParameters, Settings
    from pipeline.evaluation.experiments import ArmResult
    from pipeline.evaluation.off_policy.confidence import Range
    from pipeline.evaluation.off_policy.evaluation import Evaluation
    from pipeline.eventlog.port import EventLog, Record
    from pipeline.eventlog.topics import Topics
    from pipeline.policy.changes import PolicyChange, PolicyChanges
    from pipeline.retraining.gate.policies import PolicyVerdict
    from pipeline.state.outcomes import Outcome, OutcomeJoin

app = typer.Typer()
policy_app = typer.Typer(
    help="Evaluate policies by what came of the answers, and promote them.", no_args_is_help=True
)
experiment_app = typer.Typer(help="Compare the arms of an experiment.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
app.add_typer(experiment_app, name="experiment")
SinceOption = Annotated[
    datetime | None,
    typer.Option(help="Answers appended since then, such as 2026-11-26T12:00:00, UTC; default: all."),
]
JSON_FORMAT = 1
EXIT_STATUS = {"promoted": 0, "rejected": 1, "cannot tell": 3}
"""Of `policy promote`, by the Gate's outcome; 2 is that of a command used wrongly."""


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
    from pipeline.evaluation.responses import response_quality
    from pipeline.reports.classification import classification_table
    from pipeline.reports.policies import evaluations_table
    from pipeline.state.outcomes import OutcomeJoin

    with log_of_settings() as (event_log, topics, settings):
        join = OutcomeJoin(settings.rewards)
        joined = list(_outcomes(event_log, topics, settings, join, since, now()))
    found, responses = run(joined, _range(settings), join.window), response_quality(joined, join.window)
    _check_is_known(name, settings.policy, [each.policy for each in found])
    chosen = [each for each in found if name in (None, each.policy)]
    if not chosen:
        raise NothingToEvaluate(_why_nothing(name, [each.policy for each in found], join))
    left = {str(reason): count for reason, count in sorted(join.leftovers.items())}
    if as_json:
        policies = [{**asdict(each), "verdict": each.verdict} for each in chosen]
        decisions = {"response": asdict(responses)}
        shown = {"policies": policies, "decisions": decisions, "waiting": join.open, "leftovers": left}
        _print_json({"format": JSON_FORMAT, **shown})
        return
    console.print(evaluations_table(chosen), soft_wrap=True)
    if responses.n:
        console.print(classification_table("binary decisions", {"response": responses}), soft_wrap=True)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left.items())
    console.print(f"{_waiting(join)}; not joined: {reasons or 'nothing'}", soft_wrap=True)


def _check_is_known(name: str | None, config: PolicyConfig, evaluated: list[str]) -> None:
    """Refuse a name that neither the settings nor the log know; an arm has no propensities of its own."""
    from pipeline.errors import PolicyRefused
    from pipeline.policy.policies import SHADOW

    known = list(dict.fromkeys((SHADOW, *config.shadows, *evaluated)))
    if name in config.arms and name not in known:
        raise PolicyRefused(f"{name} is an arm: see `millstream experiment report`")
    if name is not None and name not in known:
        there_are = ", ".join(known)
        raise PolicyRefused(f"neither [policy.shadows] nor the log has a policy {name}, only {there_are}")


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


@policy_app.command()
def promote(
    name: Annotated[str, typer.Argument(help="A policy of policy.shadows or policy.arms, or greedy.")],
    since: SinceOption = None,
    anyway: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Promote it whatever it earns, for this reason.", callback=given),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let servers use a policy, if it certainly earns more than the one in use; exit with 1 or 3 if not."""
    from pipeline.policy.changes import PolicyChange
    from pipeline.retraining.gate.policies import PolicyOutcome, PolicyVerdict

    with log_of_settings() as (event_log, topics, settings):
        parameters, used = _promotable(settings.policy, name), _in_use(settings, event_log, topics)
        _check_is_another(name, parameters, used)
        if anyway is None:
            verdict = _verdict(settings, event_log, topics, name, used, since)
        else:
            verdict = PolicyVerdict(PolicyOutcome.PROMOTED, f"by a person: {anyway}", {})
        if verdict.outcome is PolicyOutcome.PROMOTED:
            change = PolicyChange(
                verb="promotion",
                policy=name,
                parameters=parameters,
                ends=settings.policy.experiment,
                reason=verdict.reason,
                figures=verdict.figures,
                changed_at=now(),
            )
            _append(event_log, topics, change)
    if as_json:
        _print_json({"format": JSON_FORMAT, "policy": name, **verdict._asdict()})
    else:
        console.print(f"{name}: {verdict.outcome}: {verdict.reason}", soft_wrap=True)
    raise typer.Exit(EXIT_STATUS[verdict.outcome])


@policy_app.command("rollback")
def roll_back(
    reason: Annotated[
        str, typer.Option(help="Reason, shown by `millstream policy list`.", callback=given)
    ] = "by hand",
) -> None:
    """Let servers return to the policy that they used before the latest promotion."""
    from pipeline.errors import PolicyRefused
    from pipeline.policy.changes import PolicyChange

    with log_of_settings() as (event_log, topics, _):
        changes = _changes(event_log, topics)
        left = changes.in_use
        if left is None:
            raise PolicyRefused("servers use the policy of the settings: there is no promotion to leave")
        change = PolicyChange(
            verb="rollback", policy=left.policy, parameters=left.parameters, reason=reason, changed_at=now()
        )
        _append(event_log, topics, change)
        changes.add(change)
    after = changes.in_use.policy if changes.in_use else "that of the settings"
    console.print(f"{left.policy} is left; servers use {after}", soft_wrap=True)


@policy_app.command("list")
def list_policies(as_json: JsonOption = False) -> None:
    """List the policies of the settings, which is in use and since when, and every change."""
    from pipeline.reports.policies import changes_table, policies_table

    with log_of_settings() as (event_log, topics, settings):
        changes = _changes(event_log, topics)
    if as_json:
        _print_json({"format": JSON_FORMAT, "in_use": changes.in_use, "changes": changes.all})
        return
    console.print(policies_table(settings.policy, changes.in_use), soft_wrap=True)
    if changes.all:
        console.print(changes_table(changes.all), soft_wrap=True)


def _promotable(config: PolicyConfig, name: str) -> PolicyParameters:
    """Parameters of a policy of the settings, by its name."""
    from pipeline.config import PolicyParameters
    from pipeline.errors import PolicyRefused
    from pipeline.policy.policies import SHADOW

    known: dict[str, PolicyParameters] = {SHADOW: PolicyParameters(), **config.shadows, **config.arms}
    if name not in known:
        raise PolicyRefused(f"the settings have no policy {name}, only {', '.join(known)}")
    return PolicyParameters.model_validate(
        {field: getattr(known[name], field) for field in PolicyParameters.model_fields}
    )


def _check_is_another(name: str, parameters: PolicyParameters, used: PolicyParameters) -> None:
    from pipeline.errors import PolicyRefused
    from pipeline.policy.policies import make_policy

    if make_policy(parameters) == make_policy(used):
        raise PolicyRefused(f"servers use {name} already: the policy in use has the same parameters")


def _verdict(
    settings: Settings,
    event_log: EventLog,
    topics: Topics,
    name: str,
    used: PolicyParameters,
    since: datetime | None,
) -> PolicyVerdict:
    """Decide on an arm by its experiment, on any other policy by the answers that the one in use drew."""
    from pipeline.retraining.gate.policies import decide_on_arm, decide_on_shadow

    if name in settings.policy.arms:
        results, _ = _results(settings, event_log, topics, since)
        return decide_on_arm(next(result for result in results if result.arm == name))
    return decide_on_shadow(_evaluation(settings, event_log, topics, name, used, since))


def _evaluation(
    settings: Settings,
    event_log: EventLog,
    topics: Topics,
    name: str,
    used: PolicyParameters,
    since: datetime | None,
) -> Evaluation:
    from pipeline.errors import NothingToEvaluate
    from pipeline.evaluation.off_policy.evaluation import evaluate as run
    from pipeline.policy.policies import make_policy
    from pipeline.state.outcomes import OutcomeJoin

    policy, join = make_policy(used), OutcomeJoin(settings.rewards)
    drawn = [
        outcome
        for outcome in _outcomes(event_log, topics, settings, join, since, now())
        if (outcome.impression.policy, outcome.impression.policy_version) == (policy.name, policy.version)
    ]
    found = {each.policy: each for each in run(drawn, _range(settings), join.window)}
    if name not in found:
        raise NothingToEvaluate(
            f"no answer of the policy in use ({policy.name} {policy.version}) says what {name} would have "
            f"shown; {_waiting(join)}"
        )
    return found[name]


def _in_use(settings: Settings, event_log: EventLog, topics: Topics) -> PolicyParameters:
    promotion = _changes(event_log, topics).in_use
    return settings.policy if promotion is None else promotion.parameters


def _changes(event_log: EventLog, topics: Topics) -> PolicyChanges:
    from pipeline.control.policies import read_policy_changes

    return read_policy_changes(event_log, topics)


def _append(event_log: EventLog, topics: Topics, change: PolicyChange) -> None:
    with event_log.writer() as writer:
        writer.append(topics.policies, change.key, change.encode())
        writer.flush()


@experiment_app.command()
def report(since: SinceOption = None, as_json: JsonOption = False) -> None:
    """Compare the arms of the settings' experiment with its control, by users."""
    from pipeline.errors import NothingToEvaluate
    from pipeline.reports.policies import arms_table

    with log_of_settings() as (event_log, topics, settings):
        name = settings.policy.experiment
        if not settings.policy.arms:
            raise NothingToEvaluate("there is no experiment: name its arms in [policy.arms]")
        found, waiting = _results(settings, event_log, topics, since)
    if as_json:
        _print_json({"format": JSON_FORMAT, "experiment": name, "arms": found, "waiting": waiting})
        return
    console.print(arms_table(name, found), soft_wrap=True)
    console.print(f"{counted(waiting, 'user')} still in the first policy.experiment_hours", soft_wrap=True)


def _results(
    settings: Settings, event_log: EventLog, topics: Topics, since: datetime | None
) -> tuple[list[ArmResult], int]:
    """Results of the settings' experiment, and how many users are in their first hours."""
    from pipeline.evaluation.experiments import Experiment
    from pipeline.policy.arms import make_arms
    from pipeline.state.outcomes import OutcomeJoin

    policy, join, until = settings.policy, OutcomeJoin(settings.rewards), now()
    experiment = Experiment(policy.experiment, policy.experiment_hours)
    for outcome in _outcomes(event_log, topics, settings, join, since, until):
        experiment.add(outcome)
    found = experiment.results(make_arms(policy).shares, _range(settings), until - join.window)
    return found, experiment.users - sum(result.users for result in found)


def _outcomes(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    join: OutcomeJoin,
    since: datetime | None,
    until: int,
) -> Iterator[Outcome]:
    """Join impressions and acts of a log that were appended since a time; acts count once, as learned."""
    from pipeline.state.outcomes import outcomes
    from pipeline.state.stream import StreamState

    start = None if since is None else round(since.replace(tzinfo=since.tzinfo or UTC).timestamp() * 1000)
    shown, acts = (_records(event_log, topic, start) for topic in (topics.impressions, topics.interactions))
    return outcomes(shown, acts, join, until, StreamState(settings.learn.stream).first_seen)


def _records(event_log: EventLog, topic: str, start: int | None) -> Iterator[Record]:
    """Read a topic in the order of append times; its partitions are read side by side, not in order."""
    from pipeline.eventlog.port import read

    offsets = None if start is None else event_log.offsets_at([topic], start)
    return iter(sorted(read(event_log, topic, offsets), key=lambda record: record.append_time))


def _range(settings: Settings) -> Range:
    from pipeline.evaluation.off_policy.confidence import Range

    return Range(settings.rewards.least, settings.rewards.most)


def _print_json(found: object) -> None:
    console.print_json(orjson.dumps(found, default=_jsonable).decode())


def _jsonable(found: object) -> object:
    """Convert what orjson does not know: models to objects, named tuples to lists."""
    from pydantic import BaseModel

    return found.model_dump(mode="json") if isinstance(found, BaseModel) else list(found)  # type: ignore[call-overload]
