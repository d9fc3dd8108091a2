"""Whatever is changed in a published checkpoint, verification finds it and names the file.

A small share of the campaign in tests/benchmarks/bench_checkpoint.py, and the commands as a stranger runs them.
"""

from __future__ import annotations

import os
import random
import runpy
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emit_checkpoint
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pytestmark = pytest.mark.integration

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS.parent / "scripts" / "tests" / "emit_checkpoint.py"


@pytest.fixture(scope="module")
def campaign() -> dict[str, Any]:
    return runpy.run_path(str(TESTS / "benchmarks" / "bench_checkpoint.py"))


@pytest.fixture(scope="module")
def folder(campaign: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TPR_RUN_ID", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
            patch.delenv(name, raising=False)
        patch.setattr(emit_checkpoint, "HERE", emit_checkpoint.HERE)  # put back afterwards
        published: Path = campaign["publish"](tmp_path_factory.mktemp("project"), 20)
    return published


@pytest.mark.parametrize("kind", ["byte", "file", "log"])
def test_every_change_is_found_and_its_file_named(campaign: dict[str, Any], folder: Path, kind: str) -> None:
    chance = random.Random(7)
    changes: dict[str, Callable[[], Iterable[Any]]] = {
        "byte": lambda: campaign["byte_changes"](folder, 30, chance),
        "file": lambda: islice(campaign["file_changes"](folder, chance), 0, None, 2),
        "log": lambda: campaign["log_changes"](folder, chance, 2),
    }
    found, missed = campaign["run"](folder, changes[kind]())
    assert missed == []
    assert found.total() >= 12
    assert emit_checkpoint.verify(folder) == []


def stranger(folder: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Verification without git, without any setting, from a folder that has nothing to do with it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TPR_", "GITHUB_"))}
    command = [sys.executable, str(SCRIPT), "--verify", str(folder)]
    return subprocess.run(command, cwd=cwd, env=environ | {"PATH": ""}, capture_output=True, text=True, check=False)


def test_a_stranger_verifies_a_copy_anywhere(folder: Path, tmp_path: Path) -> None:
    """A read-only copy, elsewhere and under another name, holds; verifying leaves nothing behind."""
    copy = tmp_path / "received"
    shutil.copytree(folder, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = stranger(copy, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "emit_checkpoint.py: holds: 18 files, " in done.stdout
    assert list(tmp_path.iterdir()) == [copy]
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)


def test_what_does_not_hold_is_said_in_one_line_per_kind(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "received"
    shutil.copytree(folder, copy)
    for name in ("durations.json", "foundation.checkpoint.md", "events.log.jsonl"):
        (copy / name).write_bytes((copy / name).read_bytes().replace(b"0", b"1", 1))
    done = stranger(copy, tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    kinds = [line.split(": ")[:3] for line in done.stderr.splitlines()]
    assert kinds == [
        ["emit_checkpoint.py", "file", "durations.json"],
        ["emit_checkpoint.py", "log", "events.log.jsonl"],
        ["emit_checkpoint.py", "derived", "foundation.checkpoint.md"],
    ]
    assert "(and 1 more of this kind)" in done.stderr
