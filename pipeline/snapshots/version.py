"""Versions: what learner, checkpoints and snapshots are at a step of a generation; without torch."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

VERSION = re.compile(r"[0-9]{1,9}-[0-9]{1,15}", re.ASCII)


class Version(NamedTuple):
    """Generation (adoptions, rollbacks, takeovers) and step; later versions compare greater."""

    generation: int
    step: int

    def __str__(self) -> str:
        return f"{self.generation}-{self.step}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"<generation>-<step>"``.

        Raises:
            ValueError: the text has another form.
        """
        if not VERSION.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is no version, <generation>-<step>")
        generation, _, step = text.partition("-")
        return cls(int(generation), int(step))

    @classmethod
    def named(cls, name: str) -> Self | None:
        """Return the version that a folder is named after; None if the folder is a stranger's."""
        version = cls.parse(name) if VERSION.fullmatch(name) else None
        return version if str(version) == name else None
