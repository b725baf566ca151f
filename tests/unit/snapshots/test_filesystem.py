"""A snapshot store that cannot be opened is refused with the setting, its scheme and the remedy."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline.errors import InvalidSettings, StorageUnavailable
from pipeline.snapshots.filesystem import open_filesystem


def test_a_folder_is_opened(tmp_path: Path) -> None:
    files, root = open_filesystem(f"{tmp_path}/store")
    assert (files.is_local, root) == (True, f"{tmp_path}/store")


@pytest.mark.parametrize("url", ["foo://bucket/x", "foo://me:secret@host/x"])
def test_an_unknown_scheme_is_named_without_the_rest_of_the_url(url: str) -> None:
    with pytest.raises(InvalidSettings, match="snapshots.store: foo:// .*name a folder, or a URL") as refused:
        open_filesystem(url)
    assert "secret" not in str(refused.value)


def test_a_package_that_is_missing_is_named() -> None:
    fsspec.register_implementation("far", "farfs_missing.Far", clobber=True, errtxt="Install farfs_missing")
    with pytest.raises(InvalidSettings, match=r"far:// needs a package .*: Install farfs_missing, with pip"):
        open_filesystem("far://bucket/x")


def test_a_store_that_needs_more_than_a_url_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"github:// cannot be opened: .*'org' and 'repo'"):
        open_filesystem("github://x")


def test_a_store_that_does_not_answer_may_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageUnavailable, match="snapshots.store: zip:// does not answer"):
        open_filesystem("zip://x")
