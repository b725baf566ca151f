"""Run all checks: those of the machine alone, those of the settings, and those of the event log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pipeline.clock import now_ms
from pipeline.config import Settings, load_settings
from pipeline.doctor import (
    backbone,
    capacity,
    certificates,
    checkpoint,
    event_log,
    folders,
    machine,
    mappings,
    media,
    origin,
    ports,
    snapshots,
    versions,
)
from pipeline.doctor.finding import Finding, fault, ok
from pipeline.errors import InvalidSettings, LogUnavailable, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics

PING_SECONDS = 5.0


def examine() -> Iterator[Finding]:
    """Check this machine, the settings in force and what they name; some seconds where something hangs."""
    yield from versions.check()
    try:
        settings = load_settings()
    except InvalidSettings as error:
        yield fault("settings", str(error), "mend it; docs/settings.md has every key")
        return
    yield ok("settings", "every key is known and within its bounds")
    yield from versions.check_extras(settings)
    yield from machine.check(settings)
    yield from folders.check(settings)
    yield from checkpoint.check(settings)
    yield from ports.check(settings)
    yield from certificates.check(settings)
    yield from backbone.check(settings)
    yield from mappings.check(settings)
    yield from media.check(settings)
    yield from snapshots.check_store(settings)
    yield from _check_log(settings)


def _check_log(settings: Settings) -> Iterator[Finding]:
    url = settings.log.url
    try:
        with closing(open_log(url, settings.log.secrets, create=False)) as opened:
            opened.ping(PING_SECONDS)
            yield ok("log", f"{opened.version()} answers at {url}")
            yield from _check_records(settings, opened)
    except TopicError as error:
        yield fault("log", str(error).partition(";")[0], "`millstream topics create`, or put the file back")
    except InvalidSettings as error:
        text, _, remedy = str(error).partition("; ")
        yield fault("log", text, remedy or "set `log.url` and `log.options`")
    except LogUnavailable as error:
        yield fault("log", f"{url} does not answer: {error}", _remedy(url))


def _check_records(settings: Settings, opened: EventLog) -> Iterator[Finding]:
    topics, now = Topics(settings.log.prefix), now_ms()
    found = list(event_log.check_topics(opened, topics, settings.log))
    yield from found
    if any(finding.state == "fault" for finding in found):
        return  # what follows reads these topics
    yield from origin.check(opened, topics, settings)
    yield from event_log.check_retention(opened, topics)
    yield from event_log.check_backlog(opened, topics, settings.log, now)
    yield from event_log.check_clock(opened, topics, now)
    yield from capacity.check(opened, topics, settings)
    yield from snapshots.check_announced(opened, topics, settings)


def _remedy(url: str) -> str:
    if url.startswith("kafka://"):
        return "start the broker, or set `log.url`; for TLS and SASL set `log.options`"
    return "mount its disk, and let this user read and write the file; or set `log.url`"
