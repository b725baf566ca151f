"""Ports that the daemons listen at: free, held by one of ours, or taken by another program."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Guarded, HttpConfig, Settings
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.errors import InvalidSettings
from pipeline.http.certificate import check_certificate
from pipeline.keys import HEADER
from pipeline.metrics import KeyRefused, is_alive, reached, scrape, trusting

ASK_SECONDS = 2.0
LOCAL = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")


class _Port(NamedTuple):
    """Where a daemon listens; `setting` names the port, `guarded` has the keys of its metrics.

    `http` says how it is asked. `metrics` is where they are, if not there; `has_metrics` whether it has any.
    """

    setting: str
    host: str
    port: int
    guarded: Guarded
    http: HttpConfig = HttpConfig()
    metrics: tuple[str, int] | None = None
    has_metrics: bool = True


def check(settings: Settings) -> Iterator[Finding]:
    """Check each port of the settings, and whether strangers can reach a server that asks for no key."""
    authority = settings.metrics.authority
    try:
        trusting(authority)
    except InvalidSettings as error:
        yield _refused(error)
        authority = None
    yield from _certificates(settings)
    ports = [port for port in _ports(settings) if port.port]
    for number, port in enumerate(ports):
        other = next((one for one in ports[:number] if _meet(one, port)), None)
        if other is not None:
            text = f"{port.setting} and {other.setting} are both {port.port}"
            yield fault("ports", text, f"set `{port.setting}` to another port")
        else:
            yield _state(port, authority)
    for name, host, guarded in (
        ("serve", settings.serve.host, settings.serve),
        ("gateway", settings.gateway.host, settings.gateway),
        ("bridge", settings.bridge.host, settings.bridge),
    ):  # without keys the settings refuse such a console
        if host not in LOCAL and not guarded.api_keys and not guarded.named_keys:
            text = f"{name} listens at {host} and asks for no key"
            yield warning("access", text, f"set `{name}.api_keys`; `openssl rand -hex 32` makes one")


def _certificates(settings: Settings) -> Iterator[Finding]:
    """Load each server's certificate as the server would."""
    for table in ("serve", "gateway", "console"):
        try:
            check_certificate(getattr(settings, table).http, table)
        except InvalidSettings as error:
            yield _refused(error)


def _refused(error: InvalidSettings) -> Finding:
    text, _, remedy = str(error).partition("; ")
    return fault("access", text, remedy)


def _ports(settings: Settings) -> Iterator[_Port]:
    serve, gateway, console, metrics = settings.serve, settings.gateway, settings.console, settings.metrics
    of_workers = (metrics.host, metrics.serve) if serve.workers > 1 else None
    yield _Port("serve.port", serve.host, serve.port, serve, serve.http, of_workers)
    yield _Port("gateway.port", gateway.host, gateway.port, gateway, gateway.http)
    yield _Port("bridge.port", settings.bridge.host, settings.bridge.port, settings.bridge)
    yield _Port("console.port", console.host, console.port, console, console.http, has_metrics=False)
    for name in ("learn", "retrain", "media", "play"):
        yield _Port(f"metrics.{name}", metrics.host, getattr(metrics, name), serve)
    for number in range(serve.workers if of_workers and metrics.serve else 0):
        yield _Port("metrics.serve", metrics.host, metrics.serve + number, serve)


def _meet(one: _Port, other: _Port) -> bool:
    """Whether two daemons cannot listen side by side."""
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    return one.port == other.port and (len(hosts) == 1 or not hosts.isdisjoint(EVERYWHERE))


def _state(port: _Port, authority: Path | None) -> Finding:
    try:
        family, _, _, _, address = socket.getaddrinfo(port.host, port.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        return _taken(port, error, authority)
    return ok("ports", f"{port.setting}: {port.port} is free")


def _taken(port: _Port, error: OSError, authority: Path | None) -> Finding:
    if _is_ours(port, authority):
        return ok("ports", f"{port.setting}: a millstream daemon answers at {port.port}")
    if port.http.certificate and not port.metrics:
        text = f"{port.setting}: {port.port} is taken, and what answers there by HTTPS is not trusted"
        return warning(
            "ports", text, "if it is this server, name its CA in `metrics.authority`; else stop it"
        )
    text = f"{port.setting}: {port.host}:{port.port} cannot be listened at ({error.strerror or error})"
    table = port.setting.partition(".")[0]
    return fault("ports", text, f"stop the program there, or set `{port.setting}` or `{table}.host`")


def _is_ours(port: _Port, authority: Path | None) -> bool:
    key = port.guarded.own_key
    headers = {HEADER: key.get_secret_value()} if key else {}
    host, number = port.metrics or (port.host, port.port)
    scheme = "http" if port.metrics else port.http.scheme
    url = f"{scheme}://{reached(host)}:{number}"
    try:
        if not port.has_metrics:
            return is_alive(url, ASK_SECONDS, authority)
        series = scrape(f"{url}/metrics", ASK_SECONDS, headers, authority)
    except KeyRefused:
        return True
    except (OSError, ValueError):
        return False
    return any(name.startswith("millstream_") for name, _ in series)
