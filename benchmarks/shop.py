"""What learned policies earn in the simulated shop's environment, beside simple ones.

    python -m benchmarks.shop bandits --plots FOLDER
    python -m benchmarks.shop drift --plots FOLDER
    python -m benchmarks.shop sessions --plots FOLDER

`bandits`: nothing tires, so that only what is liked has to be learned. Thompson sampling, ε-greedy and greedy
have the same learner of values and differ by how they explore. Regret is the true expected reward of the best
slate less that of the slate that was shown; the share of the best is their ratio, over WINDOW decisions.

`drift`: fashion and demand change at once. *Recovered* is who has RECOVERED of the best in the last WINDOW of
5,000 decisions after that. Two sides forget nothing more when rewards decline. With one user, the shop is as
one is whose visitors nobody knows; more are as unlike as users of the shop are.

`sessions`: interest tires, slates have one of five items. Reward of a session, of policies that have learned
and neither explore nor learn any more: the DQN, that of stable-baselines3 with as many steps, the best myopic
one, which knows the true expected reward of each item, and the best of all by dynamic programming.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
import torch
import typer
from gymnasium.spaces import Discrete, flatten_space
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from stable_baselines3 import DQN

from benchmarks.sessions import (
    Exploring,
    LearningPlayer,
    MyopicPlayer,
    Played,
    Player,
    RandomPlayer,
    play,
)
from pipeline.cli.terminal import ReportOption
from pipeline.config import DqnConfig, EpisodeConfig, ThompsonConfig, TransitionConfig
from pipeline.datasets.shop.catalogue import Integers
from pipeline.datasets.shop.environment import EnvironmentSettings, ShopEnvironment
from pipeline.datasets.shop.environment.environment import Info, Observation
from pipeline.datasets.shop.environment.planning import session_model
from pipeline.value.dqn import DqnLearner, DqnModel
from pipeline.value.port import Floats
from pipeline.value.thompson import ThompsonLearner, ThompsonModel

Part = Literal["bandits", "drift", "sessions"]
Figures = dict[str, list[float]]
WINDOW = 1_000
RECOVERED = 0.9
ITEMS, SLATE, USERS = 100, 5, 200
STEADY, DRIFT_AT, AFTER = 40_000, 10_000, 5_000
"""Decisions without a drift; before one; after it."""
STEADILY = ThompsonConfig(half_life=100_000, ridge=300.0, exploration=0.2)
DRIFTING = ThompsonConfig(half_life=10_000, ridge=30.0, exploration=0.5)
"""What learns where nothing changes, and where something does; chosen on seeds 20 to 23, and the spread of
samples where nothing changes on seeds 0 to 3."""
KEEPING = DRIFTING.replace(kept_in_decline=1.0)
EXPLORING: Mapping[str, Exploring] = {
    "thompson": Exploring(samples=True),
    "epsilon_greedy": Exploring(epsilon=0.1),
    "greedy": Exploring(),
}
AFTER_DRIFT: Mapping[str, tuple[str, ThompsonConfig]] = {
    **{name: (name, DRIFTING) for name in EXPLORING},
    "thompson, keeps all": ("thompson", KEEPING),
    "greedy, keeps all": ("greedy", KEEPING),
}
SMALL = EnvironmentSettings(users=1, items=5, slate=1)
EVALUATED = 6_000
"""Decisions over which a learned policy is valued."""
UNSEEN = 1_000
"""Added to a seed for the acts while a policy is valued."""
DISCOUNT, BATCH, EXPLORED, FIRST_EPSILON, LAST_EPSILON = 0.95, 64, 1 / 3, 0.3, 0.02
"""Settings that both DQNs share; epsilon falls over a share of the steps."""
WARM_UP, STEPS_AN_UPDATE, RATE, WIDTH, REPLAY = 500, 2, 1e-3, 64, 20_000

console = Console(width=120)


def main(
    part: Annotated[Part, typer.Argument(help="What to compare.")],
    seeds: Annotated[int, typer.Option(help="Shops, each with users, items and acts of its own.")] = 10,
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    steps: Annotated[int, typer.Option(help="Decisions that each DQN learns from.")] = 30_000,
    users: Annotated[int, typer.Option(help="Users of the shop that drifts.")] = 1,
    scale: Annotated[float, typer.Option(help="Share of the bandits' decisions, for a quick look.")] = 1.0,
    plots: Annotated[Path | None, typer.Option(help="Write plots to this folder.")] = None,
    report: ReportOption = None,
) -> None:
    """Run all policies on all seeds, on one thread."""
    torch.set_num_threads(1)
    numbers = range(first, first + seeds)
    if part == "sessions":
        figures = sessions(numbers, steps, plots)
    elif part == "drift":
        figures = drifting(numbers, users, scale, plots)
    else:
        figures = steady(numbers, round(scale * STEADY), plots)
    if report:
        report.write_text(json.dumps({part: figures}, indent=2) + "\n")


def steady(seeds: Sequence[int], decisions: int, plots: Path | None) -> Figures:
    """Compare the regrets of ways to explore, where what is liked stays."""
    shop = EnvironmentSettings(users=USERS, items=ITEMS, slate=SLATE, tires=False)
    runs = {
        name: np.array([_bandit(shop, name, STEADILY, decisions, seed).regrets for seed in seeds])
        for name in EXPLORING
    }
    regrets = {name: own.sum(axis=1).tolist() for name, own in runs.items()}
    _print_regrets(regrets, decisions)
    _save(plots, "shop-bandits.png", _plot_regrets(runs))
    return regrets


def drifting(seeds: Sequence[int], users: int, scale: float, plots: Path | None) -> Figures:
    """Compare what ways to explore earn after fashion and demand have changed, as shares of the best."""
    before, after = round(scale * DRIFT_AT), round(scale * AFTER)
    window = min(WINDOW, after)
    shop = EnvironmentSettings(0, users, ITEMS, SLATE, tires=False, drift_at=before)
    runs = {
        side: [_bandit(shop, name, config, before + after, seed) for seed in seeds]
        for side, (name, config) in AFTER_DRIFT.items()
    }
    shares = {name: [_share(run, slice(-window, None)) for run in own] for name, own in runs.items()}
    _print_recovered(shares, f"{after:,} decisions after a drift, {users} users")
    _save(plots, f"shop-drift-{users}.png", _plot_shares(runs, before, window // 2))
    return shares


def _bandit(
    shop: EnvironmentSettings, name: str, config: ThompsonConfig, decisions: int, seed: int
) -> Played:
    environment, random = ShopEnvironment(replace(shop, seed=seed)), np.random.default_rng(seed)
    _, features = sizes_of(environment)
    learner = ThompsonLearner(config, features)
    player = LearningPlayer(
        random, learner, lambda arrays: ThompsonModel.of(arrays, features), EXPLORING[name]
    )
    return play(environment, player, decisions, random, seed)


def sizes_of(environment: ShopEnvironment) -> tuple[int, int]:
    """Return the number of features of a state and of an item."""
    observation, _ = environment.reset()
    return observation["state"].shape[0], observation["items"].shape[1]


def _share(run: Played, decisions: slice) -> float:
    return float(run.expected[decisions].sum() / run.best[decisions].sum())


def _print_regrets(regrets: Figures, decisions: int) -> None:
    table = Table("policy", "regret of a decision", "of epsilon_greedy's", title=f"{decisions:,} decisions")
    for name, own in regrets.items():
        ratios = np.array(own) / np.array(regrets["epsilon_greedy"])
        table.add_row(name, _interval(np.array(own) / decisions), _interval(ratios))
    console.print(table)


def _print_recovered(shares: Figures, title: str) -> None:
    table = Table("policy", "share of the best", f"seeds with {RECOVERED} or more", title=title)
    for name, own in shares.items():
        recovered = sum(share >= RECOVERED for share in own)
        table.add_row(name, _interval(np.array(own)), f"{recovered} of {len(own)}")
    console.print(table)


def _interval(numbers: Floats) -> str:
    """Mean, and its 95 % interval by Student's t."""
    mean, size = numbers.mean(), len(numbers)
    if size == 1:
        return f"{mean:.3f}"
    half = student.ppf(0.975, size - 1) * numbers.std(ddof=1) / size**0.5
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


def _plot_regrets(runs: Mapping[str, Floats]) -> Figure:
    """Plot the regret so far of ``[seeds, decisions]``, mean of the seeds and each seed."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, own in runs.items():
        sums = own.cumsum(axis=1)[:, :: WINDOW // 10]
        times = np.arange(sums.shape[1]) * (WINDOW // 10)
        line = axes.plot(times, sums.mean(axis=0), label=name)[0]
        axes.plot(times, sums.T, color=line.get_color(), alpha=0.15, linewidth=0.7)
    axes.set_xlabel("decisions")
    axes.set_ylabel("regret so far")
    axes.legend()
    return figure


def _plot_shares(runs: Mapping[str, Sequence[Played]], drift_at: int, window: int) -> Figure:
    """Plot the share of the best by time, mean of the seeds and each seed."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, own in runs.items():
        ends = range(window, len(own[0].rewards) + 1, window)
        shares = np.array([[_share(run, slice(end - window, end)) for end in ends] for run in own])
        line = axes.plot(ends, shares.mean(axis=0), label=name)[0]
        axes.plot(ends, shares.T, color=line.get_color(), alpha=0.15, linewidth=0.7)
    axes.axvline(drift_at, color="black", linestyle=":")
    axes.set_xlabel("decisions; dotted line: fashion and demand change")
    axes.set_ylabel(f"share of the best slates' reward, {window:,} decisions")
    axes.legend()
    return figure


def sessions(seeds: Sequence[int], steps: int, plots: Path | None) -> Figures:
    """Compare what a session earns where interest tires; acts while it is valued are others than learned."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        shop = replace(SMALL, seed=seed)
        for name, make in PLAYERS.items():
            environment, random = ShopEnvironment(shop), np.random.default_rng(seed)
            player = make(environment, steps, random, seed)
            earned = play(environment, player, EVALUATED, random, seed + UNSEEN).sessions
            found.setdefault(name, []).append(float(earned.mean()))
        console.print(f"seed {seed}:", {name: round(own[-1], 3) for name, own in found.items()})
    _print_sessions(found)
    _save(plots, "shop-sessions.png", _plot_sessions(found))
    return found


def _print_sessions(earned: Figures) -> None:
    table = Table("policy", "reward of a session", "of the best myopic policy's", title="interest tires")
    for name, own in earned.items():
        table.add_row(name, _interval(np.array(own)), _interval(np.array(own) / np.array(earned["myopic"])))
    console.print(table)


def _plot_sessions(earned: Figures) -> Figure:
    """Plot each seed's ratio to the best myopic policy, and the mean of each policy."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    ratios = np.array(list(earned.values())) / np.array(earned["myopic"])
    axes.plot(range(len(earned)), ratios, color="grey", alpha=0.4, marker="o", linestyle="")
    axes.plot(range(len(earned)), ratios.mean(axis=1), marker="_", markersize=30, linestyle="")
    axes.axhline(1, color="black", linestyle=":")
    axes.set_xticks(range(len(earned)), list(earned))
    axes.set_ylabel("reward of a session, of the best myopic policy's")
    return figure


def _save(folder: Path | None, name: str, figure: Figure) -> None:
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / name)


def _random(environment: ShopEnvironment, steps: int, random: np.random.Generator, seed: int) -> Player:
    return RandomPlayer(random)


def _myopic(environment: ShopEnvironment, steps: int, random: np.random.Generator, seed: int) -> Player:
    return MyopicPlayer(random)


def _dqn(environment: ShopEnvironment, steps: int, random: np.random.Generator, seed: int) -> Player:
    config = DqnConfig(
        width=WIDTH,
        rate=RATE,
        rate_updates=steps // STEPS_AN_UPDATE,
        conservatism=0.0,  # it learns from what it shows itself
        slate=environment.settings.slate,
        decisions_per_update=STEPS_AN_UPDATE,
        most_updates=steps,  # none waits for a later batch
        warm_up=WARM_UP,
        first_epsilon=FIRST_EPSILON,
        last_epsilon=LAST_EPSILON,
        epsilon_decisions=round(EXPLORED * steps),
        episodes=EpisodeConfig(discount=DISCOUNT),
        replay=TransitionConfig(decisions=REPLAY, batch=BATCH),
    )
    sizes = sizes_of(environment)
    learner = DqnLearner(config, sizes, seed)
    player = LearningPlayer(
        random, learner, lambda arrays: DqnModel.of(arrays, sizes), Exploring(epsilon=None)
    )
    play(environment, player, steps, random, seed)
    return player.settled()


class OneItem(gymnasium.Env[NDArray[np.float32], np.int64]):
    """The environment as stable-baselines3's DQN takes it: one item is an action, all features one vector."""

    def __init__(self, environment: ShopEnvironment) -> None:
        self._environment = environment
        self.action_space: gymnasium.Space[Any] = Discrete(environment.settings.items)
        self.observation_space: gymnasium.Space[Any] = flatten_space(environment.observation_space)

    def flat(self, observation: Observation) -> NDArray[np.float32]:
        """Return an observation as one vector."""
        return np.concatenate([observation["items"].ravel(), observation["state"]])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Begin a session."""
        observation, info = self._environment.reset(seed=seed)
        return self.flat(observation), info

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        """Show one item."""
        observation, reward, left, cut, info = self._environment.step(np.array([action]))
        return self.flat(observation), reward, left, cut, info


class BaselinePlayer(RandomPlayer):
    """Shows what stable-baselines3's DQN has learned to show."""

    def __init__(self, random: np.random.Generator, learned: DQN, environment: OneItem) -> None:
        super().__init__(random)
        self._learned = learned
        self._environment = environment

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Return its item."""
        action, _ = self._learned.predict(self._environment.flat(observation), deterministic=True)
        return np.atleast_1d(action)


def _baseline(environment: ShopEnvironment, steps: int, random: np.random.Generator, seed: int) -> Player:
    one = OneItem(environment)
    learned = DQN(
        "MlpPolicy",
        one,
        learning_rate=RATE,
        buffer_size=REPLAY,
        learning_starts=WARM_UP,
        batch_size=BATCH,
        gamma=DISCOUNT,
        train_freq=STEPS_AN_UPDATE,
        target_update_interval=500,
        exploration_fraction=EXPLORED,
        exploration_initial_eps=FIRST_EPSILON,
        exploration_final_eps=LAST_EPSILON,
        policy_kwargs={"net_arch": [WIDTH, WIDTH]},
        seed=seed,
        device="cpu",
    )
    learned.learn(steps)
    return BaselinePlayer(random, learned, one)


class PlanningPlayer(RandomPlayer):
    """Knows the truth, and shows what is best for the whole session."""

    def __init__(self, random: np.random.Generator, environment: ShopEnvironment) -> None:
        super().__init__(random)
        self._environment = environment
        self._models = [session_model(environment, user) for user in range(environment.settings.users)]
        self._policies = [model.best() for model in self._models]

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Return the best item by how tired the user is."""
        user = info["user"]
        state = self._models[user].state_of(self._environment.weariness[user])
        return self._policies[user][state : state + 1]


def _planning(environment: ShopEnvironment, steps: int, random: np.random.Generator, seed: int) -> Player:
    return PlanningPlayer(random, environment)


PLAYERS: Mapping[str, Callable[[ShopEnvironment, int, np.random.Generator, int], Player]] = {
    "random": _random,
    "myopic": _myopic,
    "stable-baselines3": _baseline,
    "dqn": _dqn,
    "planned": _planning,
}

if __name__ == "__main__":
    typer.run(main)
