"""Where schemas of framed values are: a Schema Registry over HTTP, or a folder."""

from __future__ import annotations

import base64
import json
from enum import StrEnum
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from pipeline.errors import InvalidEvent, LogUnavailable, RefusalReason

ANSWER_SECONDS = 10.0
ACCEPT = "application/vnd.schemaregistry.v1+json"
ENDINGS = {"AVRO": "avsc", "PROTOBUF": "desc", "JSON": "json"}
"""Of the files of a folder; a .desc is what ``protoc --include_imports --descriptor_set_out`` writes."""


class SchemaKind(StrEnum):
    """The kinds of schema that a registry has."""

    AVRO = "AVRO"
    PROTOBUF = "PROTOBUF"
    JSON = "JSON"


class Schema(NamedTuple):
    """A schema.

    Attributes:
        number: its id.
        kind: AVRO, PROTOBUF or JSON.
        content: Avro's JSON; of PROTOBUF a serialized FileDescriptorProto, or a set of them if `is_set`.
        references: the schemas that it refers to, each after its own references, by the name it uses.
        is_set: whether a descriptor set holds the file and what it imports; the file is the last one.
    """

    number: int
    kind: SchemaKind
    content: bytes
    references: tuple[tuple[str, bytes], ...] = ()
    is_set: bool = False


class Registry(Protocol):
    """Knows schemas by their ids."""

    def schema(self, number: int) -> Schema:
        """Return a schema.

        Raises:
            InvalidEvent: there is none of this id.
            LogUnavailable: the registry does not answer.
        """
        ...


def open_registry(place: str, login: str = "") -> Registry:
    """Open a registry at a URL, with ``user:password`` if there is one, or in a folder."""
    if place.startswith(("http://", "https://")):
        return SchemaServer(place, login)
    return SchemaFolder(Path(place))


class SchemaServer:
    """A registry with Confluent's API."""

    def __init__(self, url: str, login: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": ACCEPT}
        if login:
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def schema(self, number: int) -> Schema:
        """See `Registry`."""
        path = f"/schemas/ids/{number}"
        answer = self._get(path, number)
        kind = _kind(answer.get("schemaType", SchemaKind.AVRO), number)
        content = self._content(path, kind, answer, number)
        references = dict[str, bytes]()
        self._add_references(answer, kind, number, references)
        return Schema(number, kind, content, tuple(references.items()))

    def _add_references(
        self, answer: dict[str, Any], kind: SchemaKind, number: int, found: dict[str, bytes]
    ) -> None:
        for one in answer.get("references") or ():
            if one["name"] not in found:
                path = f"/subjects/{quote(one['subject'], safe='')}/versions/{int(one['version'])}"
                referred = self._get(path, number)
                self._add_references(referred, kind, number, found)
                found[one["name"]] = self._content(path, kind, referred, number)

    def _content(self, path: str, kind: SchemaKind, answer: dict[str, Any], number: int) -> bytes:
        """Protobuf's source text would need a compiler; the registry has it compiled, too."""
        if kind is not SchemaKind.PROTOBUF:
            return str(answer["schema"]).encode()
        return base64.b64decode(self._get(f"{path}?format=serialized", number)["schema"])

    def _get(self, path: str, number: int) -> dict[str, Any]:
        try:
            with urlopen(
                Request(f"{self._url}{path}", headers=self._headers), timeout=ANSWER_SECONDS
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                raise _unknown(number) from None
            raise LogUnavailable(f"schema registry {self._url}{path}: {error}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise LogUnavailable(f"schema registry {self._url}{path}: {error}") from error


class SchemaFolder:
    """A folder of schemas: ``<id>.avsc``, ``<id>.desc`` or ``<id>.json``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def schema(self, number: int) -> Schema:
        """See `Registry`."""
        for kind, ending in ENDINGS.items():
            file = self._folder / f"{number}.{ending}"
            if file.is_file():
                return Schema(number, SchemaKind(kind), file.read_bytes(), is_set=kind == "PROTOBUF")
        raise _unknown(number)


def _kind(name: object, number: int) -> SchemaKind:
    if name not in list(SchemaKind):
        reason = f"the schema {number} is of the kind {str(name)[:20]}, which is not read"
        raise InvalidEvent("event", reason, RefusalReason.SCHEMA)
    return SchemaKind(str(name))


def _unknown(number: int) -> InvalidEvent:
    return InvalidEvent("event", f"the registry has no schema {number}", RefusalReason.SCHEMA)
