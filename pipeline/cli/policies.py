"""Commands of policies: what those that are not used would have earned, what arms have, and which is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import orjson
import typer

from pipeline.cli.terminal import JsonOption, console, given, log_of_settings
from pipeline.clock import now_ms
from pipeline.wording import counted

if TYPE_CHECKING:
    from pipeline.config import PolicyConfig, PolicyParameters, Settings
    from pipeline.evaluation.experiments import ArmResult
    from pipeline.evaluation.off_policy.confidence import Range
    from pipeline.eventlog.port import EventLog, Record
    from pipeline.eventlog.topics import Topics
    from pipeline.policy.changes import PolicyChange, PolicyChanges
    from pipeline.retraining.gate.policies import PolicyVerdict
    from pipeline.state.join_state import Leftover
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
    typer.Option(help="Answers since then, such as 2026-11-26T12:00:00, UTC; default: all."),
]
JSON_FORMAT = 1
NEXT = "give the next one another name (policy.experiment)"
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

    with log_of_settings() as (event_log, topics, settings):
        joined = _joined(settings, event_log, topics, since)
    found = run(joined.outcomes, _range(settings), joined.window)
    responses = response_quality(joined.outcomes, joined.window)
    _check_is_known(name, settings.policy, [each.policy for each in found])
    chosen = [each for each in found if name in (None, each.policy)]
    if not chosen:
        raise NothingToEvaluate(_why_nothing(name, [each.policy for each in found], joined, since))
    left = {str(reason): count for reason, count in sorted(joined.leftovers.items())}
    if as_json:
        policies = [{**asdict(each), "verdict": each.verdict} for each in chosen]
        decisions = {"response": asdict(responses)}
        shown = {"policies": policies, "decisions": decisions, "waiting": joined.waiting, "leftovers": left}
        _print_json({"format": JSON_FORMAT, **shown})
        return
    console.print(evaluations_table(chosen), soft_wrap=True)
    if responses.n:
        console.print(classification_table("binary decisions", {"response": responses}), soft_wrap=True)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left.items())
    console.print(f"{_waiting(joined)}; not joined: {reasons or 'nothing'}", soft_wrap=True)


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


def _why_nothing(name: str | None, evaluated: list[str], joined: _Joined, since: datetime | None) -> str:
    if name is not None and evaluated:
        return f"no impression says what {name} would have shown, only {', '.join(evaluated)}"
    if joined.waiting:
        return f"{_waiting(joined)}, and no other answer says what another policy would have shown"
    if not joined.outcomes:
        return f"there is no answer {_when(since)}"
    return (
        "no answer says what another policy would have shown: let policy.name explore, and name policies in "
        "[policy.shadows]"
    )


def _when(since: datetime | None) -> str:
    return "in the log yet" if since is None else f"since {_in_utc(since):%Y-%m-%d %H:%M:%S} UTC"


def _waiting(joined: _Joined) -> str:
    return f"{counted(joined.waiting, 'answer')} waiting for acts, for up to rewards.minutes"


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
                changed_at=now_ms(),
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
            verb="rollback",
            policy=left.policy,
            parameters=left.parameters,
            reason=reason,
            changed_at=now_ms(),
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
    if name in settings.policy.arms:
        return _verdict_on_arm(settings, event_log, topics, name, since)
    return _verdict_on_shadow(settings, event_log, topics, name, used, since)


def _verdict_on_arm(
    settings: Settings, event_log: EventLog, topics: Topics, name: str, since: datetime | None
) -> PolicyVerdict:
    from pipeline.policy.arms import CONTROL
    from pipeline.retraining.gate.policies import decide_on_arm, nothing_to_judge

    changes = _changes(event_log, topics)
    if ended := _why_ended(settings.policy, changes.in_use):
        return nothing_to_judge(f"{ended}, and nothing compares {name} with the policy in use: {NEXT}")
    results = {result.arm: result for result in _results(settings, event_log, topics, changes, since)[0]}
    return decide_on_arm(results[name], results[CONTROL])


def _why_ended(config: PolicyConfig, promotion: PolicyChange | None) -> str:
    """Say that the experiment of the settings has ended, and by what; empty if it has not."""
    from pipeline.policy.arms import has_ended

    if promotion is None or not has_ended(config, promotion):
        return ""
    return f"the experiment {config.experiment} has ended, as {promotion.policy} was promoted meanwhile"


def _verdict_on_shadow(
    settings: Settings,
    event_log: EventLog,
    topics: Topics,
    name: str,
    used: PolicyParameters,
    since: datetime | None,
) -> PolicyVerdict:
    from pipeline.evaluation.off_policy.evaluation import evaluate as run
    from pipeline.policy.policies import make_policy
    from pipeline.retraining.gate.policies import decide_on_shadow, nothing_to_judge

    policy, joined = make_policy(used), _joined(settings, event_log, topics, since)
    drawn = [
        outcome
        for outcome in joined.outcomes
        if (outcome.impression.policy, outcome.impression.policy_version) == (policy.name, policy.version)
    ]
    found = {each.policy: each for each in run(drawn, _range(settings), joined.window)}
    if name not in found:
        return nothing_to_judge(
            f"no answer {_when(since)} of the policy in use ({policy.name} {policy.version}) says what "
            f"{name} would have shown; {_waiting(joined)}"
        )
    return decide_on_shadow(found[name])


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
    from pipeline.retraining.gate.policies import mixed_answers

    with log_of_settings() as (event_log, topics, settings):
        name = settings.policy.experiment
        if not settings.policy.arms:
            raise NothingToEvaluate("there is no experiment: name its arms in [policy.arms]")
        changes = _changes(event_log, topics)
        ended = _why_ended(settings.policy, changes.in_use)
        found, waiting = _results(settings, event_log, topics, changes, since)
    if as_json:
        shown = {"experiment": name, "ended": bool(ended), "arms": found, "waiting": waiting}
        _print_json({"format": JSON_FORMAT, **shown})
        return
    console.print(arms_table(name, found), soft_wrap=True)
    if ended:
        console.print(f"{ended}: {NEXT}", soft_wrap=True)
    if mixed := mixed_answers(found):
        console.print(mixed, soft_wrap=True)
    console.print(f"{counted(waiting, 'user')} still in the first policy.experiment_hours", soft_wrap=True)


@experiment_app.command("arm")
def show_arm(user: Annotated[str, typer.Argument(help="A user's id.")], as_json: JsonOption = False) -> None:
    """Say which arm of the settings' experiment a user is in, and which policy makes the user's lists."""
    from pipeline.policy.arms import make_arms

    with log_of_settings() as (event_log, topics, settings):
        arms = make_arms(settings.policy, _changes(event_log, topics).in_use)
    arm, experiment = arms.of(user), arms.experiment
    policy, version = arm.policy.name, arm.policy.version
    if as_json:
        shown = {"user": user, "experiment": experiment, "arm": arm.name if experiment else None}
        _print_json({"format": JSON_FORMAT, **shown, "policy": policy, "policy_version": version})
        return
    place = f"is in the arm {arm.name} of {experiment}" if experiment else "is in no experiment"
    console.print(f"{user!r} {place}: {policy} {version}", soft_wrap=True, markup=False, highlight=False)


def _results(
    settings: Settings, event_log: EventLog, topics: Topics, changes: PolicyChanges, since: datetime | None
) -> tuple[list[ArmResult], int]:
    """Results of the settings' experiment, and how many users are in their first hours.

    All answers are read: whose first one is earlier than `since` does not begin again.
    """
    from pipeline.evaluation.experiments import Experiment
    from pipeline.policy.arms import make_arms
    from pipeline.state.outcomes import OutcomeJoin

    policy, join, until = settings.policy, OutcomeJoin(settings.rewards), now_ms()
    arms = make_arms(policy, changes.control_of(policy.experiment))
    experiment = Experiment(arms, policy.experiment_hours, _ms(since))
    for outcome in _outcomes(settings, event_log, topics, join, until):
        experiment.add(outcome)
    for shown in join.state().open:
        experiment.add_open(shown.impression, shown.shown_at)
    closed = until - join.window
    return experiment.results(_range(settings), closed), experiment.waiting(closed)


class _Joined(NamedTuple):
    """Answers with what came of them, and what is left.

    Attributes:
        outcomes: of the answers whose window has passed.
        waiting: answers whose window has not.
        leftovers: how many were not joined, by reason.
        window: ms after which acts are no longer put down to an answer.
    """

    outcomes: list[Outcome]
    waiting: int
    leftovers: Counter[Leftover]
    window: int


def _joined(settings: Settings, event_log: EventLog, topics: Topics, since: datetime | None) -> _Joined:
    """Join the answers since a time with their acts; earlier ones take the acts that are theirs."""
    from pipeline.state.outcomes import OutcomeJoin

    join, start = OutcomeJoin(settings.rewards), _ms(since)
    all_found = _outcomes(settings, event_log, topics, join, now_ms(), start)
    found = [each for each in all_found if each.shown_at >= start]
    waiting = sum(each.shown_at >= start for each in join.state().open)
    return _Joined(found, waiting, join.leftovers, join.window)


def _outcomes(
    settings: Settings, event_log: EventLog, topics: Topics, join: OutcomeJoin, until: int, start: int = 0
) -> Iterator[Outcome]:
    """Join acts from a time in ms on with impressions from a window earlier; acts count once, as learned."""
    from pipeline.state.outcomes import outcomes
    from pipeline.state.stream import StreamState

    shown = _records(event_log, topics.impressions, start - join.window)
    acts = _records(event_log, topics.interactions, start)
    return outcomes(shown, acts, join, until, StreamState(settings.learn.stream).first_seen)


def _ms(since: datetime | None) -> int:
    return 0 if since is None else round(_in_utc(since).timestamp() * 1000)


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)


def _records(event_log: EventLog, topic: str, start: int) -> Iterator[Record]:
    """Read a topic from a time in ms on, in the order of append times, not one partition after another."""
    from pipeline.eventlog.port import read

    offsets = event_log.offsets_at([topic], start) if start > 0 else None
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
