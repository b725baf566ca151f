"""The DQN: values of small decision processes as they are known, and each part of its update by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import softmax

from pipeline.config import DqnConfig, EpisodeConfig, TransitionConfig
from pipeline.value.dqn import DqnLearner, DqnModel, choices, clipped
from pipeline.value.port import Arrays, Decision, Floats
from tests.support.decisions import changed, decision, equal, random_decisions

PAUSE_MS = 3_600_000
"""Longer than a session's; between two decisions of it passes a second."""


def config(**changes: object) -> DqnConfig:
    small: dict[str, object] = {
        "width": 16,
        "rate": 5e-3,
        "rate_updates": 500,
        "target_step": 0.05,
        "conservatism": 0.0,
        "slate": 1,
        "warm_up": 100,
        "decisions_per_update": 2,
        "most_updates": 1_000,
        "episodes": EpisodeConfig(discount=0.8),
        "replay": TransitionConfig(decisions=2_000, actions=2, batch=32),
    }
    return DqnConfig.model_validate({**small, **changes})


def learned(decisions: list[Decision], settings: DqnConfig, *, batch: int = 100) -> DqnLearner:
    """A learner of decisions of states and items of two numbers."""
    learner = DqnLearner(settings, (2, 2), seed=1)
    for start in range(0, len(decisions), batch):
        learner.learn(decisions[start : start + batch], np.random.default_rng((7, start)))
    return learner


def estimates_of(learner: DqnLearner, state: Floats, items: Floats) -> tuple[Floats, Floats, Floats]:
    """Values if chosen, choices and effects, in units of reward, of what a learner publishes."""
    model = DqnModel.of(learner.model(), (2, 2))
    found = model.estimates(np.asarray(state, np.float32), np.asarray(items, np.float32))
    chances = softmax(found.logits[0].astype(np.float64))
    values, effects = (model.unit * part[0].astype(np.float64) for part in (found.values, found.effects))
    return values, chances, effects


def value_of(learner: DqnLearner, state: Floats, item: Floats) -> float:
    """Value of a slate of one item."""
    values, chances, effects = estimates_of(learner, state, np.array([item]))
    return float(values @ chances + effects[0])


ONE_HOT = np.eye(2)


def played(
    step: Callable[[int, int, np.random.Generator], tuple[float, int, bool]], sessions: int, seed: int = 0
) -> list[Decision]:
    """Decisions of a process of two states and two items, drawn alike; the other item is known, too."""
    random, decisions, time = np.random.default_rng(seed), [], 0
    for session in range(sessions):
        state, time, ended = int(random.integers(2)), time + PAUSE_MS, False
        while not ended:
            action = int(random.integers(2))
            reward, following, ended = step(state, action, random)
            decisions.append(
                decision(
                    ONE_HOT[[action]],
                    np.array([reward]),
                    state=ONE_HOT[state],
                    user=session,
                    shown_at=time,
                    others=ONE_HOT[[1 - action]],
                )
            )
            state, time = following, time + 1_000
    return decisions


def chain(state: int, action: int, random: np.random.Generator) -> tuple[float, int, bool]:
    """Item 1 goes on to state 1 for nothing much; there, item 0 earns 4 and ends the session."""
    if state == 1 and action == 0:
        return 4.0, 1, True
    return (1.0, 0, True) if action == 0 else (0.5, 1, False)


LIKED = np.array([[0.6, 0.5], [0.9, 0.1]])
"""Probability of a click, by the category that was shown last and the one that is shown now."""


def tiring(state: int, action: int, random: np.random.Generator) -> tuple[float, int, bool]:
    """The state is the category that was shown last; who sees it again is bored, and leaves."""
    clicked = random.random() < LIKED[state, action]
    return float(clicked), action, bool(random.random() < (0.6 if state == action else 0.05))


def optimal(step_of: Callable[[int, int], list[tuple[float, float, int, bool]]], discount: float) -> Floats:
    """Q* by value iteration; a step is a list of (probability, reward, following, ended)."""
    found = np.zeros((2, 2))
    for _ in range(500):
        best = found.max(axis=1)
        found = np.array(
            [
                [sum(p * (r + discount * best[s] * (not e)) for p, r, s, e in step_of(at, a)) for a in (0, 1)]
                for at in (0, 1)
            ]
        )
    return found


def test_values_of_a_chain_solve_the_bellman_optimality_equation() -> None:
    expected = optimal(lambda s, a: [(1.0, *chain(s, a, np.random.default_rng(0)))], 0.8)
    learner = learned(played(chain, 500), config())
    found = [[value_of(learner, ONE_HOT[state], ONE_HOT[item]) for item in (0, 1)] for state in (0, 1)]
    assert np.array(found) == pytest.approx(expected, abs=0.3)


def test_more_steps_find_the_same_values() -> None:
    """Those of the best actions; what followed others was explored, and counts."""
    learner = learned(played(chain, 500), config(episodes=EpisodeConfig(discount=0.8, steps=2)))
    assert value_of(learner, ONE_HOT[1], ONE_HOT[0]) == pytest.approx(4.0, abs=0.4)


@pytest.mark.parametrize(("discount", "best"), [(0.0, (0, 0)), (0.9, (1, 0))])
def test_alternating_beats_what_earns_most_now(discount: float, best: tuple[int, int]) -> None:
    """Mostly nothing depends on the click: what tires is to be shown, which SlateQ alone would not see."""
    settings = config(rate=2e-3, episodes=EpisodeConfig(discount=discount))
    model = DqnModel.of(learned(played(tiring, 600), settings).model(), (2, 2))
    for state in (0, 1):
        values = model.values(ONE_HOT[state].astype(np.float32), ONE_HOT.astype(np.float32), np.zeros((1, 0)))
        assert values.shape == (1, 2)
        assert int(values[0].argmax()) == best[state]


WEIGHTS, WORTH = np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.5, 3.0])
"""Of the choice among three items, where nothing has the weight 1; and rewards if they are chosen."""
THREE = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def slates_of_two(sessions: int) -> list[Decision]:
    random, decisions = np.random.default_rng(3), []
    for session in range(sessions):
        time, ended = session * PAUSE_MS, False
        while not ended:
            slate = random.permutation(3)
            weights = np.append(WEIGHTS[slate[:2]], 1.0)
            chosen = int(random.choice(3, p=weights / weights.sum()))
            rewards = np.array([WORTH[item] * (place == chosen) for place, item in enumerate(slate[:2])])
            decisions.append(
                decision(
                    THREE[slate[:2]],
                    rewards,
                    state=np.zeros(2),
                    user=session,
                    shown_at=time,
                    others=THREE[slate[2:]],
                )
            )
            time, ended = time + 1_000, bool(random.random() < 0.5)
    return decisions


def test_the_decomposition_equals_enumeration_of_slates() -> None:
    pairs = [(0, 1), (0, 2), (1, 2)]
    now = np.array([(WEIGHTS[list(p)] @ WORTH[list(p)]) / (WEIGHTS[list(p)].sum() + 1) for p in pairs])
    expected = now + 0.8 * 0.5 * now.max() / (1 - 0.8 * 0.5)
    replay = TransitionConfig(decisions=4_000, actions=3, batch=64)
    learner = learned(slates_of_two(1_000), config(slate=2, rate=2e-3, replay=replay))
    found = []
    for pair in pairs:
        values, chances, effects = estimates_of(learner, np.zeros(2), THREE[list(pair)])
        found.append(float(values @ chances + effects.mean()))
        weights = np.append(WEIGHTS[list(pair)], 1)
        assert chances == pytest.approx(weights / weights.sum(), abs=0.06)
    assert np.array(found) == pytest.approx(expected, abs=0.2)


def test_conservatism_lowers_what_was_never_shown() -> None:
    random = np.random.default_rng(0)
    decisions = [
        decision(
            ONE_HOT[[0]],
            random.random(1),
            state=random.normal(size=2),
            shown_at=session * PAUSE_MS,
            others=ONE_HOT[[1]],
        )
        for session in range(400)
    ]
    values = []
    for conservatism in (0.0, 1.0):
        learner = learned(decisions, config(conservatism=conservatism))
        values.append([value_of(learner, np.zeros(2), item) for item in ONE_HOT])
    assert values[1][1] < values[0][1] - 0.1
    assert values[1][1] < values[1][0]


def test_a_low_huber_threshold_undervalues_rare_high_rewards() -> None:
    random = np.random.default_rng(0)
    decisions = [
        decision(
            ONE_HOT[[0]],
            np.array([10.0 if random.random() < 0.2 else 1.0]),
            state=np.zeros(2),
            shown_at=session * PAUSE_MS,
        )
        for session in range(800)
    ]
    low, high = (
        value_of(learned(decisions, config(huber=huber)), np.zeros(2), ONE_HOT[0]) for huber in (0.05, 50.0)
    )
    assert high == pytest.approx(2.8, abs=0.5)
    assert low < 1.5


def test_long_gradients_are_shortened() -> None:
    assert clipped(torch.tensor([3.0, 4.0]), 1.0).tolist() == pytest.approx([0.6, 0.8])
    assert clipped(torch.tensor([3.0, 4.0]), 6.0).tolist() == [3.0, 4.0]
    assert clipped(torch.zeros(2), 1.0).tolist() == [0.0, 0.0]


def test_the_target_network_moves_by_its_share() -> None:
    random = np.random.default_rng(0)
    decisions = random_decisions(102, random, state=2, features=2, slate=2)
    learner = learned(decisions[:100], config(warm_up=101))
    before = learner.state()
    learner.learn(decisions[100:], np.random.default_rng(1))
    after = learner.state()
    assert int(after["adam.steps"][0]) == 1
    old, new = before["own.target"].astype(np.float64), after["adam.weights"].astype(np.float64)
    expected = 0.95 * old + 0.05 * new
    assert after["own.target"] == pytest.approx(expected, abs=1e-7)


def test_a_batch_costs_a_bounded_number_of_updates_and_later_ones_make_up_for_the_rest() -> None:
    decisions = random_decisions(130, np.random.default_rng(0), state=2, features=2, slate=2)
    learner = learned(decisions[:100], config(most_updates=5), batch=100)
    assert counted(learner) == (5, 90)
    learner.learn(decisions[100:103], np.random.default_rng(0))
    assert counted(learner) == (10, 83)
    restored = DqnLearner(config(most_updates=1_000), (2, 2))
    restored.load(learner.state())
    restored.learn([], np.random.default_rng(0))
    assert counted(restored) == (51, 1)


def test_no_update_is_due_for_decisions_that_are_forgotten() -> None:
    decisions = random_decisions(130, np.random.default_rng(0), state=2, features=2, slate=2)
    replay = TransitionConfig(decisions=20, actions=2, batch=4)
    learner = learned(decisions, config(most_updates=5, replay=replay), batch=130)
    assert counted(learner) == (5, 10)


def counted(learner: DqnLearner) -> tuple[int, int]:
    """How many updates were taken, and for how many decisions further ones are due."""
    state = learner.state()
    return int(state["adam.steps"][0]), int(state["own.due"][0])


def test_nothing_is_learned_before_the_warm_up() -> None:
    decisions = random_decisions(99, np.random.default_rng(0), state=2, features=2, slate=2)
    learner = learned(decisions, config())
    assert int(learner.state()["adam.steps"][0]) == 0
    model = DqnModel.of(learner.model(), (2, 2))
    assert model.values(decisions[0].state, decisions[0].items, np.zeros((1, 0))).tolist() == [[0, 0]]


def test_epsilon_falls_with_the_decisions() -> None:
    decisions = random_decisions(300, np.random.default_rng(0), state=2, features=2, slate=2)
    settings = config(warm_up=1_000, first_epsilon=0.5, last_epsilon=0.1, epsilon_decisions=200)
    epsilons = [DqnModel.of(learned(decisions[:n], settings).model(), (2, 2)).epsilon for n in (0, 100, 300)]
    assert epsilons == pytest.approx([0.5, 0.3, 0.1])


@pytest.mark.parametrize("priority", [0.0, 0.6])
def test_it_goes_on_from_its_state_to_the_bit(priority: float) -> None:
    decisions = random_decisions(300, np.random.default_rng(0), state=2, features=2, slate=2)
    settings = config(replay=TransitionConfig(decisions=128, actions=3, batch=16, priority=priority))
    unbroken, killed, restored = (DqnLearner(settings, (2, 2)) for _ in range(3))
    for learner in (unbroken, killed):
        learner.learn(decisions[:201], np.random.default_rng(3))
    restored.load(killed.state())
    for learner in (unbroken, restored):
        learner.learn(decisions[201:], np.random.default_rng(4))
    assert equal(restored.state(), unbroken.state())
    assert equal(restored.model(), unbroken.model())


def test_seeds_differ() -> None:
    one, other = (DqnLearner(config(), (2, 2), seed).state()["adam.weights"] for seed in (1, 2))
    assert (one != other).any()


BAD_MODELS: dict[str, Arrays] = {
    "weights": {"weights": np.zeros(3, np.float32)},
    "sizes": {"sizes": np.array([1e5, 1], np.float32)},
    "state_spread": {"state_spread": np.zeros(2, np.float32)},
    "item_centre": {"item_centre": np.zeros(3, np.float32)},
    "unit": {"unit": np.zeros(1, np.float32)},
    "epsilon": {"epsilon": np.array([1.5], np.float32)},
}


@pytest.mark.parametrize("changes", BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_a_model_that_is_none_is_refused(changes: Arrays) -> None:
    model = DqnLearner(config(), (2, 2)).model()
    with pytest.raises(ValueError, match=next(iter(changes))):
        DqnModel.of(changed(model, **changes), (2, 2))


def test_a_state_of_other_sizes_is_refused() -> None:
    state = DqnLearner(config(), (2, 2)).state()
    with pytest.raises(ValueError, match="weights"):
        DqnLearner(config(width=8), (2, 2)).load(state)
    with pytest.raises(ValueError, match="target"):
        DqnLearner(config(), (2, 2)).load(changed(state, **{"own.target": np.zeros(3, np.float32)}))
    with pytest.raises(ValueError, match="parts"):
        DqnLearner(config(), (2, 2)).load({})


def test_choices_are_a_conditional_logit_with_nothing_as_the_last() -> None:
    logits = torch.log(torch.tensor([[1.0, 5.0, 3.0, 4.0]]))
    found = choices(logits, torch.tensor([[True, False, True]]))
    assert found[0].tolist() == pytest.approx([1 / 8, 0, 3 / 8, 4 / 8])
