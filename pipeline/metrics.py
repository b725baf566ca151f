"""Every Prometheus series of every daemon, declared once; the only user of the client.

Names are ``millstream_<noun>_<unit>[_total]`` in base units. No label holds a user, an item
or a version: those grow without bound.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, generate_latest, start_http_server

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)
FRESHNESS = (0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800)

EVENTS = Counter("millstream_events_total", "Interactions taken in", ["daemon"])
DEAD_LETTERS = Counter("millstream_dead_letters_total", "Records refused and dead-lettered", ["daemon"])
DUPLICATES = Counter("millstream_duplicates_total", "Interactions seen before and dropped", ["daemon"])
LAG = Gauge("millstream_lag_records", "Records between the reader and the log's end", ["daemon"])

BATCH_SECONDS = Histogram(
    "millstream_batch_seconds", "Time to score, learn and fold one MicroBatch", buckets=SECONDS
)
BATCH_EVENTS = Histogram(
    "millstream_batch_events", "Interactions in a MicroBatch", buckets=(1, 4, 16, 64, 128, 256, 512)
)
LOSS = Gauge("millstream_loss", "Loss of the last batch learned")
QUARANTINED = Counter(
    "millstream_quarantined_batches_total", "Batches folded but not learned: no finite loss"
)
QUALITY = Gauge(
    "millstream_prequential_quality", "Running figures of each scorer", ["scorer", "slice", "figure"]
)
REPLAY = Gauge("millstream_replay_segments", "Segments in the replay reservoir")
ITEMS = Gauge("millstream_items", "Items in the catalogue", ["daemon"])
USERS = Gauge("millstream_users", "Users with a history", ["daemon"])
GENERATION = Gauge("millstream_generation", "Generation of the learner or of the snapshot served", ["daemon"])
STEP = Gauge("millstream_step", "Step of the learner or of the snapshot served", ["daemon"])
PUBLISH_SECONDS = Histogram(
    "millstream_publish_seconds", "Time to write and announce a snapshot", buckets=SECONDS
)
CHECKPOINT_SECONDS = Histogram("millstream_checkpoint_seconds", "Time to write a checkpoint", buckets=SECONDS)

LEARNED_FRESHNESS = Histogram(
    "millstream_appended_to_learned_seconds", "From append to learned", buckets=FRESHNESS
)
PUBLISHED_FRESHNESS = Histogram(
    "millstream_appended_to_published_seconds", "From append to published", buckets=FRESHNESS
)
SERVED_FRESHNESS = Histogram(
    "millstream_appended_to_served_seconds", "From append to served weights", buckets=FRESHNESS
)

SWAPS = Counter("millstream_swaps_total", "Snapshots that a server has swapped in")
SWAP_SECONDS = Histogram(
    "millstream_swap_seconds", "Time to load, verify and swap a snapshot", buckets=SECONDS
)
REFUSED_SNAPSHOTS = Counter("millstream_refused_snapshots_total", "Snapshots that failed verification")
REQUEST_SECONDS = Histogram(
    "millstream_request_seconds", "Time to answer a request", ["route", "status"], buckets=SECONDS
)
IMPRESSIONS = Counter("millstream_impressions_total", "Impressions written, dropped or failed", ["outcome"])
EXPIRED_READS = Counter(
    "millstream_expired_reads_total", "Times that a reader lost records to retention", ["daemon"]
)
STALENESS = Gauge("millstream_staleness_seconds", "Age of the oldest record that the served weights lack")


def serve_metrics(port: int) -> None:
    """Answer Prometheus on a port of the loopback interface; 0 for not at all."""
    if port:
        start_http_server(port, addr="127.0.0.1")


def exposition() -> bytes:
    """All series in Prometheus' text format."""
    return generate_latest()
