"""The laws of a capture's thinking: records to numbers, numbers to artifacts, and one clear line on bad input."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import statistics
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import collect_metrics as collect
import pytest
from collect_metrics import Capture, Stopwatch, Suite
from events import LOG_NAME, EvidenceError, Run, read_artifact, read_log

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.unit
QUICK = ("--skip", "environment", "--skip", "flakes", "--skip", "coverage")
NAMES = ("plain", "ünïcödé-\u202e", "new\nline", "<b>&amp;\"'", "\x1b[31m\x00", "a::b/c[d]", "\ud800", "x" * 10_000)


def record(name: str, outcome: str = "passed", **more: Any) -> dict[str, Any]:
    """One test's record, as conftest.py writes it."""
    seconds = {"setup": 0.001, "call": 0.01, "teardown": 0.002}
    return {"id": name, "outcome": outcome, "start": 1.0, "markers": [], "worker": "", **seconds, **more}


def failure(phase: str = "call", text: str = "E   ValueError: no") -> dict[str, str]:
    return {"phase": phase, "type": "ValueError", "text": text}


def stream(*rows: Mapping[str, Any]) -> list[str]:
    return [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]


def whole_suite(*tests: dict[str, Any]) -> list[str]:
    """The lines of a session that came to its end."""
    head: list[dict[str, Any]] = [
        {"core": "ctrace"},
        {"rootdir": "/p", "registered": ["slow"]},
        {"collected": len(tests)},
    ]
    middle = [row for test in tests for row in ({"start": test["id"]}, test)]
    red = any(test["outcome"] in collect.RED for test in tests)
    return stream(*head, *middle, {"exit": int(red), "stop": None})


def killed_capture(artifacts: Path, lines: list[str], run_id: str = "dead") -> Path:
    """What a capture that was killed leaves in its private folder."""
    folder = artifacts / ".capture" / f"{run_id}-1"
    folder.mkdir(parents=True)
    (folder / "alive").touch()
    (folder / "settings.json").write_text(json.dumps({"run_id": run_id, "commit": "c" * 40, "dirty": True}))
    (folder / "records.jsonl").write_text("".join(lines), "utf-8", "backslashreplace")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("collect_metrics", tmp_path, tmp_path / "artifacts")


def test_records_tell_tests_in_flight_deselected_registered_and_the_first_failure() -> None:
    rows: list[dict[str, Any]] = [
        {"registered": ["slow"], "rootdir": "/p"},
        {"deselected": 2},
        {"collected": 3},
        {"deselected": 1},
        {"collected": 2},
    ]
    rows += [
        {"start": "a"},
        record("a"),
        {"start": "b"},
        record("b", "failed"),
        {"start": "c"},
        {"start": "d"},
        {"not_begun": "d"},
    ]
    suite = collect.read_records(stream(*rows))
    assert [test["id"] for test in suite.tests] == ["a", "b"]
    assert (suite.in_flight, suite.deselected, suite.collected, suite.registered) == (("c",), 3, 3, ["slow"])
    assert suite.first_red == record("b", "failed")
    assert (suite.exit, suite.torn, collect.verdict(suite)) == (None, 0, 1)


def test_a_file_that_cannot_be_collected_is_the_first_failure() -> None:
    error = {"collect_error": "t.py", "type": "ImportError", "text": "no"}
    suite = collect.read_records(stream(error, {"exit": 2, "stop": None}))
    assert (suite.first_red, suite.collect_errors) == (error, [error])


def test_a_stream_cut_at_any_byte_loses_the_cut_line_alone(tmp_path: Path) -> None:
    data = "".join(whole_suite(*map(record, NAMES))).encode("utf-8", "backslashreplace")
    folder = killed_capture(tmp_path, [])
    for cut in random.Random(1).sample(range(len(data)), 100):
        (folder / "records.jsonl").write_bytes(data[:cut])
        *lines, rest = data[:cut].split(b"\n")
        lines += [rest] if rest in data.split(b"\n") else []
        suite = Capture(folder).suite()
        assert len(suite.tests) == sum(line.startswith(b'{"id"') for line in lines)
        assert suite.torn == bool(rest and rest not in lines)


def test_many_lines_at_once_read_as_one_by_one() -> None:
    lines = stream(*(record(str(number)) for number in range(2500)))
    torn = [*lines[:1200], '{"id":"torn","outco', *lines[1200:]]
    assert [test["id"] for test in collect.read_records(torn).tests] == [str(number) for number in range(2500)]
    assert collect.read_records(torn).torn == 1
    assert collect.read_records(["5\n", "null\n", "[]\n"]).torn == 3


ENDED = {"exit": 0, "rootdir": "/p", "collected": 1, "tests": [record("a")]}


@pytest.mark.parametrize(
    ("facts", "status", "stopped", "reason"),
    [
        (ENDED, 0, None, None),
        (ENDED | {"exit": 1}, 1, None, None),
        (ENDED, 0, "interrupted by SIGINT", "interrupted by SIGINT"),
        (ENDED | {"exit": None}, -9, None, "the suite's process was killed by SIGKILL"),
        (ENDED | {"exit": None}, -99, None, "the suite's process was killed by signal 99"),
        (ENDED | {"exit": None}, 3, None, "the records end in the middle; the suite's process ended with status 3"),
        (ENDED | {"exit": None}, 0, None, "the records end in the middle; the suite's process ended with status 0"),
        ({"exit": None}, 3, None, "pytest had an internal error"),
        ({"exit": None}, 4, None, "pytest refused its arguments"),
        (ENDED | {"exit": 1, "stop": "stopping after 1 failures"}, 1, None, "stopping after 1 failures"),
        (ENDED | {"exit": 2}, 2, None, "interrupted"),
        (ENDED | {"exit": 3}, 3, None, "pytest had an internal error"),
        (ENDED | {"exit": 2, "collect_errors": [{}, {}]}, 2, None, "2 files could not be collected"),
        (ENDED | {"torn": 1}, 0, None, "1 records are torn"),
        (ENDED | {"collected": 3}, 0, None, "2 of 3 collected tests did not finish"),
    ],
)
def test_a_suite_is_partial_for_the_first_reason_that_holds(
    facts: dict[str, Any], status: int, stopped: str | None, reason: str | None
) -> None:
    assert collect.why_partial(Suite(**facts), status, stopped) == reason


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (ENDED, 0),
        (ENDED | {"exit": 1, "tests": [record("a", "failed")]}, 1),
        (ENDED | {"exit": 2, "tests": [record("a", "error")], "reason": "interrupted"}, 1),
        (ENDED | {"exit": 6}, 1),
        (ENDED | {"exit": 2, "reason": "interrupted"}, 2),
        (ENDED | {"exit": None, "reason": "killed"}, 2),
        ({"exit": 5}, 2),
        ({"exit": 0}, 2),
        (ENDED | {"exit": 1, "tests": [], "collect_errors": [{}]}, 1),
    ],
)
def test_a_failure_seen_is_no_whatever_else_and_half_a_suite_is_never_yes(facts: dict[str, Any], code: int) -> None:
    assert collect.verdict(Suite(**facts)) == code


def test_percentiles_are_those_of_the_inclusive_method_and_never_cross() -> None:
    dice = random.Random(2)
    for size in (2, 3, 10, 1000):
        values = [dice.expovariate(100) for _ in range(size)]
        stats = collect.duration_stats(values)
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        assert [stats[f"p{p}"] for p in (50, 90, 95, 99)] == [round(cuts[p - 1], 6) for p in (50, 90, 95, 99)]
        assert stats["count"] == size
        assert stats["total"] == pytest.approx(sum(values), abs=1e-6)
        order = [stats[name] for name in ("p50", "p90", "p95", "p99", "max")]
        assert order == sorted(order)  # type: ignore[type-var]


def test_one_duration_is_every_percentile_and_none_is_null() -> None:
    one = collect.duration_stats([0.5])
    assert {one[name] for name in ("mean", "p50", "p90", "p95", "p99", "max")} == {0.5}
    none = dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))
    assert collect.duration_stats([]) == {"count": 0, "total": 0.0, **none}


def test_the_slowest_are_those_with_the_longest_sum_of_phases_ties_by_id() -> None:
    tests = [record("b", call=3.0), record("a", call=3.0), record("c", setup=9.0), record("d")]
    body = collect.durations_body(Suite(tests=tests), 3)
    assert [row["id"] for row in body["slowest"]] == ["c", "a", "b"]
    assert body["slowest"][0]["seconds"] == pytest.approx(9.012)
    assert (body["phases"]["setup"]["max"], body["all"]["max"]) == (9.0, pytest.approx(9.012))
    assert body["slowest"][1]["call"] == 3.0
    assert [row["id"] for row in body["tests"]] == ["b", "a", "c", "d"]


def test_a_phase_that_did_not_run_took_no_time() -> None:
    kept = {"id": "a", "outcome": "error", "start": 1.0}
    tests = [{**kept, "setup": 0.25, "markers": [], "worker": ""}, {**kept, "markers": [], "worker": "gw1"}]
    rest = {"call": 0.0, "teardown": 0.0}
    body = collect.durations_body(Suite(tests=tests), 1)
    assert body["tests"] == [
        {**kept, **rest, "seconds": 0.25, "setup": 0.25, "worker": None},
        {**kept, **rest, "seconds": 0.0, "setup": 0.0, "worker": "gw1"},
    ]
    assert (body["partial"], body["unit"], body["slowest"]) == (None, "s", body["tests"][:1])


def test_a_marker_is_unused_or_unregistered_by_what_the_suite_says_of_it() -> None:
    tests = [record("a", markers=["slow", "odd"]), record("b", markers=["slow"])]
    body = collect.markers_body(Suite(tests=tests, registered=["slow", "never"]))
    assert body["markers"] == [
        {"name": "never", "registered": True, "tests": 0},
        {"name": "odd", "registered": False, "tests": 1},
        {"name": "slow", "registered": True, "tests": 2},
    ]
    assert (body["unused"], body["unregistered"]) == (["never"], ["odd"])


def test_every_test_counts_once_by_its_outcome_and_attempts_and_subtests_beside() -> None:
    tests = [record(str(number), outcome) for number, outcome in enumerate(collect.OUTCOMES)]
    tests += [
        record("r", attempts=[failure(), failure()]),
        record("s", "failed", subtests={"failed": 1}),
        record("t", subtests={"passed": 2}),
    ]
    counts = collect.outcome_counts(Suite(tests=tests, deselected=4, collect_errors=[{}]))
    assert sum(counts[outcome] for outcome in collect.OUTCOMES) == counts["tests"] == 9
    assert [counts[name] for name in ("retried_attempts", "subtests_passed", "subtests_failed")] == [2, 2, 1]
    assert (counts["deselected"], counts["collect_errors"]) == (4, 1)


def test_junit_gives_back_every_name_a_file_can_hold() -> None:
    tests = [record(f"sub/test_a.py::TestA::test_b[{name}]") for name in NAMES]
    root = ET.fromstring(collect.junit(Suite(tests=tests), "run", "c" * 40, True))
    for case, name in zip(root.iter("testcase"), NAMES, strict=True):
        shown = name.replace("\x1b", "#x1B").replace("\x00", "#x00").replace("\ud800", "#xD800")
        assert case.attrib["name"] == f"test_b[{shown}]"
        assert (case.attrib["classname"], case.attrib["file"]) == ("sub.test_a.TestA", "sub/test_a.py")
    properties = {prop.attrib["name"]: prop.attrib["value"] for prop in root.iter("property")}
    assert properties == {"run_id": "run", "commit": "c" * 40, "dirty": "true"}


def test_junit_keeps_each_attempt_as_surefire_does() -> None:
    tests = [
        record("recovered", attempts=[failure(text="E   ValueError: first"), failure()]),
        record("broken", "failed", attempts=[failure(), failure()], failures=[failure()]),
        record("plain", "failed", failures=[failure(), failure("teardown", "E   OSError: late\nat the end")]),
        record("skipped", "skipped", reason="not <today>"),
        record("known", "xfailed", reason="bug 1"),
    ]
    root = ET.fromstring(collect.junit(Suite(tests=tests, reason="killed"), "run", None, False))
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    tags = {name: [child.tag for child in case] for name, case in cases.items()}
    assert tags == {
        "recovered": ["flakyFailure", "flakyFailure"],
        "broken": ["failure", "rerunFailure", "rerunFailure"],
        "plain": ["failure", "error"],
        "skipped": ["skipped"],
        "known": ["skipped"],
    }
    assert cases["recovered"][0].attrib["message"] == "ValueError: first"
    assert cases["plain"][1].attrib["message"] == "failed on teardown with OSError: late"
    assert cases["plain"][1].text == "E   OSError: late\nat the end"
    assert [case[0].attrib["type"] for case in (cases["skipped"], cases["known"])] == ["pytest.skip", "pytest.xfail"]
    suite = root[0].attrib
    assert [suite[key] for key in ("tests", "failures", "errors", "skipped")] == ["5", "2", "0", "2"]


COVERAGE_XML = """<?xml version="1.0" ?>
<coverage line-rate="0.9" branch-rate="0.1"><sources><source>{root}/src</source></sources><packages><package><classes>
<class filename="z.py"><lines><line number="1" hits="1"/><line number="2" hits="0"/></lines></class>
<class filename="a.py"><lines><line number="1" hits="3"/>
<line number="4" hits="1" branch="true" condition-coverage="50% (1/2)" missing-branches="6"/>
<line number="6" hits="1" branch="true" condition-coverage="100% (2/2)"/></lines></class>
</classes></package></packages></coverage>"""


def test_coverage_is_counted_line_by_line_not_read_from_rounded_rates(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").touch()
    report = tmp_path / "coverage.xml"
    report.write_text(COVERAGE_XML.format(root=tmp_path))
    found = collect.coverage_counts(report, tmp_path)
    assert (found["statements"], found["statements_covered"], found["branches"], found["branches_covered"]) == (
        5,
        4,
        4,
        3,
    )
    assert (found["line_percent"], found["branch_percent"]) == (80.0, 75.0)
    assert [row["path"] for row in found["files"]] == ["src/a.py", "z.py"]
    assert found["files"][0] == {
        "path": "src/a.py",
        "statements": 3,
        "statements_covered": 3,
        "branches": 4,
        "branches_covered": 3,
    }


@pytest.mark.parametrize(
    "text", ["", "<class/>", '<line condition-coverage="50% (x/2)"/>', "<!DOCTYPE a [<!ENTITY e 'x'>]><a/>"]
)
def test_a_report_that_is_none_of_coverages_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "coverage.xml").write_text(text)
    with pytest.raises(EvidenceError, match="expected coverage's report, got"):
        collect.coverage_counts(tmp_path / "coverage.xml", tmp_path)


def test_nothing_to_measure_has_no_percentage(tmp_path: Path) -> None:
    report = tmp_path / "coverage.xml"
    report.write_text("<coverage/>")
    found = collect.coverage_counts(report, tmp_path)
    assert (found["statements"], found["line_percent"], found["branch_percent"]) == (0, None, None)


@pytest.mark.parametrize(("lines", "text"), [([], ""), ([4], "4"), ([3, 1, 2, 7, 10, 9], "1-3,7,9-10")])
def test_line_numbers_are_written_as_ranges(lines: list[int], text: str) -> None:
    assert collect.line_ranges(lines) == text


def test_population_counts_every_leaf_and_calls_null_alone_empty() -> None:
    body: dict[str, Any] = {"partial": None, "a": {"b": 0, "c": None, "d": [], "e": {"f": "", "g": {}}}, "h": None}
    assert collect.population(body) == {"fields": 6, "populated": 4, "percent": pytest.approx(100 * 4 / 6)}


def test_history_keeps_the_last_thirty_and_never_overwrites_a_run(run: Run) -> None:
    suite = Suite(tests=[record("a")])
    for number in range(33):
        collect.keep_history(suite, run, (f"run {number // 2}", "c" * 40, False))
        path = max((run.artifacts / "history").iterdir(), key=lambda file: file.stat().st_ctime_ns)
        os.utime(path, ns=(number, number))
    names = {path.name for path in (run.artifacts / "history").iterdir()}
    assert len(names) == 30
    assert {"run-15.xml", "run-15.2.xml", "run-16.xml"} <= names
    assert not names & {"run-0.xml", "run-0.2.xml"}


@pytest.mark.parametrize(
    ("run_id", "name"), [("a b/c", "a-b-c"), ("../x", "-x"), (".", "run"), ("\u65e5" * 200, "-" * 100)]
)
def test_whatever_a_run_is_called_its_history_has_a_name_that_is_found(run: Run, run_id: str, name: str) -> None:
    """A hidden file is no history, and a file system takes 255 bytes."""
    collect.keep_history(Suite(tests=[record("a")]), run, (run_id, None, False))
    assert [path.name for path in (run.artifacts / "history").iterdir()] == [f"{name}.xml"]


def test_recovered_metrics_hold_every_finished_test_and_name_the_running_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = tmp_path / "artifacts"
    killed_capture(artifacts, whole_suite(record("old"))[:-1], "older")
    last = whole_suite(record("b", "failed", failures=[failure()]), record("a"))
    folder = killed_capture(artifacts, [*last[:-1], *stream({"start": "c"}), '{"id":"c","outc'])
    os.utime(folder / "alive", (2e9, 2e9))
    assert collect.main(["--recover", "--root", str(tmp_path), *QUICK]) == 1
    baseline = read_artifact(artifacts / "baseline.metrics.json")
    assert baseline["partial"] == {"reason": "the capture was killed", "in_flight": ["c"]}
    assert (baseline["commit"], baseline["dirty"]) == ("c" * 40, True)
    assert [row["id"] for row in read_artifact(artifacts / "durations.json")["tests"]] == ["a", "b"]
    assert {path.name for path in (artifacts / "history").iterdir()} == {"older.xml", "dead.xml"}
    assert not (artifacts / ".capture").exists()
    assert "partial: the capture was killed; in flight: c" in capsys.readouterr().err


def test_an_interruption_before_pytests_session_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(pytest, "main", interrupted)
    monkeypatch.setattr(collect, "enter_suite", str)
    monkeypatch.setattr(sys, "argv", [])
    assert collect.run_suite("settings", []) == 2


@pytest.mark.parametrize("row", [{"id": []}, {"id": "a"}, {"deselected": "x"}, {"start": {}}], ids=str)
def test_records_that_nobody_wrote_are_refused_in_a_line(
    tmp_path: Path, row: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    killed_capture(tmp_path / "artifacts", [*whole_suite(record("a")), *stream(row)])
    assert collect.main(["--recover", "--quiet", "--root", str(tmp_path), *QUICK]) == 2
    assert "expected the records of a capture, got" in capsys.readouterr().err


def test_secrets_stay_out_of_every_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "tellnobody")
    test = record("t[tellnobody]", "skipped", reason="no tellnobody", markers=["tellnobody"])
    killed_capture(tmp_path / "artifacts", whole_suite(test))
    assert collect.main(["--recover", "--quiet", "--root", str(tmp_path), *QUICK]) == 2
    written = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert len(written) > 4
    assert not [path for path in written if b"tellnobody" in path.read_bytes()]


def test_tests_whose_names_differ_in_a_secret_stay_apart(tmp_path: Path) -> None:
    tests = [record(f"t.py::test_url[ghp_{part * 18}]") for part in ("a1", "b2")]
    folder = killed_capture(tmp_path, whole_suite(*tests))
    ids = [test["id"] for test in Capture(folder).suite().tests]
    assert ids == [f"t.py::test_url[[redacted]]#{number}" for number in (1, 2)]


def test_the_embedded_digest_the_hash_file_and_an_independent_computation_agree(tmp_path: Path) -> None:
    killed_capture(tmp_path / "artifacts", whole_suite(record("ä")))
    collect.main(["--recover", "--quiet", "--root", str(tmp_path), *QUICK])
    document = json.loads((tmp_path / "artifacts" / "baseline.metrics.json").read_bytes())
    embedded = document.pop("sha256")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == embedded
    assert (tmp_path / "artifacts" / "baseline.metrics.hash").read_text() == f"sha256:{embedded}\n"


def test_any_byte_of_a_baseline_changed_is_found(tmp_path: Path) -> None:
    killed_capture(tmp_path / "artifacts", whole_suite(record("a")))
    collect.main(["--recover", "--quiet", "--root", str(tmp_path), *QUICK])
    path = tmp_path / "artifacts" / "baseline.metrics.json"
    good = path.read_bytes()
    for index in {*random.Random(3).sample(range(len(good)), 400), *range(40), *range(len(good) - 80, len(good))}:
        byte = good[index]
        other = byte ^ (1 << index % 7)
        if bytes([byte]).isspace() and bytes([other]).isspace():
            continue  # layout is for people: the content is the same
        path.write_bytes(good[:index] + bytes([other]) + good[index + 1 :])
        with pytest.raises(EvidenceError):
            read_artifact(path)


def test_a_capture_that_holds_its_lock_is_running_and_one_that_does_not_is_dead(tmp_path: Path) -> None:
    first = killed_capture(tmp_path, whole_suite(record("a")), "first")
    second = killed_capture(tmp_path, whole_suite(record("a")), "second")
    with collect.alive(second):
        assert collect.dead_captures(tmp_path) == [Capture(first)]
    assert set(collect.dead_captures(tmp_path)) == {Capture(first), Capture(second)}
    with pytest.raises(EvidenceError, match="cannot be written"), collect.alive(tmp_path / "gone"):
        pass


def test_what_goes_while_it_is_looked_at_was_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two captures in one folder: each removes what it no longer needs."""
    folder, glob = killed_capture(run.artifacts, whole_suite(record("a"))), Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, form: [*glob(path, form), folder / "gone.xml"])
    assert collect.dead_captures(run.artifacts) == [Capture(folder)]
    collect.keep_history(collect.Suite([record("a")]), run, ("r", None, False))
    assert (run.artifacts / "history" / "r.xml").exists()


def test_recovering_nothing_says_whether_a_suite_still_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--recover", "--root", str(tmp_path), *QUICK]
    assert collect.main(argv) == 2
    folder = killed_capture(tmp_path / "artifacts", whole_suite(record("a")))
    with collect.alive(folder):
        assert collect.main(argv) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("expected a killed capture, found none; capture instead")
    assert second.endswith("found one whose suite still runs; wait for its end")
    log = read_log(tmp_path / "artifacts" / LOG_NAME)
    names = [event["event"] for event in log.events]
    assert names == ["metrics_capture_start", "metrics_capture_complete"] * 2


@pytest.mark.parametrize(
    ("repository", "commit", "said"), [(".", None, 1), ("project", None, 1), (".", "c" * 40, 0), (None, None, 0)]
)
def test_where_git_refuses_to_tell_a_commit_it_is_said(
    repository: str | None, commit: str | None, said: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it does for a checkout of another user's, in a container: all evidence would be of no commit, silently."""
    root = tmp_path / "project"
    root.mkdir()
    if repository:
        (tmp_path / repository / ".git").mkdir()
    run = Run("collect_metrics", root, tmp_path / "artifacts")
    run.__dict__["commit"] = (commit, False)
    collect.note_commit(run)
    assert capsys.readouterr().err.count(f"no commit is known; git -C {root} status says why") == said


@pytest.mark.parametrize(
    ("place", "conftest", "measured"),
    [("root", "conftest.py", True), ("root", "scripts/tests/conftest.py", False), ("platform", "conftest.py", False)],
    ids=["the platform itself", "copied", "another project"],
)
def test_only_the_platforms_own_suite_measures_its_scripts(
    place: str, conftest: str, measured: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = run.root if place == "root" else run.root.with_name(place)
    (top / "scripts" / "tests").mkdir(parents=True)
    (top / conftest).write_text("# tpr_conftest\n")
    monkeypatch.setattr(collect, "HERE", top / "scripts" / "tests")
    capture = collect.open_capture(run, collect.parse(["--root", str(run.root)]))
    omitted = json.loads(capture.settings.read_text())["omit"]
    assert omitted == ([] if measured else [f"{top}/scripts/tests/*", str(top / conftest)])


def test_a_measurement_that_the_environment_asks_for_does_not_take_the_place_of_the_captures(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVERAGE_PROCESS_START", ".coveragerc")
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", ":data:{}")
    env = collect.child_env(run, collect.parse(["--root", str(run.root)]))
    assert [name for name in env if name.startswith("COVERAGE_PROCESS")] == []


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (Suite(exit=5), "pytest collected no tests; give paths or options after --"),
        (Suite(exit=0), "no test finished: pytest was not asked to run any; give paths or options after --"),
        (Suite(exit=3), "pytest had an internal error; mend what is said above"),
        (Suite(reason="pytest refused"), "no test finished: pytest refused; mend what is said above"),
    ],
)
def test_a_run_without_a_test_says_what_would_help(suite: Suite, said: str, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError) as caught:
        collect.refuse_empty(suite, collect.parse(["--root", str(tmp_path)]))
    assert str(caught.value) == f"{tmp_path}: {said}"


BAD_VALUES = [
    ("TPR_FAILFAST_MODE", "--failfast-mode", "sotf", "expected one of off, soft, hard, got 'sotf'"),
    ("TPR_COVERAGE_BASELINE", "--coverage-baseline", "high", "expected a number from 0 to 100, got 'high'"),
    ("TPR_COVERAGE_TARGET", "--coverage-target", "101", "expected a number from 0 to 100, got '101'"),
    ("TPR_COVERAGE_TOLERANCE_DROP", "--coverage-tolerance", "nan", "expected a number from 0 to 100, got 'nan'"),
    ("", "--top", "-1", "expected a whole number, got '-1'"),
    ("", "--timeout", "soon", "expected a number of seconds, got 'soon'"),
    ("", "--skip", "all", "invalid choice: 'all'"),
    ("", "--root", "nowhere", "nowhere: expected a folder, got nothing"),
]


@pytest.mark.parametrize("bad", BAD_VALUES, ids=[bad[1] for bad in BAD_VALUES])
def test_a_bad_value_is_refused_alike_as_flag_and_as_variable(
    bad: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key, flag, value, wanted = bad
    ways: list[tuple[list[str], str]] = [([f"{flag}={value}"], "TPR_NOTHING"), ([], key)]
    said = []
    for argv, name in ways if key else ways[:1]:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(SystemExit) as stopped:
                collect.main(argv)
        assert stopped.value.code == 2
        said.append(capsys.readouterr().err)
    assert wanted in said[0]
    assert said[0].count("\n") == 1
    assert set(said) == {said[0]}


def test_a_place_that_cannot_be_written_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "artifacts").write_text("a file")
    assert collect.main(["--root", str(tmp_path), *QUICK]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"collect_metrics.py: error: {tmp_path / 'artifacts'}: cannot be written: ")
    assert said.count("\n") == 1


def test_what_the_interpreter_lacks_is_said_before_the_suite_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("yaml", "coverage") else name)
    monkeypatch.setattr(collect, "run_child", lambda *_: pytest.fail("the suite ran"))
    assert collect.main(["--root", str(tmp_path), "--skip", "environment"]) == 2
    said = capsys.readouterr().err
    assert "expected coverage, PyYAML, found none; " in said
    assert said.rstrip().endswith("-m pip install coverage PyYAML")


def test_a_root_that_cannot_be_entered_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr(Run, "commit", (None, False))
    assert collect.main(["--root", str(tmp_path), *QUICK]) == 2
    assert capsys.readouterr().err.endswith(f"{tmp_path}: no suite can run here: Permission denied; check it\n")


def ladder(run: Run, line: float, branch: float | None, *flags: str) -> tuple[dict[str, Any], bool]:
    measured = {"line_percent": line, "branch_percent": branch}
    return collect.record_ladder(run, collect.parse(["--root", str(run.root), *flags]), measured)


def test_the_ladder_is_written_once_and_only_rebaseline_moves_it(run: Run) -> None:
    first, fresh = ladder(run, 80.0, 60.0)
    assert fresh
    assert first["baseline"]["line"] == 80.0
    assert first["target"] == {"line": 82.0, "branch": 62.0}
    again, fresh = ladder(run, 90.0, 70.0)
    assert not fresh
    assert again == first
    moved, fresh = ladder(run, 90.0, 70.0, "--rebaseline")
    assert fresh
    assert moved["baseline"]["line"] == 90.0
    events = read_log(run.artifacts / LOG_NAME).events
    assert [(event["new"], event["measured"]["line"]) for event in events] == [
        (True, 80.0),
        (False, 90.0),
        (True, 90.0),
    ]
    assert {event["event"] for event in events} == {"coverage_ladder_recorded"}


def test_a_new_ladder_promises_two_points_in_ninety_days(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 86400.0)
    settings = collect.parse(["--root", str(run.root), "--reason", "first"])
    assert collect.new_ladder({"line_percent": 97.0, "branch_percent": 98.5}, "c", settings) == {
        "schema_version": collect.LADDER_VERSION,
        "baseline": {"line": 97.0, "branch": 98.5, "commit": "c", "recorded": "1970-01-02"},
        "target": {"line": 99.0, "branch": 100.0},
        "tolerance": 1.0,
        "horizon": "1970-04-02",
        "reason": "first",
    }


def test_lowering_the_ladder_needs_a_reason_that_stays_in_it(run: Run) -> None:
    ladder(run, 80.0, 60.0)
    ladder(run, 80.0, 60.0, "--rebaseline")
    for line, branch in ((79.9, 60.0), (80.0, 59.9)):
        with pytest.raises(EvidenceError, match="would lower the baseline; say why with --reason TEXT"):
            ladder(run, line, branch, "--rebaseline")
    ladder(run, 79.0, 60.0, "--rebaseline", "--reason=dead code went")
    assert "reason: dead code went" in (run.artifacts / "coverage-ladder.yaml").read_text()


def test_the_promise_comes_from_the_keys_and_a_suite_without_branches_promises_none(run: Run) -> None:
    said, _ = ladder(run, 99.5, None, "--coverage-baseline=50", "--coverage-target=70", "--coverage-tolerance=2.5")
    assert (said["baseline"]["line"], said["baseline"]["branch"]) == (50.0, None)
    assert (said["target"], said["tolerance"]) == ({"line": 70.0, "branch": None}, 2.5)


@pytest.mark.parametrize("text", ["", "[]", "baseline: 3", "baseline: {line: high, branch: 1}", "a: [", "{" * 600])
def test_a_ladder_that_cannot_be_read_is_named_and_replaced_only_with_a_reason(text: str, run: Run) -> None:
    path = run.artifacts / "coverage-ladder.yaml"
    path.write_text(text)
    for flags in ([], ["--rebaseline"]):
        with pytest.raises(EvidenceError, match=r"coverage-ladder.yaml: expected baseline.line and baseline.branch"):
            ladder(run, 1.0, 1.0, *flags)
    assert path.read_text() == text
    assert ladder(run, 1.0, 1.0, "--rebaseline", "--reason=torn")[1] is True


def test_a_ladder_that_cannot_be_read_is_said_before_the_suite_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.artifacts / "coverage-ladder.yaml").write_text("a: [")
    monkeypatch.setattr(collect, "run_child", None)
    assert collect.main(["--root", str(run.root), "--skip", "environment"]) == 2
    assert "expected baseline.line and baseline.branch" in capsys.readouterr().err


def covered_capture(run: Run, **contexts: dict[str, list[int]]) -> Capture:
    """A capture whose coverage data says which context covered which lines of which file."""
    from coverage import CoverageData

    capture = Capture(run.artifacts / ".capture" / "x")
    capture.folder.mkdir(parents=True)
    data = CoverageData(str(capture.data_file))
    for context, files in contexts.items():
        data.set_context(f"{context}.py")
        data.add_lines({str(run.root / name): lines for name, lines in files.items()})
    data.write()
    data.close()
    return capture


def test_the_map_says_which_test_file_covered_which_lines(run: Run) -> None:
    capture = covered_capture(
        run, test_a={"m.py": [1, 2, 3]}, test_b={"m.py": [2, 9], "n.py": [1]}, gone={"n.py": [5]}
    )
    tests = [record("test_a.py::t[1]"), record("test_a.py::t[2]"), record("test_b.py::C::t", "failed")]
    body = collect.line_map(capture, Suite(tests=tests, rootdir=str(run.root)), run)
    assert [(row["path"], row["names"]) for row in body["files"]] == [("test_a.py", ["t"]), ("test_b.py", ["C::t"])]
    assert body["sources"] == [
        {"path": "m.py", "covered_by": [{"file": 0, "lines": "1-3"}, {"file": 1, "lines": "2,9"}]},
        {"path": "n.py", "covered_by": [{"file": 1, "lines": "1"}]},
    ]
    assert (body["failed"], body["rootdir"]) == (["test_b.py::C::t"], ".")


def test_coverage_data_torn_by_a_kill_cost_the_coverage_not_the_tests(run: Run) -> None:
    capture = covered_capture(run, test_a={"m.py": [1]})
    capture.data_file.write_bytes(capture.data_file.read_bytes()[:100])
    assert collect.report_coverage(capture, run, Suite(reason="killed"), nullcontext()) is None
    with pytest.raises(EvidenceError, match="mend it or pass --skip coverage"):
        collect.report_coverage(capture, run, Suite(), nullcontext())


def test_coverage_data_are_read_by_a_version_that_cannot_close_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coverage import CoverageData

    capture = covered_capture(run, test_a={"m.py": [1]})
    monkeypatch.delattr(CoverageData, "close")
    assert [row["path"] for row in collect.line_map(capture, Suite(), run)["sources"]] == ["m.py"]


def test_stages_are_timed_even_when_they_fail() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="x"), watch.stage("one"):
        raise ValueError("x")
    assert list(watch.seconds) == ["one"]


class Process:
    """A suite's process that only notes what is sent to it."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.killed = threading.Event()

    def send_signal(self, number: int) -> None:
        self.got.append(number)

    def kill(self) -> None:
        self.got.append("kill")
        self.killed.set()


def test_the_time_limit_asks_the_suite_to_end_and_a_signal_on_top_kills_it() -> None:
    stops, process = collect.Stops(), Process()
    with stops.handled(), stops.passed_to(process, 0.01):  # type: ignore[arg-type]
        while not process.got:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert process.killed.wait(5)
    assert process.got[:2] == [signal.SIGINT, "kill"]
    assert stops.reasons == ["stopped after --timeout 0.01 s", "interrupted by SIGTERM"]


def test_outside_the_suite_a_signal_is_noted_and_a_second_ctrl_c_ends() -> None:
    stops = collect.Stops()
    with stops.handled():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.reasons == ["interrupted by SIGINT", "interrupted by SIGTERM"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_could_not_be_saved_is_put_down_and_a_folder_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"records": str(tmp_path / "records.jsonl")}))
    collect.give_up(str(settings), "no room")
    assert json.loads((tmp_path / "records.jsonl").read_text()) == {"abort": "no room"}
    settings.unlink()
    collect.give_up(str(settings), "no room")
