"""enforce_gates.py over real captures, as the processes that a workflow would start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from events import read_artifact, read_log

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts" / "tests"
SAMPLE = REPOSITORY / "tests" / "samples" / "gates_calc"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")


def environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TPR_", "GITHUB_", "PYTEST_"))}
    return {**kept, "TPR_ENV_VALIDATE": "skip", "PYTHONDONTWRITEBYTECODE": "1", **more}


def start(script: str, root: Path, *argv: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPTS / script), "--root", str(root), *argv]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environ(**env), stdout=pipe, stderr=pipe, text=True)


def run(script: str, root: Path, *argv: str, **env: str) -> tuple[int, str, str]:
    process = start(script, root, *argv, **env)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def commit(root: Path) -> None:
    subprocess.run([*GIT, "add", "--all"], cwd=root, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "a change"], cwd=root, check=True)


def collect(root: Path) -> int:
    quick = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider", "-p", "no:randomly")  # the scope of every capture
    return run("collect_metrics.py", root, "--quiet", "--skip", "flakes", "--", *quick)[0]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose capture is its ladder's baseline."""
    root = tmp_path_factory.mktemp("captured") / "project"
    shutil.copytree(SAMPLE, root)
    (root / ".gitignore").write_text("artifacts/\n", "utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    commit(root)
    assert collect(root) == 0
    return root


@pytest.fixture(scope="module")
def fallen(captured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project, captured again after tests were deleted."""
    root = tmp_path_factory.mktemp("fallen") / "project"
    shutil.copytree(captured, root)
    (root / "test_sign.py").unlink()
    commit(root)
    assert collect(root) == 0
    return root


def copied(source: Path, into: Path) -> Path:
    return Path(shutil.copytree(source, into / "project"))


def incidents(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "artifacts" / "incidents").glob("[!.]*"))


def verdicts(root: Path) -> dict[str, Any]:
    return {row["gate"]: row for row in read_artifact(root / "artifacts" / "gate.verdicts.json")["gates"]}


def test_a_capture_passes_against_itself(captured: Path, tmp_path: Path) -> None:
    root = copied(captured, tmp_path)
    code, out, err = run("enforce_gates.py", root, "--only", "coverage")
    assert (code, err) == (0, "")
    assert "1 statements to gain" in out
    assert "most to gain in: calc.py:13 untested (2)" in out


def test_lost_tests_roll_back_for_real(fallen: Path, tmp_path: Path) -> None:
    """Every action of a rollback is seen; the capture obeys until the incident is resolved."""
    root, handed = copied(fallen, tmp_path), tmp_path / "github.env"
    code, out, err = run("enforce_gates.py", root, GITHUB_ENV=str(handed), TPR_SEED="4711")
    assert code == 1
    assert "calc.py: 5 covered statements lost their tests" in out
    assert "capturing again" in err
    (incident,) = incidents(root)
    folder = root / "artifacts" / "incidents" / incident
    document = read_artifact(folder / "incident.json")
    assert document["rerun"]["problem"] is None
    assert document["triggers"][0]["evidence"][-1].startswith("a second capture, with the seed locked, says fired")
    assert document["reevaluation"]["by"] == "the second capture"
    assert read_artifact(folder / "rerun" / "baseline.metrics.json")["sha256"] == document["rerun"]["digest"]
    started = read_log(folder / "rerun" / "events.log.jsonl").events[0]
    assert (started["event"], started["mode"], started["defaults"].get("TPR_SEED")) == (
        "metrics_capture_start",
        "off",
        None,
    )
    assert handed.read_text("utf-8") == "TPR_FAILFAST_MODE=off\n"
    log = read_log(root / "artifacts" / "events.log.jsonl")
    assert log.problems == []
    assert [row["state"] for row in log.events if row["event"] == "risk_trigger"] == ["opened"]
    _, _, said = run("collect_metrics.py", root, "--quiet", "--skip", "flakes", "--failfast-mode", "soft")
    assert "forces fail-fast off" in said
    assert run("enforce_gates.py", root, "--resolve", incident, "--reason", "tests are back")[0] == 0
    assert not (root / "artifacts" / "failfast.forced_off.json").exists()


def test_a_partial_run_is_insufficient_data_and_exits_1(captured: Path, tmp_path: Path) -> None:
    root = copied(captured, tmp_path)
    (root / "test_crash.py").write_text("import os\n\n\ndef test_crash():\n    os._exit(3)\n", "utf-8")
    commit(root)
    assert collect(root) == 2
    code, _, _ = run("enforce_gates.py", root, "--quiet", "--only", "coverage")
    row = verdicts(root)["coverage"]
    assert (code, row["verdict"]) == (1, "insufficient data")
    assert row["evidence"][0].startswith("the capture is partial: ")


def test_two_gates_at_once_open_one_incident(fallen: Path, tmp_path: Path) -> None:
    root = copied(fallen, tmp_path)
    both = [start("enforce_gates.py", root, "--quiet", SAMPLE_SECONDS="0.3") for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [1, 1]
    assert len(incidents(root)) == 1
    assert len(list((root / "artifacts" / "incidents").glob(".building"))) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_gate_stopped_in_its_second_capture_leaves_no_incident(
    fallen: Path, tmp_path: Path, number: signal.Signals
) -> None:
    root = copied(fallen, tmp_path)
    process = start("enforce_gates.py", root, "--quiet", SAMPLE_SECONDS="0.7")
    wait_for(lambda: list((root / "artifacts" / "incidents").glob(".building/rerun/.capture/*/records.jsonl")))
    process.send_signal(number)
    process.communicate(timeout=30)
    assert incidents(root) == []
    assert not (root / "artifacts" / "failfast.forced_off.json").exists()
    if number == signal.SIGKILL:
        assert run("enforce_gates.py", root, "--quiet")[0] == 1
        assert len(incidents(root)) == 1
    else:
        assert process.returncode == 2
        last = read_log(root / "artifacts" / "events.log.jsonl").events[-1]
        assert (last["event"], last["problem"]) == ("coverage_ladder_recorded", "interrupted")
    assert list((root / "artifacts" / "incidents").glob(".building")) == []


def wait_for(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
