"""Stage one of a retrain: the text encoder learns how the catalogue speaks, without supervision.

Masked language modelling (Devlin et al. 2019) on the items' texts, as pretraining is gone on
with in a domain (Gururangan et al. 2020). LoRA learns beside the backbone's layers; the head
is thrown away. The head learns first and alone: a random one would spoil what the layers know
(Kumar et al. 2022), and the loss would fall for the head's sake.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import safe_open
from safetensors.torch import save
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainingArguments,
)

from pipeline.atomic_files import replace_durably
from pipeline.config import LanguageConfig
from pipeline.errors import NothingToLearn
from pipeline.model.content.adapter import Adapter, adapter_digest, adapter_of
from pipeline.model.content.text import TextEncoder
from pipeline.retraining.training.masked_language_model import (
    Masked,
    MaskedLanguageModel,
    Masker,
    Tokens,
    masked_language_model,
    masked_loss,
)
from pipeline.training.rng import Purpose, random_for

log = logging.getLogger(__name__)

FILE = "language.safetensors"
HEADER = "learned"
HELD_OUT = 0.1
"""Share of the texts that nothing is learned from."""
MASKINGS = 4
"""Of each held-out text: titles are short, and one masking leaves most of their words out."""


@dataclass(frozen=True)
class LanguageResult:
    """What stage one came to.

    Attributes:
        adapter: of the best epoch; the one it began with if none was better.
        before, after: nats a masked token of held-out texts, under the adapter it began with
            and under this one; both with a trained head.
        seconds: spent.
    """

    adapter: Adapter
    before: float
    after: float
    seconds: float

    @property
    def figures(self) -> dict[str, float]:
        """As a judgement tells them."""
        return {"language.before": self.before, "language.after": self.after}


def learn_language(
    encoder: TextEncoder,
    texts: Sequence[str],
    config: LanguageConfig,
    seed: int,
    folder: Path,
    progress: Callable[[], None],
) -> LanguageResult:
    """Go on from an encoder's adapter to one that foresees held-out texts better, if there is one.

    Args:
        encoder: stays as it is.
        texts: of the catalogue; empty ones and duplicates count for nothing.
        config: how to learn.
        seed: of all randomness; the same gives the same bits.
        folder: an existing one, where the result is kept for whoever asks again.
        progress: called after every minibatch.

    Raises:
        InvalidSettings: the backbone is no masked language model.
        NothingToLearn: there are too few texts.
    """
    distinct = sorted(set(texts) - {""})
    task = hashlib.blake2b(digest_size=16)
    task.update(
        orjson.dumps(
            [config.model_dump(), seed, encoder.backbone_digest, adapter_digest(encoder.adapter), distinct]
        )
    )
    known = _read(folder / FILE, task.hexdigest())
    if known is None:
        with torch.random.fork_rng():
            known = _learned(encoder, distinct, config, seed, progress)
        _write(folder / FILE, task.hexdigest(), known)
    return known


def _learned(
    encoder: TextEncoder,
    texts: Sequence[str],
    config: LanguageConfig,
    seed: int,
    progress: Callable[[], None],
) -> LanguageResult:
    began = time.perf_counter()
    torch.manual_seed(seed)  # the head is born
    language_model = masked_language_model(encoder.backbone, encoder.adapter)
    training, held_out = _split(_tokens(encoder, texts), seed)
    masker = Masker(encoder.backbone.tokenizer, config.masked, seed)
    trials = _trials(masker, held_out, config.texts)
    arguments = partial(_arguments, config, seed, encoder.device)
    head = _Watch(language_model, trials, progress)
    _train(language_model, language_model.head, arguments, training, masker, head)
    both = _Watch(language_model, trials, progress, to_beat=head.losses[-1])
    _train(language_model, [*language_model.head, *language_model.lora], arguments, training, masker, both)
    before, after = head.losses[-1], min(head.losses[-1], *both.losses)
    log.info("masked language modelling: %.3f nats a token before, %.3f after", before, after)
    return LanguageResult(both.best or encoder.adapter, before, after, time.perf_counter() - began)


def _tokens(encoder: TextEncoder, texts: Sequence[str]) -> list[Tokens]:
    tokenizer = encoder.backbone.tokenizer
    found = tokenizer(
        list(texts), truncation=True, max_length=encoder.max_tokens, return_special_tokens_mask=True
    )
    return [{name: found[name][place] for name in found} for place in range(len(texts))]


def _split(tokens: list[Tokens], seed: int) -> tuple[list[Tokens], list[Tokens]]:
    """To learn from, and to be judged on."""
    order = random_for(seed, 0, 0, Purpose.RETRAIN_TEXTS).permutation(len(tokens))
    count = round(HELD_OUT * len(tokens))
    if count == 0:
        raise NothingToLearn(f"{len(tokens)} texts are too few to learn a language from")
    return [tokens[place] for place in order[count:]], [tokens[place] for place in order[:count]]


def _trials(masker: Masker, held_out: list[Tokens], size: int) -> list[Masked]:
    """Held-out texts with their masks, the same each time they are asked about."""
    held_out_maskings = held_out * MASKINGS
    return [
        masker(held_out_maskings[start : start + size]) for start in range(0, len(held_out_maskings), size)
    ]


class _Watch(TrainerCallback):
    """Measures after each epoch, keeps the best adapter, and ends what does not get better.

    Attributes:
        losses: after each epoch.
        best: the adapter of the epoch with the lowest loss; None if none is below `to_beat`.
    """

    def __init__(
        self,
        language_model: MaskedLanguageModel,
        trials: list[Masked],
        progress: Callable[[], None],
        to_beat: float = float("inf"),
    ) -> None:
        self.losses: list[float] = []
        self.best: Adapter | None = None
        self._language_model, self._trials, self._progress, self._lowest = (
            language_model,
            trials,
            progress,
            to_beat,
        )

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._progress()

    def on_epoch_end(
        self, args: TrainingArguments, state: object, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        loss = masked_loss(self._language_model.model, self._trials)
        self.losses.append(loss)
        if loss < self._lowest:
            self._lowest, self.best = loss, adapter_of(self._language_model.body)
        else:
            control.should_training_stop = True
        return control


def _train(
    language_model: MaskedLanguageModel,
    learning: list[torch.nn.Parameter],
    arguments: Callable[[str], TrainingArguments],
    texts: list[Tokens],
    masker: Masker,
    watch: _Watch,
) -> None:
    """Let some parameters learn, by transformers' own training loop."""
    language_model.model.requires_grad_(False)
    for part in learning:
        part.requires_grad_(True)
    with tempfile.TemporaryDirectory() as unused:
        model, callbacks = language_model.model, list[TrainerCallback]([watch])
        trainer = Trainer(
            model, arguments(unused), data_collator=masker, train_dataset=texts, callbacks=callbacks
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _arguments(config: LanguageConfig, seed: int, device: torch.device, folder: str) -> TrainingArguments:
    """Of a training that saves, reports and prints nothing."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.texts,
        learning_rate=config.rate,
        seed=seed,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def _write(path: Path, task: str, result: LanguageResult) -> None:
    figures = {"task": task, "before": result.before, "after": result.after, "seconds": result.seconds}
    replace_durably(path, save(dict(result.adapter), {HEADER: orjson.dumps(figures).decode()}))


def _read(path: Path, task: str) -> LanguageResult | None:
    """What is kept of this task, if anything."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        figures: Mapping[str, Any] = orjson.loads(file.metadata()[HEADER])
        if figures["task"] != task:
            return None
        adapter = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return LanguageResult(adapter, figures["before"], figures["after"], figures["seconds"])
