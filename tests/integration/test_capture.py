"""A capture of real projects says what pytest and coverage say themselves, and touches nothing."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from events import read_artifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured, Capturing

    Capture = Callable[..., Captured]
    Start = Callable[..., Capturing]
    Sample = Callable[[str], Path]

pytestmark = pytest.mark.integration
PLAIN = ("--skip", "coverage")  # where coverage is not the point: tracing costs half of the time
AUTOLOAD = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def files_of(root: Path) -> dict[str, str]:
    """Every file with its hash, but git's own."""
    paths = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def junit_outcomes(report: Path) -> dict[str, str]:
    """Each test of a JUnit file by class and name, with what its element says became of it."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        said = [child.get("type") or child.tag if child.tag == "skipped" else child.tag for child in case]
        found[f"{case.get('classname')}::{case.get('name')}"] = said[0] if said else "passed"
    return found


def pytest_itself(root: Path, *args: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Outcomes by pytest's own JUnit file and totals by `coverage run`, its report and nothing else."""
    out = root.parent / "itself"
    out.mkdir()
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COVERAGE_FILE": str(out / "data")}
    lines = [
        ["coverage", "run", "--branch", "-m", "pytest", "-q", f"--junitxml={out}/junit.xml", *args],
        ["coverage", "json", "-q", "-o", f"{out}/coverage.json"],
    ]
    for line in lines:
        subprocess.run([sys.executable, "-m", *line], cwd=root, env=env, capture_output=True, check=False)
    totals: dict[str, Any] = json.loads((out / "coverage.json").read_text())["totals"]
    return junit_outcomes(out / "junit.xml"), totals


def counted(coverage: dict[str, Any]) -> list[int]:
    return [coverage[key] for key in ("statements", "statements_covered", "branches", "branches_covered")]


def numbers_only(document: Any) -> Any:
    """A document without what may differ between two captures: times, run id, digests."""
    if isinstance(document, list):
        return [numbers_only(item) for item in document]
    if not isinstance(document, dict):
        return document
    volatile = {"run_id", "generated_at", "sha256", "seconds", "start", *("setup", "call", "teardown")}
    volatile |= {"all", "phases", "slowest", "durations", "capture", "pytest_args"}
    return {key: numbers_only(value) for key, value in document.items() if key not in volatile}


def test_a_capture_says_what_pytest_and_coverage_say_and_leaves_the_project_alone(
    sample: Sample, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sample("passing")
    for line in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["checkout", "-q", "--detach"]):
        subprocess.run([*GIT, *line], cwd=root, check=True)
    head = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    before = files_of(root)
    first = capture(root, "-q")
    assert (first.code, files_of(root)) == (0, before)
    outcomes, totals = pytest_itself(root, "-p", "no:cacheprovider")

    baseline = first.read("baseline.metrics.json")
    assert counted(baseline["coverage"]) == [
        totals[key] for key in ("num_statements", "covered_lines", "num_branches", "covered_branches")
    ]
    (history,) = (first.artifacts / "history").iterdir()
    assert junit_outcomes(history) == outcomes
    assert baseline["outcomes"]["tests"] == len(outcomes)
    assert Counter(outcomes.values()) == {"passed": 3, "pytest.skip": 1, "pytest.xfail": 1}
    assert (baseline["commit"], baseline["dirty"]) == (head.stdout.strip(), False)
    assert baseline["population"]["percent"] >= 95
    assert baseline["partial"] is None
    assert f"baseline         sha256:{baseline['sha256']}" in first.out
    assert (first.artifacts / "baseline.metrics.hash").read_text() == f"sha256:{baseline['sha256']}\n"
    markers = first.read("markers.usage.json")
    assert {"never", "slow"} <= {row["name"] for row in markers["markers"] if row["registered"]}
    assert ("never" in markers["unused"], "slow" in markers["unused"]) == (True, False)
    covered = {row["path"]: row["covered_by"] for row in first.read("test.map.json")["sources"]}
    assert covered["numbers_of.py"] == [{"file": 0, "lines": "2-6"}]

    published = root / "artifacts" / "foundation"  # all that a fresh checkout would have of the reference
    published.mkdir(parents=True)
    (first.artifacts / "reference.metrics.json").rename(published / "reference.metrics.json")
    second = capture(root, "-q", f"--junitxml={root}.xml")
    assert second.code == 0
    assert junit_outcomes(root.with_name("passing.xml")) == outcomes
    named = {prop.get("name"): prop.get("value") for prop in ET.parse(f"{root}.xml").iter("property")}
    assert named == {"commit": baseline["commit"], "run_id": second.read("durations.json")["run_id"]}
    for name in ("durations.json", "markers.usage.json", "baseline.metrics.json", "test.map.json"):
        one, two = (numbers_only(json.loads(text)) for text in (first_of(first, name), first_of(second, name)))
        assert one == two, name
    assert second.read("reference.metrics.json")["run_id"] == baseline["run_id"]
    assert len(list((second.artifacts / "history").iterdir())) == 2
    log = [(event["event"], event.get("exit"), event.get("new")) for event in second.events()]
    recorded = [("metrics_capture_start", None, None), ("coverage_ladder_recorded", None, True)]
    again = [("metrics_capture_start", None, None), ("coverage_ladder_recorded", None, False)]
    complete = ("metrics_capture_complete", 0, None)
    assert log == [*recorded, complete, *again, complete]


def first_of(captured: Captured, name: str) -> str:
    return (captured.artifacts / name).read_text()


def test_every_failure_is_told_by_phase_without_its_secrets(sample: Sample, capture: Capture) -> None:
    captured = capture(sample("failing"), "-q", flags=PLAIN)
    assert captured.code == 1
    outcomes = {row["id"].partition("::")[2]: row["outcome"] for row in captured.read("durations.json")["tests"]}
    assert outcomes == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_setup_error": "error",
        "test_teardown_error": "error",
        "test_fails_twice": "failed",
    }
    (history,) = (captured.artifacts / "history").iterdir()
    text = history.read_text()
    assert "failed on setup with RuntimeError: no database at https://" in text
    assert "hunter22" not in text


def test_a_project_with_its_own_events_module_gets_it(sample: Sample, capture: Capture) -> None:
    captured = capture(sample("own_events"), "-q", flags=PLAIN)
    assert (captured.code, captured.read("baseline.metrics.json")["outcomes"]["passed"]) == (0, 3), captured.out


def test_unittest_classes_and_subtests_count_as_pytest_counts_them(sample: Sample, capture: Capture) -> None:
    captured = capture(sample("unittest_style"), "-q", flags=PLAIN)
    counts = captured.read("baseline.metrics.json")["outcomes"]
    assert captured.code == 1
    assert [counts[key] for key in ("tests", "passed", "failed", "skipped")] == [4, 2, 1, 1]
    assert (counts["subtests_passed"], counts["subtests_failed"]) == (5, 1)
    assert "1 failed, 3 passed, 1 skipped, 5 subtests passed" in captured.out  # its failed subtest, by name


def test_five_thousand_hostile_ids_come_through_whole(sample: Sample, capture: Capture) -> None:
    root = sample("hostile_ids")
    captured = capture(root, "-q", flags=PLAIN)
    assert captured.code == 0
    module = runpy.run_path(str(root / "test_hostile_ids.py"))
    names = [*(f"test_hostile[{name}]" for name in module["NAMES"]), *(f"test_many[{n}]" for n in module["NUMBERS"])]
    assert len(names) == 5000
    rows = captured.read("durations.json")["tests"]
    assert [row["id"] for row in rows] == sorted(f"test_hostile_ids.py::{name}" for name in names)
    (history,) = (captured.artifacts / "history").iterdir()
    shown = {name.replace("\x1b", "#x1B") for name in names}
    assert {case.get("name") for case in ET.parse(history).iter("testcase")} == shown


def test_no_tests_is_no_answer_and_leaves_earlier_evidence(sample: Sample, capture: Capture) -> None:
    root = sample("empty")
    captured = capture(root, "-q", flags=PLAIN)
    assert captured.code == 2
    assert (
        captured.err
        == f"collect_metrics.py: error: {root}: pytest collected no tests; give paths or options after --\n"
    )
    assert [path.name for path in captured.artifacts.iterdir()] == ["events.log.jsonl"]
    assert [event["event"] for event in captured.events()] == ["metrics_capture_start", "metrics_capture_complete"]


def test_a_file_that_cannot_be_collected_is_a_failure_with_its_name(sample: Sample, capture: Capture) -> None:
    root = sample("collect_error")
    captured = capture(root, "-q", flags=PLAIN)
    assert captured.code == 1
    assert captured.err.endswith(
        "1 files could not be collected, first test_broken.py: ModuleNotFoundError; mend it\n"
    )
    assert not (captured.artifacts / "baseline.metrics.json").exists()
    captured = capture(root, "-q", "--continue-on-collection-errors", flags=PLAIN)
    baseline = captured.read("baseline.metrics.json")
    assert (captured.code, baseline["outcomes"]["passed"], baseline["outcomes"]["collect_errors"]) == (1, 1, 1)
    assert baseline["partial"]["reason"] == "1 files could not be collected"


def test_a_suite_that_stops_itself_early_is_partial_and_moves_no_ladder(sample: Sample, capture: Capture) -> None:
    root = sample("failing")
    (root / "pytest.ini").write_text("[pytest]\naddopts = --maxfail=1\n")
    captured = capture(root, "-q")
    assert captured.code == 1
    assert captured.read("baseline.metrics.json")["partial"] == {
        "reason": "stopping after 1 failures",
        "in_flight": [],
    }
    assert not (captured.artifacts / "coverage-ladder.yaml").exists()
    assert not (captured.artifacts / "test.map.json").exists()
    assert "partial: stopping after 1 failures" in captured.err


def test_pytest_ended_by_a_test_with_a_good_status_is_still_partial(tmp_path: Path, capture: Capture) -> None:
    root = tmp_path / "ends"
    root.mkdir()
    (root / "test_ends.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('enough', returncode=0)\ndef test_c(): pass\n"
    )
    captured = capture(root, "-q", flags=PLAIN)
    baseline = captured.read("baseline.metrics.json")
    assert (captured.code, baseline["partial"]["in_flight"]) == (2, ["test_ends.py::test_b"])


def test_what_finished_before_a_crash_is_kept_with_the_test_in_flight(sample: Sample, capture: Capture) -> None:
    captured = capture(sample("crashing"), "-q", flags=PLAIN)
    baseline = captured.read("baseline.metrics.json")
    assert (captured.code, baseline["outcomes"]["tests"]) == (2, 1)
    assert baseline["partial"]["in_flight"] == ["test_crashing.py::test_dies"]
    assert "the suite's process ended with status 3; in flight: test_crashing.py::test_dies" in captured.err


def hang(start: Start, root: Path) -> Capturing:
    """A capture whose suite hangs by now in its second test."""
    capturing = start(root, "-q", flags=PLAIN)
    while not (root / "hanging").exists():
        assert capturing.process.poll() is None
        time.sleep(0.02)
    return capturing


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_capture_writes_what_it_has(
    number: signal.Signals, sample: Sample, start_capture: Start
) -> None:
    capturing = hang(start_capture, sample("hanging"))
    capturing.process.send_signal(number)
    captured = capturing.end()
    assert captured.code == 2
    assert f"partial: interrupted by {number.name}; in flight: test_hanging.py::test_hangs" in captured.err
    assert captured.read("baseline.metrics.json")["outcomes"]["tests"] == 1
    assert [event["event"] for event in captured.events()] == ["metrics_capture_start", "metrics_capture_complete"]


def test_a_killed_capture_is_recovered_from_its_records(
    sample: Sample, start_capture: Start, capture: Capture
) -> None:
    root = sample("hanging")
    capturing = hang(start_capture, root)
    os.killpg(capturing.process.pid, signal.SIGKILL)
    assert capturing.end().code == -signal.SIGKILL
    captured = capture(root, flags=("--recover", *PLAIN))
    baseline = captured.read("baseline.metrics.json")
    assert captured.code == 2
    assert (baseline["outcomes"]["tests"], baseline["partial"]["reason"]) == (1, "the capture was killed")


def test_a_suite_that_hangs_is_stopped_by_its_timeout(sample: Sample, capture: Capture) -> None:
    captured = capture(sample("hanging"), "-q", flags=(*PLAIN, "--timeout", "2"))
    assert captured.code == 2
    assert "stopped after --timeout 2 s" in captured.err  # how far it came by then depends on the machine


def test_no_unrecorded_lock_nor_closed_stream_nor_safe_path_stops_a_capture(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sample("passing")
    (root / "src").mkdir()
    (root / "numbers_of.py").rename(root / "src" / "numbers_of.py")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # the import path begins with the first of PYTHONPATH
    monkeypatch.setenv("PYTHONPATH", "src")
    (root / "uv.lock").write_text('version = 1\n[[package]]\nname = "pytest"\nversion = "1.0"\n')
    script = Path(__file__).resolve().parents[2] / "scripts" / "tests" / "collect_metrics.py"
    command = [sys.executable, str(script), "--root", str(root), "--quiet", *PLAIN, "--skip", "flakes"]
    closed = {"stdout": None, "stderr": None, "preexec_fn": lambda: os.closerange(0, 3)}  # as a daemon may start it
    assert subprocess.run(command, check=False, **closed).returncode == 0  # type: ignore[call-overload]
    assert read_artifact(root / "artifacts" / "env.signature.json")["recorded"] is False


def test_a_broken_coverage_configuration_is_one_line(sample: Sample, capture: Capture) -> None:
    root = sample("passing")
    (root / ".coveragerc").write_text("[run\nbroken")
    captured = capture(root)
    assert captured.code == 2
    assert captured.err.startswith(f"collect_metrics.py: error: {root}: coverage cannot start: ")
    assert len(captured.err.splitlines()) == 1


def test_a_disk_that_is_full_neither_fails_the_suite_nor_loses_its_records(
    sample: Sample, start_capture: Start, capture: Capture
) -> None:
    root = sample("passing")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, before[1]))
    try:
        capturing = start_capture(root, "-q")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    full = capturing.end()
    assert (full.code, len(full.err.splitlines())) == (2, 1)
    assert "coverage cannot be saved: " in full.err
    assert "3 passed" in full.out
    assert not (full.artifacts / "baseline.metrics.json").exists()
    recovered = capture(root, flags=("--recover", *PLAIN))
    assert recovered.read("baseline.metrics.json")["outcomes"]["tests"] == 5


SPREAD = {
    "work.py": "def inside(n):\n    return n\n\n\ndef outside(n):\n    if n:\n        return n + 2\n    return 0\n",
    "child.py": "import work\n\nwork.outside(1)\n",
    "test_inside.py": "import work\n\n\ndef test_inside():\n    assert work.inside(1) == 1\n",
    "test_work.py": """import multiprocessing
import subprocess
import sys

import work


def test_process():
    assert subprocess.run([sys.executable, "child.py"], check=True).returncode == 0


def test_fork():
    process = multiprocessing.get_context("fork").Process(target=work.outside, args=(0,))
    process.start()
    process.join()
""",
}
CONFIGURATIONS = {
    "parallel = true\ndynamic_context = test_function\nrelative_files = true\ncontext = mine\n": [2],
    "patch = subprocess\nsource = .\n": [2, 6, 7],
    "concurrency = multiprocessing\nparallel = true\nbranch = true\n": [2, 6, 8],
    "concurrency = multiprocessing\n": [2, 6, 8],
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=["contexts", "subprocess", "branches", "lines"])
def test_a_projects_own_coverage_configuration_holds(configuration: str, tmp_path: Path, capture: Capture) -> None:
    root = tmp_path / "spread"
    root.mkdir()
    for name, text in SPREAD.items():
        (root / name).write_text(text)
    (root / ".coveragerc").write_text(f"[run]\n{configuration}")
    before = files_of(root)
    captured = capture(root, "-q")
    assert (captured.code, files_of(root)) == (0, before), captured.err
    files = {
        element.get("filename"): element for element in ET.parse(captured.artifacts / "coverage.xml").iter("class")
    }
    hit = [int(line.get("number", "")) for line in files["work.py"].iter("line") if line.get("hits") != "0"]
    assert hit == sorted([1, 5, *CONFIGURATIONS[configuration]])
    contexts = {row["path"]: row["covered_by"] for row in captured.read("test.map.json")["sources"]}
    assert contexts["work.py"] == [{"file": 0, "lines": "2"}]


def test_shards_merge_into_what_one_capture_says(sample: Sample, capture: Capture) -> None:
    root = sample("own_conftest")
    (root / "test_more.py").write_text("import shapes\n\n\ndef test_more():\n    assert shapes.area(0) == 0\n")
    whole = capture(root, "-q", TPR_RUN_ID="one")
    names = ("baseline.metrics.json", "durations.json", "markers.usage.json", "test.map.json")
    expected = [numbers_only(whole.read(name)) for name in names]
    cases = [junit_outcomes(whole.artifacts / "history" / "one.xml")]
    shards = [capture(root, "-q", flags=("--shard", f"{number}/2"), TPR_RUN_ID="two") for number in (1, 2)]
    assert [shard.code for shard in shards] == [0, 0]
    places = [str(whole.artifacts / "shards" / f"{number}-of-2") for number in (1, 2)]
    read = [read_artifact(Path(place, "baseline.metrics.json")) for place in places]
    assert [(shard["scope"]["shard"], shard["ladder"]) for shard in read] == [("1/2", None), ("2/2", None)]
    assert [bool(shard["outcomes"]["tests"]) for shard in read] == [True, True]
    merged = capture(root, flags=("--merge", *places), TPR_RUN_ID="two")
    assert merged.code == 0, merged.err
    assert [numbers_only(merged.read(name)) for name in names] == expected
    assert [junit_outcomes(merged.artifacts / "history" / "two.xml")] == cases
    assert merged.events()[-2]["measured"] == whole.events()[1]["measured"]


def test_shards_under_xdist_give_the_same_numbers_as_one_process(
    sample: Sample, capture: Capture, plugins_python: str
) -> None:
    root, seen = sample("own_conftest"), []
    xdist = ("-p", "xdist", "-n", "2")
    shards = [f"{root}.artifacts/shards/{number}-of-2" for number in (1, 2)]
    ways = [
        ((), ()),
        (xdist, ()),
        (xdist, ("--shard", "1/2")),
        (xdist, ("--shard", "2/2")),
        ((), ("--merge", *shards)),
    ]
    for way, flags in ways:
        captured = capture(root, "-q", "--own=given", *way, flags=flags, python=plugins_python, TPR_RUN_ID="one")
        assert captured.code == 0, captured.out
        durations, markers = captured.read("durations.json")["tests"], captured.read("markers.usage.json")
        coverage, covered = captured.read("baseline.metrics.json")["coverage"], captured.read("test.map.json")
        used = {row["name"]: row["tests"] for row in markers["markers"] if row["tests"]}
        seen.append([[row["id"] for row in durations], used, markers["unregistered"], coverage, covered["sources"]])
    assert seen[0] == seen[-1]
    assert {row["worker"] for row in durations} == {"gw0", "gw1"}


def test_a_random_order_changes_no_list(sample: Sample, capture: Capture, plugins_python: str) -> None:
    root = sample("own_conftest")
    lists = []
    for seed in ("1", "2"):
        shuffled = ("-p", "randomly", f"--randomly-seed={seed}")
        captured = capture(root, "-q", *shuffled, flags=PLAIN, python=plugins_python)
        assert captured.code == 0, captured.out
        rows = captured.read("durations.json")["tests"]
        lists.append([row["id"] for row in rows])
        assert [row["id"] for row in sorted(rows, key=lambda row: row["start"])] != lists[-1]
    assert lists[0] == lists[1]


RETRIED = """import pytest

TRIES = []


@pytest.mark.flaky(reruns=2)
def test_recovers():
    TRIES.append(1)
    assert len(TRIES) > 2, f"try {len(TRIES)}"


@pytest.mark.flaky(reruns=1)
def test_never():
    raise ValueError("never")
"""


def test_a_retried_test_is_one_test_with_the_texts_of_its_attempts(
    tmp_path: Path, capture: Capture, plugins_python: str
) -> None:
    root = tmp_path / "retried"
    root.mkdir()
    (root / "test_retried.py").write_text(RETRIED)
    captured = capture(root, "-q", "-p", "rerunfailures", flags=PLAIN, python=plugins_python)
    counts = captured.read("baseline.metrics.json")["outcomes"]
    assert captured.code == 1
    assert [counts[key] for key in ("tests", "passed", "failed", "retried_attempts")] == [2, 1, 1, 3]
    (history,) = (captured.artifacts / "history").iterdir()
    cases = {case.get("name"): case for case in ET.parse(history).iter("testcase")}
    assert [child.get("message") for child in cases["test_recovers"]][:1] == ["AssertionError: try 1"]
    assert [child.tag for child in cases["test_recovers"]] == ["flakyFailure", "flakyFailure"]
    assert [child.tag for child in cases["test_never"]] == ["failure", "rerunFailure"]


def test_pytest_cov_in_addopts_neither_disturbs_nor_judges(
    sample: Sample, capture: Capture, plugins_python: str
) -> None:
    root = sample("passing")
    with (root / "pytest.ini").open("a") as stream:
        stream.write("addopts = --cov=numbers_of --cov-fail-under=100 --cov-report=html\n")
    before = files_of(root)
    captured = capture(root, "-q", "-p", "no:randomly", python=plugins_python, **AUTOLOAD)
    assert (captured.code, files_of(root)) == (0, before), captured.out
    assert captured.read("baseline.metrics.json")["coverage"]["statements_covered"] > 0
    assert "fail-under" not in captured.out
