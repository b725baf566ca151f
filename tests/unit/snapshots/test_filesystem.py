"""A snapshot store that cannot be opened is refused with the setting, its scheme and the remedy."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline.errors import InvalidSettings, StorageUnavailable
from pipeline.snapshots.filesystem import MANIFEST, open_filesystem, open_model, versions_in
from pipeline.snapshots.version import Version


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


def test_the_versions_of_a_model_are_the_folders_with_a_manifest_that_are_named_after_one(
    tmp_path: Path,
) -> None:
    for name in ("mill/1-9", "mill/1-10", "mill/01-11", "mill/layers", "other/3-1"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / MANIFEST).touch()
    (tmp_path / "mill" / "1-12").mkdir()
    for url in (str(tmp_path), f"{tmp_path}/", f"file://{tmp_path}"):
        assert versions_in(*open_model(url, "mill")) == [Version(1, 9), Version(1, 10)]
    assert versions_in(*open_model(str(tmp_path), "nothing")) == []
