"""Versions: of Python, and of the packages that the installation needs; none of them is imported."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from pipeline.doctor.finding import Finding, fault, ok

PACKAGE = "millstream"
NAMED = ("torch", "transformers", "kafka-python")
"""Packages whose version people ask for."""


def check() -> Iterator[Finding]:
    """Compare the installed packages with those that this version was made for."""
    yield ok("python", f"Python {platform.python_version()}")
    try:
        needed = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        yield fault("packages", f"{PACKAGE} is not installed", "`pip install -e .` in its folder")
        return
    faults = [found for one in needed if _applies(one) and (found := _fault(one))]
    yield from faults
    if not faults:
        named = ", ".join(f"{name} {version(name)}" for name in NAMED)
        yield ok("packages", f"all are there: {named}")


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _fault(requirement: Requirement) -> Finding | None:
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return fault("packages", f"{requirement.name} is not installed", f"`pip install '{wanted}'`")
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    text = f"{requirement.name} {installed} is not {requirement.specifier}"
    return fault("packages", text, f"`pip install '{wanted}'`")
