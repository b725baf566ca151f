"""A first connection to a secured cluster, which says what is refused.

The client itself retries a connection whose certificate or mechanism is refused until its time is up, and
then says that no broker answers.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka.net.sasl import get_sasl_mechanism

from pipeline.errors import LogRefused
from pipeline.eventlog.kafka.refusals import WRONG_LOGIN

KNOCK_SECONDS = 5.0
_API_VERSIONS, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = 18, 17, 36
_MOST_BYTES = 1 << 16
_NO_LOGIN_THERE = 34
"""Requests that a broker answers before a login, bytes of an answer, and an error (Kafka protocol guide)."""
_REMEDIES = {
    10: "has expired: renew it at the broker",
    18: "is signed by itself: name a file that holds it in ssl_cafile of `log.options`",
    19: "is signed by a CA that is not trusted: name the CA's file in ssl_cafile of `log.options`",
    20: "is signed by a CA that is not trusted: name the CA's file in ssl_cafile of `log.options`",
    62: "is for another name: write the name that it has in `log.url`",
    64: "is for another address: write the name that it has in `log.url`",
}
"""By OpenSSL's code of verification."""


def knock(connection: Mapping[str, Any]) -> None:
    """Connect to the first server that can be reached, and ask it what it answers before a login.

    Raises:
        LogRefused: a certificate, this one's or the broker's, is refused; or the login is, or its mechanism.
    """
    for server in connection["bootstrap_servers"]:
        host, _, port = server.rpartition(":")
        try:
            plain = socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS)
        except OSError:
            continue  # the client finds another one, or says that none answers
        with plain:
            _check(server, plain, connection)
        return


def _check(server: str, plain: socket.socket, connection: Mapping[str, Any]) -> None:
    """Raise LogRefused if a server refuses the handshakes; one that goes away is not for this to tell."""
    try:
        with suppress(TimeoutError, ConnectionError):
            _shake_hands(server, plain, connection)
    except ssl.SSLCertVerificationError as error:
        remedy = _REMEDIES.get(
            error.verify_code,
            f"is refused ({error.verify_message}): see ssl_cafile and ssl_crlfile of `log.options`",
        )
        raise LogRefused(f"{server}: the broker's certificate {remedy}") from error
    except ssl.SSLError as error:
        raise LogRefused(f"{server}: {_said(error)}") from error


def _shake_hands(server: str, plain: socket.socket, connection: Mapping[str, Any]) -> None:
    """Go as far as a login: TLS, an answer, the mechanism, the password."""
    talk: socket.socket = plain
    if context := connection.get("ssl_context"):
        talk = context.wrap_socket(plain, server_hostname=server.rpartition(":")[0].strip("[]"))
    with talk:
        mechanism = connection.get("sasl_mechanism")
        if mechanism is None:
            # By TLS 1.3 a broker refuses our certificate only after the handshake: wait for an answer.
            _ask(talk, _API_VERSIONS, 0, b"")
            return
        answer = _ask(talk, _SASL_HANDSHAKE, 1, _sized(">h", mechanism.encode()))
        if _knows_mechanism(server, mechanism, answer) and "sasl_plain_password" in connection:
            _log_in(server, talk, get_sasl_mechanism(mechanism)(**connection))


def _ask(talk: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Send a request; return what follows the head of the answer, or nothing if there is none."""
    head = struct.pack(">hhih", key, version, 0, -1)
    talk.sendall(_sized(">i", head + body))
    with talk.makefile("rb") as answer:
        size = answer.read(4)
        return answer.read(min(struct.unpack(">I", size)[0], _MOST_BYTES))[4:] if len(size) == 4 else b""


def _sized(form: str, content: bytes) -> bytes:
    return struct.pack(form, len(content)) + content


def _knows_mechanism(server: str, mechanism: str, answer: bytes) -> bool:
    """Whether a server answers that it goes on with a mechanism.

    Raises:
        LogRefused: it wants no login, or another mechanism.
    """
    if len(answer) < 6:
        return False
    error, count = struct.unpack(">hi", answer[:6])
    if error == _NO_LOGIN_THERE:
        raise LogRefused(
            f"{server}: no login is wanted there; name another port in `log.url`, or set security_protocol "
            "of `log.options` to SSL or PLAINTEXT"
        )
    if error:
        there, names = answer[6:], []
        for _ in range(count):
            end = 2 + struct.unpack(">h", there[:2])[0]
            names.append(there[2:end].decode())
            there = there[end:]
        raise LogRefused(
            f"{server}: {mechanism} is not possible there; set sasl_mechanism of `log.options` to "
            f"{' or '.join(names) or 'another one'}"
        )
    return True


def _log_in(server: str, talk: socket.socket, login: Any) -> None:
    """Log in, as the client does.

    Raises:
        LogRefused: the password is refused, or the server does not know it either.
    """
    try:
        while not login.is_done():
            answer = _ask(talk, _SASL_AUTHENTICATE, 0, _sized(">i", login.auth_bytes()))
            if len(answer) < 4 or answer[:2] != b"\0\0":
                raise ValueError("refused")
            said = max(0, struct.unpack(">h", answer[2:4])[0])  # -1 if the server says nothing
            login.receive(answer[8 + said :])
    except ValueError as error:
        raise LogRefused(f"{server}: {WRONG_LOGIN}") from error


def _said(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if "ALERT" in reason:
        said = reason.rpartition("ALERT_")[2].lower().replace("_", " ")
        return (
            f"the broker refuses this client's certificate ({said}); name one that it trusts in ssl_certfile "
            "and ssl_keyfile of `log.options`, and renew it in time"
        )
    return (
        "no TLS is spoken there; name the broker's TLS port in `log.url`, or set security_protocol of "
        f"`log.options` to PLAINTEXT or SASL_PLAINTEXT ({reason.lower().replace('_', ' ')})"
    )
