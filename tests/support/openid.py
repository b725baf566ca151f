"""OpenID providers for tests: a certified one in its own process, and one that says what a test wants."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from pipeline.demo.processes import free_port
from tests.support.documents import ROOT
from tests.support.npm import installed

PACKAGES = ROOT / "tests" / "oidc"
CLIENT, SECRET = "millstream", "a secret of the client, 1%+"
MINUTES = 600


@contextmanager
def certified_provider(callback: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `oidc-provider` of npm, which asks for sign-in and consent; yield its issuer and process."""
    port = free_port()
    command = ["node", str(PACKAGES / "provider.mjs"), str(installed(PACKAGES, "oidc")), str(port)]
    with subprocess.Popen(
        [*command, callback, SECRET], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline().strip() == "ready"
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


@dataclass
class MadeUpProvider:
    """A provider whose tokens a test spoils.

    Attributes:
        claims: replace those of the tokens; None takes one away.
        signing: how tokens are signed: "RS256", "none", "HS256" with the client's secret, or "stranger".
        metadata: replaces what it says of itself.
        status: what the token endpoint answers with.
        sent: the tokens, codes and secrets that went over the wire.
    """

    issuer: str
    claims: dict[str, Any] = field(default_factory=dict)
    signing: str = "RS256"
    metadata: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    sent: list[str] = field(default_factory=list)
    _key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1", "use": "sig"}))
    _asked: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, address: str) -> dict[str, str]:
        """Sign somebody in who was sent to an address; return what the browser brings back."""
        asked = dict(parse_qsl(urlsplit(address).query))
        code = f"code-{len(self._asked)}-of-this-test"
        self._asked[code] = asked
        self.sent.append(code)
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, object]:
        """Answer a request of the console."""
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "jwks"}
            addresses = {name: f"{self.issuer}/{path}" for name, path in names.items()}
            return 200, {"issuer": self.issuer, **addresses, **self.metadata}
        if path == "/jwks":
            return 200, {"keys": [self._key.as_dict(private=False)]}
        return (
            (self.status, {"error": "server_error"})
            if self.status != 200
            else self._token(form, authorization)
        )

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, object]:
        expected = base64.b64encode(b"millstream:a+secret+of+the+client%2C+1%25%2B").decode()
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        asked = self._asked.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge or asked["code_challenge_method"] != "S256":
            return 400, {"error": "invalid_grant"}
        token = self._signed(asked["nonce"])
        self.sent += [token, form["code_verifier"], SECRET]
        return 200, {"access_token": "an-access-token", "token_type": "Bearer", "id_token": token}

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "1001",
            "iat": now,
            "exp": now + MINUTES,
            "nonce": nonce,
            "preferred_username": "olga",
            "groups": ["staff", "shop-admins"],
        }
        claims = {name: value for name, value in {**said, **self.claims}.items() if value is not None}
        match self.signing:
            case "none":
                parts = ({"alg": "none"}, claims)
                coded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
                return b".".join([*coded, b""]).decode()
            case "HS256":
                return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
            case "stranger":
                return jwt.encode({"alg": "RS256", "kid": "1"}, claims, RSAKey.generate_key(2048))
        return jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key)


@contextmanager
def made_up_provider() -> Iterator[MadeUpProvider]:
    """Run a provider in a thread."""
    provider = MadeUpProvider("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(dict(parse_qsl(body)))

        def _answer(self, form: dict[str, str]) -> None:
            status, said = provider.answer(self.path, form, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield provider
        server.shutdown()
        thread.join()
