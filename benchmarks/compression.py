"""Measure what compressed snapshots weigh, and what they cost in lists and time, beside one as learned.

    python -m benchmarks.compression --data <online-retail>

A learner learns the first purchases and publishes twice, before its last batch and after it: a full snapshot
and a delta. For each kind of compression, a server loads both and answers for the purchases that follow, each
from its user's history until then, while the snapshot stands still. All servers answer a request one after
another, in an order that rotates, in one process and thread. Ratios of time are medians over requests.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.retrains import BATCH, batches_of, new_learner
from consumers.serve.query import RecommendationQuery
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from consumers.serve.state.serving_state import ServingState, View
from pipeline.checkpoints.capture import take_changed, update_of
from pipeline.cli.terminal import ReportOption
from pipeline.config import CompressionConfig, ModelConfig, RetrievalConfig, ServeConfig
from pipeline.datasets import open_dataset
from pipeline.eventlog.port import Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, encode
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.model.encoded_vectors import EncodedVectors
from pipeline.snapshots.compression import compressed
from pipeline.snapshots.layer import SCALES
from pipeline.snapshots.layer_list import LayerList
from pipeline.snapshots.snapshot import FileDigest, Manifest, Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.histories import Act, History, inserted
from pipeline.training.learner import Learner
from tests.support.answers import recommend

LENGTH = 20
"""Items of a list."""
AS_LEARNED = "as learned"
KINDS: Mapping[str, tuple[CompressionConfig, ServeConfig]] = {
    AS_LEARNED: (CompressionConfig(), ServeConfig()),
    "float16 vectors": (CompressionConfig(vectors="float16"), ServeConfig()),
    "int8 vectors": (CompressionConfig(vectors="int8"), ServeConfig()),
    "adapters, .9": (CompressionConfig(adapter_share=0.9), ServeConfig()),
    "int8 tower": (CompressionConfig(), ServeConfig(precision="int8")),
    "onnx tower": (CompressionConfig(), ServeConfig(runtime="onnx")),
    "int8 vectors and tower": (CompressionConfig(vectors="int8"), ServeConfig(precision="int8")),
}
PREFIX = "compression"
TOPICS = Topics(PREFIX)
VECTORS = {*SCALES, *SCALES.values()}


class Case(NamedTuple):
    """A purchase, and the acts of its user before it."""

    event: Interaction
    history: History


@dataclass
class Side:
    """A server of one kind, and its answers.

    Attributes:
        full, delta: manifests of what it loaded.
        view: what it answers from.
        lists: item ids of each answer.
        seconds: of processor time that each answer took.
    """

    full: Manifest
    delta: Manifest
    view: View
    lists: list[list[str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def answer(self, case: Case, context: int) -> None:
        """Answer one request."""
        query, event = RecommendationQuery(k=LENGTH), case.event
        began = time.thread_time()
        found = recommend(self.view, case.history, event.session, query, context, now=event.time)
        self.seconds.append(time.thread_time() - began)
        self.lists.append([self.view.index.ids[row] for row in found.rows])


def main(
    data: Annotated[str, typer.Option(help="Path of a data set.")],
    limit: Annotated[int, typer.Option(help="Purchases to learn, rounded down to batches.")] = 20_000,
    asked: Annotated[int, typer.Option(help="Purchases after them that are asked for.")] = 4_000,
    exact_items: Annotated[
        int, typer.Option(help="Up to so many items, all are scored; 0 to score candidates alone.")
    ] = RetrievalConfig().exact_items,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Print bytes, memory, latency and lists of each kind of compression, on one thread."""
    learner = new_learner(cache)
    batches = batches_of(open_dataset(data).events())
    learned = 1 + limit // BATCH
    for batch in track(batches[: learned - 1], "learning"):
        learner.score_and_learn(batch)
    full = _update(learner, step=1, is_whole=True)
    learner.score_and_learn(batches[learned - 1])
    delta = _update(learner, step=2, is_whole=False)
    events = (event for batch in batches[learned:] for event in batch.interactions)
    cases = cases_of(learner, events, asked)
    with TemporaryDirectory() as folder:
        sides = {
            name: served(learner, (full, delta), kind, f"{folder}/{number}", exact_items)
            for number, (name, kind) in enumerate(KINDS.items())
        }
        compare(list(sides.values()), cases, learner.config.segments.context)
    figures = {name: figures_of(side, sides[AS_LEARNED], cases) for name, side in sides.items()}
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, f"{limit:,} purchases, {len(learner.stream.catalogue):,} items, {len(cases):,} requests")


def cases_of(learner: Learner, events: Iterable[Interaction], most: int) -> list[Case]:
    """Return the first purchases by known users, each with its user's acts until then."""
    histories = dict[str, History]()
    cases = list[Case]()
    for event in events:
        history = histories.get(event.user, learner.stream.histories.of(event.user))
        if history:
            cases.append(Case(event, history))
        histories[event.user] = inserted(history, Act.of(event))
        if len(cases) == most:
            break
    return cases


def served(
    learner: Learner,
    updates: Sequence[Update],
    kind: tuple[CompressionConfig, ServeConfig],
    folder: str,
    exact_items: int,
) -> Side:
    """Publish updates to a folder, compressed, and load the last as a server does."""
    store, layers, manifests = SnapshotStore(folder, PREFIX), LayerList(), list[Manifest]()
    config, serving = kind
    for update in updates:
        made = compressed(update, config)
        layers.add(made)
        manifests.append(layers.store(made, store)[0])
    full, delta = manifests
    loader = SnapshotLoader(store, load_backbone(), ModelConfig(), serving)
    state = ServingState(
        loader.load(Version.parse(delta.version)),
        learner.stream.histories,
        {},
        (TOPICS.interactions, TOPICS.items),
        retrieval=RetrievalConfig(exact_items=exact_items),
    )
    entries = [entry for entry in learner.stream.catalogue.entries if entry is not None]
    state.read(Record(TOPICS.items, 0, 0, 0, entry.item, encode(entry)) for entry in entries)
    return Side(full, delta, state.view())


def compare(sides: Sequence[Side], cases: Sequence[Case], context: int) -> None:
    """Let all sides answer each request, in an order that rotates."""
    for number, case in enumerate(track(cases, "answering")):
        turn = number % len(sides)
        for side in (*sides[turn:], *sides[:turn]):
            side.answer(case, context)


def figures_of(side: Side, other: Side, cases: Sequence[Case]) -> dict[str, Any]:
    """Compute the figures of a side, and its ratios to another one."""
    ranks = np.array([_rank(case.event.item, found) for case, found in zip(cases, side.lists, strict=True)])
    common = [len({*mine} & {*theirs}) for mine, theirs in zip(side.lists, other.lists, strict=True)]
    lengths = [len(theirs) for theirs in other.lists]
    return {
        "full_bytes": _size(side.full),
        "full_parts": parts_of(side.full),
        "delta_bytes": _size(side.delta),
        "delta_parts": parts_of(side.delta),
        "vector_bytes": vector_bytes(side.view),
        "median_seconds": float(np.median(side.seconds)),
        "seconds_ratio": float(np.median(np.array(side.seconds) / other.seconds)),
        "hr@20": float((ranks > 0).mean()),
        "mrr@20": float(np.divide(1, ranks, where=ranks > 0, out=np.zeros(len(ranks))).mean()),
        "overlap@20": sum(common) / sum(lengths),
    }


def parts_of(manifest: Manifest) -> dict[str, int]:
    """Return the bytes of what a version adds to those before it, by what they hold; the largest first."""
    found = defaultdict[str, int](int)
    for name, form in manifest.layers[-1].tensors.items():
        part, _, values = name.partition(".")
        found[f"{part} vectors" if values in VECTORS else part] += form.bytes
    for name, form in (pair for file in manifest.files.values() for pair in file.tensors.items()):
        found[_parameters(name)] += form.bytes
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def vector_bytes(view: View) -> int:
    """Return what a server holds of the items' vectors, with those that it decodes to score all items."""
    assert view.snapshot is not None and view.items is not None
    content, residual, _ = view.snapshot.items
    columns = [content, residual]
    if view.scans is None:
        dense = view.items.dense
        columns += [
            one for one in (dense.content, dense.residual) if one is not content and one is not residual
        ]
    return sum(_bytes(column) for column in columns)


def _bytes(column: Any) -> int:
    if not isinstance(column, EncodedVectors):
        return int(column.nbytes)
    return int(column.codes.nbytes) + (0 if column.scales is None else int(column.scales.nbytes))


def _parameters(name: str) -> str:
    """Say of which kind a learned parameter is."""
    if "lora_" in name:
        return "lora"
    return next((kind for kind in ("adapter", "projection") if kind in name), "other parameters")


def _size(manifest: Manifest) -> int:
    """Return the bytes of the files that a version adds to those before it."""
    files: list[FileDigest] = [*manifest.files.values(), manifest.layers[-1]]
    return sum(file.size for file in files)


def _rank(item: str, found: Sequence[str]) -> int:
    """Return the place of an item in a list, from 1; 0 if it is not in it."""
    return found.index(item) + 1 if item in found else 0


def _update(learner: Learner, step: int, is_whole: bool) -> Update:
    position = Position(1, step, "", 0, {}, through=0, control=0, fold_to={})
    changed = take_changed(learner)
    return update_of(learner, PREFIX, position, {}, "benchmark", None if is_whole else changed)


def show(figures: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print the figures of all kinds, and where the bytes of the first are."""
    first, *_ = figures.values()
    console, table = (
        Console(),
        Table(
            "",
            "full",
            "delta",
            "a server's vectors",
            "request, CPU ms",
            "HR@20",
            "MRR@20",
            "overlap@20",
            title=title,
        ),
    )
    for name, own in figures.items():
        sizes = [
            f"{own[size] / 2**20:.2f} MiB ({own[size] / first[size]:.2f})"
            for size in ("full_bytes", "delta_bytes", "vector_bytes")
        ]
        seconds = f"{1_000 * own['median_seconds']:.2f} ({own['seconds_ratio']:.2f})"
        lists = [f"{own[figure]:.4f}" for figure in ("hr@20", "mrr@20", "overlap@20")]
        table.add_row(name, *sizes, seconds, *lists)
    console.print(table)
    for size in ("full", "delta"):
        parts = ", ".join(f"{part} {count / 2**10:,.0f}" for part, count in first[f"{size}_parts"].items())
        console.print(f"{size}, {AS_LEARNED}, KiB: {parts}")


if __name__ == "__main__":
    typer.run(main)
