"""Data sets at URLs are read as if they were here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.datasets import open_dataset
from pipeline.datasets.inspection import inspect
from pipeline.datasets.remote import local
from pipeline.errors import DatasetError

SESSIONS = {"period_1.txt": "12 7\n12 8\n", "period_2.txt": "13 7\n"}


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder in memory, of its own for each test: copies are made once."""
    files, path = fsspec.filesystem("memory"), f"/{request.node.name}"
    for name, content in SESSIONS.items():
        files.pipe_file(f"{path}/{name}", content.encode())
    yield f"memory:/{path}"
    files.rm(path, recursive=True)


def test_a_folder_elsewhere_gives_the_events_of_a_folder_here(folder: str, tmp_path: Path) -> None:
    for name, content in SESSIONS.items():
        (tmp_path / name).write_text(content)
    there, here = open_dataset(folder), open_dataset(str(tmp_path))
    assert list(there.events()) == list(here.events())
    assert there.digest == here.digest


def test_a_file_elsewhere_is_copied_once(folder: str) -> None:
    url = f"{folder}/period_2.txt"
    path = local(url)
    assert path.read_text() == SESSIONS["period_2.txt"]
    assert local(url) == path
    assert [act.user for act in inspect(path, now=0).interactions] == ["13"]


def test_a_path_stays_as_it_is(tmp_path: Path) -> None:
    assert local(str(tmp_path)) == tmp_path


def test_faults_name_the_remedy_and_no_password() -> None:
    fsspec.register_implementation("far", "farfs_missing.Far", clobber=True, errtxt="Install farfs_missing")
    for url, message in [
        ("foo://me:secret@host/x.csv?token=secret", r"foo://…/x.csv cannot be read: .*s3://bucket/folder"),
        ("memory://secret/nothing.csv", r"memory://…/nothing.csv: found neither a file nor a folder"),
        ("far://secret/x.csv", r"far:// needs a package .*: Install farfs_missing, with pip"),
    ]:
        with pytest.raises(DatasetError, match=message) as refused:
            open_dataset(url)
        assert "secret" not in str(refused.value)
