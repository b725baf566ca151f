"""The freshness benchmark in short: what is counted between two scrapes, and its end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from benchmarks.feed import Feed
from benchmarks.freshness import ages, percentiles, seen, since
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics

TOPICS = Topics("shop")


def ages_of(stage: str, within: dict[float, int]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """A scraped histogram; the number of acts that are no older, by age in seconds."""
    name = f"millstream_appended_to_{stage}_seconds_bucket"
    return {(name, frozenset({("le", str(edge))})): count for edge, count in within.items()}


def test_what_was_counted_before_the_measured_seconds_does_not_count() -> None:
    before, after = ages_of("served", {1: 0, 2: 50, 9: 90}), ages_of("served", {1: 100, 2: 150, 9: 190})
    assert since(before, after) == ages_of("served", {1: 100, 2: 100, 9: 100})
    assert since({}, after) == after


def test_ages_are_those_of_each_stage() -> None:
    learn = ages_of("learned", {1: 100, 2: 100}) | ages_of("published", {1: 0, 2: 100})
    assert ages({"learn": learn, "serve": ages_of("served", {2: 0, 4: 100})}) == {
        "learned_p50": 0.5,
        "learned_p95": 0.95,
        "published_p50": 1.5,
        "published_p95": 1.95,
        "served_p50": 3,
        "served_p95": 3.9,
    }


def test_percentiles_are_of_sorted_answers() -> None:
    assert percentiles("request", list(range(200))) == {"request_p50_ms": 100, "request_p99_ms": 198}


def test_nobody_new_comes_once_it_is_stopped(tmp_path: Path) -> None:
    with closing(open_log(f"sqlite:///{tmp_path}/log.db")) as log:
        TOPICS.create(log, 1, 1_000_000, 0)
        stopped = Feed(log, TOPICS, "http://127.0.0.1:9", titles=1)
        stopped.stop.set()
        assert seen(stopped) == []
