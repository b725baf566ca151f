"""Requests of httpx go to applications in this process, by host and port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
from fastapi import FastAPI


class AppTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Sends each request to the application of its host, such as `127.0.0.1:8000`; keeps the requests."""

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        self._apps = apps
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self.handle_async_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        app = httpx.ASGITransport(self._apps[request.url.netloc.decode()])
        answer = await app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())
