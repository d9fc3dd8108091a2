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


@dataclass(frozen=True)
class Capturing:
    """A capture that runs, in a process group of its own."""

    process: subprocess.Popen[str]
    artifacts: Path

    def end(self) -> Captured:
        out, err = self.process.communicate(timeout=120)
        return Captured(self.process.returncode, out, err, self.artifacts)


@pytest.fixture(scope="session")
def start_capture() -> Callable[..., Capturing]:
    """Begin to capture a project, without the stages that other scripts are tested for, its evidence beside it.

    No tracer of an outer run, no byte code, and none of the plugins that are installed: they cost time.
    """

    def start(root: Path, *pytest_args: str, flags: tuple[str, ...] = (), python: str = "", **env: str) -> Capturing:
        own = ["--root", str(root), "--artifacts", f"{root}.artifacts", "--skip", "environment", "--skip", "flakes"]
        command = [python or sys.executable, str(SCRIPTS / "collect_metrics.py"), *own, *flags]
        if "--merge" not in flags:
            command += ["--", "-p", "no:cacheprovider", *pytest_args]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TPR_", "PYTEST_", "COV"))}
        kept |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"} | env
        process = subprocess.Popen(
            command,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        return Capturing(process, Path(f"{root}.artifacts"))

    return start


@pytest.fixture(scope="session")
def capture(start_capture: Callable[..., Capturing]) -> Callable[..., Captured]:
    """Capture a project to its end."""
    return lambda *args, **options: start_capture(*args, **options).end()


@pytest.fixture(autouse=True)
def coverage_stays_at_home() -> Iterator[None]:
    """A test that uses coverage in another folder must not move the measurement of this suite there."""
    yield
    if files := sys.modules.get("coverage.files"):
        files.set_relative_directory()
