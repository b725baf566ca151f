"""Signing in by a key or at the OpenID provider, and signing out."""

from __future__ import annotations

import logging
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from consumers.console.access import ATTEMPT_COOKIE, COOKIE, Sender
from consumers.console.parts import ConsoleParts, Parts
from consumers.console.provider import CALLBACK, Provider, ProviderUnavailable, SignInRefused

SIGN_IN = "/sign-in"
NO_PROVIDER = "no OpenID provider is in the settings: see [console.oidc]"
MAY_NOT_LOOK = (
    "the provider knows you, and nothing it says of you is in console.oidc.readers or console.oidc.operators"
)
LONGEST = 4_000
Goal = Annotated[str, Query(max_length=2_000)]
Given = Annotated[str, Query(max_length=LONGEST)]

routes = APIRouter()
log = logging.getLogger(__name__)


@routes.get(SIGN_IN, response_class=HTMLResponse)
def sign_in_page(request: Request, parts: Parts, next: Goal = "/") -> Response:
    """Ask for a key or offer the provider; where neither is needed, let the visitor in at once."""
    if not parts.access.needs_sign_in:
        return _let_in(parts, parts.access.sign_in(""), RedirectResponse(_own(next), 303))
    return _page(request, parts, next)


@routes.post(SIGN_IN, response_class=HTMLResponse)
def sign_in(
    request: Request,
    parts: Parts,
    key: Annotated[str, Form(max_length=1_000)] = "",
    next: Annotated[str, Form(max_length=2_000)] = "/",
) -> Response:
    """Let in who sends a key that allows to look."""
    cookie = parts.access.sign_in(key)
    if cookie is None:
        return _page(request, parts, next, "this is no key of [console] that allows to read", 401)
    return _let_in(parts, cookie, RedirectResponse(_own(next), 303))


@routes.get(f"{SIGN_IN}/provider", response_class=HTMLResponse)
def to_provider(request: Request, parts: Parts, next: Goal = "/") -> Response:
    """Send the visitor to the provider."""
    try:
        attempt, cookie = parts.access.begin(_own(next))
        response = RedirectResponse(_provider(parts).address(attempt), 303)
    except (ProviderUnavailable, SignInRefused) as error:
        return _refused(request, parts, error)
    response.set_cookie(ATTEMPT_COOKIE, cookie, **parts.access.attempt_options)  # type: ignore[arg-type]
    return response


@routes.get(CALLBACK, response_class=HTMLResponse)
def from_provider(
    request: Request, parts: Parts, code: Given = "", state: Given = "", iss: Given = "", error: Given = ""
) -> Response:
    """Let in whom the provider vouches for, if they may look and this browser began the sign-in."""
    try:
        provider = _provider(parts)
        attempt = parts.access.continued(request.cookies.get(ATTEMPT_COOKIE, ""), state)
        if iss and iss != parts.settings.console.oidc.issuer:  # RFC 9207
            raise SignInRefused("the answer is another provider's")
        if error or not code:
            raise SignInRefused(f"the provider says {error if error.isidentifier() else 'nothing'}")
        cookie = parts.access.sign_in_person(provider.person(attempt, code))
        if cookie is None:
            raise SignInRefused(MAY_NOT_LOOK)
    except (ProviderUnavailable, SignInRefused) as failed:
        return _refused(request, parts, failed)
    # The session's cookie is for our own pages' requests alone, and a redirect would still be the provider's.
    response = parts.pages.page("signed_in.html", request, None, next=attempt.goal)
    response.delete_cookie(ATTEMPT_COOKIE, path=SIGN_IN)
    return _let_in(parts, cookie, response)


@routes.post("/sign-out")
def sign_out(request: Request, parts: Parts, visitor: Sender) -> Response:
    """End the sign-in, wherever a copy of its cookie is."""
    parts.access.sign_out(request.cookies.get(COOKIE, ""))
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(COOKIE, path="/")
    return response


def _page(
    request: Request, parts: ConsoleParts, goal: str, fault: str = "", status: int = 200
) -> HTMLResponse:
    access, issuer = parts.access, parts.settings.console.oidc.issuer
    return parts.pages.page(
        "sign_in.html",
        request,
        None,
        status,
        next=goal,
        fault=fault,
        takes_keys=access.takes_keys,
        provider=urlsplit(issuer).hostname,
    )


def _refused(
    request: Request, parts: ConsoleParts, error: ProviderUnavailable | SignInRefused
) -> HTMLResponse:
    """The sign-in page with what went wrong; what failed is counted, so that nobody tries it without end."""
    parts.access.count_failure()
    log.warning("a sign-in failed: %s", error)
    status = 503 if isinstance(error, ProviderUnavailable) else 401
    return _page(request, parts, "/", str(error), status)


def _provider(parts: ConsoleParts) -> Provider:
    if parts.provider is None:
        raise SignInRefused(NO_PROVIDER)
    return parts.provider


def _own(goal: str) -> str:
    """The page to go on to; never one of another site."""
    return goal if goal.startswith("/") and not goal.startswith(("//", "/\\")) else "/"


def _let_in(parts: ConsoleParts, cookie: str | None, response: Response) -> Response:
    response.set_cookie(COOKIE, cookie or "", **parts.access.cookie_options)  # type: ignore[arg-type]
    return response
