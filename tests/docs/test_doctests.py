"""Examples in docstrings are what the code does."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.support.documents import ROOT

MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for package in ("pipeline", "consumers", "producers")
    for file in (ROOT / package).rglob("*.py")
    if ">>> " in file.read_text()
)


def test_there_are_some() -> None:
    assert len(MODULES) >= 6


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_hold(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0
    assert found.failed == 0
