"""Measure what a CUDA device gains: the same learner on the CPU and on CUDA, in float32 and bfloat16.

Each variant learns the same events, in batches of each size. Measured are its speed, its quality, its
peak device memory, and the share of time that kernels run. The state of a learner on CUDA is then read
by another learner and by a server on the CPU, see `benchmarks.cuda_serving`.

Kernels are timed by torch's profiler, and functions on the CPU by Python's, over batches that do not
count for the speed. On a CPU with AMX, oneDNN rounds the factors of "float32" products to bfloat16.
"""

from __future__ import annotations

import cProfile
import json
import os
import platform
import pstats
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cuda_serving import LIST_LENGTH, ServingComparison, compare_serving
from pipeline.assembly import make_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import (
    CheckpointConfig,
    LearnerConfig,
    LogConfig,
    ModelConfig,
    Precision,
    Settings,
    SnapshotConfig,
)
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Quality, rank_targets
from pipeline.events import Event, Interaction, Item
from pipeline.model.backbone_files import DEFAULT
from pipeline.model.mixer import Mixer
from pipeline.state.covisitation import Covisitation
from pipeline.state.evidence import evidence
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.stream import StreamState
from pipeline.training.backtest import micro_batches
from pipeline.training.forward import forward
from pipeline.training.learner import Learner
from pipeline.training.optimizer import OptimizerStep

SHOP = "shop:seed=0,events={limit}"
WARM_UP, PROFILED = 5, 4
"""Batches. The first ones select kernels, and their time does not count."""
FIGURES = ("hr@20", "mrr@20", "log_loss")
COSTS = {"MiB": "{:,.0f}", "kernels": "{:.0%}", "launches": "{:,.0f}"}
COMPARISON = (
    "checkpoint restored: {bits}; log-probabilities of a CPU server for {users} users differ from the "
    "CUDA learner's by at most {difference:.2g}; for {same_lists:.1%} of them the lists of {length} are "
    "the same, and {same_items:.2%} of the items are in both lists"
)
SCORER = "mixture"
STAGES = {
    "segments": Learner._segments,
    "forward": forward,
    "covisitation": Covisitation.suggest,
    "evidence": evidence,
    "ranks": rank_targets,
    "backward and step": OptimizerStep.step,
    "mixer": Mixer.learn,
    "fold": StreamState.fold,
}
WHERE: tuple[tuple[str, Precision], ...] = (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"))


class Variant(NamedTuple):
    """Device and precision of a learner, and the number of events in a batch."""

    device: str
    precision: Precision
    batch: int


@dataclass(frozen=True)
class DeviceProfile:
    """Costs of a batch on a CUDA device.

    Attributes:
        peak_mib: peak device memory.
        kernels: share of the time that kernels run.
        launches: kernels and copies per batch.
        stages: share of the time on the CPU, for each of `STAGES`, largest first.
    """

    peak_mib: float
    kernels: float
    launches: float
    stages: dict[str, float]


@dataclass(frozen=True)
class VariantResult:
    """Events/s after the warm-up, figures of the mixture, and on CUDA the costs of a batch."""

    speed: float
    quality: dict[str, float | None]
    profile: DeviceProfile | None


def main(
    data: Annotated[str | None, typer.Option(help="Path of a data set; default: the shop.")] = None,
    limit: Annotated[int, typer.Option(help="Number of interactions to learn.")] = 39_000,
    seed: Annotated[int, typer.Option(help="Seed of adapters, negatives and replay.")] = 0,
    batch: Annotated[list[int], typer.Option(help="Events per batch.")] = [256, 1024, 4096],  # noqa: B006
    backbone: Annotated[str, typer.Option(help="A folder, or a name on the hub.")] = DEFAULT,
    report: ReportOption = None,
) -> None:
    """Run the learner on the CPU and on CUDA, on one thread; encode the catalogue on each."""
    if not torch.cuda.is_available():
        Console(stderr=True).print("benchmarks/cuda.py measures CUDA, but torch finds no CUDA device here")
        raise typer.Exit(1)
    source = data or SHOP.format(limit=limit)
    events = list(_first(open_dataset(source).events(), limit))
    variants = [Variant(*where, size) for size in batch for where in WHERE]
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(Path(folder), backbone, seed)
        encoding = {device: encode_all(settings, device, events) for device in ("cpu", "cuda")}
        results = {variant: measure(settings, variant, events) for variant in track(variants)}
        served = compare_serving(settings, _learned(settings, Variant("cuda", "float32", batch[0]), events))
    about = {"data": source, "events": limit, "seed": seed, **_machine()}
    about |= {f"encoding, s ({device})": round(seconds, 2) for device, seconds in encoding.items()}
    if report:
        learned = [variant._asdict() | asdict(result) for variant, result in results.items()]
        figures = {"about": about, "learned": learned, "served": asdict(served)}
        report.write_text(json.dumps(figures, indent=2) + "\n")
    _show(results, served, about)


def encode_all(settings: Settings, device: str, events: Sequence[Event]) -> float:
    """Measure the seconds for encoding the catalogue, after a warm-up of the language model."""
    learner = _learner(settings, Variant(device, "float32", 1))
    learner.encoder.encode(["a text", "some other text"])
    opening = next(micro_batches(events, 1))
    began = time.perf_counter()
    learner.score_and_learn(opening)
    return time.perf_counter() - began


def measure(settings: Settings, variant: Variant, events: Sequence[Event]) -> VariantResult:
    """Let a new learner learn the events."""
    learner, (opening, *batches) = _learner(settings, variant), list(micro_batches(events, variant.batch))
    learner.score_and_learn(opening)
    if learner.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    quality, seconds = Quality(), list[float]()
    for micro in batches:
        began = time.perf_counter()
        quality.add(learner.score_and_learn(micro))  # its scores are on the CPU, so all kernels are done
        seconds.append(time.perf_counter() - began)
    counted = list(zip(batches, seconds, strict=True))[min(WARM_UP, len(batches) - 1) :]
    means = quality.report()[SCORER]["all"]
    speed = sum(len(micro.interactions) for micro, _ in counted) / sum(took for _, took in counted)
    profile = _profile(settings, variant, opening, batches) if learner.device.type == "cuda" else None
    return VariantResult(speed, {name: means[name] for name in FIGURES}, profile)


def _learner(settings: Settings, variant: Variant) -> Learner:
    model = settings.model.replace(device=variant.device)
    learn = settings.learn.replace(precision=variant.precision)
    return make_learner(settings.model_copy(update={"model": model, "learn": learn}))


def _learned(settings: Settings, variant: Variant, events: Sequence[Event]) -> Learner:
    """Return a learner that has learned the events."""
    learner = _learner(settings, variant)
    for micro in micro_batches(events, variant.batch):
        learner.score_and_learn(micro)
    return learner


def _profile(
    settings: Settings, variant: Variant, opening: MicroBatch, batches: Sequence[MicroBatch]
) -> DeviceProfile:
    """Profile some batches with a new learner; the peak memory is that of the learner before it."""
    peak_mib = torch.cuda.max_memory_allocated() / 2**20
    learner, some = _learner(settings, variant), batches[: WARM_UP + PROFILED]
    for micro in (opening, *some[:-PROFILED]):
        learner.score_and_learn(micro)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        began = time.perf_counter()
        for micro in some[-PROFILED:]:
            learner.score_and_learn(micro)
        took = time.perf_counter() - began
    kernels = [event for event in profiler.key_averages() if event.device_type.name == "CUDA"]
    busy = sum(event.self_device_time_total for event in kernels) / 1e6
    launches = sum(event.count for event in kernels) / len(some[-PROFILED:])
    return DeviceProfile(peak_mib, busy / took, launches, _stages(learner, some[-PROFILED:]))


def _stages(learner: Learner, batches: Sequence[MicroBatch]) -> dict[str, float]:
    """Return each stage's share of the time, largest first; the batches are learned a second time."""
    profiler = cProfile.Profile()
    profiler.enable()
    for micro in batches:
        learner.score_and_learn(micro)
    profiler.disable()
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    spent = {name: _seconds(stats, stage) for name, stage in STAGES.items()}
    total = _seconds(stats, Learner.score_and_learn)
    return {name: spent[name] / total for name in sorted(spent, key=lambda name: -spent[name])}


def _seconds(stats: dict[Any, Any], function: Any) -> float:
    """Return the time spent in a function and in what it calls."""
    code = function.__code__
    *_, seconds, _ = stats[code.co_filename, code.co_firstlineno, code.co_name]
    return float(seconds)


def _settings(folder: Path, backbone: str, seed: int) -> Settings:
    """Return settings of a model whose log, checkpoints, snapshots and cache are in a folder."""
    return Settings(
        log=LogConfig(url=f"sqlite:///{folder}/log.db", partitions=1),
        model=ModelConfig(backbone=backbone, cache=folder / "cache"),
        learn=LearnerConfig(seed=seed),
        checkpoints=CheckpointConfig(folder=folder / "checkpoints"),
        snapshots=SnapshotConfig(store=str(folder / "snapshots")),
    )


def _first(events: Iterable[Event], limit: int) -> Iterator[Event]:
    """Yield items and interactions, up to and including the limit-th interaction."""
    remaining = limit
    for event in events:
        remaining -= isinstance(event, Interaction)
        if isinstance(event, Item | Interaction):
            yield event
        if remaining == 0:
            return


def _machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    _, _, named = (cpuinfo.read_text() if cpuinfo.exists() else "").partition("model name")
    return {
        "gpu": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "cpu": named.partition(":")[2].partition("\n")[0].strip() or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _show(results: dict[Variant, VariantResult], served: ServingComparison, about: dict[str, Any]) -> None:
    console, table = Console(width=160), Table("device", "precision", "batch", "events/s", *COSTS, *FIGURES)
    for variant, result in results.items():
        table.add_row(
            *map(str, variant),
            f"{result.speed:,.0f}",
            *_costs(result.profile),
            *("-" if mean is None else f"{mean:.4f}" for mean in result.quality.values()),
        )
    console.print(table)
    for variant, result in results.items():
        if result.profile:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in result.profile.stages.items())
            console.print(f"{' '.join(map(str, variant))}: {shares}")
    bits = "the same bits" if served.restored else "NOT the same bits"
    console.print(COMPARISON.format_map(asdict(served) | {"bits": bits, "length": LIST_LENGTH}))
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def _costs(profile: DeviceProfile | None) -> list[str]:
    if profile is None:
        return ["-"] * len(COSTS)
    costs = (profile.peak_mib, profile.kernels, profile.launches)
    return [form.format(cost) for form, cost in zip(COSTS.values(), costs, strict=True)]


if __name__ == "__main__":
    typer.run(main)
