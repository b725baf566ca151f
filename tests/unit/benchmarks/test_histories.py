"""The histories benchmark in short: what they take after each act, and how long a collection lasts."""

from __future__ import annotations

import pytest

from benchmarks.histories import main


def test_it_measures_memory_and_garbage_collection(capsys: pytest.CaptureFixture[str]) -> None:
    main(users=50, acts=2)
    first, second, collection = capsys.readouterr().out.splitlines()
    assert first.startswith("50 users, 1 acts each:") and second.startswith("50 users, 2 acts each:")
    assert collection.startswith("garbage collection:")
