"""Whole aggregations over small projects: what is proven, what is told apart, and what is left alone."""

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
from events import LOG_NAME, read_artifact, read_log

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "tests" / "aggregate_properties.py"
RESULTS = "property.results.json"


def sample(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests" / "samples" / name, folder / name))


def command(root: Path, *argv: str) -> list[str]:
    usual = ["--quiet", "--jobs", "2", "--threshold-ms", "60000"]  # a busy machine is not the matter here
    return [sys.executable, str(SCRIPT), "--root", str(root), *usual, *argv]


def aggregate(root: Path, *argv: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and stderr; the log holds and every start has its end."""
    not_here = ("CI", "GITHUB_ACTIONS", "PYTHONDONTWRITEBYTECODE")  # the last only costs time
    usual = {key: value for key, value in os.environ.items() if key not in not_here}
    done = subprocess.run(
        command(root, *argv), capture_output=True, text=True, check=False, env=usual | (env or {}), timeout=300
    )
    assert "Traceback" not in done.stderr
    check_log(root / "artifacts")
    return done.returncode, done.stderr


def check_log(artifacts: Path) -> list[dict[str, Any]]:
    found = [log for log in (artifacts / LOG_NAME, artifacts / "fuzz" / LOG_NAME) if log.exists()]
    events = []
    for reading in map(read_log, found):
        assert reading.problems == []
        events += reading.events
    names = [event["event"] for event in events]
    assert names.count("property_test_start") == names.count("property_test_complete") > 0
    return events


def files(root: Path) -> set[Path]:
    caches = {"__pycache__", ".pytest_cache", "artifacts"}
    return {path for path in root.rglob("*") if not caches & set(path.parts)}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The project in which everything goes wrong, by the names of its tests."""
    root = sample("properties_bad", tmp_path_factory.mktemp("bad"))
    code, _ = aggregate(root, "--runs", "2")
    found = read_artifact(root / "artifacts" / RESULTS)
    assert code == 1
    assert found["runs"] == 2
    return {row["id"].partition("::")[2]: row for row in found["tests"]} | {"": found}


@pytest.mark.parametrize(
    ("name", "outcome", "kind"),
    [
        ("deadline", "false_failure", "deadline"),
        ("health_check", "false_failure", "health_check"),
        ("unsatisfiable", "false_failure", "unsatisfiable"),
        ("flaky", "false_failure", "flaky"),
        ("crash", "crashed", "crashed"),
        ("misused", "error", "error"),
    ],
)
def test_failures_that_falsify_nothing_are_told_apart(
    bad: dict[str, Any], name: str, outcome: str, kind: str
) -> None:
    row = bad[f"test_{name}"]
    assert row["outcomes"] == {outcome: 2}
    assert row["problems"] == [outcome]
    assert [(failure["kind"], failure["runs"]) for failure in row["failures"]] == [(kind, [1, 2])]
    assert row["falsifying_examples"] == []


def test_the_rest_of_the_run_goes_on(bad: dict[str, Any]) -> None:
    assert bad["test_holds"]["outcomes"] == {"passed": 2}
    assert bad["test_holds"]["problems"] == []
    assert bad[""]["false_failures"] == {"count": 8, "observed": 22, "percent": 36.3636}
    assert bad[""]["mismatches"] == 2


def test_a_crash_names_the_input_that_crashes(bad: dict[str, Any]) -> None:
    (failure,) = bad["test_crash"]["failures"]
    assert failure["message"] == "its process ended with status 7"
    assert int(failure["example"].removeprefix("test_crash(x=").removesuffix(")")) > 10


def test_a_falsified_property_has_its_shrunk_example_and_a_replay_that_was_tried(bad: dict[str, Any]) -> None:
    (example,) = bad["test_falsified"]["falsifying_examples"]
    assert example["representation"] == "test_falsified(\n    x=100,\n)"
    assert example["runs"] == [1, 2]
    assert example["reproduced"] is True
    assert example["location"].startswith("test_bad.py:")
    (given,) = bad["test_falsified_by_its_example"]["falsifying_examples"]
    assert given["representation"] == "test_falsified_by_its_example(\n    x=3,\n)"


@pytest.mark.parametrize(("name", "cause"), [("clock", "the same choices give other values"), ("hash_order", "hash")])
def test_inputs_that_differ_are_shown_with_their_cause(bad: dict[str, Any], name: str, cause: str) -> None:
    row = bad[f"test_{name}"]
    assert row["problems"] == ["mismatch"]
    assert row["mismatch"]["runs"] == [2]
    one, other = row["mismatch"]["texts"]
    assert one != other
    assert one.startswith(f"test_{name}(")
    assert row["mismatch"]["cause"].startswith(cause)


def test_the_control_says_why_a_seed_changes_nothing(bad: dict[str, Any]) -> None:
    control = bad[""]["control"]
    assert control["shown"]
    assert control["unchanged"]["test_bad.py::test_derandomized"] == "seed ignored: derandomize=True"
    assert control["unchanged"]["test_bad.py::test_few_inputs"] == "every input tried"
    assert bad["test_derandomized"]["seed_ignored"] == "derandomize=True"


def test_a_foreign_project_is_not_touched_and_has_the_same_inputs_elsewhere(tmp_path: Path) -> None:
    root = sample("properties_good", tmp_path)
    before = files(root)
    assert aggregate(root, "--runs", "2", env={"CI": "true"})[0] == 0
    assert files(root) == before
    found = read_artifact(root / "artifacts" / RESULTS)
    facts = found["circumstances"]
    assert set(facts["files"]) == {"test_sums.py"}
    assert "constants" not in facts["local_modules"]
    assert (facts["profile"]["parent"], facts["profile"]["max_examples"]) == ("theirs", 20)
    assert (facts["profile"]["derandomize"], facts["ci"]) == (False, "yes")
    assert len(found["tests"]) == 5
    assert found["control"]["changed"] == 5
    purposes = [str(event["purpose"]) for event in check_log(root / "artifacts") if "complete" in event["event"]]
    assert sorted(purposes) == ["control", "discovery", "run", "run"]

    moved = root.rename(tmp_path / "elsewhere")
    assert aggregate(moved, "--runs", "1")[0] == 0
    again = read_artifact(moved / "artifacts" / RESULTS)
    assert [row["digest"] for row in again["tests"]] == [row["digest"] for row in found["tests"]]


def test_a_search_finds_keeps_and_replays(tmp_path: Path) -> None:
    code = (
        "from hypothesis import given, strategies as st\n@given(st.integers())\ndef test_x(x):\n    assert x < 1000\n"
    )
    (tmp_path / "test_x.py").write_text(code)
    artifacts = tmp_path / "artifacts" / "fuzz"
    assert aggregate(tmp_path, "--fuzz", "--examples", "200", env={"CI": "true"})[0] == 1
    (row,) = read_artifact(artifacts / RESULTS)["tests"]
    (example,) = row["falsifying_examples"]
    assert (example["reproduced"], example["seed_reproduced"]) == (True, True)
    assert example["seed"] == row["seed"] is not None
    assert aggregate(tmp_path, "--fuzz", "--examples", "200", env={"CI": "true"})[0] == 1
    (again,) = read_artifact(artifacts / RESULTS)["tests"]
    assert again["seed"] != row["seed"]
    assert again["examples"]["run"] < 5, "the database brings the known failure back at once"


def test_a_stopped_aggregation_keeps_what_it_has(tmp_path: Path) -> None:
    root = sample("properties_good", tmp_path)
    log = root / "artifacts" / LOG_NAME
    with subprocess.Popen(command(root, "--runs", "500")) as process:
        while not log.exists() or log.read_bytes().count(b"_complete") < 3:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 2
    found = read_artifact(root / "artifacts" / RESULTS)
    assert found["partial"] == "interrupted"
    ends = [event for event in check_log(root / "artifacts") if event["event"] == "property_test_complete"]
    runs = [event["problem"] for event in ends if event["purpose"] == "run"]
    assert 0 < found["runs"] == runs.count(None) < 500, "each run that the log calls complete"
    assert str(runs[-1]).startswith("interrupted")


def test_without_property_tests_it_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_x():\n    pass\n")
    code, said = aggregate(tmp_path)
    assert code == 2
    assert said.endswith("expected tests with @given, found none; give their paths after --\n")
    assert not (tmp_path / "artifacts" / RESULTS).exists()
