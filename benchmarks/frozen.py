"""Measure one list a user from a state that stands still, against what the user buys next.

The production learner learns the first purchases, up to each of several cuts. There each known user
gets one list for a new visit, by the code that a server ranks with, and the user's purchases among
the next ones are looked up in it: the first of them, and the share of all distinct ones. Bought items
are *allowed* in the lists, or *excluded* from them; or also from what is looked up, which is *new*.
*discovery* is the mixture with the weights that a server takes where they are excluded.

Beside the learner's scorers stand lists by item cosine, by how many users have bought both items
(Sarwar et al. 2001): the sum over the user's items, and the same with the cosine 1 of an item with
itself.

The learner has the settings of the working directory and the environment, but for the seed. A figure is
the mean over all users at all cuts, and over seeds. Its standard error takes a user at several cuts for
one observation.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.retrains import learn_all, new_learner, numbered
from pipeline.cli.terminal import ReportOption
from pipeline.config import Settings
from pipeline.datasets import open_dataset
from pipeline.events import Event, Interaction, InteractionType, Item
from pipeline.model.mixer import DISCOVERY
from pipeline.model.scoring import users_before_last
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

LENGTH = 20
"""Items of a list."""
VISIT = "a new visit"
"""A session that no recorded act has."""
FIRST_CUT, CUTS, BETWEEN, NEXT = 30_000, 5, 10_000, 9_000
MIXTURE, DISCOVERED = "mixture", "discovery"
REFERENCE, ITSELF = "item cosine", "item cosine + self"
FIGURES = tuple(map(" ".join, itertools.product(("allowed", "excluded", "new"), ("hr", "recall"))))
Floats = NDArray[np.float64]


class Buyer(NamedTuple):
    """A user at a cut: catalogue rows bought before it, and next, both in order and possibly repeated."""

    user: str
    before: NDArray[np.int64]
    following: NDArray[np.int64]


class Found(NamedTuple):
    """The `FIGURES` ``[m, 6]`` of m users by scorer; NaN where there are none."""

    users: list[str]
    by_scorer: dict[str, Floats]


def main(
    data: Annotated[Path, typer.Option(help="Folder or file of Online Retail.")],
    first: Annotated[int, typer.Option(help="Purchases before the first cut.")] = FIRST_CUT,
    cuts: Annotated[int, typer.Option(help="Number of cuts.")] = CUTS,
    between: Annotated[int, typer.Option(help="Purchases from one cut to the next.")] = BETWEEN,
    following: Annotated[int, typer.Option(help="Purchases after a cut that are looked up.")] = NEXT,
    seeds: Annotated[int, typer.Option(help="Number of seeds of the learner.")] = 1,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Learn up to each cut and show what the lists of the users there find, on one thread."""
    last = first + (cuts - 1) * between
    items, events = recorded(open_dataset(str(data)).events(), last + following)
    stops = range(first, last + 1, between)
    by_seed = [
        at_cuts(new_learner(cache, Settings().learn.replace(seed=seed)), items, events, stops, following)
        for seed in range(seeds)
    ]
    found = [mean_of(same_cut) for same_cut in zip(*by_seed, strict=True)]
    if report:
        figures = {str(cut): _means(one) for cut, one in zip(stops, found, strict=True)}
        report.write_text(json.dumps({"figures": FIGURES, "by_cut": figures}, indent=2) + "\n")
    for cut, one in zip(stops, found, strict=True):
        show(f"after {cut:,}", [one])
    show(f"all {cuts} cuts", found)


def recorded(events: Iterable[Event], limit: int) -> tuple[list[Item], list[Interaction]]:
    """Return the catalogue before the first interaction, and so many interactions."""
    items, acts = list[Item](), list[Interaction]()
    for event in events:
        if isinstance(event, Item):
            items.append(event)
        if isinstance(event, Interaction):
            acts.append(event)
        if len(acts) == limit:
            break
    return items, acts


def at_cuts(
    learner: Learner,
    items: Sequence[Item],
    events: Sequence[Interaction],
    stops: Sequence[int],
    following: int,
) -> list[Found]:
    """Learn events up to each stop, and look up what is next in the lists that users get there."""
    learner.score_and_learn(MicroBatch(0, 0, items, []))
    found, steps = list[Found](), itertools.count(1)
    for start, stop in zip([0, *stops], stops, strict=False):
        learn_all(learner, numbered(events[start:stop], steps))
        found.append(at_cut(learner, events[:stop], events[stop : stop + following]))
    return found


def at_cut(learner: Learner, past: Sequence[Interaction], following: Sequence[Interaction]) -> Found:
    """Look up what is next in the lists of users with a past, by each scorer."""
    buyers = buyers_of(learner, past, following)
    matrix = bought(past, learner)
    cosines = item_cosines(matrix)
    scores = {
        **scores_of(learner, [buyer.user for buyer in buyers]),
        REFERENCE: cosine_scores(cosines, buyers),
        ITSELF: cosine_scores(cosines + sp.eye_array(cosines.shape[0]), buyers),
    }
    by_scorer = {name: figures_of(of_all, buyers) for name, of_all in scores.items()}
    return Found([buyer.user for buyer in buyers], by_scorer)


def buyers_of(learner: Learner, past: Sequence[Interaction], following: Sequence[Interaction]) -> list[Buyer]:
    """Return the users who have bought before and buy next, in the order of their next purchases."""
    before, after = (_purchases(events, learner) for events in (past, following))
    known = [user for user in after if user in before and learner.stream.segment_before_next(user)]
    return [Buyer(user, np.array(before[user]), np.array(after[user])) for user in known]


def _purchases(events: Iterable[Interaction], learner: Learner) -> dict[str, list[int]]:
    found = dict[str, list[int]]()
    for event in events:
        if event.type is InteractionType.PURCHASE:
            found.setdefault(event.user, []).append(learner.stream.catalogue.row(event.item))
    return found


@torch.inference_mode()
def scores_of(learner: Learner, users: Sequence[str]) -> dict[str, Floats]:
    """Score all n items by each of the learner's scorers for a new visit of users: ``[m, n]``."""
    visits = (learner.stream.segment_before_next(user, VISIT) for user in users)
    segments = [visit for visit in visits if visit]
    rows, context = learner.table.all(), learner.config.segments.context
    before = users_before_last(segments, learner.recommender, rows, context)
    parts: dict[str, list[Tensor]] = {}
    for outputs in learner.scorer_outputs(segments, before):
        mixed = learner.mixer.log_probabilities(outputs)
        discovered = learner.mixer.log_probabilities(
            replace(outputs, situation=torch.full_like(outputs.situation, DISCOVERY))
        )
        popular = outputs.popularity.expand_as(mixed)
        named = {"model": outputs.model, "covisitation": outputs.covisitation, "popularity": popular}
        for name, part in {**named, MIXTURE: mixed, DISCOVERED: discovered}.items():
            parts.setdefault(name, []).append(part)
    return {name: torch.cat(blocks).double().numpy() for name, blocks in parts.items()}


def bought(events: Iterable[Interaction], learner: Learner) -> sp.csr_array:
    """Return which user has bought which item: ``[users, n]``, of ones."""
    purchases = list(_purchases(events, learner).values())
    users = np.repeat(np.arange(len(purchases)), [len(rows) for rows in purchases])
    shape = len(purchases), len(learner.stream.catalogue)
    matrix = sp.csr_array((np.ones(users.size), (users, np.concatenate(purchases))), shape=shape)
    matrix.data[:] = 1
    return matrix


def item_cosines(matrix: sp.csr_array) -> sp.csr_array:
    """Return the cosines ``[n, n]`` of the columns, zero on the diagonal."""
    norms = np.sqrt(matrix.sum(axis=0))
    unit = matrix @ sp.diags_array(1 / np.maximum(norms, 1))
    cosines = sp.csr_array(unit.T @ unit)
    cosines.setdiag(0)
    return cosines


def cosine_scores(cosines: sp.csr_array, buyers: Sequence[Buyer]) -> Floats:
    """Sum the cosines of each user's items to all n items: ``[m, n]``."""
    scores: Floats = np.stack([cosines[np.unique(buyer.before)].sum(axis=0) for buyer in buyers])
    return scores


def figures_of(scores: Floats, buyers: Sequence[Buyer]) -> Floats:
    """Return `FIGURES` of each user, whose list is the best by scores ``[m, n]``: ``[m, 6]``."""
    found = np.full((len(buyers), len(FIGURES)), np.nan)
    for number, (own, buyer) in enumerate(zip(scores, buyers, strict=True)):
        others, is_new = own.copy(), ~np.isin(buyer.following, buyer.before)
        others[buyer.before] = -np.inf
        found[number, :4] = *_looked_up(own, buyer.following), *_looked_up(others, buyer.following)
        if is_new.any():
            found[number, 4:] = _looked_up(others, buyer.following[is_new])
    return found


def _looked_up(scores: Floats, following: NDArray[np.int64]) -> tuple[float, float]:
    """Whether the list has the first of the following items, and the share of distinct ones it has."""
    shown = np.argsort(-scores, kind="stable")[:LENGTH]
    return float(following[0] in shown), float(np.isin(np.unique(following), shown).mean())


def mean_of(found: Sequence[Found]) -> Found:
    """Average what different learners found for the same users."""
    named = found[0].by_scorer
    return Found(
        found[0].users, {name: np.mean([one.by_scorer[name] for one in found], axis=0) for name in named}
    )


def clustered(values: Floats, users: Sequence[str]) -> tuple[float, float]:
    """Return the mean of values ``[k]`` that are numbers, and its standard error, clustered by user."""
    known = ~np.isnan(values)
    _, numbers = np.unique(np.array(users)[known], return_inverse=True)
    mean = values[known].mean()
    sums = np.bincount(numbers, values[known] - mean)
    return float(mean), float(np.sqrt((sums**2).sum()) / known.sum())


def _means(found: Found) -> dict[str, list[float]]:
    return {name: np.nanmean(figures, axis=0).tolist() for name, figures in found.by_scorer.items()}


def show(title: str, found: Sequence[Found]) -> None:
    """Print the figures of users at some cuts, and the mixtures' differences from item cosine."""
    users = [user for one in found for user in one.users]
    joined = {name: np.concatenate([one.by_scorer[name] for one in found]) for name in found[0].by_scorer}
    table = Table("", *FIGURES)
    for name, figures in joined.items():
        table.add_row(name, *_cells(figures, users))
        if name in (MIXTURE, DISCOVERED):
            differences = {f"less {other}'s": figures - joined[other] for other in (REFERENCE, ITSELF)}
            for other, difference in differences.items():
                table.add_row(other, *_cells(difference, users, "+"))
    Console(width=140).print(f"{title}: {len(users)} lists of {len(set(users))} users", table)


def _cells(figures: Floats, users: Sequence[str], sign: str = "") -> Iterator[str]:
    for column in figures.T:
        mean, error = clustered(column, users)
        yield f"{mean:{sign}.3f} ±{error:.3f}"


if __name__ == "__main__":
    typer.run(main)
