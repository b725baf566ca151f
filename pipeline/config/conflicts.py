"""Settings of several tables that cannot work together: each pair, why, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config.learning import ObjectiveConfig
from pipeline.config.policy import BY_VALUE, PolicyConfig
from pipeline.config.serving import MetricsConfig, ServeConfig
from pipeline.config.signals import SignalsConfig
from pipeline.config.value import ValueConfig
from pipeline.events import InteractionType

FIELDS = {InteractionType.RETURN: "returned"}
"""Where a type of act has another name in [signals]."""


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
    policies = {
        "policy": policy,
        **{f"policy.shadows.{name}": shadow for name, shadow in policy.shadows.items()},
        **{f"policy.arms.{name}": arm for name, arm in policy.arms.items()},
    }
    for place, ranking in policies.items():
        if ranking.name in BY_VALUE - set(value.learners):
            yield (
                f"{place}.name = {ranking.name!r} ranks by values that nothing learns: add "
                f"{ranking.name!r} to value.learners"
            )


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
