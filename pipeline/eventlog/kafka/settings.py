"""Connection options and topic configurations, as far as they do not need the Kafka client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.errors import InvalidSettings
from pipeline.eventlog.port import TopicSpec

_SEGMENT_MS = 6 * 3600 * 1000
"""Kafka does not compact a topic's newest segment, so segments must be shorter than the default week."""


def _flag(text: str) -> bool:
    if text.lower() in {"true", "1", "yes"}:
        return True
    if text.lower() in {"false", "0", "no"}:
        return False
    raise ValueError("must be true or false")


_OPTIONS: Mapping[str, Callable[[str], object]] = {
    "security_protocol": str,
    "ssl_check_hostname": _flag,
    "ssl_cafile": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_crlfile": str,
    "ssl_ciphers": str,
    "sasl_mechanism": str,
    "sasl_plain_username": str,
    "sasl_plain_password": str,
    "sasl_kerberos_service_name": str,
    "sasl_kerberos_domain_name": str,
}


def client_options(options: Mapping[str, str]) -> dict[str, object]:
    """Convert TLS and SASL options, under kafka-python's names, to the types that the client expects.

    Raises:
        InvalidSettings: an option is unknown or its value invalid; the message contains no value.
    """
    coerced: dict[str, object] = {}
    for name, text in options.items():
        if name not in _OPTIONS:
            raise InvalidSettings(f"event log: unknown option {name!r}; known are {', '.join(_OPTIONS)}")
        try:
            coerced[name] = _OPTIONS[name](text)
        except ValueError as error:
            raise InvalidSettings(f"event log: option {name}: {error}") from None
    return coerced


def topic_configs(spec: TopicSpec) -> dict[str, str]:
    """Return the required configuration of a topic; the partition count is not part of it."""
    configs = {
        "cleanup.policy": "delete",
        "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
        "message.timestamp.type": "LogAppendTime",
    }
    if spec.compacted:
        configs["cleanup.policy"] = "compact" if spec.retention_ms is None else "compact,delete"
        configs["min.compaction.lag.ms"] = str(spec.compaction_lag_ms)
        configs["segment.ms"] = str(_SEGMENT_MS)
    return configs


def topic_spec(name: str, partitions: int, configs: Mapping[str, Mapping[str, str]]) -> TopicSpec:
    """Read a TopicSpec from the configuration that a cluster returns: entries with a ``value``."""
    policy = set(configs["cleanup.policy"]["value"].split(","))
    retention_ms = int(configs["retention.ms"]["value"])
    kept = "delete" not in policy or retention_ms < 0
    compacted = "compact" in policy
    lag_ms = int(configs["min.compaction.lag.ms"]["value"]) if compacted else 0
    return TopicSpec(name, partitions, compacted, None if kept else retention_ms, lag_ms)
