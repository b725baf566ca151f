"""Turns: what one journal entry makes the learner do: learn a batch, or go on from another state."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.eventlog.port import Offsets
from pipeline.events import Interaction
from pipeline.journal.entry import Adopts
from pipeline.journal.position import Position
from pipeline.state.micro_batch import MicroBatch


@dataclass(frozen=True)
class Batch:
    """A MicroBatch and what its records say besides.

    Attributes:
        micro: what the learner gets.
        position: of the learner after it.
        from_journal: whether it was journalled before this process started.
        append_times: ms, of the interactions.
        learned_before: append time in ms until which this process had learned before it went back to an
            earlier state; what is not later is learned again.
        users: those who acted, each with the next offset in the partition of the user's key: up to there
            the learner knows all of the user's acts.
        refused: keys and values of dead letters.
        duplicates: number of interactions dropped because they were seen before.
    """

    micro: MicroBatch
    position: Position
    from_journal: bool
    append_times: list[int]
    learned_before: int
    users: dict[str, int]
    refused: list[tuple[str, bytes]]
    duplicates: int

    @property
    def news(self) -> list[tuple[Interaction, int]]:
        """The interactions that are learned for the first time, with their append times."""
        if self.from_journal:
            return []
        timed = zip(self.micro.interactions, self.append_times, strict=True)
        return [(event, time) for event, time in timed if time > self.learned_before]


@dataclass(frozen=True)
class StateSwitch:
    """A switch to another state, from which the learner goes on.

    Attributes:
        position: of the learner after it, the first of a new generation.
        adopts: the state, and the order that asked for it.
        left: the version before.
    """

    position: Position
    adopts: Adopts
    left: str


Turn = Batch | StateSwitch


@dataclass(frozen=True)
class AdoptionPlan:
    """An order that can be carried out.

    Attributes:
        adopts: the state, already in place, and the order.
        step: of that state.
        offsets: of the next input records after that state.
        through: append time in ms of the last record before them.
        fold_to: offsets up to which records are folded, not learned; empty to learn all.
    """

    adopts: Adopts
    step: int
    offsets: Offsets
    through: int
    fold_to: Offsets
