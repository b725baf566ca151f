"""Will a user like a film? Learned from few examples: TALLRec's protocol (Bao et al. 2023) on MovieLens.

    python -m benchmarks.few_shot /work/shared/data/ml-latest-small

The latest 10,000 ratings by time are cut 8:1:1 into examples to learn from, to choose settings on, and to
test. An example is a rating with the ten before it of the same user; one above 3 is a like. k examples are
drawn from the first part, with several seeds. The ratings before the 10,000 are unlabelled: who watched what,
in order.

- *tower*: the production learner after these histories, without any value, whose tower then reads likes and
  dislikes as types of acts; a linear head on its logit and its vectors, and the LoRA, learn the k examples.
- *ratings*: the learner of ratings, which learns the likes of the k examples as ratings of 1 and 0.
- *SASRec*: a transformer on ids, which learns the k examples; it reads likes, or, as published, does not.
- the share of the history that was liked, which learns nothing.

Whoever learns does so from all acts of an example: each is predicted from those before it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.retrains import BATCH, new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import RatingsConfig
from pipeline.datasets import open_dataset
from pipeline.events import Interaction, InteractionType, Item
from pipeline.model.backbone import sharing_copy
from pipeline.model.item_table import ItemTable
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.ratings.acts import UserRatings
from pipeline.ratings.learner import RatingLearner
from pipeline.ratings.model import RatedItems, predicted
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.segments import TYPE_NUMBERS, Segment
from pipeline.training.learner import Learner

HISTORY, RECENT, LEARNED, CHOSEN = 10, 10_000, 8_000, 9_000
LIKED_ABOVE = 3.0
LIKE, DISLIKE = (TYPE_NUMBERS[kind] for kind in (InteractionType.LIKE, InteractionType.DISLIKE))
STEPS, EXAMPLES_AT_ONCE, DECAY, CLIP = 60, 16, 0.1, 5.0
SLOW, FAST, ID_RATE = 1e-4, 3e-2, 1e-2
"""AdamW's rates of the tower's LoRA and adapters, of what is new (the head, and the types of acts), and of
SASRec: the best of three each on the examples to choose on."""
ID_WIDTH, SHARE = 64, "liked share of the history"
PUBLISHED = {16: 0.672, 64: 0.675, 256: 0.720}
"""TALLRec-7B on ML-100K, which is other data."""

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Examples(NamedTuple):
    """n examples: each ten acts and the target after them.

    Attributes:
        rows: ``[n, 11]`` catalogue rows, oldest first.
        liked: ``[n, 11]`` whether each was liked.
        users: ``[n]`` names.
    """

    rows: Rows
    liked: NDArray[np.bool_]
    users: NDArray[np.str_]

    def select(self, chosen: Rows) -> Examples:
        """Return some of them."""
        return Examples(self.rows[chosen], self.liked[chosen], self.users[chosen])


class Data(NamedTuple):
    """Catalogue, unlabelled interactions, and examples to learn, to choose settings on, and to test."""

    items: list[Item]
    unlabelled: list[Interaction]
    learned: Examples
    chosen: Examples
    tested: Examples


Groups = list[tuple[list[nn.Parameter], float]]
"""Parameters and their rates."""
Predict = Callable[[Examples], Floats]
"""Scores ``[n]`` of examples: the higher, the likelier is a like."""
Fit = Callable[[Examples, int], Predict]
"""Learns examples, with a seed."""


def main(
    data: Annotated[str, typer.Argument(help="Folder of MovieLens.")],
    k: Annotated[list[int], typer.Option(help="Numbers of labelled examples.")] = [16, 64, 256],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each number.")] = 3,
    unlabelled: Annotated[int, typer.Option(help="Latest interactions before the examples.")] = 6_000,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Print the AUC of each way on the same test examples; some minutes on one thread."""
    learners = [new_learner(cache) for _ in range(3)]
    known = read(data, unlabelled, learners[0].stream.catalogue.row)
    figures = compared(known, learners, k, seeds)
    if report:
        listed = {name: [found.tolist() for found in by_k] for name, by_k in figures.items()}
        report.write_text(json.dumps(listed, indent=2) + "\n")
    Console(width=120).print(_table(figures, k))
    tested = known.tested
    sizes = " / ".join(f"{len(part.rows):,}" for part in (known.learned, known.chosen, tested))
    Console(width=120).print(
        f"{sizes} examples to learn, choose on, test; the last of {len(set(tested.users))} users, "
        f"{tested.liked[:, -1].mean():.1%} liked. ± is the standard deviation over {seeds} draws"
    )


def compared(
    data: Data, learners: Sequence[Learner], ks: Sequence[int], seeds: int
) -> dict[str, list[Floats]]:
    """Return the AUC of each way on the test examples: an array over draws for each k.

    The three learners are new; they number the items as the examples do, because the catalogue comes first.
    """
    tested, yes = data.tested, data.tested.liked[:, -1]
    constant = np.full(seeds, auc(tested.liked[:, :-1].mean(axis=1), yes))
    found: dict[str, list[Floats]] = {SHARE: [constant for _ in ks]}
    for name, fit in track(ways(data, learners).items()):
        found[name] = [
            np.array([auc(fit(drawn(data.learned, k, seed), seed)(tested), yes) for seed in range(seeds)])
            for k in ks
        ]
    return found


def drawn(examples: Examples, k: int, seed: int) -> Examples:
    """Draw k examples."""
    chosen = np.random.default_rng([seed, k]).choice(len(examples.rows), k, replace=False)
    return examples.select(chosen)


def ways(data: Data, learners: Sequence[Learner]) -> dict[str, Fit]:
    """Return what is compared; the three learners are new."""
    ours = pretrained(learners[0], data)
    untrained = pretrained(learners[1], data._replace(unlabelled=[]))
    ids = pretrained(learners[2], data, texts=False)
    size, content = len(ours.table), ours.table.all().content.double().numpy()
    return {
        "SASRec, ids": partial(fitted, partial(IdModel, size, False)),
        "SASRec, ids and likes": partial(fitted, partial(IdModel, size, True)),
        "tower": partial(fitted, partial(TowerModel, ours)),
        "tower without texts": partial(fitted, partial(TowerModel, ids)),
        "tower without unlabelled histories": partial(fitted, partial(TowerModel, untrained)),
        "ratings": partial(by_ratings, content),
    }


def read(data: str, unlabelled: int, row: Callable[[str], int], recent: int = RECENT) -> Data:
    """Read a data set's ratings and cut them by time; `row` numbers the items."""
    items, ratings = list[Item](), list[Interaction]()
    for event in open_dataset(data).events():
        if isinstance(event, Item):
            items.append(event)
        elif isinstance(event, Interaction):
            ratings.append(event)
    for item in items:
        row(item.item)
    before = ratings[: len(ratings) - recent]
    bare = [one.model_copy(update={"type": InteractionType.VIEW, "value": None}) for one in before]
    ends = [recent * end // RECENT for end in (0, LEARNED, CHOSEN, RECENT)]
    parts = (
        examples_in(ratings, len(before) + start, len(before) + end, row)
        for start, end in zip(ends, ends[1:], strict=False)
    )
    return Data(items, bare[len(bare) - unlabelled :], *parts)


def examples_in(ratings: Sequence[Interaction], start: int, end: int, row: Callable[[str], int]) -> Examples:
    """Return the ratings from `start` to `end` that have ten of the same user before them."""
    acts: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    found, users = list[list[tuple[int, bool]]](), list[str]()
    for number, rating in enumerate(ratings[:end]):
        own = acts[rating.user]
        own.append((row(rating.item), (rating.value or 0.0) > LIKED_ABOVE))
        if number >= start and len(own) > HISTORY:
            found.append(own[-HISTORY - 1 :])
            users.append(rating.user)
    pairs = np.array(found, dtype=np.int64).reshape(-1, HISTORY + 1, 2)
    return Examples(pairs[..., 0], pairs[..., 1].astype(bool), np.array(users))


def pretrained(learner: Learner, data: Data, texts: bool = True) -> Learner:
    """Let a learner learn the unlabelled histories; without texts, an item is its id alone."""
    items = data.items if texts else [Item(item=item.item, title="") for item in data.items]
    learner.score_and_learn(MicroBatch(0, 0, items, []))
    for step, start in enumerate(range(0, len(data.unlabelled), BATCH), start=1):
        learner.score_and_learn(MicroBatch(0, step, [], data.unlabelled[start : start + BATCH]))
    return learner


class LikeModel(Protocol):
    """Predicts likes; a module whose parameters have rates of their own."""

    def __call__(self, examples: Examples) -> Tensor:
        """Compute the logit of a like after each act but the last: ``[n, 10]``."""
        ...

    def groups(self) -> Groups:
        """Return what learns, with the rates."""
        ...


class LikeHead(nn.Module):
    """A linear head on the logit of the next item, the user vector and the item vector, of width d."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_logit = nn.Linear(1, 1)
        self.of_vectors = nn.Linear(2 * width, 1, bias=False)
        with torch.no_grad():
            for part in self.parameters():
                part.zero_()

    def forward(self, logits: Tensor, users: Tensor, vectors: Tensor) -> Tensor:
        """Compute logits of a like ``[m]`` from logits ``[m]`` and vectors ``[m, d]``."""
        both = torch.cat([users, vectors], dim=1)
        likes: Tensor = self.of_logit(logits.unsqueeze(1)) + self.of_vectors(both)
        return likes.squeeze(1)


class TowerModel(nn.Module):
    """A learner's tower, which reads likes and dislikes, with a head; what is frozen stays the learner's."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.recommender: Recommender = sharing_copy(learner.recommender)
        self.head = LikeHead(learner.encoder.width)
        self._table: ItemTable = learner.table

    def groups(self) -> Groups:
        """Return what learns, with the rates."""
        types = set(self.recommender.tower.of_type.parameters())
        slow = [part for part in self.recommender.learned().values() if part not in types]
        return [(slow, SLOW), ([*self.head.parameters(), *types], FAST)]

    def forward(self, examples: Examples) -> Tensor:
        """Compute the logit of a like after each act but the last: ``[n, 10]``."""
        with torch.no_grad():
            rows = self._table.rows(torch.from_numpy(examples.rows.flatten()))
        shape = *examples.rows.shape, -1
        vectors = self.recommender.item_vectors(rows).view(shape)
        packed = pack([*map(_segment, examples.rows[:, :-1], examples.liked[:, :-1])], vectors.device)
        users = self.recommender.user_vectors(vectors[:, :-1].flatten(0, 1), packed)
        targets, bias = vectors[:, 1:].flatten(0, 1), rows.bias.view(shape[:2])[:, 1:].flatten()
        logits = self.recommender.own_logits(users, targets, bias)
        likes: Tensor = self.head(logits, users, targets)
        return likes.view(-1, HISTORY)


def _segment(rows: Rows, liked: NDArray[np.bool_]) -> Segment:
    """Make a Segment of acts that were liked or not."""
    none, ones = np.zeros_like(rows), np.ones(rows.shape)
    types = np.where(liked, LIKE, DISLIKE)
    return Segment(rows, types, none, none, none, ones, ones.astype(bool), first_new=0)


class IdModel(nn.Module):
    """SASRec (Kang & McAuley 2018) on ids alone, or on ids and whether they were liked."""

    def __init__(self, size: int, reads_likes: bool) -> None:
        super().__init__()
        self.items = nn.Embedding(size, ID_WIDTH)
        self.positions = nn.Embedding(HISTORY, ID_WIDTH)
        self.likes = nn.Embedding(2, ID_WIDTH)
        self.layer = nn.TransformerEncoderLayer(ID_WIDTH, 2, ID_WIDTH, 0.0, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.items.weight, std=ID_WIDTH**-0.5)
        self._reads_likes = reads_likes

    def groups(self) -> Groups:
        """Return what learns, with the rate."""
        return [(list(self.parameters()), ID_RATE)]

    def forward(self, examples: Examples) -> Tensor:
        """Compute the logit of a like after each act but the last: ``[n, 10]``."""
        rows, liked = torch.from_numpy(examples.rows), torch.from_numpy(examples.liked)
        acts = self.items(rows[:, :-1]) + self.positions.weight
        if self._reads_likes:
            acts = acts + self.likes(liked[:, :-1].long())
        mask = nn.Transformer.generate_square_subsequent_mask(HISTORY)
        users = self.layer(acts, src_mask=mask, is_causal=True)
        logits: Tensor = (users * self.items(rows[:, 1:])).sum(dim=2) + self.bias
        return logits


def fitted(make: Callable[[], LikeModel], examples: Examples, seed: int) -> Predict:
    """Let a model learn examples by binary cross-entropy over all their acts."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    random, groups = np.random.default_rng(seed), model.groups()
    optimizer = torch.optim.AdamW(
        [{"params": parts, "lr": rate} for parts, rate in groups], weight_decay=DECAY
    )
    for _ in range(STEPS):
        drawn = examples.select(random.permutation(len(examples.rows))[:EXAMPLES_AT_ONCE])
        loss = binary_cross_entropy_with_logits(model(drawn), torch.from_numpy(drawn.liked[:, 1:]).float())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([part for parts, _ in groups for part in parts], CLIP)
        optimizer.step()
    return partial(_predicted, model)


@torch.inference_mode()
def _predicted(model: LikeModel, examples: Examples) -> Floats:
    parts = np.array_split(np.arange(len(examples.rows)), -(-len(examples.rows) // 64))
    scores: Floats = torch.cat([model(examples.select(part))[:, -1] for part in parts]).double().numpy()
    return scores


def by_ratings(content: Floats, examples: Examples, _: int) -> Predict:
    """Let the learner of ratings learn the likes of examples as ratings of 1 and 0."""
    config = RatingsConfig(lowest=0.0, highest=1.0)
    learner = RatingLearner(config, content.shape[1])
    learner.grow(len(content))
    values = examples.liked.astype(float)
    learner.learn(
        (UserRatings(rows, own, 0, 0) for rows, own in zip(examples.rows, values, strict=True)),
        lambda rows: content[rows],
    )

    def predict(asked: Examples) -> Floats:
        pairs = zip(asked.rows, asked.liked[:, :-1].astype(float), strict=True)
        found = [
            predicted(learner.head, RatedItems(content[rows], learner.effects(rows)), own, config)
            for rows, own in pairs
        ]
        return np.array(found)

    return predict


def auc(scores: Floats, yes: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; ties count half."""
    ranks, n = rankdata(scores), int(yes.sum())
    return float((ranks[yes].sum() - n * (n + 1) / 2) / (n * (len(yes) - n)))


def _table(figures: dict[str, list[Floats]], ks: Sequence[int]) -> Table:
    table = Table("AUC", *(f"k = {k}" for k in ks))
    for name, by_k in figures.items():
        table.add_row(name, *(f"{found.mean():.3f} ±{found.std():.3f}" for found in by_k))
    table.add_row(
        "TALLRec-7B, published for ML-100K", *(f"{PUBLISHED[k]:.3f}" if k in PUBLISHED else "" for k in ks)
    )
    return table


if __name__ == "__main__":
    typer.run(main)
