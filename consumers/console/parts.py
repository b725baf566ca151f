"""What the routes share: each part of the console, by the application that has them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import Annotated

from fastapi import Depends, Request

from consumers.console.access import Access
from consumers.console.answers import Answers
from consumers.console.catalogue import CatalogueItems
from consumers.console.commands import Actions
from consumers.console.earlier import EarlierServer
from consumers.console.pages import Pages
from consumers.console.pictures import Pictures
from consumers.console.provider import Provider
from consumers.console.watch import Watch
from pipeline.config import Settings
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics


@dataclass(frozen=True)
class ConsoleParts:
    """The parts of a console; `stop` is set when it ends. `provider` is None where nobody signs in by one."""

    settings: Settings
    event_log: EventLog
    topics: Topics
    access: Access
    provider: Provider | None
    pages: Pages
    watch: Watch
    pictures: Pictures
    items: CatalogueItems
    answers: Answers
    earlier: EarlierServer
    actions: Actions
    stop: Event


def parts_of(request: Request) -> ConsoleParts:
    """Return the parts of the console that a request came to."""
    parts: ConsoleParts = request.app.state.parts
    return parts


Parts = Annotated[ConsoleParts, Depends(parts_of)]
