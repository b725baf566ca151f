"""A recorded data set, read from files as a mapping says: catalogue and users first, then acts by time."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pipeline.datasets.cells import DateForm, common_order, plain_text
from pipeline.datasets.drops import Drops
from pipeline.datasets.each import rows_of
from pipeline.datasets.mapping import FieldSource, ItemMapping, Layout, Mapping, UserMapping
from pipeline.datasets.ordering import TimeOrder, checked
from pipeline.datasets.records import Refuse, Row, check_headers, files_of, leave_out, read_rows
from pipeline.datasets.row_reader import (
    Act,
    ActReader,
    CellReader,
    Drop,
    Fields,
    InvalidField,
    ItemReader,
    cell_of,
)
from pipeline.datasets.user_rows import UserReader, UserRows, user_of_fields
from pipeline.errors import InvalidEvent
from pipeline.events import Interaction, Item, User, validate

ID_BYTES = 12
SEEN_BEFORE = "in an earlier file already"
REPEATED = "its event_id is that of an earlier act of the same user"
REMEMBERED_IDS = 1_000_000
"""The last event ids that are known again, at least; as many as a learner knows of a partition."""
NO_ACT = -1
"""Stands for the time of a row that is no act: what it says counts where no act says anything."""


class MappedDataset:
    """The files at a path, read by a mapping.

    Items from files of their own are yielded in the order of these files. Items that the rows of the acts
    describe are those with an act, the one with the latest act first; a title is the most frequent one.
    Users that the rows of the acts describe are those with an act; they come before all acts.

    Without an id in the rows, an event id consists of a digest of the act and a number that counts equal
    ones within a file: an invoice may have the same line twice. So an export that has grown, is packed or
    is written in another format gives the same ids, and exports that overlap are read once.

    Attributes:
        drops: rows left out in the last iteration, by reason.
    """

    def __init__(self, source: Path, mapping: Mapping, most_rows: int | None = None) -> None:
        """Open the data set.

        Args:
            source: a file, or a folder.
            mapping: of its columns.
            most_rows: of interactions, and of items, of which no more are read; all without it.

        Raises:
            DatasetError: there is no file that the mapping names, one lacks a column, or the mapping makes
                items only.
        """
        self._mapping = mapping
        self._most_rows = most_rows
        self._files = files_of(source, mapping.layout)
        self._item_files, self._user_files = (
            _files_of_part(source, part) for part in (mapping.items, mapping.users)
        )
        check_headers(self._files, mapping.layout, mapping.of_rows())
        for part, files in (mapping.items, self._item_files), (mapping.users, self._user_files):
            if part is not None and part.layout is not None:
                check_headers(files, part.layout, part.sources())
        cells = CellReader(mapping.time, mapping.layout, lambda: self._order)
        self._acts = ActReader(mapping, cells)
        self.drops = Drops()

    @property
    def name(self) -> str:
        """Short name for reports."""
        return self._mapping.name

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the files' bytes on disk."""
        digest = hashlib.sha256()
        for path in [*self._files, *self._item_files, *self._user_files]:
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        return digest.hexdigest()

    def events(self) -> Iterator[Item | User | Interaction]:
        """Yield catalogue and users, then the acts; of `sorted` rows, each before its first act.

        Raises:
            DatasetError: a row has other columns or an invalid value; names file, line, column,
                value and remedy. A user's id is never repeated.
        """
        self.drops = Drops()
        described = _DescribedItems(self._mapping, self._reader(self._mapping.layout))
        if self._mapping.layout.sorted:
            yield from self._streamed(described)
            return
        with TimeOrder() as order:
            users = UserRows(self._user_reader(self._mapping.users_are_in_rows))
            for act in self._read_acts(described, users):
                described.add_act(act)
                order.add(act)
            yield from self._catalogue(described.opening)
            yield from self._valid(described.with_acts())
            yield from self._users(described.opening)
            yield from self._valid_users(users.users(described.opening))
            yield from self._interactions(order.sorted())

    def _streamed(self, described: _DescribedItems) -> Iterator[Item | User | Interaction]:
        users = UserRows(self._user_reader(self._mapping.users_are_in_rows))
        acts = checked(self._read_acts(described, users))
        first = next(acts, None)
        if first is None:
            return
        yield from self._catalogue(first.time)
        yield from self._users(first.time)
        for event in self._interactions(itertools.chain([first], acts)):
            yield from self._valid(described.before_its_first_act(event))
            yield from self._valid_users(users.before_first_act(event.user, event.time))
            yield event

    def _read_acts(self, described: _DescribedItems, users: UserRows) -> Iterator[Act]:
        """Yield the acts in the order of the rows; count the others."""
        for number, (file, row) in enumerate(self._rows(self._refuse_row)):
            if row.repeats_header:
                self.drops.add("the header again", row.place)
                continue
            try:
                act = self._acts.read(row, number, file)
                time = NO_ACT if isinstance(act, Drop) else act.time
                described.add_row(row, time)
                if not isinstance(act, Drop):
                    users.add_row(row, time)
            except InvalidField as error:
                self._refuse(row.place, error.detail, error.reason)
                continue
            if isinstance(act, Drop):
                self.drops.add(act.reason, row.place)
            else:
                yield act

    def _rows(self, refuse: Refuse) -> Iterator[tuple[int, Row]]:
        found = (
            (file, part)
            for file, path in enumerate(self._files)
            for row in read_rows(path, self._mapping.layout, self._mapping.of_rows(), refuse)
            for part in rows_of(row, self._mapping.each)
        )
        return itertools.islice(found, self._most_rows)

    @cached_property
    def _order(self) -> DateForm:
        """The order of day and month; all dates are read once more for it."""
        source = self._mapping.acts.time
        if source is None:
            raise ValueError("has day and month in an unknown order: name the format in [time]")
        cells = ((row.place, plain_text(cell_of(row.cells, source))) for _, row in self._rows(leave_out))
        return common_order(cells, source.name)

    def _interactions(self, acts: Iterator[Act]) -> Iterator[Interaction]:
        ids = _RecentIds(REMEMBERED_IDS)
        for _, same_time in itertools.groupby(acts, key=lambda act: act.time):
            occurrences, seen = Counter[tuple[int, str]](), set[str]()
            for act in same_time:
                event_id = self._event_id(act, occurrences)
                if "event_id" in act.fields:
                    if ids.is_repeated(act):
                        self.drops.add(REPEATED, act.place)
                        continue
                elif event_id in seen:
                    self.drops.add(SEEN_BEFORE, act.place)
                    continue
                seen.add(event_id)
                yield from self._valid_act(act, event_id)

    def _event_id(self, act: Act, occurrences: Counter[tuple[int, str]]) -> str:
        if "event_id" in act.fields:
            return str(act.fields["event_id"])
        digest = hashlib.blake2b(self._content(act).encode(), digest_size=ID_BYTES).hexdigest()
        occurrences[act.file, digest] += 1
        return f"{digest}-{occurrences[act.file, digest]}"

    def _content(self, act: Act) -> str:
        """What makes an act the same one in another export."""
        fields = act.fields
        named = [
            fields["user"],
            fields["item"],
            act.time,
            repr(fields.get("value")),
            fields.get("session", ""),
        ]
        return "\x1f".join(map(str, [*named, fields["type"]] if self._acts.has_types else named))

    def _valid_act(self, act: Act, event_id: str) -> Iterator[Interaction]:
        try:
            yield validate(Interaction, {**act.fields, "event_id": event_id, "time": act.time})
        except InvalidEvent as error:
            self._refuse(act.place, str(error), str(error))

    def _catalogue(self, opening: int) -> Iterator[Item]:
        """Yield the items from files of their own."""
        items = self._mapping.items
        if items is None or items.layout is None:
            return
        reader = ItemReader(items, self._reader(items.layout))
        layout, sources = items.layout, list(items.sources())
        found = self._rows_of_part(self._item_files, layout, sources)
        for row in itertools.islice(found, self._most_rows):
            yield from self._item_of_row(reader, row, opening)

    def _item_of_row(self, reader: ItemReader, row: Row, opening: int) -> Iterator[Item]:
        try:
            item = reader.item(row.cells)
            if not item or row.repeats_header:
                self.drops.add("the header again" if row.repeats_header else "an item without id", row.place)
                return
            title = reader.title(row.cells) or item
            fields = {"item": item, "title": title, "time": opening, **reader.others(row.cells)}
        except InvalidField as error:
            self._refuse(row.place, error.detail, error.reason)
            return
        yield from self._valid([(row.place, fields)])

    def _valid(self, items: Iterator[tuple[str, Fields]] | list[tuple[str, Fields]]) -> Iterator[Item]:
        for place, fields in items:
            try:
                yield validate(Item, fields)
            except InvalidEvent as error:
                self._refuse(place, str(error), str(error))

    def _users(self, opening: int) -> Iterator[User]:
        """Yield the users from files of their own."""
        users = self._mapping.users
        if users is None or users.layout is None:
            return
        described, layout, sources = UserRows(self._user_reader()), users.layout, list(users.sources())
        for row in self._rows_of_part(self._user_files, layout, sources):
            try:
                if not row.repeats_header:
                    described.add_row(row)
            except InvalidField as error:
                self._refuse(row.place, error.detail, error.reason)
        yield from self._valid_users(described.users(opening))

    def _valid_users(self, users: Iterator[tuple[str, Fields]]) -> Iterator[User]:
        for place, fields in users:
            try:
                yield user_of_fields(fields)
            except InvalidEvent as error:
                self._refuse(place, str(error), str(error))

    def _user_reader(self, is_asked: bool = True) -> UserReader | None:
        users = self._mapping.users
        if users is None or not is_asked:
            return None
        return UserReader(users, self._reader(users.layout or self._mapping.layout))

    def _rows_of_part(self, files: list[Path], layout: Layout, sources: list[FieldSource]) -> Iterator[Row]:
        return (row for path in files for row in read_rows(path, layout, sources, self._refuse_row))

    def _refuse_row(self, place: str, fault: str, details: str) -> None:
        self._refuse(place, fault + details, fault)

    def _refuse(self, place: str, detail: str, reason: str) -> None:
        self.drops.refuse_row(place, reason, detail, self._mapping)

    def _reader(self, layout: Layout) -> CellReader:
        return CellReader(self._mapping.item_times, layout, lambda: self._order)


class _RecentIds:
    """The last ids of acts, by user: a learner learns only the first act with each. Memory is bounded."""

    def __init__(self, least: int) -> None:
        """Know none yet; `least` ids are remembered at least, and twice as many at most."""
        self._least = least
        self._recent, self._older = set[int](), set[int]()

    def is_repeated(self, act: Act) -> bool:
        """Whether the id of an act was known; it is remembered."""
        key = hash((act.fields["user"], act.fields["event_id"]))
        if key in self._recent or key in self._older:
            return True
        self._recent.add(key)
        if len(self._recent) == self._least:
            self._recent, self._older = set(), self._recent
        return False


class _DescribedItems:
    """Items as the rows of the acts describe them: titles by frequency, the latest of all other fields."""

    def __init__(self, mapping: Mapping, cells: CellReader) -> None:
        described = mapping.items if mapping.titles_are_in_rows else None
        self._reader = ItemReader(described, cells) if described else None
        self._titles: dict[str, Counter[str]] = {}
        self._others: dict[str, tuple[int, Fields]] = {}
        self._first: dict[str, Act] = {}
        self._last: dict[str, tuple[int, int]] = {}

    @property
    def opening(self) -> int:
        """Time of the first act."""
        return min((act.time for act in self._first.values()), default=0)

    def add_row(self, row: Row, time: int) -> None:
        """Add what a row says of its item at a time; rows without an act say it, too."""
        if self._reader is None or not (item := self._reader.item(row.cells)):
            return
        if title := self._reader.title(row.cells):
            self._titles.setdefault(item, Counter())[title] += 1
        others = self._reader.others(row.cells)
        if others and time >= self._others.get(item, (time,))[0]:
            self._others[item] = time, others

    def add_act(self, act: Act) -> None:
        """Note an act that may be the first or the last on its item."""
        item, at = str(act.fields["item"]), (act.time, act.number)
        first = self._first.get(item)
        if first is None or at < (first.time, first.number):
            self._first[item] = act
        self._last[item] = max(at, self._last.get(item, at))

    def with_acts(self) -> Iterator[tuple[str, Fields]]:
        """Yield place and fields of each item that has an act, the one with the latest act first."""
        if self._reader is None:
            return
        opening = self.opening
        for item in sorted(self._last, key=self._last.__getitem__, reverse=True):
            yield self._first[item].place, self._fields(item, opening)

    def before_its_first_act(self, act: Interaction) -> Iterator[tuple[str, Fields]]:
        """Yield the item of an act if it is new."""
        if self._reader is not None and act.item not in self._first:
            self._first[act.item] = Act(act.time, 0, 0, "", {})
            yield act.item, self._fields(act.item, act.time)

    def _fields(self, item: str, time: int) -> Fields:
        titles = self._titles.get(item)
        title = titles.most_common(1)[0][0] if titles else item
        _, others = self._others.get(item, (time, {}))
        return {"item": item, "title": title, "time": time, **others}


def _files_of_part(source: Path, part: ItemMapping | UserMapping | None) -> list[Path]:
    """Return the files in which items or users are described apart from the acts."""
    if part is None or part.layout is None:
        return []
    return files_of(source.parent if source.is_file() else source, part.layout)
