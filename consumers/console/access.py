"""Who visits: signed in by a key or a provider, known by a signed cookie, safe from forged requests."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import Depends, HTTPException, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from consumers.console.provider import Attempt, Person, SignInRefused
from consumers.console.sign_outs import SignOuts
from pipeline.config import ConsoleConfig
from pipeline.errors import MillstreamError
from pipeline.http.keyring import Keyring, TokenBucket
from pipeline.keys import digest_of

COOKIE = "millstream_console"
FORGERY_FIELD = "csrf"
LOCAL = "this machine"
"""Name of who visits a console without keys, which only this machine reaches."""
NO_MARK = ""
FAILURES_PER_SECOND, MOST_FAILURES = 0.5, 10
"""Of all sign-ins together that failed: keys are long, and nobody needs to guess them."""
ATTEMPT_COOKIE = "millstream_sign_in"
ATTEMPT_SECONDS = 600
"""That a visitor has to sign in at the provider."""
BEGIN_AGAIN = "this sign-in was not begun here, has been used, or took too long: begin it again"


class Visitor(NamedTuple):
    """Who is signed in, whether they may act, and the token that their forms carry."""

    name: str
    is_operator: bool
    forgery_token: str


class NoVisitor(MillstreamError):
    """The page needs a sign-in."""


class Session(NamedTuple):
    """What a signed cookie holds.

    Attributes:
        mark: of the key, or of the provider, that the visitor signed in by.
        nonce: nobody else's.
        name, roles: of whom the provider vouches for; empty for a key.
    """

    mark: str
    nonce: str
    name: str = ""
    roles: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """What the log knows it by."""
        return digest_of(self.nonce.encode())


class Access:
    """Signs visitors in by a key or a provider; without both, all on this machine are operators."""

    def __init__(self, config: ConsoleConfig, sign_outs: SignOuts) -> None:
        self.needs_sign_in, self.takes_keys = config.needs_sign_in, bool(config.reading_keys)
        self.sign_outs = sign_outs
        self._keys, self._oidc = Keyring(config), config.oidc
        self._provider_mark = digest_of(f"{config.oidc.issuer} {config.oidc.client_id}".encode())
        self._seconds = round(config.session_hours * 3_600)
        self._is_secure = config.secure_cookies
        secret = config.secret.get_secret_value() if config.secret else secrets.token_hex(32)
        self._secret = secret.encode()
        self._signer = URLSafeTimedSerializer(secret, salt="millstream.console")
        self._attempts = URLSafeTimedSerializer(secret, salt="millstream.console.attempt")
        self._failures = TokenBucket(FAILURES_PER_SECOND, MOST_FAILURES)
        self._used: dict[str, float] = {}

    def sign_in(self, key: str) -> str | None:
        """Return the cookie of the one who sends a key; None if it is none that allows to look.

        Raises:
            HTTPException: 429, too many have failed.
        """
        if not self.needs_sign_in:
            return self._cookie(Session(NO_MARK, secrets.token_hex(16)))
        holder = self._keys.holder(key) if self.takes_keys else None
        if holder is None:
            self.count_failure()
            return None
        return self._cookie(Session(holder.mark, secrets.token_hex(16)))

    def sign_in_person(self, person: Person) -> str | None:
        """Return the cookie of whom the provider vouches for; None if they may not look."""
        session = Session(self._provider_mark, secrets.token_hex(16), person.name, self._known(person.roles))
        return self._cookie(session) if session.roles else None

    def count_failure(self) -> None:
        """Count a sign-in that failed.

        Raises:
            HTTPException: 429, too many have.
        """
        if self._failures.take():
            raise HTTPException(429, "too many sign-ins have failed: try again in some seconds")

    def begin(self, goal: str) -> tuple[Attempt, str]:
        """Begin a sign-in at the provider; return it, and the cookie that its browser keeps."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, goal)
        return attempt, self._attempts.dumps(attempt)

    def continued(self, cookie: str, state: str) -> Attempt:
        """Return the sign-in that a browser has begun, once.

        Raises:
            SignInRefused: it has begun none of this state, too long ago, or this one has been used.
        """
        try:
            attempt = Attempt(*self._attempts.loads(cookie, max_age=ATTEMPT_SECONDS))
        except (BadSignature, ValueError, TypeError):
            raise SignInRefused(BEGIN_AGAIN) from None
        now = time.monotonic()
        for used in [used for used, at in list(self._used.items()) if at < now - ATTEMPT_SECONDS]:
            del self._used[used]
        is_own = hmac.compare_digest(attempt.state.encode(), state.encode())
        if not is_own or self._used.setdefault(attempt.state, now) != now:
            raise SignInRefused(BEGIN_AGAIN)
        return attempt

    def sign_out(self, cookie: str) -> None:
        """End the sign-in of a cookie, wherever a copy of it is.

        Raises:
            LogUnavailable, DeliveryError: it has ended here, and other consoles do not know.
        """
        if session := self._session(cookie):
            self.sign_outs.end(session.digest)

    def visitor(self, cookie: str) -> Visitor | None:
        """Return whose cookie it is; None if it is forged, too old or signed out, or may look no more."""
        session = self._session(cookie)
        if session is None or self.sign_outs.has(session.digest):
            return None
        token = hmac.new(self._secret, session.nonce.encode(), "sha256").hexdigest()
        if not self.needs_sign_in:
            return Visitor(LOCAL, True, token) if session.mark == NO_MARK else None
        if self._oidc.issuer and hmac.compare_digest(session.mark, self._provider_mark):
            roles = self._known(session.roles)
            is_operator = any(role in self._oidc.operators for role in roles)
            return Visitor(session.name, is_operator, token) if roles else None
        holder = self._keys.holder_marked(session.mark)
        return Visitor(holder.name, holder.is_admin, token) if holder else None

    def _known(self, roles: Sequence[str]) -> list[str]:
        """Those roles that let look or act."""
        return [role for role in roles if role in (*self._oidc.operators, *self._oidc.readers)]

    def _session(self, cookie: str) -> Session | None:
        try:
            return Session(*self._signer.loads(cookie, max_age=self._seconds))
        except (BadSignature, ValueError, TypeError):
            return None

    def _cookie(self, session: Session) -> str:
        return self._signer.dumps(session)

    @property
    def attempt_options(self) -> dict[str, object]:
        """How browsers keep the cookie of a sign-in that has begun: the provider's answer brings it back."""
        options = {"max_age": ATTEMPT_SECONDS, "samesite": "lax", "path": "/sign-in"}
        return {**self.cookie_options, **options}

    @property
    def cookie_options(self) -> dict[str, object]:
        """How browsers keep the cookie: out of reach of scripts, and sent by our own pages only."""
        return {
            "max_age": self._seconds,
            "httponly": True,
            "samesite": "strict",
            "secure": self._is_secure,
            "path": "/",
        }


def visitor(request: Request) -> Visitor:
    """Return who is signed in.

    Raises:
        NoVisitor: nobody is.
    """
    access: Access = request.app.state.access
    found = access.visitor(request.cookies.get(COOKIE, ""))
    if found is None:
        raise NoVisitor
    return found


SignedIn = Annotated[Visitor, Depends(visitor)]


async def sender(request: Request, found: SignedIn) -> Visitor:
    """Return who is signed in, and whose form it was that was sent.

    Raises:
        HTTPException: 403, the form is not one of ours.
    """
    sent = (await request.form()).get(FORGERY_FIELD, "")
    if not (isinstance(sent, str) and hmac.compare_digest(sent.encode(), found.forgery_token.encode())):
        raise HTTPException(403, "the form is not from this sign-in: load the page again, then send it")
    return found


Sender = Annotated[Visitor, Depends(sender)]


def operator(found: Sender) -> Visitor:
    """Return who sent a form of ours and may act.

    Raises:
        HTTPException: 403, the key only allows to look.
    """
    if not found.is_operator:
        raise HTTPException(403, f"{found.name} may look only: to act, sign in with a key of the scope admin")
    return found


Operator = Annotated[Visitor, Depends(operator)]
