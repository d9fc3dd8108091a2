"""Tests import the scripts as they are run, with scripts/tests on the path, and see none of the caller's settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
SCRIPTS = HERE.parent / "scripts" / "tests"
sys.path.insert(0, str(SCRIPTS))

PLUGINS = "TPR_PLUGINS_PYTHON"  # an interpreter with pytest's plugins, for the tests that need one


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """A pipeline gives its stages a run id, and a workflow adds annotations to errors: neither concerns a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TPR_", "GITHUB_")) and name != PLUGINS]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def plugins_python() -> str:
    """An interpreter that has xdist, rerunfailures, randomly, timeout and cov beside the five packages."""
    if not (python := os.environ.get(PLUGINS)):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{PLUGINS} is unset: expected such an interpreter")
    return python


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a sample project: inside this repository pytest would find this project's pytest.ini."""

    def copy(name: str) -> Path:
        ignored = shutil.ignore_patterns("__pycache__", "artifacts")
        return shutil.copytree(HERE / "samples" / name, tmp_path / name, ignore=ignored)

    return copy


@dataclass(frozen=True)
class Captured:
    """What a capture said and left."""

    code: int
    out: str
    err: str
    artifacts: Path

    def read(self, name: str) -> dict[str, Any]:
        from events import read_artifact

        return read_artifact(self.artifacts / name)

    def events(self) -> list[dict[str, Any]]:
        from events import LOG_NAME, read_log

        reading = read_log(self.artifacts / LOG_NAME)
        assert reading.problems == []
        return reading.events


def capture_command(root: Path, *pytest_args: str, flags: tuple[str, ...] = (), python: str = "") -> list[str]:
    """A capture without the stages that other scripts are tested for, its evidence beside the project."""
    own = ["--root", str(root), "--artifacts", f"{root}.artifacts", "--skip", "environment", "--skip", "flakes"]
    return [python or sys.executable, str(SCRIPTS / "collect_metrics.py"), *own, *flags, "--", *pytest_args]


def capture_env(**more: str) -> dict[str, str]:
    """No tracer of an outer run, no byte code, and none of the plugins that are installed: they cost time."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TPR_", "PYTEST_", "COV"))}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"} | more


@pytest.fixture(scope="session")
def capture() -> Callable[..., Captured]:
    """Capture a project to its end."""

    def run(root: Path, *pytest_args: str, flags: tuple[str, ...] = (), python: str = "", **env: str) -> Captured:
        command = capture_command(root, "-p", "no:cacheprovider", *pytest_args, flags=flags, python=python)
        done = subprocess.run(
            command, env=capture_env(**env), capture_output=True, text=True, check=False, timeout=120
        )
        return Captured(done.returncode, done.stdout, done.stderr, Path(f"{root}.artifacts"))

    return run


@pytest.fixture(autouse=True)
def coverage_stays_at_home() -> Iterator[None]:
    """A test that uses coverage in another folder must not move the measurement of this suite there."""
    yield
    if files := sys.modules.get("coverage.files"):
        files.set_relative_directory()
