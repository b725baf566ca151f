"""What a policy costs a request, beside the same requests answered greedily.

    python -m benchmarks.policies --items 10000 --requests 2000

Teaches a learner the simulated shop, serves its snapshot by each policy in this process, and asks all sides
for the same users in turn, so that whatever else the machine does meets all. Counts the processor time of
the thread, with that of encoding the impression, which a server does in another thread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.rules import BATCH, NOW, load, state_of
from consumers.serve.impressions import Fields
from consumers.serve.query import RecommendationQuery
from consumers.serve.service import RecommendationService
from pipeline.assembly import make_learner
from pipeline.config import PolicyConfig, ValueConfig, load_settings
from pipeline.datasets import open_dataset
from pipeline.events import Impression, encode, validate
from pipeline.policy.arms import make_arms
from pipeline.training.backtest import micro_batches
from pipeline.value.features import ITEM, OTHERS, STATE
from pipeline.value.learners import make_learner as make_value_learner
from pipeline.value.learners import make_models
from pipeline.value.port import Decision, ValueModel

MS = 1_000
SIDES: Mapping[str, PolicyConfig] = {
    "greedy": PolicyConfig(),
    "epsilon_greedy": PolicyConfig(name="epsilon_greedy"),
    "plackett_luce": PolicyConfig(name="plackett_luce"),
    "plackett_luce, 10 places": PolicyConfig(name="plackett_luce", explored_places=10),
    "plackett_luce, 20 places, 1,000 items": PolicyConfig(
        name="plackett_luce", explored_places=20, pool=1_000
    ),
    "greedy, with features": PolicyConfig(),
    "thompson": PolicyConfig(name="thompson"),
    "dqn": PolicyConfig(name="dqn"),
}
FIRST_WITH_FEATURES = list(SIDES).index("greedy, with features")
"""This side and those after it write features."""
TAUGHT = 2_000
"""Decisions, of random features, that the learners of values have learned."""


def main(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 2_000,
    requests: Annotated[int, typer.Option(help="Requests of each side.")] = 2_000,
    events: Annotated[int, typer.Option(help="Interactions to learn first.")] = 2_000,
    k: Annotated[int, typer.Option(help="Items of an answer.")] = 20,
) -> None:
    """Ask all sides in turn, and print the processor time of a request in ms."""
    settings = load_settings()
    learner = make_learner(settings)
    for batch in micro_batches(
        open_dataset(f"shop:items={items},arrivals=0,events={events}").events(), BATCH
    ):
        learner.score_and_learn(batch)
    snapshot = replace(load(learner, settings), values=_values())
    current, _ = state_of(snapshot, learner, ())
    services = [
        RecommendationService(
            current,
            settings.learn.segments.context,
            _encode,
            lambda: NOW,
            arms=make_arms(policy),
            writes_features=number >= FIRST_WITH_FEATURES,
            others=OTHERS if policy.name == "dqn" else 0,
        )
        for number, policy in enumerate(SIDES.values())
    ]
    times = _times(services, sorted(learner.stream.histories.users()), requests, k)
    table = Table(
        "policy",
        "p50 ms",
        "p95 ms",
        "p50, of greedy",
        "above greedy, ms",
        title=f"{len(snapshot.rows):,} items, {k} shown",
    )
    for name, own in zip(SIDES, times, strict=True):
        p50, p95 = np.percentile(own, (50, 95))
        above = np.median(np.subtract(own, times[0]))  # of the same user at almost the same time
        share = p50 / np.median(times[0])
        table.add_row(name, f"{p50:.2f}", f"{p95:.2f}", f"{share:.3f}", f"{above:.2f}")
    Console(width=120).print(table)


def _values() -> dict[str, ValueModel]:
    """Return models of values that have learned noise: what they cost does not depend on what they know."""
    random = np.random.default_rng(0)
    learner = make_value_learner(ValueConfig(learners=("thompson", "dqn")), STATE, ITEM)
    for _ in range(TAUGHT // BATCH):
        decisions = [
            Decision(
                user=number,
                shown_at=0,
                state=random.normal(size=STATE).astype(np.float32),
                items=random.normal(size=(5, ITEM)).astype(np.float32),
                scores=np.full(5, 0.1),
                rewards=random.binomial(1, 0.2, 5).astype(np.float64),
            )
            for number in range(BATCH)
        ]
        learner.learn(decisions, random)
    return make_models(learner.model(), STATE, ITEM)


def _encode(fields: Fields) -> None:
    encode(validate(Impression, fields))


def _times(
    services: Sequence[RecommendationService], users: Sequence[str], requests: int, k: int
) -> list[list[float]]:
    """Ask every side for the same users; each goes first as often as the others. In ms of this thread."""
    times: list[list[float]] = [[] for _ in services]
    for number in range(requests):
        for side in np.roll(range(len(services)), number).tolist():
            began = time.thread_time()
            services[side].for_user(users[number % len(users)], None, RecommendationQuery(k))
            times[side].append(MS * (time.thread_time() - began))
    return times


if __name__ == "__main__":
    typer.run(main)
