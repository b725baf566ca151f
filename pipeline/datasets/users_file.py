"""Users in a file: JSONL whose lines are users with their attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.mapping import FileFormat, Layout
from pipeline.datasets.records import check_rows, files_of, read_rows
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.events import User, build, check_units

ENVELOPE = {"v": User.version, "kind": User.kind}
"""What a line may leave out."""
JSONL = Layout(format=FileFormat.JSONL)


def read_users(source: Path) -> Iterator[User]:
    """Yield the users of a file, or of the files of a folder.

    Raises:
        DatasetError: there is no file or no line, or a line is no user; names file, line, field and reason.
    """
    check_rows(source, JSONL)
    for file in files_of(source, JSONL):
        for row in read_rows(file, JSONL):
            try:
                user = build(User, {**ENVELOPE, **row.cells})
                check_units(user)
            except InvalidEvent as error:
                raise DatasetError(f"{row.place}: {error}") from None
            yield user
