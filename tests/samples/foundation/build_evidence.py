"""Builds a small project with the whole evidence of a healthy run, as the scripts write it, for tests and benchmarks.

    with scripts/tests on sys.path:  runpy.run_path("build_evidence.py")["build"](folder, tests=20)

Everything goes through events.Run, so envelopes, digests and the log's chain are the real ones.
"""

import contextlib
import hashlib
import os
import statistics
import subprocess
from pathlib import Path

from events import Run, canonical, indented

RUN_ID = "chain-1"
REASONS = (
    "python_minor_mismatch lock_missing lock_hash_missing lock_hash_mismatch lock_unreadable package_missing "
    "package_drift package_modified tool_missing env_missing seed_not_numeric failfast_mode_invalid"
).split()
WORKFLOW = """\
name: chain
on: [push]
jobs:
  chain:
    runs-on: ubuntu-latest
    steps:
      - run: python3.11 scripts/tests/pipeline.py environment
      - run: python3.11 scripts/tests/pipeline.py gates
"""
PLAN = """\
# Plan

Version: 1.0

risk_trigger follows from TPR_COVERAGE_TOLERANCE_DROP and TPR_FLAKE_RATE_THRESHOLD.
"""
LADDER = """\
schema_version: '1.0'
baseline: {line: 90.0, branch: 80.0, commit: null, recorded: '2026-01-01'}
target: {line: 92.0, branch: 82.0}
tolerance: 1.0
horizon: '2026-06-30'
"""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def build(root, tests=20, ids=None):
    """A committed project at `root` with artifacts/ of one healthy run; returns its artifacts folder."""
    write_project(root)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    with run_id(RUN_ID):
        write_evidence(root, ids or [f"tests/test_a.py::test_{number:05}" for number in range(tests)])
    return root / "artifacts"


def write_project(root):
    lock = b"pytest==9.2.0 --hash=sha256:" + b"0" * 64 + b"\n"
    files = {
        "requirements.lock": lock,
        "requirements.lock.hash": f"{sha256(lock)}  requirements.lock\n".encode(),
        "pytest.ini": b"[pytest]\n",
        "coverage-ladder.yaml": LADDER.encode(),
        ".github/workflows/chain.yml": WORKFLOW.encode(),
        ".gitignore": b"/artifacts/*\n!/artifacts/foundation/\n",
        "scripts/tests/PLAN.md": PLAN.encode(),
        "CHANGELOG.testing-platform-refactor.md": changelog(PLAN).encode(),
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def changelog(plan, version="1.0"):
    return f"# Changelog\n\n## [{version}] - 2026-01-01\n### Integrity\n- Plan SHA256: {sha256(plan.encode())}\n"


def git(root, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def run_id(value):
    before = os.environ.get("TPR_RUN_ID")
    os.environ["TPR_RUN_ID"] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ["TPR_RUN_ID"]
        else:
            os.environ["TPR_RUN_ID"] = before


def write_evidence(root, ids):
    artifacts = root / "artifacts"
    lock = sha256((root / "requirements.lock").read_bytes())

    validator = Run("validate_env", root, artifacts)
    validator.log.info("environment_validation_start")
    identity = {
        "recorded": True,
        "python": {"full": "3.11.7", "minor": "3.11", "implementation": "cpython"},
        "os": {"name": "Linux", "architecture": "x86_64"},
        "platform": "linux-x86_64",
        "lock_sources": {"file": "requirements.lock", "sha256": lock, "python": "3.11.7", "platform": "linux-x86_64"},
        "packages_sha256": "0" * 64,
        "tools": {"coverage": "7.17.3", "hypothesis": "6.170.15", "pytest": "9.2.0"},
        "extra": [],
        "required_variables": ["TPR_FAILFAST_MODE", "TPR_SEED"],
        "seed": "12345",
    }
    signature = sha256(canonical(identity))
    validator.write("env.signature.json", "1.0", {"signature": signature, **identity, "monotonic_start": 1.0})
    validator.log.info("environment_validation_ok", signature=signature, seconds=0.21)
    validator.log.info("environment_validated", signature=signature, seconds=0.21)
    for code in REASONS:
        validator.log.info("environment_validation_start", drill=True, provoked=code)
        facts = {"provoked": code, "reasons": [code], "seconds": 0.2, "held": True}
        validator.log.warning("environment_validation_fail", drill=True, **facts)

    write_capture(Run("collect_metrics", root, artifacts), ids, signature)

    bench = Run("benchmark_failfast", root, artifacts)
    for mode, seconds in (("soft", 4.0), ("hard", 1.5)):
        bench.log.info("failfast_mode_applied", mode=mode, benchmark="seeded")
        bench.log.warning("early_exit_detected", mode=mode, benchmark="seeded", elapsed_to_detection_s=seconds)
    bench.write("failfast.summary.json", "1.0", failfast_body(ids[0]))

    write_properties(Run("aggregate_properties", root, artifacts))

    gates = Run("enforce_gates", root, artifacts)
    for trigger in ("coverage", "flakes", "properties"):
        gates.log.warning("risk_trigger", drill=True, trigger=trigger, state="fired", missing=[])
    body = gates.write("gate.verdicts.json", "1.0", {"only": None, "judged_run": gates.id, **gates_body()})
    verdicts = {row["gate"]: row["verdict"] for row in body["gates"]}
    states = {row["name"]: row["state"] for row in body["triggers"]}
    gates.log.info("coverage_ladder_recorded", gates=verdicts, triggers=states, exit=0)
    return artifacts


def failfast_body(first):
    means = {"off": 10.0, "pytest -x": 6.0, "soft": 4.0, "hard": 1.5, "limit": 1.2}
    runs = {mode: {"seconds": [mean, mean, mean + 9], "cpu": [mean] * 3} for mode, mean in means.items()}
    overall = {"modes": {mode: {"mean": mean, "median": mean, "min": mean, "max": mean} for mode, mean in means.items()}}
    return {
        "mode": "hard",
        "first_failure": {"id": first, "phase": "call", "message": "no"},
        "elapsed_to_detection_s": 1.5,
        "tests_run": 1,
        "tests_collected": 20,
        "order": "by change",
        "partial_metrics": False,
        "rollback": None,
        "benchmark": {"scenario": "seeded", "overall": overall, "faults": [{"fault": "a.py:1 f", "runs": runs}] * 2},
    }


def write_capture(run, ids, signature):
    run.log.info("metrics_capture_start", mode="off")
    rows = [
        {
            "id": test,
            "outcome": "passed",
            "seconds": round(0.0005 * 1.5 ** (number % 25), 6),
            "setup": 0.0001,
            "call": round(0.0005 * 1.5 ** (number % 25), 6),
            "teardown": 0.0001,
            "start": 1767225600.0 + number,
            "worker": None,
        }
        for number, test in enumerate(ids)
    ]
    seconds = sorted(row["seconds"] for row in rows)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    stats = {"count": len(rows), "total": round(sum(seconds), 6), "mean": round(statistics.mean(seconds), 6)}
    stats |= {f"p{rank}": round(cuts[rank - 1], 6) for rank in (50, 90, 95, 99)} | {"max": seconds[-1]}
    slowest = sorted(rows, key=lambda row: -row["seconds"])[:25]
    run.write("durations.json", "1.0", {"partial": None, "unit": "s", "all": stats, "slowest": slowest, "tests": rows})
    run.write("markers.usage.json", "1.0", {"partial": None, "markers": [], "unused": [], "unregistered": []})
    rate = {"flaky": 0, "observed": len(rows), "percent": 0.0, "ci95": [0.0, 0.1]}
    flakes = {"runs": [{"file": "a.xml"}], "unreadable": [], "tests_observed": len(rows), "flaky": []}
    run.write("flake.report.json", "1.0", {**flakes, "suspected": [], "rate": rate, "clusters": []})
    run.log.info("flake_scan_complete", runs=1, flaky=0)
    totals = 'lines-valid="200" lines-covered="182" line-rate="0.91" branches-valid="50" branches-covered="41"'
    run.write_bytes("coverage.xml", f'<?xml version="1.0" ?>\n<coverage {totals}></coverage>\n'.encode())
    coverage = {"statements": 200, "statements_covered": 182, "branches": 50, "branches_covered": 41}
    coverage |= {"core": "CTracer", "line_percent": 91.0, "branch_percent": 82.0, "files": []}
    promise = {"baseline": {"line": 90.0, "branch": 80.0}, "target": {"line": 92.0, "branch": 82.0}}
    measured = {"line": 91.0, "branch": 82.0}
    run.log.info("coverage_ladder_recorded", path="coverage-ladder.yaml", measured=measured, **promise)
    outcomes = dict.fromkeys("failed error skipped xfailed xpassed collect_errors deselected".split(), 0)
    body = {
        "partial": None,
        "scope": {"pytest_args": [], "source": [], "skipped_stages": [], "collected": len(rows)},
        "outcomes": {"tests": len(rows), "passed": len(rows), **outcomes},
        "durations": {**stats, "phases": {}},
        "coverage": coverage,
        "markers": {"registered": 0, "used": 0, "unused": 0, "unregistered": 0},
        "flakes": {"runs": 1, "flaky": 0, "suspected": 0, "rate": rate},
        "environment": {"signature": signature, "python": "3.11.7", "platform": "linux-x86_64"},
        "ladder": {"path": "coverage-ladder.yaml", **promise},
        "capture": {"suite": 12.0, "coverage": 0.4},
    }
    fields = sum(map(leaves, (section for name, section in body.items() if name != "partial")))
    population = {"fields": fields, "populated": fields, "percent": 100.0}
    baseline = run.write("baseline.metrics.json", "1.0", {**body, "population": population})
    run.write_bytes("baseline.metrics.hash", f"sha256:{baseline['sha256']}\n".encode())
    run.log.info("metrics_capture_complete", exit=0, problem=None)


def leaves(value):
    return sum(map(leaves, value.values())) if isinstance(value, dict) and value else 1


def write_properties(run):
    counts = {"seconds": 0.5, "problem": None, "passed": 3, "falsified": 0, "xfailed": 0, "skipped": 0, "error": 0}
    counts |= {"crashed": 0, "false_failures": 0, "mismatches": 0}
    for number in range(1, 31):
        run.log.info("property_test_start", run=number, purpose="run")
        run.log.info("property_test_complete", run=number, purpose="run", **counts, seed=12345)
    tests = [
        {
            "id": f"tests/property/test_{name}.py::test_{name}",
            "problems": [],
            "outcomes": {"passed": 30},
            "examples": {"run": 100, "invalid": 0, "max": 100},
            "falsifying_examples": [],
            "failures": [],
            "runtime_ms": {"mean": 120.0, "p50": 118.0, "p95": 130.0, "max": 140.0},
            "digest": sha256(name.encode()),
            "streams": [{"digest": sha256(name.encode()), "outcome": "passed", "runs": list(range(1, 31))}],
            "seed": 12345,
        }
        for name in ("boundary", "monotonic", "round_trip")
    ]
    body = {"mode": "deterministic", "partial": None, "seed": 12345, "runs": 30, "mismatches": 0}
    body |= {"circumstances": {"python": "3.11.7"}}  # where aggregate_properties.py puts it
    body |= {"false_failures": {"count": 0, "observed": 90, "percent": 0.0}, "control": {"shown": True}}
    body |= {"per_run": [{"run": number, **counts} for number in range(1, 31)], "tests": tests}
    run.write("property.results.json", "1.0", body)


def gates_body():
    hard = ("environment", "coverage", "events", "integrity")
    names = (*hard, "failfast", "properties")
    rows = [{"gate": name, "enforcement": "hard" if name in hard else "advisory", "verdict": "pass"} for name in names]
    rows = [{**row, "value": "fine", "limit": "fine", "evidence": [], "remedy": "", "response": ""} for row in rows]
    triggers = [{"name": name, "state": "quiet", "value": "0 %", "limit": "2 %"} for name in ("coverage", "flakes", "properties")]
    return {"gates": rows, "triggers": triggers}


def rewrite(path, change):
    """Edit an artifact and give it a digest that fits, as a forger would."""
    import json

    document = json.loads(Path(path).read_bytes())
    change(document)
    document["sha256"] = sha256(canonical({key: value for key, value in document.items() if key != "sha256"}))
    Path(path).write_text(indented(document) + "\n", "utf-8")
    return document


def relog(path, change):
    """Rewrite the log with other events and a chain that fits: `change` maps the list of records to another."""
    import json

    records = change([json.loads(line) for line in Path(path).read_bytes().splitlines()])
    prev, lines = "0" * 64, []
    for record in records:
        record["context"]["prev"] = prev
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        prev = sha256(line)
        lines.append(line + b"\n")
    Path(path).write_bytes(b"".join(lines))
