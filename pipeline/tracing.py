"""Traces: one event's way from the gateway to an answer, as OpenTelemetry spans; only here it is imported.

No record carries a trace. The ids of a trace and of its spans follow from the event's id, which every
daemon knows, however the event came; so does whether it is followed. Each daemon writes the spans of what it
did itself, and a collector puts them together. Where nothing is followed, this costs one comparison.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING

from pipeline.errors import InvalidSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

REMEDY = "tracing.share is more than 0: pip install 'millstream[trace]', or set it to 0"
NS_PER_SECOND = 1e9


class Stage(StrEnum):
    """What happens to an event, in this order; each stage is the parent of the next one."""

    APPEND = "append"
    """From the request until the event is durable, at the gateway."""
    LOG = "log"
    """In the log, from its append until it is read."""
    LEARN = "learn"
    PUBLISH = "publish"
    SWAP = "swap"
    """A server loads the snapshot and takes it for the one before."""
    ANSWER = "answer"
    """The first answer to the event's user by weights that have learned it."""


def trace_id_of(event_id: str) -> int:
    """Return the id of an event's trace, of 128 bits."""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=16).digest())


def span_id_of(event_id: str, stage: Stage) -> int:
    """Return the id of the span of a stage, of 64 bits."""
    return int.from_bytes(blake2b(f"{stage} {event_id}".encode(), digest_size=8).digest())


class EventIds:
    """Hands the ids of the next span to OpenTelemetry."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 0

    def generate_trace_id(self) -> int:
        """Return the trace's id."""
        return self.trace_id

    def generate_span_id(self) -> int:
        """Return the span's id."""
        return self.span_id

    def is_trace_id_random(self) -> bool:
        """Say that ids are spread evenly, being digests."""
        return True


class Tracing:
    """Writes the spans of the events that are followed; for several threads."""

    def __init__(self, share: float, exporter: SpanExporter, daemon: str) -> None:
        """Follow a share of the events, from 0 to 1; `daemon` is named in the spans."""
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

        release = version("millstream")
        about = Resource.create({"service.name": f"millstream-{daemon}", "service.version": release})
        self._most, self._ids, self._lock = int(share * 2**64), EventIds(), Lock()
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=about, id_generator=self._ids)  # type: ignore[arg-type]
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("millstream", release)

    def follows(self, event_id: str) -> bool:
        """Return whether an event is one of the share; all daemons agree."""
        return trace_id_of(event_id) % 2**64 < self._most

    def record(self, event_id: str, stage: Stage, began: float, ended: float, **facts: str | int) -> None:
        """Write a span, with facts about it; times are in seconds since the epoch."""
        with self._lock:
            self._ids.trace_id, self._ids.span_id = trace_id_of(event_id), span_id_of(event_id, stage)
            attributes = {f"millstream.{name}": fact for name, fact in facts.items()}
            span = self._tracer.start_span(
                stage, _parent(event_id, stage), attributes=attributes, start_time=_ns(began)
            )
        span.end(_ns(max(began, ended)))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _parent(event_id: str, stage: Stage) -> Context:
    """Return the stage before as OpenTelemetry has it; nothing before the first."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import (  # noqa: PLC0415
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if stage is Stage.APPEND:
        return Context()
    before = list(Stage)[list(Stage).index(stage) - 1]
    span = SpanContext(
        trace_id_of(event_id), span_id_of(event_id, before), is_remote=True, trace_flags=TraceFlags(1)
    )
    return set_span_in_context(NonRecordingSpan(span), Context())


def _ns(seconds: float) -> int:
    return int(seconds * NS_PER_SECOND)


_current: Tracing | None = None


def use(tracing: Tracing | None) -> None:
    """Let this process write spans from now on; None ends it, and sends what is left."""
    global _current  # noqa: PLW0603 (as the metrics, one for a process)
    before, _current = _current, tracing
    if before is not None:
        before.close()


def begin(share: float, endpoint: str, daemon: str) -> None:
    """Let this process send the spans of a share of the events to an OTLP collector; 0 for none.

    Raises:
        InvalidSettings: OpenTelemetry is not installed.
    """
    if not share:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError:
        raise InvalidSettings(REMEDY) from None
    use(Tracing(share, OTLPSpanExporter(endpoint), daemon))


def follows(event_id: str) -> bool:
    """Return whether spans of an event are written."""
    return _current is not None and _current.follows(event_id)


def exemplar(event_id: str) -> dict[str, str] | None:
    """Name the trace of an event that is followed, as a histogram keeps it for one of a bucket; else None."""
    return {"trace_id": f"{trace_id_of(event_id):032x}"} if follows(event_id) else None


def is_on() -> bool:
    """Return whether any event is followed."""
    return _current is not None


def record(event_id: str, stage: Stage, began: float, ended: float, **facts: str | int) -> None:
    """Write a span of an event that is followed; see `Tracing.record`."""
    if _current is not None:
        _current.record(event_id, stage, began, ended, **facts)
