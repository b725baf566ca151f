"""The media daemon: connects log, store, fetching and encoding, and closes them.

It may be killed at any moment. No request and no learner waits for it: an item is served without a vector
until it has one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from threading import Event

from consumers.media.maker import VectorMaker
from consumers.media.service import MediaService
from consumers.media.store import MediaStore
from pipeline import metrics
from pipeline.config import MediaConfig, Settings
from pipeline.errors import InvalidSettings
from pipeline.eventlog.patience import checked
from pipeline.eventlog.port import EventLog
from pipeline.media.encoder_process import EncoderProcess
from pipeline.media.encoders import spec_of
from pipeline.media.fetching import Fetcher
from pipeline.signals import Stopped, stop_requested
from pipeline.wording import counted

log = logging.getLogger(__name__)


def run(settings: Settings, *, retry: bool = False) -> None:
    """Make vectors until SIGTERM or SIGINT; `retry` also those of media that were refused.

    Raises:
        InvalidSettings: no medium or no host is named, or what an encoder needs is not installed.
        TopicError: topics are missing or differ from the settings.
        Occupied: another media daemon works in the same folder.
    """
    check(settings.media)
    stop, config = stop_requested(), settings.media
    metrics.serve_metrics(settings.metrics.host, settings.metrics.media, settings.serve.reading_keys)
    with (
        suppress(Stopped),
        MediaStore(config.folder) as store,
        checked(settings.log, stop) as (event_log, topics),
        served(config, store, event_log, topics.items, stop) as service,
    ):
        media = ", ".join(f"{medium} by {name}" for medium, name in config.encoders.items())
        log.info("media daemon started: %s, from %s", media, counted(len(config.hosts), "host"))
        if retry:
            log.info("media that were refused and are tried again: %s", store.retry(time.time()))
        service.run()
    log.info("media daemon stopped")


def check(config: MediaConfig) -> None:
    """Check that there is something to encode, somewhere to fetch it from, and everything to do it with.

    Raises:
        InvalidSettings: there is not.
    """
    if not config.encoders:
        raise InvalidSettings(
            'no medium has an encoder: name one, such as `image = "efficientnet-lite0"` in [media.encoders]'
        )
    if not config.hosts:
        raise InvalidSettings("nothing may be fetched: name the hosts of the media as `hosts` in [media]")
    for name in config.encoders.values():
        spec_of(name).check()


@contextmanager
def served(
    config: MediaConfig, store: MediaStore, event_log: EventLog, topic: str, stop: Event
) -> Iterator[MediaService]:
    """Make the service, and end its threads and its process at the end."""
    with ExitStack() as ending:
        encoders = ending.enter_context(closing(EncoderProcess(config)))
        threads = ending.enter_context(ThreadPoolExecutor(config.fetches, thread_name_prefix="media"))
        maker = VectorMaker(config, store, Fetcher(config), encoders, threads)
        yield MediaService(event_log, topic, config, store, maker, stop)
