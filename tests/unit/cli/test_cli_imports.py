"""Daemons start without the libraries that no command uses; what is refused, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.imports import UNUSED

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys
from pipeline.cli.imports import UNUSED, refuse_unused

refuse_unused()
import consumers.learn.daemon, consumers.serve.daemon, consumers.retrain.daemon
print(*[name for name in sys.modules if name.partition(".")[0] in UNUSED and sys.modules[name]])
"""


COMMAND = f"""
import sys
from pipeline import cli

sys.argv = ["millstream", "config"]
try:
    cli.main()
finally:
    print()
    print(*[name for name in {UNUSED} if sys.modules.get(name, cli) is None])
"""


REFUSED = """
import sys
from pipeline import cli

sys.argv = ["millstream", "{command}", "README.md"]
try:
    cli.main()
except SystemExit as ended:
    print()
    print(ended.code, "torch" in sys.modules)
"""


def last_line(program: str) -> str:
    """What a new process with the code of this folder prints last."""
    finished = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return finished.stdout.split("\n")[-2]


def test_daemons_import_nothing_that_is_refused() -> None:
    assert last_line(PROGRAM) == ""


def test_a_command_refuses_them() -> None:
    assert last_line(COMMAND).split() == list(UNUSED)


@pytest.mark.parametrize("command", ["backtest", "tune", "play"])
def test_data_is_refused_before_torch_is_imported(command: str) -> None:
    assert last_line(REFUSED.format(command=command)) == "1 False"
