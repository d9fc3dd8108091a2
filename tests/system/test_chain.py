"""The pipeline from its command line to the evidence, on projects of its users' kind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from events import LOG_NAME, read_artifact, read_log

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "scripts" / "tests" / "pipeline.py"


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's own variables as on a machine where nobody has set them."""
    for name in [name for name in os.environ if name.startswith(("TPR_", "GITHUB_"))]:
        monkeypatch.delenv(name)


def project(sample: str, folder: Path) -> Path:
    """A sample as a repository of its own, with one commit."""
    root = folder / sample
    shutil.copytree(ROOT / "tests" / "samples" / sample, root, ignore=shutil.ignore_patterns("__pycache__"))
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for line in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *line], cwd=root, check=True)
    return root


def command(root: Path, *argv: str) -> list[str]:
    return [sys.executable, str(PIPELINE), "--root", str(root), "--python", sys.executable, *argv]


@pytest.mark.usefixtures("clean")
def test_the_chain_says_what_its_stages_say_and_stops_where_one_says_no(tmp_path: Path) -> None:
    root = project("failing", tmp_path)
    done = subprocess.run(command(root), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    table = done.stdout.splitlines()[-7:]
    assert [line[14:28].strip() for line in table] == ["yes", "no", *["not run"] * 4, "yes"]
    log = read_log(root / "artifacts" / LOG_NAME)
    assert log.problems == []
    assert len({event["context"]["run_id"] for event in log.events}) == 1
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    assert {line.split("/")[0][3:] for line in status.stdout.splitlines()} <= {
        "artifacts",
        ".pytest_cache",
        "__pycache__",
    }


@pytest.mark.usefixtures("clean")
def test_a_chain_that_is_stopped_keeps_what_was_measured_and_leaves_nobody_behind(tmp_path: Path) -> None:
    root = project("hanging", tmp_path)
    line = command(root, "--", "-p", "no:randomly")  # the first test is to end, the second to hang
    process = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(root / "hanging", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert said.splitlines()[-1] == "pipeline.py: error: stopped by SIGTERM"
    assert read_artifact(root / "artifacts" / "baseline.metrics.json")["partial"]
    assert read_log(root / "artifacts" / LOG_NAME).problems == []
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(root) not in alive


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            process.terminate()
            raise AssertionError(f"{path.name} did not appear: {process.communicate(timeout=60)[1]}")
        time.sleep(0.05)
