"""A learner with a large catalogue ranks among candidates, and learns as one that ranks all items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import CENTROIDS, LISTS, restore
from pipeline.config import LearnerConfig, RetrievalConfig, SignalsConfig
from pipeline.evaluation.lists import CUTOFF, overlap
from pipeline.evaluation.prequential import AUDITED, FULL_RANKING, Quality
from pipeline.events import Item, event_digest
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.state.micro_batch import MicroBatch
from pipeline.training import sampled_lists
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase
from tests.support.checkpoint_tools import to_files

TITLES = [
    f"{c} {t} {n}" for c in ("red", "blue", "green") for t in ("cup", "plate", "lamp") for n in range(30)
]
ITEMS = [Item(item=f"i{number}", title=title) for number, title in enumerate(TITLES)]
START, USERS, EVENTS = 1_600_000_000_000, 6, 40
ALL_SCANNED = RetrievalConfig(exact_items=0, scanned=1_024, best=48, audited=1_000)
FEW_SCANNED = RetrievalConfig(exact_items=0, scanned=64, best=24, nearest=8, audited=1_000)
NO_POSITION = Position(1, 0, "", 0, {}, 0, 0, {})
Make = Callable[..., Learner]


NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_CUDA)])
def make(request: pytest.FixtureRequest, backbone_folder: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes learners on a device that know the items."""
    device, backbone = torch.device(request.param), load_backbone(str(backbone_folder))
    encoder = TextEncoder(backbone, tmp_path, 8, device)

    def made(retrieval: RetrievalConfig) -> Learner:
        config: LearnerConfig = learner_config(negatives=64, replay=4, retrieval=retrieval)
        learner = Learner(config, backbone, encoder, device, SignalsConfig(item_cap=1_000))
        learner.score_and_learn(MicroBatch(0, 0, ITEMS, []))
        return learner

    yield made
    encoder.close()


def batches(amount: int, first: int = 1) -> list[MicroBatch]:
    """Users who go through the catalogue, mostly in its first third; a text changes in each batch."""
    records = []
    for step in range(first, first + amount):
        random = np.random.default_rng(step)
        where = (len(ITEMS) * random.random(EVENTS) ** 2).astype(int).tolist()
        users = random.integers(USERS, size=EVENTS).tolist()
        events = [
            purchase(f"u{user}", ITEMS[place].item, START + (EVENTS * step + number) * MINUTE)
            for number, (user, place) in enumerate(zip(users, where, strict=True))
        ]
        changed = Item(item=f"i{step}", title=f"golden cup {step}")
        records.append(MicroBatch(1, step, [changed], events))
    return records


def quality_of(learner: Learner, records: list[MicroBatch]) -> Quality:
    quality = Quality()
    for batch in records:
        quality.add(learner.score_and_learn(batch))
    return quality


def test_with_enough_candidates_it_is_as_if_all_were_ranked(make: Make) -> None:
    records = batches(8)
    exact = quality_of(make(RetrievalConfig()), records).report()
    among = quality_of(make(ALL_SCANNED), records).report()
    for scorer in ("mixture", "model", "covisitation"):
        for figure in ("hr@20", "mrr@20"):
            assert among[scorer]["all"][figure] == pytest.approx(exact[scorer]["all"][figure], abs=0.03)
    assert among["mixture"]["all"]["log_loss"] == pytest.approx(exact["mixture"]["all"]["log_loss"], abs=0.05)
    assert FULL_RANKING not in exact


@pytest.fixture
def all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user has lists."""
    monkeypatch.setattr(sampled_lists, "ONE_IN", 1)


@pytest.mark.usefixtures("all_listed")
def test_lists_among_enough_candidates_are_those_of_a_full_ranking(make: Make) -> None:
    exact, among, alike = make(RetrievalConfig()), make(ALL_SCANNED), list[float]()
    for batch in batches(8):
        among.mixer.load(exact.mixer.state())  # what it learns beside the list is not what this is about
        full, found = (learner.score_and_learn(batch).lists.rows for learner in (exact, among))
        alike += [overlap(one, other) for one, other in zip(full, found, strict=True)]
    assert len(alike) > 10
    assert np.mean(alike) > 0.99


@pytest.mark.usefixtures("all_listed")
def test_a_target_that_was_not_found_is_in_no_list(make: Make) -> None:
    """It is scored beside the candidates, but nobody would have been shown it."""
    learner, missed = make(FEW_SCANNED.replace(best=1, covisited=1, nearest=1)), 0
    for batch in batches(8):
        scores = learner.score_and_learn(batch)
        ranks = scores.by_scorer["mixture"].ranks
        users = map(event_digest, reversed(scores.targets.users))
        firsts = dict(zip(users, reversed(ranks.tolist()), strict=True))
        lists = scores.lists
        for user, rows, target in zip(lists.users.tolist(), lists.rows, lists.targets.tolist(), strict=True):
            assert (target in rows.tolist()) == (firsts[user] <= CUTOFF)
            missed += firsts[user] == len(ITEMS)
    assert missed


def later_of(learner: Learner) -> list[list[list[int]]]:
    """What was acted on later in the baskets of the last of some batches, of which each is a session."""
    lessons = list[Any]()
    for batch in batches(3):
        session = {"session": f"s{batch.step}"}
        events = [event.model_copy(update=session) for event in batch.interactions]
        learner.mixer.learn = lambda *lesson: lessons.append(lesson)  # type: ignore[method-assign]
        lessons.clear()
        learner.score_and_learn(MicroBatch(1, batch.step, batch.items, events))
    return [later.tolist() for *_, later in lessons]


def test_what_comes_later_in_a_basket_is_taught_if_it_was_found_for_the_first(make: Make) -> None:
    """Where all items are candidates, columns are rows."""
    everything = ALL_SCANNED.replace(best=len(ITEMS))
    exact, among, few = map(later_of, map(make, (RetrievalConfig(), everything, FEW_SCANNED)))
    assert exact == among
    assert len(exact[0][0]) == EVENTS - USERS
    assert 0 < len(few[0][0]) < EVENTS - USERS


def test_the_audit_says_what_candidates_lack(make: Make) -> None:
    """All are audited here, so both rankings are of the same targets."""
    report = quality_of(make(ALL_SCANNED), batches(6)).report()
    full, among = report[FULL_RANKING][AUDITED], report["mixture"][AUDITED]
    assert full["n"] == among["n"] == report["mixture"]["all"]["n"]
    assert full["recall@20"] == pytest.approx(1, abs=0.001)
    assert full["hr@20"] == pytest.approx(among["hr@20"], abs=0.005)
    assert full["log_loss"] == pytest.approx(among["log_loss"], abs=0.1)
    few = quality_of(make(FEW_SCANNED.replace(best=4, covisited=2)), batches(6)).report()
    recall = few[FULL_RANKING][AUDITED]["recall@20"]
    assert recall is not None
    assert recall < 0.9


def test_a_target_that_was_not_found_has_the_last_rank(make: Make) -> None:
    learner = make(FEW_SCANNED.replace(best=1, covisited=1, nearest=1))
    ranks = [learner.score_and_learn(batch).by_scorer["mixture"].ranks for batch in batches(3)]
    assert (np.concatenate(ranks) == len(ITEMS)).mean() > 0.3


def test_some_are_audited_whatever_the_batches_are(make: Make) -> None:
    learner = make(ALL_SCANNED.replace(audited=len(ITEMS) // 3))
    scores = [learner.score_and_learn(batch) for batch in batches(8)]
    share = np.concatenate([scored.audited for scored in scores if scored.audited is not None]).mean()
    assert share == pytest.approx(1 / 3, abs=0.08)


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        (CENTROIDS, lambda centroids: centroids[:, 1:]),
        (CENTROIDS, lambda centroids: centroids[:0]),
        (LISTS, lambda lists: lists[1:]),
        (LISTS, lambda lists: lists.long()),
        (LISTS, lambda lists: lists - 2_000),
        (LISTS, lambda lists: lists + 2_000),
    ],
)
def test_an_index_that_is_none_is_not_restored(
    make: Make, name: str, damaged: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    learner = make(FEW_SCANNED)
    learner.score_and_learn(batches(1)[0])
    captured = capture(learner, None, NO_POSITION)
    captured.learned[name] = damaged(captured.learned[name]).contiguous()
    with pytest.raises(ValueError, match=r"list|centroids|out of range"):
        restore(learner, None, captured.model, to_files(captured, partitions=2))


@pytest.mark.parametrize("retrieval", [ALL_SCANNED, FEW_SCANNED], ids=["scanned", "by content, too"])
def test_a_restored_learner_goes_on_as_one_that_never_stopped(make: Make, retrieval: RetrievalConfig) -> None:
    unbroken = make(retrieval)
    quality_of(unbroken, batches(5))
    captured = capture(unbroken, None, NO_POSITION)
    restored = make(retrieval)
    restore(restored, None, captured.model, to_files(captured, partitions=2))
    quality_of(unbroken, batches(3, first=6))
    quality_of(restored, batches(3, first=6))
    one, other = (to_files(capture(some, None, NO_POSITION), partitions=2) for some in (restored, unbroken))
    assert one == other
    assert (unbroken.retriever.choice.centroids is None) == (retrieval is ALL_SCANNED)
