"""The mixer learns the weights of the scorers, separately for each situation."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.model.mixer import (
    ALIKE,
    BESIDE,
    COVISITATION_FLOOR,
    DECAYS,
    DENSE,
    DISCOVERY,
    EARLY_STEPS,
    EPSILON,
    FEATURES,
    FIRST_OF_BASKET,
    FIRST_OF_USER,
    FOLLOWED,
    FULL_STEP,
    HEAD,
    IN_BASKET,
    INITIAL_WEIGHTS,
    MOST_REJECTED_WEIGHT,
    NOT_NEGATIVE,
    RECENT,
    REJECTED,
    RELATED,
    REPEAT,
    WHOLE,
    WITHIN_BASKET,
    Mixer,
    ScorerOutputs,
    blend,
    from_shares,
    mix,
    with_later_parts,
)
from pipeline.state.evidence import ONE_REPEAT
from tests.support.scorer_outputs import features_of

TARGETS, ITEMS = 40, 7
MODEL, COVISITATION, POPULARITY, BIAS, _, TREND = range(DENSE)


def random_outputs(situation: Tensor, seed: int = 0, items: int = ITEMS) -> tuple[ScorerOutputs, Tensor]:
    """Random scorer outputs, in which covisitation favours the chosen items; and those items."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(len(FEATURES), TARGETS, items, generator=random)
    for shared in POPULARITY, BIAS, TREND:
        features[shared] = features[shared, :1]
    features[DENSE:] *= torch.rand(features[DENSE:].shape, generator=random) < 0.3
    targets = torch.randint(items, (TARGETS,), generator=random)
    features[COVISITATION].scatter_add_(1, targets.unsqueeze(1), torch.full((TARGETS, 1), 3.0))
    return arranged(features, situation), targets


def arranged(features: Tensor, situation: Tensor) -> ScorerOutputs:
    """Scorer outputs from all features ``[f, m, n]``; those that targets share must be equal for all."""
    facts = features[DENSE:]
    indices = facts.nonzero().T
    model, covisitation, popularity, bias, alike, trend = features[:DENSE]
    shared = popularity[0], bias[0], alike, trend[0]
    return ScorerOutputs(model, covisitation, *shared, indices, facts[tuple(indices)], situation)


class MatrixProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the names of the matrix products computed inside the context."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if re.search(r"::(add)?b?(mm|mv|dot)", func.name()):
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def mixer_of(rate: float = 0.05) -> Mixer:
    return Mixer(rate, torch.device("cpu"))


def loss(mixer: Mixer, outputs: ScorerOutputs, targets: Tensor) -> float:
    return -mixer.log_probabilities(outputs).gather(1, targets.unsqueeze(1)).mean().item()


def test_an_item_without_covisitation_has_a_share_above_zero() -> None:
    shares = torch.tensor([[0.0, 0.25, 0.5], [0.0, 0.0, 0.0]])
    actual = from_shares(shares.clone()).exp()
    torch.testing.assert_close(actual.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(
        actual[0] / actual[0, 0], (shares[0] + COVISITATION_FLOOR) / COVISITATION_FLOOR
    )
    torch.testing.assert_close(actual[1], torch.full((3,), 1 / 3))


def test_probabilities_are_a_softmax_of_the_weighted_sum() -> None:
    outputs, _ = random_outputs(torch.zeros(TARGETS, dtype=torch.long))
    weighted = sum(
        weight * feature for weight, feature in zip(INITIAL_WEIGHTS[0], features_of(outputs), strict=True)
    )
    assert isinstance(weighted, Tensor)
    torch.testing.assert_close(mixer_of().log_probabilities(outputs), weighted.log_softmax(dim=1))


def without_rejections(outputs: ScorerOutputs) -> ScorerOutputs:
    features = features_of(outputs)
    features[REJECTED] = 0
    return arranged(features, outputs.situation)


def among_the_best(mixed: Tensor, targets: Tensor) -> Tensor:
    """The log-loss ``[m]`` of targets among the best items; 0 for one that is not among them."""
    best, columns = mixed.topk(min(HEAD, mixed.shape[1]), dim=1)
    is_own = columns == targets.unsqueeze(1)
    return -(best.log_softmax(dim=1) * is_own).sum(dim=1)


@pytest.mark.parametrize("items", [ITEMS, 4 * HEAD])
def test_its_gradient_is_that_of_autograd(items: int) -> None:
    """Of the log-loss, most of it among the best; rejections have a part in that of their own weight only."""
    situation = torch.arange(TARGETS) % 2
    outputs, targets = random_outputs(situation, items=items)
    mixer = mixer_of()

    def gradient_of(given: ScorerOutputs) -> Tensor:
        weights = mixer.weights.clone().requires_grad_()
        mixed = mix(weights, given)
        whole = -mixed.gather(1, targets.unsqueeze(1)).squeeze(1)
        losses = WHOLE * whole + (1 - WHOLE) * among_the_best(mixed, targets)
        torch.autograd.backward(losses[situation == 0].mean() + losses[situation == 1].mean())
        assert weights.grad is not None
        return weights.grad

    expected = gradient_of(without_rejections(outputs))
    expected[:, REJECTED] = gradient_of(outputs)[:, REJECTED]
    mixer.learn(outputs, targets)
    gradient = mixer.state()["mean"] / (1 - DECAYS[0])  # after one step from zero
    torch.testing.assert_close(gradient[:DISCOVERY], expected[:DISCOVERY], rtol=1e-4, atol=1e-5)


def test_of_a_target_that_no_list_shows_only_the_probability_is_learned() -> None:
    """Whether it is far below the best, or was not retrieved."""
    situation = torch.zeros(TARGETS, dtype=torch.long)
    outputs, targets = random_outputs(situation, items=4 * HEAD)
    outputs = without_rejections(outputs)
    mixer = mixer_of()
    last = mixer.log_probabilities(outputs).argmin(dim=1)
    cases = [(targets, torch.zeros(TARGETS, dtype=torch.bool)), (last, None)]
    for chosen, is_found in cases:
        weights = mixer_of().weights.requires_grad_()
        torch.autograd.backward(-WHOLE * mix(weights, outputs).gather(1, chosen.unsqueeze(1)).mean())
        learned = mixer_of()
        learned.learn(outputs, chosen, is_found)
        assert weights.grad is not None
        torch.testing.assert_close(learned.state()["mean"] / (1 - DECAYS[0]), weights.grad)


def test_what_stands_for_other_items_is_not_among_the_best() -> None:
    """Here the items behind the first ones represent all others, of which the best is one."""
    situation = torch.zeros(TARGETS, dtype=torch.long)
    outputs, _ = random_outputs(situation, items=2 * HEAD)
    log_weights = torch.where(torch.arange(2 * HEAD) < HEAD, 0.0, 3.0).expand(TARGETS, -1)
    listed = torch.zeros(TARGETS, 2 * HEAD).masked_fill(log_weights > 0, -torch.inf)
    assert torch.equal(
        replace(outputs, log_weights=log_weights).alone(torch.zeros(TARGETS, 2 * HEAD)), listed
    )
    assert torch.equal(outputs.alone(listed), listed)


def test_few_targets_take_a_smaller_step() -> None:
    outputs, targets = random_outputs(torch.zeros(TARGETS, dtype=torch.long))
    few, mixer = mixer_of(), mixer_of()
    mixer.learn(outputs, targets)
    few.learn(arranged(features_of(outputs)[:, :10], outputs.situation[:10]), targets[:10])
    steps = [
        abs(float(one.weights[0, COVISITATION]) - INITIAL_WEIGHTS[0][COVISITATION]) for one in (few, mixer)
    ]
    assert steps[0] == pytest.approx(0.05 * math.sqrt(10 / FULL_STEP), rel=0.01)
    assert steps[1] == pytest.approx(0.05 * math.sqrt(TARGETS / FULL_STEP), rel=0.01)


def test_what_is_rejected_changes_no_other_weight() -> None:
    outputs, targets = random_outputs(torch.arange(TARGETS) % 2)
    one, other = mixer_of(), mixer_of()
    for mixer, given in (one, outputs), (other, without_rejections(outputs)):
        for _ in range(3):
            mixer.learn(given, targets)
    assert torch.equal(one.weights[:, :REJECTED], other.weights[:, :REJECTED])
    assert not torch.equal(one.weights[:, REJECTED], other.weights[:, REJECTED])


def test_its_steps_are_those_of_torchs_adam() -> None:
    outputs, targets = random_outputs(torch.zeros(TARGETS, dtype=torch.long))
    outputs = without_rejections(outputs)
    mixer = mixer_of()
    weights = mixer.weights.clone().requires_grad_()
    rate = 0.05 * math.sqrt(TARGETS / FULL_STEP)
    adam = torch.optim.Adam([weights], lr=rate, eps=EPSILON)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: (1 + step / EARLY_STEPS) ** -0.5)
    for _ in range(3):
        adam.zero_grad()
        torch.autograd.backward(-mix(weights, outputs).gather(1, targets.unsqueeze(1)).mean())
        adam.step()
        falling.step()
        with torch.no_grad():
            weights[:, NOT_NEGATIVE] = weights[:, NOT_NEGATIVE].clamp(min=0)
        mixer.learn(outputs, targets)
    torch.testing.assert_close(mixer.weights, weights.detach(), rtol=1e-4, atol=1e-4)


def test_its_rate_stops_falling() -> None:
    """Tastes change, so that a mixer of many steps must still follow them."""
    outputs, targets = random_outputs(torch.zeros(TARGETS, dtype=torch.long))
    born, late = mixer_of(), [mixer_of(), mixer_of()]
    for mixer, taken in zip(late, (100_000, 10_000_000), strict=True):
        mixer.load({**born.state(), "taken": torch.full((len(born.weights), 1), taken)})
        mixer.learn(outputs, targets)
    assert torch.equal(late[0].weights, late[1].weights)
    assert not torch.equal(late[0].weights, born.weights)


def test_rounding_errors_move_no_weight() -> None:
    """A feature that is equal for all items has a gradient of zero, except for rounding."""
    random, (targets, items) = torch.Generator().manual_seed(0), (64, 3_000)
    outputs = ScorerOutputs(
        model=torch.randn(targets, items, generator=random).log_softmax(dim=1),
        covisitation=torch.full((targets, items), -math.log(items)),
        popularity=torch.full((items,), -math.log(items)),
        bias=torch.zeros(items),
        alike=torch.zeros(targets, items),
        trend=torch.zeros(items),
        indices=torch.zeros(3, 0, dtype=torch.long),
        values=torch.zeros(0),
        situation=torch.zeros(targets, dtype=torch.long),
    )
    mixer = mixer_of()
    mixer.learn(outputs, torch.arange(targets))
    for feature in (COVISITATION, POPULARITY, BIAS):
        assert float(mixer.weights[0, feature]) == pytest.approx(INITIAL_WEIGHTS[0][feature], abs=1e-3)


def test_it_computes_no_matrix_products_which_a_cpu_may_round() -> None:
    outputs, targets = random_outputs(torch.arange(TARGETS) % 2)
    with MatrixProducts() as products:
        mixer_of().learn(outputs, targets)
    assert products.names == []


def test_it_learns_to_prefer_the_informative() -> None:
    mixer = mixer_of()
    unseen = random_outputs(torch.zeros(TARGETS, dtype=torch.long), seed=999)
    before = loss(mixer, *unseen)
    for seed in range(100):
        mixer.learn(*random_outputs(torch.zeros(TARGETS, dtype=torch.long), seed))
    assert mixer.weights[0].argmax() == COVISITATION
    assert abs(mixer.weights[0, MODEL]) < 0.5
    assert loss(mixer, *unseen) < before / 2


@pytest.mark.parametrize("feature", [MODEL, COVISITATION, POPULARITY])
def test_a_scorer_never_lowers_what_it_suggests(feature: int) -> None:
    """Even if what was chosen is what it suggested least; the biases may say so instead."""
    mixer = mixer_of()
    for seed in range(60):
        outputs, targets = random_outputs(torch.zeros(TARGETS, dtype=torch.long), seed)
        features = features_of(outputs)
        features[[feature, BIAS]] = torch.randn(ITEMS, generator=torch.Generator().manual_seed(seed))
        mixer.learn(arranged(features, outputs.situation), features[feature, 0].argmin().expand(TARGETS))
    assert float(mixer.weights[0, feature]) == 0
    assert float(mixer.weights[0, BIAS]) < -1


@pytest.mark.parametrize(
    ("fact", "value"), [(REPEAT, ONE_REPEAT), (IN_BASKET, 1.0), (FOLLOWED, 1.0), (RECENT, 1.0)]
)
def test_a_return_lowers_by_more_than_the_lost_fact_of_its_purchase_did(fact: int, value: float) -> None:
    """Nobody buys twice here: a purchase lowers its item."""
    mixer = mixer_of()
    features = torch.zeros(len(FEATURES), TARGETS, ITEMS)
    features[fact, :, 1:] = value
    outputs = arranged(features, torch.zeros(TARGETS, dtype=torch.long))
    for _ in range(300):
        mixer.learn(outputs, torch.zeros(TARGETS, dtype=torch.long))
    features = torch.zeros(len(FEATURES), TARGETS, ITEMS)
    features[fact, :, 1], features[REJECTED, :, 2] = value, 1
    bought, returned = blend(mixer.weights, arranged(features, outputs.situation))[0, 1:3]
    assert float(bought) < -3
    assert float(returned - bought) <= MOST_REJECTED_WEIGHT + 1e-6


def test_a_situation_that_does_not_occur_learns_nothing() -> None:
    mixer = mixer_of()
    mixer.learn(*random_outputs(torch.ones(TARGETS, dtype=torch.long)))
    assert mixer.weights[0].tolist() == torch.tensor(INITIAL_WEIGHTS[0]).tolist()
    assert (mixer.weights[1] != torch.tensor(INITIAL_WEIGHTS[1]))[:ALIKE].all()


def test_situations_learn_as_if_the_other_were_not_there() -> None:
    (outputs, targets), situation = (
        random_outputs(torch.zeros(TARGETS, dtype=torch.long)),
        torch.arange(TARGETS) % 2,
    )
    both, separate = mixer_of(), mixer_of()
    both.learn(replace(outputs, situation=situation), targets)
    for number in range(2):
        selected = situation == number
        separate.learn(arranged(features_of(outputs)[:, selected], situation[selected]), targets[selected])
    torch.testing.assert_close(both.weights, separate.weights)


def test_a_loaded_mixer_continues_like_the_first_and_does_not_change_the_state() -> None:
    first, second = mixer_of(), mixer_of()
    first.learn(*random_outputs(torch.arange(TARGETS) % 2))
    state = first.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    second.load(state)
    for mixer in (first, second):
        mixer.learn(*random_outputs(torch.arange(TARGETS) % 2, seed=1))
    for name, tensor in first.state().items():
        assert torch.equal(second.state()[name], tensor)
        assert torch.equal(state[name], kept[name])


@pytest.mark.parametrize(
    "lacking", [[ALIKE, TREND, BESIDE, RELATED, RECENT], [ALIKE, TREND, RELATED, RECENT], [TREND]]
)
def test_a_state_from_before_a_fact_begins_with_it(lacking: list[int]) -> None:
    old, new = mixer_of(), mixer_of()
    old.learn(*random_outputs(torch.arange(TARGETS) % 2))
    state = old.state()
    kept = [number for number in range(len(FEATURES)) if number not in lacking]
    new.load({name: tensor if name == "taken" else tensor[:, kept] for name, tensor in state.items()})
    for name, tensor in new.state().items():
        begun = mixer_of().state()[name]
        is_new = torch.isin(torch.arange(tensor.shape[1]), torch.tensor(lacking))
        assert torch.equal(tensor, torch.where(is_new, begun, state[name]))
    weights = with_later_parts(state["weights"][:, kept])
    assert torch.equal(weights, new.weights), "a server begins as the learner does"


def test_a_state_from_before_a_situation_begins_with_it() -> None:
    old, new = mixer_of(), mixer_of()
    old.learn(*random_outputs(torch.arange(TARGETS) % 2))
    state = {name: tensor[:FIRST_OF_USER] for name, tensor in old.state().items()}
    new.load(state)
    for name, tensor in new.state().items():
        assert torch.equal(tensor, torch.cat([state[name], mixer_of().state()[name][FIRST_OF_USER:]]))
    assert torch.equal(with_later_parts(state["weights"]), new.weights), "a server begins as the learner does"


def test_at_birth_a_stranger_is_shown_what_is_popular() -> None:
    own = mixer_of().weights[FIRST_OF_USER]
    assert own[POPULARITY] == own.max()


def one_target(situation: int, known: list[int], items: int = ITEMS) -> ScorerOutputs:
    """Outputs for one target, whose user has acted on the known items alone, and rejected nothing."""
    features = features_of(random_outputs(torch.zeros(TARGETS, dtype=torch.long), items=items)[0])[:, :1]
    features[[REPEAT, IN_BASKET, REJECTED]] = 0
    features[REPEAT, :, known] = 0.5
    return arranged(features, torch.tensor([situation]))


def test_discovery_learns_from_what_is_new_among_what_is_new() -> None:
    known, new, target = [0, 2], [1, 3, 4, 5, 6], 3
    outputs = one_target(FIRST_OF_BASKET, known)
    mixer, separate = mixer_of(), mixer_of()
    mixer.learn(outputs, torch.tensor([target]))
    alone = arranged(features_of(outputs)[:, :, new], torch.tensor([DISCOVERY]))
    separate.learn(alone, torch.tensor([new.index(target)]))
    assert not torch.equal(mixer.weights[DISCOVERY], mixer_of().weights[DISCOVERY])
    torch.testing.assert_close(mixer.weights[DISCOVERY], separate.weights[DISCOVERY])


@pytest.mark.parametrize(
    ("situation", "target"), [(FIRST_OF_BASKET, 2), (WITHIN_BASKET, 3), (FIRST_OF_USER, 3)]
)
def test_discovery_learns_nothing_from_habit_or_other_situations(situation: int, target: int) -> None:
    mixer = mixer_of()
    mixer.learn(one_target(situation, [0, 2]), torch.tensor([target]))
    assert torch.equal(mixer.weights[DISCOVERY], mixer_of().weights[DISCOVERY])
    assert not torch.equal(mixer.weights[situation], mixer_of().weights[situation])


@pytest.mark.parametrize(
    ("target", "is_found", "later", "wanted"),
    [
        (3, None, [1, 4], {3: 0.5, 1: 0.25, 4: 0.25}),
        (3, None, [0, 4], {3: 0.5, 4: 0.5}),
        (2, None, [1, 4], {1: 0.5, 4: 0.5}),
        (3, False, [4], {4: 1.0}),
    ],
    ids=["a whole basket", "a later one is known", "the first is known", "the first was not found"],
)
def test_discovery_learns_the_order_of_the_best_from_what_is_new_in_a_basket(
    target: int, is_found: bool | None, later: list[int], wanted: dict[int, float]
) -> None:
    outputs, known = one_target(FIRST_OF_BASKET, [0, 2], items=3 * HEAD), [0, 2]
    mixer = mixer_of()
    weights = mixer.weights.clone().requires_grad_()
    mixed = mix(weights, replace(outputs, situation=torch.tensor([DISCOVERY]))).clone()
    mixed[:, known] = -torch.inf
    losses = [share * among_the_best(mixed, torch.tensor([item])) for item, share in wanted.items()]
    torch.autograd.backward(torch.stack(losses).sum())
    found = None if is_found is None else torch.tensor([is_found])
    pairs = torch.tensor([[0] * len(later), later])
    mixer.learn(outputs, torch.tensor([target]), found, pairs)
    gradient = mixer.state()["mean"] / (1 - DECAYS[0])  # after one step from zero
    assert weights.grad is not None and weights.grad[DISCOVERY].abs().max() > 0
    torch.testing.assert_close(gradient[DISCOVERY], weights.grad[DISCOVERY], rtol=1e-4, atol=1e-5)


def test_selected_outputs_are_those_of_their_targets() -> None:
    outputs, _ = random_outputs(torch.arange(TARGETS) % 2)
    chosen = torch.arange(1, TARGETS, 3)
    torch.testing.assert_close(
        blend(mixer_of().weights, outputs.select(chosen)), blend(mixer_of().weights, outputs)[chosen]
    )
    assert torch.equal(outputs.select(chosen).is_known(), outputs.is_known()[chosen])
