"""An id for everybody who is not known is a warning, by its share of the acts, and is named where ids are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.datasets import busiest_users
from pipeline.datasets.busiest_users import BusiestUsers
from pipeline.datasets.inspection import inspect
from pipeline.events import Interaction
from tests.support.build import purchase

NOW = 1_790_000_000_000


def acts(*counts: int, others: int = 20, each: int = 10) -> Iterator[Interaction]:
    """Acts of users `nobody-0` and so on, as many as given, among those of other users."""
    users = [f"nobody-{number}" for number, count in enumerate(counts) for _ in range(count)]
    users += [f"user-{number}" for _ in range(each) for number in range(others)]
    return (purchase(user, f"i{number % 7}", number) for number, user in enumerate(users))


@pytest.mark.parametrize(
    ("counts", "others", "found"),
    [
        ((101,), 20, ["nobody-0"]),
        ((100,), 20, []),
        ((150, 300, 200), 20, ["nobody-1", "nobody-2", "nobody-0"]),
        ((101,), 8, []),
        ((101,), 400, []),
    ],
    ids=["far beyond", "not so far", "several", "among few", "a small share"],
)
def test_users_with_far_more_acts_than_others_are_found(
    counts: tuple[int, ...], others: int, found: list[str]
) -> None:
    busiest = BusiestUsers()
    busiest.add(acts(*counts, others=others))
    assert busiest.users() == found
    assert (busiest.warning() is None) == (not found)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busiest_users, "MOST_COUNTED", 50)
    busiest = BusiestUsers()
    busiest.add(acts(5_000, others=2_000, each=2))
    assert busiest.users() == ["nobody-0"]
    assert len(busiest._counts) <= 50


def test_a_warning_names_ids_only_where_they_are_shown(tmp_path: Path) -> None:
    busiest = BusiestUsers()
    busiest.add(acts(101))
    hidden = busiest.warning()
    assert hidden and "1 user did 101 of 301 acts" in hidden and "[[drop]]" in hidden
    assert "nobody" not in hidden
    rows = "".join(f"{act.user},{act.item},{act.time}\n" for act in acts(101))
    (tmp_path / "acts.csv").write_text(f"user_id,item_id,timestamp\n{rows.replace('nobody-0', '-1')}")
    (warning,) = [one for one in inspect(tmp_path, NOW).warnings if "person" in one]
    assert "1 user ('-1') did 101 of 301 acts" in warning
