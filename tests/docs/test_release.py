"""A release is what the workflow makes of a tag: its steps exist, and its notes are of the changelog."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import yaml

from docs.release import check, notes
from tests.support.documents import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "release.yaml"
CHANGELOG = """# Changelog

## [Unreleased]

- New.

## [0.2.0] - 2026-11-26

### Added

- One thing.

## [0.1.0] - 2026-11-01

- Another.
"""


def test_the_notes_of_a_release_are_its_section() -> None:
    assert notes("0.2.0", CHANGELOG) == "### Added\n\n- One thing.\n"
    assert notes("0.1.0", CHANGELOG) == "- Another.\n"


@pytest.mark.parametrize("version", ["Unreleased", "0.3.0", "0.2"])
def test_a_version_without_a_section_is_refused(version: str) -> None:
    with pytest.raises(LookupError, match="no section"):
        notes(version, CHANGELOG)


def test_a_tag_of_another_version_is_refused() -> None:
    with pytest.raises(LookupError, match=r"^the tag says 9\.9\.9, and pyproject.toml .*: set the"):
        check("9.9.9")


def test_the_version_of_the_project_has_notes() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', text, flags=re.MULTILINE)
    assert version is not None
    made = subprocess.run(
        [sys.executable, "-m", "docs.release", version[1]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\n### Added\n" in made.stdout


def test_the_workflow_publishes_what_the_script_makes_of_a_tag() -> None:
    workflow: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}, "YAML reads `on` as true"
    assert workflow["permissions"] == {"contents": "write"}
    (job,) = workflow["jobs"].values()
    runs = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
    install, build, publish = runs
    assert install[:4] == ["python", "-m", "pip", "install"]
    assert build[0] == ".ci/release" and os.access(ROOT / build[0], os.X_OK)
    assert publish[:3] == ["gh", "release", "create"]
    script = (ROOT / ".ci" / "release").read_text()
    for made in ("dist/NOTES.md", "SHA256SUMS", "-m build", "deploy/docker/Dockerfile", "docs.release"):
        assert made in script
    assert {"dist/NOTES.md", "dist/*.whl", "dist/*.gz", "dist/SHA256SUMS"} <= set(publish)
    assert all("@v" in step["uses"] for step in job["steps"] if "uses" in step)


def test_the_script_is_sound_and_refuses_a_version_that_is_not_the_projects() -> None:
    script = str(ROOT / ".ci" / "release")
    subprocess.run(["bash", "-n", script], check=True)
    refused = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert refused.returncode and "say which version" in refused.stderr
