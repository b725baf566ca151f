"""Parts of the demo: the sample users, the processes and the figures."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.datasets import Drops
from pipeline.demo.processes import STOP_SECONDS, DaemonDied, Daemons, free_port
from pipeline.demo.run import FOLDER, DemoPlan, run
from pipeline.demo.shoppers import SHOWN, Shopper, shoppers
from pipeline.demo.view import Figures, summary, view
from pipeline.errors import DatasetError
from pipeline.events import Interaction, InteractionType, Item
from pipeline.metrics import Series
from tests.support.build import purchase


@dataclass
class Recorded:
    """A data set of given events."""

    recorded: list[Item | Interaction]
    name: str = "recorded"
    digest: str = ""
    drops: Drops = field(default_factory=Drops)
    asked: int = field(default=0)

    def events(self) -> Iterator[Item | Interaction]:
        for event in self.recorded:
            self.asked += 1
            yield event


def history() -> Recorded:
    """After the sixth interaction Ann buys most and Bob a little; Cyd is new."""
    items: list[Item | Interaction] = [Item(item=f"i{n}", title=f"item {n}") for n in range(20)]
    view_only = purchase("bob", "i9", 3).model_copy(update={"type": InteractionType.VIEW})
    before = [purchase("ann", f"i{n}", n) for n in range(3)] + [purchase("bob", "i5", 3), view_only]
    after = [purchase("ann", f"i{n % 9 + 4}", 10 + n) for n in range(12)]
    others = [purchase("bob", "i7", 30), *(purchase("cyd", "i8", 31 + n) for n in range(30))]
    return Recorded([*items, *before, purchase("ann", "unheard-of", 5), *after, *others])


def test_shoppers_are_the_known_users_who_buy_most_next() -> None:
    assert [shopper.user for shopper in shoppers(history(), limit=6, count=5)] == ["ann", "bob"]
    assert [shopper.user for shopper in shoppers(history(), limit=6, count=1)] == ["ann"]


def test_a_shopper_shows_what_was_bought_last_and_next() -> None:
    ann, bob = shoppers(history(), limit=6, count=2)
    assert ann.before == ["unheard-of", "item 2", "item 1", "item 0"]
    assert ann.after == [f"item {n}" for n in range(4, 4 + SHOWN)]
    assert bob == Shopper("bob", ["item 5"], ["item 7"])


def test_reading_stops_after_the_look_ahead() -> None:
    endless = Recorded([purchase("ann", "i1", n) for n in range(20_000)])
    shoppers(endless, limit=10, count=1)
    assert endless.asked < 5_000


@pytest.fixture
def daemons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemons]:
    """Daemons that run a test program in place of `millstream`."""
    package = tmp_path / "pipeline"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(
        "import os, sys, time\n"
        "print('began', os.environ.get('SETTING'), *sys.argv[1:], flush=True)\n"
        "if sys.argv[1] == 'die':\n"
        "    print('last words', flush=True)\n"
        "    sys.exit(3)\n"
        "if sys.argv[1] != 'end':\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)  # `python -m` looks here first
    with Daemons(tmp_path, {"SETTING": "given"}) as running:
        yield running
    assert all(process.poll() is not None for process in running._running.values())


def wait_for(daemons: Daemons, command: str) -> None:
    daemons._running[command].wait(30)


def test_a_daemon_that_dies_is_reported_with_the_end_of_its_log(daemons: Daemons) -> None:
    daemons.start("die")
    wait_for(daemons, "die")
    with pytest.raises(DaemonDied, match="millstream die ended with status 3:\n(.*\n)*last words"):
        daemons.check("die")


def test_a_command_may_end_but_a_daemon_may_not(daemons: Daemons, tmp_path: Path) -> None:
    daemons.start("end", "--limit", "3")
    wait_for(daemons, "end")
    assert daemons.ended("end")
    assert (tmp_path / "end.log").read_text() == "began given end --limit 3\n"
    with pytest.raises(DaemonDied, match="millstream end stopped"):
        daemons.check("end")


def test_daemons_are_killed_or_terminated(daemons: Daemons) -> None:
    daemons.start("one")
    daemons.start("two")
    daemons.check("one", "two")
    daemons.kill("one")
    daemons.stop("two")
    with pytest.raises(DaemonDied, match="status -9"):
        daemons.check("one")


class Deaf:
    """A process that does not heed SIGTERM; `waited` are the seconds for which all were waited for."""

    waited = 0.0

    def __init__(self) -> None:
        self.was_asked = self.was_killed = False

    def poll(self) -> int | None:
        return -9 if self.was_killed else None

    def wait(self, timeout: float | None = None) -> int:
        if not self.was_killed:
            assert timeout is not None and self.was_asked
            Deaf.waited += timeout
            raise subprocess.TimeoutExpired("millstream", timeout)
        return -9

    def send_signal(self, number: int, /) -> None:
        self.was_asked = True

    def kill(self) -> None:
        self.was_killed = True


def test_daemons_that_do_not_stop_are_waited_for_side_by_side(
    daemons: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = {name: Deaf() for name in ("learn", "serve", "gateway")}
    monkeypatch.setattr(Deaf, "waited", 0.0)
    monkeypatch.setattr("pipeline.demo.processes.time.monotonic", lambda: Deaf.waited)
    with daemons:
        daemons._running |= deaf
    assert Deaf.waited == STOP_SECONDS
    assert all(one.was_killed for one in deaf.values())


def test_what_the_demo_plays_is_read_by_its_mapping(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text("name = 'mine'\n[interactions]\nuser = 'u'\nitem = 'i'\ntype = 't'\n")
    data = tmp_path / "acts.csv"
    data.write_text("u,i,t\n1,2,view\n")
    plan = DemoPlan(str(data), None, 1_000, 250.0, mapping)
    assert plan.dataset().name == "mine"
    assert plan.play_arguments()[-2:] == ["--mapping", str(mapping)]
    assert "--mapping" not in DemoPlan("shop", None, 1_000, 250.0).play_arguments()


def test_data_that_cannot_be_read_leaves_the_folder_of_an_earlier_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)
    (FOLDER / "log.db").touch()
    (tmp_path / "acts.csv").write_text("u,i\n1,2\n")
    with pytest.raises(DatasetError, match="supported is"):
        run(DemoPlan("acts.csv", None, 1_000, 250.0), Console(file=StringIO()))
    assert (FOLDER / "log.db").exists()


def test_a_free_port_is_free() -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port())) != 0


def learned(events: int, seconds: float = 2.0) -> Series:
    buckets = {"0.5": events / 2, "1": float(events), "+Inf": float(events)}
    return {
        ("millstream_events_total", frozenset({("daemon", "learn")})): float(events),
        ("millstream_batch_seconds_sum", frozenset()): seconds,
        **{
            ("millstream_appended_to_learned_seconds_bucket", frozenset({("le", edge)})): count
            for edge, count in buckets.items()
        },
    }


def card(events: int) -> dict[str, Any]:
    figures = {"n": events, "hr@20": 0.5, "mrr@20": 0.25, "ndcg@20": 0.3, "log_loss": 2.0}
    quality = {"mixture": {"all": figures}}
    return {"card": {"events": events, "version": "1-7", "quality": quality}, "staleness_seconds": 0.5}


def test_figures_are_settled_when_every_played_event_is_served() -> None:
    figures = Figures(limit=100)
    assert not figures.settled
    assert figures.update(learned(60), {})
    assert not figures.update(learned(60), {}), "nothing has moved"
    assert figures.update(learned(100), {})
    assert not figures.settled, "learned, but not served"
    figures.card = card(99)
    assert not figures.settled
    figures.card = card(100)
    assert figures.settled


def test_a_server_without_a_snapshot_serves_nothing() -> None:
    assert Figures(limit=1, card={"card": None}).served == 0


def test_figures_report_speed_and_freshness() -> None:
    figures = Figures(limit=100, card=card(100))
    figures.update(learned(100), {})
    assert figures.capacity == 50
    p50, p95 = figures.freshness("learned")
    assert p50 == pytest.approx(0.5)
    assert p95 is not None and 0.9 < p95 < 1
    assert figures.freshness("served") == (None, None)
    report = figures.report("shop")
    assert (report["dataset"], report["events"]) == ("shop", 100)
    assert report["freshness_seconds"] == {"p50": None, "p95": None}
    assert report["quality"] == card(100)["card"]["quality"]


def test_panel_and_summary_show_the_figures() -> None:
    figures = Figures(limit=100, card=card(100))
    figures.update(learned(100), {})
    people = [Shopper("u7", ["red cup"], ["blue cup"])]
    console = Console(width=140, record=True, file=StringIO())
    console.print(view(figures), summary(figures, people, {"u7": ["blue cup", "lamp"]}), view(Figures(5)))
    text = console.export_text()
    for shown in ("100 of 100", "1-7", "user u7", "red cup", "blue cup", "lamp", "0.5000", "–"):
        assert shown in text
