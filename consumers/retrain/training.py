"""Training: from the champion to a trained candidate, still at the champion's position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from consumers.retrain.champion import Champions
from consumers.retrain.reading import Ahead, LogView
from pipeline.config import ModelSizes, RetrainConfig
from pipeline.eventlog.port import TopicPartition
from pipeline.events import Interaction
from pipeline.journal.position import Position
from pipeline.retraining.candidates import Candidate, RetrainPlan
from pipeline.retraining.training import (
    LanguageResult,
    Retraining,
    RetrainProgress,
    RetrainResult,
    check_window,
    learn_language,
)
from pipeline.state.dedupe import Sighting
from pipeline.training.learner import Learner


class Trained(NamedTuple):
    """A trained candidate.

    Attributes:
        learner: the candidate.
        position: of the champion, and so of the candidate.
        ahead: the journal after that.
        result: of the training.
        language: figures of the text encoder's training, by name; empty without one.
    """

    learner: Learner
    position: Position
    ahead: Ahead
    result: RetrainResult
    language: dict[str, float]


@dataclass(frozen=True)
class Trainer:
    """Trains candidates; resumes what was interrupted, from the files in the candidate's folder.

    Attributes:
        config: what a training changes and how.
        sizes: the settings' sizes of the model.
        progress: called after every minibatch.
    """

    champions: Champions
    log: LogView
    config: RetrainConfig
    sizes: ModelSizes
    progress: Callable[[RetrainProgress], None]

    def train(self, candidate: Candidate, plan: RetrainPlan) -> Trained:
        """Train a copy of the champion: its text encoder if asked to, then the rest on the window.

        Waits for the events to validate and to compare on, unless there is nothing to train on.

        Raises:
            ChampionGone: another state was adopted after the champion.
            CheckpointCorrupt: the champion cannot be rebuilt.
            NothingToLearn: the window, or what is held out, has no target.
            OffsetsExpired: the log no longer holds the window.
            Stopped: it was asked to stop; the next call goes on.
        """
        learner, position = self.champions.restore(candidate, plan)
        window = self._window(plan, learner, position)
        check_window(window, learner)
        ahead = self.log.read_ahead(position, plan)
        self._grow(learner)
        candidate.progress.mkdir(exist_ok=True)
        language = self._learn_language(candidate, learner) if self.config.language.epochs else None
        result = self._learn_window(candidate, window, learner, position, ahead)
        return Trained(learner, position, ahead, result, language.figures if language else {})

    def _grow(self, learner: Learner) -> None:
        """Grow a learner to at least the sizes asked for."""
        larger = self.config.sizes.grown(self.sizes, learner.config.sizes)
        if larger != learner.config.sizes:
            learner.grow_to(larger)

    def _learn_language(self, candidate: Candidate, learner: Learner) -> LanguageResult:
        """Adapt the text encoder to the language of the catalogue; encode the catalogue with it."""
        texts = [entry.text for entry in learner.stream.catalogue.entries if entry]
        result = learn_language(
            learner.encoder,
            texts,
            self.config.language,
            learner.config.seed,
            candidate.progress,
            self.log.check_goes_on,
        )
        learner.reencode(result.adapter)
        return result

    def _window(self, plan: RetrainPlan, learner: Learner, position: Position) -> list[Interaction]:
        """Read the window, which ends at the position, as the learner took it."""
        starts = {TopicPartition.parse(name): offset for name, offset in plan.window.items()}
        sighting = learner.stream.sighting
        return self.log.interactions(
            starts, position.offsets, lambda *event: sighting(*event) is not Sighting.COLLISION
        )

    def _learn_window(
        self,
        candidate: Candidate,
        window: list[Interaction],
        learner: Learner,
        position: Position,
        ahead: Ahead,
    ) -> RetrainResult:
        """Train on the window; validate on what is held out after it."""
        sighting, ends = learner.stream.sighting, ahead.held_out[-1][0].offsets
        held_out = self.log.interactions(
            position.offsets, ends, lambda *event: sighting(*event) is Sighting.NEW
        )
        training = Retraining(learner, self.config.training, window, held_out, candidate.progress)
        return training.run(self._report)

    def _report(self, at: RetrainProgress) -> None:
        self.log.check_goes_on()
        self.progress(at)
