"""The OpenID provider: where a visitor is sent to sign in, and who the provider says that they are.

The authorization code flow of OpenID Connect Core 1.0, section 3.1, with PKCE (RFC 7636). Nothing that the
provider gives is kept or logged: the ID token is read once, and the access token never used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from pipeline.config import OidcConfig
from pipeline.errors import InvalidSettings, MillstreamError

DISCOVERY = "/.well-known/openid-configuration"
CALLBACK = "/sign-in/callback"
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""Signatures by a private key; never `none`, and none by a secret that the console shares."""
ANSWER_SECONDS = 10.0
MOST_BYTES = 1 << 20
LEEWAY_SECONDS = 60
"""By which the clocks may differ."""
LONGEST_NAME = 100
Document = Mapping[str, Any]


class ProviderUnavailable(MillstreamError):
    """The OpenID provider does not answer, or not as one; names the remedy."""


class SignInRefused(MillstreamError):
    """The provider did not sign the visitor in, or what it says of the visitor does not hold."""


class Attempt(NamedTuple):
    """A sign-in that has begun: secrets that tie the answer to the browser that asked, and its goal."""

    state: str
    nonce: str
    verifier: str
    goal: str


class Person(NamedTuple):
    """Whom the provider vouches for, and the values of the claim that says what they may do."""

    name: str
    roles: Sequence[str]


class Provider:
    """Speaks with the provider of the settings; asks for its addresses and keys at each sign-in."""

    def __init__(self, config: OidcConfig) -> None:
        """Trust the CA of the settings, or those of this machine.

        Raises:
            InvalidSettings: the file of the CA cannot be read.
        """
        self._config = config
        try:
            context = ssl.create_default_context(cafile=config.authority)
        except OSError as error:  # as SSLError is
            raise InvalidSettings(
                f"console.oidc.authority = {config.authority}: it cannot be used "
                f"({error.strerror or error}); name a file in PEM with the CA's certificate"
            ) from None
        self._opener = build_opener(_NoRedirect, HTTPSHandler(context=context))

    @property
    def _callback(self) -> str:
        return self._config.url.rstrip("/") + CALLBACK

    def address(self, attempt: Attempt) -> str:
        """Return where to send the browser.

        Raises:
            ProviderUnavailable: it does not say where it is asked.
        """
        config, challenge = self._config, hashlib.sha256(attempt.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": config.client_id,
            "redirect_uri": self._callback,
            "scope": config.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = self._endpoint(self._metadata(), "authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    def person(self, attempt: Attempt, code: str) -> Person:
        """Exchange a code for who has signed in.

        Raises:
            ProviderUnavailable: it does not answer as a provider.
            SignInRefused: it refuses the code, or its ID token does not hold.
        """
        metadata = self._metadata()
        tokens = self._exchange(metadata, attempt, code)
        keys = self._get(self._endpoint(metadata, "jwks_uri"))
        claims = self._claims(tokens.get("id_token"), keys, attempt.nonce)
        roles = _at(claims, self._config.roles_claim)
        if self._config.roles_claim == "email" and claims.get("email_verified") is not True:
            raise SignInRefused("the provider has not verified the e-mail address")
        name = str(_at(claims, self._config.name_claim) or claims["sub"])[:LONGEST_NAME]
        return Person(name, [str(role) for role in (roles if isinstance(roles, list) else [roles]) if role])

    def _metadata(self) -> Document:
        found = self._get(self._config.issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != self._config.issuer:
            raise ProviderUnavailable(
                "the OpenID provider calls itself otherwise than console.oidc.issuer: copy its issuer to the "
                "letter"
            )
        return found

    def _endpoint(self, metadata: Document, name: str) -> str:
        """The address of an endpoint; as safe as the issuer's own."""
        scheme, found = self._config.issuer.partition(":")[0], metadata.get(name)
        if not isinstance(found, str) or not found.startswith((f"{scheme}://", "https://")):
            raise ProviderUnavailable(f"the OpenID provider names no {name} that can be used")
        return found

    def _exchange(self, metadata: Document, attempt: Attempt, code: str) -> Document:
        config, headers = self._config, dict[str, str]()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": attempt.verifier,
            "client_id": config.client_id,
        }
        if config.client_secret:
            secret = config.client_secret.get_secret_value()
            methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            if "client_secret_basic" in methods:  # RFC 6749, section 2.3.1
                pair = f"{quote_plus(config.client_id)}:{quote_plus(secret)}"
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            else:
                fields["client_secret"] = secret
        address = self._endpoint(metadata, "token_endpoint")
        return self._get(address, urlencode(fields).encode(), headers)

    def _claims(self, token: object, keys: Document, nonce: str) -> Document:
        """What an ID token says, if it holds: OpenID Connect Core 1.0, section 3.1.3.7."""
        config = self._config
        expected = JWTClaimsRegistry(
            now=lambda: int(time.time()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": config.issuer},
            aud={"essential": True, "value": config.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
            azp={"value": config.client_id},
        )
        try:
            claims: Document = jwt.decode(str(token), KeySet.import_key_set(_public(keys)), ALGORITHMS).claims
            expected.validate(dict(claims))
        except (ClaimError, JoseError, ValueError, TypeError, KeyError) as error:
            said = (
                f"its claim {error.claim} is wrong" if isinstance(error, ClaimError) else "it is not signed"
            )
            raise SignInRefused(f"the provider's ID token does not hold: {said}") from None
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims:
            raise SignInRefused("the provider's ID token does not hold: its claim azp is wrong")
        return claims

    def _get(self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Document:
        """What a URL answers, a JSON object; a `body` is posted."""
        request = Request(url, body, {"Accept": "application/json", **(headers or {})})
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as response:
                found = json.loads(response.read(MOST_BYTES))
        except HTTPError as error:
            if body is not None and error.code in (400, 401):
                raise SignInRefused(_refusal(error)) from None
            raise self._away(f"it answers {error.code}") from None
        except (OSError, HTTPException) as error:
            raise self._away(str(getattr(error, "reason", error))) from None
        except ValueError:
            raise self._away("its answer is not JSON") from None
        if not isinstance(found, dict):
            raise self._away("its answer is no JSON object")
        return found

    def _away(self, why: str) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"the OpenID provider at {self._config.issuer} cannot be asked: {why}; try again later, or see "
            "console.oidc"
        )


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: secrets go to the provider's own addresses alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Make no other request."""


def _refusal(error: HTTPError) -> str:
    """The error code of the token endpoint (RFC 6749, section 5.2), and what it is owed to."""
    try:
        code = str(json.loads(error.read(MOST_BYTES))["error"])
    except (ValueError, KeyError, TypeError, OSError):
        code = ""
    match code:
        case "invalid_client":
            return "the provider does not know this console: see console.oidc.client_id and client_secret"
        case "invalid_grant":
            return "the provider does not take this sign-in, or not once more: sign in again"
    return "the provider refuses the sign-in" + (f": {code[:LONGEST_NAME]}" if code.isidentifier() else "")


def _public(keys: Document) -> Any:
    """The keys of a document that sign, and that this library knows."""
    found = [
        key for key in keys["keys"] if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use") != "enc"
    ]
    return {"keys": found}


def _at(claims: Document, path: str) -> Any:
    """The claim of a name, or the one that dots lead to; None where there is none."""
    if path in claims:
        return claims[path]
    at: Any = claims
    for name in path.split("."):
        at = at.get(name) if isinstance(at, dict) else None
    return at
