"""Commands of policies: what those that are not used would have earned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import JsonOption, console, log_of_settings, now

if TYPE_CHECKING:
    from pipeline.eventlog.port import EventLog, Record

app = typer.Typer()
policy_app = typer.Typer(help="Evaluate policies by what came of the answers.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")


@policy_app.command()
def evaluate(
    name: Annotated[str | None, typer.Argument(help="A policy of [policy.shadows], or greedy; all.")] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Answers appended since then, UTC; all that the log has.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate what policies that were not used would have earned, by the answers of the one that was."""
    from pipeline.errors import NothingToEvaluate
    from pipeline.evaluation.off_policy.confidence import Range
    from pipeline.evaluation.off_policy.evaluation import evaluate as run
    from pipeline.reports.policies import evaluations_table
    from pipeline.state.outcomes import OutcomeJoin, outcomes

    with log_of_settings() as (event_log, topics, settings):
        join, start = OutcomeJoin(settings.rewards), _milliseconds(since)
        shown, acts = (
            _records(event_log, topic, start) for topic in (topics.impressions, topics.interactions)
        )
        joined = outcomes(shown, acts, join, now())
        found = run(joined, Range(settings.rewards.least, settings.rewards.most))
    found = [each for each in found if name in (None, each.policy)]
    if not found:
        raise NothingToEvaluate(
            f"no impression whose acts are in says what {name or 'another policy'} would have shown: let "
            "policy.name explore, and name policies in [policy.shadows]"
        )
    left = {str(reason): count for reason, count in sorted(join.leftovers.items())}
    if as_json:
        policies = [{**asdict(each), "verdict": each.verdict} for each in found]
        report = {"policies": policies, "open": join.open, "leftovers": left}
        console.print_json(orjson.dumps(report, default=list).decode())
        return
    console.print(evaluations_table(found), soft_wrap=True)
    console.print(
        f"{join.open:,} answers still wait for acts; not joined: {left or 'nothing'}", soft_wrap=True
    )


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)


def _records(event_log: EventLog, topic: str, start: int | None) -> Iterator[Record]:
    """Read a topic in the order of append times; its partitions are read side by side, not in order."""
    from pipeline.eventlog.port import read

    offsets = None if start is None else event_log.offsets_at([topic], start)
    return iter(sorted(read(event_log, topic, offsets), key=lambda record: record.append_time))
