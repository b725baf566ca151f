"""Servers with a certificate of their own CA: asked where the settings name it, else the remedy is said."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from consumers.console.answers import Answers, ServerUnavailable
from pipeline.config import HttpConfig, MetricsConfig, ServeConfig, Settings
from pipeline.demo.processes import free_port
from pipeline.errors import InvalidSettings
from pipeline.metrics import scrape, trusting, unreachable
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def port(authority: Authority) -> Iterator[int]:
    """The port of a server with a certificate for 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            body = b"up 1\n" if self.path == "/metrics" else json.dumps({"items": []}).encode()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("server"))
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def settings_of(port: int, authority: Path | None, server: Path) -> Settings:
    serve = ServeConfig(port=port, http=HttpConfig(certificate=server))
    return Settings(serve=serve, metrics=MetricsConfig(authority=authority))


def test_metrics_and_answers_come_from_a_server_whose_ca_is_named(port: int, authority: Authority) -> None:
    assert scrape(f"https://127.0.0.1:{port}/metrics", authority=authority.file)
    answers = Answers.of(settings_of(port, authority.file, authority.file))
    assert answers.for_user("ann") == {"items": []}


def test_a_ca_that_is_not_named_is_said_to_be_the_reason(port: int, authority: Authority) -> None:
    with pytest.raises(OSError, match="certificate") as failed:
        scrape(f"https://127.0.0.1:{port}/metrics")
    assert "name its CA in metrics.authority" in unreachable(failed.value, "metrics.urls.serve")
    with pytest.raises(ServerUnavailable, match=r"not trusted.*metrics\.authority") as refused:
        Answers.of(settings_of(port, None, authority.file)).for_user("ann")
    assert "start it with" not in str(refused.value)


def test_a_certificate_for_another_name_is_said_to_be_one(port: int, authority: Authority) -> None:
    with pytest.raises(OSError, match="certificate") as failed:
        scrape(f"https://localhost:{port}/metrics", authority=authority.file)
    assert "set metrics.urls.serve to a URL with that name" in unreachable(failed.value, "metrics.urls.serve")


def test_a_port_where_nobody_listens_is_said_in_plain_words() -> None:
    with pytest.raises(OSError) as failed:
        scrape(f"http://127.0.0.1:{free_port()}/metrics")
    assert unreachable(failed.value, "metrics.urls.serve") == "Connection refused"


def test_a_file_that_is_no_ca_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in ("ca.pem", "none.pem"):
        with pytest.raises(InvalidSettings, match=r"metrics\.authority"):
            trusting(tmp_path / file)
