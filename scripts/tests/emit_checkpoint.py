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
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
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
    show,
    write_atomic,
)

TYPE_CHECKING = False  # typing would cost --help a tenth of its time
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from tempfile import TemporaryDirectory
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
    """It is resolved by its evidence and by what it rests on; of the open ones only a high one blocks."""

    impact: str = "high"
    likelihood: str = "low"
    mitigation: str = ""


CRITERIA = {  # each stands after what it rests on
    "AC-7": Criterion("Every required event seen, without a deficit", (LOG_NAME,)),
    "AC-1": Criterion(
        "Baseline metrics produced whole, hashed and logged",
        (BASELINE, HASH, REPORT, DURATIONS, MARKERS, FLAKES, "metrics_capture_complete"), f"{PIPELINE} baseline"),
    "AC-2": Criterion(
        "A failure shows sooner: soft by 40 %, hard by 60 %",
        (FAILFAST, "failfast_mode_applied", "early_exit_detected"), f"{PIPELINE} failfast"),
    "AC-3": Criterion(
        "Three invariants hold in 30 identical runs, each under 1 s",
        (PROPERTIES, "property_test_complete"), f"{PIPELINE} properties"),
    "AC-5": Criterion(
        "A wrong environment is refused before the tests, in under 1 s",
        (SIGNATURE, "environment_validated", "environment_validation_fail"), f"{PIPELINE} environment"),
    "AC-6": Criterion(
        "Coverage ladder's baseline and target recorded",
        (LADDER, "coverage_ladder_recorded"), f"{PIPELINE} baseline"),
    "COMMIT": Criterion("All evidence is of one commit", ONE_RUN),
    "ENVIRONMENT": Criterion("All evidence is of one environment", (SIGNATURE, BASELINE, PROPERTIES, LOG_NAME)),
    "LOCK": Criterion("All evidence is of one lock", (SIGNATURE,)),
    "RUN": Criterion("All evidence is of one run", (*ONE_RUN, LOG_NAME)),
    "LOG": Criterion("The event log's chain is unbroken", (LOG_NAME,), f"move {LOG_NAME} away, then {PIPELINE}"),
    "GATES": Criterion("Every hard gate passes", (VERDICTS,), f"{PIPELINE} gates"),
    "R-1": Risk(
        "The plan document is missing or not the agreed one", (PLAN, CHANGELOG),
        f"put the plan's version and SHA-256 into the changelog, commit, then {PIPELINE}",
        (), "high", "low", "version control, and its hash stands in the changelog"),
    "R-2": Risk("Property tests that cannot be believed", (PROPERTIES,), PIPELINE,
        ("AC-3",), "medium", "low", "a fixed seed, proven identical runs, the nightly search apart"),
    "R-3": Risk("Fail-fast hides failures of the rest", (BASELINE, FAILFAST), PIPELINE,
        ("AC-1",), "medium", "medium", "the baseline is whole, and fail-fast modes never touch it"),
    "R-4": Risk("Coverage creeps down", (LADDER, VERDICTS), PIPELINE,
        ("AC-6", "GATES"), "medium", "medium", "the ladder's gate"),
    "R-5": Risk("The environment drifts", (SIGNATURE,), PIPELINE,
        ("AC-5", "ENVIRONMENT", "LOCK"), "high", "medium", "the validator refuses it, one signature is everywhere"),
    "R-6": Risk("Measuring costs too much", (BASELINE,), PIPELINE,
        (), "low", "medium", "seconds per stage in the baseline, and stages can be skipped"),
    "R-7": Risk("Tests that run in parallel disturb each other", (DURATIONS, FLAKES), PIPELINE,
        (), "high", "low", "one process until flakes are classified"),
}  # fmt: skip
MANDATORY = {  # evidence that must be there: the criterion that misses it
    name: key
    for key, criterion in CRITERIA.items()
    if key.startswith(("AC-", "GATES"))
    for name in criterion.evidence
    if name not in TAXONOMY
}
CRITERIA |= {
    "AC-4": Criterion(
        "Checkpoint emitted after all prior criteria, with no high risk open", (CHECKPOINT, PAGE, EMITTED),
        "python scripts/tests/enforce_gates.py --resolve ID --reason TEXT", tuple(CRITERIA)),
    "DOD-1": Criterion("AC-1 to AC-7 satisfied", (), PIPELINE, tuple(f"AC-{number}" for number in range(1, 8))),
    "DOD-2": Criterion(
        "All mandatory artifacts exist with hashes", (*MANDATORY,), PIPELINE, tuple(sorted({*MANDATORY.values()}))),
    "DOD-3": Criterion("Checkpoint emitted, ready to be committed", OWN, PIPELINE, ("AC-4",)),
    "DOD-4": Criterion("Rollback triggers configured and documented", (PLAN, "risk_trigger"), f"{PIPELINE} gates"),
    "DOD-5": Criterion(
        "The workflow enforces validator and ladder gate", (".github/workflows",),
        f"add steps to the workflow: {PIPELINE} environment and {PIPELINE} gates"),
    "DOD-6": Criterion("Event log complete without deficits", (LOG_NAME,), PIPELINE, ("AC-7", "LOG")),
}  # fmt: skip
LIMITS: dict[tuple[str, str], dict[str, Any]] = {  # what `measure` has to find: exactly this, or a bound
    ("AC-1", BASELINE): {"tests": ("at least", 1), "red": 0, "partial": None, "population_percent": ("at least", 95)},
    ("AC-1", LOG_NAME): {"exit": 0},
    ("AC-2", FAILFAST): {"soft": ("at least", 40), "hard": ("at least", 60), "fields_left_out": []},
    ("AC-3", PROPERTIES): {"tests": ("at least", 3), "runs": ("at least", 30), "slowest_mean_ms": ("under", 1000)}
    | {"mode": "deterministic", "partial": None, "tests_unproven": [], "runs_unclean": []}
    | {"false_failures": 0, "mismatches": 0, "another_seed_differs": True},
    ("AC-4", "artifacts"): {"open_incidents": []},
    ("AC-4", LOG_NAME): {"emitted": True},
    ("AC-5", LOG_NAME): {"reasons_not_drilled": [], "slowest_s": ("under", 1)},
    ("AC-7", LOG_NAME): {"missing_events": [], "deficits": 0, "unended": []},
    ("LOG", LOG_NAME): {"problems": []},
    ("GATES", VERDICTS): {"absent": [], "not_passed": [], "fired": []},
    ("DOD-4", LOG_NAME): {"triggers_not_drilled": []},
    ("DOD-4", PLAN): {"keys_not_explained": []},
    ("DOD-5", ".github/workflows"): {"stages_not_enforced": []},
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
        ("Holistic", "all mandatory evidence in one envelope", (*MANDATORY,), ("DOD-2",)),
        ("Validation", "every criterion is computed", (LOG_NAME, LADDER), ("DOD-1",)),
        ("Integration", "gates and workflow use the evidence", (VERDICTS, LADDER), ("GATES", "DOD-5")),
    ),
    "laws": (
        ("No orphans", "all evidence is of one commit and one run", (BASELINE, LOG_NAME), ("COMMIT", "RUN")),
        ("No cycles", "each line follows the one before", (LOG_NAME,), ("LOG",)),
        ("Complete evidence", "every criterion names its evidence", (*MANDATORY,), ("DOD-1", "DOD-2")),
        ("Deterministic closure", "done is computed, the plan is locked by hash", (PLAN,), ("DOD-1", "R-1")),
        ("Traceability", "plan, version and changelog agree", (PLAN, CHANGELOG), ("R-1",)),
    ),
    "patterns": (
        ("Triangle", "environment, metrics and checkpoint", (SIGNATURE, BASELINE), ("AC-5", "AC-1", "AC-4")),
        ("Circle", "nothing mandatory is left out", (*MANDATORY,), ("DOD-2", "AC-7")),
        ("Spiral", "baseline, target, next baseline", (LADDER, PROPERTIES), ("AC-6", "AC-3")),
        ("Golden ratio", "few strong controls, the rest deferred", (PLAN,), ("R-1", "GATES")),
        ("Fractal", "each script works alone on any project", (*MANDATORY,), ("DOD-2",)),
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
METRICS = ("line", "branch")
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
MODES = ("off", "pytest -x", "soft", "hard", "limit")  # limit: the fastest failing test alone
ENVELOPE = frozenset("artifact schema_version run_id generated_at commit dirty sha256".split())
UNCLEAN = ("problem", "falsified", "error", "crashed", "false_failures", "mismatches")  # none of it in a run
OVERHEAD = (0.25, 60.0)  # of the suite's time, or seconds: what the capture may cost beside the suite
SHOWN = 10  # rows of a chart or a list; the rest is counted
BUCKETS = {"under 1 ms": 0.001, "1 to 10 ms": 0.01, "10 to 100 ms": 0.1, "0.1 to 1 s": 1.0, "1 to 10 s": 10.0}
BUCKETS["10 s or more"] = float("inf")
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

    def part(self, name: str, path: str) -> dict[str, Any]:
        """The mapping there; empty if there is none."""
        found = self.get(name, path)
        return found if isinstance(found, dict) else {}

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


def rows_of(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if known else None  # type: ignore[arg-type]


def highest(values: Iterable[object]) -> float | None:
    """The highest number; None if one of them is none, or if there are none."""
    found = [number(value) for value in values]
    return max((n for n in found if n is not None), default=None) if None not in found else None


def measure(e: Evidence) -> dict[str, dict[str, Any]]:
    """Per criterion what is found in the evidence; LIMITS says what it has to be."""
    captured, deficits = e.events("metrics_capture_complete"), len(e.events("logging_deficit"))
    red = [e.get(BASELINE, f"outcomes.{name}") for name in ("failed", "error", "collect_errors")]
    stated = picked(e.documents.get(FAILFAST), "mode first_failure elapsed_to_detection_s")
    hard = [row for row in e.rows(VERDICTS, "gates") if row.get("enforcement") != "advisory"]
    verdicts = [(row.get("gate"), row.get("verdict")) for row in hard]
    refused = [event for event in e.events("environment_validation_fail", drill=True) if event.get("provoked")]
    refused = [event for event in refused if event.get("reasons") == [event["provoked"]]]
    plan, drills = e.text(f"{SNAPSHOT}/{PLAN}"), trigger_drills(e)
    return {
        "AC-1": {
            "tests": e.get(BASELINE, "outcomes.tests"),
            "red": sum(number(count) or 0 for count in red),
            "partial": e.get(BASELINE, "partial"),
            "population_percent": population(e),
            "exit": captured[-1].get("exit") if captured else 0,  # else AC-7 misses the event
        },
        "AC-2": improvement(detection_times(e)) | {"fields_left_out": [k for k in stated if stated[k] is None]},
        "AC-3": measure_properties(e),
        "AC-4": {"open_incidents": open_incidents(e), "emitted": e.emitting or bool(e.events(EMITTED))},
        "AC-5": {
            "reasons_not_drilled": sorted(REASONS - {str(event["provoked"]) for event in refused}),
            "slowest_s": highest(event.get("seconds") for event in refused),
        },
        "AC-6": picked(e.documents.get(LADDER), "baseline target"),
        "AC-7": {"missing_events": e.unseen, "deficits": deficits, "unended": unended(e.mine)},
        "COMMIT": {"commit": e.get(BASELINE, "commit")},
        "ENVIRONMENT": {"signature": e.get(SIGNATURE, "signature")},
        "LOCK": {"sha256": e.digests[e.lock] if e.lock else None},
        "RUN": {"run_id": e.run_id},
        "LOG": {"events": len(e.log.events), "head": e.log.head, "problems": e.log.problems[:SHOWN]},
        "GATES": {
            "absent": sorted(HARD_GATES - {str(gate) for gate, _ in verdicts}),
            "not_passed": [f"{gate}: {verdict}" for gate, verdict in verdicts if verdict != "pass"],
            "fired": [row.get("name") for row in e.rows(VERDICTS, "triggers") if row.get("state") == "fired"],
        },
        "DOD-4": {
            "triggers_not_drilled": [name for name in TRIGGERS if not drills[name]],
            "keys_not_explained": [key for key in TRIGGER_KEYS if plan and key not in plan],
        },
        "DOD-5": {"stages_not_enforced": unenforced(e)},
    }


def measure_properties(e: Evidence) -> dict[str, Any]:
    tests, runs = e.rows(PROPERTIES, "tests"), e.get(PROPERTIES, "runs")
    proven = {"outcomes": {"passed": runs}, "falsifying_examples": [], "problems": []}
    return picked(e.documents.get(PROPERTIES), "mode partial runs mismatches") | {
        "tests": len(tests),
        "slowest_mean_ms": highest(dig(row, "runtime_ms.mean") for row in tests),
        "tests_unproven": [
            row.get("id")
            for row in tests
            if picked(row, " ".join(proven)) != proven or len(rows_of(row.get("streams"))) != 1
        ],
        "runs_unclean": [
            row.get("run") for row in e.rows(PROPERTIES, "per_run") if any(row.get(key) for key in UNCLEAN)
        ],
        "false_failures": e.get(PROPERTIES, "false_failures.count"),
        "another_seed_differs": e.get(PROPERTIES, "control.shown"),
    }


def open_incidents(e: Evidence) -> list[str]:
    """Incidents that are not resolved or not readable, and the switch that an open one sets."""
    names = [name for name in {**e.documents, **e.problems} if name.startswith("incidents/")]
    found = [name for name in names if e.get(name, "state") != "resolved"]
    return sorted({*found, *({FORCED_OFF} & e.digests.keys())})


def population(e: Evidence) -> float | None:
    """Percent of the baseline's own fields that have a value, counted as the capture counts them."""

    def leaves(value: object) -> list[object]:
        nested = value.values() if isinstance(value, dict) else ()
        return [leaf for item in nested for leaf in leaves(item)] or [value]

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


def improvement(times: Mapping[str, float]) -> dict[str, Any]:
    """Percent saved of the time without fail-fast."""
    off = times.get("off") or 0.0
    return {mode: 100 * (off - times[mode]) / off if off and mode in times else None for mode in ("soft", "hard")}


def trigger_drills(e: Evidence) -> dict[str, list[dict[str, Any]]]:
    """The drills that saw each trigger fire with all that follows."""
    drills = [event for event in e.events("risk_trigger", drill=True) if not event.get("missing")]
    return {name: [event for event in drills if event.get("trigger") == name] for name in TRIGGERS}


def unended(events: Sequence[Mapping[str, Any]]) -> list[str]:
    count = Counter((event["event"], one_line(event["context"].get("pid"))) for event in events)
    found = []
    for start, ends in ENDS.items():
        for pid in sorted({pid for name, pid in count if name in (start, *ends)}):
            begun, ended = count[start, pid], sum(count[end, pid] for end in ends)
            found += [f"process {pid}: {begun} {start}, {ended} ended"] if begun != ended else []
    return found


def unenforced(e: Evidence) -> list[str]:
    workflows = [data for name, data in e.data.items() if "/workflows/" in name]
    commands = "\n".join(command for workflow in workflows for command in enforced_commands(workflow))
    return [stage for stage, form in ENFORCED.items() if not re.search(form, commands, re.MULTILINE)]


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
    """What a file says of something, and what a criterion wants it to be: a constant, or what another source says."""

    criterion: str
    file: str
    what: str
    says: Any
    wanted: Any
    source: str = ""

    def __str__(self) -> str:
        of = f" of {self.source}" if self.source else ""
        return f"{self.file}: {self.what}: expected {shown(self.wanted)}{of}, got {shown(self.says)}"


def shown(value: object) -> str:
    return value if isinstance(value, str) else one_line(json.dumps(value, ensure_ascii=False), 200)


def capture_claims(e: Evidence) -> Iterator[Claim]:
    """The artifacts of the capture agree with each other and with the log."""
    coverage, outcomes = e.part(BASELINE, "coverage"), e.part(BASELINE, "outcomes")
    yield Claim("AC-1", HASH, "digest", e.text(HASH).strip(), f"sha256:{e.get(BASELINE, 'sha256')}", BASELINE)
    totals = dict(re.findall(r'\b([a-z-]+)="(\d{1,15})"', e.text(REPORT)[:4096]))
    names = {"lines-valid": "statements", "lines-covered": "statements_covered"}
    names |= {"branches-valid": "branches", "branches-covered": "branches_covered"}
    wanted = {name: str(coverage.get(key)) for name, key in names.items()}
    yield Claim("AC-1", REPORT, "totals", {name: totals.get(name) for name in names}, wanted, BASELINE)
    counted = Counter(str(row.get("outcome")) for row in e.rows(DURATIONS, "tests"))
    says = {"tests": counted.total(), **{name: counted[name] for name in OUTCOMES}}
    yield Claim("AC-1", DURATIONS, "outcomes", says, {name: outcomes.get(name) for name in says}, BASELINE)
    wanted = {key: value for key, value in e.part(BASELINE, "durations").items() if key != "phases"}
    yield Claim("AC-1", DURATIONS, "all", e.get(DURATIONS, "all"), wanted, BASELINE)
    stated = e.get(BASELINE, "population.percent")
    yield Claim("AC-1", BASELINE, "population.percent", stated, population(e), "a count")


def property_claims(e: Evidence) -> Iterator[Claim]:
    """The seed is the environment's, and every run's counts are those in the log."""
    seed = e.get(PROPERTIES, "seed")
    yield Claim("AC-3", PROPERTIES, "seed", str(seed), str(e.get(SIGNATURE, "seed")), SIGNATURE)
    logged = [event for event in e.events("property_test_complete") if event.get("purpose") == "run"]
    says, told = (
        {str(row.get("run")): [row.get(key) for key in ("passed", *UNCLEAN)] for row in rows}
        for rows in (e.rows(PROPERTIES, "per_run"), logged)
    )
    yield Claim("AC-3", PROPERTIES, "runs listed", len(says), e.get(PROPERTIES, "runs"))
    for run, counts in says.items():
        yield Claim("AC-3", PROPERTIES, f"run {one_line(run)}", counts, told.get(run), LOG_NAME)


def environment_claims(e: Evidence) -> Iterator[Claim]:
    """The environment was not refused after its validation, and all evidence is of this one."""
    known, signature = e.documents.get(SIGNATURE, {}), e.get(SIGNATURE, "signature")
    validated, refused = e.events("environment_validated"), e.documents.get(REFUSED, {})
    if validated and refused.get("run_id") == e.run_id and refused["generated_at"] > validated[-1]["timestamp"]:
        yield Claim("AC-5", REFUSED, "environment", "refused after it had been validated", "validated")
    facts = content_digest({key: known.get(key) for key in IDENTITY})
    yield Claim("ENVIRONMENT", SIGNATURE, "signature", signature, facts, "its facts")
    captured = e.get(BASELINE, "environment.signature")
    yield Claim("ENVIRONMENT", BASELINE, "environment.signature", captured, signature, SIGNATURE)
    for event in validated:
        yield Claim("ENVIRONMENT", LOG_NAME, "signature", event.get("signature"), signature, SIGNATURE)
    ran = e.get(PROPERTIES, "circumstances.python")
    yield Claim("ENVIRONMENT", PROPERTIES, "circumstances.python", ran, e.get(SIGNATURE, "python.full"), SIGNATURE)


def lock_claims(e: Evidence) -> Iterator[Claim]:
    """The lock file, its recorded hash and the environment's lock sources name one digest."""
    recorded, digest = f"{SNAPSHOT}/{LOCK_HASH}", e.digests[e.lock] if e.lock else ""
    if recorded in e.data and e.lock == f"{SNAPSHOT}/{LOCKS[0]}" and digest not in e.text(recorded):
        yield Claim("LOCK", recorded, "digest", e.text(recorded).strip(), digest, e.lock)
    sources = e.get(SIGNATURE, "lock_sources")
    if not sources or digest.encode() not in canonical(sources):
        yield Claim("LOCK", SIGNATURE, "lock_sources", sources, digest or "a lock", e.lock or "")


def ladder_claims(e: Evidence) -> Iterator[Claim]:
    """The ladder promises percentages, and the log and the baseline recorded this very promise."""
    recorded = [event for event in e.events("coverage_ladder_recorded") if not is_own(event)][-1:]
    sources = {LOG_NAME: recorded[0] if recorded else {}, BASELINE: e.part(BASELINE, "ladder")}
    for step in ("baseline", "target"):
        told = {key: e.get(LADDER, f"{step}.{key}") for key in METRICS}
        for key, rate in told.items():
            known = number(rate)
            if not (known is not None and 0 <= known <= 100) and (rate is not None or key == "line"):
                yield Claim("AC-6", LADDER, f"{step}.{key}", rate, "a number from 0 to 100")
        for name, source in sources.items():
            wanted = {key: dig(source, f"{step}.{key}") for key in told} if source else told
            yield Claim("AC-6", LADDER, step, told, wanted, name)
    if recorded and recorded[0].get("measured") is not None:
        now = {key: e.get(BASELINE, f"coverage.{key}_percent") for key in METRICS}
        yield Claim("AC-6", LOG_NAME, "measured coverage", recorded[0]["measured"], now, BASELINE)


def run_claims(e: Evidence) -> Iterator[Claim]:
    """Everything is of the judged run and of one commit."""
    commit = e.get(BASELINE, "commit")
    wanted = (commit, BASELINE) if commit else ("one; commit the project", "")
    for name in ONE_RUN:
        yield Claim("RUN", name, "run_id", e.get(name, "run_id"), e.run_id, "the judged run")
        yield Claim("COMMIT", name, "commit", e.get(name, "commit"), *wanted)
    if e.emitting:
        yield Claim("COMMIT", BASELINE, "commit", commit, e.head, "the project")


def gate_claims(e: Evidence) -> Iterator[Claim]:
    """The verdicts are those of the judged run, as the gates logged them: one edited afterwards differs."""
    gates, triggers = e.rows(VERDICTS, "gates"), e.rows(VERDICTS, "triggers")
    says = {"gates": {str(row.get("gate")): row.get("verdict") for row in gates}}
    says |= {"triggers": {str(row.get("name")): row.get("state") for row in triggers}}
    logged = [event for event in e.events("coverage_ladder_recorded") if "gates" in event]
    for key, verdicts in says.items():
        yield Claim("GATES", VERDICTS, key, verdicts, logged[-1].get(key) if logged else None, LOG_NAME)
    yield Claim("GATES", VERDICTS, "judged_run", e.get(VERDICTS, "judged_run"), e.run_id)


def read_plan(e: Evidence) -> dict[str, str | None]:
    """Version and digest of the plan, and what the changelog's top entry says of them."""
    version = re.search(r"^\W*Version:\W*(\d+(?:\.\d+)*)", e.text(f"{SNAPSHOT}/{PLAN}"), re.MULTILINE)
    entries = re.split(r"^## \[(\d+(?:\.\d+)*)\]", e.text(f"{SNAPSHOT}/{CHANGELOG}"), maxsplit=2, flags=re.MULTILINE)
    _, top, text = entries[:3] if len(entries) > 2 else ("", None, "")
    digest = re.search(r"SHA-?256\b.*?\b([0-9a-fA-F]{64})\b", text)
    stated = {"changelog_version": top, "changelog_sha256": digest[1].lower() if digest else None}
    found = {"version": version[1] if version else None, "sha256": e.digests.get(f"{SNAPSHOT}/{PLAN}")}
    return {"path": PLAN, **found, **stated}


def plan_claims(e: Evidence) -> Iterator[Claim]:
    plan = read_plan(e)
    yield Claim("R-1", PLAN, "line Version: X.Y in a file", plan["version"] or "none", plan["version"] or "one")
    for what, key in {"version": "version", "SHA256": "sha256"}.items():
        yield Claim("R-1", CHANGELOG, f"{what} of the top entry", plan[f"changelog_{key}"], plan[key], PLAN)


def risk_claims(e: Evidence) -> Iterator[Claim]:
    """Capturing is not dear beside the suite; workers share the tests only where no test is known to flake."""
    seconds = {name: number(value) or 0.0 for name, value in e.part(BASELINE, "capture").items()}
    suite = seconds.pop("suite", 0.0)
    beside, allowed = sum(seconds.values()), max(OVERHEAD[0] * suite, OVERHEAD[1])
    if beside > allowed:
        yield Claim("R-6", BASELINE, "seconds beside the suite", round(beside, 1), f"at most {allowed:.1f}")
    workers = {str(row["worker"]) for row in e.rows(DURATIONS, "tests") if row.get("worker")}
    if workers and not e.get(FLAKES, "runs"):
        yield Claim("R-7", FLAKES, f"history of tests on {len(workers)} workers", "none", "at least one run")
    if workers:
        yield Claim("R-7", FLAKES, f"flaky tests on {len(workers)} workers", e.get(FLAKES, "flaky"), [])


def find_gaps(e: Evidence, measured: Mapping[str, Any]) -> dict[str, list[str]]:
    """Per criterion what does not hold. What rests on a file that cannot be used is not said of its neighbours."""
    gaps: dict[str, list[str]] = {}
    for name, problem in e.problems.items():
        gaps.setdefault(MANDATORY.get(name, ""), []).append(f"{name}: {problem}")
    for (key, name), limits in LIMITS.items():
        for what, limit in limits.items():
            value = measured[key][what]
            if name not in e.problems and not within(value, limit):
                said = f"{name}: {what}: expected {limit_text(limit)}, got {shown(value)}"
                gaps.setdefault(key, []).append(said)
    parts = (capture_claims, property_claims, environment_claims, lock_claims, ladder_claims)
    for claims in (*parts, run_claims, gate_claims, plan_claims, risk_claims):
        for claim in claims(e):
            usable = claim.file not in e.problems and claim.source not in e.problems
            if usable and canonical(claim.says) != canonical(claim.wanted):
                gaps.setdefault(claim.criterion, []).append(str(claim))
    return gaps


def within(value: object, limit: Any) -> bool:
    if not isinstance(limit, tuple):
        return bool(value == limit)
    known = number(value)
    return known is not None and (known >= limit[1] if limit[0] == "at least" else known < limit[1])


def limit_text(limit: Any) -> str:
    return f"{limit[0]} {limit[1]}" if isinstance(limit, tuple) else shown(limit)


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
        row: dict[str, Any] = {"id": self.id, "evidence": self.evidence}
        row |= {"missing": self.missing, "waits_for": self.waits_for}
        if isinstance(risk := self.criterion, Risk):
            state = "open" if self.missing or self.waits_for else "resolved"
            row |= {"risk": risk.asks, "impact": risk.impact, "likelihood": risk.likelihood}
            return row | {"mitigation": risk.mitigation, "rests_on": risk.rests_on, "state": state}
        of = [limits for (key, _), limits in LIMITS.items() if key == self.id]
        limits = {what: limit_text(limit) for rules in of for what, limit in rules.items()}
        row |= {"criterion": self.criterion.asks, "met": self.met, "value": self.value, "limit": limits or None}
        return row | {"remedy": self.criterion.remedy if self.missing else None}


def judge(e: Evidence) -> dict[str, Row]:
    """Every row by its id. An event that is missing is AC-7's gap; others that need it wait for AC-7."""
    measured = measure(e)
    gaps, rows = find_gaps(e, measured), dict[str, Row]()
    for key, criterion in CRITERIA.items():
        needs = ["AC-7"] if {*criterion.evidence} & {*e.unseen} else []
        waits = tuple(name for name in (*needs, *criterion.rests_on) if not rows[name].met)
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
    baseline, ladder, tests = e.documents.get(BASELINE), e.documents.get(LADDER), e.rows(DURATIONS, "tests")
    slowest = sorted(tests, key=lambda row: (-(number(row.get("seconds")) or 0.0), str(row.get("id"))))[:SHOWN]
    counts = Counter(bucket(number(row.get("seconds")) or 0.0) for row in tests)
    return {
        **picked(baseline, "outcomes flakes markers capture population"),
        "durations": {key: value for key, value in e.part(BASELINE, "durations").items() if key != "phases"},
        "coverage": {key: value for key, value in e.part(BASELINE, "coverage").items() if key != "files"},
        "slowest": [picked(row, "id seconds") for row in slowest],
        "tests": len(tests),
        "distribution": {label: counts[label] for label in BUCKETS},
        "ladder": picked(ladder, "baseline target tolerance horizon"),
        "steps": {
            "baseline": picked(dig(ladder, "baseline"), "line branch"),
            "now": {metric: e.get(BASELINE, f"coverage.{metric}_percent") for metric in METRICS},
            "target": picked(dig(ladder, "target"), "line branch"),
        },
    }


def bucket(seconds: float) -> str:
    return next(label for label, limit in BUCKETS.items() if seconds < limit)


def failfast_section(e: Evidence) -> dict[str, Any]:
    section = picked(e.documents.get(FAILFAST), "mode elapsed_to_detection_s tests_run tests_collected")
    first, times = picked(e.get(FAILFAST, "first_failure"), "id phase"), detection_times(e)
    return section | {"first_failure": first, "detection_mean_s": times, "improvement_percent": improvement(times)}


def properties_section(e: Evidence) -> dict[str, Any]:
    section = picked(e.documents.get(PROPERTIES), "runs seed mismatches false_failures mode")
    paths = {"examples": "examples.run", "mean_ms": "runtime_ms.mean"}
    tests = [
        picked(row, "id outcomes digest") | {key: dig(row, path) for key, path in paths.items()}
        for row in e.rows(PROPERTIES, "tests")
    ]
    return section | {"control_shown": e.get(PROPERTIES, "control.shown"), "tests": tests}


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
    drilled = {name: {"trigger": name, "drills": len(drills)} for name, drills in trigger_drills(e).items()}
    return [row | picked(states.get(name), "state value limit") for name, row in drilled.items()]


def statement(document: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """The checkpoint as an unsigned in-toto Statement v1 with the test-result v0.1 predicate.

    https://github.com/in-toto/attestation/tree/main/spec: subjects are what was judged, configuration what it was
    judged under, the tests are the criteria.
    """

    def resources(files: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"name": path, "digest": {"sha256": value}} for path, value in files.items()]

    files = listed(document)
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


def listed(document: Mapping[str, Any]) -> dict[str, str]:
    """The checkpoint's files, each with its digest."""
    return {path: digest for digest, path in (line.split("  ", 1) for line in document["files"])}


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
    metrics, failfast, properties, events = (
        document[name] for name in ("metrics", "failfast", "properties", "events")
    )
    outcomes = [(name, count) for name in OUTCOMES if (count := number(dig(metrics, f"outcomes.{name}")))]
    ranked = enumerate(metrics["slowest"], 1)
    slowest = [(str(rank), 1000 * (number(row["seconds"]) or 0.0), row["id"]) for rank, row in ranked]
    steps = [(f"{metric} {step}", metrics["steps"][step][metric]) for metric in METRICS for step in metrics["steps"]]
    means, better = failfast["detection_mean_s"], failfast["improvement_percent"]
    times = [(mode, means.get(mode), better.get(mode)) for mode in MODES]
    seen = [{"event": name, **row} for name, row in events["seen"].items()]
    files = [{"file": path, "sha256": digest} for path, digest in listed(document).items()]
    gates = [row for row in document["gates"] if "gate" in row]
    frames = [
        f"### {frame.capitalize()}\n\n" + grid(rows, "name asks evidence rests_on present verified complete")
        for frame, rows in document["governance"].items()
    ]
    parts: dict[str, list[str]] = {
        "Criteria": [grid(judged_rows(document), "id criterion met value limit")],
        "Tests by outcome": [chart("Tests by outcome", "tests", outcomes, "outcome tests")],
        "Tests by duration": [
            chart("Tests by duration", "tests", metrics["distribution"].items(), "duration tests"),
            grid([metrics["durations"]], "mean p50 p90 p95 p99 max"),
        ],
        "Slowest tests": [
            chart("Slowest tests, by rank", "ms", slowest, "rank ms test"),
            f"{len(slowest)} of {metrics['tests']} tests are shown; all are in `{DURATIONS}`.",
        ],
        "Coverage ladder": [
            chart("Coverage ladder", "percent", steps, "coverage percent"),
            grid([metrics["ladder"]], "tolerance horizon"),
        ],
        "Fail-fast": [chart("Time to the verdict on a failure", "seconds", times, "mode seconds sooner_percent")],
        "Property pilot": [
            grid([properties], "runs seed mismatches false_failures control_shown"),
            grid(properties["tests"], "id outcomes examples mean_ms digest", SHOWN, PROPERTIES),
        ],
        "Gates and rollback triggers": [
            grid(gates, "gate enforcement verdict value limit", 2 * SHOWN, VERDICTS),
            grid(document["rollback_triggers"], "trigger state value limit drills"),
        ],
        "Risks": [grid(document["risks"], "id risk impact likelihood mitigation evidence state")],
        "Events": [grid([events], "required missing percent"), grid(seen, "event count drills first last")],
        "Governance": frames,
        "Plan": [grid([document["plan"]], "path version sha256")],
        "Evidence": [grid(files, "file sha256", 10 * SHOWN, SUMS)],
    }
    return [headline(document), *("\n\n".join([f"## {title}", *texts]) for title, texts in parts.items())]


def headline(document: Mapping[str, Any]) -> str:
    judged = judged_rows(document)
    values = {row["id"]: row["value"] for row in document["consistency"]}
    facts = {"commit": document["evidence_commit"], "run": document["run_id"], "issued": document["generated_at"]}
    facts |= {**values["ENVIRONMENT"], "lock": values["LOCK"]["sha256"], "log": document["log"]["head"]}
    held = f"{sum(row['met'] for row in judged)} of {len(judged)} criteria hold."
    if document["dirty"] or document["dirty_evidence"]:
        held += "\n\n**The files differed from the commit when this was measured**, so it cannot be published."
    check = f"To check it: `python scripts/tests/{PROG} --verify DIR`, or `sha256sum -c {SUMS}`."
    return "\n\n".join([f"# Foundation: {document['verdict']}", held, table("of is", facts.items()), check])


def grid(rows: Sequence[Mapping[str, Any]], columns: str, limit: int | None = None, where: str = "") -> str:
    """A table of these keys of each row; what is beyond the limit is only counted."""
    text = table(columns, [[row.get(key) for key in columns.split()] for row in rows[:limit]])
    return text + (f"\n\n{len(rows) - limit} more are in `{where}`." if limit and len(rows) > limit else "")


def chart(title: str, unit: str, rows: Iterable[Sequence[Any]], columns: str) -> str:
    """A Mermaid bar chart of the rows' (label, number, ...), and the table of the same numbers."""
    known = [row for row in rows if number(row[1]) is not None]
    top = max((row[1] for row in known), default=0)
    if top <= 0:
        return table(columns, known)
    labels, values = ", ".join(f'"{row[0]}"' for row in known), ", ".join(digits(row[1]) for row in known)
    lines = ["```mermaid", PALETTE, "xychart-beta", f'    title "{title}"', f"    x-axis [{labels}]"]
    lines += [f'    y-axis "{unit}" 0 --> {digits(top)}', f"    bar [{values}]", "```\n"]
    return "\n".join([*lines, table(columns, known)])


def table(columns: str, rows: Iterable[Sequence[object]]) -> str:
    head = [key.replace("_", " ") for key in columns.split()]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])


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
    if re.search(r"[`|\\]", text):  # what a code span in a table cannot say
        return "<code>" + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text) + "</code>"
    return f"`{text}`" if text.strip() else "(blank)"


def fit(sections: Sequence[str], room: int) -> str:
    """The sections within so many bytes: the later ones go first, and the last line says which."""
    for kept in range(len(sections), 0, -1):
        left = [section.partition("\n")[0].strip("# ") for section in sections[kept:]]
        note = [f"Left out for lack of room: {', '.join(left)}; see {PAGE}."] if left else []
        text = "\n\n".join([*sections[:kept], *note]) + "\n"
        if len(text.encode(errors="backslashreplace")) <= room:
            return text
    return ""


def refusal_sections(causes: Sequence[Row], waiting: str, run_id: str) -> list[str]:
    found = [(row.id, row.criterion.asks, row.missing, row.criterion.remedy) for row in causes]
    verdict = f"# Foundation: not proven\n\nRun {code(run_id)}. {waiting}"
    return [verdict, f"## What is missing\n\n{table('id criterion missing remedy', found)}"]


def refusal_table(causes: Sequence[Row], waiting: str) -> str:
    """The same for a terminal."""
    lines = []
    for row in causes:
        more = len(row.missing) - SHOWN
        texts = [harmless(text) for text in row.missing[:SHOWN]] + ([f"and {more} more"] if more > 0 else [])
        lines += [f"{row.id:<12} {row.criterion.asks}", *(f"{'':<12} - {text}" for text in texts)]
        lines.append(f"{'':<12}   mend: {row.criterion.remedy}")
    return "\n".join([*lines, waiting]).rstrip()


def error_lines(causes: Iterable[Row]) -> list[str]:
    """One workflow command per refused row, within what a step may make; the last says how many were left out."""
    texts = [f"{row.id}: {harmless('; '.join(row.missing), 1000).replace('%', '%25')}" for row in causes]
    if len(texts) > ANNOTATIONS:
        more = len(texts) - ANNOTATIONS + 1
        texts[ANNOTATIONS - 1 :] = [f"{more} more criteria are not met; see the step summary"]
    return [f"::error title={PROG}::{text}" for text in texts]


def harmless(value: object, limit: int = 300) -> str:
    """Text for the middle of a line of a workflow's log: in the old form a command may begin there too."""
    return one_line(value, limit).replace("##[", "#_[")


def find_files(place: Path, *forms: str) -> list[str]:
    """Files below a folder, by name; without forms only what is evidence by its name. No link is followed."""
    forms = forms or (*MANDATORY, *OPTIONAL, f"{SNAPSHOT}/**/*", "incidents/*/incident.json")
    found = {path for form in forms for path in place.glob(form) if path.is_symlink() or not path.is_dir()}
    return sorted(path.relative_to(place).as_posix() for path in found)


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
    said: str  # what was expected, what is there

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.said}"


def verify(place: Path) -> list[Mismatch]:
    """Everything that does not hold of the checkpoint in a folder."""
    if not any(os.path.lexists(place / name) for name in OWN):
        raise EvidenceError(f"{place}: expected {CHECKPOINT}, got none; emit it first, or pass another DIR")
    try:
        data = read_file(place, CHECKPOINT)
        document = read_document(place, CHECKPOINT)
        check_shape(document)
    except EvidenceError as error:
        return [Mismatch("checkpoint", CHECKPOINT, str(error).removeprefix(f"{place / CHECKPOINT}: "))]
    written = (indented(document) + "\n").encode(errors="backslashreplace")
    found = digest_mismatches("layout", place, {CHECKPOINT: sha256(written)})
    changed = file_mismatches(place, document)
    if (place / LOG_NAME).is_file():
        problems = read_log(place / LOG_NAME).problems[:1]
        changed += [Mismatch("log", LOG_NAME, f"expected an unbroken chain, got {problem}") for problem in problems]
    found += changed or section_mismatches(place, document)  # what follows from a change differs as well
    try:
        made = {name: sha256(content) for name, content in derived(document, data).items()}
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        said = f"expected sections to show, got {one_line(repr(error), 80)}"
        return [*found, Mismatch("derived", CHECKPOINT, said)]
    return found + digest_mismatches("derived", place, made)


def check_shape(document: Mapping[str, Any]) -> None:
    """Whether this can be verified at all; what its sections say is recomputed later."""
    version, lines, size = document.get("schema_version"), document.get("files"), dig(document, "log.bytes")
    if version != CHECKPOINT_VERSION:
        raise EvidenceError(f"expected schema_version {CHECKPOINT_VERSION}, got {version}, which its commit verifies")
    if not isinstance(lines, list) or not all(isinstance(line, str) and is_listing(line) for line in lines):
        raise EvidenceError("expected lines of sha256sum, got other files")
    if not isinstance(size, int) or size < 0:
        raise EvidenceError("expected the log's bytes, got no count")


def digest_mismatches(kind: str, place: Path, files: Mapping[str, str], size: int | None = None) -> list[Mismatch]:
    """Files that do not have these digests; of the log only so many bytes count."""
    found = []
    for name, digest in files.items():
        try:
            actual = sha256(read_file(place, name)[: size if name == LOG_NAME else None])
        except EvidenceError as error:
            actual = str(error).removeprefix(f"{place / name}: ").partition(";")[0]
        if actual != digest:
            found.append(Mismatch(kind, name, f"expected sha256 {digest}, got {actual}"))
    return found


def file_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """Listed files that changed; evidence that is not listed, and in a published folder any other file."""
    published = document.get("published") is True
    files = listed(document)
    found = digest_mismatches("file", place, files, None if published else document["log"]["bytes"])
    strangers = set(find_files(place, "**/*") if published else find_files(place)) - {*files, *OWN}
    return found + [
        Mismatch("file", path, "expected no file, got one that is not listed") for path in sorted(strangers)
    ]


def section_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """Each section against the one computed from the evidence, and every criterion again."""
    evidence = load(place, document["run_id"], document["log"]["bytes"])
    computed = compose(evidence) | {"commit": evidence.get(BASELINE, "commit")}
    found = [difference(f"{CHECKPOINT} {name}", value, document.get(name)) for name, value in computed.items()]
    emitted = max((event["timestamp"] for event in evidence.events(EMITTED)), default="")
    if document["generated_at"] < emitted:
        said = f"expected after {emitted}, got {document['generated_at']}"
        found.append(Mismatch("section", f"{CHECKPOINT} generated_at", said))
    strange = sorted(document.keys() - computed.keys() - ENVELOPE - {"published"})
    found += [Mismatch("section", f"{CHECKPOINT} {name}", "expected no such section, got one") for name in strange]
    unmet = [row for row in judge(evidence).values() if row.blocks]
    found += [Mismatch("criterion", row.id, f"expected met, got {'; '.join(row.missing)}") for row in unmet]
    return [mismatch for mismatch in found if mismatch]


def difference(where: str, expected: Any, actual: Any) -> Mismatch | None:
    """The innermost first difference between two values, or None."""
    pairs: Iterable[tuple[object, Any, Any]] = ()
    if isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        pairs = [(key, value, actual[key]) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        names = (dig(row, "id") or dig(row, "name") or place for place, row in enumerate(expected))
        pairs = zip(names, expected, actual, strict=True)
    for name, *values in pairs:
        if found := difference(f"{where}.{name}", *values):
            return found
    if canonical(expected) == canonical(actual):
        return None
    said, got = (one_line(json.dumps(value), 200) for value in (expected, actual))
    return Mismatch("section", where, f"expected {said}, got {got}")


def report_verification(place: Path, quiet: bool) -> int:
    """Say the first mismatch of each kind, or that it holds and what it does not cover. Returns 0 or 1."""
    found = verify(place)
    for kind, count in Counter(mismatch.kind for mismatch in found).items():
        first = next(mismatch for mismatch in found if mismatch.kind == kind)
        more = f" (and {count - 1} more of this kind)" if count > 1 else ""
        print(f"{PROG}: {harmless(first, 1000)}{more}", file=sys.stderr)
    if found or quiet:
        return 1 if found else 0
    document = read_artifact(place / CHECKPOINT)
    files, log = listed(document), document["log"]
    show(f"{PROG}: holds: {len(files)} files, {log['events']} events, commit {document['commit']}")
    others = sorted({*find_files(place, "**/*")} - {*OWN, *files})
    if later := (place / LOG_NAME).stat().st_size - log["bytes"]:
        show(f"{PROG}: not covered: the last {later} bytes of {LOG_NAME}")
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        show(f"{PROG}: not covered: {', '.join(one_line(name, 60) for name in others[:SHOWN])}{more}")
    return 0


def take_snapshot(run: Run) -> None:
    """Copy the project's own files that the criteria rest on beside the evidence, so that it is whole by itself."""
    shutil.rmtree(run.artifacts / SNAPSHOT, ignore_errors=True)
    platform = HERE.parents[1]
    found = [(run.root, path) for form in TAKEN for path in sorted(run.root.glob(form))]
    for base, path in [*found, *((platform, platform / name) for name in (PLAN, CHANGELOG))]:
        if path.is_file():
            name = f"{SNAPSHOT}/{path.relative_to(base).as_posix()}"
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
    facts = {"criteria": len(rows), "commit": run.commit[0], "evidence": sha256(others.encode())}
    run.log.info("foundation_checkpoint_emitted", **facts)
    evidence = load(run.artifacts, run.id)
    body = compose(evidence)
    if body["verdict"] != "proven":
        return refuse(run, evidence, list(judge(evidence).values()), quiet)
    with beside(run.artifacts) as aside:
        document = write_checkpoint(run, Path(aside), body, published=False)
        for name in OWN:
            Path(aside, name).replace(run.artifacts / name)
    summarize(page_sections(document))
    if not quiet:
        for row in rows.values():
            show(f"{row.id:<12} {'resolved' if isinstance(row.criterion, Risk) else 'yes':<9} {row.criterion.asks}")
        show(f"{PROG}: proven: {run.artifacts / CHECKPOINT}")
    return publish(run, evidence, body, quiet) if to_publish else 0


def refuse(run: Run, evidence: Evidence, rows: Sequence[Row], quiet: bool) -> int:
    """Say what is missing, in the log, on the terminal, in the workflow's summary and annotations. Returns 1."""
    if evidence.unseen:
        run.log.error("logging_deficit", missing=evidence.unseen)
    causes = [row for row in rows if row.blocks]
    unmet, others = [row.id for row in causes], [row.id for row in rows if row.waits_for and not row.blocks]
    waiting = f"{', '.join(others)} wait for the others." if others else ""
    run.log.warning("risk_trigger", trigger="checkpoint_refused", unmet=unmet)
    summarize(refusal_sections(causes, waiting, run.id))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(*error_lines(causes), sep="\n", file=sys.stderr)
    if not quiet:
        show(refusal_table(causes, waiting))
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
    """Copy checkpoint and evidence to artifacts/foundation, built aside and verified first. Returns 0 or 1."""
    target = run.artifacts / "foundation"
    with beside(run.artifacts) as aside:
        place = Path(aside, "new")
        for name in evidence.digests:
            content = read_file(run.artifacts, name)
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place / name, content[: evidence.log_bytes] if name == LOG_NAME else content)
        document = write_checkpoint(run, place, body, published=True)
        dirty = [*document["dirty_evidence"], *([CHECKPOINT] if document["dirty"] else [])]
        mend = f"measured on files that differ from the commit; commit them, then {PIPELINE}"
        found = [*(f"{name}: {mend}" for name in dirty), *leaks(place, run), *map(str, verify(place))]
        if found:
            complain(PROG, f"not published: {found[0]}")
            return 1
        if target.exists():
            target.replace(Path(aside, "old"))
        place.replace(target)
    if not quiet:
        show(f"{PROG}: published: {target}; commit it")
    return 0


def beside(artifacts: Path) -> TemporaryDirectory[str]:
    """A folder in which to make what is then put in place by a rename; nothing of it stays."""
    from tempfile import TemporaryDirectory  # --help should not wait for it

    return TemporaryDirectory(prefix=".foundation.", dir=artifacts)


def leaks(place: Path, run: Run) -> Iterator[str]:
    """The published files that name a path of this machine, with the line."""
    import tempfile

    mine = [run.root, run.artifacts, HERE.parents[1], Path.cwd(), Path.home()]
    mine += [Path(place) for place in (tempfile.gettempdir(), sys.prefix, sys.base_prefix)]
    found = {str(form) for path in mine for form in (path, path.resolve())}
    paths = sorted(found - {os.sep}, key=len, reverse=True)
    named = re.compile(rf"(?<![\w.<])(?:{'|'.join(map(re.escape, paths))})(?![\w.-])".encode())
    for name in find_files(place, "**/*"):
        content = read_file(place, name)
        if hit := named.search(content):
            line = content.count(b"\n", 0, hit.start()) + 1
            yield f"{name}: line {line}: expected no path of this machine, got {hit[0].decode()!r}; see PLAN.md"


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = Arguments(__doc__ or "", "emit_checkpoint")
    publish_help = "copy the checkpoint with its evidence to artifacts/foundation"
    parser.add_argument("--publish", action="store_true", help=publish_help)
    verify_help = "recompute a checkpoint; writes nothing"
    parser.add_argument("--verify", nargs="?", const=False, type=folder, metavar="DIR", help=verify_help)
    args = parser.parse_args(argv)
    artifacts = args.artifacts or args.root / "artifacts"
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
