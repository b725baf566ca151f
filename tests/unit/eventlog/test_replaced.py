"""A log is another one if a topic has another id, or ends before what was read of it."""

from __future__ import annotations

from pipeline.eventlog.port import TopicPartition
from pipeline.eventlog.replaced import replacements, same_topics

FIRST, SECOND = TopicPartition("shop.items", 0), TopicPartition("shop.items", 1)
IDS = {"shop.items": "a"}


def test_an_id_that_is_not_known_is_no_other_topic() -> None:
    assert same_topics({}, {"items": "a"})
    assert same_topics({"items": ""}, {"items": "a"})
    assert same_topics({"items": "a"}, {"items": ""})
    assert same_topics({"items": "a"}, {"items": "a"})
    assert not same_topics({"items": "a"}, {"items": "b"})


def test_a_log_that_goes_on_is_the_same() -> None:
    assert replacements({FIRST: 3}, IDS, {FIRST: 3}, IDS) == []
    assert replacements({FIRST: 3}, IDS, {FIRST: 9}, IDS) == []
    assert replacements({FIRST: 3}, {}, {FIRST: 9}, IDS) == []


def test_a_log_that_ends_too_early_is_another_one() -> None:
    found = replacements({FIRST: 3, SECOND: 7}, IDS, {FIRST: 3, SECOND: 6}, IDS)
    assert found == ["shop.items/1 ends at 6, before 7"]
    assert replacements({SECOND: 1}, IDS, {FIRST: 3}, IDS) == ["shop.items/1 ends at 0, before 1"]


def test_of_a_topic_made_again_no_offset_counts() -> None:
    found = replacements({FIRST: 3}, IDS, {FIRST: 0}, {"shop.items": "b"})
    assert found == ["shop.items was deleted and made again"]
