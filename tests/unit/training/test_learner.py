"""The learner scores before it learns, learns the same each time, and survives a poisoned batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import LearnerConfig, ObjectiveConfig, OptimizerConfig, RowRates, SignalsConfig
from pipeline.evaluation.lists import CUTOFF, NO_ITEM
from pipeline.evaluation.prequential import Quality, Scores
from pipeline.events import CatalogueRecord, Interaction, InteractionType, Item, ItemChange, event_digest
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.mixer import FEATURES, REJECTED
from pipeline.retraining.comparison import recommended
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.segments import NEW_BASKET_AFTER_MS
from pipeline.training.cohorts import COLD_BELOW
from pipeline.training.learner import RELEASE_EVERY, Learner
from tests.support.build import MINUTE, learner_config, purchase

CONFIG = learner_config(negatives=16, replay=4, replay_capacity=20)
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "plate", "lamp", "candle")
ITEMS = [Item(item=f"{c}-{t}", title=f"{c} {t}") for c in COLOURS for t in THINGS]
UNCAPPED = SignalsConfig(item_cap=1_000, user_cap=1_000)
"""A few users act on the same few items again and again."""
FIRST_TIME = 1_600_000_000_000
GOLDEN = [2.7745, 4.4719, 4.5474, 4.2186, 4.1880]
Make = Callable[..., Learner]


@pytest.fixture
def make(backbone: Backbone, tmp_path: Path) -> Iterator[Make]:
    """Makes learners that know the items."""
    encoder = TextEncoder(backbone, tmp_path, 8, torch.device("cpu"))

    def made(config: LearnerConfig = CONFIG, items: list[Item] = ITEMS) -> Learner:
        learner = Learner(config, backbone, encoder, torch.device("cpu"), UNCAPPED)
        learner.score_and_learn(MicroBatch(0, 0, items, []))
        return learner

    yield made
    encoder.close()


def batches(amount: int, size: int = 40, users: int = 4) -> list[MicroBatch]:
    """Users who mostly buy along the catalogue, now and then after a long pause."""
    random = np.random.default_rng(0)
    time, at = FIRST_TIME, [int(place) for place in random.integers(len(ITEMS), size=users)]
    records = []
    for step in range(1, amount + 1):
        events = []
        for _ in range(size):
            user = int(random.integers(users))
            at[user] = int((at[user] + random.choice([1, 1, 1, 5])) % len(ITEMS))
            time += MINUTE if random.random() < 0.8 else 2 * NEW_BASKET_AFTER_MS
            events.append(purchase(f"u{user}", ITEMS[at[user]].item, time))
        records.append(MicroBatch(0, step, [], events))
    return records


def learn(learner: Learner, records: list[MicroBatch]) -> list[Scores]:
    return [learner.score_and_learn(batch) for batch in records]


def learned(learner: Learner) -> dict[str, Tensor]:
    """Copies of everything that learning may change."""
    parameters = {name: part.detach().clone() for name, part in learner.recommender.learned().items()}
    table = {f"table.{name}": column for name, column in learner.table.state().items()}
    return parameters | table | {f"mixer.{name}": part for name, part in learner.mixer.state().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(part, other[name]) for name, part in one.items())


def same_verdicts(one: Scores, other: Scores) -> bool:
    return all(
        np.array_equal(by_scorer.ranks, other.by_scorer[scorer].ranks)
        and np.array_equal(by_scorer.log_probabilities, other.by_scorer[scorer].log_probabilities)
        for scorer, by_scorer in one.by_scorer.items()
    )


def in_order_of_users(events: list[Interaction]) -> list[Interaction]:
    """As verdicts are: users by their first event, each one's events in order."""
    users = list(dict.fromkeys(event.user for event in events))
    return sorted(events, key=lambda event: users.index(event.user))


def replayed(learner: Learner, row: int) -> Counter[int]:
    """How many acts on an item each user has in the replay buffer."""
    state = learner.replay.state()
    users = np.repeat(state["users"], state["lengths"])
    return Counter(users[state["items"] == row].tolist())


def test_two_runs_are_the_same_to_the_bit(make: Make) -> None:
    one, other = make(), make()
    scores = zip(learn(one, batches(6)), learn(other, batches(6)), strict=True)
    assert all(same_verdicts(left, right) and left.loss == right.loss for left, right in scores)
    assert same(learned(one), learned(other))
    assert same_verdicts(*(learner.score_and_learn(batches(7)[-1]) for learner in (one, other)))


def test_a_rehearsal_learns_and_neither_scores_nor_folds(make: Make) -> None:
    learner, other = make(), make()
    learn(learner, batches(6))
    learn(other, batches(6))
    before, state = learned(learner), learner.replay.state()
    scores = learner.score_and_learn(MicroBatch(0, 7, [], [], learns=False, rehearses=True))
    assert scores.targets.users == []
    assert not same(learned(learner), before)
    assert same(learner.mixer.state(), other.mixer.state()), "the mixer learns from new acts alone"
    assert learner.stream.events == other.stream.events
    assert list(learner.stream.popularity.counts) == list(other.stream.popularity.counts)
    assert all(np.array_equal(array, state[name]) for name, array in learner.replay.state().items())
    other.score_and_learn(MicroBatch(0, 7, [], [], learns=False, rehearses=True))
    assert same(learned(learner), learned(other)), "the same to the bit"
    other.score_and_learn(MicroBatch(0, 8, [], [], learns=False, rehearses=True))
    learner.score_and_learn(MicroBatch(1, 8, [], [], learns=False, rehearses=True))
    assert not same(learned(learner), learned(other)), "each draws others"


def test_with_nothing_to_replay_a_rehearsal_does_nothing(make: Make) -> None:
    learner = make()
    before = learned(learner)
    learner.score_and_learn(MicroBatch(0, 1, [], [], learns=False, rehearses=True))
    assert same(learned(learner), before)


@pytest.mark.parametrize(
    "objective",
    [
        ObjectiveConfig(basket_types=(InteractionType.PURCHASE,)),
        ObjectiveConfig(alpha=0.2),
        ObjectiveConfig(alpha=0.2, unsupervised="masked_item"),
        ObjectiveConfig(alpha=0.2, schedule="linear"),
        ObjectiveConfig(alpha=0.2, schedule="exponential", schedule_events=100),
    ],
)
def test_another_objective_learns_otherwise_and_the_same_each_time(
    make: Make, objective: ObjectiveConfig
) -> None:
    records, (one, other) = batches(6), (make(CONFIG.replace(objective=objective)) for _ in range(2))
    losses = [[scores.loss for scores in learn(learner, records)] for learner in (one, other)]
    assert losses[0] == losses[1]
    assert same(learned(one), learned(other))
    default = make()
    learn(default, records)
    assert not torch.equal(one.table.all().residual, default.table.all().residual)
    assert not torch.equal(one.recommender.adapter_out, default.recommender.adapter_out)


def test_an_objective_for_types_that_do_not_occur_is_the_default(make: Make) -> None:
    one = make(CONFIG.replace(objective=ObjectiveConfig(basket_types=(InteractionType.VIEW,))))
    other, records = make(), batches(3)
    assert [scores.loss for scores in learn(one, records)] == [
        scores.loss for scores in learn(other, records)
    ]


def test_a_share_that_has_fallen_to_zero_is_the_default(make: Make) -> None:
    fallen = ObjectiveConfig(alpha=0.9, schedule="linear", schedule_events=40)
    one, other, records = make(CONFIG.replace(objective=fallen)), make(), batches(3)
    for learner in (one, other):
        learner.stream.events = 40
    assert [scores.loss for scores in learn(one, records)] == [
        scores.loss for scores in learn(other, records)
    ]


def test_another_seed_learns_otherwise(make: Make) -> None:
    one, other = make(), make(CONFIG.replace(seed=1))
    learn(one, batches(2))
    learn(other, batches(2))
    assert not same(learned(one), learned(other))


def test_losses_are_as_they_were_when_this_was_written(make: Make) -> None:
    losses = [scores.loss for scores in learn(make(), batches(5))]
    assert losses == pytest.approx(GOLDEN, rel=1e-2)


def test_it_learns_what_follows_what(make: Make) -> None:
    early, late = Quality(), Quality()
    for step, scores in enumerate(
        learn(make(CONFIG.replace(optimizer=OptimizerConfig(rate=3e-3))), batches(60))
    ):
        (early if step < 20 else late).add(scores)
    for scorer in ("model", "mixture"):
        before, after = (quality.report()[scorer]["all"]["mrr@20"] for quality in (early, late))
        assert before is not None
        assert after is not None
        assert after > before + 0.1


def test_every_part_learns_but_the_content(make: Make) -> None:
    learner = make()
    born = learned(learner)
    learn(learner, batches(2))
    unchanged = {name for name, part in learned(learner).items() if torch.equal(part, born[name])}
    assert unchanged == {"table.content"}


def test_verdicts_come_before_the_batch_is_learned(make: Make) -> None:
    calm, eager = (
        make(),
        make(
            CONFIG.replace(
                mixer_rate=0.5, optimizer=OptimizerConfig(rate=0.1, rows=RowRates(residual=0.5, bias=0.5))
            )
        ),
    )
    first, second = batches(2)
    assert same_verdicts(calm.score_and_learn(first), eager.score_and_learn(first))
    assert not same_verdicts(calm.score_and_learn(second), eager.score_and_learn(second))


def test_scores_alone_are_those_of_learning_and_change_nothing(make: Make) -> None:
    learner, records = make(), batches(5)
    learn(learner, records[:4])
    before, events = learned(learner), learner.stream.events
    alone, again = learner.score(records[4]), learner.score(records[4])
    assert same(before, learned(learner))
    assert events == learner.stream.events
    known = learner.score_and_learn(records[4])
    assert alone.targets.users == known.targets.users
    assert math.isnan(alone.loss)
    for scorer, theirs in known.by_scorer.items():
        for found in (alone, again):
            assert np.array_equal(found.by_scorer[scorer].ranks, theirs.ranks)
            own = found.by_scorer[scorer].log_probabilities
            assert np.allclose(own, theirs.log_probabilities, rtol=1e-5)  # replay is not in its pass


def test_every_event_but_a_users_first_is_scored_once_whatever_is_replayed(make: Make) -> None:
    learner, records = make(), batches(5, size=60, users=2)
    known: set[str] = set()
    for batch in records:
        scores = learner.score_and_learn(batch)
        newcomers = {event.user for event in batch.interactions} - known
        known |= newcomers
        expected = len(batch.interactions) - len(newcomers)
        assert {by_scorer.ranks.size for by_scorer in scores.by_scorer.values()} == {expected}
        assert scores.slices["all"].sum() == expected
    assert len(learner.replay) == CONFIG.replay.capacity


def test_verdicts_are_those_of_their_targets(make: Make) -> None:
    """Popularity says the same of an item to everyone, so that its verdicts tell the items."""
    learner = make()
    learn(learner, batches(3))
    batch = batches(4)[-1]
    said = learner.stream.popularity.log_share()
    expected = [
        said[learner.stream.catalogue.row(event.item)] for event in in_order_of_users([*batch.interactions])
    ]
    scores = learner.score_and_learn(batch)
    assert scores.by_scorer["popularity"].log_probabilities == pytest.approx(np.array(expected), rel=1e-6)


def test_slices_are_what_a_plain_recount_finds(make: Make) -> None:
    learner = make()
    counts = dict.fromkeys((item.item for item in ITEMS), 0)
    last: dict[str, int] = {}
    for batch in batches(3):
        cold, first = {}, {}
        for event in batch.interactions:
            if event.user in last:
                cold[event.event_id] = counts[event.item] < COLD_BELOW
                first[event.event_id] = event.time - last[event.user] > NEW_BASKET_AFTER_MS
            counts[event.item] += 1
            last[event.user] = event.time
        order = [e.event_id for e in in_order_of_users([*batch.interactions]) if e.event_id in cold]
        scores = learner.score_and_learn(batch)
        assert scores.slices["cold"].tolist() == [cold[event_id] for event_id in order]
        assert scores.slices["first_of_basket"].tolist() == [first[event_id] for event_id in order]
    assert any(first.values())


def test_lists_are_what_the_mixture_ranked_first_before_it_learned(make: Make) -> None:
    learner, (*before, batch) = make(), batches(4, users=40)
    learn(learner, before)
    acts = {event_digest(event.user): event for event in reversed(batch.interactions)}
    expected = {
        user: recommended(learner, [event.user], CUTOFF)[0]
        for user, event in acts.items()
        if learner.stream.histories.of(event.user)
    }
    lists = learner.score_and_learn(batch).lists
    assert 0 < len(lists.users) < len(expected), "a sample"
    for user, rows, target in zip(lists.users.tolist(), lists.rows, lists.targets.tolist(), strict=True):
        assert target == learner.stream.catalogue.row(acts[user].item)
        assert set(rows.tolist()) - {NO_ITEM} == set(expected[user].tolist())


def test_a_batch_without_a_finite_loss_is_folded_and_not_learned(make: Make) -> None:
    learner, (first, second, third) = make(), batches(3)
    learner.score_and_learn(first)
    row = learner.stream.catalogue.row(second.interactions[3].item)
    healthy = learner.table.all().content[row].clone()
    learner.table.set_content(torch.tensor([row]), torch.full((1, healthy.numel()), torch.nan))
    before, replayable = learned(learner), len(learner.replay)

    scores = learner.score_and_learn(second)

    assert scores.quarantined
    assert not math.isfinite(scores.loss)
    after = learned(learner)
    content = before.pop("table.content"), after.pop("table.content")
    assert torch.equal(*(torch.nan_to_num(one) for one in content))
    assert same(before, after)
    assert len(learner.replay) == replayable
    assert learner.stream.events == len(first.interactions) + len(second.interactions)

    learner.table.set_content(torch.tensor([row]), healthy.unsqueeze(0))
    scores = learner.score_and_learn(third)
    assert not scores.quarantined
    assert math.isfinite(scores.loss)
    assert not torch.equal(before["adapter_out"], learned(learner)["adapter_out"])


def test_a_batch_that_is_to_be_folded_is_not_scored(make: Make) -> None:
    learner, (first, second) = make(), batches(2)
    learner.score_and_learn(first)
    before = learned(learner)
    scores = learner.score_and_learn(replace(second, learns=False))
    assert scores.slices["all"].size == 0
    assert not scores.quarantined
    assert same(before, learned(learner))
    assert learner.stream.events == len(first.interactions) + len(second.interactions)


def test_users_without_a_past_are_folded_without_a_score(make: Make) -> None:
    learner = make()
    scores = learner.score_and_learn(MicroBatch(0, 1, [], [purchase("u", ITEMS[0].item, 0)]))
    assert scores.slices["all"].size == 0
    assert len(learner.stream.histories) == 1


def test_an_item_may_be_met_before_the_catalogue_knows_it(make: Make) -> None:
    learner = make()
    events = [purchase("u", ITEMS[0].item, 0), purchase("u", "unheard-of", 1), purchase("u", "unheard-of", 2)]
    scores = learner.score_and_learn(MicroBatch(0, 1, [], events))
    row = learner.stream.catalogue.row("unheard-of")
    assert row == len(ITEMS)
    assert len(learner.table) == len(ITEMS) + 1
    assert scores.slices["all"].size == 2
    assert math.isfinite(scores.loss)
    assert not learner.table.all().content[row].any()
    assert learner.table.all().residual[row].any()

    learner.score_and_learn(MicroBatch(0, 2, [Item(item="unheard-of", title="red cup")], []))
    known = learner.table.all().content[learner.stream.catalogue.row("red-cup")]
    assert torch.equal(learner.table.all().content[row], known)


def test_a_dislike_is_learned_from_but_not_foreseen(make: Make) -> None:
    learner = make()
    records = [purchase("u", ITEMS[n].item, n) for n in range(3)]
    records[1] = records[1].model_copy(update={"type": InteractionType.DISLIKE})
    scores = learner.score_and_learn(MicroBatch(0, 1, [], records))
    assert scores.slices["all"].size == 1
    assert len(learner.stream.histories.of("u")) == 3


def test_a_skip_changes_nothing_of_what_is_learned_of_others(make: Make) -> None:
    """Nor the order in which users are learned, and with it the boundaries of the mixer's steps."""
    one, other = make(), make()
    first, second = batches(2)
    users = list(dict.fromkeys(event.user for event in second.interactions))
    skip = purchase(users[-1], "green-candle", second.interactions[0].time).model_copy(
        update={"type": InteractionType.SKIP}
    )
    with_skip = replace(second, interactions=[skip, *second.interactions])
    learn(one, [first])
    learn(other, [first])
    expected = one.score_and_learn(second).targets.users
    assert other.score_and_learn(with_skip).targets.users == expected
    left, right = learned(one), learned(other)
    rejected = {"mixer.weights", "mixer.mean", "mixer.square"}
    assert same(*({n: part for n, part in of.items() if n not in rejected} for of in (left, right)))
    others = [number for number in range(len(FEATURES)) if number != REJECTED]
    assert all(torch.equal(left[name][:, others], right[name][:, others]) for name in rejected)


def test_a_returned_purchase_is_not_replayed(make: Make) -> None:
    learner = make()
    learn(learner, batches(3))
    bought = learner.stream.histories.of("u0")[-1]
    row = learner.stream.catalogue.row(bought.item)
    before = replayed(learner, row)
    took_back = purchase("u0", bought.item, bought.time + 1).model_copy(
        update={"type": InteractionType.RETURN}
    )
    learner.score_and_learn(MicroBatch(0, 9, [], [took_back]))
    assert before[event_digest("u0")] > replayed(learner, row)[event_digest("u0")]
    assert before - replayed(learner, row) == Counter({event_digest("u0"): 1})


def test_items_change_their_text_and_keep_what_they_learned(make: Make) -> None:
    learner = make()
    learn(learner, batches(1))
    residual = learner.table.all().residual[0].clone()
    changed = Item(item=ITEMS[0].item, title="green candle")
    learner.score_and_learn(MicroBatch(0, 2, [changed, changed], []))
    table = learner.table.all()
    assert torch.equal(table.residual[0], residual)
    assert torch.equal(table.content[0], table.content[learner.stream.catalogue.row("green-candle")])


def test_a_poisoned_row_that_the_loss_does_not_touch_is_caught_as_well(make: Make) -> None:
    learner, (first, second) = make(), batches(2)
    learner.score_and_learn(replace(first, items=[*first.items, Item(item="poisoned", title="cup")]))
    row = learner.stream.catalogue.row("poisoned")
    learner.table.set_content(torch.tensor([row]), torch.full((1, learner.encoder.width), math.nan))
    before = learned(learner)

    scores = learner.score_and_learn(second)

    assert scores.quarantined
    assert scores.slices["all"].size == 0
    assert same(
        {n: t for n, t in before.items() if n != "table.content"},
        {n: t for n, t in learned(learner).items() if n != "table.content"},
    )


def test_freed_memory_is_released_once_every_so_many_batches(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, released = make(), list[int]()
    monkeypatch.setattr("pipeline.training.learner.release_freed_memory", lambda: released.append(1))
    learn(learner, batches(RELEASE_EVERY + 2, size=2))
    assert len(released) == 1


def test_a_new_text_is_one_that_has_to_be_encoded(make: Make) -> None:
    learner = make()
    records: list[CatalogueRecord] = [
        Item(item="another", title=ITEMS[0].title),
        Item(item="without-text", title=""),
        Item(item="new", title="red clock"),
        ItemChange(item=ITEMS[0].item, available=False),
        ItemChange(item=ITEMS[0].item, description="blue clock"),
        "removed",
    ]
    assert [learner.has_new_text(record) for record in records] == [False, False, True, False, True, False]
