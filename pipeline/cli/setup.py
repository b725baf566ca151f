"""Setup commands: settings, topics of the event log, and the doctor."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from typing import Annotated

import orjson
import typer

from pipeline.cli.terminal import JsonOption, console, log_of_settings
from pipeline.config import load_settings, to_toml
from pipeline.config.log import PREFIX
from pipeline.wording import counted

app = typer.Typer()
topics_app = typer.Typer(help="Create and check the topics of the event log.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")


@app.command()
def config() -> None:
    """Print the settings in force, from defaults, file and environment."""
    sys.stdout.write(to_toml(load_settings()))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check versions, folders, ports, language model, log, topics and memory; exit status 1 with a fault.

    Changes nothing, and names the remedy of each fault.
    """
    from pipeline.doctor.examination import examine
    from pipeline.reports.doctor import doctor_page

    findings = list(examine())
    if as_json:
        console.print_json(orjson.dumps({"findings": [asdict(one) for one in findings]}).decode())
    else:
        console.print(doctor_page(findings), soft_wrap=True, highlight=False)
    raise typer.Exit(int(any(one.state == "fault" for one in findings)))


@topics_app.command("create")
def create_topics() -> None:
    """Create the missing topics."""
    with log_of_settings(create=True) as (event_log, topics, settings):
        created = topics.create(event_log, *settings.log.topic_sizes)
    console.print("\n".join(created) if created else "all topics exist")


@topics_app.command("check")
def check_topics() -> None:
    """Compare the topics with the settings, name what mends each fault; exit status 1 if they differ."""
    with log_of_settings() as (event_log, topics, settings):
        topics.check(event_log, *settings.log.topic_sizes)
    console.print("all topics match the settings")


@topics_app.command("alter")
def alter_topics() -> None:
    """Set the topics' settings as they should be, except the number of partitions."""
    with log_of_settings() as (event_log, topics, settings):
        altered = topics.alter(event_log, *settings.log.topic_sizes)
    console.print("\n".join(altered) if altered else "all topics match the settings")


@topics_app.command("migrate")
def migrate_topics(
    to: Annotated[str, typer.Option(help="The prefix of the new topics.")],
    partitions: Annotated[int, typer.Option(min=1, max=256, help="The number of their partitions.")],
) -> None:
    """Copy all events to new topics with another number of partitions; continues where it ended."""
    from pipeline.eventlog.migrate import migrate
    from pipeline.eventlog.topics import Topics

    if not re.fullmatch(PREFIX, to):
        raise typer.BadParameter(
            f"--to {to!r} is no prefix: letters, digits, '_', '-', and '.' but not at its start"
        )
    with log_of_settings() as (event_log, topics, settings):
        _, retention_ms, compaction_lag_ms = settings.log.topic_sizes
        copied = migrate(event_log, topics, Topics(to), partitions, retention_ms, compaction_lag_ms)
    for topic, result in copied.items():
        left = f", {result.left_behind} unreadable ones left behind" if result.left_behind else ""
        console.print(f"{topic}: {counted(result.records, 'record')} copied and verified{left}")
    console.print(
        f"Stop the producers and run this again for the rest. Then set `prefix = {to!r}` and"
        f" `partitions = {partitions}` in \\[log] and start everything; a new model learns the copied events."
    )
