"""Stage one of a retrain: the text encoder learns the catalogue's language, without supervision.

Masked language modelling (Devlin et al. 2019) on the items' texts, as continued pretraining on
a domain (Gururangan et al. 2020). LoRA weights learn beside the backbone's layers; the head is
discarded. The head is trained first, alone: a random head would distort the pretrained layers
(Kumar et al. 2022), and the loss would fall because of the head.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainingArguments,
)

from pipeline.config import LanguageConfig
from pipeline.errors import NothingToLearn
from pipeline.model.content.adapter import Adapter, adapter_digest, adapter_of
from pipeline.model.content.text import TextEncoder
from pipeline.retraining.training.masked_language_model import (
    MaskedBatch,
    MaskedLanguageModel,
    Masker,
    TokenizedText,
    masked_language_model,
    masked_loss,
)
from pipeline.retraining.training.stored import read_stored, write_stored
from pipeline.training.rng import Purpose, random_for

log = logging.getLogger(__name__)

FILE = "language.progress"
HELD_OUT = 0.1
"""Share of the texts held out for validation."""
MASKINGS = 4
"""Maskings of each held-out text; titles are short, and one masking covers few of their words."""


@dataclass(frozen=True)
class LanguageResult:
    """The result of stage one.

    Attributes:
        adapter: of the best epoch; the initial one if no epoch was better.
        before, after: nats per masked token of held-out texts, with the initial adapter and
            with this one; both with a trained head.
        seconds: time spent.
    """

    adapter: Adapter
    before: float
    after: float
    seconds: float

    @property
    def figures(self) -> dict[str, float]:
        """The figures to record in a gate decision."""
        return {"language.before": self.before, "language.after": self.after}


def learn_language(
    encoder: TextEncoder,
    texts: Sequence[str],
    config: LanguageConfig,
    seed: int,
    folder: Path,
    progress: Callable[[], None],
) -> LanguageResult:
    """Train the encoder's adapter further; return the new one if it predicts held-out texts better.

    Args:
        encoder: not changed.
        texts: of the catalogue; empty texts and duplicates are ignored.
        config: how to learn.
        seed: of all randomness; the same seed gives the same bits.
        folder: an existing folder; the result is stored there and returned by a repeated call.
        progress: called after every minibatch.

    Raises:
        InvalidSettings: the backbone is not a masked language model.
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
            known = _train_adapter(encoder, distinct, config, seed, progress)
        _write(folder / FILE, task.hexdigest(), known)
    return known


def _train_adapter(
    encoder: TextEncoder,
    texts: Sequence[str],
    config: LanguageConfig,
    seed: int,
    progress: Callable[[], None],
) -> LanguageResult:
    began = time.perf_counter()
    torch.manual_seed(seed)  # for the head's random weights
    language_model = masked_language_model(encoder.backbone, encoder.adapter)
    training, held_out = _split(_tokens(encoder, texts), seed)
    masker = Masker(encoder.backbone.tokenizer, config.masked, seed)
    validation = _masked_batches(masker, held_out, config.texts)
    arguments = partial(_arguments, config, seed, encoder.device)
    head = _EpochValidation(language_model, validation, progress)
    _train(language_model, language_model.head, arguments, training, masker, head)
    both = _EpochValidation(language_model, validation, progress, to_beat=head.losses[-1])
    _train(language_model, [*language_model.head, *language_model.lora], arguments, training, masker, both)
    before, after = head.losses[-1], min(head.losses[-1], *both.losses)
    log.info("masked language modelling: %.3f nats a token before, %.3f after", before, after)
    return LanguageResult(both.best or encoder.adapter, before, after, time.perf_counter() - began)


def _tokens(encoder: TextEncoder, texts: Sequence[str]) -> list[TokenizedText]:
    tokenizer = encoder.backbone.tokenizer
    found = tokenizer(
        list(texts), truncation=True, max_length=encoder.max_tokens, return_special_tokens_mask=True
    )
    return [{name: found[name][index] for name in found} for index in range(len(texts))]


def _split(tokens: list[TokenizedText], seed: int) -> tuple[list[TokenizedText], list[TokenizedText]]:
    """Split into texts to train on and held-out texts."""
    order = random_for(seed, 0, 0, Purpose.RETRAIN_TEXTS).permutation(len(tokens))
    count = round(HELD_OUT * len(tokens))
    if count == 0:
        raise NothingToLearn(f"too few texts for masked language modelling: {len(tokens)}")
    return [tokens[index] for index in order[count:]], [tokens[index] for index in order[:count]]


def _masked_batches(masker: Masker, held_out: list[TokenizedText], size: int) -> list[MaskedBatch]:
    """Mask the held-out texts once, so that every epoch is validated on the same masks."""
    repeated = held_out * MASKINGS
    return [masker(repeated[start : start + size]) for start in range(0, len(repeated), size)]


class _EpochValidation(TrainerCallback):
    """Validates after each epoch, keeps the best adapter, and stops when the loss does not fall.

    Attributes:
        losses: validation loss after each epoch.
        best: the adapter of the epoch with the lowest loss; None if no loss is below `to_beat`.
    """

    def __init__(
        self,
        language_model: MaskedLanguageModel,
        validation: list[MaskedBatch],
        progress: Callable[[], None],
        to_beat: float = float("inf"),
    ) -> None:
        self.losses: list[float] = []
        self.best: Adapter | None = None
        self._language_model = language_model
        self._validation = validation
        self._progress = progress
        self._lowest = to_beat

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._progress()

    def on_epoch_end(
        self, args: TrainingArguments, state: object, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        loss = masked_loss(self._language_model.model, self._validation)
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
    texts: list[TokenizedText],
    masker: Masker,
    validation: _EpochValidation,
) -> None:
    """Train some parameters with transformers' own training loop."""
    language_model.model.requires_grad_(False)
    for part in learning:
        part.requires_grad_(True)
    with tempfile.TemporaryDirectory() as unused:
        model, callbacks = language_model.model, list[TrainerCallback]([validation])
        trainer = Trainer(
            model, arguments(unused), data_collator=masker, train_dataset=texts, callbacks=callbacks
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _arguments(config: LanguageConfig, seed: int, device: torch.device, folder: str) -> TrainingArguments:
    """Arguments of a training that saves, reports and prints nothing."""
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
    write_stored(path, result.adapter, orjson.dumps(figures).decode())


def _read(path: Path, task: str) -> LanguageResult | None:
    """Read the stored result of this task; None if there is none, or a damaged one."""
    stored = read_stored(path, orjson.loads)
    if stored is None or stored[0]["task"] != task:
        return None
    figures, adapter = stored
    return LanguageResult(adapter, figures["before"], figures["after"], figures["seconds"])
