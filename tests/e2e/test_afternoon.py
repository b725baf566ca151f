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
RULES = """
[[rules]]
name = "nothing-dear"
action = "leave_out"
items = { attributes = [{ name = "price", at_least = 20.0 }] }

[[rules]]
name = "mug-of-the-week"
action = "pin"
item = "k7"
place = 2

[[rules]]
name = "departments"
action = "cap"
most = 4
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
        check_rules(settings, tmp_path)


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


def answer_of(settings: Settings, user: int) -> list[str]:
    """The items that a user is recommended, best first."""
    url = f"http://127.0.0.1:{settings.serve.port}/v1/users/{user}/recommendations?k=10"
    with urlopen(url, timeout=30) as answer:
        return [one["item"] for one in orjson.loads(answer.read())["items"]]


def check_rules(settings: Settings, folder: Path) -> None:
    """Put three rules, and wait until every user's answer obeys them and is still full."""
    file = folder / "rules.toml"
    file.write_text(RULES)
    assert run("rules", "check", str(file)).exit_code == run("rules", "put", str(file)).exit_code == 0
    prices = {item: len(name) + 0.5 for item, _, name in articles()}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while answer_of(settings, 0)[1] != "k7":
        assert time.monotonic() < deadline, "the server does not obey the rules"
        time.sleep(0.1)
    for user in range(USERS):
        items = answer_of(settings, user)
        assert len(items) == 10 and items[1] == "k7"
        assert all(prices[item] < 20 for item in items)
        assert max(Counter(item[0] for item in items).values()) <= 4


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
