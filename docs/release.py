"""The notes of a release, which are its section of the changelog: ``python -m docs.release 0.2.0``."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(version: str, changelog: str) -> str:
    """Return the section of a version.

    Raises:
        LookupError: the changelog has none.
    """
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    found = re.search(heading + r"(.*?)(?=^## \[|\Z)", changelog, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"CHANGELOG.md has no section [{version}] with a date")
    return found[1].strip() + "\n"


def check(version: str) -> None:
    """Check that a version is that of the project.

    Raises:
        LookupError: it is another one.
    """
    of_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if version != of_project:
        raise LookupError(f"the tag says {version}, and pyproject.toml {of_project}: set the version first")


if __name__ == "__main__":
    try:
        check(sys.argv[1])
        sys.stdout.write(notes(sys.argv[1], (ROOT / "CHANGELOG.md").read_text()))
    except LookupError as error:
        sys.exit(str(error))
