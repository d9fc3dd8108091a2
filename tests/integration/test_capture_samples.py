"""Whole captures of small suites: what ends how, what is written, and what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from events import LOG_NAME, content_digest, read_artifact, read_log

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
COLLECT = ROOT / "scripts" / "tests" / "collect_metrics.py"
QUICK = ("--skip", "environment", "--skip", "flakes", "--quiet")
Captured = tuple[int, Path, str]


def sample(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests" / "samples" / name, folder / name))


def command(root: Path, *argv: str) -> list[str]:
    return [sys.executable, str(COLLECT), "--root", str(root), *QUICK, *argv, "--", "-q", "-p", "no:cacheprovider"]


def capture(root: Path, *argv: str) -> Captured:
    """Exit code, artifacts folder and stderr of a capture, whose log and artifacts hold."""
    done = subprocess.run(command(root, *argv), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert "Traceback" not in done.stderr
    artifacts = root / "artifacts"
    log = read_log(artifacts / LOG_NAME)
    assert log.problems == []
    names = [event["event"] for event in log.events]
    assert names.count("metrics_capture_start") == names.count("metrics_capture_complete")
    return done.returncode, artifacts, done.stderr


def baseline(artifacts: Path) -> dict[str, Any]:
    return read_artifact(artifacts / "baseline.metrics.json")


def files(root: Path) -> dict[str, bytes]:
    found = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found if "artifacts" not in path.parts}


def test_a_passing_suite_gives_a_whole_hashed_baseline_and_is_not_touched(tmp_path: Path) -> None:
    root = sample("passing", tmp_path)
    before = files(root)
    code, artifacts, _ = capture(root)
    found = baseline(artifacts)
    assert code == 0
    assert files(root) == before
    assert found["partial"] is None
    counts = {key: found["outcomes"][key] for key in ("tests", "passed", "skipped", "xfailed")}
    assert counts == {"tests": 5, "passed": 3, "skipped": 1, "xfailed": 1}
    assert (artifacts / "baseline.metrics.hash").read_text() == f"sha256:{content_digest(found)}\n"
    markers = read_artifact(artifacts / "markers.usage.json")
    assert "never" in markers["unused"]
    assert {row["name"]: row["tests"] for row in markers["markers"]}["slow"] == 1


def test_the_counts_are_those_that_coverage_reports_itself(tmp_path: Path) -> None:
    root = sample("passing", tmp_path)
    _, artifacts, _ = capture(root)
    run = [sys.executable, "-m", "coverage", "run", "--branch", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(run, cwd=root, stdout=subprocess.DEVNULL, check=True)
    report = [sys.executable, "-m", "coverage", "json", "-q", "-o", "coverage.json"]
    subprocess.run(report, cwd=root, check=True)
    totals = json.loads((root / "coverage.json").read_text())["totals"]
    found = baseline(artifacts)["coverage"]
    assert (found["statements"], found["statements_covered"]) == (totals["num_statements"], totals["covered_lines"])
    assert (found["branches"], found["branches_covered"]) == (totals["num_branches"], totals["covered_branches"])


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("failing", 1, ""),
        ("crashing", 2, "the suite's process ended with status 3; in flight: "),
        ("collect_error", 1, "1 files could not be collected, first test_broken.py: ModuleNotFoundError"),
        ("empty", 2, "pytest collected no tests"),
        ("own_events", 0, ""),
        ("unittest_style", 1, ""),
        ("hostile_ids", 0, ""),
    ],
)
def test_every_kind_of_suite_ends_with_its_own_code_and_one_line(
    name: str, code: int, said: str, tmp_path: Path
) -> None:
    found, _, stderr = capture(sample(name, tmp_path))
    assert found == code
    assert said in stderr
    assert len(stderr.splitlines()) <= 1


def test_a_test_has_the_outcome_of_its_worst_phase(tmp_path: Path) -> None:
    _, artifacts, _ = capture(sample("failing", tmp_path))
    outcomes = {
        row["id"].partition("::")[2]: row["outcome"] for row in read_artifact(artifacts / "durations.json")["tests"]
    }
    assert outcomes == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_setup_error": "error",
        "test_teardown_error": "error",
        "test_fails_twice": "failed",
    }


def test_a_failing_subtest_fails_its_test(tmp_path: Path) -> None:
    _, artifacts, _ = capture(sample("unittest_style", tmp_path))
    outcomes = baseline(artifacts)["outcomes"]
    assert (outcomes["tests"], outcomes["failed"], outcomes["subtests_failed"]) == (4, 1, 1)


def test_the_history_file_tells_the_same_without_secrets(tmp_path: Path) -> None:
    _, artifacts, _ = capture(sample("failing", tmp_path))
    (report,) = (artifacts / "history").glob("*.xml")
    assert "hunter22" not in report.read_text()
    suite = ET.parse(report).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "2", "2")
    assert len(list(suite.iter("testcase"))) == 5


def test_a_lock_that_nobody_recorded_does_not_stop_a_capture(tmp_path: Path) -> None:
    root = sample("passing", tmp_path)
    (root / "uv.lock").write_text('version = 1\n[[package]]\nname = "pytest"\nversion = "1.0"\n')
    line = [sys.executable, str(COLLECT), "--root", str(root), "--quiet", "--skip", "flakes"]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0
    assert read_artifact(root / "artifacts" / "env.signature.json")["recorded"] is False


def test_tests_whose_names_differ_in_a_secret_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "test_secrets.py").write_text(
        "import pytest\n@pytest.mark.parametrize('url', ['ghp_' + 'a1' * 18, 'ghp_' + 'b2' * 18])\n"
        "def test_url(url):\n    pass\n"
    )
    _, artifacts, _ = capture(tmp_path)
    ids = [row["id"] for row in read_artifact(artifacts / "durations.json")["tests"]]
    assert ids == [f"test_secrets.py::test_url[[redacted]]#{number}" for number in (1, 2)]


def test_what_finished_before_a_crash_is_kept_with_the_test_in_flight(tmp_path: Path) -> None:
    _, artifacts, _ = capture(sample("crashing", tmp_path))
    found = baseline(artifacts)
    assert found["outcomes"]["tests"] == 1
    assert [test.partition("::")[2] for test in found["partial"]["in_flight"]] == ["test_dies"]
    assert not (artifacts / "coverage-ladder.yaml").exists()


def test_a_suite_that_hangs_is_stopped_by_its_timeout(tmp_path: Path) -> None:
    code, artifacts, stderr = capture(sample("hanging", tmp_path), "--timeout", "4")
    assert code == 2
    assert "stopped after --timeout 4 s" in stderr
    assert baseline(artifacts)["outcomes"]["tests"] == 1


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_capture_writes_what_it_has(number: signal.Signals, tmp_path: Path) -> None:
    root = sample("hanging", tmp_path)
    process = subprocess.Popen(
        command(root), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True
    )
    wait_for(root / "hanging", process)
    process.send_signal(number)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert f"partial: interrupted by {number.name}" in stderr
    assert baseline(root / "artifacts")["outcomes"]["tests"] == 1


def test_a_killed_capture_is_recovered_from_its_records(tmp_path: Path) -> None:
    root = sample("hanging", tmp_path)
    process = subprocess.Popen(
        command(root), stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True
    )
    wait_for(root / "hanging", process)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.wait()
    done = subprocess.run(command(root, "--recover"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    found = baseline(root / "artifacts")
    assert (found["outcomes"]["tests"], found["partial"]["reason"]) == (1, "the capture was killed")


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return [int(word) for word in listed.stdout.split()]


def broken_config(root: Path) -> None:
    (root / ".coveragerc").write_text("[run\nbroken")


def artifacts_is_a_file(root: Path) -> None:
    (root / "artifacts").write_text("in the way")


@pytest.mark.parametrize("spoil", [broken_config, artifacts_is_a_file])
def test_bad_surroundings_give_one_line_and_exit_2(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    root = sample("passing", tmp_path)
    spoil(root)
    done = subprocess.run(command(root), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("collect_metrics.py: error: ")
