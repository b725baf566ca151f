"""What acts said last of their items and users, so that not every act repeats it."""

from __future__ import annotations

from collections import OrderedDict

from pipeline.datasets.row_reader import Fields

MOST_DESCRIBED = 100_000
"""Items, or users, whose last description is remembered."""


class Described:
    """The last descriptions by id, the first written of them forgotten; not for several threads."""

    def __init__(self) -> None:
        self._fields: OrderedDict[str, Fields] = OrderedDict()

    def is_news(self, name: str, fields: Fields) -> bool:
        """Whether fields say anything that was not said last."""
        return bool(fields) and self._fields.get(name) != fields

    def note(self, name: str, fields: Fields) -> None:
        """Remember a description that was made."""
        self._fields[name] = fields
        if len(self._fields) > MOST_DESCRIBED:
            self._fields.popitem(last=False)
