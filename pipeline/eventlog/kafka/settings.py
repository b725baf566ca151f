"""Connection options and topic configurations, as far as they do not need the Kafka client."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pipeline.errors import InvalidSettings
from pipeline.eventlog.kafka.tls import context_of, is_secured
from pipeline.eventlog.port import TopicSpec

_SEGMENT_MS = 6 * 3600 * 1000
"""Kafka does not compact a topic's newest segment, so segments must be shorter than the default week."""


_CONFIGS_OF_FIELD: Mapping[str, Collection[str]] = {
    "compacted": ("cleanup.policy", "retention.ms", "min.compaction.lag.ms", "segment.ms"),
    "retention_ms": ("cleanup.policy", "retention.ms"),
    "compaction_lag_ms": ("min.compaction.lag.ms",),
    "log_append_time": ("message.timestamp.type",),
    "retention_bytes": ("retention.bytes",),
    "compression": ("compression.type",),
    "max_batch_bytes": ("max.message.bytes",),
}


_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "GSSAPI")
_BY_PASSWORD = frozenset(_MECHANISMS[:3])
_LOGIN = ("sasl_plain_username", "sasl_plain_password")


def _one_of(*names: str) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return chosen


def _flag(text: str) -> bool:
    if text.lower() in {"true", "1", "yes"}:
        return True
    if text.lower() in {"false", "0", "no"}:
        return False
    raise ValueError("must be true or false")


_OPTIONS: Mapping[str, Callable[[str], object]] = {
    "security_protocol": _one_of(*_PROTOCOLS),
    "ssl_check_hostname": _flag,
    "ssl_cafile": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_crlfile": str,
    "ssl_ciphers": str,
    "sasl_mechanism": _one_of(*_MECHANISMS),
    "sasl_plain_username": str,
    "sasl_plain_password": str,
    "sasl_kerberos_service_name": str,
    "sasl_kerberos_domain_name": str,
}


def client_options(options: Mapping[str, str]) -> dict[str, object]:
    """Convert TLS and SASL options, under kafka-python's names, to the types that the client expects.

    With TLS they contain the `ssl_context`, which has read the files.

    Raises:
        InvalidSettings: an option is unknown, its value invalid or its file unreadable, or one that it needs
            is missing; the message contains no value but a path.
    """
    coerced: dict[str, object] = {}
    for name, text in options.items():
        if name not in _OPTIONS:
            raise InvalidSettings(f"event log: unknown option {name!r}; known are {', '.join(_OPTIONS)}")
        try:
            coerced[name] = _OPTIONS[name](text)
        except ValueError as error:
            raise InvalidSettings(f"event log: option {name}: {error}") from None
    _check_login(coerced)
    if is_secured(coerced):
        coerced["ssl_context"] = context_of(coerced)
    return coerced


def _check_login(options: Mapping[str, object]) -> None:
    """Refuse options that contradict each other, which the client would take for no login."""
    has_login = str(options.get("security_protocol", "PLAINTEXT")).startswith("SASL_")
    named = [name for name in options if name.startswith("sasl_")]
    if named and not has_login:
        raise InvalidSettings(
            f"event log: {named[0]} is for a login: set security_protocol to SASL_SSL, or to SASL_PLAINTEXT "
            "where nobody listens; or remove it"
        )
    mechanism = options.get("sasl_mechanism")
    if has_login and mechanism is None:
        raise InvalidSettings("event log: a login needs sasl_mechanism, such as SCRAM-SHA-512")
    needed = _LOGIN if has_login and mechanism in _BY_PASSWORD else ()
    if missing := [name for name in needed if not options.get(name)]:
        raise InvalidSettings(
            f"event log: {mechanism} needs {' and '.join(missing)}: set MILLSTREAM_LOG__OPTIONS__"
            f"{missing[0].upper()}, or a file of this name in the folder that MILLSTREAM_SECRETS names"
        )


def topic_configs(spec: TopicSpec) -> dict[str, str]:
    """Return the required configuration of a topic; the partition count is not part of it.

    Every value is written out, because a cluster's defaults may differ from Kafka's.
    """
    configs = {
        "cleanup.policy": "delete",
        "retention.ms": _limit(spec.retention_ms),
        "retention.bytes": _limit(spec.retention_bytes),
        "message.timestamp.type": "LogAppendTime" if spec.log_append_time else "CreateTime",
        "compression.type": spec.compression,
        "max.message.bytes": str(spec.max_batch_bytes),
    }
    if spec.compacted:
        configs["cleanup.policy"] = "compact" if spec.retention_ms is None else "compact,delete"
        configs["min.compaction.lag.ms"] = str(spec.compaction_lag_ms)
        configs["segment.ms"] = str(_SEGMENT_MS)
    return configs


def configs_of(spec: TopicSpec, fields: Collection[str]) -> dict[str, str]:
    """Return the part of a topic's configuration that holds some fields of its spec."""
    names = {name for field in fields for name in _CONFIGS_OF_FIELD[field]}
    return {name: value for name, value in topic_configs(spec).items() if name in names}


def configs_command(servers: str, options: Collection[str], topic: str, configs: Mapping[str, str]) -> str:
    """Write the call of Kafka's own tool that sets some configurations of a topic."""
    # The tool takes commas for the next configuration, unless the value is in brackets.
    values = (f"{name}=[{value}]" if "," in value else f"{name}={value}" for name, value in configs.items())
    login = " --command-config client.properties" if options else ""
    return (
        f"kafka-configs.sh --bootstrap-server {servers}{login} --alter --entity-type topics"
        f" --entity-name {topic} --add-config {','.join(values)}"
    )


def topic_spec(name: str, partitions: int, configs: Mapping[str, Mapping[str, str]]) -> TopicSpec:
    """Read a TopicSpec from the configuration that a cluster returns: entries with a ``value``."""
    policy = set(configs["cleanup.policy"]["value"].split(","))
    deletes, compacted = "delete" in policy, "compact" in policy
    retention_ms = int(configs["retention.ms"]["value"])
    retention_bytes = int(configs["retention.bytes"]["value"])
    return TopicSpec(
        name,
        partitions,
        compacted,
        retention_ms if deletes and retention_ms >= 0 else None,
        int(configs["min.compaction.lag.ms"]["value"]) if compacted else 0,
        configs["message.timestamp.type"]["value"] == "LogAppendTime",
        retention_bytes if deletes and retention_bytes >= 0 else None,
        configs["compression.type"]["value"],
        int(configs["max.message.bytes"]["value"]),
    )


def _limit(limit: int | None) -> str:
    return str(-1 if limit is None else limit)
