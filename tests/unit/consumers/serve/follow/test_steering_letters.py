"""Records that are no users and no rules become dead letters, each once, by whichever server."""

from __future__ import annotations

import base64
import logging

import orjson
import pytest

from consumers.serve.follow.steering_letters import SteeringLetters
from pipeline.errors import InvalidEvent, LogUnavailable
from pipeline.eventlog.intake import user_of
from pipeline.eventlog.port import Record, read
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.reports.dead_letters import read_letters
from producers.redelivery import decider, send
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

USER = b'{"v":2,"kind":"user","user":"ann","attributes":{"tier":"gold"}}'
BAD_USER, BAD_RULE = USER.replace(b"attributes", b"atributes"), b'{"v":1,"kind":"rule","name":"cap"}'


def append(world: World, topic: str, key: str, value: bytes) -> None:
    with world.log.writer() as writer:
        writer.append(topic, key, value)


def letters(world: World) -> list[tuple[str, str, str]]:
    return [
        (str(one["topic"]), str(one["record_key"]), str(one["code"]))
        for one in read_letters(world.log, world.topics)
    ]


def test_bad_users_and_rules_become_dead_letters_with_their_place(world: World) -> None:
    world.stock()
    append(world, world.topics.users, "ann", BAD_USER)
    with world.server() as current:
        world.shown(current)
        append(world, world.topics.rules, "cap", BAD_RULE)
        wait_until(lambda: len(letters(world)) == 2)
    assert letters(world) == [
        (world.topics.users, "ann", "unknown_field"),
        (world.topics.rules, "cap", "schema"),
    ]


def test_a_letter_that_was_sent_once_more_does_not_come_back(world: World) -> None:
    world.stock()
    append(world, world.topics.users, "ann", BAD_USER)
    with world.server() as current:
        world.shown(current)
        wait_until(lambda: len(letters(world)) == 1)
    (letter,) = read_letters(world.log, world.topics)
    mended = {**letter, "value": base64.b64encode(USER).decode(), "size": len(USER)}
    found = decider(world.topics, lambda topic: None, lambda letter: "")(mended, 0)
    send(world.log, world.topics, [found])
    with world.server() as current:
        world.shown(current)
        append(world, world.topics.rules, "cap", BAD_RULE)
        wait_until(lambda: bool(letters(world)))
    assert [key for _, key, _ in letters(world)] == ["cap"]
    *_, sent = read(world.log, world.topics.users)
    assert orjson.loads(sent.value or b"")["attributes"] == {"tier": "gold"}


def test_letters_wait_while_the_log_refuses_them(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = SteeringLetters(world.log, world.topics, RefusalLog("serve"))
    record = Record(world.topics.users, 0, 0, 0, "ann", BAD_USER)
    with pytest.raises(InvalidEvent) as refused:
        user_of(record)
    waiting.add(record, refused.value)

    def away() -> None:
        raise LogUnavailable("nobody answers")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(world.log, "writer", away)
        waiting.settle({})
    assert "1 dead letter waiting for the log: nobody answers" in caplog.text
    assert letters(world) == []
    waiting.settle({})
    assert letters(world) == [(world.topics.users, "ann", "unknown_field")]
