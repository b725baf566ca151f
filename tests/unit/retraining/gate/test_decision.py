"""The Gate: which candidates are promoted or rejected, the reasons, and the figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from pipeline.config import GateConfig, SamplingConfig
from pipeline.retraining.gate import GateOutcome, GateVerdict, ModelRun, SharedTargets, decide

TARGETS, USERS = 3_000, 300
CONFIG = GateConfig(sampling=SamplingConfig(resamples=1_000))
LISTS = np.arange(800).reshape(40, 20)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """A champion, and the targets that it is compared on."""

    targets: SharedTargets
    champion: ModelRun
    random: np.random.Generator

    def candidate(self, gain: float = 0.0, ndcg_gain: float = 0.0) -> ModelRun:
        """Make one that differs as much as another seed does (0.5 nats, 0.15 of NDCG), plus a gain."""
        users = self.targets.users
        log_loss = 0.15 * self.random.standard_t(4, USERS)[users] + 0.3 * self.random.standard_t(3, TARGETS)
        ndcg = 0.15 * self.random.standard_normal(TARGETS)
        return replace(
            self.champion,
            log_loss=self.champion.log_loss + log_loss - gain,
            ndcg=self.champion.ndcg + ndcg + ndcg_gain,
        )


def world(seed: int = 0) -> World:
    random = np.random.default_rng(seed)
    share = random.lognormal(0, 0.5, USERS)
    users = random.choice(USERS, TARGETS, p=share / share.sum())
    names = {"first_of_basket": 0.2, "cold": 0.15, "new_users": 0.1}
    slices = {name: random.random(TARGETS) < part for name, part in names.items()}
    champion = ModelRun(5 + random.standard_normal(TARGETS), random.random(TARGETS) / 2, LISTS, 2.0, 1_000)
    return World(SharedTargets(users, slices), champion, random)


def judged(candidate: ModelRun, on: World, shape: GateConfig = CONFIG) -> GateVerdict:
    return decide(on.targets, on.champion, candidate, shape)


def unguarded(on: World) -> World:
    """Remove the slices, which could only reject, and take time."""
    return replace(on, targets=replace(on.targets, slices={}))


def worse_where(run: ModelRun, mask: Mask, log_loss: float = 0.0, ndcg: float = 0.0) -> ModelRun:
    return replace(run, log_loss=run.log_loss + log_loss * mask, ndcg=run.ndcg - ndcg * mask)


def test_an_equal_candidate_is_promoted_in_at_most_two_of_a_hundred_seeds() -> None:
    worlds = [unguarded(world(seed)) for seed in range(200)]
    outcomes = [judged(w.candidate(), w).outcome for w in worlds]
    assert set(outcomes) <= {GateOutcome.PROMOTED, GateOutcome.REJECTED}
    assert outcomes.count(GateOutcome.PROMOTED) <= 4


def test_a_candidate_two_percent_better_is_promoted_in_nearly_all_seeds() -> None:
    worlds = [world(seed) for seed in range(40)]
    outcomes = [judged(w.candidate(gain=0.1, ndcg_gain=0.002), w).outcome for w in worlds]
    assert outcomes.count(GateOutcome.PROMOTED) >= 38


def test_a_candidate_one_percent_worse_is_never_promoted() -> None:
    worlds = [unguarded(world(seed)) for seed in range(40)]
    assert {judged(w.candidate(gain=-0.05), w).outcome for w in worlds} == {GateOutcome.REJECTED}


def test_the_champion_itself_is_no_better_than_itself() -> None:
    on = world()
    verdict = judged(on.champion, on, CONFIG.replace(least_gain=0.0))
    assert verdict.outcome is GateOutcome.REJECTED
    assert verdict.reasons == ["lower bound of the log-loss gain (nats): log_loss.all.low is 0, not above 0"]


def test_a_gain_too_small_to_be_worth_a_swap_is_rejected_even_if_certain() -> None:
    on = world()
    better = replace(on.champion, log_loss=on.champion.log_loss - 0.008)
    assert judged(better, on).outcome is GateOutcome.REJECTED
    assert judged(better, on, CONFIG.replace(least_gain=0.005)).outcome is GateOutcome.PROMOTED


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("figure", ["log_loss", "ndcg"])
def test_one_value_that_is_not_finite_rejects_outright(poison: float, figure: str) -> None:
    on = world()
    better = on.candidate(gain=1)
    getattr(better, figure)[17] = poison
    verdict = judged(better, on, CONFIG.replace(least_targets=10**9))
    assert verdict.outcome is GateOutcome.REJECTED
    assert verdict.reasons == ["non-finite values of the candidate: not_finite.candidate is 1, not at most 0"]


def test_a_champion_that_is_not_finite_rejects_the_candidate() -> None:
    on = world()
    better = on.candidate(gain=1)
    on.champion.log_loss[:3] = np.inf
    verdict = judged(better, on)
    assert verdict.outcome is GateOutcome.REJECTED
    assert "not_finite.champion is 3" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("config", "figure"),
    [
        (CONFIG.replace(least_targets=TARGETS + 1), "targets.all"),
        (CONFIG.replace(least_users=USERS + 1), "users.all"),
        (CONFIG.replace(least_probes=len(LISTS) + 1), "probes"),
    ],
)
def test_too_little_evidence_is_not_compared(config: GateConfig, figure: str) -> None:
    on = world()
    verdict = judged(on.candidate(gain=3), on, config)
    assert verdict.outcome is GateOutcome.TOO_FEW
    assert len(verdict.reasons) == 1 and f" {figure} is " in verdict.reasons[0]
    assert not any(name.startswith("log_loss") for name in verdict.figures)


def test_no_evidence_at_all_is_too_few() -> None:
    nothing = ModelRun(np.zeros(0), np.zeros(0), np.zeros((0, 20), np.int64), 1.0, 1)
    verdict = decide(SharedTargets(np.zeros(0, np.int64), {}), nothing, nothing, CONFIG)
    assert verdict.outcome is GateOutcome.TOO_FEW
    assert len(verdict.reasons) == 3


def test_a_user_with_most_of_the_targets_is_not_many_users() -> None:
    on = world()
    users = np.where(np.arange(TARGETS) % 10 > 0, 0, on.targets.users)
    verdict = decide(replace(on.targets, users=users), on.champion, on.candidate(gain=1), CONFIG)
    assert verdict.outcome is GateOutcome.TOO_FEW
    assert 1 < verdict.figures["users.all"] < 2


SLICES = [
    (name, figure) for name in ("cold", "first_of_basket", "new_users") for figure in ("log_loss", "ndcg")
]


@pytest.mark.parametrize(("name", "figure"), SLICES)
def test_each_slice_alone_can_reject(name: str, figure: str) -> None:
    on = world()
    better = on.candidate(gain=0.3, ndcg_gain=0.05)
    loss = {"log_loss": 0.6} if figure == "log_loss" else {"ndcg": 0.15}
    verdict = judged(worse_where(better, on.targets.slices[name], **loss), on)
    assert judged(better, on).outcome is GateOutcome.PROMOTED
    assert verdict.outcome is GateOutcome.REJECTED
    assert len(verdict.reasons) == 1 and f" {figure}.{name}.high is " in verdict.reasons[0]


def test_a_slice_that_is_not_clearly_worse_does_not_reject() -> None:
    on = world()
    better = worse_where(on.candidate(gain=0.3, ndcg_gain=0.05), on.targets.slices["cold"], ndcg=0.06)
    verdict = judged(better, on)
    assert verdict.figures["ndcg.cold.gain"] < 0
    assert verdict.outcome is GateOutcome.PROMOTED


@pytest.mark.parametrize("size", [0, 1, 99])
def test_a_small_slice_is_not_checked(size: int) -> None:
    on = world()
    small = np.arange(TARGETS) < size
    targets = replace(on.targets, slices={"cold": small})
    hurt = worse_where(on.candidate(gain=0.3, ndcg_gain=0.05), small, log_loss=3, ndcg=0.5)
    verdict = decide(targets, on.champion, hurt, CONFIG)
    assert verdict.outcome is GateOutcome.PROMOTED
    assert verdict.figures["targets.cold"] == size
    assert "ndcg.cold.high" not in verdict.figures


def test_a_slice_of_few_users_is_not_checked() -> None:
    on = world()
    few = on.targets.users < 20
    targets = replace(on.targets, slices={"new_users": few})
    verdict = decide(targets, on.champion, worse_where(on.candidate(gain=0.5), few, log_loss=2), CONFIG)
    assert verdict.figures["targets.new_users"] >= CONFIG.least_slice
    assert verdict.outcome is GateOutcome.PROMOTED


def test_a_slice_named_all_is_ignored() -> None:
    on = world()
    targets = replace(on.targets, slices={**on.targets.slices, "all": on.targets.slices["cold"]})
    candidate = on.candidate(gain=0.2)
    assert decide(targets, on.champion, candidate, CONFIG) == judged(candidate, on)


def test_ndcg_over_all_alone_can_reject() -> None:
    on = world()
    config = CONFIG.replace(slice_ndcg_margin=1.0)
    verdict = judged(on.candidate(gain=0.2, ndcg_gain=-0.02), on, config)
    assert verdict.outcome is GateOutcome.REJECTED
    assert len(verdict.reasons) == 1 and "ndcg.all.low" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"lists": LISTS + 800}, "jaccard"),
        ({"lists": np.tile(np.arange(20), (40, 1))}, "diversity.ratio"),
        ({"seconds": 3.1}, "seconds.ratio"),
        ({"bytes": 1_501}, "bytes.ratio"),
    ],
)
def test_each_guardrail_alone_can_reject(change: dict[str, object], figure: str) -> None:
    on = world()
    config = CONFIG.replace(least_jaccard=0.02)
    better = on.candidate(gain=0.2)
    verdict = judged(replace(better, **change), on, config)  # type: ignore[arg-type]
    assert judged(better, on, config).outcome is GateOutcome.PROMOTED
    assert verdict.outcome is GateOutcome.REJECTED
    assert len(verdict.reasons) == 1 and f" {figure} is " in verdict.reasons[0]


def test_a_rejection_names_all_failed_checks() -> None:
    on = world()
    verdict = judged(replace(on.candidate(gain=-0.5, ndcg_gain=-0.2), seconds=9, lists=LISTS + 800), on)
    figures = [reason.split(": ")[1].split(" is ")[0] for reason in verdict.reasons]
    slices = [
        f"{figure}.{name}.high" for name in sorted(on.targets.slices) for figure in ("log_loss", "ndcg")
    ]
    assert figures == ["log_loss.all.low", "ndcg.all.low", *slices, "jaccard", "seconds.ratio"]


def test_a_promotion_names_all_values_and_bounds() -> None:
    on = world()
    verdict = judged(on.candidate(gain=0.2), on)
    expected = f"log_loss.all.low is {verdict.figures['log_loss.all.low']:.4g}, above 0.01"
    assert expected in verdict.reasons[0]
    assert not any(" not " in reason for reason in verdict.reasons)


def test_figures_of_lists_and_costs_by_hand() -> None:
    on = world()
    lists = LISTS.copy()
    lists[::2, :10] += 800
    figures = judged(replace(on.candidate(), lists=lists, seconds=2.5, bytes=900), on).figures
    assert figures["jaccard"] == pytest.approx((1 + 10 / 30) / 2)
    assert figures["diversity.champion"] == figures["diversity.candidate"] == 800
    assert (figures["seconds.ratio"], figures["bytes.ratio"]) == (1.25, 0.9)


def test_gains_are_positive_where_the_candidate_is_better() -> None:
    on = world()
    figures = judged(on.candidate(gain=0.2, ndcg_gain=0.05), on).figures
    for figure, sign in (("log_loss", -1), ("ndcg", 1)):
        parts = {part: figures[f"{figure}.cold.{part}"] for part in ("champion", "candidate", "gain")}
        assert parts["gain"] == pytest.approx(sign * (parts["candidate"] - parts["champion"]))
        assert 0 < figures[f"{figure}.cold.low"] < parts["gain"] < figures[f"{figure}.cold.high"]


def test_the_verdict_does_not_depend_on_user_numbers() -> None:
    on = world()
    candidate = on.candidate(gain=0.06)
    renamed = replace(on.targets, users=on.random.permutation(10**6)[on.targets.users])
    assert judged(candidate, on) == judged(candidate, on)
    assert judged(candidate, on) == decide(renamed, on.champion, candidate, CONFIG)


def test_a_verdict_is_decoded_as_encoded() -> None:
    on = world()
    verdict = judged(on.candidate(), on)
    assert GateVerdict.model_validate_json(orjson.dumps(verdict.model_dump())) == verdict


def test_evidence_of_different_size_is_refused() -> None:
    on = world()
    short = replace(on.champion, log_loss=np.zeros(5), ndcg=np.zeros(5))
    with pytest.raises(ValueError, match="as many targets"):
        judged(short, on)
    with pytest.raises(ValueError, match="probe users"):
        judged(replace(on.champion, lists=LISTS[:-1]), on)
    with pytest.raises(ValueError, match="log-loss and NDCG"):
        replace(on.champion, ndcg=np.zeros(5))
    with pytest.raises(ValueError, match="masks"):
        SharedTargets(on.targets.users, {"cold": np.ones(5, np.bool_)})


@pytest.mark.parametrize("cost", [{"seconds": 0.0}, {"seconds": float("nan")}, {"bytes": 0}])
def test_costs_that_cannot_be_compared_are_refused(cost: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        replace(world().champion, **cost)  # type: ignore[arg-type]


def test_figures_of_lists_are_reported_and_decide_nothing() -> None:
    on = unguarded(world())
    on = replace(on, champion=replace(on.champion, spread={"gini@20": 0.5}))
    candidate = replace(on.candidate(gain=0.2, ndcg_gain=0.02), spread={"gini@20": 1.0})
    verdict = judged(candidate, on)
    assert verdict.outcome is GateOutcome.PROMOTED
    assert verdict.figures["lists.gini@20.champion"] == 0.5
    assert verdict.figures["lists.gini@20.candidate"] == 1.0
