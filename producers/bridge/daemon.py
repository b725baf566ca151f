"""The bridge daemon: connects source, log and HTTP server, and closes them.

Its only state is its position, which is in the log, so it may be killed at any moment.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from threading import Event

from pipeline.config import BridgeConfig, Settings
from pipeline.datasets.mapping import load_mapping
from pipeline.errors import InvalidSettings
from pipeline.eventlog.patience import checked, opened
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.topics import Topics
from pipeline.http.listening import serve_beside
from pipeline.signals import Stopped, stop_requested
from producers.bridge.app import create_app
from producers.bridge.bridge import Bridge
from producers.bridge.record_mapper import RecordMapper
from producers.bridge.schema_registry import open_registry
from producers.bridge.values import framed_values, json_object

REMEDY = (
    "mend the mapping (`millstream bridge --dry-run`) or the producer, then start `millstream bridge"
    " --accept-refused`, which goes on however many are refused, or set `refusals.most_share`"
)

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Bridge until SIGTERM or SIGINT; wait while the source or the log is away.

    Raises:
        InvalidSettings: no topic is named, or host and port cannot be listened at.
        DatasetError: a mapping cannot be read.
        TopicError: a topic is missing, or differs from the settings.
        RecordsLost: the source has lost records that were not read, and that is not accepted.
    """
    stop, topics = stop_requested(), Topics(settings.log.prefix)
    mappers = mappers_of(settings.bridge, topics)
    with (
        suppress(Stopped),
        opened(*source_place(settings), stop) as source,
        checked(settings.log, stop) as (event_log, _),
    ):
        limit = RefusalLimit("bridge", settings.refusals, REMEDY)
        bridge = Bridge(source, event_log, topics, settings.bridge, mappers, limit, stop)
        serve(bridge, settings.bridge, stop)
    log.info("bridge stopped")


def serve(bridge: Bridge, config: BridgeConfig, stop: Event) -> None:
    """Run a bridge, and answer for it, until `stop` is set or the bridge ends.

    Raises:
        InvalidSettings, TopicError, RecordsLost: see `run`.
        Stopped: the log was away when `stop` was set.
    """
    serve_beside(create_app(lambda: bridge.is_ready, config), config, "bridge", [bridge.run], stop)


def mappers_of(config: BridgeConfig, topics: Topics) -> dict[str, RecordMapper]:
    """Make the mapper of each topic of the settings.

    Raises:
        InvalidSettings: there is none.
        DatasetError: a mapping cannot be read.
    """
    if not config.topics:
        raise InvalidSettings("the bridge has no topic: name one, with its mapping, as `topics` in [bridge]")
    login = config.registry_login.get_secret_value()
    read = framed_values(open_registry(config.registry, login)) if config.registry else json_object
    return {
        topic: RecordMapper(load_mapping(Path(one.mapping)), one.format, topics, read)
        for topic, one in config.topics.items()
    }


def source_place(settings: Settings) -> tuple[str, dict[str, str]]:
    """Return URL and options of the log that has the foreign topics."""
    bridge, log_config = settings.bridge, settings.log
    if not bridge.url:
        return log_config.url, log_config.secrets
    return bridge.url, {name: value.get_secret_value() for name, value in bridge.options.items()}
