"""Measure the user tower by itself in torch and in onnxruntime: time, memory and time to load.

    python -m benchmarks.onnx_tower

Each way is a process of its own, on one thread: it loads the language model, makes a tower, and computes the
user vectors of random histories of 2 to 20 acts, some at a time. Beside the way that servers go, with what is
learned as inputs of the graph, stands a graph that has it as constants: a new one for each snapshot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import onnx
import torch
import typer
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.cli.terminal import ReportOption
from pipeline.config import ModelSizes
from pipeline.model.backbone import load_backbone
from pipeline.model.item_table import Rows
from pipeline.model.last_acts import attention_maps, last_users, served_tower
from pipeline.model.onnx_tower import OnnxTower, exported, learned_in
from pipeline.model.recommender import Recommender
from pipeline.state.segments import GAP_BUCKETS, TYPES, VALUE_BUCKETS, Segment

TORCH, INPUTS, CONSTANTS = "torch", "onnxruntime", "learned as constants"
ITEMS, CONTEXT, MOST_ACTS = 3_000, 20, 20
AT_A_TIME = (1, 16, 64)
GRAPH = "constants.onnx"
SPREAD = 0.02
"""Of what is added to the parameters, which are mostly zero before anything was learned."""
UsersOf = Callable[[Sequence[Segment]], torch.Tensor]


def main(
    rounds: Annotated[int, typer.Option(help="Times that each number of histories is computed.")] = 300,
    report: ReportOption = None,
) -> None:
    """Print what each way takes."""
    context = get_context("spawn")
    with TemporaryDirectory() as folder, context.Pool(1, maxtasksperchild=1) as pool:
        pool.apply(_measured, (INPUTS, folder, 1))  # exports the tower
        figures = {way: pool.apply(_measured, (way, folder, rounds)) for way in (TORCH, INPUTS, CONSTANTS)}
    users = np.array(figures[TORCH]["users"])
    for found in figures.values():
        found["off_by"] = float(np.abs(np.array(found.pop("users")) - users).max())
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")
    columns = [f"{count} at a time, CPU ms" for count in AT_A_TIME]
    table = Table("", *columns, "a new snapshot, ms", "private memory, MiB", "off by")
    for way, found in figures.items():
        times = [f"{one:.2f}" for one in found["ms"]]
        table.add_row(way, *times, f"{found['load_ms']:.1f}", f"{found['mib']:.0f}", f"{found['off_by']:.1e}")
    Console(width=140).print(table)


def _measured(way: str, folder: str, rounds: int) -> dict[str, Any]:
    """Measure one way, in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone, sizes = load_backbone(), ModelSizes()
    recommender = Recommender(backbone, sizes, seed=0).eval()
    with torch.no_grad():
        for parameter in recommender.learned().values():
            parameter.add_(torch.randn_like(parameter), alpha=SPREAD)
    learned = {name: part.detach().clone() for name, part in recommender.learned().items()}
    content = normalize(torch.randn(ITEMS, backbone.width))
    items = Rows(content.half(), torch.zeros_like(content), torch.zeros(ITEMS))
    served = served_tower(recommender.tower)
    users_of: UsersOf = partial(
        last_users, recommender=recommender, items=items, context=CONTEXT, served=served
    )
    load: Callable[[], object] = partial(_take_over, recommender, learned)
    if way != TORCH:
        file = exported(backbone, sizes, recommender, Path(folder))
        if way == CONSTANTS:
            load = partial(_with_constants, file, recommender)
            _with_constants(file, recommender)
            file = file.with_name(GRAPH)
        maps = attention_maps(recommender.tower)
        users_of = partial(OnnxTower(file, recommender).last_users, items=items, context=CONTEXT, maps=maps)
    random = np.random.default_rng(0)
    asked = [[_segment(random) for _ in range(count)] for count in AT_A_TIME]
    return {
        "ms": [_median_ms(partial(users_of, some), rounds) for some in asked],
        "load_ms": _median_ms(load, 20),
        "mib": _private_mib(),
        "users": users_of(asked[1]).tolist(),
    }


def _take_over(recommender: Recommender, learned: dict[str, Tensor]) -> None:
    """Do what a server does with a new snapshot's weights."""
    recommender.load_learned(learned)
    served_tower(recommender.tower)


def _with_constants(file: Path, recommender: Recommender) -> None:
    """Write a graph that has what is learned as constants, beside the file, and load it."""
    made, graph = onnx.load(file), file.with_name(GRAPH)
    learned = learned_in(recommender)
    kept = [one for one in made.graph.input if one.name not in learned]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    made.graph.initializer.extend(
        numpy_helper.from_array(part.detach().numpy(), name) for name, part in learned.items()
    )
    onnx.save(made, graph)
    OnnxTower(graph, recommender)


def _segment(random: np.random.Generator) -> Segment:
    """Draw a history, and one act after it."""
    length = int(random.integers(2, MOST_ACTS + 1)) + 1
    return Segment(
        random.integers(ITEMS, size=length),
        random.integers(len(TYPES), size=length),
        random.integers(VALUE_BUCKETS, size=length),
        random.integers(GAP_BUCKETS, size=length),
        np.zeros(length, dtype=np.int64),
        np.ones(length),
        np.ones(length, dtype=np.bool_),
        length - 1,
    )


def _median_ms(work: Callable[[], object], rounds: int) -> float:
    """Return the median of the processor time that something takes in this thread."""
    taken = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return 1_000 * float(np.median(taken))


def _private_mib() -> float:
    """Return the memory of this process that it shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    private = [line.split() for line in lines if line.startswith("Private_")]
    return sum(int(kib) for _, kib, _ in private) / 1_024


if __name__ == "__main__":
    typer.run(main)
