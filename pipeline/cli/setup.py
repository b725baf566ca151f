"""Setup commands: settings, and topics of the event log."""

from __future__ import annotations

import sys

import typer

from pipeline.cli.terminal import console, log_of_settings
from pipeline.config import load_settings, to_toml

app = typer.Typer()
topics_app = typer.Typer(help="Create and check the topics of the event log.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")


@app.command()
def config() -> None:
    """Print the settings in force, from defaults, file and environment."""
    sys.stdout.write(to_toml(load_settings()))


@topics_app.command("create")
def create_topics() -> None:
    """Create the missing topics."""
    with log_of_settings() as (event_log, topics, settings):
        created = topics.create(event_log, *settings.log.topic_sizes)
    console.print("\n".join(created) if created else "all topics exist")


@topics_app.command("check")
def check_topics() -> None:
    """Compare the topics with the settings; exit status 1 if they differ."""
    with log_of_settings() as (event_log, topics, settings):
        topics.check(event_log, *settings.log.topic_sizes)
    console.print("all topics match the settings")
