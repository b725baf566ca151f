"""The state of a model's daemons and of what producers send, from their metrics and from the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.config import Guarded, HttpConfig, Settings
from pipeline.control.pauses import read_pause
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import impression_of, interaction_of, item_of
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition, lag, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.keys import HEADER
from pipeline.metrics import (
    ENOUGH_ACTS,
    KeyRefused,
    Series,
    quantiles,
    reached,
    scrape,
    unreachable,
    value_of,
)
from pipeline.reports.dead_letters import Letter, counts_by_reason, letters_of
from pipeline.snapshots.announcement import Announcement

RECENT_MS = 10 * 60 * 1000
"""Records appended since then are looked at."""
MOST_RECENT = 500
"""Records of a partition that are read, at most, in some 100 ms; dead letters tell of those before."""
MOST_LETTERS = 5_000
"""Dead letters that are looked at, at most."""
FORMAT = 1
"""Of what ``--json`` prints: fields are added without another number, and taken away only with one."""
OPTIONAL = ("retrain", "media", "gateway", "bridge")
"""Daemons that not everybody runs."""
MANY = 10
"""So many refusals within `RECENT_MS` are a broken producer, however many records the others send."""
SCRAPE_SECONDS = 2.0
SCORERS = ("mixture", "model", "covisitation", "popularity")
FIGURES = ("hr@20", "ndcg@20", "log_loss")
NO_KEY = "figures need a key that status knows: set a `secret` instead of a `sha256` for one key"
STAGES = {
    "learned": ("learn", "millstream_appended_to_learned_seconds"),
    "published": ("learn", "millstream_appended_to_published_seconds"),
    "served": ("serve", "millstream_appended_to_served_seconds"),
}
State = Literal["green", "yellow", "red"]
Percentiles = tuple[float | None, float | None]


@dataclass(frozen=True)
class DaemonStatus:
    """One daemon as its metrics show it.

    Attributes:
        away: why it does not answer; None if it does. Without a `url` the settings want it so.
        note: why its metrics could not be read although it answers.
        version: generation and step that it learned or serves.
        memory_bytes: resident; None where the system does not tell.
        refusals: records refused since it started, by reason.
    """

    name: str
    url: str
    away: str | None
    version: str | None = None
    memory_bytes: float | None = None
    refusals: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class RecentRecords:
    """The records of an input topic that were appended in the last minutes.

    Attributes:
        records: their number.
        refused: of them, by reason: those with a dead letter, and those that were read and are invalid.
        last: place of the last refused one.
        all_refused: whether there are some and none was accepted.
    """

    topic: str
    records: int
    refused: Mapping[str, int]
    last: str | None
    all_refused: bool


@dataclass(frozen=True)
class DeadLetters:
    """The dead letters that the log keeps.

    Attributes:
        kept: number of records in their topic; what was written again or sent once more counts again.
        by_reason: of the newest `MOST_LETTERS`.
        recent: of them, those whose records were appended in the last minutes, by reason.
        last: place of the record that was refused last.
    """

    kept: int
    by_reason: Mapping[str, int]
    recent: Mapping[str, int]
    last: str | None


@dataclass(frozen=True)
class Status:
    """What `millstream status` shows.

    Attributes:
        state: red if a person must act; yellow if one should look.
        findings: why it is not green.
        lag: records that learner, server and bridge have not read; None if unknown.
        freshness: p50 and p95 of the seconds from append, by stage.
        staleness_seconds: of the served weights; None if the server is away.
        snapshot: version announced last.
        quality: figures of each scorer.
        incoming: the newest records of each input topic.
    """

    state: State
    findings: list[str]
    daemons: list[DaemonStatus]
    lag: dict[str, float | None]
    freshness: dict[str, Percentiles]
    staleness_seconds: float | None
    snapshot: str | None
    quality: dict[str, dict[str, float | None]]
    incoming: list[RecentRecords]
    dead_letters: DeadLetters

    def to_json(self) -> dict[str, object]:
        """Convert to what ``--json`` prints."""
        return {"format": FORMAT, **asdict(self)}


def gather(
    settings: Settings,
    event_log: EventLog,
    topics: Topics,
    now_ms: int,
    scraped: dict[str, Series] | None = None,
) -> Status:
    """Ask the daemons and the log; takes some seconds if a daemon hangs.

    Args:
        settings, event_log, topics: of the model.
        now_ms: the wall clock.
        scraped: is filled with all series that the daemons expose, by daemon.

    Raises:
        LogUnavailable: the log does not answer.
    """
    series = {} if scraped is None else scraped
    authority = settings.metrics.authority
    daemons = [_daemon(*address, series, authority) for address in _addresses(settings)]
    since = now_ms - RECENT_MS
    letters = newest_letters(event_log, topics)
    recent = [letter for letter in letters if letter["append_time"] >= since]
    incoming = [
        _recent(event_log, topics.interactions, interaction_of, since, recent),
        _recent(event_log, topics.items, item_of, since, recent),
        _recent(event_log, topics.impressions, impression_of, since, recent),
    ]
    learner, server = series.get("learn", {}), series.get("serve", {})
    findings = [
        *_away(daemons),
        *_degraded(series),
        *_unserved(daemons, read_compacted(event_log, topics.snapshots)),
        *_stopped(series),
        *_uncommitted(learner),
        *_paused(series, event_log, topics),
        *_unlearned(learner),
        *_refusing(incoming),
    ]
    return Status(
        state=_worst(findings),
        findings=[text for _, text in findings],
        daemons=daemons,
        lag={
            "learn": _learner_lag(event_log, topics),
            "serve": _gauge(server, "millstream_lag_records", "serve"),
            **_bridge_lag(series),
        },
        freshness={stage: _percentiles(series.get(of, {}), name) for stage, (of, name) in STAGES.items()},
        staleness_seconds=value_of(server, "millstream_staleness_seconds") if server else None,
        snapshot=_announced(event_log, topics),
        quality=_quality(learner),
        incoming=incoming,
        dead_letters=_dead_letters(event_log, topics, letters, recent),
    )


def newest_letters(event_log: EventLog, topics: Topics) -> list[Letter]:
    """Read the newest dead letters, `MOST_LETTERS` of a partition at most, oldest first."""
    return list(letters_of(_newest(event_log, _starts(event_log, topics.dead_letters, 0, MOST_LETTERS))))


def _addresses(settings: Settings) -> Iterable[tuple[str, str, Mapping[str, str]]]:
    for name, url, headers in _addresses_here(settings):
        yield name, settings.metrics.urls.get(name, url), headers


def _addresses_here(settings: Settings) -> Iterable[tuple[str, str, Mapping[str, str]]]:
    at, serve = settings.metrics, settings.serve
    key = _key(serve)
    yield "learn", _url(at.host, at.learn), key
    yield (
        "serve",
        _url(serve.host, serve.port, serve.http) if serve.workers == 1 else _url(at.host, at.serve),
        key,
    )
    for number in range(1, serve.workers):
        yield f"serve-{number}", _url(at.host, at.serve and at.serve + number), key
    for name in ("retrain", "media"):
        yield name, _url(at.host, getattr(at, name)), key
    gateway, bridge = settings.gateway, settings.bridge
    yield "gateway", _url(gateway.host, gateway.port, gateway.http), _key(gateway)
    yield "bridge", _url(bridge.host, bridge.port), _key(bridge)


def _key(guarded: Guarded) -> Mapping[str, str]:
    key = guarded.own_key
    return {HEADER: key.get_secret_value()} if key else {}


def _url(host: str, port: int, http: HttpConfig = HttpConfig()) -> str:  # noqa: B008 (frozen)
    return f"{http.scheme}://{reached(host)}:{port}/metrics" if port else ""


def _daemon(
    name: str, url: str, headers: Mapping[str, str], found: dict[str, Series], authority: Path | None
) -> DaemonStatus:
    """Read a daemon's metrics; add them to `found`."""
    if not url:
        return DaemonStatus(name, url, away="its metrics are turned off by the settings")
    try:
        series = found[name] = scrape(url, SCRAPE_SECONDS, headers, authority)
    except KeyRefused:
        return DaemonStatus(name, url, away=None, note=NO_KEY)
    except OSError as error:
        return DaemonStatus(name, url, away=f"no answer: {unreachable(error, f'metrics.urls.{name}')}")
    except ValueError as error:
        return DaemonStatus(name, url, away=f"no answer: {error}")
    daemon = name.partition("-")[0]  # all workers of a server label their metrics alike
    refusals = {
        dict(labels)["reason"]: int(count)
        for (series_name, labels), count in series.items()
        if count and series_name == "millstream_dead_letters_total" and dict(labels).get("daemon") == daemon
    }
    generation, step = (_gauge(series, f"millstream_{part}", daemon) for part in ("generation", "step"))
    version = f"{generation:.0f}-{step:.0f}" if generation is not None and step is not None else None
    size = value_of(series, "process_resident_memory_bytes") or None
    return DaemonStatus(name, url, None, version, size, refusals)


def _gauge(series: Series, name: str, daemon: str) -> float | None:
    return series.get((name, frozenset({("daemon", daemon)})))


def _percentiles(series: Series, name: str) -> Percentiles:
    p50, p95 = quantiles(series, name, (0.5, 0.95))
    return p50, p95


def _quality(learner: Series) -> dict[str, dict[str, float | None]]:
    def figure(scorer: str, name: str) -> float | None:
        labels = frozenset({("scorer", scorer), ("slice", "all"), ("figure", name)})
        return learner.get(("millstream_prequential_quality", labels))

    return {scorer: {name: figure(scorer, name) for name in FIGURES} for scorer in SCORERS}


def _learner_lag(event_log: EventLog, topics: Topics) -> float | None:
    """Records after what the learner has published, from the log, so that it is known while it is away."""
    inputs = [topics.interactions, topics.items]
    reported = event_log.reported(f"{topics.prefix}.learn", inputs)
    return sum(lag(event_log.end_offsets(inputs), reported).values()) if reported else None


def _announced(event_log: EventLog, topics: Topics) -> str | None:
    record = read_compacted(event_log, topics.snapshots).get(topics.prefix)
    try:
        return Announcement.decode(record.value or b"").version if record else None
    except ValueError:
        return None


def _recent(
    event_log: EventLog, topic: str, reader: Callable[[Record], object], since: int, letters: Iterable[Letter]
) -> RecentRecords:
    """Count the records of a topic since a time in ms, and those refused of them; `letters` are as old."""
    begins, starts = event_log.offsets_at([topic], since), _starts(event_log, topic, since, MOST_RECENT)
    records = sum(starts.values()) - sum(begins.values())  # these are not read
    refused = {
        one["place"]: (one["append_time"], str(one["code"])) for one in letters if one["topic"] == topic
    }
    for record in _newest(event_log, starts):
        records += 1
        try:
            reader(record)
        except InvalidEvent as error:
            refused.setdefault(f"{record.source}/{record.offset}", (record.append_time, str(error.code)))
    reasons = Counter(code for _, code in refused.values())
    last = max(refused, key=lambda place: refused[place][0], default=None)
    return RecentRecords(topic, records, dict(reasons), last, 0 < records <= len(refused))


def _dead_letters(
    event_log: EventLog, topics: Topics, letters: Sequence[Letter], recent: Sequence[Letter]
) -> DeadLetters:
    begins, ends = (at([topics.dead_letters]) for at in (event_log.begin_offsets, event_log.end_offsets))
    by_reason, of_late = (dict(counts_by_reason(some)) for some in (letters, recent))
    kept = sum(ends.values()) - sum(begins.values())
    return DeadLetters(kept, by_reason, of_late, letters[-1]["place"] if letters else None)


def _starts(event_log: EventLog, topic: str, since: int, most: int) -> dict[TopicPartition, int]:
    """Where the records since a time in ms begin, of each partition so many of the newest at most."""
    ends = event_log.end_offsets([topic])
    starts = event_log.offsets_at([topic], since)
    return {source: max(start, ends[source] - most) for source, start in starts.items()}


def _newest(event_log: EventLog, starts: Offsets) -> Iterable[Record]:
    """Yield the records from some offsets to the end."""
    ends = event_log.end_offsets({source.topic for source in starts})
    with closing(event_log.reader(starts)) as reader:
        while any(offset < ends[source] for source, offset in reader.positions().items()):
            records = reader.poll(MOST_RECENT, timeout_seconds=1.0)
            if not records:
                return
            yield from records


def _away(daemons: Iterable[DaemonStatus]) -> Iterable[tuple[State, str]]:
    for daemon in daemons:
        if daemon.away is not None and daemon.url and daemon.name not in OPTIONAL:
            yield "red", f"{daemon.name} is away: {daemon.away}"
        if daemon.note is not None:
            yield "yellow", f"{daemon.name} is up; {daemon.note}"


def _degraded(series: Mapping[str, Series]) -> Iterable[tuple[State, str]]:
    for name, server in series.items():
        if name.startswith("serve") and value_of(server, "millstream_degraded"):
            yield "red", f"{name} cannot follow the event log: /readyz says why, and what to do"


def _unserved(
    daemons: Iterable[DaemonStatus], announced: Mapping[str, Record]
) -> Iterable[tuple[State, str]]:
    """A server may read no snapshot of another release."""
    for daemon in daemons:
        is_server = daemon.name.startswith("serve")
        if announced and is_server and not (daemon.away or daemon.note or daemon.version):
            reason = "a snapshot was announced and not swapped in; /readyz and `millstream doctor` say why"
            yield "yellow", f"{daemon.name} answers with what is popular: {reason}"


def _bridge_lag(series: Mapping[str, Series]) -> dict[str, float | None]:
    """Not everybody runs one."""
    return {name: _gauge(series[name], "millstream_lag_records", name) for name in series.keys() & {"bridge"}}


def _stopped(series: Mapping[str, Series]) -> Iterable[tuple[State, str]]:
    for name in ("learn", "bridge"):
        if _gauge(series.get(name, {}), "millstream_reading_stopped", name):
            reason = "too many records were refused: its log says what to do"
            yield "red", f"{name} reads nothing, because {reason}"


def _uncommitted(learner: Series) -> Iterable[tuple[State, str]]:
    for kind in ("publication", "checkpoint"):
        if value_of(learner, "millstream_commits_failing", kind=kind):
            yield "red", f"the storage refuses each {kind} of the learner, whose log says why"


def _paused(series: Mapping[str, Series], event_log: EventLog, topics: Topics) -> Iterable[tuple[State, str]]:
    """The order is read where the learner does not say whether it heeds one."""
    if "learn" in series:
        is_paused = bool(value_of(series["learn"], "millstream_learning_paused"))
    else:
        is_paused = read_pause(event_log, topics) is not None
    if is_paused:
        line = "learning is paused by a person: `millstream history` says why, `millstream resume` ends it"
        yield "yellow", line


def _unlearned(learner: Series) -> Iterable[tuple[State, str]]:
    signs = {
        dict(labels)["sign"]: count
        for (name, labels), count in learner.items()
        if name == "millstream_signs_total"
    }
    acts = sum(signs.values())
    if acts >= ENOUGH_ACTS and not signs.get("positive"):
        line = f"nothing is learned: none of {acts:,.0f} acts says anything good of its item, by [signals]"
        yield "yellow", f"{line}; the learner's log names the settings that fit"


def _refusing(incoming: Iterable[RecentRecords]) -> Iterable[tuple[State, str]]:
    minutes = RECENT_MS // 60_000
    for recent in incoming:
        number = sum(recent.refused.values())
        if not number:
            continue
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in recent.refused.items())
        share = "every record" if recent.all_refused else f"{number:,} of {recent.records:,} records"
        red = recent.all_refused or number >= MANY
        line = f"{share} of the last {minutes} minutes refused ({reasons}), {recent.last} the last"
        yield ("red" if red else "yellow"), f"{recent.topic}: {line}"


def _worst(findings: Iterable[tuple[State, str]]) -> State:
    states = {state for state, _ in findings}
    return "red" if "red" in states else "yellow" if states else "green"
