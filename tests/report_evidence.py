"""An artifacts folder in which everything that the report shows is to be seen, bad news included.

It starts from the evidence of a healthy run (tests/samples/foundation) and adds what such a run does not have:
failing and hostile tests, a flaky history, faults, falsified properties, failing gates, an open incident.
"""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

from events import Run, read_artifact

SAMPLE = runpy.run_path(str(Path(__file__).parent / "samples" / "foundation" / "build_evidence.py"))
HOSTILE = (
    "tests/test_a.py::test_x[<script>alert(1)</script>]",
    "tests/test_a.py::test_x[\"><img src=x onerror='alert(2)'>]",
    "tests/test_a.py::test_x[</title></style></script><svg onload=alert(3)>&lt;&#60;]",
    "tests/test_a.py::test_x[\u202ereversed\u2066 \u200f\u05d0\u05d1\u05d2]",
    "tests/test_a.py::test_x[\x1b[31mred\x1b]8;;http://example.org\x07link\x00\r\n\u2028]",
    "tests/test_a.py::test_x[\ud800 \U0001f600 e\u0301\u0300\u0301]",
    f"tests/test_b.py::test_long[{'w' * 10_240}]",
    f"tests/{'deep/' * 300}test_c.py::test_deep",
    "javascript:alert(4)",
    "",
)


def healthy(root: Path, tests: int = 20) -> Path:
    """A committed project with the evidence of a healthy run; returns its artifacts folder."""
    artifacts: Path = SAMPLE["build"](root, tests=tests)
    return artifacts


def troubled(root: Path, tests: int = 60, runs: int = 200, flaky: int = 60) -> Path:
    """The same with hostile names and with something wrong in every section; returns the artifacts folder."""
    plain = [f"tests/area_{number % 50}/test_{number % 400}.py::test_{number:05}" for number in range(tests)]
    artifacts: Path = SAMPLE["build"](root, ids=[*HOSTILE, *plain])
    with SAMPLE["run_id"](SAMPLE["RUN_ID"]):
        run = Run("collect_metrics", root, artifacts)
        spoil(run, "durations.json", fail_some)
        spoil(run, "baseline.metrics.json", cover_files)
        spoil(run, "failfast.summary.json", slow_faults)
        spoil(run, "property.results.json", falsify)
        spoil(run, "gate.verdicts.json", fail_gates)
        run.write("flake.report.json", "1.0.0", flaky_history(runs, flaky))
        (artifacts / "incidents" / "r1").mkdir(parents=True)
        triggers = [{"name": "coverage", "state": "fired"}]
        run.write("incidents/r1/incident.json", "1.0", {"state": "open", "triggers": triggers})
        rename(artifacts / "incidents" / "r1" / "incident.json")
    return artifacts


def spoil(run: Run, name: str, change: Any) -> None:
    document = read_artifact(run.artifacts / name)
    envelope = "artifact schema_version run_id generated_at commit dirty sha256".split()
    body = {key: value for key, value in document.items() if key not in envelope}
    change(body)
    run.write(name, document["schema_version"], body)


def rename(path: Path) -> None:
    SAMPLE["rewrite"](path, lambda document: document.update(artifact=path.name))


def fail_some(body: dict[str, Any]) -> None:
    for place, row in enumerate(body["tests"]):
        row["outcome"] = ("failed", "error", "skipped", "passed")[min(place, 3)]
        row["setup"], row["start"] = row["seconds"] / 3, row["start"] + place % 7 / 10
    body["phases"] = dict.fromkeys(("setup", "call", "teardown"), body["all"])


def cover_files(body: dict[str, Any]) -> None:
    numbers = range(60)
    body["coverage"]["files"] = [
        {"path": f"src/part_{n}.py", "statements": 10 * n, "statements_covered": 10 * n - n % 9, "branches": n}
        | {"branches_covered": n // 2}
        for n in numbers
    ]
    passed = body["outcomes"]["tests"] - 3
    body["outcomes"] |= {"passed": passed, "failed": 1, "error": 1, "skipped": 1}
    body["ladder"] |= {"horizon": "2099-12-31"}
    body["ladder"]["baseline"] |= {"recorded": "2026-01-01"}


def slow_faults(body: dict[str, Any]) -> None:
    body["benchmark"]["targets"] = {"soft": {"target_percent": 90.0}, "hard": {"target_percent": 90.0}}
    body["first_failure"] = {"id": HOSTILE[0], "phase": "call", "message": HOSTILE[1] * 20}


def falsify(body: dict[str, Any]) -> None:
    row = body["tests"][0]
    row["problems"], row["falsifying_examples"] = ["falsified"], [{"representation": HOSTILE[2]}]
    row["streams"] = [
        {"digest": "0" * 64, "outcome": "passed", "runs": list(range(1, 25))},
        {"digest": "1" * 64, "outcome": "passed", "runs": [25, 26]},
        {"digest": "2" * 64, "outcome": "falsified", "runs": [27, 28, 29]},
    ]


def fail_gates(body: dict[str, Any]) -> None:
    body["gates"][1] |= {"verdict": "fail", "value": HOSTILE[6], "remedy": "test what is named here"}
    body["triggers"][0] |= {"state": "fired", "evidence": [HOSTILE[0], HOSTILE[3]]}
    body["coverage"] = {
        "metrics": [
            {"metric": "line", "drop": 3.5, "dropped": True, "missed": False}
            | {"due_today": 90.5, "to_gain": 12, "days_left": 40, "proposed_horizon": "2099-12-31"}
        ],
        "losses": [{"path": "src/part_1.py", "metric": "line", "lost": 7}],
    }


def flaky_history(runs: int, flaky: int) -> dict[str, Any]:
    chance = random.Random(1)
    names = [*HOSTILE, *(f"tests/test_f.py::test_{number}[{'p' * (number % 90)}]" for number in range(flaky))]
    rows = [
        {"id": name, "evidence": "same_commit", "why": "failed on unchanged commits", "runs": runs, "failures": place}
        | {"passes": runs - place, "flip_rate": 1 - place / 1000, "strip": "".join(chance.choices("....Fro-", k=30))}
        for place, name in enumerate(names)
    ]
    history: list[dict[str, Any]] = [
        {
            "file": f"run-{n}.xml",
            "run_id": f"run-{n}",
            "commit": "c" * 40,
            "timestamp": f"2026-01-{n % 28 + 1:02}T00:00:00Z",
        }
        | {"tests": 20_000, "failed": n % 5, "errored": 0, "rerun": 0, "set_aside": "outage" if n == 3 else None}
        for n in range(runs)
    ]
    cluster = {"template": f"Error: {HOSTILE[0]} {'x' * 400}", "count": 9, "tests": names[:3], "runs": ["run-1.xml"]}
    body = {"runs": history, "unreadable": [{"file": "<b>.xml", "reason": "torn"}], "tests_observed": 20_000}
    rate = {"flaky": len(rows), "observed": 20_000, "percent": 0.3, "ci95": [0.2, 0.4]}
    return {**body, "flaky": rows, "suspected": rows[:2], "rate": rate, "clusters": [cluster]}
