"""The comparison: alike contenders do alike, and what is shown is what the mixture ranks first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import LearnerConfig
from pipeline.evaluation.prequential import per_target
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.retraining import comparison
from pipeline.retraining.comparison import evidence, recommended, run_through
from pipeline.retraining.gate import GateOutcome, decide
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.cohorts import NEW_USER_BELOW
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase
from tests.support.retrain_harness import ANYTHING_GOES, foreseen

CONFIG = learner_config(context=4, length=6, overlap=2)
ITEMS = [
    Item(item=f"{c}-{t}", title=f"{c} {t}")
    for c in ("red", "blue", "green")
    for t in ("cup", "plate", "lamp", "candle")
]
USERS, BATCH = 6, 18
Made = Callable[[], Learner]


def walk(begin: int, end: int) -> list[Interaction]:
    """Users in turn along the catalogue; a new basket every four acts."""
    return [
        purchase(
            f"u{number % USERS}",
            ITEMS[(number // USERS + 2 * (number % USERS)) % len(ITEMS)].item,
            MINUTE * number,
            session=f"b{number // USERS // 4}",
        )
        for number in range(begin, end)
    ]


def batches(*runs: list[Interaction]) -> list[MicroBatch]:
    """One each, after those that `made` has learned."""
    return [MicroBatch(1, 10 + number, [], run) for number, run in enumerate(runs)]


@pytest.fixture
def made(backbone: Backbone, tmp_path: Path) -> Iterator[Made]:
    """Makes the same learner again and again."""
    encoder = TextEncoder(backbone, tmp_path / "cache", 8, torch.device("cpu"))

    def make(config: LearnerConfig = CONFIG) -> Learner:
        learner = Learner(config, backbone, encoder, torch.device("cpu"))
        learner.score_and_learn(MicroBatch(1, 0, ITEMS, []))
        for step in range(4):
            run = walk(BATCH * step, BATCH * (step + 1))
            learner.score_and_learn(MicroBatch(1, step + 1, [], run))
        return learner

    yield make
    encoder.close()


TRIAL = batches(*(walk(BATCH * step, BATCH * (step + 1)) for step in range(4, 7)))


def test_alike_contenders_do_alike(made: Made) -> None:
    targets, champion, candidate = evidence(*(run_through(made(), TRIAL, 1) for _ in range(2)))
    assert targets.users.size == 2 * BATCH
    assert np.array_equal(champion.log_loss, candidate.log_loss)
    assert np.array_equal(champion.ndcg, candidate.ndcg)
    assert np.array_equal(champion.lists, candidate.lists)
    assert champion.bytes == candidate.bytes > 0
    assert champion.seconds > 0


def test_what_differs_shows(made: Made) -> None:
    other = made()
    other.table.load({**other.table.state(), "bias": torch.linspace(-3, 3, len(ITEMS))})
    _, champion, candidate = evidence(run_through(made(), TRIAL, 0), run_through(other, TRIAL, 0))
    assert not np.array_equal(champion.log_loss, candidate.log_loss)
    assert not np.array_equal(champion.lists, candidate.lists)


def test_lists_are_described_by_diversity_and_spread(made: Made) -> None:
    _, champion, candidate = evidence(*(run_through(made(), TRIAL, 0) for _ in range(2)))
    assert champion.spread == candidate.spread
    assert set(champion.spread) >= {"diversity@20", "coverage@20", "gini@20", "tail_share@20"}
    assert all(0 <= value <= 1 for value in champion.spread.values())


def test_both_are_tried_on_what_they_had_not_learned_after_what_was_held_out(made: Made) -> None:
    alone = made()
    said = [alone.score_and_learn(batch) for batch in TRIAL][1:]
    targets, champion, _ = evidence(*(run_through(made(), TRIAL, 1) for _ in range(2)))
    figures = [per_target(scores.by_scorer["mixture"]) for scores in said]
    assert champion.log_loss.tolist() == [loss for each in figures for loss in each["log_loss"]]
    assert champion.ndcg.tolist() == [gain for each in figures for gain in each["ndcg@20"]]
    users = [user for scores in said for user in scores.targets.users]
    assert [users[0] == user for user in users] == (targets.users == targets.users[0]).tolist()
    assert targets.slices["first_of_basket"].tolist() == [
        bool(first) for scores in said for first in scores.slices["first_of_basket"]
    ]


def test_new_users_are_those_of_whom_little_is_known(made: Made) -> None:
    first = [purchase("new", ITEMS[place].item, MINUTE * (1_000 + place)) for place in range(3)]
    later = [purchase("new", ITEMS[place].item, MINUTE * (2_000 + place)) for place in range(5)]
    trial = batches(first, later, walk(72, 90))
    targets, *_ = evidence(*(run_through(made(), trial, 0) for _ in range(2)))
    foreseen = range(1, len(first + later))  # nothing foresees a user's very first act
    assert targets.slices["new_users"].tolist() == [
        *(past < NEW_USER_BELOW for past in foreseen),
        *[False] * 18,
    ]


def test_without_targets_nothing_is_compared(made: Made) -> None:
    contenders = [run_through(made(), TRIAL, len(TRIAL)) for _ in range(2)]
    found = evidence(*contenders)
    assert found[0].users.size == 0
    assert decide(*found, ANYTHING_GOES).outcome is GateOutcome.TOO_FEW


@pytest.mark.parametrize("sick", [0, 1])
def test_a_contender_that_is_not_finite_is_told_so(made: Made, sick: int) -> None:
    learners = [made(), made()]
    table = learners[sick].table.state()
    learners[sick].table.load({**table, "residual": torch.full_like(table["residual"], torch.nan)})
    targets, champion, candidate = evidence(*(run_through(learner, TRIAL, 1) for learner in learners))
    trials = champion, candidate
    assert targets.users.size == 2 * BATCH
    assert np.isnan(trials[sick].log_loss).all()
    assert np.isfinite(trials[1 - sick].log_loss).all()
    assert decide(targets, champion, candidate, ANYTHING_GOES).outcome is GateOutcome.REJECTED


# Lists.


def ranked(learner: Learner, user: str) -> list[int]:
    """All rows, one user by itself."""
    return [int(row) for row in foreseen(learner, user).mixture.argsort(descending=True)]


@pytest.mark.parametrize("k", [1, 5, len(ITEMS)])
def test_a_list_is_what_the_mixture_ranks_first(made: Made, k: int) -> None:
    learner = made()
    users = [f"u{number}" for number in range(USERS)]
    lists = recommended(learner, users, k)
    assert lists.tolist() == [ranked(learner, user)[:k] for user in users]
    assert len({tuple(shown) for shown in lists.tolist()}) > 1 or k == 1, "users differ"


def test_a_list_is_shorter_where_the_catalogue_is(made: Made) -> None:
    assert recommended(made(), ["u0", "u1"], 100).shape == (2, len(ITEMS))


@pytest.mark.parametrize("item", ITEMS[::3], ids=lambda item: item.item)
def test_an_act_that_comes_is_ranked_where_the_list_has_it(made: Made, item: Item) -> None:
    learner = made()
    last = learner.stream.histories.of("u3")[-1]
    event = purchase("u3", item.item, last.time + MINUTE, session=last.session)
    (shown,) = recommended(learner, ["u3"], len(ITEMS)).tolist()
    scores = learner.score_and_learn(MicroBatch(1, 10, [], [event]))
    row = learner.stream.catalogue.row(item.item)
    assert scores.by_scorer["mixture"].ranks.tolist() == [1 + shown.index(row)]


def test_both_show_lists_to_the_same_users_chosen_by_the_seed(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "PROBES", 4)
    monkeypatch.setattr(comparison, "PROBES_AT_ONCE", 3)
    learner = made()
    everybody = {f"u{number}": ranked(learner, f"u{number}") for number in range(USERS)}
    _, champion, candidate = evidence(run_through(learner, [], 0), run_through(made(), [], 0))
    assert champion.lists.shape == (4, len(ITEMS))
    assert champion.lists.tolist() == candidate.lists.tolist()
    shown = [user for each in champion.lists.tolist() for user, rows in everybody.items() if rows == each]
    assert len(set(shown)) == 4
    learner.config = learner.config.replace(seed=1)
    _, other, _ = evidence(run_through(learner, [], 0), run_through(made(), [], 0))
    assert other.lists.tolist() != champion.lists.tolist()
