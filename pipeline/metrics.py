"""All Prometheus metrics of all daemons, and a scraper; the only module that imports the client.

Names are ``millstream_<noun>_<unit>[_total]`` in base units. No label holds a user, an item
or a version, because their number grows without bound.
"""

from __future__ import annotations

import math
import shutil
import ssl
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from socket import getaddrinfo
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen
from wsgiref.simple_server import WSGIServer, make_server

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder, make_wsgi_app
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import InvalidSettings, MediaReason
from pipeline.keys import HEADER, Key, is_key
from pipeline.metrics_port import MetricsRequest, MetricsServer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)
FRESHNESS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 10, 30, 60, 300, 1800)

EVENTS = Counter("millstream_events_total", "Interactions ingested", ["daemon"])
DEAD_LETTERS = Counter(
    "millstream_dead_letters_total",
    "Invalid records; learn sends them to the dead-letter topic",
    ["daemon", "reason"],
)
ACCEPTED_RECORDS = Counter(
    "millstream_accepted_records_total", "Records that the gateway made durable and acknowledged", ["kind"]
)
REFUSED_LINES = Counter(
    "millstream_refused_lines_total", "Events that the gateway refused, as its answers say", ["reason"]
)
BRIDGED_RECORDS = Counter(
    "millstream_bridged_records_total", "Records that the bridge made of those of its source", ["kind"]
)
DROPPED_RECORDS = Counter(
    "millstream_dropped_records_total",
    "Records of the bridge's source that its mapping leaves out, by the reason that the mapping gives",
    ["reason"],
)
UNREADABLE_RECORDS = Counter(
    "millstream_unreadable_records_total", "Records that the event log could not read, each place once"
)
READING_STOPPED = Gauge(
    "millstream_reading_stopped",
    "1 while a daemon reads nothing, because too many of the last records were refused; else 0",
    ["daemon"],
)
LEARNING_PAUSED = Gauge(
    "millstream_learning_paused",
    "1 while the learner learns nothing new, because a person ordered so; else 0",
)
DUPLICATES = Counter("millstream_duplicates_total", "Duplicate interactions dropped", ["daemon"])
COLLISIONS = Counter(
    "millstream_collisions_total", "Interactions refused because another event has their id", ["daemon"]
)
CAPPED = Counter(
    "millstream_capped_acts_total", "Acts that count less, because their user has reached a cap of [signals]"
)
LAG = Gauge(
    "millstream_lag_records", "Records between the reader's position and the end of the log", ["daemon"]
)
IMPRESSIONS_LAG = Gauge(
    "millstream_impressions_lag_records", "Impressions between the learner's position and the end of the log"
)
OUTCOMES = Counter(
    "millstream_outcomes_total", "Impressions whose window has passed, by policy and arm", ["policy", "arm"]
)
REWARDED = Counter(
    "millstream_rewarded_outcomes_total",
    "Outcomes whose reward is above 0; as a share of all, the click-through rate",
    ["policy", "arm"],
)
RECIPROCAL_PLACES = Counter(
    "millstream_outcome_reciprocal_places_total",
    "Sum over outcomes of 1 / place of the first item with a reward above 0; as a share of all outcomes, MRR",
    ["policy", "arm"],
)
REWARDS = Counter(
    "millstream_outcome_rewards_total", "Sum of the rewards of outcomes, where above 0", ["policy", "arm"]
)
PENALTIES = Counter(
    "millstream_outcome_penalties_total",
    "Sum of the rewards of outcomes, where below 0, without the sign",
    ["policy", "arm"],
)
LEFTOVERS = Counter(
    "millstream_unjoined_total", "Acts and impressions that were not joined, or closed early", ["reason"]
)
VALUED = Gauge("millstream_valued_decisions", "Answers that a learner of values has learned", ["learner"])
UNVALUED = Counter(
    "millstream_unvalued_decisions_total", "Answers that learners of values did not learn", ["reason"]
)
OPEN_IMPRESSIONS = Gauge("millstream_open_impressions", "Impressions that wait for what comes of them")

BATCH_SECONDS = Histogram(
    "millstream_batch_seconds", "Time to score, learn and fold one MicroBatch", buckets=SECONDS
)
BATCH_EVENTS = Histogram(
    "millstream_batch_events", "Interactions in a MicroBatch", buckets=(1, 4, 16, 64, 128, 256, 512)
)
REHEARSALS = Counter("millstream_rehearsals_total", "Steps on old Segments alone, taken while little waited")
LOSS = Gauge("millstream_loss", "Loss of the last learned batch")
QUARANTINED = Counter(
    "millstream_quarantined_batches_total",
    "Batches folded but not learned, because their loss was not finite",
)
DRIFT_ALARMS = Counter("millstream_drift_alarms_total", "Alarms raised by the drift monitor", ["signal"])
RETRAIN_REQUESTS = Counter("millstream_retrain_requests_total", "Retrains requested because of an alarm")
ADOPTIONS = Counter("millstream_adoptions_total", "Promotions and rollbacks carried out", ["kind"])
BUDGETS_SPENT = Counter(
    "millstream_budgets_spent_total", "Times that automatic actions were left to a person", ["kind"]
)
REFUSED_ORDERS = Counter("millstream_refused_orders_total", "Promotions and rollbacks refused")
RETRAIN_EPOCHS = Gauge("millstream_retrain_epochs", "Epochs completed by the retrain in progress")
RETRAIN_COSTS = {
    "seconds": Counter("millstream_retrain_seconds_total", "Seconds spent training candidates"),
    "events": Counter("millstream_retrain_events_total", "Targets that candidates were trained on"),
}
CANDIDATES = Counter("millstream_candidates_total", "Candidates by outcome", ["outcome"])
QUALITY = Gauge(
    "millstream_prequential_quality",
    "Running prequential quality of each scorer",
    ["scorer", "slice", "figure"],
)
MIXTURE_REGRET = Gauge(
    "millstream_mixture_regret",
    "How much worse the running quality of the mixture is than that of its best part; below 0 it is better",
    ["slice", "figure"],
)
LIST_QUALITY = Gauge(
    "millstream_list_quality",
    "Figures of the last lists that the mixture made for a sample of users",
    ["figure"],
)
GROUP_SHARE = Gauge(
    "millstream_group_share",
    "Share that a group of items has of the places in these lists, and of the acts that followed",
    ["group", "of"],
)
RESPONSE_QUALITY = Gauge(
    "millstream_response_quality",
    "Running classification figures of the predicted responses to what was shown",
    ["figure"],
)
RATING_QUALITY = Gauge(
    "millstream_rating_quality", "Running errors of predicted ratings", ["slice", "figure"]
)
UNREAD_VECTORS = Counter(
    "millstream_unread_vectors_total",
    "Vectors that items bring and the model is not given, each time that their item is encoded",
    ["daemon", "reason"],
)
MODALITY = Gauge(
    "millstream_modality",
    "How much a vector, an attribute or related items say: learned gate, and length",
    ["modality", "figure"],
)
RATINGS_BEYOND_SCALE = Counter(
    "millstream_ratings_beyond_scale_total", "Ratings beyond learn.ratings.lowest and highest"
)
SIGNS = Counter("millstream_signs_total", "Acts learned, by what they say of their item", ["sign"])
ENOUGH_ACTS = 100
"""Acts of which one should be positive: else settings and data do not fit."""
REPLAY = Gauge("millstream_replay_segments", "Segments in the replay buffer")
ITEMS = Gauge("millstream_items", "Items in the catalogue", ["daemon"])
USERS = Gauge("millstream_users", "Users with a history", ["daemon"])
GENERATION = Gauge(
    "millstream_generation", "Generation of the learner, or of the served snapshot", ["daemon"]
)
STEP = Gauge("millstream_step", "Step of the learner, or of the served snapshot", ["daemon"])
PUBLISH_SECONDS = Histogram(
    "millstream_publish_seconds", "Time to write and announce a snapshot", buckets=SECONDS
)
CHECKPOINT_SECONDS = Histogram("millstream_checkpoint_seconds", "Time to write a checkpoint", buckets=SECONDS)

LOST_RECORDS = Counter(
    "millstream_lost_records_total",
    "Records that the log, or a bridge's source, lost before they were read",
    ["topic"],
)
GAPS = Counter(
    "millstream_gaps_total",
    "Gaps that learner or bridge went on after: lost records, or a topic made again",
    ["topic"],
)
PAUSES = Counter(
    "millstream_pauses_total", "Times that a daemon waited for the event log or the storage", ["daemon"]
)
FAILED_COMMITS = Counter(
    "millstream_failed_commits_total", "Publications and checkpoints that the storage refused", ["kind"]
)
COMMITS_FAILING = Gauge(
    "millstream_commits_failing",
    "1 while the storage refuses each publication or checkpoint; else 0",
    ["kind"],
)

LEARNED_FRESHNESS = Histogram(
    "millstream_appended_to_learned_seconds", "Time from append until an event is learned", buckets=FRESHNESS
)
PUBLISHED_FRESHNESS = Histogram(
    "millstream_appended_to_published_seconds",
    "Time from append until a snapshot with the event is published",
    buckets=FRESHNESS,
)
SERVED_FRESHNESS = Histogram(
    "millstream_appended_to_served_seconds",
    "Time from append until weights that learned the event are served",
    buckets=FRESHNESS,
)

SWAPS = Counter("millstream_swaps_total", "Snapshots swapped in by a server")
SWAP_SECONDS = Histogram(
    "millstream_swap_seconds", "Time to load, verify and swap a snapshot", buckets=SECONDS
)
REFUSED_SNAPSHOTS = Counter("millstream_refused_snapshots_total", "Snapshots that failed verification")
MISSING_SNAPSHOTS = Counter(
    "millstream_missing_snapshots_total", "Announced snapshots that were not in the store"
)
REFUSED_HISTORIES = Counter(
    "millstream_refused_histories_total", "Damaged records of users' histories, each read as an empty history"
)
REQUEST_SECONDS = Histogram(
    "millstream_request_seconds", "Time to answer a request", ["route", "status"], buckets=SECONDS
)
IMPRESSIONS = Counter(
    "millstream_impressions_total", "Impressions by outcome: written, dropped or failed", ["outcome"]
)
ANSWERS = Counter(
    "millstream_answers_total",
    "Answers, by whether it is certain that they are those of a ranking of all items: exact or uncertain",
    ["certainty"],
)
SHOWN_ITEMS = Counter(
    "millstream_shown_items_total",
    "Items of impressions, by policy and by whether chance put them before better ones: explored or best",
    ["policy", "choice"],
)
WORKER_RESTARTS = Counter(
    "millstream_worker_restarts_total", "Times that a process took the place of this worker, which had ended"
)
RULE_APPLICATIONS = Counter(
    "millstream_rule_applications_total", "Answers that a business rule had a part in", ["rule"]
)
MEDIA_VECTORS = Counter(
    "millstream_media_vectors_total", "Vectors made of pictures and sounds, by encoder", ["encoder"]
)
MEDIA_RECORDS = Counter(
    "millstream_media_records_total",
    "Catalogue records of the media daemon: vectors, or the repair of a record that one of its own replaced",
    ["kind"],
)
REFUSED_MEDIA = Counter(
    "millstream_refused_media_total", "Pictures and sounds that get no vector, by reason", ["reason"]
)
MEDIA_RETRIES = Counter(
    "millstream_media_retries_total", "Fetches that failed and are tried again later, by reason", ["reason"]
)
PENDING_MEDIA = Gauge("millstream_pending_media", "Pictures and sounds that wait to be fetched")
EXPIRED_READS = Counter(
    "millstream_expired_reads_total",
    "Reads that failed because retention had deleted the records",
    ["daemon"],
)
DEGRADED = Gauge(
    "millstream_degraded",
    "1 while a server cannot follow the event log and answers from memory; else 0",
)
STALENESS = Gauge(
    "millstream_staleness_seconds", "Age of the oldest record that the served weights have not learned"
)
FREE_BYTES = Gauge(
    "millstream_free_bytes", "Free bytes of the disk that has the learner's folder", ["folder"]
)

FROM_ZERO = {
    DRIFT_ALARMS: ("loss", "lead", "first_of_basket", "content"),
    ADOPTIONS: ("promotion", "rollback"),
    BUDGETS_SPENT: ("rollback", "retrain_request"),
    FAILED_COMMITS: ("publication", "checkpoint"),
    CANDIDATES: ("promoted", "rejected", "held", "cancelled"),
    SIGNS: ("positive", "negative", "none"),
    EXPIRED_READS: ("serve",),
    REFUSED_MEDIA: tuple(MediaReason),
}
"""Labels of series that begin at 0: Prometheus sees no increase in one that appears with its first event."""


def _begin_at_zero() -> None:
    for counter, labels in FROM_ZERO.items():
        for label in labels:
            counter.labels(label)


_begin_at_zero()


def watch_free_space(folders: Mapping[str, Path]) -> None:
    """Measure what is free for folders, by name, whenever metrics are read; NaN where it cannot be."""
    for name, folder in folders.items():
        FREE_BYTES.labels(name).set_function(partial(_free_bytes, folder))


def _free_bytes(folder: Path) -> float:
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return math.nan


def serve_metrics(host: str, port: int, keys: Sequence[Key] = ()) -> None:
    """Serve the metrics over HTTP at an address; port 0 turns it off.

    If there are keys, a request needs one of them in its header X-API-Key, as at the server; /healthz needs
    none.

    Raises:
        InvalidSettings: the address cannot be listened at; another daemon may be running there.
    """
    if port:
        server = _metrics_server(host, port, _with_key(make_wsgi_app(), keys))
        Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def check_port(host: str, port: int) -> None:
    """Check that metrics can be served at an address, before whatever else a daemon loads.

    Raises:
        InvalidSettings: see `serve_metrics`.
    """
    if port:
        _metrics_server(host, port, None).server_close()


def _metrics_server(host: str, port: int, app: Any) -> WSGIServer:
    try:

        class Server(MetricsServer):
            address_family = getaddrinfo(host, port)[0][0]

        return make_server(host, port, app, Server, MetricsRequest)
    except OSError as error:
        raise InvalidSettings(
            f"metrics cannot be served at {host}:{port} ({error}): is such a daemon running already? Stop it "
            "or set another port in [metrics]; 0 turns them off"
        ) from error


def _with_key(app: Any, keys: Sequence[Key]) -> Any:
    """Wrap a WSGI application so that it answers 401 to requests without a key."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"].rstrip("/") == HEALTH:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [HEALTHY]
        if not keys or is_key(environ.get(f"HTTP_{HEADER.upper().replace('-', '_')}"), keys):
            return app(environ, start_response)
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
        return [f"send a valid key in the header {HEADER}".encode()]

    return guarded


def exposition(accept: str = "") -> tuple[bytes, str]:
    """Return all series in the form that a header Accept asks for, and its media type.

    That is Prometheus' text, or OpenMetrics, which alone has exemplars.
    """
    encode, form = choose_encoder(accept)
    return encode(REGISTRY), form


HEALTH, HEALTHY = "/healthz", b'{"status":"ok"}'
"""Where each daemon says that it is alive, and what it says."""
NOT_ALLOWED = (401, 403)
NAME_FAULTS = (62, 64)
"""OpenSSL's codes of a certificate that is for another host name, or for another address."""
Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


class KeyRefused(OSError):
    """A daemon is up, and does not show its metrics without a key, or with the one that was sent."""


def reached(host: str) -> str:
    """Return the host at which this machine reaches a daemon that listens at `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


@cache
def trusting(authority: Path | None) -> ssl.SSLContext:
    """Trust the CAs of this machine, and the one in a file of the settings.

    Raises:
        InvalidSettings: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    try:
        if authority is not None:
            context.load_verify_locations(cafile=authority)
    except OSError as error:  # as SSLError is
        raise InvalidSettings(
            f"metrics.authority = {authority}: it cannot be used ({error.strerror or error}); name a file in "
            "PEM with the CA's certificate"
        ) from None
    return context


def unreachable(error: OSError, setting: str) -> str:
    """Say why a URL of a setting does not answer; of a certificate, with what mends it."""
    reason = getattr(error, "reason", error)
    if not isinstance(reason, ssl.SSLCertVerificationError):
        return (reason.strerror or str(reason)) if isinstance(reason, OSError) else str(error)
    if reason.verify_code in NAME_FAULTS:
        return f"its certificate is for another name: set {setting} to a URL with that name"
    return f"its certificate is not trusted ({reason.verify_message}): name its CA in metrics.authority"


def scrape(
    url: str,
    timeout_seconds: float = 5.0,
    headers: Mapping[str, str] | None = None,
    authority: Path | None = None,
) -> Series:
    """Fetch the series that a daemon exposes at a URL; `headers` may hold a key.

    A certificate must be of a CA that this machine trusts, or of the one in the file `authority`.

    Returns:
        The value of each series, by its name and labels.

    Raises:
        KeyRefused: it is up, and wants a key, or another one.
        OSError: the daemon does not answer.
    """
    try:
        text = _fetched(Request(url, headers=dict(headers or {})), timeout_seconds, authority).decode()
    except HTTPError as error:
        if error.code in NOT_ALLOWED and is_alive(url, timeout_seconds, authority):
            raise KeyRefused(str(error)) from error
        raise
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _fetched(request: Request, timeout_seconds: float, authority: Path | None) -> bytes:
    context = trusting(authority) if request.type == "https" else None
    try:
        with urlopen(request, timeout=timeout_seconds, context=context) as answer:
            body: bytes = answer.read()
    except HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from error  # another program listens there
    return body


def is_alive(url: str, timeout_seconds: float, authority: Path | None) -> bool:
    """Whether a daemon answers that is asked for its health, which needs no key."""
    try:
        return _fetched(Request(urljoin(url, HEALTH)), timeout_seconds, authority) == HEALTHY
    except OSError:
        return False


def value_of(series: Series, name: str, **labels: str) -> float:
    """Return one scraped value; 0 if the series does not exist yet."""
    return series.get((name, frozenset(labels.items())), 0.0)


def quantiles(series: Series, histogram: str, shares: Iterable[float]) -> list[float | None]:
    """Estimate quantiles of a scraped histogram without labels, interpolating within its buckets."""
    counts = sorted(
        (float(dict(labels)["le"]), count)
        for (name, labels), count in series.items()
        if name == f"{histogram}_bucket"
    )
    return [_quantile(counts, share) for share in shares]


def _quantile(cumulative: list[tuple[float, float]], share: float) -> float | None:
    if not cumulative or not cumulative[-1][1]:
        return None
    rank, below_edge, below = share * cumulative[-1][1], 0.0, 0.0
    for edge, count in cumulative:
        if count >= rank:
            inside = (rank - below) / (count - below) if count > below else 0.0
            # The last bucket has no upper edge, so its lower edge is the best estimate.
            return below_edge if edge == float("inf") else below_edge + inside * (edge - below_edge)
        below_edge, below = edge, count
    return below_edge
