"""The console daemon: connects log, watch, catalogue and pages; it has no state that matters."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from threading import Event

from consumers.console.access import Access
from consumers.console.answers import Answers
from consumers.console.app import create_app
from consumers.console.catalogue import CatalogueItems
from consumers.console.commands import Actions
from consumers.console.earlier import EarlierServer
from consumers.console.pages import Pages
from consumers.console.parts import ConsoleParts
from consumers.console.pictures import Pictures
from consumers.console.provider import Provider
from consumers.console.sign_outs import SignOuts
from consumers.console.watch import Watch
from pipeline.config import Settings
from pipeline.eventlog.patience import opened
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.http.listening import serve_beside
from pipeline.signals import Stopped, stop_requested

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Answer until SIGTERM or SIGINT.

    Raises:
        InvalidSettings: host and port cannot be listened at.
    """
    stop = stop_requested()
    with suppress(Stopped), opened(settings.log.url, settings.log.secrets, stop) as event_log:
        serve(settings, event_log, stop)
    log.info("console stopped")


def serve(settings: Settings, event_log: EventLog, stop: Event) -> None:
    """Answer until `stop` is set."""
    parts = make_parts(settings, event_log, stop)
    follow = partial(parts.items.follow, event_log, parts.topics, stop)
    console, sign_outs = settings.console, parts.access.sign_outs
    serve_beside(
        create_app(parts),
        console,
        "console",
        [
            partial(parts.watch.run, stop),
            partial(sign_outs.follow, stop),
            partial(parts.earlier.run, stop),
            follow,
        ],
        stop,
        http=console.http,
        is_ready=lambda: sign_outs.are_known,
    )


def make_parts(settings: Settings, event_log: EventLog, stop: Event) -> ConsoleParts:
    """Make the parts of a console."""
    topics, console = Topics(settings.log.prefix), settings.console
    sign_outs = SignOuts(event_log, topics, console.session_hours * 3_600)
    pictures = Pictures(settings.media)
    return ConsoleParts(
        settings=settings,
        event_log=event_log,
        topics=topics,
        access=Access(console, sign_outs),
        provider=Provider(console.oidc) if console.oidc.issuer else None,
        pages=Pages(),
        watch=Watch(settings, event_log, topics),
        pictures=pictures,
        items=CatalogueItems(pictures),
        answers=Answers.of(settings),
        earlier=EarlierServer(settings),
        actions=Actions(event_log, topics),
        stop=stop,
    )
