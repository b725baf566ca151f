"""The gateway daemon: connects log, writer and HTTP server, and closes them.

It has no state: what it acknowledged is in the log, so it may be killed at any moment.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from threading import Event

from pipeline.config import Settings
from pipeline.eventlog.patience import checked
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.http.listening import serve_beside
from pipeline.signals import Stopped, stop_requested
from producers.gateway.app import create_app
from producers.gateway.group_writer import GroupWriter

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Take in events until SIGTERM or SIGINT.

    Raises:
        TopicError: topics are missing or differ from the settings.
    """
    stop = stop_requested()
    with suppress(Stopped), checked(settings.log, stop) as (event_log, _):
        serve(settings, event_log, stop)
    log.info("gateway stopped")


def serve(settings: Settings, event_log: EventLog, stop: Event) -> None:
    """Answer requests until `stop` is set; then finish those in flight.

    Raises:
        InvalidSettings: host and port cannot be listened at.
        TopicError: a topic is gone.
    """
    gateway, writer = settings.gateway, GroupWriter(event_log)
    app = create_app(writer, Topics(settings.log.prefix), gateway)
    serve_beside(app, gateway, "gateway", [writer.run], stop, on_stop=writer.close, http=gateway.http)
