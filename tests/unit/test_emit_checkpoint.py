"""The checkpoint proves what the evidence shows, refuses what it does not, and can be recomputed by anyone."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import emit_checkpoint as script
import pytest
from emit_checkpoint import CHECKPOINT, OWN, PAGE, STATEMENT, SUMS, Row, main
from events import LOG_NAME, TAXONOMY, EvidenceError, LogReading, Run, one_line, read_artifact, read_log, sha256

pytestmark = pytest.mark.unit

SAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "samples" / "foundation" / "build_evidence.py"))
RUN_ID: str = SAMPLE["RUN_ID"]
Change = Callable[[Path], object]


@pytest.fixture(autouse=True)
def outside_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is lost here, and it takes most of the time
    for name in ("TPR_RUN_ID", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the evidence of a healthy run, its own files copied beside it, and a published checkpoint."""
    root = tmp_path_factory.mktemp("template")
    SAMPLE["build"](root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "HERE", root / "scripts" / "tests")
        assert main(["--root", str(root), "--quiet", "--publish"]) == 0
    return root


@pytest.fixture
def artifacts(template: Path, tmp_path: Path) -> Path:
    """The evidence alone, with the project's files beside it."""
    copy = tmp_path / "artifacts"
    shutil.copytree(template / "artifacts", copy, ignore=shutil.ignore_patterns("foundation", "foundation.*"))
    return copy


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(template, copy)
    monkeypatch.setattr(script, "HERE", copy / "scripts" / "tests")
    return copy


def put(document: Any, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        document = document[int(key)] if isinstance(document, list) else document[key]
    document[int(last) if isinstance(document, list) else last] = value


def changed(name: str, path: str, value: object) -> Change:
    """An edit of one key of an artifact, with a digest that fits, as a forger would make it."""

    def change(artifacts: Path) -> None:
        edited = SAMPLE["rewrite"](artifacts / name, lambda document: put(document, path, value))
        if name == script.BASELINE:
            (artifacts / script.HASH).write_text(f"sha256:{edited['sha256']}\n")

    return change


def log_change(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Change:
    return lambda artifacts: SAMPLE["relog"](artifacts / LOG_NAME, change)


def chain_broken(artifacts: Path) -> None:
    """The log with two neighbours in each other's place: every event is there."""
    lines = (artifacts / LOG_NAME).read_bytes().splitlines(keepends=True)
    (artifacts / LOG_NAME).write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


def without(event: str, **fields: object) -> Change:
    return log_change(
        lambda rows: [row for row in rows if not (row["event"] == event and fields.items() <= row.items())]
    )


def edited(name: str, **fields: object) -> Change:
    return log_change(lambda rows: [row | fields if row["event"] == name else row for row in rows])


def logged_by(script: str, event: str) -> Change:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [r | {"context": r["context"] | {"script": script}} if r["event"] == event else r for r in rows]

    return log_change(change)


def retyped(name: str, old: str, new: str) -> Change:
    def change(artifacts: Path) -> None:
        text = (artifacts / name).read_text("utf-8")
        assert old in text
        (artifacts / name).write_text(text.replace(old, new, 1), "utf-8")

    return change


def plan_change(old: str, new: str) -> Change:
    """An edit of the plan with a changelog that follows it."""

    def change(artifacts: Path) -> None:
        retyped(f"project/{script.PLAN}", old, new)(artifacts)
        plan = (artifacts / "project" / script.PLAN).read_text("utf-8")
        (artifacts / "project" / script.CHANGELOG).write_text(SAMPLE["changelog"](plan))

    return change


def removed(name: str) -> Change:
    return lambda artifacts: (artifacts / name).unlink()


def on_workers_with_flakes(artifacts: Path) -> None:
    changed(DURATIONS, "tests.0.worker", "gw0")(artifacts)
    changed(script.FLAKES, "flaky", [{"id": "a"}])(artifacts)


def unlogged_verdicts(artifacts: Path) -> None:
    log_change(lambda rows: [row for row in rows if "gates" not in row])(artifacts)


def forged_pass(artifacts: Path) -> None:
    """A verdict of no in the gates' log, edited to yes in the artifact, with a digest that fits."""
    verdicts = {row["gate"]: row["verdict"] for row in read_artifact(artifacts / VERDICTS)["gates"]}
    told = {**verdicts, "coverage": "fail"}
    log_change(lambda rows: [row | {"gates": told} if "gates" in row else row for row in rows])(artifacts)


def refused_again(artifacts: Path) -> None:
    with SAMPLE["run_id"](RUN_ID):
        Run("validate_env", artifacts.parent, artifacts).write(script.REFUSED, "1.0", {"reasons": []})


def another_lock(artifacts: Path) -> None:
    """A lock and its hash that fit each other, but not the environment."""
    lock = artifacts / "project" / "requirements.lock"
    lock.write_bytes(lock.read_bytes() + b"# more\n")
    (artifacts / LOCK_HASH).write_text(f"{sha256(lock.read_bytes())}  requirements.lock\n")


def open_incident(artifacts: Path) -> None:
    (artifacts / script.FORCED_OFF).write_text("{}")


def slow_drill(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = max(place for place, row in enumerate(rows) if row["event"] == "environment_validation_fail")
    return [row | {"seconds": 1.0} if place == last else row for place, row in enumerate(rows)]


def begun_twice(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, {**rows[-1], "event": "property_test_start", "context": {**rows[-1]["context"], "pid": 1}}]


def refused_for_more(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A refusal for more than what was provoked shows nothing of the one reason."""
    last = max(place for place, row in enumerate(rows) if row["event"] == "environment_validation_fail")
    more = {"reasons": [*rows[last]["reasons"], "env_missing"]}
    return [row | more if place == last else row for place, row in enumerate(rows)]


def undrilled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the last drill, its start included."""
    last = max(place for place, row in enumerate(rows) if row["event"] == "environment_validation_fail")
    return [row for place, row in enumerate(rows) if place not in (last - 1, last)]


def unmet(artifacts: Path, run_id: str = RUN_ID) -> dict[str, Row]:
    return {name: row for name, row in judged(artifacts, run_id).items() if row.blocks}


def judged(artifacts: Path, run_id: str = RUN_ID) -> dict[str, Row]:
    """The rows as an emission sees them."""
    evidence = script.load(artifacts, run_id)
    return script.judge(replace(evidence, emitting=True, head=evidence.get(script.BASELINE, "commit")))


BASELINE, PROPERTIES, VERDICTS = script.BASELINE, script.PROPERTIES, script.VERDICTS
FAILFAST, SIGNATURE, DURATIONS = script.FAILFAST, script.SIGNATURE, script.DURATIONS
LADDER, LOCK_HASH = "project/coverage-ladder.yaml", "project/requirements.lock.hash"
WORKFLOW = "project/.github/workflows/chain.yml"
RED = ("failed", "error", "collect_errors")
FAILED_TEST = {"id": "a", "outcome": "failed", "seconds": 0.1, "worker": None}
CRITERIA: list[tuple[str, str, Change]] = [
    ("AC-1", "partial", changed(BASELINE, "partial", {"reason": "killed"})),
    *(("AC-1", "red: expected 0, got 1", changed(BASELINE, f"outcomes.{kind}", 1)) for kind in RED),
    ("AC-1", "100.0 of a count, got 94.0", changed(BASELINE, "population.percent", 94.0)),
    ("AC-1", "population_percent: expected at least 95", changed(BASELINE, "markers", dict.fromkeys("abcdef"))),
    ("AC-1", "baseline.metrics.hash: digest: expected", retyped("baseline.metrics.hash", "sha256:", "sha256:0")),
    ("AC-1", "coverage.xml: totals: expected", retyped("coverage.xml", 'lines-covered="182"', 'lines-covered="183"')),
    ("AC-1", "durations.json: expected a file", removed("durations.json")),
    ("AC-1", "durations.json: outcomes: expected", changed(DURATIONS, "tests.0", FAILED_TEST)),
    ("AC-1", "durations.json: all: expected", changed(DURATIONS, "all.p90", 0.0)),
    ("AC-1", "flake.report.json: expected a file", removed("flake.report.json")),
    ("AC-1", "exit: expected 0, got 1", edited("metrics_capture_complete", exit=1)),
    ("AC-2", "soft: expected at least 40", changed(FAILFAST, "benchmark.faults.0.runs.soft.seconds", [8.0, 8.4])),
    ("AC-2", "hard: expected at least 60, got null", changed(FAILFAST, "benchmark.faults.1.runs.hard", {})),
    ("AC-2", "got [\"first_failure\"]", changed(FAILFAST, "first_failure", None)),
    ("AC-3", "runs: expected at least 30, got 29", changed(PROPERTIES, "runs", 29)),
    ("AC-3", "got [\"tests/property/test_monotonic", changed(PROPERTIES, "tests.1.falsifying_examples", [{"x": 1}])),
    ("AC-3", "tests_unproven", changed(PROPERTIES, "tests.2.streams", [{"digest": "a"}, {"digest": "b"}])),
    ("AC-3", "expected under 1000, got 1000.0", changed(PROPERTIES, "tests.0.runtime_ms.mean", 1000.0)),
    ("AC-3", "tests: expected at least 3, got 0", changed(PROPERTIES, "tests", [])),
    ("AC-3", "runs_unclean: expected [], got [2]", changed(PROPERTIES, "per_run.1.problem", "x")),
    ("AC-3", "another_seed_differs", changed(PROPERTIES, "control.shown", False)),
    ("AC-3", "mismatches: expected 0, got 1", changed(PROPERTIES, "mismatches", 1)),
    ("AC-3", "seed: expected 12345 of env.signature.json, got 1", changed(PROPERTIES, "seed", 1)),
    ("AC-3", "run 1: expected [2, null, 1", edited("property_test_complete", falsified=1, passed=2)),
    ("AC-4", "got [\"failfast.forced_off.json\"]", open_incident),
    ("AC-5", "reasons_not_drilled: expected []", log_change(undrilled)),
    ("AC-5", "got [\"failfast_mode_invalid\"]", log_change(refused_for_more)),
    ("AC-5", "slowest_s: expected under 1, got 1.0", log_change(slow_drill)),
    ("AC-5", "environment: expected validated, got refused after it had been validated", refused_again),
    ("AC-5", "env.signature.json: expected a file", removed("env.signature.json")),
    ("AC-6", "coverage-ladder.yaml: expected a file", removed(LADDER)),
    ("AC-6", "target.line: expected a number", retyped(LADDER, "target: {line: 92.0", "target: {line: .nan")),
    ("AC-6", "target.line: expected a number", retyped(LADDER, "target: {line: 92.0", "target: {line: null")),
    ("AC-6", "of events.log.jsonl, got", retyped(LADDER, "{line: 90.0", "{line: 80.0")),
    ("AC-6", "log.jsonl: measured coverage: expected", edited("coverage_ladder_recorded", measured={"line": 1.0})),
    ("AC-6", "target: expected {\"line\": 99", changed(BASELINE, "ladder.target.line", 99)),
    ("AC-6", "expected a ladder", retyped(LADDER, "schema", "- : {")),
    ("AC-7", "got [\"flake_scan_complete\"]", without("flake_scan_complete")),
    ("AC-7", "got [\"metrics_capture_complete\"]", without("metrics_capture_complete")),
    ("AC-7", "got [\"coverage_ladder", without("coverage_ladder_recorded", path="coverage-ladder.yaml")),
    ("AC-7", "got [\"flake_scan_complete\"]", logged_by("emit_checkpoint", "flake_scan_complete")),
    ("AC-7", "deficits: expected 0, got 1", edited("flake_scan_complete", event="logging_deficit")),
    ("AC-7", "process 1: 1 property_test_start, 0 ended", log_change(begun_twice)),
    ("COMMIT", "durations.json: commit: expected", changed(DURATIONS, "commit", "0" * 40)),
    ("ENVIRONMENT", "environment.signature: expected", changed(BASELINE, "environment.signature", "f" * 64)),
    ("ENVIRONMENT", "events.log.jsonl: signature: expected", edited("environment_validated", signature="f" * 64)),
    ("ENVIRONMENT", "env.signature.json: signature: expected", changed(SIGNATURE, "os.name", "Windows")),
    ("ENVIRONMENT", "expected 3.11.7 of env.signature.json", changed(PROPERTIES, "circumstances.python", "3.12.1")),
    ("LOCK", "lock_sources: expected", another_lock),
    ("LOCK", "requirements.lock.hash: digest: expected", retyped(LOCK_HASH, "5", "6")),
    ("RUN", "results.json: run_id: expected chain-1 of the judged run", changed(PROPERTIES, "run_id", "yesterday")),
    ("LOG", "chain broken", chain_broken),
    ("GATES", "got [\"coverage: fail\"]", changed(VERDICTS, "gates.1.verdict", "fail")),
    ("GATES", "got [\"events: insufficient data\"]", changed(VERDICTS, "gates.2.verdict", "insufficient data")),
    ("GATES", "triggers: expected {", changed(VERDICTS, "triggers.1.state", "asleep")),
    ("GATES", "got {\"environment\": \"pass\", \"coverage\": \"pass\"", forged_pass),
    ("GATES", "gates: expected null of events.log.jsonl", unlogged_verdicts),
    ("GATES", "judged_run: expected chain-1, got yesterday", changed(VERDICTS, "judged_run", "yesterday")),
    ("GATES", "got [\"environment\"]", changed(VERDICTS, "gates.0.enforcement", "advisory")),
    ("GATES", "fired: expected [], got [\"flakes\"]", changed(VERDICTS, "triggers.1.state", "fired")),
    ("R-1", "PLAN.md: line Version: X.Y in a file: expected one", removed(f"project/{script.PLAN}")),
    ("R-1", "expected 1.1 of scripts/tests/PLAN.md", plan_change("Version: 1.0", "Version: 1.1")),
    ("R-1", "PLAN.md: line Version: X.Y in a file: expected one, got none", plan_change("Version: 1.0", "")),
    ("R-1", "SHA256 of the top entry: expected", retyped(f"project/{script.PLAN}", "# Plan", "# plan")),
    ("R-1", "expected 1.0 of scripts/tests/PLAN.md, got null", removed(f"project/{script.CHANGELOG}")),
    ("R-7", "flaky tests on 1 workers", on_workers_with_flakes),
    ("DOD-4", "keys_not_explained: expected", plan_change("TPR_FLAKE_RATE_THRESHOLD", "a rate")),
    ("DOD-4", "triggers_not_drilled: expected", edited("risk_trigger", missing=["no snapshot"])),
    ("DOD-4", "got [\"flakes\"]", without("risk_trigger", trigger="flakes")),
    ("DOD-5", "stages_not_enforced", retyped(WORKFLOW, "pipeline.py gates", "pipeline.py report")),
    ("DOD-5", "stages_not_enforced", retyped(WORKFLOW, "gates", "gates || true")),
    ("DOD-5", "stages", retyped(WORKFLOW, "    runs-on", "    continue-on-error: true\n    runs-on")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "kind"), [(b"\xff", "UnicodeDecodeError"), (b"- : {", "ParserError"), (b"[" * 9999, "")]
)
def test_what_is_no_ladder_is_said_in_a_line(data: bytes, kind: str) -> None:
    with pytest.raises(EvidenceError, match=f"^expected a ladder, got {kind}.+$"):
        script.read_ladder(data)


def test_a_healthy_run_lacks_nothing(artifacts: Path) -> None:
    assert unmet(artifacts) == {}


def done_twice(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A first capture, with its gates, that went wrong before the one that counts."""
    ladder, gates = (row for row in rows if row["event"] == "coverage_ladder_recorded")
    begun, ended = (
        next(row for row in rows if row["event"] == f"metrics_capture_{end}") for end in ("start", "complete")
    )
    first = [begun, ended | {"exit": 1}, ladder | {"measured": {"line": 1.0}}, gates | {"gates": {}}]
    return [*(row | {"timestamp": rows[0]["timestamp"]} for row in first), *rows]


def test_of_what_was_done_twice_the_last_counts(artifacts: Path) -> None:
    log_change(done_twice)(artifacts)
    assert unmet(artifacts) == {}


@pytest.mark.parametrize(
    ("value", "known"),
    [(1, 1.0), (-1e299, -1e299), (1e300, None), (float("nan"), None), (True, None), ("1", None), (None, None)],
)
def test_a_number_is_finite_and_no_truth_value(value: object, known: float | None) -> None:
    assert script.number(value) == known


@pytest.mark.parametrize(("values", "most"), [([1, 2.5, 2], 2.5), ([1, None], None), (["x"], None), ([], None)])
def test_the_highest_of_what_is_not_all_numbers_is_unknown(values: list[object], most: float | None) -> None:
    assert script.highest(values) == most


def test_population_counts_the_leaves_of_the_body_that_have_a_value() -> None:
    body = {"a": {"b": 1, "c": None}, "d": None, "e": {}, "f": [None]}
    aside = {"run_id": "r", "commit": None, "partial": None, "population": {"percent": None}}
    assert script.population(script.Evidence("r", {BASELINE: {**body, **aside}})) == 60.0
    assert script.population(script.Evidence("r")) is None


@pytest.mark.parametrize(
    ("times", "soft", "hard"),
    [({"off": 8.0, "soft": 6.0, "hard": 2.0}, 25.0, 75.0), ({"off": 8.0}, None, None), ({"soft": 1.0}, None, None)],
)
def test_improvement_is_percent_of_the_time_without_failfast(
    times: dict[str, float], soft: float | None, hard: float | None
) -> None:
    assert script.improvement(times) == {"soft": soft, "hard": hard}


@pytest.mark.parametrize(
    ("commands", "missing"),
    [
        (["python pipeline.py", "echo done"], []),
        (["python validate_env.py", "python enforce_gates.py"], []),
        (["python pipeline.py environment"], ["gates"]),
        ([], ["environment", "gates"]),
    ],
)
def test_the_chain_or_its_stages_are_enforced(commands: list[str], missing: list[str]) -> None:
    workflow = json.dumps({"jobs": {"a": {"steps": [{"run": command} for command in commands]}}}).encode()
    elsewhere = {"project/pytest.ini": b"jobs: {a: {steps: [{run: pipeline.py}]}}"}
    assert script.unenforced(script.Evidence("r", {}, {WORKFLOW: workflow, **elsewhere})) == missing


@pytest.mark.parametrize(
    ("run_id", "moment", "said"), [("r", "4", True), ("r", "3", False), ("r", "2", False), ("s", "4", False)]
)
def test_a_refusal_counts_after_the_last_validation_of_its_run(run_id: str, moment: str, said: bool) -> None:
    event = {"event": "environment_validated", "context": {"run_id": "r"}}
    log = LogReading([{**event, "timestamp": "1"}, {**event, "timestamp": "3"}], "", [])
    refused = {script.REFUSED: {"run_id": run_id, "generated_at": moment}}
    claims = script.environment_claims(script.Evidence("r", refused, log=log))
    assert (next(claims).criterion == "AC-5") == said


def test_commit_environment_run_and_promise_are_shown_as_they_were_captured(artifacts: Path) -> None:
    rows, base = judged(artifacts), read_artifact(artifacts / BASELINE)
    assert rows["COMMIT"].value == {"commit": base["commit"]}
    assert rows["ENVIRONMENT"].value == {"signature": base["environment"]["signature"]}
    assert rows["RUN"].value == {"run_id": RUN_ID}
    assert rows["LOCK"].value == {"sha256": sha256((artifacts / LOCK).read_bytes())}
    assert rows["AC-6"].evidence == (LADDER, "coverage_ladder_recorded")
    log = read_log(artifacts / LOG_NAME)
    assert rows["LOG"].value == {"events": len(log.events), "head": log.head, "problems": []}
    for step in ("baseline", "target"):
        assert base["ladder"][step].items() <= rows["AC-6"].value[step].items()


CLAIMS = """\
AC-1|baseline.metrics.hash: digest|baseline.metrics.json
AC-1|coverage.xml: totals|baseline.metrics.json
AC-1|durations.json: outcomes|baseline.metrics.json
AC-1|durations.json: all|baseline.metrics.json
AC-1|baseline.metrics.json: population.percent|a count
AC-3|property.results.json: seed|env.signature.json
AC-3|property.results.json: runs listed|
AC-3|property.results.json: run N|events.log.jsonl
AC-5|env.validation.failure.json: environment|
ENVIRONMENT|env.signature.json: signature|its facts
ENVIRONMENT|baseline.metrics.json: environment.signature|env.signature.json
ENVIRONMENT|events.log.jsonl: signature|env.signature.json
ENVIRONMENT|property.results.json: circumstances.python|env.signature.json
AC-6|coverage-ladder.yaml: baseline|events.log.jsonl
AC-6|coverage-ladder.yaml: baseline|baseline.metrics.json
AC-6|coverage-ladder.yaml: target|events.log.jsonl
AC-6|coverage-ladder.yaml: target|baseline.metrics.json
AC-6|events.log.jsonl: measured coverage|baseline.metrics.json
""".splitlines()
CLAIMS += [
    text
    for name in script.ONE_RUN
    for text in (f"RUN|{name}: run_id|the judged run", f"COMMIT|{name}: commit|baseline.metrics.json")
]
CLAIMS += """\
COMMIT|baseline.metrics.json: commit|the project
GATES|gate.verdicts.json: gates|events.log.jsonl
GATES|gate.verdicts.json: triggers|events.log.jsonl
GATES|gate.verdicts.json: judged_run|
R-1|scripts/tests/PLAN.md: line Version: X.Y in a file|
R-1|CHANGELOG.testing-platform-refactor.md: version of the top entry|scripts/tests/PLAN.md
R-1|CHANGELOG.testing-platform-refactor.md: SHA256 of the top entry|scripts/tests/PLAN.md
""".splitlines()


def test_each_criterion_compares_what_these_files_say_with_what_those_say(artifacts: Path) -> None:
    refused_again(artifacts)
    evidence = replace(script.load(artifacts, RUN_ID), emitting=True)
    parts = [part for name, part in vars(script).items() if name.endswith("_claims")]
    claims = [claim for part in parts for claim in part(evidence)]
    said = [f"{claim.criterion}|{claim.file}: {claim.what}|{claim.source}" for claim in claims]
    assert list(dict.fromkeys(re.sub(r"run \d+", "run N", text) for text in said)) == CLAIMS


LOCK, LOCKED = "project/requirements.lock", {"sha256": "d1"}


@pytest.mark.parametrize(
    ("digests", "data", "sources", "claims"),
    [
        ({LOCK: "d1"}, {LOCK_HASH: b"d1  requirements.lock\n"}, LOCKED, []),
        ({LOCK: "d1"}, {LOCK_HASH: b"d2  a\n"}, LOCKED, [(LOCK_HASH, "digest", "d2  a", "d1", LOCK)]),
        ({LOCK: "d2"}, {}, LOCKED, [(SIGNATURE, "lock_sources", LOCKED, "d2", LOCK)]),
        ({}, {}, {"installed": "d3"}, []),
        ({}, {}, None, [(SIGNATURE, "lock_sources", None, "a lock", "")]),
        ({"project/uv.lock": "d1"}, {LOCK_HASH: b"d2"}, LOCKED, []),
    ],
    ids="one another-hash another-lock installed nothing of-another-lock".split(),
)
def test_lock_hash_and_environment_name_one_digest(
    digests: dict[str, str], data: dict[str, bytes], sources: object, claims: list[tuple[Any, ...]]
) -> None:
    evidence = script.Evidence("r", {SIGNATURE: {"lock_sources": sources}}, data, digests)
    assert list(script.lock_claims(evidence)) == [script.Claim("LOCK", *claim) for claim in claims]


@pytest.mark.parametrize(
    ("line", "branch", "refused"),
    [
        (0, 100, []),
        (99.5, None, []),
        (100.5, -0.5, ["line", "branch"]),
        (None, "x", ["line", "branch"]),
    ],
)
def test_a_ladder_promises_percentages_and_branches_where_there_are_any(
    line: object, branch: object, refused: list[str]
) -> None:
    step = {"line": line, "branch": branch}
    evidence = script.Evidence("r", {"coverage-ladder.yaml": {"baseline": step, "target": step}})
    claims = [claim for claim in script.ladder_claims(evidence) if claim.says != claim.wanted]
    said = [(name, metric) for name in ("baseline", "target") for metric in refused]
    assert [claim.what for claim in claims] == [".".join(names) for names in said]
    assert [(claim.file, claim.says) for claim in claims] == [("coverage-ladder.yaml", step[key]) for _, key in said]


HISTORY = ("R-7", script.FLAKES, "history of tests on 2 workers", "none", "at least one run")
NO_FLAKES: tuple[Any, ...] = ("R-7", script.FLAKES, "flaky tests on 2 workers", [], [])


@pytest.mark.parametrize(
    ("seconds", "workers", "runs", "claims"),
    [
        ({"suite": 400.0, "coverage": 90.0, "flakes": 10.0}, [None], [], []),
        ({"suite": 400.0, "coverage": 90.0, "flakes": 10.06}, [None], [], [(100.1, "at most 100.0")]),
        ({"suite": 4.0, "coverage": 60.0}, [], [], []),
        ({"suite": None, "coverage": 61.0, "flakes": None}, [], [], [(61.0, "at most 60.0")]),
        ({}, ["gw0", "gw1", "gw0"], [], [HISTORY, NO_FLAKES]),
        ({}, ["gw0", "gw1"], [{"file": "a.xml"}], [NO_FLAKES]),
    ],
    ids="a-quarter more-than-a-quarter a-minute more-than-a-minute workers-without-history workers".split(),
)
def test_what_measuring_may_cost_and_what_tests_on_workers_need(
    seconds: dict[str, float], workers: list[str | None], runs: list[object], claims: list[tuple[Any, ...]]
) -> None:
    tests = [{"worker": worker} for worker in workers]
    flakes = {"runs": runs, "flaky": []}
    documents: dict[str, dict[str, Any]] = {
        BASELINE: {"capture": seconds},
        DURATIONS: {"tests": tests},
        script.FLAKES: flakes,
    }
    dear = ("R-6", BASELINE, "seconds beside the suite")
    expected = [script.Claim(*claim) if len(claim) == 5 else script.Claim(*dear, *claim) for claim in claims]
    assert list(script.risk_claims(script.Evidence("r", documents))) == expected


def test_without_a_commit_it_is_said_what_to_do() -> None:
    said = {str(claim) for claim in script.run_claims(script.Evidence("r")) if claim.criterion == "COMMIT"}
    assert said == {f"{name}: commit: expected one; commit the project, got null" for name in script.ONE_RUN}


@pytest.mark.parametrize(("name", "said", "change"), CRITERIA, ids=[f"{row[0]}-{row[1]}" for row in CRITERIA])
def test_each_criterion_fails_alone(artifacts: Path, name: str, said: str, change: Change) -> None:
    """What breaks one criterion names that criterion, says what is wrong, and names no other."""
    change(artifacts)
    found = unmet(artifacts)
    assert list(found) == [name]
    assert said in "; ".join(found[name].missing)


def test_every_criterion_has_a_case_in_which_it_fails(artifacts: Path) -> None:
    rows = script.judge(script.load(artifacts, RUN_ID))
    follows = {name for name, row in rows.items() if row.id in ("DOD-1", "DOD-2", "DOD-3", "DOD-6")}
    follows |= {"R-2", "R-3", "R-4", "R-5", "R-6"}  # rest on criteria, or are low
    assert {name for name, _, _ in CRITERIA} == set(rows) - follows


@pytest.mark.parametrize(
    ("jobs", "enforced"),
    [
        ("{a: {steps: [{uses: b}, {run: x}, {run: y || true}]}, b: {uses: c}, d: {steps: [{run: z}]}}", ["x", "z"]),
        ("{a: {steps: [{run: x, continue-on-error: true}, {run: y}]}}", ["y"]),
        ("{a: {continue-on-error: true, steps: [{run: x}]}, b: {steps: [{run: y}]}}", ["y"]),
        ("[]", []),
    ],
    ids="only-what-runs step job no-workflow".split(),
)
def test_a_command_is_enforced_whose_failure_fails_the_workflow(jobs: str, enforced: list[str]) -> None:
    assert script.enforced_commands(f"jobs: {jobs}".encode()) == enforced


def test_a_law_holds_where_its_evidence_is_there_and_sound_and_its_criteria_are_met(artifacts: Path) -> None:
    evidence, rows = script.load(artifacts, RUN_ID), judged(artifacts)
    absent = {name: digest for name, digest in evidence.digests.items() if name != LOG_NAME}
    broken = rows | {"LOG": replace(rows["LOG"], missing=("chain broken",))}
    cases = [
        (evidence, rows, (True, True, True)),
        (evidence, broken, (True, True, False)),
        (replace(evidence, problems={LOG_NAME: "torn"}), rows, (True, False, False)),
        (replace(evidence, digests=absent), rows, (False, False, False)),
    ]
    law = {"name": "No cycles", "asks": "each line follows the one before", "evidence": [LOG_NAME]}
    for found, judgement, holds in cases:
        states = dict(zip(("present", "verified", "complete"), holds, strict=True))
        assert script.governance(found, judgement)["laws"][1] == {**law, "rests_on": ("LOG",), **states}


def test_what_follows_from_a_criterion_waits_for_it(artifacts: Path) -> None:
    changed("property.results.json", "runs", 29)(artifacts)
    rows = judged(artifacts)
    waiting = {name: row.waits_for for name, row in rows.items() if row.waits_for}
    assert waiting == {
        "AC-4": ("AC-3", "R-2"),
        "R-2": ("AC-3",),
        "DOD-1": ("AC-3", "AC-4"),
        "DOD-2": ("AC-3",),
        "DOD-3": ("AC-4",),
    }


def test_what_needs_a_missing_event_waits_for_the_log(artifacts: Path) -> None:
    without("failfast_mode_applied")(artifacts)
    waiting = {name: row.waits_for for name, row in judged(artifacts).items() if "AC-7" in row.waits_for}
    assert waiting == {
        "AC-2": ("AC-7",),
        "AC-4": ("AC-7", "AC-2"),
        "DOD-1": ("AC-2", "AC-4", "AC-7"),
        "DOD-2": ("AC-2", "AC-7"),
        "DOD-6": ("AC-7",),
    }


def lost(evidence: script.Evidence, key: str, value: str) -> script.Evidence:
    """The evidence without the events of which this is true."""
    events = [event for event in evidence.log.events if event.get(key) != value]
    return replace(evidence, log=LogReading(events, "", []))


def test_every_event_of_the_taxonomy_is_asked_for(artifacts: Path) -> None:
    evidence = script.load(artifacts, RUN_ID)
    for name in script.EXPECTED:
        assert lost(evidence, "event", name).unseen == [name]


def test_every_reason_code_has_to_be_drilled(artifacts: Path) -> None:
    evidence = script.load(artifacts, RUN_ID)
    for code in SAMPLE["REASONS"]:
        said = script.judge(lost(evidence, "provoked", code))["AC-5"].missing
        assert said == (f'{LOG_NAME}: reasons_not_drilled: expected [], got ["{code}"]',)


def test_evidence_of_an_older_run_is_refused(artifacts: Path) -> None:
    missing = unmet(artifacts, "chain-2")["RUN"].missing
    assert [text.split(": ")[0] for text in missing] == list(script.ONE_RUN)


def test_an_edited_artifact_is_refused_by_its_digest(artifacts: Path) -> None:
    retyped("gate.verdicts.json", '"quiet"', '"fired"')(artifacts)
    assert "expected sha256" in unmet(artifacts)["GATES"].missing[0]


@pytest.mark.parametrize(("soft", "hard", "short"), [(6.0, 4.0, []), (6.01, 4.0, ["soft"]), (6.0, 4.01, ["hard"])])
def test_exactly_the_target_is_enough(soft: float, hard: float, short: list[str]) -> None:
    modes = {"off": 10.0, "soft": soft, "hard": hard}
    runs = {mode: {"seconds": [seconds]} for mode, seconds in modes.items()}
    overall = {"modes": {mode: {"mean": seconds} for mode, seconds in modes.items()}}
    summary = {"mode": "hard", "first_failure": {}, "elapsed_to_detection_s": 1.0}
    evidence = script.Evidence(
        "", {FAILFAST: summary | {"benchmark": {"faults": [{"runs": runs}], "overall": overall}}}
    )
    assert [gap.split(": ")[1] for gap in script.judge(evidence)["AC-2"].missing] == short


def test_detection_counts_each_fault_with_the_median_of_its_runs() -> None:
    runs = [{"off": [9.0, 1.0, 2.0], "soft": [1.0]}, {"off": [3.0], "soft": []}, {"off": [3.00015], "soft": [1.0]}]
    faults = [{"runs": {mode: {"seconds": seconds} for mode, seconds in row.items()}} for row in runs]
    evidence = script.Evidence("r", {FAILFAST: {"benchmark": {"faults": faults}}})
    assert script.detection_times(evidence) == {"off": 2.6667}


def odd_values(value: Any, place: str = "") -> list[str]:
    """The dotted paths of a document, containers included, one of each list."""
    found = [place] if place else []
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        if "." not in str(key) and key not in ("sha256", "artifact"):
            found += odd_values(item, f"{place}.{key}".lstrip("."))
    return found


@pytest.mark.parametrize("name", [*script.ONE_RUN, script.SIGNATURE])
def test_no_shape_of_an_artifact_is_a_traceback(artifacts: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands where a number, a text or a list is expected, the evidence is judged, not crashed on."""
    monkeypatch.setattr(script, "redact", lambda body: body)  # has its own tests, and most of the time
    evidence = script.load(artifacts, RUN_ID)
    original = json.dumps(evidence.documents[name])
    for number, path in enumerate(odd_values(json.loads(original))):
        document = json.loads(original)
        put(document, path, (None, [], {"a": [1]}, [[1]], "x", -1, True, 1e308)[number % 8])
        if all(isinstance(document[key], str) for key in ("run_id", "generated_at")):  # the reader's own check
            page(replace(evidence, documents={**evidence.documents, name: document}))


def page(evidence: script.Evidence) -> str:
    document = {**script.compose(evidence), "dirty": False, "run_id": "", "generated_at": ""}
    return script.derived(document, b"")[PAGE].decode()


def emit(root: Path, *flags: str) -> int:
    return main(["--root", str(root), "--quiet", *flags])


def verify(folder: Path) -> int:
    return main(["--root", str(folder.parent), "--quiet", "--verify", str(folder)])


def test_a_proven_foundation_has_every_section(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(root)]) == 0
    document = read_artifact(root / "artifacts" / CHECKPOINT)
    sections = """verdict evidence_commit dirty_evidence criteria definition_of_done consistency metrics failfast
        properties events gates risks rollback_triggers governance plan log files""".split()
    assert [name for name in document if name in sections] == sections
    assert document["verdict"] == "proven"
    assert document["schema_version"] == "1.1"
    assert {name for name in OWN if (root / "artifacts" / name).exists()} == set(OWN)
    assert [len(rows) for rows in document["governance"].values()] == [13, 5, 5]
    assert all(row["complete"] for rows in document["governance"].values() for row in rows)
    assert len(document["risks"]) == 7
    assert {row["state"] for row in document["risks"]} == {"resolved"}
    out = capsys.readouterr().out
    assert "DOD-6        yes       Event log complete without deficits\n" in out


def test_the_recorded_head_is_that_of_the_emission(root: Path) -> None:
    assert emit(root) == 0
    log, document = read_log(root / "artifacts" / LOG_NAME), read_artifact(root / "artifacts" / CHECKPOINT)
    assert log.problems == []
    assert log.events[-1]["event"] == "foundation_checkpoint_emitted"
    assert (document["log"]["head"], document["log"]["events"]) == (log.head, len(log.events))
    assert log.events[-1]["context"]["run_id"] == RUN_ID == document["run_id"]


def test_a_refusal_leaves_no_checkpoint_and_names_the_remedy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed("property.results.json", "runs", 29)(root / "artifacts")
    assert main(["--root", str(root)]) == 1
    said = capsys.readouterr()
    assert not [name for name in OWN if (root / "artifacts" / name).exists()]
    assert said.err == "emit_checkpoint.py: not proven: AC-3; mend it, then python scripts/tests/pipeline.py\n"
    assert " - property.results.json: runs: expected at least 30, got 29\n" in said.out
    assert "mend: python scripts/tests/pipeline.py properties\n" in said.out
    assert read_log(root / "artifacts" / LOG_NAME).events[-1]["unmet"] == ["AC-3"]


def test_a_deficit_is_logged_exactly_if_events_are_missing(root: Path) -> None:
    changed("property.results.json", "runs", 29)(root / "artifacts")
    assert emit(root) == 1
    assert "logging_deficit" not in (root / "artifacts" / LOG_NAME).read_text()
    without("flake_scan_complete")(root / "artifacts")
    assert emit(root) == 1
    deficit = [e for e in read_log(root / "artifacts" / LOG_NAME).events if e["event"] == "logging_deficit"]
    assert [event["missing"] for event in deficit] == [["flake_scan_complete"]]


def test_an_empty_folder_is_refused_criterion_by_criterion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert emit(tmp_path) == 1
    assert "AC-1, AC-2, AC-3, AC-5, AC-6, AC-7" in capsys.readouterr().err
    assert set(TAXONOMY) > {event["event"] for event in read_log(tmp_path / "artifacts" / LOG_NAME).events} > set()


@pytest.mark.parametrize(
    ("folder", "document", "open_"),
    [
        ("one", {"state": "open"}, True),
        ("one", {"state": "resolved"}, False),
        ("one\ntwo", {"state": "resolved"}, True),
        ("one", None, True),
    ],
    ids=["open", "resolved", "unlistable", "damaged"],
)
def test_an_incident_that_is_not_known_to_be_resolved_is_open(
    root: Path, folder: str, document: dict[str, Any] | None, open_: bool
) -> None:
    place = root / "artifacts" / "incidents" / folder
    place.mkdir(parents=True)
    (place / "incident.json").write_text("{")
    if document is not None:
        Run("enforce_gates", root, place).write("incident.json", "1.0", document)
    assert list(unmet(root / "artifacts")) == (["AC-4"] if open_ else [])
    assert emit(root) == int(open_)
    if not open_:
        assert main(["--root", str(root), "--quiet", "--verify", str(root / "artifacts")]) == 0


def test_a_log_that_grows_while_it_is_read_is_judged_as_far_as_it_was_read(artifacts: Path) -> None:
    content = (artifacts / LOG_NAME).read_bytes()
    log = script.read_part(artifacts, b"".join(content.splitlines(keepends=True)[:-1]))
    assert log.events == read_log(artifacts / LOG_NAME).events[:-1]
    assert log.head == sha256(content.splitlines()[-2])


def test_a_project_that_moved_on_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SAMPLE["git"](root, "commit", "-q", "--allow-empty", "-m", "second")
    assert emit(root) == 1
    assert "not proven: COMMIT;" in capsys.readouterr().err


def test_changed_files_are_said_and_not_published(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "new.py").write_text("x = 1\n")
    assert emit(root) == 0
    assert read_artifact(root / "artifacts" / CHECKPOINT)["dirty"] is True
    assert emit(root, "--publish") == 1
    assert f"not published: {CHECKPOINT}: measured on files that differ" in capsys.readouterr().err


def test_publishing_replaces_the_old_folder_whole(root: Path) -> None:
    foundation = root / "artifacts" / "foundation"
    (foundation / "old.txt").write_text("old")
    assert emit(root, "--publish") == 0
    assert verify(foundation) == 0
    published = {path.relative_to(foundation).as_posix() for path in foundation.rglob("*") if path.is_file()}
    listed = {line.split("  ", 1)[1] for line in (foundation / SUMS).read_text().splitlines()}
    assert published == listed | {SUMS}
    assert not list((root / "artifacts").glob(".foundation*"))


def test_a_path_of_this_machine_is_not_published(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foundation = root / "artifacts" / "foundation"
    before = {path: path.read_bytes() for path in foundation.rglob("*") if path.is_file()}
    retyped("coverage.xml", "></coverage>", f"><source>{root}/src</source></coverage>")(root / "artifacts")
    assert emit(root, "--publish") == 1
    assert "not published: coverage.xml: line 2: expected no path of this machine" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in foundation.rglob("*") if path.is_file()} == before


def test_sha256sum_reads_the_list(root: Path) -> None:
    assert emit(root) == 0
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=root / "artifacts", capture_output=True, check=False)
    assert done.returncode == 0
    assert b"foundation.checkpoint.json: OK" in done.stdout


def test_verifying_writes_nothing(root: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}

    before = state()
    assert verify(root / "artifacts" / "foundation") == 0
    assert state() == before


def test_an_artifacts_folder_may_hold_more_anywhere_and_it_is_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts, moved = root / "artifacts", root / "moved"
    assert emit(root) == 0
    (artifacts / "report.html").write_text("later")
    with SAMPLE["run_id"](RUN_ID):
        Run("render_report", root, artifacts).log.info("risk_trigger")
    shutil.copytree(artifacts, moved, ignore=shutil.ignore_patterns("foundation"))
    assert main(["--verify", str(moved)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2] == "emit_checkpoint.py: not covered: report.html"
    assert re.fullmatch(r"emit_checkpoint.py: not covered: the last \d+ bytes of events.log.jsonl", said[1])


@pytest.mark.parametrize("name", ["failfast.forced_off.json", "project/more.txt", "incidents/1/incident.json"])
def test_evidence_that_a_checkpoint_would_list_is_not_left_uncovered(root: Path, name: str) -> None:
    artifacts = root / "artifacts"
    assert emit(root) == 0
    (artifacts / name).parent.mkdir(parents=True, exist_ok=True)
    (artifacts / name).write_text("{}")
    assert [(mismatch.kind, mismatch.file) for mismatch in script.verify(artifacts)] == [("file", name)]


def test_a_published_folder_holds_nothing_else(root: Path) -> None:
    foundation = root / "artifacts" / "foundation"
    (foundation / "report.html").write_text("later")
    assert [(mismatch.kind, mismatch.file) for mismatch in script.verify(foundation)] == [("file", "report.html")]
    with SAMPLE["run_id"](RUN_ID):
        Run("render_report", root, foundation).log.info("risk_trigger")
    assert next(mismatch.file for mismatch in script.verify(foundation)) == LOG_NAME


def test_the_default_is_the_committed_checkpoint(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "artifacts" / CHECKPOINT).unlink()
    assert main(["--root", str(root), "--verify"]) == 0
    assert re.fullmatch(r"emit_checkpoint\.py: holds: 18 files, \d+ events, commit \w{40}\n", capsys.readouterr().out)
    shutil.rmtree(root / "artifacts" / "foundation")
    assert main(["--root", str(root), "--verify"]) == 1


def test_without_a_checkpoint_nothing_can_be_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verify", str(tmp_path)]) == 2
    assert f"{tmp_path}: expected {CHECKPOINT}, got none" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["--verify", str(tmp_path / "nowhere")])
    assert ended.value.code == 2


def forge(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the checkpoint and recompute every digest and file that follows from it."""
    document = SAMPLE["rewrite"](folder / CHECKPOINT, edit)
    for name, data in script.derived(document, (folder / CHECKPOINT).read_bytes()).items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d["criteria"][2].update(value="fine"), "section: foundation.checkpoint.json criteria.AC-3.value"),
        (lambda d: d.update(verdict="perfect"), "section: foundation.checkpoint.json verdict"),
(lambda d: d["metrics"]["coverage"].update(core="x"), 'metrics.coverage.core: expected "CTracer", got "x"'),
        (lambda d: d["risks"].pop(), "section: foundation.checkpoint.json risks"),
        (lambda d: d.update(commit="0" * 40), "section: foundation.checkpoint.json commit"),
        (lambda d: d["log"].update(head="0" * 64), "section: foundation.checkpoint.json log.head: expected"),
        (lambda d: d.update(blessing="yes"), "foundation.checkpoint.json blessing: expected no such section"),
        (lambda d: d.update(generated_at="2020-01-01"), "generated_at: expected after"),
        (lambda d: d["plan"].update(version="9.9"), 'plan.version: expected "1.0", got "9.9"'),
    ],
    ids=lambda value: value if isinstance(value, str) else "forged",
)  # fmt: skip
def test_a_forged_checkpoint_with_fitting_digests_is_found(
    root: Path, edit: Callable[[dict[str, Any]], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(root / "artifacts" / "foundation", edit)
    assert verify(root / "artifacts" / "foundation") == 1
    assert said in capsys.readouterr().err


def test_a_forged_verdict_in_the_evidence_is_found_with_all_digests_fitting(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An artifact edited, with its digest, its line in the checkpoint and all that follows: the criterion says it."""
    foundation = root / "artifacts" / "foundation"
    changed("property.results.json", "tests.0.outcomes", {"passed": 29, "falsified": 1})(foundation)
    digest = sha256((foundation / "property.results.json").read_bytes())

    def relist(document: dict[str, Any]) -> None:
        document["files"] = [
            f"{digest}  property.results.json" if line.endswith("property.results.json") else line
            for line in document["files"]
        ]

    forge(foundation, relist)
    assert verify(foundation) == 1
    assert "criterion: AC-3: expected met, got property.results.json: tests_unproven" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"artifact": "foundation.checkpoint.json"}', "\x00", "[" * 9999]
)
def test_what_is_no_checkpoint_does_not_hold(root: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "artifacts" / "foundation" / CHECKPOINT).write_text(text)
    assert verify(root / "artifacts" / "foundation") == 1
    assert capsys.readouterr().err.startswith(f"emit_checkpoint.py: checkpoint: {CHECKPOINT}: expected ")


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "a\\b", "a\nb"])
def test_a_checkpoint_that_lists_a_file_outside_is_not_followed(root: Path, path: str) -> None:
    SAMPLE["rewrite"](
        root / "artifacts" / "foundation" / CHECKPOINT, lambda d: d["files"].append(f"{'0' * 64}  {path}")
    )
    found = script.verify(root / "artifacts" / "foundation")
    assert [mismatch.kind for mismatch in found] == ["checkpoint"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_evidence(root: Path, kind: str) -> None:
    path = root / "artifacts" / "foundation" / "coverage.xml"
    outside = root / "outside.xml"
    shutil.move(path, outside)
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    found = script.verify(root / "artifacts" / "foundation")
    assert found[0].file == "coverage.xml"


def test_the_statement_is_as_in_toto_has_it(root: Path) -> None:
    statement = script.statement(read_artifact(root / "artifacts" / CHECKPOINT), "0" * 64)
    assert list(statement) == ["_type", "subject", "predicateType", "predicate"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert [list(subject["digest"]) for subject in statement["subject"][:2]] == [["gitCommit"], ["sha256"]]
    names = [subject["name"] for subject in statement["subject"]]
    assert len(names) == len(set(names)) <= 1024
    assert statement["predicate"]["result"] == "PASSED"
    assert [row["name"] for row in statement["predicate"]["configuration"]] == [
        "project/coverage-ladder.yaml", "project/requirements.lock", "project/pytest.ini"
    ]  # fmt: skip
    assert "AC-7" in statement["predicate"]["passedTests"]
    assert statement["predicate"]["failedTests"] == []


def test_a_name_that_is_no_text_is_escaped_in_all_that_follows_from_the_checkpoint(root: Path) -> None:
    document = read_artifact(root / "artifacts" / CHECKPOINT)
    document["files"].append(f"{'0' * 64}  project/\udcff")
    made = script.derived(document, b"")
    assert all(b"project/\\udcff" in made[name] for name in (STATEMENT, SUMS))
    subjects = json.loads(made[STATEMENT])["subject"]
    assert {"name": CHECKPOINT, "digest": {"sha256": sha256(b"")}} in subjects


def test_an_advisory_gate_that_fails_is_a_warning(root: Path) -> None:
    changed("gate.verdicts.json", "gates.4.verdict", "fail")(root / "artifacts")
    verdicts = {row["gate"]: row["verdict"] for row in read_artifact(root / "artifacts" / VERDICTS)["gates"]}
    log_change(lambda rows: [row | {"gates": verdicts} if "gates" in row else row for row in rows])(
        root / "artifacts"
    )
    assert emit(root) == 0
    predicate = json.loads((root / "artifacts" / STATEMENT).read_bytes())["predicate"]
    assert (predicate["result"], predicate["warnedTests"]) == ("WARNED", ["gate failfast"])


HOSTILE = [
    *("a|b", "`x`", "<script>", "[x](http://a.b)", "![x](y)", "**x**", "a\\|b", "$x$", "&lt;", "#1", "\u202eabc"),
    *("", " x ", "```", "||", "@you www.a.b a@b.c :smile:", "x`", "a``b"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text_in_a_table_of_markdown(text: str) -> None:
    """It is a code span in which nothing has a meaning, or it is written in entities."""
    shown = script.code(text)
    if shown.startswith("`"):
        assert shown == f"`{one_line(text)}`"
        assert not re.search(r"[`|\\]", text)
    else:
        assert re.fullmatch(r"<code>(?:\w|&#\d+;)*</code>|\(blank\)", shown)


def test_hostile_ids_neither_leave_their_cell_nor_their_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"t.py::t[{text}\n```\n::error::x ##[error]y {number}]" for number, text in enumerate(HOSTILE)]
    SAMPLE["build"](tmp_path, ids=ids)
    monkeypatch.setattr(script, "HERE", tmp_path / "scripts" / "tests")
    assert emit(tmp_path) == 0
    page = (tmp_path / "artifacts" / PAGE).read_text("utf-8")
    lines = page.splitlines()
    assert not [line for line in lines if line.lstrip().startswith("::")]
    assert [line for line in lines if line.startswith("```")] == ["```mermaid", "```"] * 5
    slowest = lines[lines.index("| rank | ms | test |") + 2 :][:10]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in slowest} == {4}


def test_a_chart_has_the_numbers_of_its_table(root: Path) -> None:
    page = (root / "artifacts" / "foundation" / PAGE).read_text("utf-8")
    charts = re.findall(r"```mermaid\n(.*?)```\n\n(.*?)(?:\n\n|\Z)", page, re.DOTALL)
    assert len(charts) == 5
    for chart, table in charts:
        drawn = re.search(r"bar \[(.*)\]", chart)
        assert drawn
        numbers = drawn[1].split(", ")
        cells = [cell.strip() for line in table.splitlines()[2:] for cell in line.strip("|").split("|")]
        assert not [number for number in numbers if number not in cells]


@pytest.mark.parametrize(
    ("value", "shown"), [(1e-7, "0"), (1e20, "100000000000000000000"), (0.5, "0.5"), (100.0, "100")]
)
def test_numbers_have_no_exponent(value: float, shown: str) -> None:
    assert script.digits(value) == shown


def test_a_chart_of_nothing_is_left_out() -> None:
    assert "mermaid" not in script.chart("a", "b", [("x", 0.0), ("y", None)], "c d")


def test_a_refusal_in_a_workflow_makes_at_most_ten_annotations(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    shutil.rmtree(root / "artifacts")
    assert main(["--root", str(root)]) == 1
    asked = script.Criterion("", ())
    rows = [Row(f"X-{number}", asked, (), None, ("100 %\n::error::no ##[error]",)) for number in range(14)]
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("::error")]
    assert len(shown) == len(unmet(root / "artifacts"))
    lines = script.error_lines(rows)
    assert len(lines) == 10
    assert lines[0] == "::error title=emit_checkpoint.py::X-0: 100 %25 ::error::no #_[error]"
    assert lines[-1].endswith("::5 more criteria are not met; see the step summary")


def test_the_summary_takes_the_page_or_the_refusal(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert emit(root) == 0
    assert summary.read_text() == (root / "artifacts" / PAGE).read_text()
    changed("property.results.json", "runs", 29)(root / "artifacts")
    summary.unlink()
    assert emit(root) == 1
    assert "| AC-3 | Three invariants" in summary.read_text()


def test_what_does_not_fit_into_the_summary_is_named() -> None:
    sections = [f"## {letter}\n\n{letter * 90}" for letter in "ABC"]
    assert script.fit(sections, 1000) == "\n\n".join(sections) + "\n"
    short = script.fit(sections, 280)
    assert len(short) <= 280
    assert short.endswith(f"Left out for lack of room: C; see {PAGE}.\n")
    assert script.fit(sections, 10) == ""


def test_twenty_thousand_tests_fit_into_the_summary() -> None:
    rows = [{"id": "x" * 300 + str(number), "seconds": 1.0, "outcome": "passed"} for number in range(20_000)]
    evidence = script.Evidence("x", {DURATIONS: {"tests": rows, "run_id": "x"}})
    text = page(evidence)
    assert len(text.encode()) < 100_000
    assert "10 of 20000 tests are shown; all are in `durations.json`." in text


def test_a_crash_while_writing_leaves_no_checkpoint(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> dict[str, bytes]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(script, "derived", full)
    assert emit(root) == 2
    assert not [path for path in (root / "artifacts").iterdir() if path.name.startswith((".found", "foundation."))]


def test_what_cannot_be_verified_is_not_emitted(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret's value that also stands in the evidence would be masked by the writer and not by the verifier."""
    monkeypatch.setenv("MY_TOKEN", "round_trip")
    assert emit(root) == 2
    assert "properties could not be computed again" in capsys.readouterr().err
    assert not [name for name in OWN if (root / "artifacts" / name).exists()]


def test_by_hand_the_baselines_run_is_judged_and_in_a_chain_the_chains(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert emit(root) == 0
    assert "TPR_RUN_ID" not in os.environ
    monkeypatch.setenv("TPR_RUN_ID", "another")
    assert emit(root) == 1
    assert "RUN" in capsys.readouterr().err
