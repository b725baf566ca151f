"""Settings of several tables that cannot work together: each pair, why, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config.learning import ObjectiveConfig
from pipeline.config.log import LogConfig
from pipeline.config.model import ModelSizes, Tuning
from pipeline.config.policy import BY_VALUE, PolicyConfig, PolicyParameters
from pipeline.config.ratings import RatingsConfig
from pipeline.config.retraining import GateConfig, PlanConfig
from pipeline.config.rewards import RewardsConfig
from pipeline.config.serving import MetricsConfig, ServeConfig
from pipeline.config.signals import SignalsConfig
from pipeline.config.value import ValueConfig
from pipeline.events import InteractionType

FIELDS = {InteractionType.RETURN: "returned"}
"""Where a type of act has another name in [signals]."""
WITHOUT_FROZEN_MAPS: tuple[Tuning, ...] = ("dora", "last_layers")
"""Ways to tune that leave no frozen map which could be rounded."""


def unrecorded(policy: PolicyConfig, serve: ServeConfig) -> Iterator[str]:
    """Yield what needs records: what is shown by chance, and what other policies would have shown."""
    asking = {
        f"policy.name = {policy.name!r}": policy.name != "greedy",
        "policy.arms": bool(policy.arms),
        "policy.shadows": bool(policy.shadows),
    }
    for setting, asks in asking.items():
        if asks and not serve.impressions:
            yield f"{setting} needs serve.impressions = true: what is shown, and to whom, must be recorded"


def unlearned_values(policy: PolicyConfig, value: ValueConfig) -> Iterator[str]:
    """Yield the policies that rank by values which nothing learns."""
    for place, ranking in _policies(policy).items():
        if ranking.name in BY_VALUE - set(value.learners):
            yield (
                f"{place}.name = {ranking.name!r} ranks by values that nothing learns: add "
                f"{ranking.name!r} to value.learners"
            )


def undrawn(policy: PolicyConfig) -> Iterator[str]:
    """Yield the policies that draw more places than they have items to draw from."""
    for place, drawing in _policies(policy).items():
        if drawing.name != "greedy" and drawing.pool < drawing.explored_places:
            yield (
                f"{place}.pool = {drawing.pool} is less than {place}.explored_places = "
                f"{drawing.explored_places}, which are drawn from it: raise the first or lower the second"
            )


def unkept(log: LogConfig, policy: PolicyConfig, rewards: RewardsConfig) -> Iterator[str]:
    """Yield what is longer than the log keeps impressions, so that nothing would ever be known of it."""
    kept = f"log.retention_hours = {log.retention_hours:g}: raise the retention, or lower the first"
    if rewards.minutes / 60 > log.retention_hours:
        yield f"rewards.minutes = {rewards.minutes:g} is longer than {kept}"
    elif policy.arms and policy.experiment_hours + rewards.minutes / 60 > log.retention_hours:
        yield (
            f"policy.experiment_hours = {policy.experiment_hours:g} and rewards.minutes = "
            f"{rewards.minutes:g} together are longer than {kept}"
        )


def _policies(policy: PolicyConfig) -> dict[str, PolicyParameters]:
    """All policies of the settings, by their tables."""
    return {
        "policy": policy,
        **{f"policy.shadows.{name}": shadow for name, shadow in policy.shadows.items()},
        **{f"policy.arms.{name}": arm for name, arm in policy.arms.items()},
    }


def unlearned_types(signals: SignalsConfig, objective: ObjectiveConfig) -> Iterator[str]:
    """Yield the types that are to be learned, but are not: only acts of positive weight are."""
    names = {kind: FIELDS.get(kind, kind.value) for kind in InteractionType}
    weights = {kind: float(getattr(signals, name)) for kind, name in names.items()}
    if not any(weight > 0 for weight in weights.values()):
        yield "signals has no positive weight, so nothing would be learned: raise that of what people do"
        return
    for kind in objective.basket_types:
        if weights[kind] <= 0:
            yield (
                f"learn.objective.basket_types names {kind.value!r}, from which nothing is learned, because "
                f"signals.{names[kind]} = {weights[kind]:g}: take it out"
            )


def unmeasured(serve: ServeConfig, metrics: MetricsConfig) -> Iterator[str]:
    """Yield that workers, which share a port, have none for their metrics."""
    if serve.workers > 1 and not metrics.serve:
        yield (
            f"serve.workers = {serve.workers} needs a metrics.serve that is not 0: the shared port "
            "tells of no worker, so `millstream status` could not see the server"
        )


def unlearned_ratings(signals: SignalsConfig, ratings: RatingsConfig) -> Iterator[str]:
    """Yield that no rating could be good, so that none would be learned."""
    if signals.rating > 0 and signals.rating_threshold >= ratings.highest:
        yield (
            f"signals.rating_threshold = {signals.rating_threshold:g}, but learn.ratings.highest = "
            f"{ratings.highest:g}: no rating is above it, so none would be learned; lower the threshold, and "
            "signals.rating_span and rewards.rating_threshold with it"
        )


def undecidable(plan: PlanConfig, gate: GateConfig) -> Iterator[str]:
    """Yield that every candidate would be rejected, for want of targets."""
    if plan.trial_events < gate.least_targets:
        yield (
            f"retrain.plan.trial_events = {plan.trial_events} is less than gate.least_targets = "
            f"{gate.least_targets}, so every candidate would be rejected: raise the first or lower the second"
        )


def unrounded(serve: ServeConfig, sizes: ModelSizes) -> Iterator[str]:
    """Yield that a precision would change nothing."""
    if serve.precision == "int8" and sizes.tuning in WITHOUT_FROZEN_MAPS:
        yield (
            f"serve.precision = 'int8' rounds frozen maps, and learn.sizes.tuning = {sizes.tuning!r} leaves "
            "none: set serve.precision = 'float32', or another tuning"
        )
