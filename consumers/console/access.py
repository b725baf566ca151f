"""Who visits: signed in by an API key, remembered by a signed cookie, checked against forged requests."""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated, NamedTuple

from fastapi import Depends, HTTPException, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from pipeline.config import ConsoleConfig
from pipeline.errors import MillstreamError
from pipeline.http.keyring import Keyring, TokenBucket

COOKIE = "millstream_console"
FORGERY_FIELD = "csrf"
LOCAL = "this machine"
"""Name of who visits a console without keys, which only this machine reaches."""
NO_MARK = ""
ATTEMPTS_PER_SECOND, MOST_ATTEMPTS = 0.5, 10
"""Of all sign-ins together that failed: keys are long, and nobody needs to guess them."""


class Visitor(NamedTuple):
    """Who is signed in, whether they may act, and the token that their forms carry."""

    name: str
    is_operator: bool
    forgery_token: str


class NoVisitor(MillstreamError):
    """The page needs a sign-in."""


class Access:
    """Signs visitors in by the keys of the settings; without keys, all on this machine are operators."""

    def __init__(self, config: ConsoleConfig) -> None:
        self.needs_key = bool(config.reading_keys)
        self._keys = Keyring(config)
        self._seconds = round(config.session_hours * 3_600)
        self._is_secure = config.secure_cookies
        secret = config.secret.get_secret_value() if config.secret else secrets.token_hex(32)
        self._secret = secret.encode()
        self._signer = URLSafeTimedSerializer(secret, salt="millstream.console")
        self._attempts = TokenBucket(ATTEMPTS_PER_SECOND, MOST_ATTEMPTS)

    def sign_in(self, key: str) -> str | None:
        """Return the cookie of the one who sends a key; None if it is none that allows to look.

        Raises:
            HTTPException: 429, too many have failed.
        """
        if not self.needs_key:
            return self._cookie(NO_MARK)
        holder = self._keys.holder(key)
        if holder is None and self._attempts.take():
            raise HTTPException(429, "too many sign-ins have failed: try again in some seconds")
        return None if holder is None else self._cookie(holder.mark)

    def visitor(self, cookie: str) -> Visitor | None:
        """Return whose cookie it is; None if it is forged or too old, or its key is not in the settings."""
        try:
            mark, nonce = self._signer.loads(cookie, max_age=self._seconds)
        except (BadSignature, ValueError, TypeError):
            return None
        token = hmac.new(self._secret, nonce.encode(), "sha256").hexdigest()
        if not self.needs_key:
            return Visitor(LOCAL, True, token) if mark == NO_MARK else None
        holder = self._keys.holder_marked(mark)
        return Visitor(holder.name, holder.is_admin, token) if holder else None

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

    def _cookie(self, mark: str) -> str:
        return self._signer.dumps([mark, secrets.token_hex(16)])


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
