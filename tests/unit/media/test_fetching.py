"""Fetching: within limits, from hosts that are allowed, whatever the host answers."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import MediaConfig
from pipeline.errors import MediaReason, MediaRefused
from pipeline.media.addresses import endpoint_of, is_public
from pipeline.media.fetching import Fetcher
from tests.support.media_host import MediaHost

MOST = 1 << 16


@pytest.fixture
def host() -> Iterator[MediaHost]:
    with MediaHost() as made:
        yield made


def fetcher(host: MediaHost, **changes: object) -> Fetcher:
    settings = {"hosts": (host.name,), "private_addresses": True, "max_bytes": MOST, "fetch_seconds": 5}
    return Fetcher(MediaConfig.model_validate({**settings, **changes}))


def reason(fetching: Fetcher, url: str) -> MediaReason:
    with pytest.raises(MediaRefused) as refused:
        fetching.fetch(url)
    return refused.value.reason


def test_fetches_a_file_up_to_the_limit(host: MediaHost) -> None:
    assert fetcher(host).fetch(host.put("/a.png?size=1", bytes(MOST))) == bytes(MOST)
    assert reason(fetcher(host), host.put("/b", bytes(MOST + 1))) is MediaReason.TOO_LARGE


def test_quotes_what_a_url_may_not_have(host: MediaHost) -> None:
    host.put("/caf%C3%A9.png?q=%22", b"x")
    assert fetcher(host).fetch(host.url('/café.png?q="')) == b"x"


def test_stops_reading_at_the_limit(host: MediaHost) -> None:
    assert reason(fetcher(host), host.endless("/endless")) is MediaReason.TOO_LARGE
    host.closing.set()
    assert host.sent_bytes < 64 << 20  # what the sockets between hold, far below the gigabytes it would send


def test_does_not_begin_what_is_announced_too_large(host: MediaHost) -> None:
    url = host.put("/large", b"", Content_Length=str(1 << 30))
    assert reason(fetcher(host), url) is MediaReason.TOO_LARGE


@pytest.mark.parametrize("first", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nX-Drip: ", b"HT"])
def test_ends_a_body_or_a_head_that_drips(host: MediaHost, first: bytes) -> None:
    assert reason(fetcher(host, fetch_seconds=0.3), host.drip("/slow", first)) is MediaReason.TOO_SLOW


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of this host, with its key, that nobody else has signed."""
    file = tmp_path / "host.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", *options, *names, "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


def test_a_secure_host_is_asked_if_its_certificate_is_valid(
    host: MediaHost, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.secure(certificate)
    url = host.put("/a", b"x").replace("http:", "https:")
    assert reason(fetcher(host), url) is MediaReason.UNREACHABLE, "nobody has signed the certificate"
    slow = host.drip("/slow").replace("http:", "https:")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetcher(host).fetch(url) == b"x"
    assert reason(fetcher(host, fetch_seconds=1), slow) is MediaReason.TOO_SLOW


def test_ends_a_secure_connection_that_drips(host: MediaHost) -> None:
    url = host.drip("/slow", b"").replace("http:", "https:")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        found = reason(fetcher(host, hosts=(name,), fetch_seconds=0.3), f"https://{name}/")
    assert found is MediaReason.TOO_SLOW
    assert reason(fetcher(host), url) is MediaReason.UNREACHABLE, "a host without TLS"


@pytest.mark.parametrize(
    ("status", "expected"), [(404, MediaReason.STATUS), (500, MediaReason.STATUS), (204, MediaReason.STATUS)]
)
def test_refuses_other_answers_than_200(host: MediaHost, status: int, expected: MediaReason) -> None:
    assert reason(fetcher(host), host.put("/a", b"", status)) is expected


def test_refuses_a_body_that_ends_too_early(host: MediaHost) -> None:
    assert reason(fetcher(host), host.put("/a", b"x", Content_Length="2")) is MediaReason.UNREACHABLE


def test_refuses_what_is_no_http(host: MediaHost) -> None:
    assert reason(fetcher(host), host.raw("/a", b"SSH-2.0 hello\r\n\r\n")) is MediaReason.UNREACHABLE


def test_refuses_a_host_that_is_away(host: MediaHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name = f"127.0.0.1:{taken.getsockname()[1]}"
    assert reason(fetcher(host, hosts=(name,)), f"http://{name}/") is MediaReason.UNREACHABLE


def test_follows_redirects_to_allowed_hosts_only(host: MediaHost) -> None:
    host.put("/there", b"found")
    assert fetcher(host).fetch(host.redirect("/here", "/there")) == b"found"
    for to in ("http://[::1/", "http://[x]/", "https://../", "http://a:b/", "https://\xff.test/"):
        assert reason(fetcher(host), host.redirect("/away", to)) is MediaReason.HOST
    for to in ("http://169.254.169.254/latest", "http://localhost:1/", "file:///etc/passwd", "//evil.test/"):
        assert reason(fetcher(host), host.redirect("/away", to)) is MediaReason.HOST
    assert reason(fetcher(host), host.redirect("/loop", "/loop")) is MediaReason.REDIRECTS


def test_without_hosts_nothing_is_fetched(host: MediaHost) -> None:
    assert reason(fetcher(host, hosts=()), host.put("/a", b"x")) is MediaReason.HOST
    assert not host.requests


def test_a_private_address_is_not_connected_to(host: MediaHost) -> None:
    url = host.put("/a", b"x")
    assert reason(fetcher(host, private_addresses=False), url) is MediaReason.ADDRESS
    named = url.replace("127.0.0.1", "localhost")
    allowed = {"hosts": (host.name.replace("127.0.0.1", "localhost"),)}
    assert reason(fetcher(host, private_addresses=False, **allowed), named) is MediaReason.ADDRESS
    assert not host.requests


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    host: MediaHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server may give a public address first, and a private one when it is asked again."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    port = int(host.name.partition(":")[2])

    def resolve(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        address = next(answers) if name == "rebinding.test" else name
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    host.put("/a", b"x")
    fetching = fetcher(host, hosts=(f"rebinding.test:{port}",))
    assert fetching.fetch(f"http://rebinding.test:{port}/a") == b"x"
    assert next(answers) == "127.0.0.2", "it was resolved once"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"]
)
def test_other_addresses_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com@evil.test/", "http://evil.test/?http://example.com/", "http://example.com.evil.test/",
        "http://example.com:22/", "https://notexample.com/", "ftp://example.com/", "http:///a", "http://[::1/",
        "http://example.com:99999/",
    ],
)  # fmt: skip
def test_a_url_that_only_looks_allowed_is_not(url: str) -> None:
    with pytest.raises(MediaRefused, match="^host"):
        endpoint_of(url, ["example.com"])


def test_hosts_are_compared_as_they_are_meant() -> None:
    assert endpoint_of("HTTPS://Example.COM./a?b", ["example.com"]) == ("https", "example.com", 443, "/a?b")
    assert endpoint_of("http://img.example.com:8080/", [".example.com:8080"]).port == 8080
    assert endpoint_of("http://bücher.example/", ["xn--bcher-kva.example"]).target == "/"
    with pytest.raises(MediaRefused):
        endpoint_of("http://example.com/", [".example.com"])
