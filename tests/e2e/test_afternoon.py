"""The first afternoon on real Kafka: a topic of strangers and a catalogue become personal recommendations.

What an engineer does, by the commands that an engineer types: the topic has nested JSON of a shape that is
not ours, the catalogue is a csv file with decimal commas, and only two mappings are written.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import orjson
import pytest

from pipeline.config import Settings
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, TopicSpec
from pipeline.eventlog.topics import Topics
from pipeline.reports.dead_letters import read_letters
from tests.support.commands import run
from tests.support.http_client import card
from tests.support.serve_tools import wait_until

FOREIGN = "shop-activity-v3"
DEPARTMENTS = {
    "garden": ("rake", "hose", "spade", "shears", "seed tray", "wheelbarrow", "lawn feed", "trowel"),
    "kitchen": ("frying pan", "whisk", "colander", "ladle", "bread knife", "teapot", "grater", "mug"),
    "toys": ("train set", "puzzle", "teddy bear", "kite", "yo-yo", "doll's house", "spinning top", "drum"),
}
KINDS = ("small", "large", "green", "blue")
USERS, ACTS = 24, 30
MALFORMED = 40
OWN_TASTE = 0.9
"""Share of acts in the department that a user likes."""
PATIENCE_SECONDS = 240
CATALOGUE_MAPPING = """
[layout]
delimiter = ";"
decimal = ","
encoding = "cp1252"

[items]
item = "artikel"
title = "bezeichnung"
category = "abteilung"
available = "bestand"
attributes = { price = { column = "preis", kind = "number" } }
"""
ACTS_MAPPING = """
[interactions]
user = "customer.no"
item = "payload.article.ref"
type = "payload.kind"
time = "meta.at"
value = { column = "payload.cents", scale = 0.01 }
session = "meta.visit"

[time]
format = "%d.%m.%Y %H:%M:%S"
zone = "Europe/Berlin"

[types]
PRODUCT_SEEN = "view"
ORDERED = "purchase"
"""

PINNED, DEAR, MOST_OF_A_DEPARTMENT = "g3", 21.0, 6
RULES = f"""
[[rules]]
name = "not-dear"
action = "leave_out"
items = {{ attributes = [{{ name = "price", at_least = {DEAR} }}] }}

[[rules]]
name = "article-of-the-day"
action = "pin"
item = "{PINNED}"
place = 1

[[rules]]
name = "mixed"
action = "cap"
most = {MOST_OF_A_DEPARTMENT}
"""


@pytest.fixture
def log_url(kafka_url: str) -> str:
    return kafka_url


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path, prefix: str) -> dict[str, str]:
    mapping = tmp_path / "activity.toml"
    mapping.write_text(ACTS_MAPPING)
    topics = {f"{prefix}-{FOREIGN}": {"mapping": str(mapping)}}
    return environment | {
        "MILLSTREAM_BRIDGE__TOPICS": orjson.dumps(topics).decode(),
        "MILLSTREAM_BRIDGE__PORT": str(free_port()),
    }


def test_an_afternoon(settings: Settings, daemons: Daemons, tmp_path: Path) -> None:
    with closing(open_log(settings.log.url)) as event_log:
        (foreign,) = settings.bridge.topics
        event_log.create_topics([TopicSpec(foreign, 3)])
        send_activity(event_log, foreign)
        type_commands(tmp_path)
        for daemon in ("bridge", "learn", "serve"):
            daemons.start(daemon)
        wait_until_served(settings, daemons, USERS * ACTS)
        assert len(read_letters(event_log, Topics(settings.log.prefix))) == MALFORMED
        check_personal(settings)
        put_rules(tmp_path)
        check_rules(settings)


def type_commands(folder: Path) -> None:
    """What is typed before the daemons start."""
    catalogue, mapping = folder / "catalogue.csv", folder / "catalogue.toml"
    catalogue.write_bytes(catalogue_csv().encode("cp1252"))
    mapping.write_text(CATALOGUE_MAPPING)
    for line in (
        ("topics", "create"),
        ("items", "load", str(catalogue), "--mapping", str(mapping)),
        ("bridge", "--dry-run"),
    ):
        result = run(*line)
        assert result.exit_code == 0, result.output
    assert f"{USERS * ACTS + MALFORMED:,} records would become" in result.output
    assert f"{MALFORMED} would be refused" in result.output


def catalogue_csv() -> str:
    """The articles with prices such as 12,50 and names such as Größe."""
    lines = ["artikel;bezeichnung;abteilung;preis;bestand"]
    for item, department, name in articles():
        lines.append(f"{item};{name} – Größe M;{department};{len(name)},50;{len(lines)}")
    return "\n".join(lines)


def articles() -> list[tuple[str, str, str]]:
    """Id, department and name of each article."""
    return [
        (f"{department[0]}{number}", department, f"{kind} {department} {thing}")
        for department, things in DEPARTMENTS.items()
        for number, (kind, thing) in enumerate((kind, thing) for kind in KINDS for thing in things)
    ]


def taste_of(user: int) -> str:
    """The department that a user likes."""
    return sorted(DEPARTMENTS)[user % len(DEPARTMENTS)]


def send_activity(event_log: EventLog, foreign: str) -> None:
    """Send each user's acts, in turn, and some records that are none."""
    dice, now = random.Random(5), datetime.now(UTC) - timedelta(days=2)
    with event_log.writer() as writer:
        for number in range(USERS * ACTS):
            user = number % USERS
            at = now + timedelta(seconds=number)
            writer.append(foreign, f"c-{user}", activity(user, at, dice))
        for number in range(MALFORMED):
            writer.append(foreign, f"x-{number}", dice.choice([b"{", b"[]", b'{"customer": {"no": 3}}']))
        writer.flush()


def activity(user: int, at: datetime, dice: random.Random) -> bytes:
    department = taste_of(user) if dice.random() < OWN_TASTE else dice.choice(sorted(DEPARTMENTS))
    item = dice.choice([item for item, group, _ in articles() if group == department])
    return orjson.dumps(
        {
            "meta": {
                "at": f"{at.astimezone(ZoneInfo('Europe/Berlin')):%d.%m.%Y %H:%M:%S}",
                "visit": f"{user}-{at:%d%H}",
            },
            "customer": {"no": user},
            "payload": {
                "kind": dice.choice(("PRODUCT_SEEN", "ORDERED")),
                "article": {"ref": item},
                "cents": dice.randrange(100, 9_999),
            },
        }
    )


def wait_until_served(settings: Settings, daemons: Daemons, events: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while card(settings).get("events") != events:
        daemons.check("bridge", "learn", "serve")
        assert time.monotonic() < deadline, f"served are {card(settings).get('events')} of {events} events"
        time.sleep(0.5)


def shown_to(settings: Settings, user: int) -> list[dict[str, Any]]:
    """What a user is recommended, best first, with the reasons."""
    url = f"http://127.0.0.1:{settings.serve.port}/v1/users/{user}/recommendations?k=10&explain=true"
    with urlopen(url, timeout=30) as answer:
        shown: list[dict[str, Any]] = orjson.loads(answer.read())["items"]
    return shown


def answer_of(settings: Settings, user: int) -> list[str]:
    """The items that a user is recommended, best first."""
    return [one["item"] for one in shown_to(settings, user)]


def put_rules(folder: Path) -> None:
    """What is typed to add business rules."""
    file = folder / "rules.toml"
    file.write_text(RULES)
    for command, said in (
        ("check", "3 rules read, no fault"),
        ("dry-run", "not-dear"),
        ("put", "3 rules added to"),
    ):
        result = run("rules", command, str(file))
        assert (result.exit_code, said in result.output) == (0, True), result.output


def check_rules(settings: Settings) -> None:
    """Every answer obeys the rules, still has what the user likes, and names the rule that pinned an item."""
    department = {item: group for item, group, _ in articles()}
    dear = {item for item, _, name in articles() if len(name) + 0.5 >= DEAR}
    assert set(department) - dear, "some articles are left"
    wait_until(lambda: answer_of(settings, 0)[0] == PINNED, seconds=30)
    liked = []
    for user in range(USERS):
        shown = shown_to(settings, user)
        items = [one["item"] for one in shown]
        assert not dear & set(items) and items[0] == PINNED
        assert [rule["rule"] for rule in shown[0]["rules"]] == ["article-of-the-day"]
        counts = Counter(department[item] for item in items)
        assert max(counts.values()) <= MOST_OF_A_DEPARTMENT
        liked.append(counts[taste_of(user)])
    assert min(liked) >= MOST_OF_A_DEPARTMENT // 2
    assert sum(liked) >= (MOST_OF_A_DEPARTMENT - 1) * USERS, "most is still what the users like"


def check_personal(settings: Settings) -> None:
    """Users of one taste are recommended what they like, and users of different tastes different things."""
    department = {item: group for item, group, _ in articles()}
    answers = {user: answer_of(settings, user) for user in range(USERS)}
    own = [mean(department[item] == taste_of(user) for item in items) for user, items in answers.items()]
    assert mean(own) > 0.7, own
    shared = {
        (one, other): len(set(answers[one]) & set(answers[other])) / 10
        for one, other in combinations(range(USERS), 2)
    }
    same = [share for (one, other), share in shared.items() if taste_of(one) == taste_of(other)]
    different = [share for (one, other), share in shared.items() if taste_of(one) != taste_of(other)]
    assert mean(same) > mean(different) + 0.2, (mean(same), mean(different))
    assert len(set(map(tuple, answers.values()))) == USERS
