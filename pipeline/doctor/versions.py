"""Versions: of Python, and of the packages that the installation needs; none of them is imported."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok

PACKAGE = "millstream"
NAMED = ("torch", "transformers", "kafka-python")
"""Packages whose version people ask for."""
EXTRAS: dict[str, tuple[str, Callable[[Settings], bool]]] = {
    "onnx": ('serve.runtime is "onnx"', lambda settings: settings.serve.runtime == "onnx"),
    "s3": ("snapshots.store is in S3", lambda settings: str(settings.snapshots.store).startswith("s3://")),
    "schema-registry": ("bridge.registry is set", lambda settings: bool(settings.bridge.registry)),
    "trace": ("tracing.share is more than 0", lambda settings: settings.tracing.share > 0),
}
"""By name of an extra, the setting that needs its packages; media's encoders look for theirs themselves."""


def check() -> Iterator[Finding]:
    """Compare the installed packages with those that this version was made for."""
    yield ok("python", f"Python {platform.python_version()}")
    try:
        needed = _requirements("")
    except PackageNotFoundError:
        yield fault("packages", f"{PACKAGE} is not installed", "`pip install -e .` in its folder")
        return
    faults = [found for one in needed if (found := _fault(one))]
    yield from faults
    if not faults:
        named = ", ".join(f"{name} {version(name)}" for name in NAMED)
        yield ok("packages", f"all are there: {named}")


def check_extras(settings: Settings) -> Iterator[Finding]:
    """Check the packages of extras that settings need, as those of `check`."""
    names = {one.name for one in _requirements("")}
    for extra, (why, is_needed) in EXTRAS.items():
        if not is_needed(settings):
            continue
        for one in (one for one in _requirements(extra) if one.name not in names):
            if found := _fault(one):
                yield fault("packages", f"{why}: {found.text}", f"`pip install 'millstream[{extra}]'`")


def _requirements(extra: str) -> list[Requirement]:
    """What the installation needs with an extra; without any for an empty name."""
    found = [Requirement(line) for line in requires(PACKAGE) or ()]
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": extra})]


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
