"""Playing: at the requested pace, the catalogue first, and the same events when played again."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets import Shop, ShopSettings, open_dataset
from pipeline.eventlog.intake import interaction_of
from pipeline.events import Interaction
from pipeline.metrics import Series, value_of
from producers import play as play_module
from producers.play import FLUSH_EVENTS, FLUSH_SECONDS, Pace, RealTime, at_rate, flat_out, play
from tests.support.build import purchase
from tests.support.model_harness import ModelHarness

SHOP = Shop(ShopSettings(seed=3, events=60, users=10, items=90, arrivals=2, arrival_every=20))


class Clock:
    """Replaces the time module: only `sleep` advances the time."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


class Writer:
    """Records the times of appends and flushes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.appended: list[tuple[float, str]] = []
        self.flushes: list[tuple[float, int]] = []

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        self.appended.append((self._clock.now - 1_000, topic.partition(".")[2]))

    def flush(self) -> None:
        self.flushes.append((self._clock.now - 1_000, len(self.appended)))

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def acts(self) -> list[float]:
        """Times at which interactions were appended, in seconds after the start."""
        return [when for when, topic in self.appended if topic == "interactions"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(play_module, "time", clock)
    return clock


def interactions(dataset: Shop) -> list[Interaction]:
    return [event for event in dataset.events() if isinstance(event, Interaction)]


def played(harness: ModelHarness) -> list[Interaction]:
    return [interaction_of(record) for record in harness.records(harness.topics.interactions)]


def test_every_event_arrives_and_is_acknowledged(harness: ModelHarness) -> None:
    flushed: list[int] = []
    assert play(SHOP, harness.writer, harness.topics, flat_out, progress=flushed.append) == sum(flushed) == 60
    assert sorted(played(harness), key=str) == sorted(interactions(SHOP), key=str)
    assert len({record.key for record in harness.records(harness.topics.items)}) == 90


def test_playing_again_writes_the_same_events(harness: ModelHarness) -> None:
    for _ in range(2):
        play(SHOP, harness.writer, harness.topics, flat_out, limit=20)
    ids = [event.event_id for event in played(harness)]
    assert len(ids) == 40
    assert len(set(ids)) == 20


def test_what_is_played_is_counted(harness: ModelHarness, exposed: Callable[[], Series]) -> None:
    before = value_of(exposed(), "millstream_events_total", daemon="play")
    play(SHOP, harness.writer, harness.topics, flat_out, limit=7)
    assert value_of(exposed(), "millstream_events_total", daemon="play") - before == 7


@pytest.mark.parametrize("limit", [1, 20, 60, 1_000])
def test_no_more_than_the_limit_is_played(harness: ModelHarness, limit: int) -> None:
    assert (
        play(SHOP, harness.writer, harness.topics, flat_out, limit) == min(limit, 60) == len(played(harness))
    )


def test_an_endless_data_set_ends_at_the_limit(harness: ModelHarness) -> None:
    assert play(Shop(ShopSettings(events=None)), harness.writer, harness.topics, flat_out, limit=5) == 5


def test_playing_stops_on_request_and_reports_what_is_durable(harness: ModelHarness) -> None:
    flushed: list[int] = []
    stop_after = iter([False] * 9)
    acknowledged = play(
        SHOP,
        harness.writer,
        harness.topics,
        at_rate(1e6),
        None,
        flushed.append,
        lambda: next(stop_after, True),
    )
    assert 0 < acknowledged == sum(flushed) == len(played(harness)) < 10


def test_the_catalogue_is_durable_before_the_first_interaction(harness: ModelHarness, clock: Clock) -> None:
    writer = Writer(clock)
    play(SHOP, writer, harness.topics, flat_out)
    opening = next(number for number, (_, topic) in enumerate(writer.appended) if topic == "interactions")
    assert opening == 88
    assert writer.flushes[0] == (0, opening)
    assert writer.flushes[-1] == (0, 150)


def test_a_rate_is_kept(harness: ModelHarness, clock: Clock) -> None:
    writer = Writer(clock)
    play(SHOP, writer, harness.topics, at_rate(10))
    assert writer.acts == pytest.approx([number / 10 for number in range(60)])
    # Slow events do not wait for others: each is durable before the next one is due.
    assert [when for when, _ in writer.flushes[1:-1]] == pytest.approx(writer.acts[:-1])


def test_fast_events_are_flushed_together(harness: ModelHarness, clock: Clock) -> None:
    writer = Writer(clock)
    play(SHOP, writer, harness.topics, at_rate(1_000))
    assert 2 <= len(writer.flushes) <= 2 + 0.06 / FLUSH_SECONDS + 1


def test_flat_out_a_flush_has_a_bounded_number_of_events(harness: ModelHarness, clock: Clock) -> None:
    flushed: list[int] = []
    shop = Shop(ShopSettings(events=2 * FLUSH_EVENTS + 5, users=10, items=90, arrivals=0))
    play(shop, Writer(clock), harness.topics, flat_out, progress=flushed.append)
    assert flushed == [FLUSH_EVENTS, FLUSH_EVENTS, 5]
    assert clock.now == 1_000


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_real_time_follows_the_events(harness: ModelHarness, clock: Clock, speed: float) -> None:
    writer = Writer(clock)
    play(SHOP, writer, harness.topics, RealTime(speed))
    times = [event.time for event in interactions(SHOP)]
    assert writer.acts == pytest.approx([(time - times[0]) / 1000 / speed for time in times])


def test_a_long_wait_ends_on_a_stop_request(harness: ModelHarness, clock: Clock) -> None:
    played = play(SHOP, Writer(clock), harness.topics, at_rate(0.001), stopped=lambda: clock.now > 1_010)
    assert played == 2, "the one that was due at once, and the one that was waited for"
    assert clock.now < 1_011


@pytest.mark.parametrize("pace", [flat_out, at_rate(100), RealTime(2)])
def test_the_first_interaction_is_due_at_once(pace: Pace) -> None:
    assert pace(0, purchase("ann", "cup", 1_700_000_000_000)) == 0


def test_an_export_that_grew_and_one_that_is_packed_add_only_what_is_new(
    harness: ModelHarness, tmp_path: Path
) -> None:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    lines = [f"5363{n // 3:02},item-{n % 7},MUG,6,2010-12-01 08:{n:02}:00,1,178{n % 5},UK" for n in range(31)]
    for name, count in (("first.csv", 30), ("grown.csv", 31), ("packed.csv.gz", 31)):
        content = "\n".join([header, *lines[:count], ""]).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        play(open_dataset(str(tmp_path / name)), harness.writer, harness.topics, flat_out)
    with harness.learning() as learning:
        learning.catch_up()
        learned = [event for batch in learning.learned for event in batch.micro.interactions]
    assert len(learned) == 31
    assert sum(batch.duplicates for batch in learning.learned) == 61
