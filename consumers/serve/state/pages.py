"""Immutable sequences of which a changed copy costs its changes, not its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Generic, TypeVar, overload

Value = TypeVar("Value")
PAGE = 1_024
"""Values of a page; a copy copies one reference a page, and the pages that change."""


class Pages(Sequence[Value], Generic[Value]):
    """A sequence in pages, which copies share.

    >>> letters = Pages("abc")
    >>> "".join(letters.changed({1: "B"}).cut(2).extended("xy")), "".join(letters)
    ('aBxy', 'abc')
    """

    def __init__(self, values: Iterable[Value] = ()) -> None:
        rest = iter(values)
        self._pages = list(iter(lambda: tuple(islice(rest, PAGE)), ()))
        self._length = sum(map(len, self._pages[-1:])) + PAGE * max(0, len(self._pages) - 1)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Value: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Value]: ...
    def __getitem__(self, place: int | slice) -> Value | Sequence[Value]:
        if isinstance(place, slice):
            start, stop, step = place.indices(self._length)
            first = start // PAGE
            values = islice(chain.from_iterable(self._pages[first:]), start - first * PAGE, None)
            return list(islice(values, max(0, stop - start)))[::step]
        if not -self._length <= place < self._length:
            raise IndexError(place)
        page, number = divmod(place % self._length, PAGE)
        return self._pages[page][number]

    def __iter__(self) -> Iterator[Value]:
        return chain.from_iterable(self._pages)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pages):
            return NotImplemented
        return self._pages == other._pages

    __hash__ = None  # type: ignore[assignment]

    def changed(self, values: Mapping[int, Value]) -> Pages[Value]:
        """Return a copy with other values at some places."""
        by_page: dict[int, dict[int, Value]] = {}
        for place, value in values.items():
            page, number = divmod(place, PAGE)
            by_page.setdefault(page, {})[number] = value
        pages = self._pages.copy()
        for page, own in by_page.items():
            pages[page] = tuple(own.get(number, value) for number, value in enumerate(pages[page]))
        return _made(pages, self._length)

    def cut(self, length: int) -> Pages[Value]:
        """Return the first `length` values."""
        whole, rest = divmod(length, PAGE)
        pages = self._pages[:whole]
        return _made([*pages, self._pages[whole][:rest]] if rest else pages, length)

    def extended(self, values: Iterable[Value]) -> Pages[Value]:
        """Return a copy with more values at its end."""
        whole = self._length // PAGE
        added: Pages[Value] = Pages(chain(*self._pages[whole:], values))
        return _made([*self._pages[:whole], *added._pages], whole * PAGE + len(added))


def _made(pages: list[tuple[Value, ...]], length: int) -> Pages[Value]:
    made: Pages[Value] = Pages()
    made._pages, made._length = pages, length
    return made
