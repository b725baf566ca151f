"""The HTTP server of daemons that answer nothing but Prometheus: a thread for each client, for a while."""

from __future__ import annotations

import logging
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

log = logging.getLogger(__name__)

CLIENT_SECONDS = 10.0
"""For which a client may send or read nothing; else it would keep its thread and its connection for ever."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers each client in a thread of its own, and writes no line of one that goes away."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what ended the thread of a client, unless it is the client: port scanners send anything."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("a request for metrics ended with an error")


class MetricsRequest(WSGIRequestHandler):
    """Answers and logs nothing: scrapes come every few seconds, and strangers send anything."""

    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Drop the message."""
