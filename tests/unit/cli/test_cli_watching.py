"""Status on one page, and dead letters listed and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import orjson
import pytest

from pipeline import metrics
from pipeline.config import KeyConfig, MetricsConfig, Scope, ServeConfig, Settings, to_toml
from pipeline.control.records import Pause
from pipeline.demo.processes import free_port
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import dead_letter, interaction_of
from pipeline.metrics import serve_metrics
from pipeline.reports.status_figures import MANY, MOST_RECENT
from tests.support.commands import misused, run
from tests.support.model_harness import PREFIX, ModelHarness


@pytest.fixture
def settings(folder: Path, settings: Settings) -> Settings:
    """Ports at which nobody answers, unless a test does."""
    ports = MetricsConfig(learn=free_port(), retrain=free_port())
    changed = settings.model_copy(update={"metrics": ports, "serve": ServeConfig(port=free_port())})
    (folder / "millstream.toml").write_text(to_toml(changed))
    return changed


@pytest.fixture(autouse=True)
def harness(settings: Settings) -> Iterator[ModelHarness]:
    with ModelHarness(settings) as harness:
        yield harness


def status() -> tuple[int, dict[str, Any]]:
    result = run("status", "--json")
    found: dict[str, Any] = orjson.loads(result.output)
    return result.exit_code, found


def answer_for_both(settings: Settings) -> None:
    """Let this process answer at the ports of learner and server."""
    serve_metrics("127.0.0.1", settings.metrics.learn)
    serve_metrics("127.0.0.1", settings.serve.port)


def send(harness: ModelHarness, *values: bytes) -> None:
    for value in values:
        harness.writer.append(harness.topics.interactions, "ann", value)
    harness.writer.flush()


def refuse(harness: ModelHarness) -> None:
    """Write the dead letters as the learner does."""
    for record in harness.records(harness.topics.interactions):
        try:
            interaction_of(record)
        except Exception as error:  # noqa: BLE001
            harness.writer.append(harness.topics.dead_letters, *dead_letter(record, error))  # type: ignore[arg-type]
    harness.writer.flush()


NUMERIC = b'{"v":1,"kind":"interaction","event_id":"e","user":"ann","item":5,"type":"view","time":1}'
INTERACTIONS = "mill.interactions", "interactions"
VALID = b'{"v":1,"kind":"interaction","event_id":"e","user":"ann","item":"cup","type":"view","time":1}'


def test_daemons_that_are_away_are_red_and_said(harness: ModelHarness) -> None:
    code, found = status()
    assert (code, found["state"]) == (1, "red")
    assert [finding.split(":")[0] for finding in found["findings"]] == ["learn is away", "serve is away"]
    page = run("status").output
    assert "learn is away" in page and "prequential quality" in page and "seconds since append" in page


def test_a_quiet_stream_is_green(harness: ModelHarness, settings: Settings) -> None:
    answer_for_both(settings)
    harness.shop(30)
    code, found = status()
    assert (code, found["state"], found["findings"]) == (0, "green", [])
    learner = found["daemons"][0]
    assert learner["away"] is None and learner["memory_bytes"] > 10**6
    assert set(found["quality"]) == {"mixture", "model", "covisitation", "popularity"}
    assert found["incoming"][0]["records"] == 30


def test_daemons_that_know_only_hashes_of_keys_are_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = KeyConfig(sha256="0" * 64, scopes=(Scope.READ,))
    hashed = ServeConfig(port=settings.serve.port, named_keys={"shop": key})
    for port in (settings.metrics.learn, settings.serve.port):
        serve_metrics("127.0.0.1", port, hashed.reading_keys)
    named = orjson.dumps({"shop": {"sha256": key.sha256, "scopes": ["read"]}})
    monkeypatch.setenv("MILLSTREAM_SERVE__NAMED_KEYS", named.decode())
    code, found = status()
    assert (code, found["state"]) == (0, "yellow")
    assert found["daemons"][1]["away"] is None
    assert "serve is up; figures need a key" in found["findings"][1]
    assert "set a `secret` instead of a `sha256`" in found["daemons"][1]["note"]


def test_a_program_that_asks_for_a_key_and_is_no_daemon_is_none(settings: Settings) -> None:
    with answering(settings.serve.port, b"HTTP/1.0 401 Unauthorized\r\n\r\n"):
        assert "serve is away: no answer: HTTP Error 401" in status()[1]["findings"][1]


def test_a_program_that_speaks_no_http_is_no_daemon(settings: Settings) -> None:
    with answering(settings.serve.port, b"SSH-2.0-OpenSSH\r\n"):
        assert "serve is away: no answer: no HTTP" in status()[1]["findings"][1]


@contextmanager
def answering(port: int, answer: bytes) -> Iterator[None]:
    """A program that says one thing at a port, whatever it is asked."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(answer)

    with ThreadingTCPServer(("127.0.0.1", port), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_a_daemon_without_metrics_is_no_reason_to_look(
    harness: ModelHarness, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_for_both(settings)
    monkeypatch.setenv("MILLSTREAM_METRICS__LEARN", "0")
    code, found = status()
    assert (code, found["state"], found["findings"]) == (0, "green", [])
    assert found["daemons"][0]["away"] == "its metrics are turned off by the settings"
    assert "unknown: its metrics are turned off" in run("status").output


def test_a_learner_that_learns_nothing_is_yellow(harness: ModelHarness, settings: Settings) -> None:
    answer_for_both(settings)
    for sign in ("positive", "negative", "none"):
        metrics.SIGNS.remove(sign)
    metrics.SIGNS.labels("negative").inc(100)
    try:
        code, found = status()
        metrics.SIGNS.labels("positive").inc()
        _, later = status()
    finally:
        metrics.SIGNS.remove("negative")
    assert (code, found["state"], later["state"]) == (0, "yellow", "green")
    assert found["findings"][0].startswith(
        "nothing is learned: none of 100 acts says anything good of its item, by [signals]"
    )


def test_a_server_that_cannot_follow_the_log_is_red(settings: Settings) -> None:
    answer_for_both(settings)
    metrics.DEGRADED.set(1)
    try:
        code, found = status()
    finally:
        metrics.DEGRADED.set(0)
    assert (code, found["state"]) == (1, "red")
    assert found["findings"] == ["serve cannot follow the event log: /readyz says why, and what to do"]


def test_a_learner_whose_snapshots_the_storage_refuses_is_red(settings: Settings) -> None:
    answer_for_both(settings)
    metrics.COMMITS_FAILING.labels("publication").set(1)
    try:
        code, found = status()
    finally:
        metrics.COMMITS_FAILING.remove("publication")
    assert (code, found["state"]) == (1, "red")
    assert found["findings"] == ["the storage refuses each publication of the learner, whose log says why"]


def test_a_server_that_has_swapped_in_nothing_of_what_was_announced_is_yellow(
    harness: ModelHarness, settings: Settings
) -> None:
    answer_for_both(settings)
    metrics.GENERATION.labels("serve").set(1)
    metrics.GENERATION.remove("serve")
    code, found = status()
    assert (code, found["state"]) == (0, "green"), "there is nothing yet"
    harness.writer.append(harness.topics.snapshots, PREFIX, b"of another release")
    harness.writer.flush()
    _, found = status()
    assert found["state"] == "yellow"
    assert "serve answers with what is popular" in found["findings"][0]


def test_daemons_on_other_machines_are_read_where_the_settings_say(settings: Settings, folder: Path) -> None:
    elsewhere = free_port()
    serve_metrics("127.0.0.1", elsewhere)
    url = f"http://127.0.0.1:{elsewhere}/metrics"
    changed = settings.model_copy(update={"metrics": settings.metrics.replace(urls={"learn": url})})
    (folder / "millstream.toml").write_text(to_toml(changed))
    learner = next(one for one in status()[1]["daemons"] if one["name"] == "learn")
    assert (learner["url"], learner["away"]) == (url, None)


def test_each_worker_of_a_server_is_looked_at(settings: Settings, folder: Path) -> None:
    first = free_port()
    changes = {"serve": {"port": settings.serve.port, "workers": 2}, "metrics": {"serve": first}}
    changed = {name: getattr(settings, name).replace(**fields) for name, fields in changes.items()}
    (folder / "millstream.toml").write_text(to_toml(settings.model_copy(update=changed)))
    serve_metrics("127.0.0.1", settings.metrics.learn)
    serve_metrics("127.0.0.1", first)
    code, found = status()
    urls = {daemon["name"]: daemon["url"] for daemon in found["daemons"]}
    assert [urls[name] for name in ("serve", "serve-1")] == [
        f"http://127.0.0.1:{first + number}/metrics" for number in (0, 1)
    ]
    assert code == 1
    assert [line.partition(":")[0] for line in found["findings"]] == ["serve-1 is away"]


@pytest.mark.parametrize("daemon", ["learn", "bridge"])
def test_a_daemon_that_has_stopped_reading_is_red(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, daemon: str
) -> None:
    answer_for_both(settings)
    monkeypatch.setenv("MILLSTREAM_BRIDGE__PORT", str(settings.metrics.learn))
    metrics.LAG.labels("bridge").set(7)
    metrics.READING_STOPPED.labels(daemon).set(1)
    try:
        code, found = status()
    finally:
        metrics.READING_STOPPED.labels(daemon).set(0)
    assert (code, found["state"]) == (1, "red")
    assert f"{daemon} reads nothing" in found["findings"][0]
    assert found["lag"]["bridge"] == 7


def test_a_learner_that_a_person_has_paused_is_yellow(settings: Settings) -> None:
    answer_for_both(settings)
    metrics.LEARNING_PAUSED.set(1)
    try:
        code, found = status()
    finally:
        metrics.LEARNING_PAUSED.set(0)
    assert (code, found["state"]) == (0, "yellow")
    assert "`millstream resume` ends it" in found["findings"][0]


def test_a_pause_is_known_where_the_learner_is_away(harness: ModelHarness) -> None:
    harness.order(Pause(ordered_at=1, reason=""))
    _, found = status()
    assert [finding for finding in found["findings"] if "`millstream resume` ends it" in finding]


def test_a_producer_of_which_every_event_is_refused_is_red(harness: ModelHarness, settings: Settings) -> None:
    answer_for_both(settings)
    send(harness, NUMERIC, NUMERIC)
    code, found = status()
    assert (code, found["state"]) == (1, "red")
    assert "every record of the last 10 minutes refused (numeric_id 2)" in found["findings"][0]


def test_a_few_refusals_among_others_are_yellow_and_many_are_red(
    harness: ModelHarness, settings: Settings
) -> None:
    answer_for_both(settings)
    harness.shop(30)
    send(harness, NUMERIC)
    code, found = status()
    assert (code, found["state"]) == (0, "yellow")
    send(harness, *[b"bad"] * MANY)
    code, found = status()
    assert (code, found["state"]) == (1, "red")
    assert found["incoming"][0]["refused"] == {"numeric_id": 1, "not_json": MANY}


def test_refusals_stay_red_however_many_others_are_appended_after_them(
    harness: ModelHarness, settings: Settings
) -> None:
    answer_for_both(settings)
    send(harness, *[NUMERIC] * (MANY - 1))
    collided = harness.records(harness.topics.interactions)[0]
    collision = InvalidEvent("event_id", "taken", RefusalReason.COLLISION)
    refuse(harness)
    harness.writer.append(harness.topics.dead_letters, *dead_letter(collided, collision))
    send(harness, *[VALID] * MOST_RECENT, b"text")
    code, found = status()
    assert (code, found["state"]) == (1, "red")
    interactions = found["incoming"][0]
    assert interactions["refused"] == {"numeric_id": MANY - 2, "collision": 1, "not_json": 1}
    assert interactions["records"] == MANY + MOST_RECENT
    assert f"{MANY} of {interactions['records']} records" in found["findings"][0]


def test_dead_letters_are_counted_listed_and_shown(harness: ModelHarness) -> None:
    send(harness, NUMERIC, b"\xff\xfe", b"text")
    refuse(harness)
    refuse(harness)  # as after a restart
    page = run("dead-letters", "list").output
    assert "3 dead letters" in page
    lines = [line for line in page.splitlines() if "mill.interactions/" in line]
    assert len(lines) == 3 and "numeric_id" in lines[-1]
    assert run("dead-letters", "list", "--reason", "numeric_id").output.count("mill.interactions/") == 1
    place = lines[-1].split()[1]
    shown = orjson.loads(run("dead-letters", "show", place).output)
    assert (shown["value"], shown["code"], shown["place"]) == (orjson.loads(NUMERIC), "numeric_id", place)
    assert orjson.loads(run("dead-letters", "show").output)["value"] == "text"
    assert "there is no dead letter" in misused("dead-letters", "show", "mill.interactions/0/999")


def test_the_status_counts_dead_letters_by_reason(harness: ModelHarness, settings: Settings) -> None:
    answer_for_both(settings)
    send(harness, NUMERIC, b"text", b"more text")
    refuse(harness)
    _, found = status()
    assert found["format"] == 1
    letters = found["dead_letters"]
    assert (letters["kept"], letters["by_reason"]) == (3, {"not_json": 2, "numeric_id": 1})
    assert letters["recent"] == letters["by_reason"]
    assert letters["last"].startswith("mill.interactions/")
    assert "3 dead letters, the last of mill.interactions/" in run("status").output


def test_a_page_for_people_is_no_json() -> None:
    assert "exclude each other" in misused("status", "--watch", "--json")


@pytest.mark.parametrize("columns", [30, 80])
def test_places_and_reasons_are_whole_in_a_narrow_terminal(harness: ModelHarness, columns: int) -> None:
    send(harness, NUMERIC)
    refuse(harness)
    (record,) = harness.records(harness.topics.interactions)
    place = f"{record.source}/{record.offset}"
    listed = run("dead-letters", "list", columns=columns).output
    assert re.search(rf"^│ {place} +│ numeric_id +│ \d{{4}}-", listed, flags=re.MULTILINE)
    assert "send it as" in " ".join(re.sub("[│\n]", " ", listed).split()), "the rest folds, and is not lost"
    page = run("status", columns=columns).output
    assert f"(numeric_id 1), {place} the last" in page
    assert f"│ {place} │" in page
    assert run("dead-letters", "show", place).exit_code == 0


def test_a_reason_that_no_letter_has_is_answered_with_those_that_there_are(harness: ModelHarness) -> None:
    nothing = run("dead-letters", "list", "--reason", "collision")
    assert nothing.output == "no dead letter has the reason collision; there are: none\n"
    send(harness, NUMERIC, b"text", b"more text")
    refuse(harness)
    others = run("dead-letters", "list", "--reason", "collision")
    assert others.output == "no dead letter has the reason collision; there are: not_json 2, numeric_id 1\n"


def test_a_reason_that_does_not_exist_is_refused_with_all_that_do() -> None:
    answer = misused("dead-letters", "list", "--reason", "foo")
    assert "'foo' is not one of" in answer
    assert all(f"'{reason}'" in answer for reason in RefusalReason)


def test_a_topic_may_be_named_without_the_prefix(harness: ModelHarness) -> None:
    send(harness, NUMERIC)
    refuse(harness)
    whole, short = (run("dead-letters", "list", "--topic", name).output for name in INTERACTIONS)
    assert "1 dead letter" in whole and short == whole
    for name in INTERACTIONS:
        assert "1 refused again" in run("dead-letters", "replay", "--topic", name, "--dry-run").output


def test_a_topic_without_letters_is_answered_with_those_that_have_some(harness: ModelHarness) -> None:
    send(harness, NUMERIC)
    refuse(harness)
    nothing = run("dead-letters", "list", "--topic", "items")
    assert nothing.output == "no dead letter has topic mill.items; there are: mill.interactions 1\n"
    assert "0 sent once more" in run("dead-letters", "replay", "--topic", "items").output


@pytest.mark.parametrize("command", ["list", "replay"])
def test_a_topic_that_nobody_reads_is_refused_with_those_that_there_are(command: str) -> None:
    answer = misused("dead-letters", command, "--topic", "nope")
    assert "nope is no topic that is read; there are: mill.interactions, mill.items" in answer


def test_a_place_without_a_letter_cannot_be_replayed(harness: ModelHarness) -> None:
    send(harness, NUMERIC)
    refuse(harness)
    answer = misused("dead-letters", "replay", "mill.interactions/0/999")
    assert "there is no dead letter of mill.interactions/0/999" in answer
