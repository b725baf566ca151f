"""Settings of the bridge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from pipeline.config.access import Guarded
from pipeline.config.base import Config, Port, Text
from pipeline.config.log import KAFKA_LOGIN
from pipeline.config.urls import no_login


class BridgedTopic(Config):
    """How the records of one topic become events."""

    mapping: Text
    """File of the mapping, as `millstream inspect` writes it."""
    format: Literal["json", "debezium"] = "json"
    """json: each value is an object; debezium: the envelope of a change of a table's row."""


class BridgeConfig(Guarded):
    """[bridge] Which topics, made by others, become events."""

    url: Annotated[str, Field(max_length=4_096), KAFKA_LOGIN] = ""
    """Kafka cluster of these topics, as `kafka://host:port,…`; without it, the event log's own."""
    options: dict[str, SecretStr] = Field(default_factory=dict)
    """Passed to the Kafka client, if there is a `url`: security_protocol, sasl_mechanism, ssl_cafile, …"""
    topics: Annotated[dict[str, BridgedTopic], Field(max_length=64)] = Field(default_factory=dict)
    """By topic, its `mapping` and `format`."""
    registry: Annotated[str, Field(max_length=4_096), no_login("set bridge.registry_login")] = ""
    """Schema Registry of values in Avro, Protobuf or JSON that its serializers framed: a URL, or a folder of
    `<id>.avsc`, `<id>.desc` (a descriptor set) and `<id>.json`. Needs `millstream[schema-registry]`."""
    registry_login: Annotated[SecretStr, Field(max_length=1_024)] = SecretStr("")
    """`user:password` for the registry, if it asks for them."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "bridge"
    """Under which the position is kept. Bridges of the same topics need names of their own, and so does a
    bridge that is to read everything again."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a topic is read from that has no position yet."""
    accept_gap: bool = False
    """Whether the bridge goes on without records that the source lost before they were read; it counts them.
    Without it, the bridge stops and says what is lost; `bridge --accept-gap` accepts it once."""
    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    """Records that are read before their events are made durable, at most; bounds the memory."""
    host: Text = "127.0.0.1"
    """Address to listen on, for /readyz, /healthz and /metrics."""
    port: Port = 8002
    """Port to listen on."""
