"""Bodies of requests: read within a bound, and divided into events by their media type."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import orjson
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.events import Item, parse
from pipeline.http.compression import COMPRESSED, is_compressed
from producers.gateway import cloud_events, csv_items
from producers.gateway.cloud_events import SentEvent

READ_SECONDS = 30.0
"""How long a body may take to arrive: it holds one of the places of requests in flight."""
MAX_LENGTH_DIGITS = 20
JSON = "application/json"
NDJSON = "application/x-ndjson"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"


class Line(NamedTuple):
    """One event of a body: its number from 1 on, and how to read it.

    `read` raises InvalidEvent.
    """

    number: int
    read: Callable[[], SentEvent]


Lines = Iterator[Line]


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Read a body; stop at once when it is larger than the bound.

    Raises:
        HTTPException: 413, it is too large; 415, it is compressed; 408, it takes too long; 400, it ends too
            early.
    """
    _check_headers(request.headers, most_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > most_bytes:
                    raise _too_large(most_bytes)
                body += chunk
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {READ_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended too early") from None
    return bytes(body)


def lines_of(body: bytes, headers: Mapping[str, str], kind: str | None = None) -> list[Line]:
    """Divide a body into its events of a kind, by the header Content-Type; items may be csv.

    Raises:
        HTTPException: 415, the media type is another one; 400, there is no event.
    """
    dividers = {**_DIVIDERS, csv_items.MEDIA_TYPE: _csv_rows} if kind == Item.kind else _DIVIDERS
    divide = dividers.get(_media_type(headers))
    if divide is None:
        raise HTTPException(415, f"send the header Content-Type with one of {', '.join(dividers)}")
    lines = list(divide(body.removeprefix(BOM_UTF8), headers))
    if not lines:
        raise HTTPException(400, "the body holds no event")
    return lines


def _check_headers(headers: Mapping[str, str], most_bytes: int) -> None:
    length = headers.get("content-length", "0")
    if len(length) > MAX_LENGTH_DIGITS or (length.isdecimal() and int(length) > most_bytes):
        raise _too_large(most_bytes)
    if is_compressed(headers):
        raise HTTPException(415, COMPRESSED)


def _too_large(most_bytes: int) -> HTTPException:
    # The rest of the body is not read, so the connection cannot be used again.
    return HTTPException(
        413,
        f"a body has at most {most_bytes} bytes: divide it into several requests",
        {"Connection": "close"},
    )


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _json_lines(body: bytes, headers: Mapping[str, str]) -> Lines:
    """Yield the event of each line; empty lines count, and are passed over."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            yield Line(number, partial(_of_line, line))


def _of_line(line: bytes) -> SentEvent:
    return SentEvent(parse(line), {})


def _csv_rows(body: bytes, headers: Mapping[str, str]) -> Lines:
    """Yield the item of each row; numbers are those of the lines, and the header has the first."""
    for number, header, cells in csv_items.rows_of(body):
        yield Line(number, partial(_of_row, header, cells))


def _of_row(header: list[str], cells: list[str]) -> SentEvent:
    return SentEvent(csv_items.item_of(header, cells), {})


def _json(body: bytes, headers: Mapping[str, str]) -> Lines:
    """Yield the events of an array, or the only event of a body; that may be the data of a CloudEvent."""
    if cloud_events.is_binary(headers):
        return _one_or_all(body, partial(cloud_events.binary, headers), several=False)
    return _one_or_all(body, cloud_events.plain, several=True)


def _cloud_event(body: bytes, headers: Mapping[str, str]) -> Lines:
    return _one_or_all(body, cloud_events.structured, several=False)


def _cloud_events(body: bytes, headers: Mapping[str, str]) -> Lines:
    return _one_or_all(body, cloud_events.structured, several=True)


def _one_or_all(body: bytes, read: Callable[[object], SentEvent], several: bool) -> Lines:
    if not body.strip():
        return
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        yield Line(1, partial(_refuse, str(error)))
        return
    values = value if several and isinstance(value, list) else [value]
    yield from (Line(number, partial(read, value)) for number, value in enumerate(values, 1))


def _refuse(fault: str) -> SentEvent:
    raise InvalidEvent("event", f"not JSON: {fault}", RefusalReason.NOT_JSON)


_DIVIDERS: Mapping[str, Callable[[bytes, Mapping[str, str]], Lines]] = {
    JSON: _json,
    NDJSON: _json_lines,
    CLOUD_EVENT: _cloud_event,
    CLOUD_EVENTS: _cloud_events,
}
MEDIA_TYPES = tuple(_DIVIDERS)
