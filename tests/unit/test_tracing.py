"""Spans of events: ids that follow from the event's, one chain of stages, the same share everywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline import tracing
from pipeline.errors import InvalidSettings
from pipeline.tracing import Stage, Tracing, span_id_of, trace_id_of


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Lets this process trace every event."""
    exporter = InMemorySpanExporter()
    tracing.use(Tracing(1.0, exporter, "learn"))
    yield exporter
    tracing.use(None)


def test_a_stage_is_the_child_of_the_one_before(exporter: InMemorySpanExporter) -> None:
    for number, stage in enumerate(Stage):
        tracing.record("e-1", stage, 100.0 + number, 100.5 + number, snapshot="3-1")
    tracing.use(None)
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == list(Stage)
    parents = [span.parent.span_id if span.parent else None for span in spans]
    assert parents == [None, *(span_id_of("e-1", stage) for stage in list(Stage)[:-1])]
    for span, stage in zip(spans, Stage, strict=True):
        context = span.get_span_context()
        assert context is not None
        assert (context.trace_id, context.span_id) == (trace_id_of("e-1"), span_id_of("e-1", stage))
        assert span.end_time is not None and span.start_time is not None
        assert span.end_time - span.start_time == 500_000_000
        assert span.attributes == {"millstream.snapshot": "3-1"}
        assert span.resource.attributes["service.name"] == "millstream-learn"


def test_an_exemplar_names_the_trace_of_an_event_that_is_followed(exporter: InMemorySpanExporter) -> None:
    assert tracing.exemplar("e-1") == {"trace_id": format(trace_id_of("e-1"), "032x")}
    tracing.use(None)
    assert tracing.exemplar("e-1") is None


def test_a_span_does_not_end_before_it_begins(exporter: InMemorySpanExporter) -> None:
    tracing.record("e", Stage.LOG, 100.0, 99.0)  # clocks of two machines
    tracing.use(None)
    (span,) = exporter.get_finished_spans()
    assert span.start_time == span.end_time


def test_daemons_follow_the_same_share() -> None:
    one, other = (Tracing(0.25, InMemorySpanExporter(), daemon) for daemon in ("learn", "serve"))
    events = [f"event-{n}" for n in range(2_000)]
    followed = [event for event in events if one.follows(event)]
    assert followed == [event for event in events if other.follows(event)]
    assert 400 < len(followed) < 600
    for tracer in (one, other):
        tracer.close()


def test_nothing_is_followed_by_default() -> None:
    tracing.begin(0.0, "http://127.0.0.1:1/v1/traces", "learn")
    assert not tracing.is_on() and not tracing.follows("e")
    tracing.record("e", Stage.LEARN, 1.0, 2.0)


def test_without_opentelemetry_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidSettings, match=r"pip install 'millstream\[trace\]'"):
        tracing.begin(0.1, "http://127.0.0.1:1/v1/traces", "learn")
