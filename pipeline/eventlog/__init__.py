"""The event log: a port and its engines. `open_log` is the only entry point to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from stat import S_ISDIR

from pipeline.errors import InvalidSettings, TopicError
from pipeline.eventlog.port import EventLog

__all__ = ["open_log"]


def open_log(url: str, options: Mapping[str, str] | None = None, *, create: bool = True) -> EventLog:
    """Open the event log at a URL; imports only the engine that the URL names.

    ``sqlite:///run/log.db`` is a file relative to the working directory, ``sqlite:////var/log.db`` an
    absolute one, ``kafka://host:port,host:port`` a Kafka cluster.
    `options` are TLS and SASL settings under kafka-python's names; their values are never logged.
    `create` lets a missing file be made: to look, learn or serve must not begin a log where the real one is
    away.

    Raises:
        InvalidSettings: scheme or option are unknown, the URL is malformed, or the file is no event log.
        TopicError: the file was never made, or all of it is away, and it is not to be made.
        LogUnavailable: the file cannot be opened. A Kafka cluster is contacted on first use.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        return _open_sqlite(rest, options or {}, create)
    if separator and scheme == "kafka":
        return _open_kafka(rest, options or {})
    raise InvalidSettings(
        f"event log: scheme {scheme!r} is unknown; use sqlite:///path/to/log.db or kafka://host:port"
    )


def _open_sqlite(rest: str, options: Mapping[str, str], create: bool) -> EventLog:
    from pipeline.eventlog.sqlite import SqliteLog  # noqa: PLC0415

    path = rest.removeprefix("/")
    if path == rest or not path:
        raise InvalidSettings("event log: write sqlite:///relative/log.db or sqlite:////absolute/log.db")
    if _is_folder(Path(path)):
        raise InvalidSettings(f"event log: {path} is a folder; name a file in it, as in sqlite:///run/log.db")
    if options:
        raise InvalidSettings(f"event log: sqlite takes no options, remove {', '.join(sorted(options))}")
    if not create and not _was_made(Path(path)):
        raise TopicError(f"{path}: there is no such file; put it back, or run `millstream topics create`")
    return SqliteLog(Path(path), create=create)


def _is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; a disk that does not answer may have a file there."""
    try:
        return S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _was_made(path: Path) -> bool:
    """Whether there is such a file, or only its newest records; a disk that does not answer may have it."""
    for part in (path, path.with_name(f"{path.name}-wal")):
        try:
            part.stat()
        except FileNotFoundError:
            continue
        except OSError:
            return True
        return True
    return False


def _open_kafka(rest: str, options: Mapping[str, str]) -> EventLog:
    from pipeline.eventlog.kafka import KafkaLog  # noqa: PLC0415

    servers = [server.strip() for server in rest.rstrip("/").split(",")]
    if not all(_is_server(server) for server in servers):
        raise InvalidSettings("event log: write kafka://host:port, and separate several brokers by commas")
    return KafkaLog(servers, options)


def _is_server(server: str) -> bool:
    host, _, port = server.rpartition(":")
    return bool(host) and port.isdecimal() and "/" not in host and "@" not in host
