"""Measure the gain of the single forward pass: our learner and a plain one on the same events, in turn.

The plain learner is a direct implementation with transformers, peft and torch: the same layer of
the same language model with the same LoRA, item embeddings that start as the same content
vectors, one (last 20 items, target) pair per row, full softmax, AdamW on all parameters. Like
ours, it is scored by the forward pass that it learns from. It also uses oneDNN products and
eager attention as ours does: together they make it twice as fast on an AMD core as the defaults
of torch and transformers, which `--stock` restores; either alone gains nothing.

Its settings are the best of those tried on the first 8,000 purchases of Online Retail, by
HR@20: rate 3e-3 (.291), of 1e-4 (.264), 3e-4 (.277), 1e-3 (.284) and 1e-2 (.191). At 1e-3:
another rate for the embeddings, 1e-4 (.274) or 3e-3 (.291); the mean over the history
instead of its last act (.136); items not scaled by √d (.251); no positions (.284). At 3e-3:
a bias an item (.291), a scale of 20 (.285).
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Quality, Scores, empty_scores, rank_targets
from pipeline.events import Interaction, Item
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import fast_products, use_device
from pipeline.state.histories import Act
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.segments import begins_basket
from pipeline.training.cohorts import COLD_BELOW
from pipeline.training.learner import Learner

SHOP = "shop:seed=0,events={limit}"
BATCH = 256
TOKENS = 24
CPU = torch.device("cpu")
SHOWN = {"ours, mixture": ("ours", "mixture"), "ours, model": ("ours", "model"), "plain": ("plain", "plain")}
SLICES = ("all", "first_of_basket")
FIGURES = ("hr@20", "mrr@20", "ndcg@20")


@dataclass(frozen=True)
class PlainConfig:
    """Settings of the plain learner; the module docstring lists what was tried."""

    history: int = 20
    lora_rank: int = 8
    lora_alpha: int = 16
    rate: float = 3e-3
    weight_decay: float = 1e-4
    clip: float = 5.0
    scale: float = 10.0
    stock: bool = False


@dataclass(frozen=True)
class Pair:
    """One row of the plain learner: history with the latest item first, the target, and its slices."""

    history: list[int]
    target: int
    opens: bool
    cold: bool


class PlainModel(nn.Module):
    """Maps the last items to logits over the catalogue: embeddings, one pretrained layer, projection."""

    def __init__(self, backbone: Backbone, content: Tensor, config: PlainConfig) -> None:
        super().__init__()
        count, width = content.shape
        with_padding = torch.cat([content, content.new_zeros(1, width)])
        self.items = nn.Embedding(count + 1, width, padding_idx=count, _weight=with_padding)
        self.encoder = _last_layer_with_lora(backbone, config)
        self.projection = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.projection.weight)
        self.log_scale = nn.Parameter(torch.tensor(config.scale).log())

    def forward(self, histories: Tensor) -> Tensor:
        """Return logits ``[m, n]`` after histories ``[m, t]``, latest item first, padded at the end."""
        padding = self.items.num_embeddings - 1
        root = math.sqrt(self.items.embedding_dim)
        seen = (histories != padding).long()
        hidden = self.encoder(inputs_embeds=root * self.items(histories), attention_mask=seen)
        users = self.projection(hidden.last_hidden_state[:, 0]) / root
        logits: Tensor = self.log_scale.exp() * (users @ self.items.weight[:padding].T)
        return logits


class PlainLearner:
    """Tests, then trains, on one (history, target) pair per event."""

    def __init__(self, model: PlainModel, row: Callable[[str], int], config: PlainConfig) -> None:
        self._config = config
        self._row = row
        self._padding = model.items.num_embeddings - 1
        self._model = model.eval()
        self._learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._learned, lr=config.rate, weight_decay=config.weight_decay)
        self._histories: dict[str, list[int]] = defaultdict(list)
        self._last: dict[str, Act] = {}
        self._acts = np.zeros(self._padding, dtype=np.int64)

    def score_and_learn(self, events: list[Interaction]) -> Scores | None:
        """Score the events with the current model, then learn them; None if there are no targets."""
        pairs = list(self._pairs(events))
        if not pairs:
            return None
        width = max(len(pair.history) for pair in pairs)
        histories = [pair.history + [self._padding] * (width - len(pair.history)) for pair in pairs]
        targets = torch.tensor([pair.target for pair in pairs])
        log_probabilities = torch.log_softmax(self._model(torch.tensor(histories)), dim=1)
        by_scorer = {"plain": rank_targets(log_probabilities.detach(), targets)}
        loss = nll_loss(log_probabilities, targets)
        self._step(loss)
        return replace(empty_scores(), by_scorer=by_scorer, slices=_slices(pairs), loss=float(loss.detach()))

    def _pairs(self, events: list[Interaction]) -> Iterator[Pair]:
        for event in events:
            item, act, history = self._row(event.item), Act.of(event), self._histories[event.user]
            if history:  # both sources have wanted acts only
                opens = begins_basket(self._last[event.user], act)
                yield Pair(list(history), item, opens, bool(self._acts[item] < COLD_BELOW))
            self._histories[event.user] = [item, *history][: self._config.history]
            self._last[event.user] = act
            self._acts[item] += 1

    def _step(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._learned, self._config.clip)
        self._optimizer.step()


@dataclass
class Timed:
    """A learner's quality, and the seconds of each batch."""

    quality: Quality = field(default_factory=Quality)
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self, step: Callable[[], Scores | None]) -> None:
        """Time one batch."""
        wall, processor = time.perf_counter(), time.process_time()
        scores = step()
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)
        if scores is not None:
            self.quality.add(scores)


def main(
    data: Annotated[str | None, typer.Option(help="Path of a data set; default: a simulated shop.")] = None,
    limit: Annotated[int, typer.Option(help="Number of interactions to learn.")] = 39_000,
    seed: Annotated[int, typer.Option(help="Seed of adapters, negatives and replay.")] = 0,
    stock: Annotated[bool, typer.Option("--stock", help="Give the plain learner torch defaults.")] = False,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Run our learner and a plain one on the same events, batch by batch in turn, on one thread.

    Both know all items of the data before the first interaction, and rank all of them; a user's
    first event is not scored. Content vectors are computed before the clock starts.
    """
    use_device("cpu", threads=1)
    source = data or SHOP.format(limit=limit)
    items, interactions = _read(source, limit)
    ours, plain = race(items, interactions, seed, PlainConfig(stock=stock), cache)
    about = {"data": source, "stock": stock, "seed": seed, "items": len(items), "machine": _machine()}
    figures = about | _figures(ours, plain, len(interactions))
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")
    _show(figures)


def race(
    items: list[Item], interactions: list[Interaction], seed: int, config: PlainConfig, cache: Path
) -> tuple[Timed, Timed]:
    """Let both learn the same batches in turn; return the results of ours and of the plain one."""
    backbone = load_backbone()
    encoder = TextEncoder(backbone, cache, TOKENS, CPU)
    ours = Learner(LearnerConfig(seed=seed), backbone, encoder, CPU)
    ours.score_and_learn(MicroBatch(0, 0, items, []))
    torch.manual_seed(seed)
    model = PlainModel(backbone, ours.table.all().content.float(), config)  # it learns in full precision
    plain = PlainLearner(model, ours.stream.catalogue.row, config)
    learn_plainly = plain.score_and_learn if config.stock else fast_products()(plain.score_and_learn)
    of_ours, of_plain = Timed(), Timed()
    for step, start in enumerate(range(0, len(interactions), BATCH), start=1):
        events = interactions[start : start + BATCH]
        batch = MicroBatch(0, step, [], events)
        turns = [
            partial(of_ours.run, partial(ours.score_and_learn, batch)),
            partial(of_plain.run, partial(learn_plainly, events)),
        ]
        for turn in turns if step % 2 else turns[::-1]:
            turn()
    return of_ours, of_plain


def _read(source: str, limit: int) -> tuple[list[Item], list[Interaction]]:
    """Read the first `limit` interactions, and all items up to the last of them."""
    items: dict[str, Item] = {}
    interactions: list[Interaction] = []
    for event in open_dataset(source).events():
        if isinstance(event, Item):
            items[event.item] = event
        if isinstance(event, Interaction):
            interactions.append(event)
        if len(interactions) == limit:
            break
    return list(items.values()), interactions


def _last_layer_with_lora(backbone: Backbone, config: PlainConfig) -> nn.Module:
    model: Any = copy.deepcopy(backbone.model)
    model.encoder.layer = model.encoder.layer[-1:]
    model.pooler = None
    if not config.stock:
        model.set_attn_implementation("eager")
    targets = ["query", "key", "value", "dense"]
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=targets)
    adapted: nn.Module = get_peft_model(model, lora)
    return adapted


def _slices(pairs: list[Pair]) -> dict[str, NDArray[np.bool_]]:
    return {
        "all": np.ones(len(pairs), dtype=np.bool_),
        "first_of_basket": np.array([pair.opens for pair in pairs]),
        "cold": np.array([pair.cold for pair in pairs]),
    }


def _figures(ours: Timed, plain: Timed, events: int) -> dict[str, Any]:
    """Compute speeds, their ratios (of the totals, and quartiles over batches) and quality."""
    by_batch = np.quantile(np.array(plain.wall) / np.array(ours.wall), [0.25, 0.5, 0.75])
    return {
        "events": events,
        "events_per_second": {"ours": events / sum(ours.wall), "plain": events / sum(plain.wall)},
        "ratio_wall": sum(plain.wall) / sum(ours.wall),
        "ratio_cpu": sum(plain.processor) / sum(ours.processor),
        "ratio_by_batch_quartiles": by_batch.round(3).tolist(),
        "quality": {"ours": ours.quality.report(), "plain": plain.quality.report()},
    }


def _machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    _, _, named = text.partition("model name")
    return {
        "cpu": named.partition(":")[2].partition("\n")[0].strip() or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _show(figures: dict[str, Any]) -> None:
    speeds = figures["events_per_second"]
    title = "{events:,} events of {data}, {items:,} items, seed {seed}".format_map(figures)
    table = Table("", *SHOWN, title=title)
    table.add_row("events/s", *(f"{speeds[learner]:,.0f}" for learner, _ in SHOWN.values()))
    for name, figure in itertools.product(SLICES, FIGURES):
        means = [figures["quality"][learner][scorer][name][figure] for learner, scorer in SHOWN.values()]
        table.add_row(f"{name}, {figure}", *("-" if mean is None else f"{mean:.4f}" for mean in means))
    speed = (
        "ours learns {ratio_wall:.2f} times as many events/s ({ratio_cpu:.2f} by CPU time; "
        "quartiles over batches {ratio_by_batch_quartiles})"
    )
    machine = ", ".join(f"{name} {value}" for name, value in figures["machine"].items())
    Console().print(table, speed.format_map(figures), machine, sep="\n")


if __name__ == "__main__":
    typer.run(main)
