"""Settings of retrains and of the Gate that judges their candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Config, Count, CountOrNone, Rate, Seed, Share, Threads
from pipeline.config.learning import OptimizerConfig, RowRates
from pipeline.config.model import ModelSizes

SizeOrNone = Annotated[int, Field(ge=0, le=4_096)]
Margin = Annotated[float, Field(ge=-100, le=100)]
Multiple = Annotated[float, Field(ge=0, le=1e9)]


class PlanConfig(Config):
    """[retrain.plan] Which part of the log a retrain sees, in interactions."""

    window_events: Count = 50_000
    """The latest interactions, to train on by hand: the more the better while nothing drifts."""
    wait_events: Count = 4_000
    """Interactions after an alarm to train on: new behaviour must be seen to be learned, old behaviour
    misleads."""
    held_out_events: Count = 1_000
    """Interactions after those, to validate on."""
    trial_events: Count = 4_000
    """Interactions after those, on which champion and candidate are compared; neither has learned them."""


class CandidateSizes(Config):
    """[retrain.sizes] Sizes that a candidate has at least; 0 keeps the champion's."""

    layers: Annotated[int, Field(ge=0, le=256)] = 0
    """See learn.sizes.layers."""
    lora_rank: SizeOrNone = 0
    """See learn.sizes.lora_rank."""
    lora_alpha: SizeOrNone = 0
    """See learn.sizes.lora_alpha; counts where the candidate's rank is the one of these settings."""
    adapter_rank: SizeOrNone = 0
    """See learn.sizes.adapter_rank."""

    def grown(self, settings: ModelSizes, champion: ModelSizes) -> ModelSizes:
        """The sizes of a candidate: the largest of these, the settings' and its champion's, part by part.

        It is tuned as its champion is. A prefix keeps its length: what is attended to in it is an average.
        It reads the vectors, attributes and relations of both, vectors as wide as its champion reads them.
        """
        wanted = settings.model_copy(update={name: size for name, size in self if size})
        grows = champion.tuning != "prefix"
        rank = max(wanted.lora_rank, champion.lora_rank) if grows else champion.lora_rank
        return ModelSizes(
            tuning=champion.tuning,
            layers=max(wanted.layers, champion.layers),
            lora_rank=rank,
            lora_alpha=wanted.lora_alpha if wanted.lora_rank == rank else champion.lora_alpha,
            adapter_rank=max(wanted.adapter_rank, champion.adapter_rank),
            vectors={**wanted.vectors, **champion.vectors},
            attributes=(*wanted.attributes, *champion.attributes),
            relations=(*wanted.relations, *champion.relations),
            user_attributes=(*wanted.user_attributes, *champion.user_attributes),
        )


class TrainingConfig(Config):
    """[retrain.training] How a candidate is trained on the window.

    Chosen on shops that drift abruptly (seeds 0-2, windows of 4,096 acts since the drift, then
    seeds 10-12; `past` on 0-3 and 5-8). Larger minibatches, the stream's own rates and a window
    that reaches back before the drift gain less; new row accumulators lose. `past` 1 gains
    .025 nats over the trial and nothing is lost on cold items; .3 gains .042 and loses .04 there
    (.10 on the worst shop); .4 gains less and loses as much; .2 gains no more and loses more (five
    of the shops). benchmarks/gate.py measures it.
    """

    epochs: Count = 4
    """Epochs, at most."""
    patience: CountOrNone = 1
    """Epochs in a row without a new best one that end the training."""
    segments: Count = 8
    """Segments in a minibatch."""
    replay: CountOrNone = 8
    """Old segments from the champion's reservoir in each minibatch, with the weight of learn.replay. On three
    shops (benchmarks/dormant.py) a retrain on a new regime cost .067 nats on acts of the one before; with
    these it gains .020 there, and on the new regime .008."""
    alpha: Share = 0.0
    """Share of the unsupervised objective in the loss."""
    past: Annotated[float, Field(gt=0, le=1)] = 0.3
    """What counts from before the window are worth after the retrain, if that predicts held-out acts better;
    1 leaves them as they are."""
    optimizer: OptimizerConfig = OptimizerConfig(rate=3e-4, rows=RowRates(residual=0.003, bias=0.006))


class LanguageConfig(Config):
    """[retrain.language] How the text encoder learns the catalogue's language before the training.

    Off by default. Measured with the default backbone on a simulated shop (seed 1, 1,345
    texts, 2 epochs, 334 s on one busy core): held-out loss falls from 6.37 to 3.75 nats a token,
    and yet the candidate predicts worse than one without it, by .017 nats over all acts and by
    .078 on cold items. Part of that fall is the head's, which two epochs do not finish. The Gate
    decides.
    """

    epochs: CountOrNone = 0
    """Epochs of masked language modelling on the catalogue's texts, at most; 0 for none."""
    texts: Count = 32
    """Texts in a minibatch."""
    masked: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that are masked."""
    rate: Rate = 1e-3
    """AdamW's learning rate, falling to 0."""


class RetrainConfig(Config):
    """[retrain] Larger retrains."""

    nice: Annotated[int, Field(ge=0, le=19)] = 10
    """Niceness of the process: how far it stands back for the learner."""
    threads: Threads = 1
    """Torch threads, instead of model.threads."""
    plan: PlanConfig = PlanConfig()
    training: TrainingConfig = TrainingConfig()
    language: LanguageConfig = LanguageConfig()
    sizes: CandidateSizes = CandidateSizes()


class SamplingConfig(Config):
    """[gate.sampling] The bootstrap over users that gives a gain its bounds."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """Confidence of each one-sided bound."""
    resamples: Annotated[int, Field(ge=10, le=1_000_000)] = 5_000
    """How often users are resampled."""
    seed: Seed = 0
    """Seed of the draws."""


class GateConfig(Config):
    """[gate] What is asked of a candidate.

    Learners that differ by their seed alone differ by up to 0.028 nats on 4,000 targets of the simulated
    shop; 1 of 20 is promoted, see benchmarks/gate.py.
    """

    mode: Literal["auto", "manual"] = "auto"
    """`auto`: the Gate promotes; `manual`: a person does, see `millstream candidates`."""
    least_targets: Count = 2_000
    """Targets below which nothing is compared."""
    least_users: Annotated[int, Field(ge=2, le=1_000_000_000)] = 30
    """Effective users below which nothing is compared, or a slice is not judged."""
    least_probes: Count = 20
    """Users with lists below which nothing is compared."""
    least_slice: Count = 100
    """Targets below which a slice is not judged."""
    least_gain: Margin = 0.01
    """Nats that the lower bound of the gain in log-loss must be above."""
    ndcg_margin: Margin = 0.01
    """How far the lower bound of the gain in NDCG may be below zero."""
    slice_log_loss_margin: Margin = 0.1
    """How far the upper bound of a slice's gain in log-loss may be below zero, in nats."""
    slice_ndcg_margin: Margin = 0.01
    """How far the upper bound of a slice's gain in NDCG may be below zero."""
    least_jaccard: Share = 0.1
    """Share of a user's list that champion and candidate have in common, on average."""
    least_diversity: Multiple = 0.5
    """Distinct items in all lists, as a multiple of the champion's."""
    most_latency: Multiple = 1.5
    """Seconds spent on scoring, as a multiple of the champion's."""
    most_size: Multiple = 1.5
    """Bytes of learned state, as a multiple of the champion's."""
    sampling: SamplingConfig = SamplingConfig()
