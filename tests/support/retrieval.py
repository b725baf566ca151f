"""A catalogue of random items with counts and users, for tests of retrieval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config import ModelSizes, RetrievalConfig, RowRates
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable
from pipeline.model.mixer import FEATURES, INITIAL_WEIGHTS, blend
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts, score_contexts
from pipeline.retrieval.candidates import NO_SAMPLES, Retrieved, Samples, score_candidates
from pipeline.retrieval.retriever import Retriever
from pipeline.state.covisitation import DecayedCovisitation
from pipeline.state.popularity import DecayedPopularity
from tests.support.build import as_pairs, segment

CPU = torch.device("cpu")
KIND = 12
"""Items whose texts are alike."""


@dataclass
class RetrievalHarness:
    """Everything that scores n items, and the contexts of m targets."""

    recommender: Recommender
    table: ItemTable
    covisitation: DecayedCovisitation
    popularity: DecayedPopularity
    weights: Tensor
    contexts: Contexts

    def in_full(self) -> Tensor:
        """Blended scores ``[m, n]`` of all items, less what is the same for all items of a target."""
        outputs = score_contexts(self.contexts, self.recommender, self.table.padded(), self.popularity)
        blended = torch.cat([blend(self.weights, given) for given in outputs])
        return blended - blended.logsumexp(dim=1, keepdim=True)

    def retrieve(self, config: RetrievalConfig, samples: Samples = NO_SAMPLES) -> Retrieved:
        """The candidates of the targets."""
        retriever = Retriever(config)
        retriever.update(0, self.table, self.popularity)
        found = [
            *retriever.retrieve(self.contexts, self.recommender, self.weights, self.table.all(), samples)
        ]
        assert len(found) == 1
        return found[0]

    def score(self, found: Retrieved) -> tuple[Tensor, Tensor]:
        """Blended scores ``[m, c + s]`` of the candidates, and what no other item exceeds ``[m]``."""
        table = self.table
        outputs = score_candidates(
            self.contexts,
            found.candidates,
            self.recommender,
            table.all(),
            table.has_content,
            self.popularity,
        )
        bound = found.bound(self.weights[outputs.situation], self.contexts, outputs)
        blended = blend(self.weights, outputs)
        total = outputs.weighted(blended).logsumexp(dim=1, keepdim=True)
        return blended - total, bound - total.squeeze(1)


def retrieval_harness(
    backbone: Backbone, items: int, targets: int, seed: int = 0, *, texts: bool = True, look: int = 0
) -> RetrievalHarness:
    """Make random items, of which the first are the most popular, and users with three to nine acts each.

    Items have texts, if asked for, and a vector of `look` numbers beside them.
    """
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    sizes = ModelSizes(adapter_rank=4, vectors={"look": look} if look else {})
    recommender = Recommender(backbone, sizes, seed=0).eval()
    with torch.no_grad():
        recommender.adapter_out.normal_(0, 0.1, generator=generator)
        for parameter in recommender.fusion.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    table = ItemTable(backbone.width, CPU, RowRates(), backbone.width + look)
    table.grow(items)
    everything = torch.arange(items)
    if texts:
        kinds = torch.randn(1 + items // KIND, backbone.width + look, generator=generator)
        content = torch.randn(items, backbone.width + look, generator=generator) + kinds[everything // KIND]
        table.set_content(everything, torch.nn.functional.normalize(content, dim=1))
    table.apply(everything, torch.randn(items, backbone.width, generator=generator), torch.randn(items))
    covisitation, popularity = DecayedCovisitation(1e6, 500), DecayedPopularity(1e6)
    covisitation.grow(items)
    popularity.grow(items)
    segments = []
    for _ in range(targets):
        acts = (items * random.random(random.integers(3, 10)) ** 3).astype(np.int64)
        baskets = np.cumsum(random.random(acts.size) < 0.3)
        segments.append(segment(acts.tolist(), first_new=acts.size - 1, baskets=baskets.tolist()))
        covisitation.fold(*as_pairs((acts[:place], int(acts[place])) for place in range(1, acts.size)))
        popularity.fold(acts, np.ones(acts.size))
    users = torch.nn.functional.normalize(torch.randn(targets, backbone.width, generator=generator), dim=1)
    contexts = Contexts.of(segments, users, covisitation, items)
    weights = torch.tensor(INITIAL_WEIGHTS) + 0.2 * torch.rand(
        len(INITIAL_WEIGHTS), len(FEATURES), generator=generator
    )
    return RetrievalHarness(recommender, table, covisitation, popularity, weights, contexts)
