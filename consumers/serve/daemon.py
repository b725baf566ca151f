"""The serve daemon: connects log, snapshots, follower and HTTP server, and closes them.

All its state comes from the log and the snapshot store, so it may be killed at any moment.
It exits when its follower fails, because its answers would become stale. It is a whole server, or one of
several workers: see `consumers.serve.workers`.
"""

from __future__ import annotations

import logging
import os
from contextlib import closing, nullcontext, suppress
from functools import partial
from multiprocessing import parent_process
from threading import Event, Thread

from consumers.serve.follow.following import following
from consumers.serve.follow.impression_follower import ImpressionFollower
from consumers.serve.follow.policy_follower import PolicyFollower
from consumers.serve.http.app import create_app
from consumers.serve.impressions import ImpressionWriter
from consumers.serve.query import MS_PER_HOUR
from consumers.serve.rewards import RewardWriter
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.shown import ShownItems
from consumers.serve.workers import Worker
from pipeline import metrics
from pipeline.config import HttpConfig, Settings
from pipeline.eventlog.patience import checked
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.http.listening import serve_beside
from pipeline.policy.arms import make_arms
from pipeline.policy.changes import PolicyChange
from pipeline.signals import Stopped, stop_requested
from pipeline.snapshots.version import Version
from pipeline.value.features import OTHERS

STARTER_SECONDS = 1.0
"""Between two looks at whether the process that started a comparison is there."""

log = logging.getLogger(__name__)


def run(settings: Settings, worker: Worker | None = None, at: Version | None = None) -> None:
    """Serve until SIGTERM or SIGINT, alone or as a worker, which ends with its parent, too.

    With `at`, serve that snapshot alone: for comparison, so nothing is written. It ends with the process that
    started it.

    Raises:
        InvalidSettings: host and port, or those of a worker's metrics, cannot be listened at.
        TopicError: topics are missing or differ from the settings.
        BackboneNotFound: the language model was not found.
        MillstreamError: the follower failed.
    """
    stop = stop_requested()
    if worker is not None:
        _begin_as_worker(settings, worker, stop)
    if at is not None:
        settings = _for_comparison(settings)
        Thread(target=_stop_with_starter, args=(stop,), name="starter", daemon=True).start()
    with suppress(Stopped), checked(settings.log, stop) as (event_log, _):
        serve(settings, event_log, stop, worker, at)
    log.info("server stopped")


def _for_comparison(settings: Settings) -> Settings:
    """The settings of a server that writes nothing; the command that starts it names its host."""
    serve = settings.serve.replace(http=HttpConfig(), workers=1, impressions=False, exclude_shown_minutes=0)
    return settings.model_copy(update={"serve": serve})


def _stop_with_starter(stop: Event) -> None:
    """Set `stop` when the process that started this one has ended."""
    starter = os.getppid()
    while os.getppid() == starter and not stop.wait(STARTER_SECONDS):
        pass
    stop.set()


def _begin_as_worker(settings: Settings, worker: Worker, stop: Event) -> None:
    """Expose the worker's own metrics, and let it stop when its parent ends."""
    metrics.WORKER_RESTARTS.inc(worker.restarts)
    at = settings.metrics
    metrics.serve_metrics(at.host, at.serve and at.serve + worker.number, settings.serve.reading_keys)
    parent = parent_process()
    assert parent is not None

    def stop_with_parent() -> None:
        parent.join()
        stop.set()

    Thread(target=stop_with_parent, name="parent", daemon=True).start()


def serve(
    settings: Settings,
    event_log: EventLog,
    stop: Event,
    worker: Worker | None = None,
    at: Version | None = None,
) -> None:
    """Follow the log and answer requests until `stop` is set; `at` is a version to serve and no other.

    A worker accepts connections once it has read the log to its end.

    Raises:
        InvalidSettings: the snapshot store cannot be opened, or host and port cannot be listened at.
    """
    topics, current = Topics(settings.log.prefix), CurrentState()
    follow = following(settings, event_log, topics, current, at)
    shown = ShownItems()
    impression_follower = ImpressionFollower(
        event_log,
        topics.impressions,
        shown,
        int(settings.serve.shown_hours * MS_PER_HOUR),
        settings.serve.poll_seconds,
    )
    impressions = ImpressionWriter(event_log, topics.impressions) if settings.serve.impressions else None
    with (
        closing(RewardWriter(event_log, topics.interactions)) as rewards,
        closing(impressions) if impressions else nullcontext(),
    ):
        submit = impressions.submit if impressions else None
        service = RecommendationService(
            current,
            settings.learn.segments.context,
            submit,
            shown=shown,
            append=rewards.append,
            arms=None,
            writes_features=bool(settings.value.learners),
            others=OTHERS if "dqn" in settings.value.learners else 0,
        )
        followers = [
            partial(follow, stop),
            partial(impression_follower.run, stop),
            partial(_policy_follower(settings, event_log, service).run, stop),
        ]
        app, here = create_app(service, settings.serve), settings.serve
        if worker is None:
            serve_beside(app, here, "serve", followers, stop, http=here.http)
        else:
            is_ready = partial(_is_ready, service, worker)
            serve_beside(
                app, here, "serve", followers, stop, http=here.http, is_ready=is_ready, is_shared=True
            )


def _policy_follower(
    settings: Settings, event_log: EventLog, service: RecommendationService
) -> PolicyFollower:
    """Let the service use the policy that was promoted, or else that of the settings."""

    def use(promotion: PolicyChange | None) -> None:
        arms = make_arms(settings.policy, promotion)
        for name in arms.ranking_by_values - set(settings.value.learners):
            log.error("%s ranks, but value.learners does not name it: the model ranks instead", name)
        service.use(arms)

    topic = Topics(settings.log.prefix).policies
    return PolicyFollower(event_log, topic, use, settings.serve.poll_seconds)


def _is_ready(service: RecommendationService, worker: Worker) -> bool:
    """Whether a worker can answer; tell its parent when it can."""
    if not service.readiness().ready:
        return False
    with suppress(BrokenPipeError):  # its parent has ended, and so will this worker
        worker.ready.send_bytes(b"1")
    return True
