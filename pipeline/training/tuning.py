"""Search for settings: backtests of the same data, each with settings that earlier ones make promising.

Each run learns the same batches, test then train, and is as good as its prequential figure over all of
them. It is stopped early once it is worse than the best one in so many windows, which are the same for both,
that chance does not explain it (Wilcoxon's signed-rank test). The first run has the settings as they are, so
that whatever is found is compared with them.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import optuna
import orjson
from optuna import Trial
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock  # the type of what a backend is given
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import LearnerConfig
from pipeline.errors import DatasetError, StorageUnavailable
from pipeline.evaluation.prequential import Quality
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

WINDOWS = 20
"""Parts of the batches, after each of which a run is compared with the best one."""
STOPPED_BY = 0.1
"""Probability by which chance may explain that a run is worse, at most, if it is stopped."""
FIGURES = {
    "log_loss": StudyDirection.MINIMIZE,
    "hr@20": StudyDirection.MAXIMIZE,
    "mrr@20": StudyDirection.MAXIMIZE,
    "ndcg@20": StudyDirection.MAXIMIZE,
}
PRESENT = "present"
"""Marks the run that has the settings as they are."""
STOPPED = "stopped"
"""Marks a run that was stopped early."""
KEPT = TrialState.COMPLETE, TrialState.WAITING
NOTHING_PREDICTED = (
    "there is nothing to compare: no act of the data, in this slice, could be predicted, for which its user "
    "needs an act before it: give more data, a larger --limit, or another --slice"
)
LEAST_FOR_IMPORTANCE = 4
"""Runs from which it can be told at all which settings matter."""


@dataclass(frozen=True)
class TunedSetting:
    """A setting of the learner, the range that is searched, and how.

    Attributes:
        name: path in `[learn]`.
        low, high: bounds, whole numbers for a setting that is one.
        is_log: whether equal factors are equally likely, and not equal differences.
    """

    name: str
    low: float
    high: float
    is_log: bool = True

    def suggest(self, trial: Trial, present: LearnerConfig) -> float:
        """Let a run choose a value; the range is widened to the present one."""
        value = self.of(present)
        low, high = min(self.low, value), max(self.high, value)
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(self.name, low, high, log=self.is_log)
        return trial.suggest_float(self.name, low, high, log=self.is_log)

    def of(self, config: LearnerConfig) -> float:
        """Return the value that a configuration has."""
        value: Any = config
        for part in self.name.split("."):
            value = getattr(value, part)
        return int(value) if isinstance(self.low, int) else float(value)


SEARCHED = (
    TunedSetting("optimizer.rate", 1e-4, 1e-2),
    TunedSetting("optimizer.rows.residual", 1e-3, 0.1),
    TunedSetting("optimizer.rows.bias", 1e-3, 0.2),
    TunedSetting("mixer_rate", 1e-3, 0.3),
    TunedSetting("negatives", 64, 2_048),
    TunedSetting("replay.segments", 0, 64, is_log=False),
    TunedSetting("replay.length", 4, 32),
    TunedSetting("replay.weight", 0.0, 1.0, is_log=False),
    TunedSetting("segments.context", 5, 60),
    TunedSetting("segments.length", 16, 64),
    TunedSetting("stream.covisitation_half_life", 5e3, 2e6),
    TunedSetting("stream.popularity_half_life", 5e3, 2e6),
)


@dataclass(frozen=True)
class TunedRun:
    """A whole run.

    Attributes:
        figure: its quality.
        seconds: processor time that it took.
        settings: values by path in `[learn]`; all of `SEARCHED`.
    """

    figure: float
    seconds: float
    settings: dict[str, float]


@dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
        name: the figure.
        present: the run with the settings as they are.
        best: the best run; that one, if none was better.
        runs, stopped: how many there were, and how many of them were stopped early.
        importances: by setting, the share that it has in how much good runs differ from others, most first;
            empty if there were too few runs.
    """

    name: str
    present: TunedRun
    best: TunedRun
    runs: int
    stopped: int
    importances: dict[str, float]


@dataclass(frozen=True)
class Tuning:
    """A search on batches.

    Attributes:
        learner: what each run takes backbone and encoder from.
        batches: what each run learns: the catalogue, then interactions.
        figure: one of `FIGURES`, of the mixture, and `slice` of which targets.
        seed: of the search; the learners have their own.
        storage: a file in which the runs are kept, so that a later search goes on from them; None for none.
        study: names what is searched; runs of another name in the file are no part of it.
    """

    learner: Learner
    batches: Sequence[MicroBatch]
    figure: str
    slice: str
    seed: int
    storage: Path | None
    study: str

    def search(self, runs: int, seconds: float | None, progress: Callable[[], None]) -> TuningResult:
        """Run until there are so many runs, earlier ones among them, or so much time has passed.

        `progress` is called after each run.

        Raises:
            DatasetError: no run has a figure.
            StorageUnavailable: the file holds something else, or refuses a write.
        """
        try:
            return self._search(runs, seconds, progress)
        except OSError as error:
            if self.storage is None:
                raise
            raise StorageUnavailable(f"the runs cannot be kept in {self.storage}: {error}") from error

    def _search(self, runs: int, seconds: float | None, progress: Callable[[], None]) -> TuningResult:
        optuna.logging.set_verbosity(logging.ERROR)
        study = self._study()
        if not any(PRESENT in trial.user_attrs and trial.state in KEPT for trial in study.trials):
            present = {one.name: one.of(self.learner.born) for one in SEARCHED}
            study.enqueue_trial(present, user_attrs={PRESENT: True})
            self._optimize(study, 1, None, progress)
        if not _presents(study):
            raise DatasetError(NOTHING_PREDICTED)
        done = sum(trial.state.is_finished() for trial in study.trials)
        self._optimize(study, max(0, runs - done), seconds, progress)
        return _result(study, self.figure)

    def _optimize(self, study: Study, runs: int, seconds: float | None, progress: Callable[[], None]) -> None:
        study.optimize(self._run, n_trials=runs, timeout=seconds, callbacks=[lambda study, trial: progress()])

    def _study(self) -> Study:
        file = runs_in(self.storage) if self.storage else None
        study = optuna.create_study(
            storage=file,
            study_name=self.study,
            pruner=_pruner(),
            direction=FIGURES[self.figure],
            load_if_exists=True,
        )
        # A search that goes on must not draw once more what it began with.
        study.sampler = TPESampler(seed=self.seed + len(study.trials))
        return study

    def _run(self, trial: Trial) -> float:
        """Run a backtest; return its figure, or what to expect of it if the best run is surely better.

        Raises:
            optuna.TrialPruned: what was learned is not finite.
        """
        values = {one.name: one.suggest(trial, self.learner.born) for one in SEARCHED}
        began, whole = process_time(), Quality()
        for number, window in enumerate(self._windows(configured(self.learner.born, values))):
            whole.merge(window)
            if (value := self._figure(window)) is not None:
                trial.report(value, number)
                if number + 1 < WINDOWS and trial.should_prune():
                    trial.set_user_attr(STOPPED, True)
                    return _expected(trial)
        trial.set_user_attr("seconds", process_time() - began)
        found = self._figure(whole)
        return math.nan if found is None else found

    def _figure(self, quality: Quality) -> float | None:
        return quality.report()["mixture"][self.slice][self.figure]

    def _windows(self, config: LearnerConfig) -> Iterator[Quality]:
        """Learn the batches with a configuration; yield the quality of one window after another."""
        learner, window = self.learner.another(), Quality()
        learner.reset(config)
        ends = {round(len(self.batches) * number / WINDOWS) for number in range(1, WINDOWS + 1)}
        for done, batch in enumerate(self.batches, start=1):
            scores = learner.score_and_learn(batch)
            if scores.quarantined:
                raise optuna.TrialPruned
            window.add(scores)
            if done in ends:
                yield window
                window = Quality()


class RunsLock(BaseJournalFileLock):
    """Lets one search at a time append to a file.

    The system lets go of it when the process ends, killed or not; optuna's own locks are files, which stay,
    so that the next search waits 30 s for one that is gone.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._held = file, -1

    def acquire(self) -> bool:
        """Wait until no other search appends; make the file if there is none."""
        opened = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(opened, fcntl.LOCK_EX)
        self._held = opened
        return True

    def release(self) -> None:
        """Let others append."""
        os.close(self._held)


def runs_in(file: Path) -> JournalStorage:
    """Open a file of runs, which a search appends to; a last line that was cut off is taken away first.

    Raises:
        StorageUnavailable: it holds something else, to which nothing is appended.
    """
    lock = RunsLock(file)
    lock.acquire()  # another search may be in the middle of a line
    try:
        _check_runs(file)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(file), lock))


def _check_runs(file: Path) -> None:
    whole = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            is_run = _is_run(line)
            if not is_run and (whole == 0 or line.endswith(b"\n")):
                raise StorageUnavailable(
                    f"{file}:{number} is not of a search of `millstream tune`: name another file for its runs"
                )
            whole += len(line) if is_run else 0
    if whole < file.stat().st_size:
        log.warning("the last line of %s was cut off, and is taken away", file)
        os.truncate(file, whole)


def _is_run(line: bytes) -> bool:
    """Whether a line is whole and one of optuna's."""
    try:
        return line.endswith(b"\n") and "op_code" in orjson.loads(line)
    except (orjson.JSONDecodeError, TypeError):
        return False


def _expected(trial: Trial) -> float:
    """The figure of the best run, less what this run lost to it over the same windows."""
    best, own = trial.study.best_trial, trial.study.trials[trial.number].intermediate_values
    lost = [best.intermediate_values[at] - value for at, value in own.items()]
    return float(best.values[0] - sum(lost) / len(lost))


def _pruner() -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=STOPPED_BY)


def configured(config: LearnerConfig, values: dict[str, float]) -> LearnerConfig:
    """Return a configuration with other values, given by their paths."""
    changed = config.model_dump()
    for name, value in values.items():
        *tables, key = name.split(".")
        table = changed
        for part in tables:
            table = table[part]
        table[key] = value
    return LearnerConfig.model_validate(changed)


def _result(study: Study, figure: str) -> TuningResult:
    whole = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    present, best = (_tuned(trial) for trial in (_presents(study)[0], study.best_trial))
    stopped = sum(STOPPED in trial.user_attrs for trial in whole)
    return TuningResult(figure, present, best, len(study.trials), stopped, _importances(study, len(whole)))


def _presents(study: Study) -> list[FrozenTrial]:
    """The whole runs with the settings as they are."""
    return [
        trial for trial in study.trials if PRESENT in trial.user_attrs and trial.state is TrialState.COMPLETE
    ]


def _tuned(trial: FrozenTrial) -> TunedRun:
    return TunedRun(trial.values[0], trial.user_attrs["seconds"], trial.params)


def _importances(study: Study, whole: int) -> dict[str, float]:
    if whole < LEAST_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
