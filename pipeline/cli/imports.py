"""Refuse imports that no command uses, so that a process does not hold what it never runs."""

from __future__ import annotations

import sys
from typing import Any

UNUSED = ("sklearn", "triton")
"""Optional to the libraries that import them: river's and transformers' bridges to scikit-learn, and
torch's compiler of GPU kernels. Measured: 28 and 70 MB of a learner, before the first event."""


def refuse_unused() -> None:
    """Make them look as if they were not installed, for this process; before anything imports them."""
    modules: dict[str, Any] = sys.modules
    for name in UNUSED:
        modules.setdefault(name, None)
