"""A collector of OpenTelemetry traces: takes OTLP over HTTP, and keeps the spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class CollectedSpan(NamedTuple):
    """A span as a daemon sent it; ids in hex digits, times in ns."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    began: int
    ended: int
    facts: dict[str, str]


class Collector(NamedTuple):
    """What was collected, and where."""

    endpoint: str
    spans: list[CollectedSpan]
    bodies: list[bytes]

    def of(self, trace_id: int) -> dict[str, CollectedSpan]:
        """Return the spans of a trace by name."""
        return {span.name: span for span in self.spans if int(span.trace, 16) == trace_id}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect at a free port of this machine."""
    spans, bodies = list[CollectedSpan](), list[bytes]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 (the name that the base class calls)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Collector(f"http://127.0.0.1:{server.server_port}/v1/traces", spans, bodies)
    finally:
        server.shutdown()
        server.server_close()


def _spans(request: Any) -> Iterator[CollectedSpan]:
    for of_resource in request.resource_spans:
        about = {one.key: one.value.string_value for one in of_resource.resource.attributes}
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield CollectedSpan(
                    about["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {one.key: one.value.string_value for one in span.attributes},
                )
