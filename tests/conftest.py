"""Tests import the scripts as they are run, with scripts/tests on the path, and see none of the caller's settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "tests"))


PLUGINS = "TPR_PLUGINS_PYTHON"  # an interpreter with pytest's plugins, for the tests that need one


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """A pipeline gives its stages a run id, and a workflow adds annotations to errors: neither concerns a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TPR_", "GITHUB_")) and name != PLUGINS]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def coverage_stays_at_home() -> Iterator[None]:
    """A test that uses coverage in another folder must not move the measurement of this suite there."""
    yield
    if files := sys.modules.get("coverage.files"):
        files.set_relative_directory()
