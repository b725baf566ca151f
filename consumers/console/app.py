"""The application: pages behind a sign-in, files of their own, and headers that let nothing else in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers.console import ask, now, sign_in
from consumers.console.access import COOKIE, NoVisitor
from consumers.console.change import letters, models, policies, rules, timeline, users
from consumers.console.pages import is_fragment
from consumers.console.parts import ConsoleParts
from consumers.console.sign_in import SIGN_IN
from pipeline.config.console import LOOPBACK
from pipeline.errors import MillstreamError
from pipeline.http.middleware import Utf8Check
from pipeline.http.operations import Health
from pipeline.http.paths import answer_with_slashes
from pipeline.http.problems import request_faults
from pipeline.reports import PLOTS

STATIC = Path(__file__).with_name("static")
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
"""Of contents; pictures come from the hosts of `media.hosts`, too."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def create_app(parts: ConsoleParts) -> FastAPI:
    """Create the application; files, health and the sign-in need no visitor."""
    app = FastAPI(title="millstream console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.parts, app.state.access = parts, parts.access
    answer_with_slashes(app)
    app.add_middleware(_SecureHeaders, pictures=parts.pictures.sources)
    app.add_middleware(Utf8Check)
    if not parts.access.needs_sign_in:  # a page of a stranger could else reach it by a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    for kind, answer in _error_pages(parts).items():
        app.add_exception_handler(kind, answer)
    app.mount("/static/plots", StaticFiles(directory=PLOTS))
    app.mount("/static", StaticFiles(directory=STATIC))
    for room in (sign_in, now, ask, models, timeline, policies, rules, letters, users):
        app.include_router(room.routes)
    app.add_api_route("/healthz", _health, methods=["GET", "HEAD"])
    return app


class _SecureHeaders:
    """Adds headers to every answer: what pages may load, and that browsers keep no page."""

    def __init__(self, app: ASGIApp, pictures: Sequence[str]) -> None:
        """`pictures`: sources besides the console itself."""
        self._app = app
        policy = {**POLICY, "img-src": " ".join((POLICY["img-src"], *pictures))}
        allowed = "; ".join(f"{name} {sources}" for name, sources in policy.items())
        self._headers = {"Content-Security-Policy": allowed, **HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request; add the headers to the answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                is_file = scope["path"].startswith("/static/")
                headers["Cache-Control"] = "no-cache" if is_file else "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


def _health() -> Health:
    return Health()


ErrorPage = Callable[[Request, Exception], Response]


def _error_pages(parts: ConsoleParts) -> dict[type[Exception], ErrorPage]:
    """Make what answers each kind of error with a page."""

    def page(request: Request, status: int, detail: str) -> Response:
        visitor = parts.access.visitor(request.cookies.get(COOKIE, ""))
        template = "fault.html" if is_fragment(request) else "fault_page.html"
        return parts.pages.page(template, request, visitor, status, detail=detail)

    def not_signed_in(request: Request, _: Exception) -> Response:
        if is_fragment(request):
            return Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
        path = request.url.path if request.method == "GET" else "/"
        return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': path})}", 303)

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return page(request, error.status_code, str(error.detail))

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return page(request, 422, request_faults(request, error))

    return {
        NoVisitor: not_signed_in,
        StarletteHTTPException: refused,
        RequestValidationError: invalid,
        MillstreamError: lambda request, error: page(request, 503, str(error)),
    }
