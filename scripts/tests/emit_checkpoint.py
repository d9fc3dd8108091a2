"""Is the foundation proven? Judges every criterion from the evidence, so that anyone can check the result.

    python scripts/tests/emit_checkpoint.py                   judge the artifacts; write the checkpoint if all holds
    python scripts/tests/emit_checkpoint.py --publish         the same, then copy it with its evidence to
                                                              artifacts/foundation, to be committed
    python scripts/tests/emit_checkpoint.py --verify [DIR]    recompute a checkpoint from its evidence, offline

The checkpoint is a pure function of the evidence: --verify computes it again and names the first difference of each
kind. It writes nothing and needs neither git nor a network. DIR is a published folder, in which nothing else may
stand, or any copy of an artifacts folder: there it says which files the checkpoint does not cover. Without DIR:
artifacts/foundation, else artifacts.

Reads:  the artifacts of one run and its events; of the project coverage-ladder.yaml, requirements.lock with its
        hash, pytest.ini and .github/workflows; PLAN.md beside this script and its changelog; TPR_RUN_ID.
Writes: foundation.checkpoint.json (last), foundation.checkpoint.md, foundation.intoto.json, foundation.sha256 (for
        sha256sum -c), and project/, the copies of the project's files; $GITHUB_STEP_SUMMARY.
Exits:  0 proven, or the checkpoint holds; 1 not; 2 it could not be told (no checkpoint there, bad usage).
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import stat
import sys
from bisect import bisect_right
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from events import (
    GENESIS,
    LOG_NAME,
    TAXONOMY,
    Arguments,
    EventLog,
    EvidenceError,
    LogReading,
    Run,
    canonical,
    complain,
    content_digest,
    folder,
    indented,
    one_line,
    read_artifact,
    read_log,
    redact,
    sha256,
    write_atomic,
)

TYPE_CHECKING = False  # typing would cost --help a tenth of its time
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

PROG, PIPELINE = "emit_checkpoint.py", "python scripts/tests/pipeline.py"
HERE = Path(__file__).resolve().parent
CHECKPOINT, CHECKPOINT_VERSION = "foundation.checkpoint.json", "1.1"  # 1.0 first; 1.1 says if it is published
PAGE, STATEMENT, SUMS = "foundation.checkpoint.md", "foundation.intoto.json", "foundation.sha256"
OWN = (PAGE, STATEMENT, SUMS, CHECKPOINT)  # in the order in which they are put in place
EMITTED = "foundation_checkpoint_emitted"
BASELINE, HASH, REPORT = "baseline.metrics.json", "baseline.metrics.hash", "coverage.xml"
DURATIONS, MARKERS, FLAKES = "durations.json", "markers.usage.json", "flake.report.json"
FAILFAST, PROPERTIES, VERDICTS = "failfast.summary.json", "property.results.json", "gate.verdicts.json"
SIGNATURE, REFUSED, FORCED_OFF = "env.signature.json", "env.validation.failure.json", "failfast.forced_off.json"
OPTIONAL = ("test.map.json", "reference.metrics.json", REFUSED, FORCED_OFF)
ONE_RUN = (BASELINE, DURATIONS, MARKERS, FLAKES, FAILFAST, PROPERTIES, VERDICTS)  # a signature may be an earlier one
SNAPSHOT = "project"  # copies of the project's own files that the criteria rest on
LADDER, LOCK_HASH = "coverage-ladder.yaml", "requirements.lock.hash"
PLAN, CHANGELOG = "scripts/tests/PLAN.md", "CHANGELOG.testing-platform-refactor.md"
LOCKS = ("requirements.lock", "poetry.lock", "uv.lock", "pylock.toml")
TAKEN = (LADDER, *LOCKS, LOCK_HASH, "pytest.ini", ".github/workflows/*.yml", ".github/workflows/*.yaml")
CONFIGURATION = (LADDER, *(f"{SNAPSHOT}/{name}" for name in (LADDER, *LOCKS, "pytest.ini")))


@dataclass(frozen=True)
class Criterion:
    """What is asked, by which evidence (files and events), what mends it, and the criteria that it rests on."""

    asks: str
    evidence: tuple[str, ...]
    remedy: str = PIPELINE
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Risk(Criterion):
    """A risk is resolved by its evidence and by the criteria that it rests on; only a high one blocks."""

    impact: str = "high"
    likelihood: str = "low"
    mitigation: str = ""


COMMITTED = f"add a changelog entry with the plan's version and SHA-256, commit, then {PIPELINE}"
CRITERIA = {  # each stands after what it rests on
    "AC-7": Criterion("Every required event seen, without a deficit", (LOG_NAME,)),
    "AC-1": Criterion(
        "Baseline metrics produced whole, hashed and logged",
        (BASELINE, HASH, REPORT, DURATIONS, MARKERS, FLAKES, "metrics_capture_complete"),
        f"{PIPELINE} baseline",
    ),
    "AC-2": Criterion(
        "A failure shows sooner: soft by 40 %, hard by 60 %",
        (FAILFAST, "failfast_mode_applied", "early_exit_detected"),
        f"{PIPELINE} failfast",
    ),
    "AC-3": Criterion(
        "Three invariants hold in 30 identical runs, each under 1 s",
        (PROPERTIES, "property_test_complete"),
        f"{PIPELINE} properties",
    ),
    "AC-5": Criterion(
        "A wrong environment is refused before the tests, in under 1 s",
        (SIGNATURE, "environment_validated", "environment_validation_fail"),
        f"{PIPELINE} environment",
    ),
    "AC-6": Criterion(
        "Coverage ladder's baseline and target recorded",
        (LADDER, "coverage_ladder_recorded"),
        f"{PIPELINE} baseline",
    ),
    "COMMIT": Criterion("All evidence is of one commit", ONE_RUN),
    "ENVIRONMENT": Criterion("All evidence is of one environment", (SIGNATURE, BASELINE, PROPERTIES, LOG_NAME)),
    "LOCK": Criterion("All evidence is of one lock", (SIGNATURE,)),
    "RUN": Criterion("All evidence is of one run", (*ONE_RUN, LOG_NAME)),
    "LOG": Criterion("The event log's chain is unbroken", (LOG_NAME,), f"move {LOG_NAME} away, then {PIPELINE}"),
    "GATES": Criterion("Every hard gate passes", (VERDICTS,), f"{PIPELINE} gates"),
    "R-1": Risk(
        "The plan document is missing or not the agreed one", (PLAN, CHANGELOG), COMMITTED,
        mitigation="version control, and its hash stands in the changelog",
    ),
    "R-2": Risk(
        "Property tests that cannot be believed", (PROPERTIES,), rests_on=("AC-3",), impact="medium",
        mitigation="a fixed seed, proven identical runs, the nightly search apart",
    ),
    "R-3": Risk(
        "Fail-fast hides failures of the rest", (BASELINE, FAILFAST), rests_on=("AC-1",), impact="medium",
        likelihood="medium", mitigation="the baseline is whole, and fail-fast modes never touch it",
    ),
    "R-4": Risk(
        "Coverage creeps down", (LADDER, VERDICTS), rests_on=("AC-6", "GATES"), impact="medium",
        likelihood="medium", mitigation="the ladder's gate",
    ),
    "R-5": Risk(
        "The environment drifts", (SIGNATURE,), rests_on=("AC-5", "ENVIRONMENT", "LOCK"),
        likelihood="medium", mitigation="the validator refuses it, and one signature is everywhere",
    ),
    "R-6": Risk(
        "Measuring costs too much", (BASELINE,), impact="low",
        likelihood="medium", mitigation="seconds per stage in the baseline, and stages can be skipped",
    ),
    "R-7": Risk(
        "Tests that run in parallel disturb each other", (DURATIONS, FLAKES),
        mitigation="one process until flakes are classified",
    ),
}  # fmt: skip
MANDATORY = {  # evidence that must be there: the criterion that misses it
    name: key
    for key, criterion in CRITERIA.items()
    if key.startswith("AC-") or key == "GATES"
    for name in criterion.evidence
    if name not in TAXONOMY
}
CRITERIA |= {
    "AC-4": Criterion(
        "Checkpoint emitted after all prior criteria, with no high risk open",
        (CHECKPOINT, PAGE, EMITTED),
        "python scripts/tests/enforce_gates.py --resolve ID --reason TEXT",
        rests_on=tuple(CRITERIA),
    ),
    "DOD-1": Criterion("AC-1 to AC-7 satisfied", (), rests_on=tuple(f"AC-{n}" for n in range(1, 8))),
    "DOD-2": Criterion(
        "All mandatory artifacts exist with hashes", tuple(MANDATORY), rests_on=tuple(sorted({*MANDATORY.values()}))
    ),
    "DOD-3": Criterion("Checkpoint emitted, ready to be committed", OWN, rests_on=("AC-4",)),
    "DOD-4": Criterion("Rollback triggers configured and documented", (PLAN, "risk_trigger"), f"{PIPELINE} gates"),
    "DOD-5": Criterion(
        "The workflow enforces validator and ladder gate",
        (".github/workflows",),
        f"add steps to the workflow: {PIPELINE} environment and {PIPELINE} gates",
    ),
    "DOD-6": Criterion("Event log complete without deficits", (LOG_NAME,), rests_on=("AC-7", "LOG")),
}
MUST: dict[tuple[str, str], dict[str, Any]] = {  # what has to stand in a file; * is every row of a list
    ("AC-1", BASELINE): {"partial": None}
    | dict.fromkeys(("outcomes.failed", "outcomes.error", "outcomes.collect_errors"), 0),
    ("AC-3", PROPERTIES): {"mode": "deterministic", "partial": None, "control.shown": True, "mismatches": 0}
    | {
        "false_failures.count": 0,
        "tests.*.falsifying_examples": [],
        "tests.*.problems": [],
        "per_run.*.problem": None,
    }
    | {f"per_run.*.{name}": 0 for name in ("falsified", "error", "crashed", "false_failures", "mismatches")},
}
LIMITS = {  # of what `measure` finds
    "AC-1": {"tests": ("at least", 1), "population_percent": ("at least", 95.0)},
    "AC-2": {"soft": ("at least", 40.0), "hard": ("at least", 60.0)},
    "AC-3": {"tests": ("at least", 3), "runs": ("at least", 30), "slowest_mean_ms": ("under", 1000.0)},
    "AC-5": {"slowest_s": ("under", 1.0)},
}
GOVERNANCE = {  # the plan's frames: name, what it asks here, evidence, criteria that verify it
    "dimensions": (
        ("Motivational", "failures show sooner, on a trusted baseline", (BASELINE, FAILFAST), ("AC-1", "AC-2")),
        ("Relational", "builds on the project's own suite", (REPORT, LOG_NAME), ("AC-1", "AC-7")),
        ("Situational", "where it ran, what cannot be believed there", (SIGNATURE, FLAKES), ("AC-5",)),
        ("Resource", "locked packages, one seed", (SIGNATURE,), ("LOCK",)),
        ("Narrative", "one page that people read", (VERDICTS, BASELINE), ("AC-4",)),
        ("Recursive", "the ladder says what comes next", (LADDER, PROPERTIES), ("AC-6", "AC-3")),
        ("Computational", "quantiles, digests, seeded examples", (DURATIONS, BASELINE), ("AC-1", "AC-3")),
        ("Emergent", "slow and flaky tests that nobody looked for", (DURATIONS, FLAKES), ("AC-1",)),
        ("Temporal", "every line and artifact is dated, in order", (LOG_NAME,), ("LOG", "RUN")),
        ("Spatial", "one platform, recorded", (SIGNATURE,), ("ENVIRONMENT",)),
        ("Holistic", "all mandatory evidence in one envelope", tuple(MANDATORY), ("DOD-2",)),
        ("Validation", "every criterion is computed", (LOG_NAME, LADDER), ("DOD-1",)),
        ("Integration", "gates and workflow use the evidence", (VERDICTS, LADDER), ("GATES", "DOD-5")),
    ),
    "laws": (
        ("No orphans", "all evidence is of one commit and one run", (BASELINE, LOG_NAME), ("COMMIT", "RUN")),
        ("No cycles", "each line follows the one before", (LOG_NAME,), ("LOG",)),
        ("Complete evidence", "every criterion names its evidence", tuple(MANDATORY), ("DOD-1", "DOD-2")),
        ("Deterministic closure", "done is computed, the plan is locked by hash", (PLAN,), ("DOD-1", "R-1")),
        ("Traceability", "plan, version and changelog agree", (PLAN, CHANGELOG), ("R-1",)),
    ),
    "patterns": (
        ("Triangle", "environment, metrics and checkpoint", (SIGNATURE, BASELINE), ("AC-5", "AC-1", "AC-4")),
        ("Circle", "nothing mandatory is left out", tuple(MANDATORY), ("DOD-2", "AC-7")),
        ("Spiral", "baseline, target, next baseline", (LADDER, PROPERTIES), ("AC-6", "AC-3")),
        ("Golden ratio", "few strong controls, the rest deferred", (PLAN,), ("R-1", "GATES")),
        ("Fractal", "each script works alone on any project", tuple(MANDATORY), ("DOD-2",)),
    ),
}
EXPECTED = TAXONOMY - {"logging_deficit", EMITTED}
PROVOKED = {"environment_validation_fail", "early_exit_detected", "risk_trigger"}  # a drill may show these
ENDS = {  # every start has exactly one of these ends
    "metrics_capture_start": ("metrics_capture_complete",),
    "environment_validation_start": ("environment_validation_ok", "environment_validation_fail"),
    "property_test_start": ("property_test_complete",),
}
IDENTITY = (  # what of the environment its signature is the digest of
    "recorded python os platform lock_sources packages_sha256 tools extra required_variables seed".split()
)
REASONS = frozenset(
    "python_minor_mismatch lock_missing lock_hash_missing lock_hash_mismatch lock_unreadable package_missing "
    "package_drift package_modified tool_missing env_missing seed_not_numeric failfast_mode_invalid".split()
)
HARD_GATES = frozenset({"environment", "coverage", "events", "integrity"})
TRIGGERS = ("coverage", "flakes", "properties")
TRIGGER_KEYS = ("TPR_COVERAGE_TOLERANCE_DROP", "TPR_FLAKE_RATE_THRESHOLD", "risk_trigger")
ENFORCED = {  # stage: the commands that run it, by itself or with the whole chain
    "environment": r"pipeline\.py *(?:environment\b.*)?$|validate_env\.py",
    "gates": r"pipeline\.py *(?:gates\b.*)?$|enforce_gates\.py",
}
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
MODES = ("off", "pytest -x", "soft", "hard", "limit")  # limit: the fastest failing test alone
ENVELOPE = frozenset("artifact schema_version run_id generated_at commit dirty sha256".split())
OVERHEAD = (0.25, 60.0)  # of the suite's time, or seconds: what the capture may cost beside the suite
SHOWN = 10  # rows of a chart or a list; the rest is counted
BUCKETS = (
    (0.001, "under 1 ms"),
    (0.01, "1 to 10 ms"),
    (0.1, "10 to 100 ms"),
    (1.0, "0.1 to 1 s"),
    (10.0, "1 to 10 s"),
    (float("inf"), "10 s or more"),
)
SUMMARY_LIMIT = 1024 * 1024  # bytes that a workflow step may show
ANNOTATIONS = 10  # that a workflow step may make
PALETTE = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#3b6ea8"}}}}%%'  # seen on light and dark
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


@dataclass(frozen=True)
class Evidence:
    """What a run left behind, as read: documents whose own digests hold, bytes, and what is wrong with the rest."""

    run_id: str
    documents: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    data: Mapping[str, bytes] = field(default_factory=dict)  # of what is no JSON artifact
    digests: Mapping[str, str] = field(default_factory=dict)  # file: SHA-256 of its bytes
    problems: Mapping[str, str] = field(default_factory=dict)  # file: why it cannot be used
    log: LogReading = field(default_factory=lambda: LogReading([], GENESIS, []))
    log_bytes: int = 0
    head: str | None = None  # while emitting: the project's commit
    emitting: bool = False  # the emission's own event is about to be logged

    def get(self, name: str, path: str) -> Any:
        return dig(self.documents.get(name), path)

    def rows(self, name: str, path: str) -> list[dict[str, Any]]:
        return rows_of(self.get(name, path))

    def text(self, name: str) -> str:
        return self.data.get(name, b"").decode("utf-8", "replace")

    def path(self, name: str) -> str:
        """Where a file of the project is among the evidence: its copy, if there is one."""
        copied = f"{SNAPSHOT}/{name}"
        return copied if copied in self.digests else name

    @cached_property
    def mine(self) -> list[dict[str, Any]]:
        """The judged run's events."""
        return [event for event in self.log.events if event["context"].get("run_id") == self.run_id]

    def events(self, name: str, drill: bool = False) -> list[dict[str, Any]]:
        return [event for event in self.mine if event["event"] == name and bool(event.get("drill")) == drill]

    @cached_property
    def unseen(self) -> list[str]:
        """Required events that are missing. What this script and the gates' re-evaluation log proves nothing."""
        shown = [event for event in self.mine if not event.get("drill") or event["event"] in PROVOKED]
        return sorted(EXPECTED - {event["event"] for event in shown if not is_own(event)})

    @property
    def lock(self) -> str | None:
        return next((path for lock in LOCKS if (path := f"{SNAPSHOT}/{lock}") in self.digests), None)


def is_own(event: Mapping[str, Any]) -> bool:
    script = event["context"].get("script")
    return script == "emit_checkpoint" or (script, event["event"]) == ("enforce_gates", "coverage_ladder_recorded")


def dig(document: object, path: str) -> Any:
    """The value at a dotted path, or None; unknown and missing keys are the same."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def part(document: object, path: str) -> dict[str, Any]:
    """The mapping at a dotted path; empty if there is none."""
    found = dig(document, path)
    return found if isinstance(found, dict) else {}


def rows_of(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if known else None  # type: ignore[arg-type]


def highest(values: Iterable[object]) -> float | None:
    """The highest number; None if one of them is none, or if there are none."""
    found = [number(value) for value in values]
    return max((n for n in found if n is not None), default=None) if None not in found else None


def measure(e: Evidence) -> dict[str, Any]:
    """Per criterion what is measured; some of it has LIMITS."""
    hard = hard_gates(e)
    means = [dig(row, "runtime_ms.mean") for row in e.rows(PROPERTIES, "tests")]
    drills = drill_seconds(e)
    return {
        "AC-1": {"tests": e.get(BASELINE, "outcomes.tests"), "population_percent": population(e)},
        "AC-2": improvement(detection_times(e)),
        "AC-3": {"tests": len(means), "runs": e.get(PROPERTIES, "runs"), "slowest_mean_ms": highest(means)},
        "AC-5": {"reasons": len(REASONS & drills.keys()), "slowest_s": highest(drills.values())},
        "AC-6": picked(e.documents.get(LADDER), "baseline target"),
        "AC-7": {"events": len(EXPECTED) - len(e.unseen), "required": len(EXPECTED)},
        "COMMIT": e.get(BASELINE, "commit"),
        "ENVIRONMENT": e.get(SIGNATURE, "signature"),
        "LOCK": e.digests[e.lock] if e.lock else None,
        "RUN": e.run_id,
        "LOG": {"events": len(e.log.events), "head": e.log.head},
        "GATES": {"passed": sum(row.get("verdict") == "pass" for row in hard), "hard": len(hard)},
        "DOD-4": {name: len(fired) for name, fired in trigger_drills(e).items()},
        "DOD-5": enforced_stages(e),
    }


def population(e: Evidence) -> float | None:
    """Percent of the baseline's own fields that have a value, counted as the capture counts them."""

    def leaves(value: object) -> Iterator[object]:
        if isinstance(value, dict) and value:
            for item in value.values():
                yield from leaves(item)
        else:
            yield value

    sections = e.documents.get(BASELINE, {}).items()
    aside = {*ENVELOPE, "partial", "population"}
    values = [leaf for name, section in sections if name not in aside for leaf in leaves(section)]
    return 100 * sum(value is not None for value in values) / len(values) if values else None


def detection_times(e: Evidence) -> dict[str, float]:
    """Mean seconds to the verdict per mode, from the single runs: each fault counts with the median of its runs."""
    from statistics import fmean, median  # imports decimal and fractions; --help should not wait

    faults = e.rows(FAILFAST, "benchmark.faults")
    times = {}
    for mode in MODES:
        listed = [dig(row, f"runs.{mode}.seconds") for row in faults]
        runs = [[number(value) for value in seconds] for seconds in listed if isinstance(seconds, list)]
        if runs and len(runs) == len(faults) and all(seconds and None not in seconds for seconds in runs):
            times[mode] = round(fmean(median(seconds) for seconds in runs), 4)  # type: ignore[misc, type-var]
    return times


def improvement(times: Mapping[str, float]) -> dict[str, float | None]:
    """Percent saved of the time without fail-fast."""
    off = times.get("off") or 0.0
    return {mode: 100 * (off - times[mode]) / off if off > 0 and mode in times else None for mode in LIMITS["AC-2"]}


def drill_seconds(e: Evidence) -> dict[str, float | None]:
    """Reason code: the longest that a drill took to refuse it, for this reason alone."""
    found: dict[str, list[object]] = {}
    for event in e.events("environment_validation_fail", drill=True):
        if event.get("reasons") == [event.get("provoked")]:
            found.setdefault(str(event["provoked"]), []).append(event.get("seconds"))
    return {code: highest(seconds) for code, seconds in found.items()}


def hard_gates(e: Evidence) -> list[dict[str, Any]]:
    return [row for row in e.rows(VERDICTS, "gates") if row.get("enforcement") != "advisory"]


def trigger_drills(e: Evidence) -> dict[str, list[dict[str, Any]]]:
    """The drills that saw each trigger fire with all that follows."""
    drills = [event for event in e.events("risk_trigger", drill=True) if not event.get("missing")]
    return {name: [event for event in drills if event.get("trigger") == name] for name in TRIGGERS}


def enforced_stages(e: Evidence) -> list[str]:
    names = sorted(name for name in e.data if "/workflows/" in name)
    commands = "\n".join(command for name in names for command in enforced_commands(e.data[name]))
    return [stage for stage, form in ENFORCED.items() if re.search(form, commands, re.MULTILINE)]


@lru_cache(maxsize=16)
def enforced_commands(workflow: bytes) -> list[str]:
    """The commands of a workflow whose failure fails it."""
    import yaml

    try:
        jobs = yaml.safe_load(workflow.decode())["jobs"].values()
        steps = [step for job in jobs if not job.get("continue-on-error") for step in job.get("steps", ())]
        commands = [str(step["run"]) for step in steps if "run" in step and not step.get("continue-on-error")]
    except Exception:  # not a workflow: it enforces nothing
        return []
    return [command for command in commands if "|| true" not in command]


@dataclass(frozen=True)
class Claim:
    """What a file says of something, and what it has to be: a constant, or what another source says."""

    file: str
    what: str
    says: Any
    has_to_be: Any
    source: str = ""

    def __str__(self) -> str:
        of = f" of {self.source}" if self.source else ""
        return f"{self.file}: {self.what}: expected {shown(self.has_to_be)}{of}, got {shown(self.says)}"


def shown(value: object) -> str:
    return value if isinstance(value, str) else one_line(json.dumps(value, ensure_ascii=False, default=str), 200)


def claims(e: Evidence) -> Iterator[tuple[str, Claim]]:
    """Everything that has to be so, with the criterion that asks for it."""
    for (key, name), values in MUST.items():
        for path, value in values.items():
            yield from ((key, Claim(name, what, says, value)) for what, says in found_at(e.documents.get(name), path))
    own = {
        "AC-1": baseline_claims, "AC-2": failfast_claims, "AC-3": property_claims, "AC-4": readiness_claims,
        "AC-5": environment_claims, "AC-6": ladder_claims, "AC-7": event_claims, "COMMIT": commit_claims,
        "ENVIRONMENT": signature_claims, "LOCK": lock_claims, "RUN": run_claims, "LOG": log_claims,
        "GATES": gate_claims, "R-1": plan_claims, "R-6": overhead_claims, "R-7": parallel_claims,
        "DOD-4": trigger_claims, "DOD-5": workflow_claims,
    }  # fmt: skip
    for key, made in own.items():
        yield from ((key, claim) for claim in made(e))


def found_at(document: object, path: str) -> list[tuple[str, Any]]:
    """What stands at a path, by name; at a path with * in every row of that list."""
    place, _, inner = path.partition(".*.")
    if not inner:
        return [(path, dig(document, path))]
    rows = enumerate(rows_of(dig(document, place)), 1)
    return [(f"{one_line(row.get('id') or f'run {at}', 120)}: {inner}", dig(row, inner)) for at, row in rows]


def baseline_claims(e: Evidence) -> Iterator[Claim]:
    """The artifacts of the capture agree with each other and with the log."""
    coverage, outcomes = part(e.documents.get(BASELINE), "coverage"), part(e.documents.get(BASELINE), "outcomes")
    yield Claim(HASH, "digest", e.text(HASH).strip(), f"sha256:{e.get(BASELINE, 'sha256')}", BASELINE)
    names = {"lines-valid": "statements", "lines-covered": "statements_covered"}
    names |= {"branches-valid": "branches", "branches-covered": "branches_covered"}
    totals = dict(re.findall(r'\b([a-z-]+)="(\d{1,15})"', e.text(REPORT)[:4096]))
    says = {key: totals.get(name) for name, key in names.items()}
    yield Claim(REPORT, "totals", says, {key: str(coverage.get(key)) for key in says}, BASELINE)
    counted = Counter(str(row.get("outcome")) for row in e.rows(DURATIONS, "tests"))
    says = {"tests": counted.total(), **{name: counted[name] for name in OUTCOMES}}
    yield Claim(DURATIONS, "outcomes", says, {name: outcomes.get(name) for name in says}, BASELINE)
    stated = {name: e.get(DURATIONS, f"all.{name}") for name in ("count", "total", "p50", "max")}
    yield Claim(DURATIONS, "all", stated, {name: e.get(BASELINE, f"durations.{name}") for name in stated}, BASELINE)
    ranks = [number(e.get(DURATIONS, f"all.{name}")) for name in ("p50", "p90", "p95", "p99", "max")]
    yield Claim(DURATIONS, "p50 to max", ranks, sorted(rank for rank in ranks if rank is not None), "them in order")
    yield Claim(BASELINE, "population.percent", e.get(BASELINE, "population.percent"), population(e), "a count")
    if ended := e.events("metrics_capture_complete"):
        yield Claim(LOG_NAME, "exit of metrics_capture_complete", ended[-1].get("exit"), 0)


def failfast_claims(e: Evidence) -> Iterator[Claim]:
    """The summary has what it must, and states what its single runs give."""
    for key in ("mode", "first_failure", "elapsed_to_detection_s"):
        if e.get(FAILFAST, key) is None:
            yield Claim(FAILFAST, key, None, "a value")
    for mode, seconds in detection_times(e).items():
        stated = number(e.get(FAILFAST, f"benchmark.overall.modes.{mode}.mean"))
        if stated is None or abs(stated - seconds) > 0.001:
            yield Claim(FAILFAST, f"mean of {mode}", stated, seconds, "its runs")


def property_claims(e: Evidence) -> Iterator[Claim]:
    """Every run of every test passed on one stream of examples, with the counts that the log has."""
    runs, seed, listed = (e.get(PROPERTIES, key) for key in ("runs", "seed", "per_run"))
    yield Claim(PROPERTIES, "seed", str(seed), str(e.get(SIGNATURE, "seed")), SIGNATURE)
    for row in e.rows(PROPERTIES, "tests"):
        name = one_line(row.get("id"), 120)
        yield Claim(PROPERTIES, f"{name}: outcomes", row.get("outcomes"), {"passed": runs})
        yield Claim(PROPERTIES, f"{name}: streams of examples", len(rows_of(row.get("streams"))), 1)
    keys = ("run", "passed", "falsified", "error", "crashed", "false_failures", "mismatches", "problem")
    says = {row.get("run"): [row.get(key) for key in keys] for row in rows_of(listed) if number(row.get("run"))}
    yield Claim(PROPERTIES, "runs listed", len(says), runs)
    logged = [event for event in e.events("property_test_complete") if event.get("purpose") == "run"]
    has = {event.get("run"): [event.get(key) for key in keys] for event in logged if number(event.get("run"))}
    for run, counts in says.items():
        yield Claim(PROPERTIES, f"run {run}", counts, has.get(run), LOG_NAME)


def readiness_claims(e: Evidence) -> Iterator[Claim]:
    """No incident is open or unreadable, and the emission is in the log."""
    for name, document in e.documents.items():
        if name.startswith("incidents/"):
            yield Claim(name, "state", document.get("state"), "resolved")
    if FORCED_OFF in e.digests:
        yield Claim("artifacts", f"{FORCED_OFF}, the switch of an open incident", "there", "not there")
    yield Claim(LOG_NAME, EMITTED, e.emitting or bool(e.events(EMITTED)), True)


def environment_claims(e: Evidence) -> Iterator[Claim]:
    """This run's environment was not refused after its validation, and a drill refused every reason."""
    validated = e.events("environment_validated")
    if (
        validated
        and e.get(REFUSED, "run_id") == e.run_id
        and e.get(REFUSED, "generated_at") > validated[-1]["timestamp"]
    ):
        yield Claim(REFUSED, "environment", "refused after it had been validated", "validated")
    yield Claim(LOG_NAME, "reasons that no drill refused", sorted(REASONS - drill_seconds(e).keys()), [])


def ladder_claims(e: Evidence) -> Iterator[Claim]:
    """The ladder promises percentages, and the log and the baseline recorded this very promise."""
    recorded = [event for event in e.events("coverage_ladder_recorded") if not is_own(event)][-1:]
    sources = {LOG_NAME: recorded[0] if recorded else {}, BASELINE: part(e.documents.get(BASELINE), "ladder")}
    for step in ("baseline", "target"):
        told = {key: e.get(LADDER, f"{step}.{key}") for key in ("line", "branch")}
        for key, rate in told.items():
            known = number(rate)
            if not (known is not None and 0 <= known <= 100) and (rate is not None or key == "line"):
                yield Claim(LADDER, f"{step}.{key}", rate, "a number from 0 to 100")
        for name, source in sources.items():
            if source:
                yield Claim(LADDER, step, told, {key: dig(source, f"{step}.{key}") for key in told}, name)
    if recorded and recorded[0].get("measured") is not None:
        now = {key: e.get(BASELINE, f"coverage.{key}_percent") for key in ("line", "branch")}
        yield Claim(LOG_NAME, "measured coverage", recorded[0]["measured"], now, BASELINE)


def event_claims(e: Evidence) -> Iterator[Claim]:
    yield Claim(LOG_NAME, "missing events", e.unseen, [])
    yield Claim(LOG_NAME, "logging_deficit (start a new run)", len(e.events("logging_deficit")), 0)
    yield Claim(LOG_NAME, "starts without one end", unended(e.mine), [])


def unended(events: Sequence[Mapping[str, Any]]) -> list[str]:
    count = Counter((event["event"], str(event["context"].get("pid"))) for event in events)
    found = []
    for start, ends in ENDS.items():
        for pid in sorted({pid for name, pid in count if name in (start, *ends)}):
            begun, ended = count[start, pid], sum(count[end, pid] for end in ends)
            if begun != ended:
                found.append(f"process {one_line(pid, 20)}: {begun} {start}, {ended} ended")
    return found


def commit_claims(e: Evidence) -> Iterator[Claim]:
    commit = e.get(BASELINE, "commit")
    for name in ONE_RUN:
        yield Claim(name, "commit", e.get(name, "commit"), commit or "one; commit the project", BASELINE)
    if e.emitting:
        yield Claim(BASELINE, "commit", commit, e.head, "the project")


def signature_claims(e: Evidence) -> Iterator[Claim]:
    """The signature is the digest of what it stands for, and the one of all the other evidence."""
    known = e.documents.get(SIGNATURE, {})
    signature, python, ran = known.get("signature"), str(dig(known, "python.full")), e.get(PROPERTIES, "python")
    yield Claim(
        SIGNATURE, "signature", signature, content_digest({key: known.get(key) for key in IDENTITY}), "its facts"
    )
    yield Claim(BASELINE, "environment.signature", e.get(BASELINE, "environment.signature"), signature, SIGNATURE)
    for event in e.events("environment_validated"):
        if "signature" in event:
            yield Claim(LOG_NAME, "signature", event["signature"], signature, SIGNATURE)
    if ran and not python.startswith(str(ran)):
        yield Claim(PROPERTIES, "python", ran, python, SIGNATURE)


def lock_claims(e: Evidence) -> Iterator[Claim]:
    """The lock file, its recorded hash and the environment's lock sources name one digest."""
    recorded, digest = f"{SNAPSHOT}/{LOCK_HASH}", e.digests[e.lock] if e.lock else ""
    if recorded in e.data and e.lock == f"{SNAPSHOT}/{LOCKS[0]}" and digest not in e.text(recorded):
        yield Claim(recorded, "digest", e.text(recorded).strip(), digest, e.lock)
    sources = e.get(SIGNATURE, "lock_sources")
    if not sources or digest.encode() not in canonical(sources):
        yield Claim(SIGNATURE, "lock_sources", sources, digest or "a lock", e.lock or "")


def run_claims(e: Evidence) -> Iterator[Claim]:
    """Every artifact names the judged run; where its events state an artifact's digest, that is the artifact."""
    for name in ONE_RUN:
        yield Claim(name, "run_id", e.get(name, "run_id"), e.run_id, "the judged run")
    for event in e.mine:
        for name, digest in part(event, "artifacts").items():
            if name in e.documents:
                yield Claim(name, "sha256", e.get(name, "sha256"), digest, LOG_NAME)


def log_claims(e: Evidence) -> Iterator[Claim]:
    for problem in e.log.problems[:SHOWN]:
        yield Claim(LOG_NAME, "chain", one_line(problem), "unbroken")


def gate_claims(e: Evidence) -> Iterator[Claim]:
    """Every hard gate passes and no trigger fired, as the gates logged it: a verdict edited afterwards differs."""
    hard, triggers = hard_gates(e), e.rows(VERDICTS, "triggers")
    yield Claim(VERDICTS, "hard gates left out", sorted(HARD_GATES - {str(row.get("gate")) for row in hard}), [])
    for row in hard:
        yield Claim(VERDICTS, f"gate {one_line(row.get('gate'), 60)}", row.get("verdict"), "pass")
    for row in triggers:
        if row.get("state") == "fired":
            yield Claim(VERDICTS, f"trigger {one_line(row.get('name'), 60)}", "fired", "quiet")
    says = {
        "gates": {str(row.get("gate")): row.get("verdict") for row in e.rows(VERDICTS, "gates")},
        "triggers": {str(row.get("name")): row.get("state") for row in triggers},
    }
    logged = [event for event in e.events("coverage_ladder_recorded") if "gates" in event and is_own(event)]
    for key, verdicts in says.items():
        yield Claim(VERDICTS, key, verdicts, logged[-1].get(key) if logged else None, LOG_NAME)
    yield Claim(VERDICTS, "judged_run", e.get(VERDICTS, "judged_run"), e.run_id)


def read_plan(e: Evidence) -> dict[str, str | None]:
    """Version and digest of the plan, and what the changelog's top entry says of them."""
    version = re.search(r"^\W*Version:\W*(\d+(?:\.\d+)*)", e.text(f"{SNAPSHOT}/{PLAN}"), re.MULTILINE)
    entries = re.split(r"^## \[(\d+(?:\.\d+)*)\]", e.text(f"{SNAPSHOT}/{CHANGELOG}"), maxsplit=2, flags=re.MULTILINE)
    digest = re.search(r"SHA-?256\b.*?\b([0-9a-fA-F]{64})\b", entries[2]) if len(entries) > 2 else None
    return {
        "path": PLAN,
        "version": version[1] if version else None,
        "sha256": e.digests.get(f"{SNAPSHOT}/{PLAN}"),
        "changelog_version": entries[1] if len(entries) > 1 else None,
        "changelog_sha256": digest[1].lower() if digest else None,
    }


def plan_claims(e: Evidence) -> Iterator[Claim]:
    plan = read_plan(e)
    yield Claim(PLAN, "line Version: X.Y in a file", plan["version"] or "none", plan["version"] or "one")
    yield Claim(CHANGELOG, "version of the top entry", plan["changelog_version"], plan["version"], PLAN)
    yield Claim(CHANGELOG, "SHA256 of the top entry", plan["changelog_sha256"], plan["sha256"], PLAN)


def overhead_claims(e: Evidence) -> Iterator[Claim]:
    seconds = {name: number(value) or 0.0 for name, value in part(e.documents.get(BASELINE), "capture").items()}
    suite = seconds.pop("suite", 0.0)
    beside, allowed = sum(seconds.values()), max(OVERHEAD[0] * suite, OVERHEAD[1])
    if beside > allowed:
        yield Claim(BASELINE, "seconds beside the suite", round(beside, 1), f"at most {allowed:.1f}")


def parallel_claims(e: Evidence) -> Iterator[Claim]:
    """Workers are no risk where the history of the same tests shows no flake."""
    workers = {str(row["worker"]) for row in e.rows(DURATIONS, "tests") if row.get("worker")}
    if workers and not (e.get(FLAKES, "flaky") == [] and e.get(FLAKES, "runs")):
        yield Claim(FLAKES, f"flaky tests on {len(workers)} workers", e.get(FLAKES, "flaky"), [])


def trigger_claims(e: Evidence) -> Iterator[Claim]:
    """Each rollback trigger was seen to fire in a drill, and the plan says what sets it off."""
    unfired = [name for name, fired in trigger_drills(e).items() if not fired]
    yield Claim(LOG_NAME, "triggers that no drill fired", unfired, [])
    if text := e.text(f"{SNAPSHOT}/{PLAN}"):
        yield Claim(PLAN, "keys that it does not explain", [key for key in TRIGGER_KEYS if key not in text], [])


def workflow_claims(e: Evidence) -> Iterator[Claim]:
    """A workflow runs the validator and the gates in steps that can fail it."""
    yield Claim(".github/workflows", "stages that it enforces", enforced_stages(e), list(ENFORCED))


def find_gaps(e: Evidence, measured: Mapping[str, Any]) -> dict[str, list[str]]:
    """Per criterion what does not hold. What rests on a file that cannot be used is not said of its neighbours."""
    gaps: dict[str, list[str]] = {}
    for name, problem in e.problems.items():
        owner = MANDATORY.get(name) or ("AC-4" if name.startswith("incidents/") else "")
        gaps.setdefault(owner, []).append(f"{name}: {problem}")
    for key, limits in LIMITS.items():
        name = CRITERIA[key].evidence[0]
        for what, (how, limit) in limits.items():
            value = number(measured[key][what])
            held = value is not None and (value >= limit if how == "at least" else value < limit)
            if not held and name not in e.problems:
                said = f"{name}: {what}: expected {how} {limit:g}, got {shown(measured[key][what])}"
                gaps.setdefault(key, []).append(said)
    for key, claim in claims(e):
        usable = claim.file not in e.problems and claim.source not in e.problems
        if usable and canonical(redact(claim.says)) != canonical(redact(claim.has_to_be)):
            gaps.setdefault(key, []).append(str(claim))
    return gaps


@dataclass(frozen=True)
class Row:
    """One criterion judged: what was found, what is missing, and the criteria that it only waits for."""

    id: str
    criterion: Criterion
    evidence: tuple[str, ...]
    value: Any
    missing: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether this is a cause of refusal of its own: a risk of lesser impact may stay open."""
        return bool(self.missing) and getattr(self.criterion, "impact", "high") == "high"

    @property
    def met(self) -> bool:
        return not self.waits_for and not self.blocks

    def plain(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": self.id,
            "evidence": self.evidence,
            "missing": self.missing,
            "waits_for": self.waits_for,
        }
        if isinstance(risk := self.criterion, Risk):
            state = "open" if self.missing or self.waits_for else "resolved"
            row |= {"risk": risk.asks, "impact": risk.impact, "likelihood": risk.likelihood}
            return row | {"mitigation": risk.mitigation, "rests_on": risk.rests_on, "state": state}
        limits = {name: f"{how} {limit:g}" for name, (how, limit) in LIMITS.get(self.id, {}).items()}
        row |= {"criterion": self.criterion.asks, "met": self.met, "value": self.value, "limit": limits or None}
        return row | {"remedy": self.criterion.remedy if self.missing else None}


def judge(e: Evidence) -> dict[str, Row]:
    """Every row by its id. An event that is missing is AC-7's gap; others that need it wait for AC-7."""
    measured = measure(e)
    gaps, rows = find_gaps(e, measured), dict[str, Row]()
    for key, criterion in CRITERIA.items():
        needs = ["AC-7"] if {*criterion.evidence} & {*e.unseen} else []
        waits = tuple(name for name in (*needs, *criterion.rests_on) if not rows[name].met) if key != "AC-7" else ()
        evidence = tuple(map(e.path, criterion.evidence))
        rows[key] = Row(key, criterion, evidence, measured.get(key), tuple(gaps.get(key, ())), waits)
    return dict(sorted(rows.items()))


def governance(e: Evidence, rows: Mapping[str, Row]) -> dict[str, Any]:
    """The plan's frames, each row computed: its evidence is there, its digests hold, its criteria are met."""

    def row(name: str, asks: str, files: Iterable[str], criteria: Sequence[str]) -> dict[str, Any]:
        paths = [e.path(path) for path in files]
        present = all(path in e.digests for path in paths)
        verified = present and not any(path in e.problems for path in paths)
        complete = verified and all(rows[key].met for key in criteria)
        named = {"name": name, "asks": asks, "evidence": paths, "rests_on": criteria}
        return named | {"present": present, "verified": verified, "complete": complete}

    return {frame: [row(*entry) for entry in entries] for frame, entries in GOVERNANCE.items()}


def compose(e: Evidence) -> dict[str, Any]:
    """The checkpoint's body, a pure function of the evidence: --verify computes it again and compares."""
    rows = judge(e)

    def plain(*prefixes: str) -> list[dict[str, Any]]:
        return [row.plain() for row in rows.values() if row.id.startswith(prefixes)]

    body = {
        "verdict": "proven" if all(row.met for row in rows.values()) else "not proven",
        "evidence_commit": e.get(BASELINE, "commit"),
        "dirty_evidence": sorted(name for name in ONE_RUN if e.get(name, "dirty")),
        "criteria": plain("AC-"),
        "definition_of_done": plain("DOD-"),
        "consistency": plain("COMMIT", "ENVIRONMENT", "LOCK", "RUN", "LOG"),
        "metrics": metrics_section(e),
        "failfast": failfast_section(e),
        "properties": properties_section(e),
        "events": events_section(e),
        "gates": plain("GATES")
        + [picked(row, "gate enforcement verdict value limit") for row in e.rows(VERDICTS, "gates")],
        "risks": plain("R-"),
        "rollback_triggers": triggers_section(e),
        "governance": governance(e, rows),
        "plan": read_plan(e),
        "log": {"events": len(e.log.events), "bytes": e.log_bytes, "head": e.log.head},
        "files": [f"{digest}  {path}" for path, digest in sorted(e.digests.items())],
    }
    return dict(redact(body))


def picked(document: object, keys: str) -> dict[str, Any]:
    return {key: dig(document, key) for key in keys.split()}


def metrics_section(e: Evidence) -> dict[str, Any]:
    baseline, tests = e.documents.get(BASELINE), e.rows(DURATIONS, "tests")
    slowest = sorted(tests, key=lambda row: (-(number(row.get("seconds")) or 0.0), str(row.get("id"))))[:SHOWN]
    limits = [limit for limit, _ in BUCKETS]
    counts = Counter(bisect_right(limits, number(row.get("seconds")) or 0.0) for row in tests)
    return {
        **picked(baseline, "outcomes flakes markers capture population"),
        "durations": {key: value for key, value in part(baseline, "durations").items() if key != "phases"},
        "coverage": {key: value for key, value in part(baseline, "coverage").items() if key != "files"},
        "slowest": [picked(row, "id seconds") for row in slowest],
        "not_shown": len(tests) - len(slowest),
        "distribution": {label: counts[place] for place, (_, label) in enumerate(BUCKETS)},
        "ladder": picked(e.documents.get(LADDER), "baseline target tolerance horizon"),
    }


def failfast_section(e: Evidence) -> dict[str, Any]:
    section = picked(e.documents.get(FAILFAST), "mode elapsed_to_detection_s tests_run tests_collected")
    first, times = picked(e.get(FAILFAST, "first_failure"), "id phase"), detection_times(e)
    return section | {"first_failure": first, "detection_mean_s": times, "improvement_percent": improvement(times)}


def properties_section(e: Evidence) -> dict[str, Any]:
    tests = e.rows(PROPERTIES, "tests")
    section = picked(e.documents.get(PROPERTIES), "runs seed mismatches false_failures mode")
    section |= {"control_shown": e.get(PROPERTIES, "control.shown"), "not_shown": max(len(tests) - SHOWN, 0)}
    paths = {"id": "id", "outcomes": "outcomes", "examples": "examples.run", "mean_ms": "runtime_ms.mean"}
    shown = [{key: dig(row, path) for key, path in (paths | {"digest": "digest"}).items()} for row in tests[:SHOWN]]
    return section | {"tests": shown}


def events_section(e: Evidence) -> dict[str, Any]:
    """Per event of the taxonomy: how often, how many of them drills, first and last."""
    seen = {}
    for name in sorted(TAXONOMY):
        drills = e.events(name, drill=True)
        times = sorted(event["timestamp"] for event in [*e.events(name), *drills])
        first, last = (times[0], times[-1]) if times else (None, None)
        seen[name] = {"count": len(times), "drills": len(drills), "first": first, "last": last}
    percent = 100 * (1 - len(e.unseen) / len(EXPECTED))
    return {"required": len(EXPECTED), "missing": e.unseen, "percent": percent, "seen": seen}


def triggers_section(e: Evidence) -> list[dict[str, Any]]:
    states = {str(row.get("name")): row for row in e.rows(VERDICTS, "triggers")}
    drills = trigger_drills(e)
    return [
        {"trigger": name, "drills": len(drills[name]), **picked(states.get(name), "state value limit")}
        for name in TRIGGERS
    ]


def statement(document: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """The checkpoint as an unsigned in-toto Statement v1 with the test-result v0.1 predicate.

    https://github.com/in-toto/attestation/tree/main/spec: subjects are what was judged, configuration what it was
    judged under, the tests are the criteria.
    """

    def resources(files: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"name": path, "digest": {"sha256": value}} for path, value in files.items()]

    files = {path: hexdigest for hexdigest, path in (line.split("  ", 1) for line in document["files"])}
    subjects = {CHECKPOINT: digest, **{path: files[path] for path in files if path not in CONFIGURATION}}
    commit = {"name": "commit", "digest": {"gitCommit": document["evidence_commit"]}}
    judged = judged_rows(document)
    failed = [row["id"] for row in judged if not row["met"]]
    warned = [row["id"] for row in document["risks"] if row["state"] != "resolved"]
    warned += [f"gate {row['gate']}" for row in document["gates"] if row.get("gate") and row["verdict"] != "pass"]
    predicate = {
        "result": "FAILED" if failed else "WARNED" if warned else "PASSED",
        "configuration": resources({path: files[path] for path in CONFIGURATION if path in files}),
        "passedTests": [row["id"] for row in judged if row["met"]],
        "warnedTests": warned,
        "failedTests": failed,
    }
    subject = [commit, *resources(subjects)]
    return {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": PREDICATE_TYPE, "predicate": predicate}


def judged_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    sections = ("criteria", "definition_of_done", "consistency", "gates")
    return [row for section in sections for row in document[section] if "met" in row]


def derived(document: Mapping[str, Any], data: bytes) -> dict[str, bytes]:
    """The files that follow from the checkpoint: the page, the statement, the list for sha256sum -c."""
    page = "\n\n".join(page_sections(document)) + "\n"
    texts = {PAGE: page, STATEMENT: indented(statement(document, sha256(data))) + "\n"}
    made = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}
    lines = [f"{sha256(content)}  {name}\n" for name, content in {CHECKPOINT: data, **made}.items()]
    listed = "".join([*(f"{line}\n" for line in document["files"]), *lines])
    return made | {SUMS: listed.encode(errors="backslashreplace")}


def page_sections(document: Mapping[str, Any]) -> list[str]:
    """The checkpoint for people: the verdict first, every chart beside its numbers."""
    metrics, failfast, log, files = (document[name] for name in ("metrics", "failfast", "log", "files"))
    properties, events, triggers = (document[name] for name in ("properties", "events", "rollback_triggers"))
    outcomes = [(name, count) for name in OUTCOMES if (count := number(dig(metrics, f"outcomes.{name}")))]
    slowest = [
        (str(rank), 1000 * (number(row["seconds"]) or 0.0), row["id"])
        for rank, row in enumerate(metrics["slowest"], 1)
    ]
    times = [
        (mode, failfast["detection_mean_s"].get(mode), failfast["improvement_percent"].get(mode)) for mode in MODES
    ]
    seen = [{"event": name, **row} for name, row in events["seen"].items()]
    listed = [{"file": path, "sha256": digest} for digest, path in (line.split("  ", 1) for line in files)]
    return [
        headline(document),
        "## Criteria\n\n" + grid(judged_rows(document), "id criterion met value limit"),
        "## Tests by outcome\n\n" + chart("Tests by outcome", "tests", outcomes, ("outcome", "tests")),
        "## Tests by duration\n\n"
        + chart("Tests by duration", "tests", metrics["distribution"].items(), ("duration", "tests"))
        + "\n\n"
        + grid([metrics["durations"]], "mean p50 p90 p95 p99 max"),
        "## Slowest tests\n\n"
        + chart("Slowest tests, by rank", "ms", slowest, ("rank", "ms", "test"))
        + left_out(metrics["not_shown"], DURATIONS),
        "## Coverage ladder\n\n"
        + chart("Coverage ladder", "percent", ladder_steps(metrics), ("coverage", "percent"))
        + "\n\n"
        + grid([metrics["ladder"]], "tolerance horizon"),
        "## Fail-fast\n\n"
        + chart("Time to the verdict on a failure", "seconds", times, ("mode", "seconds", "sooner, percent")),
        "## Property pilot\n\n"
        + grid([properties], "runs seed mismatches false_failures control_shown")
        + "\n\n"
        + grid(properties["tests"], "id outcomes examples mean_ms digest")
        + left_out(properties["not_shown"], PROPERTIES),
        "## Gates and rollback triggers\n\n"
        + grid([row for row in document["gates"] if "gate" in row], "gate enforcement verdict value limit", 2 * SHOWN)
        + "\n\n"
        + grid(triggers, "trigger state value limit drills"),
        "## Risks\n\n" + grid(document["risks"], "id risk impact likelihood mitigation evidence state"),
        f"## Events\n\n{cell(events['percent'])} % of {events['required']} required events were seen. The log holds "
        f"{log['events']} lines.\n\n" + grid(seen, "event count drills first last"),
        "## Governance\n\n"
        + "\n\n".join(
            f"### {frame.capitalize()}\n\n" + grid(rows, "name asks evidence rests_on present verified complete")
            for frame, rows in document["governance"].items()
        ),
        "## Plan\n\n" + grid([document["plan"]], "path version sha256"),
        "## Evidence\n\n" + grid(listed, "file sha256", 10 * SHOWN),
    ]


def headline(document: Mapping[str, Any]) -> str:
    judged = judged_rows(document)
    values = {row["id"]: row["value"] for row in judged}
    facts = {"commit": document["evidence_commit"], "run": document["run_id"], "issued": document["generated_at"]}
    facts |= {"environment": values["ENVIRONMENT"], "lock": values["LOCK"], "log": document["log"]["head"]}
    held = f"{sum(row['met'] for row in judged)} of {len(judged)} criteria hold."
    if document["dirty"] or document["dirty_evidence"]:
        held += "\n\n**The files differed from the commit when this was measured**, so it cannot be published."
    check = f"To check it: `python scripts/tests/{PROG} --verify DIR`, or `sha256sum -c {SUMS}`."
    return "\n\n".join([f"# Foundation: {document['verdict']}", held, table(("of", "is"), facts.items()), check])


def ladder_steps(metrics: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for metric in ("line", "branch"):
        yield f"{metric} baseline", dig(metrics, f"ladder.baseline.{metric}")
        yield f"{metric} now", dig(metrics, f"coverage.{metric}_percent")
        yield f"{metric} target", dig(metrics, f"ladder.target.{metric}")


def grid(rows: Sequence[Mapping[str, Any]], columns: str, limit: int | None = None) -> str:
    """A table of these keys of each row; beyond the limit rows are only counted."""
    keys = columns.split()
    cells = [[row.get(key) for key in keys] for row in rows[:limit]]
    return table([key.replace("_", " ") for key in keys], cells) + left_out(len(rows) - len(cells), SUMS)


def chart(title: str, unit: str, rows: Iterable[Sequence[object]], head: Sequence[str]) -> str:
    """A Mermaid bar chart of the rows' (label, number, ...), and the table of the same numbers."""
    known = [row for row in rows if number(row[1]) is not None]
    values = [number(row[1]) or 0.0 for row in known]
    if not values or max(values) <= 0:
        return table(head, known)
    lines = ["```mermaid", PALETTE, "xychart-beta", f'    title "{title}"']
    labels = ", ".join(f'"{row[0]}"' for row in known)
    lines += [
        f"    x-axis [{labels}]",
        f'    y-axis "{unit}" 0 --> {digits(max(values))}',
        f"    bar [{', '.join(map(digits, values))}]",
        "```",
    ]
    return "\n".join(lines) + "\n\n" + table(head, known)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])


def left_out(count: int, where: str) -> str:
    return f"\n\n{count} more are in `{where}`." if count > 0 else ""


def cell(value: object) -> str:
    """A value for people: numbers plain, harmless words as they are, any other text as code."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if (plain := number(value)) is not None:
        return digits(plain)
    if isinstance(value, dict):
        return ", ".join(f"{cell(key)} {cell(item)}" for key, item in list(value.items())[:SHOWN])
    if isinstance(value, list | tuple):
        more = f" and {len(value) - SHOWN} more" if len(value) > SHOWN else ""
        return ", ".join(map(cell, value[:SHOWN])) + more
    words = re.fullmatch(r"(?!.*\S{25})(?:[A-Za-z0-9 ,;()%'-]|[.:](?= |$))+", str(value))
    return str(value) if words else code(value)


def digits(value: float) -> str:
    """A number as people and the chart's grammar read it: no exponent, at most three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def code(value: object, limit: int = 160) -> str:
    """Foreign text, such as a test id, for a cell of a Markdown table: shown as it is, never read as Markdown."""
    text = one_line(value, limit)
    if "\\|" in text:  # a code span cannot say that in a table
        return "<code>" + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text) + "</code>"
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if text.strip(" `") != text else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|')}{pad}{fence}" if text.strip() else "(blank)"


def fit(sections: Sequence[str], room: int) -> str:
    """The sections within so many bytes: the later ones go first, and the last line says which."""
    for kept in range(len(sections), 0, -1):
        left = [section.partition("\n")[0].strip("# ") for section in sections[kept:]]
        note = [f"Left out for lack of room: {', '.join(left)}; see {PAGE}."] if left else []
        text = "\n\n".join([*sections[:kept], *note]) + "\n"
        if len(text.encode(errors="backslashreplace")) <= room:
            return text
    return ""


def refusal_sections(rows: Sequence[Row], run_id: str) -> list[str]:
    found = [
        f"| {row.id} | {row.criterion.asks} | {gap_list(row)} | `{row.criterion.remedy}` |"
        for row in rows
        if row.blocks
    ]
    head = table(("id", "criterion", "missing", "remedy"), ())
    verdict = f"# Foundation: not proven\n\nRun {code(run_id)}. {waiting_text(rows)}"
    return [verdict, "\n".join(["## What is missing\n", head, *found])]


def gap_list(row: Row) -> str:
    more = f" and {len(row.missing) - SHOWN} more" if len(row.missing) > SHOWN else ""
    return "<br>".join(code(text, 300) for text in row.missing[:SHOWN]) + more


def waiting_text(rows: Iterable[Row]) -> str:
    waiting = [row.id for row in rows if row.waits_for and not row.blocks]
    return f"{', '.join(waiting)} wait for the others." if waiting else ""


def refusal_table(rows: Sequence[Row]) -> str:
    """The same for a terminal."""
    lines = []
    for row in rows:
        if row.blocks:
            lines.append(f"{row.id:<12} {row.criterion.asks}")
            lines += [f"{'':<12} - {harmless(text)}" for text in row.missing[:SHOWN]]
            lines += [f"{'':<12}   and {len(row.missing) - SHOWN} more"] * (len(row.missing) > SHOWN)
            lines.append(f"{'':<12}   mend: {row.criterion.remedy}")
    return "\n".join([*lines, waiting_text(rows)]).rstrip()


def error_lines(rows: Iterable[Row]) -> list[str]:
    """One workflow command per refused row, within what a step may make; the last says how many were left out."""
    texts = [f"{row.id}: {harmless('; '.join(row.missing), 1000).replace('%', '%25')}" for row in rows if row.blocks]
    if len(texts) > ANNOTATIONS:
        more = len(texts) - ANNOTATIONS + 1
        texts[ANNOTATIONS - 1 :] = [f"{more} more criteria are not met; see the step summary"]
    return [f"::error title={PROG}::{text}" for text in texts]


def harmless(value: object, limit: int = 300) -> str:
    """Text for the middle of a line of a workflow's log: in the old form a command may begin there too."""
    return one_line(value, limit).replace("##[", "#_[")


def find_files(place: Path) -> list[str]:
    """The evidence in a folder, by name: what else lies there is not looked at."""
    names = [name for name in (*MANDATORY, *OPTIONAL) if os.path.lexists(place / name)]
    deep = [*place.glob(f"{SNAPSHOT}/**/*"), *place.glob("incidents/*/incident.json")]
    return sorted({*names, *(relative(place, path) for path in deep if path.is_symlink() or not path.is_dir())})


def all_files(place: Path) -> list[str]:
    """Everything below a folder but the folders themselves; links are not followed."""
    return sorted(relative(place, path) for path in place.rglob("*") if path.is_symlink() or not path.is_dir())


def relative(place: Path, path: Path) -> str:
    return path.relative_to(place).as_posix()


def load(place: Path, run_id: str, log_bytes: int | None = None) -> Evidence:
    """Read the evidence in a folder; what cannot be used is a problem of that file, never an error.

    `log_bytes`: only so much of the log, which may have grown since.
    """
    documents, data, digests, problems = {}, dict[str, bytes](), {}, {}
    for name in find_files(place):
        try:
            content = read_file(place, name)[: log_bytes if name == LOG_NAME else None]
            digests[name] = sha256(content)
            if name.endswith(".json") and not name.startswith(f"{SNAPSHOT}/"):
                documents[name] = read_document(place, name)
            else:
                data[name] = content
        except EvidenceError as error:
            problems[name] = str(error).removeprefix(f"{place / name}: ").replace(f"{place}{os.sep}", "")
    ladder = next((data[name] for name in (f"{SNAPSHOT}/{LADDER}", LADDER) if name in data), None)
    if ladder is not None:
        try:
            documents[LADDER] = read_ladder(ladder)
        except EvidenceError as error:
            problems[LADDER] = str(error)
    absent = MANDATORY.keys() - digests.keys() - documents.keys() - problems.keys()
    problems |= dict.fromkeys(sorted(absent), "expected a file, got none")
    content = data.pop(LOG_NAME, b"")
    return Evidence(run_id, documents, data, digests, problems, read_part(place, content), len(content))


def read_file(place: Path, name: str) -> bytes:
    """The bytes of a regular file below `place`; no link, device or pipe is followed or opened."""
    path = place / name
    if not is_listing(f"{GENESIS}  {name}"):
        raise EvidenceError(f"{path}: expected a name that sha256sum can list, got another; rename it")
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or not path.resolve().is_relative_to(place.resolve()):
            raise EvidenceError(f"{path}: expected a regular file, got another kind; remove it")
        return path.read_bytes()
    except FileNotFoundError:
        raise EvidenceError(f"{path}: expected a file, got none; produce it first") from None
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None


def is_listing(line: str) -> bool:
    """A line of sha256sum that names a file below its folder."""
    name = PurePosixPath(line[66:])
    form = re.fullmatch(r"[0-9a-f]{64}  [^\\\r\n]+", line)
    return form is not None and not name.is_absolute() and ".." not in name.parts


def read_document(place: Path, name: str) -> dict[str, Any]:
    """A JSON artifact whose envelope's texts are texts, so that they can be compared."""
    document = read_artifact(place / name, PurePosixPath(name).name)
    for key in ("run_id", "generated_at"):
        if not isinstance(document.get(key), str):
            raise EvidenceError(f"{key}: expected text, got {one_line(document.get(key), 60)}")
    return document


def read_ladder(data: bytes) -> dict[str, Any]:
    import yaml

    try:
        ladder = redact(yaml.safe_load(data.decode()))  # dates and other objects become text
    except Exception as error:  # the parser raises many kinds on hostile documents
        raise EvidenceError(f"expected a ladder, got {type(error).__name__}: {one_line(error, 120)}") from None
    return ladder if isinstance(ladder, dict) else {}


def read_part(place: Path, content: bytes) -> LogReading:
    """The log as far as this content of it goes; other scripts may have appended since."""
    log, count = read_log(place / LOG_NAME), content.count(b"\n")
    if not content or count >= len(log.events):
        return log if content else LogReading([], GENESIS, [])
    return LogReading(log.events[:count], log.events[count]["context"]["prev"], log.problems)


@dataclass(frozen=True)
class Mismatch:
    """One way in which a checkpoint does not hold."""

    kind: str
    file: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: expected {self.expected}, got {self.actual}"


def verify(place: Path) -> list[Mismatch]:
    """Everything that does not hold of the checkpoint in a folder."""
    if not any(os.path.lexists(place / name) for name in OWN):
        raise EvidenceError(f"{place}: expected {CHECKPOINT}, got none; emit it first, or pass another DIR")
    try:
        data = read_file(place, CHECKPOINT)
        document = read_document(place, CHECKPOINT)
        check_shape(document)
    except EvidenceError as error:
        said = str(error).removeprefix(f"{place / CHECKPOINT}: ")
        stated = re.match(r"expected (.*?), got ([^;:]*)", said)
        return [Mismatch("checkpoint", CHECKPOINT, *(stated.groups() if stated else ("a whole checkpoint", said)))]
    found = byte_mismatches(
        "layout", place, {CHECKPOINT: (indented(document) + "\n").encode(errors="backslashreplace")}
    )
    found += file_mismatches(place, document) + log_mismatches(place, document)
    if not any(mismatch.kind in ("file", "log") for mismatch in found):  # else what follows from them differs as well
        found += section_mismatches(place, document)
    try:
        return found + byte_mismatches("derived", place, derived(document, data))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        return [*found, Mismatch("derived", CHECKPOINT, "sections to show", one_line(repr(error), 80))]


def check_shape(document: Mapping[str, Any]) -> None:
    """Whether this can be verified at all; what its sections say is recomputed later."""
    if document.get("schema_version") != CHECKPOINT_VERSION:
        version = one_line(document.get("schema_version"), 20)
        raise EvidenceError(
            f"expected schema_version {CHECKPOINT_VERSION}, got {version}, which its own commit can verify"
        )
    lines, counts = document.get("files"), [dig(document, f"log.{key}") for key in ("events", "bytes")]
    if not isinstance(lines, list) or not all(isinstance(line, str) and is_listing(line) for line in lines):
        raise EvidenceError("expected lines of sha256sum, got other files")
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise EvidenceError("expected counts of the log's events and bytes, got others")


def byte_mismatches(kind: str, place: Path, files: Mapping[str, bytes]) -> list[Mismatch]:
    return digest_mismatches(kind, place, {name: sha256(content) for name, content in files.items()})


def digest_mismatches(
    kind: str, place: Path, files: Mapping[str, str], log_bytes: int | None = None
) -> list[Mismatch]:
    """Files that do not have these digests."""
    found = []
    for name, digest in files.items():
        try:
            actual = sha256(read_file(place, name)[: log_bytes if name == LOG_NAME else None])
        except EvidenceError as error:
            actual = str(error).removeprefix(f"{place / name}: ").partition(";")[0]
        if actual != digest:
            found.append(Mismatch(kind, name, f"sha256 {digest}", actual))
    return found


def file_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """Listed files that changed; evidence that is not listed, and in a published folder any other file."""
    published = document.get("published") is True
    listed = {path: digest for digest, path in (line.split("  ", 1) for line in document["files"])}
    found = digest_mismatches("file", place, listed, None if published else document["log"]["bytes"])
    strangers = set(all_files(place) if published else find_files(place)) - {*listed, *OWN}
    return found + [Mismatch("file", path, "no file", "one that is not listed") for path in sorted(strangers)]


def log_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """The chain is unbroken, and the recorded head is the hash of the recorded number of lines."""
    try:
        content = read_file(place, LOG_NAME)
    except EvidenceError:
        return []  # said of the file
    problems, log = read_log(place / LOG_NAME).problems[:1], read_part(place, content[: document["log"]["bytes"]])
    found = [Mismatch("log", LOG_NAME, "an unbroken chain", problem) for problem in problems]
    recorded, actual = document["log"], {"events": len(log.events), "head": log.head}
    return found + [
        Mismatch("log", LOG_NAME, f"{key} {one_line(recorded.get(key), 64)}", str(value))
        for key, value in actual.items()
        if value != recorded.get(key)
    ]


def section_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """Each section against the one computed from the evidence, and every criterion again."""
    evidence = load(place, document["run_id"], document["log"]["bytes"])
    computed = compose(evidence) | {"commit": evidence.get(BASELINE, "commit")}
    found = [difference(f"{CHECKPOINT} {name}", value, document.get(name)) for name, value in computed.items()]
    emitted = max((event["timestamp"] for event in evidence.events(EMITTED)), default="")
    if document["generated_at"] < emitted:
        found.append(Mismatch("section", f"{CHECKPOINT} generated_at", f"after {emitted}", document["generated_at"]))
    strange = sorted(document.keys() - computed.keys() - ENVELOPE - {"published"})
    found += [Mismatch("section", f"{CHECKPOINT} {one_line(name, 60)}", "no such section", "one") for name in strange]
    unmet = [row for row in judge(evidence).values() if row.blocks]
    found += [Mismatch("criterion", row.id, "met", "; ".join(row.missing)) for row in unmet]
    return [mismatch for mismatch in found if mismatch]


def difference(where: str, expected: Any, actual: Any) -> Mismatch | None:
    """The innermost first difference between two values, or None."""
    pairs: Iterable[tuple[object, Any, Any]] = ()
    if isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        pairs = [(key, value, actual[key]) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        names = [
            dig(row, "id") or dig(row, "name") or dig(row, "gate") or place for place, row in enumerate(expected)
        ]
        pairs = zip(names, expected, actual, strict=True)
    for name, *values in pairs:
        if found := difference(f"{where}.{name}", *values):
            return found
    if canonical(expected) == canonical(actual):
        return None
    return Mismatch("section", where, one_line(json.dumps(expected), 200), one_line(json.dumps(actual), 200))


def first_of_each(found: Iterable[Mismatch]) -> list[str]:
    """The first mismatch of each kind, and how many more there are of it."""
    kinds: dict[str, list[Mismatch]] = {}
    for mismatch in found:
        kinds.setdefault(mismatch.kind, []).append(mismatch)
    return [
        harmless(group[0], 1000) + (f" (and {len(group) - 1} more of this kind)" if group[1:] else "")
        for group in kinds.values()
    ]


def report_verification(place: Path, quiet: bool) -> int:
    """Verify and say what does not hold, or what is not covered. Returns 0 or 1."""
    if found := verify(place):
        print(*(f"{PROG}: {text}" for text in first_of_each(found)), sep="\n", file=sys.stderr)
        return 1
    if not quiet:
        document = read_artifact(place / CHECKPOINT)
        counts = f"{len(document['files'])} files, {document['log']['events']} events"
        print(f"{PROG}: holds: {counts}, commit {document['commit']}")
        for text in uncovered(place, document):
            print(f"{PROG}: not covered: {text}")
    return 0


def uncovered(place: Path, document: Mapping[str, Any]) -> list[str]:
    """What else an artifacts folder holds; a published one holds nothing else."""
    listed = {line.split("  ", 1)[1] for line in document["files"]}
    others = [one_line(name, 60) for name in all_files(place) if name not in listed and name not in OWN]
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    later = len(read_file(place, LOG_NAME)) - document["log"]["bytes"]
    found = [f"{', '.join(others[:SHOWN])}{more}"] if others else []
    return found + ([f"the last {later} bytes of {LOG_NAME}"] if later else [])


def take_snapshot(run: Run) -> None:
    """Copy the project's own files that the criteria rest on beside the evidence, so that it is whole by itself."""
    shutil.rmtree(run.artifacts / SNAPSHOT, ignore_errors=True)
    platform = HERE.parents[1]
    found = [(run.root, path) for form in TAKEN for path in sorted(run.root.glob(form))]
    for base, path in [*found, *((platform, platform / name) for name in (PLAN, CHANGELOG))]:
        if path.is_file():
            name = f"{SNAPSHOT}/{relative(base, path)}"
            (run.artifacts / name).parent.mkdir(parents=True, exist_ok=True)
            run.write_bytes(name, path.read_bytes())


def emit(run: Run, to_publish: bool, quiet: bool) -> int:
    """Judge; refuse with what is missing, or log and write the checkpoint. Returns 0 or 1."""
    for name in OWN:  # half a run must not look ready
        (run.artifacts / name).unlink(missing_ok=True)
    take_snapshot(run)
    evidence = replace(load(run.artifacts, run.id), emitting=True, head=run.commit[0])
    rows = judge(evidence)
    if not all(row.met for row in rows.values()):
        return refuse(run, evidence, list(rows.values()), quiet)
    others = "\n".join(f"{digest}  {name}" for name, digest in sorted(evidence.digests.items()) if name != LOG_NAME)
    run.log.info(
        "foundation_checkpoint_emitted", criteria=len(rows), commit=run.commit[0], evidence=sha256(others.encode())
    )
    evidence = load(run.artifacts, run.id)
    body = compose(evidence)
    if body["verdict"] != "proven":
        return refuse(run, evidence, list(judge(evidence).values()), quiet)
    with staging(run.artifacts) as place:
        document = write_checkpoint(run, place, body, published=False)
        for name in OWN:
            (place / name).replace(run.artifacts / name)
    summarize(page_sections(document))
    if not quiet:
        print(
            *(f"{row.id:<12} {'yes' if row.met else 'no':<4} {row.criterion.asks}" for row in rows.values()), sep="\n"
        )
        print(f"{PROG}: proven: {run.artifacts / CHECKPOINT}")
    return publish(run, evidence, body, quiet) if to_publish else 0


def refuse(run: Run, evidence: Evidence, rows: Sequence[Row], quiet: bool) -> int:
    """Say what is missing, in the log, on the terminal, in the workflow's summary and annotations. Returns 1."""
    if evidence.unseen:
        run.log.error("logging_deficit", missing=evidence.unseen)
    unmet = [row.id for row in rows if row.blocks]
    run.log.warning("risk_trigger", trigger="checkpoint_refused", unmet=unmet)
    summarize(refusal_sections(rows, run.id))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(*error_lines(rows), sep="\n", file=sys.stderr)
    if not quiet:
        print(refusal_table(rows))
    print(f"{PROG}: not proven: {', '.join(unmet)}; mend it, then {PIPELINE}", file=sys.stderr)
    return 1


def write_checkpoint(run: Run, place: Path, body: Mapping[str, Any], published: bool) -> dict[str, Any]:
    """The checkpoint and what follows from it, in a folder of its own."""
    aside = copy.copy(run)
    aside.artifacts = place
    document = aside.write(CHECKPOINT, CHECKPOINT_VERSION, {"published": published, **body})
    if masked := [name for name, value in body.items() if document[name] != value]:
        cause = "it holds the value of a secret variable of this process"
        raise EvidenceError(f"{CHECKPOINT}: {masked[0]} could not be computed again: {cause}; unset it")
    for name, content in derived(document, (place / CHECKPOINT).read_bytes()).items():
        aside.write_bytes(name, content)
    return document


@contextmanager
def staging(artifacts: Path) -> Iterator[Path]:
    """A private folder beside what it will become; nothing of it stays."""
    place = artifacts / f".foundation.{os.getpid()}"
    try:
        place.mkdir()
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def summarize(sections: Sequence[str]) -> None:
    """Append to the workflow step's summary as much as it takes."""
    if not (path := os.environ.get("GITHUB_STEP_SUMMARY")):
        return
    try:
        with Path(path).open("ab") as stream:
            stream.write(fit(sections, SUMMARY_LIMIT - stream.tell()).encode(errors="backslashreplace"))
    except OSError as error:
        print(f"{PROG}: GITHUB_STEP_SUMMARY: cannot be written: {error.strerror}", file=sys.stderr)


def publish(run: Run, evidence: Evidence, body: Mapping[str, Any], quiet: bool) -> int:
    """Copy checkpoint and evidence to artifacts/foundation, built beside and verified first. Returns 0 or 1."""
    target, old = run.artifacts / "foundation", run.artifacts / f".foundation.old.{os.getpid()}"
    with staging(run.artifacts) as place:
        for name in evidence.digests:
            content = read_file(run.artifacts, name)
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place / name, content[: evidence.log_bytes] if name == LOG_NAME else content)
        document = write_checkpoint(run, place, body, published=True)
        dirty = [*document["dirty_evidence"], *([CHECKPOINT] if document["dirty"] else [])]
        found = [
            f"{name}: measured on files that differ from the commit; commit them, then {PIPELINE}" for name in dirty
        ]
        found += [*leaks(place, run), *(f"{mismatch}; emit it again" for mismatch in verify(place))]
        if found:
            complain(PROG, f"not published: {found[0]}")
            return 1
        if target.exists():
            target.replace(old)
        place.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    if not quiet:
        print(f"{PROG}: published: {target}; commit it")
    return 0


def leaks(place: Path, run: Run) -> Iterator[str]:
    """The published lines that name a path of this machine."""
    import tempfile

    mine = [run.root, run.artifacts, HERE.parents[1], Path.cwd(), Path.home(), Path(tempfile.gettempdir())]
    places = {form for path in [*mine, Path(sys.prefix), Path(sys.base_prefix)] for form in (path, path.resolve())}
    texts = sorted((str(path) for path in places if path != Path(path.anchor)), key=len, reverse=True)
    forms = [re.escape(form) for text in texts for form in {text, json.dumps(text)[1:-1]}]
    named = re.compile(rf"(?<![\w.<])(?:{'|'.join(forms)})(?![\w.-])".encode())
    for name in all_files(place):
        for number, line in enumerate(read_file(place, name).splitlines(), 1):
            if hit := named.search(line):
                yield f"{name}: line {number}: expected no path of this machine, got {hit[0].decode()!r}; see PLAN.md"


def open_run(root: Path, artifacts: Path) -> Run:
    """Without TPR_RUN_ID the run that the baseline is of is joined: a checkpoint by hand belongs to that chain."""
    run = Run("emit_checkpoint", root, artifacts)
    try:
        joined = read_document(artifacts, BASELINE)["run_id"]
    except EvidenceError:
        return run
    if not os.environ.get("TPR_RUN_ID"):
        run.id, run.log = joined, EventLog(artifacts / LOG_NAME, run.script, joined)
    return run


def parser() -> Arguments:
    arguments = Arguments(str(__doc__), "emit_checkpoint")
    publish_help = "copy the checkpoint with its evidence to artifacts/foundation"
    arguments.add_argument("--publish", action="store_true", help=publish_help)
    verify_help = "recompute a checkpoint; writes nothing"
    arguments.add_argument("--verify", nargs="?", const=False, type=folder, metavar="DIR", help=verify_help)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    artifacts = (args.artifacts or args.root / "artifacts").absolute()
    try:
        if args.verify is None:
            return emit(open_run(args.root, artifacts), args.publish, args.quiet)
        committed = artifacts / "foundation"
        return report_verification(args.verify or (committed if committed.is_dir() else artifacts), args.quiet)
    except EvidenceError as error:
        return complain(PROG, str(error))
    except OSError as error:
        where = error.filename or artifacts
        return complain(PROG, f"{where}: cannot be read or written: {error.strerror}; check permissions and room")
    except KeyboardInterrupt:
        return complain(PROG, "interrupted; run it again")


if __name__ == "__main__":
    raise SystemExit(main())
