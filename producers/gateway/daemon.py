"""The gateway daemon: connects log, writer and HTTP server, and closes them.

It has no state: what it acknowledged is in the log, so it may be killed at any moment.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import uvicorn

from pipeline.config import Settings
from pipeline.eventlog.patience import checked
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.http.listening import http_server, listening
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
    server = http_server(app, gateway.host, gateway.port)
    with (
        listening(gateway.host, gateway.port, "gateway") as sockets,
        ThreadPoolExecutor(2, thread_name_prefix="gateway") as threads,
    ):
        writing = threads.submit(writer.run)
        for ending in (writing, threads.submit(stop.wait)):
            ending.add_done_callback(lambda _: _end(server))
        try:
            if not stop.is_set():
                server.run(sockets)
        finally:
            stop.set()
            writer.close()
        writing.result()


def _end(server: uvicorn.Server) -> None:
    server.should_exit = True
