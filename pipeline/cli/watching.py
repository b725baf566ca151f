"""Watching commands: status of the daemons, and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import JsonOption, MappingOption, console, log_of_settings
from pipeline.clock import now_ms
from pipeline.errors import LogUnavailable, RefusalReason

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.eventlog.topics import Topics
    from pipeline.reports.dead_letters import Letter

app = typer.Typer()
letters_app = typer.Typer(help="List, show and replay the records that were refused.", no_args_is_help=True)
app.add_typer(letters_app, name="dead-letters")
ReasonFilter = Annotated[
    RefusalReason | None, typer.Option(metavar="REASON", help="Only this reason, such as numeric_id.")
]
TopicFilter = Annotated[
    str | None, typer.Option(help="Only records of this topic, such as interactions or mill.interactions.")
]
NO_LETTER = "there is no dead letter of {}"


@app.command()
def status(
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until stopped.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two pages of --watch.")] = 2.0,
) -> None:
    """Show lag, freshness, snapshot, quality, refusals and memory on one page; exit status 1 if it is red.

    Red: learner or server is away, every record of the last 10 minutes was refused, or ten were.
    """
    from pipeline.reports.status import status_page
    from pipeline.reports.status_figures import gather

    if watch and as_json:
        raise typer.BadParameter("--watch and --json exclude each other")
    if watch:
        _watch(every)
        return
    with log_of_settings() as (event_log, topics, settings):
        found = gather(settings, event_log, topics, now_ms())
    if as_json:
        console.print_json(orjson.dumps(found.to_json()).decode())
    else:
        console.print(status_page(found), soft_wrap=True)
    raise typer.Exit(int(found.state == "red"))


def _watch(seconds: float) -> None:
    from rich.console import RenderableType

    from pipeline.reports.live import follow
    from pipeline.reports.status import status_page
    from pipeline.reports.status_figures import gather
    from pipeline.signals import stop_requested

    def page() -> RenderableType:
        try:
            return status_page(gather(settings, event_log, topics, now_ms()))
        except LogUnavailable as error:
            return f"the event log is away: {error}"

    stop = stop_requested()
    with log_of_settings() as (event_log, topics, settings):
        follow(page, console, stop, seconds)


@letters_app.command("list")
def list_letters(
    reason: ReasonFilter = None,
    topic: TopicFilter = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest to list.")] = 20,
) -> None:
    """Count dead letters by reason, and list the newest first."""
    from pipeline.reports.dead_letters import letters_page, read_letters

    with log_of_settings() as (event_log, topics, settings):
        letters = read_letters(event_log, topics)
    topic = _full_name(topic, letters, topics, settings)
    found = _chosen(letters, reason, topic)
    if (reason or topic) and not found:
        console.print(_nothing_of(letters, reason, topic), soft_wrap=True)
    else:
        console.print(letters_page(found, limit), soft_wrap=True)


def _nothing_of(letters: list[Letter], reason: str | None, topic: str | None) -> str:
    """Say what was looked for, and what there is: reasons of the topic, or topics if it has no letter."""
    from pipeline.reports.dead_letters import counts_by_reason, counts_by_topic

    of_topic = _chosen(letters, None, topic)
    counts = counts_by_reason(of_topic) if of_topic else counts_by_topic(letters)
    others = ", ".join(f"{name} {count:,}" for name, count in counts) or "none"
    wanted = " and ".join([f"the reason {reason}"] * bool(reason) + [f"topic {topic}"] * bool(topic))
    return f"no dead letter has {wanted}; there are: {others}"


@letters_app.command("replay")
def replay_letters(
    place: Annotated[
        str | None, typer.Argument(help="Only the letter of this record; see the list for its place.")
    ] = None,
    reason: ReasonFilter = None,
    topic: TopicFilter = None,
    mapping: MappingOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
) -> None:
    """Send dead letters once more, after the schema, or the mapping of a foreign topic, was mended.

    Each is validated again; what is refused again stays. What is sent twice counts once, by its event id.
    """
    from pipeline.datasets.mapping import load_mapping
    from pipeline.reports.dead_letters import read_letters, redelivery_page
    from producers.bridge.daemon import mappers_of
    from producers.bridge.record_mapper import RecordMapper
    from producers.redelivery import bridged_ids, decider, send

    how = load_mapping(mapping) if mapping else None
    with log_of_settings() as (event_log, topics, settings):
        bridged = RecordMapper(how, "json", topics) if how else None
        mappers = mappers_of(settings.bridge, topics) if settings.bridge.topics and not how else {}
        ids = bridged_ids(event_log, topics, settings.bridge.name)
        decide = decider(topics, lambda name: bridged or mappers.get(name), ids)
        letters = read_letters(event_log, topics)
        chosen = _chosen(letters, reason, _full_name(topic, letters, topics, settings), place)
        if place and not chosen:
            raise typer.BadParameter(NO_LETTER.format(place))
        found = [decide(letter, now_ms()) for letter in chosen]
        if not dry_run:
            send(event_log, topics, found)
    console.print(redelivery_page(found, sent=not dry_run), soft_wrap=True)


def _full_name(topic: str | None, letters: list[Letter], topics: Topics, settings: Settings) -> str | None:
    """Complete the name of a topic by the prefix where it lacks it; refuse one that nobody reads."""
    known = {*topics.served, *settings.bridge.topics, *(one["topic"] for one in letters)}
    for name in (topic, f"{topics.prefix}.{topic}"):
        if name is None or name in known:
            return name
    raise typer.BadParameter(f"{topic} is no topic that is read; there are: {', '.join(sorted(known))}")


def _chosen(
    letters: list[Letter], reason: str | None, topic: str | None, place: str | None = None
) -> list[Letter]:
    wanted = {"code": reason, "topic": topic, "place": place}
    return [one for one in letters if all(value in (None, one[field]) for field, value in wanted.items())]


@letters_app.command("show")
def show_letter(
    place: Annotated[
        str | None,
        typer.Argument(help="Topic, partition and offset as the list has them; the newest without it."),
    ] = None,
) -> None:
    """Print one dead letter as JSON, with its place and its decoded value, which may be about a person."""
    from pipeline.reports.dead_letters import letter_whole, read_letters

    with log_of_settings() as (event_log, topics, _):
        found = [one for one in read_letters(event_log, topics) if place in (None, one["place"])]
    if not found:
        raise typer.BadParameter(NO_LETTER.format(place or "any record"))
    console.print_json(orjson.dumps(letter_whole(found[-1])).decode())
