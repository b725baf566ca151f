"""Versions are ordered by generation and step, and read from what is named after them."""

from __future__ import annotations

import pytest

from pipeline.snapshots.version import Version


def test_versions_are_in_order_of_generation_and_step() -> None:
    assert sorted(map(Version.parse, ["2-1", "1-10", "1-9"])) == [(1, 9), (1, 10), (2, 1)]
    assert str(Version.parse("12-345")) == "12-345"
    with pytest.raises(ValueError, match="no version"):
        Version.parse("latest")


@pytest.mark.parametrize(
    ("name", "version"),
    [("1-10", Version(1, 10)), ("01-10", None), ("1-2-3", None), ("adopted", None), ("1-", None)],
)
def test_a_folder_of_another_name_is_a_strangers(name: str, version: Version | None) -> None:
    assert Version.named(name) == version
