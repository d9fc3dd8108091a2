"""Is the foundation proven? Judges every criterion from the evidence, so that anyone can check the result.

    python scripts/tests/emit_checkpoint.py                   judge the artifacts; write the checkpoint if all holds
    python scripts/tests/emit_checkpoint.py --publish         the same, then copy it with its evidence to
                                                              artifacts/foundation, to be committed
    python scripts/tests/emit_checkpoint.py --verify [DIR]    recompute a checkpoint from its evidence, offline

The checkpoint is a pure function of the evidence: --verify computes it again and names the first difference of each
kind. It writes nothing and needs neither git nor a network. DIR defaults to artifacts/foundation, else artifacts;
only in the artifacts folder itself may the log have grown and may other files stand beside the evidence.

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
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from events import (
    GENESIS,
    LOG_NAME,
    TAXONOMY,
    Arguments,
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
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

PROG = "emit_checkpoint.py"
CHECKPOINT, CHECKPOINT_VERSION = "foundation.checkpoint.json", "1.0"  # 1.0 first
PAGE, STATEMENT, SUMS = "foundation.checkpoint.md", "foundation.intoto.json", "foundation.sha256"
OWN = (CHECKPOINT, PAGE, STATEMENT, SUMS)
HERE = Path(__file__).resolve().parent
PIPELINE = "python scripts/tests/pipeline.py"

BASELINE, SIGNATURE, VERDICTS = "baseline.metrics.json", "env.signature.json", "gate.verdicts.json"
FAILFAST, PROPERTIES, FLAKES = "failfast.summary.json", "property.results.json", "flake.report.json"
DURATIONS, MARKERS, MAP = "durations.json", "markers.usage.json", "test.map.json"
REPORT, HASH, REFUSED = "coverage.xml", "baseline.metrics.hash", "env.validation.failure.json"
FORCED_OFF, REFERENCE, LADDER = "failfast.forced_off.json", "reference.metrics.json", "coverage-ladder.yaml"
MANDATORY = {  # evidence that must be there: the criterion that misses it
    BASELINE: "AC-1",
    HASH: "AC-1",
    REPORT: "AC-1",
    DURATIONS: "AC-1",
    MARKERS: "AC-1",
    FLAKES: "AC-1",
    FAILFAST: "AC-2",
    PROPERTIES: "AC-3",
    SIGNATURE: "AC-5",
    LADDER: "AC-6",
    LOG_NAME: "AC-7",
    VERDICTS: "GATES",
}
OPTIONAL = (MAP, REFERENCE, REFUSED, FORCED_OFF)
ONE_RUN = (BASELINE, DURATIONS, MARKERS, FLAKES, FAILFAST, PROPERTIES, VERDICTS)  # a signature may be an earlier one
LOCKS = ("requirements.lock", "poetry.lock", "uv.lock", "pylock.toml")
PLAN, CHANGELOG = "scripts/tests/PLAN.md", "CHANGELOG.testing-platform-refactor.md"
SNAPSHOT = "project"  # copies of the project's own files that the criteria rest on
TAKEN = (
    LADDER,
    *LOCKS,
    "requirements.lock.hash",
    "pytest.ini",
    ".github/workflows/*.yml",
    ".github/workflows/*.yaml",
)
CONFIGURATION = (LADDER, f"{SNAPSHOT}/{LADDER}", *(f"{SNAPSHOT}/{lock}" for lock in LOCKS), f"{SNAPSHOT}/pytest.ini")

EXPECTED = TAXONOMY - {"logging_deficit", "foundation_checkpoint_emitted"}
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
IMPROVEMENT = {"soft": 40.0, "hard": 60.0}  # percent of the time to the verdict without fail-fast
ENVELOPE = frozenset("artifact schema_version run_id generated_at commit dirty sha256".split())
POPULATION = 95.0  # percent
PROPERTY_RUNS, PROPERTY_TESTS, PROPERTY_MS = 30, 3, 1000.0
BAD_RUN = ("falsified", "error", "crashed", "false_failures", "mismatches", "problem")  # none of these may be
GATE_SECONDS = 1.0
OVERHEAD = (0.25, 60.0)  # of the suite's time, or seconds: what the capture may cost beside the suite
SHOWN = 10  # rows of a chart or a table; the rest is counted
CLIPPED = 160  # characters shown of a test id
BUCKETS = (
    (0.001, "under 1 ms"),
    (0.01, "1 to 10 ms"),
    (0.1, "10 to 100 ms"),
    (1.0, "0.1 to 1 s"),
    (10.0, "1 to 10 s"),
)
SUMMARY_LIMIT = 1024 * 1024  # bytes that a workflow step may show
ANNOTATIONS = 10  # that a workflow step may make
PALETTE = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#3b6ea8"}}}}%%'  # seen on light and dark
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


@dataclass(frozen=True)
class Row:
    """One criterion judged: what it asks, what was found, and what is missing; it may only wait for others."""

    id: str
    criterion: str
    evidence: tuple[str, ...]
    value: Any = None
    limit: Any = None
    missing: tuple[str, ...] = ()
    remedy: str = PIPELINE
    waits_for: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        return not self.missing and not self.waits_for

    def plain(self) -> dict[str, Any]:
        row = {"id": self.id, "criterion": self.criterion, "met": self.met, "evidence": list(self.evidence)}
        row |= {"value": self.value, "limit": self.limit, "missing": list(self.missing)}
        return row | {"waits_for": list(self.waits_for), "remedy": self.remedy if self.missing else None}


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

    def document(self, name: str) -> dict[str, Any]:
        return self.documents.get(name, {})

    def lacking(self, owner: str) -> list[str]:
        """What is wrong with the mandatory files of a criterion."""
        names = [name for name, criterion in MANDATORY.items() if criterion == owner and name != LADDER]
        return [f"{name}: {self.problems[name]}" for name in names if name in self.problems]

    def events(self, name: str, drill: bool | None = None) -> list[dict[str, Any]]:
        """The judged run's events of this name; all, or only the drills', or only the others."""
        return [e for e in self.mine if e["event"] == name and drill in (None, bool(e.get("drill")))]

    @cached_property
    def mine(self) -> list[dict[str, Any]]:
        return [event for event in self.log.events if event["context"].get("run_id") == self.run_id]

    @property
    def ladder_name(self) -> str:
        own = f"{SNAPSHOT}/{LADDER}"
        return own if own in self.digests else LADDER

    @property
    def lock_name(self) -> str | None:
        return next((path for lock in LOCKS if (path := f"{SNAPSHOT}/{lock}") in self.digests), None)

    def text(self, name: str) -> str | None:
        return self.data[name].decode("utf-8", "replace") if name in self.data else None

    @property
    def incidents(self) -> dict[str, dict[str, Any]]:
        return {path: document for path, document in self.documents.items() if path.startswith("incidents/")}


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


def judge_baseline(evidence: Evidence) -> Row:
    """AC-1: the suite was captured whole and green, in artifacts that agree with each other and with the log."""
    missing = evidence.lacking("AC-1")
    baseline = evidence.document(BASELINE)
    filled = population(baseline) if baseline else None
    if baseline:
        missing += baseline_gaps(evidence, baseline, filled)
        missing += report_gaps(evidence, baseline) + duration_gaps(evidence, baseline)
    ended = evidence.events("metrics_capture_complete", drill=False)
    if not any(event.get("exit") == 0 for event in ended):
        missing.append(f"{LOG_NAME}: no metrics_capture_complete with exit 0")
    facts = {"tests": dig(baseline, "outcomes.tests"), "population_percent": filled}
    files = tuple(name for name, owner in MANDATORY.items() if owner == "AC-1")
    text = "Baseline metrics produced whole, hashed and logged"
    return Row("AC-1", text, (*files, "metrics_capture_complete"), facts, {"population_percent": POPULATION},
               tuple(missing), f"{PIPELINE} baseline")  # fmt: skip


def baseline_gaps(evidence: Evidence, baseline: Mapping[str, Any], filled: float | None) -> list[str]:
    found = []
    stated = evidence.text(HASH)
    if stated is not None and stated.strip() != f"sha256:{baseline['sha256']}":
        found.append(f"{HASH}: expected sha256:{baseline['sha256']}, got {one_line(stated.strip(), 80)}")
    if baseline.get("partial") is not None:
        found.append(f"{BASELINE}: partial: {one_line(dig(baseline, 'partial.reason'))}")
    outcomes = part(baseline, "outcomes")
    red = {name: dig(outcomes, name) for name in ("failed", "error", "collect_errors")}
    if not dig(outcomes, "tests") or any(count != 0 for count in red.values()):
        found.append(f"{BASELINE}: expected a green suite, got {dig(outcomes, 'tests')} tests with {red}")
    if filled is None or filled < POPULATION:
        found.append(f"{BASELINE}: {filled} % of the fields have a value, expected at least {POPULATION:g} %")
    elif filled != dig(baseline, "population.percent"):
        found.append(f"{BASELINE}: states {dig(baseline, 'population.percent')} % populated, counted {filled} %")
    return found


def population(baseline: Mapping[str, Any]) -> float | None:
    """Percent of the baseline's own fields that have a value, counted as the capture counts them."""
    aside = {*ENVELOPE, "partial", "population"}

    def leaves(value: object) -> Iterator[object]:
        if isinstance(value, dict) and value:
            for item in value.values():
                yield from leaves(item)
        else:
            yield value

    values = [leaf for name, section in baseline.items() if name not in aside for leaf in leaves(section)]
    return 100 * sum(value is not None for value in values) / len(values) if values else None


def report_gaps(evidence: Evidence, baseline: Mapping[str, Any]) -> list[str]:
    """coverage.xml has no digest of its own; its totals must be the baseline's."""
    head = (evidence.text(REPORT) or "")[:4096]
    if REPORT not in evidence.data:
        return []
    pairs = {"lines-valid": "statements", "lines-covered": "statements_covered"}
    pairs |= {"branches-valid": "branches", "branches-covered": "branches_covered"}
    stated = {name: int(hit[1]) for name in pairs if (hit := re.search(rf'\b{name}="(\d{{1,15}})"', head))}
    expected = {name: dig(baseline, f"coverage.{key}") for name, key in pairs.items()}
    return [] if stated == expected else [f"{REPORT}: expected the baseline's {expected}, got {stated}"]


def duration_gaps(evidence: Evidence, baseline: Mapping[str, Any]) -> list[str]:
    """The list of tests must count up to the baseline's outcomes, and its quantiles must be in order."""
    durations = evidence.document(DURATIONS)
    if not durations:
        return []
    counted = Counter(str(row.get("outcome")) for row in rows_of(durations.get("tests")))
    stated = {name: dig(baseline, f"outcomes.{name}") for name in (*OUTCOMES, "tests")}
    found = []
    if stated != {**{name: counted[name] for name in OUTCOMES}, "tests": counted.total()}:
        found.append(f"{DURATIONS}: its {counted.total()} tests do not add up to the baseline's {stated}")
    ranks = [number(dig(durations, f"all.{name}")) for name in ("p50", "p90", "p95", "p99", "max")]
    known = [rank for rank in ranks if rank is not None]
    if len(known) < len(ranks) or known != sorted(known):
        found.append(f"{DURATIONS}: expected p50 to max in order, got {ranks}")
    shared = {name: dig(baseline, f"durations.{name}") for name in ("count", "total", "p50", "max")}
    if any(dig(durations, f"all.{name}") != value for name, value in shared.items()):
        found.append(f"{DURATIONS}: expected the baseline's {shared}")
    return found


def judge_failfast(evidence: Evidence) -> Row:
    """AC-2: on controlled failures both modes were measurably sooner, and the log shows them stop."""
    summary, missing = evidence.document(FAILFAST), evidence.lacking("AC-2")
    times = detection_times(summary)
    better = improvement(times)
    if summary:
        mandatory = ("mode", "first_failure", "elapsed_to_detection_s")
        missing += [f"{FAILFAST}: no {key}" for key in mandatory if summary.get(key) is None]
        missing += [f"{FAILFAST}: {gap}" for gap in improvement_gaps(summary, times, better)]
    for name in ("failfast_mode_applied", "early_exit_detected"):
        if not evidence.events(name):
            missing.append(f"{LOG_NAME}: no {name}")
    text = "A failure shows sooner: soft by 40 %, hard by 60 %"
    names = (FAILFAST, "failfast_mode_applied", "early_exit_detected")
    return Row("AC-2", text, names, better, IMPROVEMENT, tuple(missing), f"{PIPELINE} failfast")


def detection_times(summary: Mapping[str, Any]) -> dict[str, float]:
    """Mean seconds to the verdict per mode, from the single runs: each fault counts with the median of its runs."""
    from statistics import fmean, median  # imports decimal and fractions; --help should not wait

    faults = rows_of(dig(summary, "benchmark.faults"))
    times = {}
    for mode in MODES:
        listed = [dig(row, f"runs.{mode}.seconds") for row in faults]
        runs = [[number(value) for value in seconds] for seconds in listed if isinstance(seconds, list)]
        if runs and len(runs) == len(faults) and all(seconds and None not in seconds for seconds in runs):
            times[mode] = round(fmean(median(seconds) for seconds in runs), 4)  # type: ignore[misc, type-var]
    return times


def improvement(times: Mapping[str, float]) -> dict[str, float]:
    """Percent saved of the time without fail-fast."""
    off = times.get("off") or 0.0
    return {mode: 100 * (off - times[mode]) / off for mode in IMPROVEMENT if mode in times and off > 0}


def improvement_gaps(
    summary: Mapping[str, Any], times: Mapping[str, float], better: Mapping[str, float]
) -> list[str]:
    found = []
    for mode, target in IMPROVEMENT.items():
        if mode not in better or better[mode] < target:
            shown = f"{better[mode]:.2f} %" if mode in better else "not measured"
            found.append(f"{mode} is {shown} sooner, expected at least {target:g} %")
    for mode, seconds in times.items():
        stated = number(dig(summary, f"benchmark.overall.modes.{mode}.mean"))
        if stated is None or abs(stated - seconds) > 0.001:
            found.append(f"states {stated} s for {mode}, its runs give {seconds}")
    return found


def judge_properties(evidence: Evidence) -> Row:
    """AC-3: the property tests ran thirty times, on proven identical examples, fast, and none was falsified."""
    missing = evidence.lacking("AC-3")
    results = evidence.document(PROPERTIES)
    tests = rows_of(results.get("tests"))
    if results:
        missing += run_gaps(evidence, results)
        missing += [f"{one_line(row.get('id'), 120)}: {gap}" for row in tests for gap in property_gaps(row, results)]
    if not evidence.events("property_test_complete"):
        missing.append(f"{LOG_NAME}: no property_test_complete")
    means = [number(dig(row, "runtime_ms.mean")) for row in tests]
    slowest = max((mean for mean in means if mean is not None), default=None)
    facts = {"tests": len(tests), "runs": results.get("runs"), "slowest_mean_ms": slowest}
    limit = {"tests": PROPERTY_TESTS, "runs": PROPERTY_RUNS, "slowest_mean_ms": PROPERTY_MS}
    text = "Three invariants hold in 30 identical runs, each under 1 s"
    names = (PROPERTIES, "property_test_complete")
    return Row("AC-3", text, names, facts, limit, tuple(missing), f"{PIPELINE} properties")


def run_gaps(evidence: Evidence, results: Mapping[str, Any]) -> list[str]:
    runs, tests = number(results.get("runs")) or 0, len(rows_of(results.get("tests")))
    checks = {
        f"{runs:g} runs, expected at least {PROPERTY_RUNS}": runs >= PROPERTY_RUNS,
        f"{tests} tests, expected at least {PROPERTY_TESTS}": tests >= PROPERTY_TESTS,
        "not deterministic": results.get("mode") == "deterministic",
        f"partial: {one_line(results.get('partial'))}": results.get("partial") is None,
        "no seed": number(results.get("seed")) is not None,
        "another seed changed nothing, so equal digests prove nothing": dig(results, "control.shown") is True,
        f"{dig(results, 'false_failures.count')} false failures": dig(results, "false_failures.count") == 0,
        f"{results.get('mismatches')} mismatches": results.get("mismatches") == 0,
    }
    found = [f"{PROPERTIES}: {text}" for text, holds in checks.items() if not holds]
    seed = dig(evidence.document(SIGNATURE), "seed")
    if seed is not None and str(seed) != str(results.get("seed")):
        found.append(f"{PROPERTIES}: seed {results.get('seed')}, {SIGNATURE} has {one_line(seed)}")
    return found + logged_gaps(evidence, results)


def logged_gaps(evidence: Evidence, results: Mapping[str, Any]) -> list[str]:
    """Each run's counts as the log has them: a result edited afterwards differs."""
    events = evidence.events("property_test_complete")
    logged = {str(event.get("run")): event for event in events if event.get("purpose") == "run"}
    rows, found = rows_of(results.get("per_run")), []
    if len(rows) != results.get("runs"):
        found.append(f"{PROPERTIES}: {results.get('runs')} runs stated, {len(rows)} listed")
    for row in rows:
        run, event = one_line(row.get("run"), 20), logged.get(str(row.get("run")), {})
        bad = {key: row.get(key) for key in BAD_RUN if row.get(key)}
        if bad:
            found.append(f"{PROPERTIES}: run {run} has {one_line(bad)}")
        elif any(event.get(key) != row.get(key) for key in ("passed", *BAD_RUN)):
            found.append(f"{PROPERTIES}: run {run} is not what {LOG_NAME} says of it")
    return found


def property_gaps(row: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    mean = number(dig(row, "runtime_ms.mean"))
    checks = {
        f"outcomes {one_line(row.get('outcomes'))}": row.get("outcomes") == {"passed": results.get("runs")},
        "falsified": row.get("falsifying_examples") == [],
        f"problems {one_line(row.get('problems'))}": row.get("problems") == [],
        "its runs did not see one stream of examples": len(rows_of(row.get("streams"))) == 1,
        f"{mean} ms on average, expected under {PROPERTY_MS:g}": mean is not None and mean < PROPERTY_MS,
    }
    return [text for text, holds in checks.items() if not holds]


def judge_environment(evidence: Evidence) -> Row:
    """AC-5: this run's environment was validated, and a drill showed that every mismatch is refused in time."""
    missing = evidence.lacking("AC-5")
    validated = evidence.events("environment_validated", drill=False)
    if not validated:
        missing.append(f"{LOG_NAME}: no environment_validated of run {one_line(evidence.run_id, 80)}")
    refused = evidence.document(REFUSED)
    if (
        validated
        and refused.get("run_id") == evidence.run_id
        and refused["generated_at"] > validated[-1]["timestamp"]
    ):
        missing.append(f"{REFUSED}: the environment was refused after it had been validated")
    drills = drill_seconds(evidence)
    if lacking := sorted(REASONS - drills.keys()):
        missing.append(f"{LOG_NAME}: no drill refused {', '.join(lacking)}")
    slow = {code: seconds for code, seconds in drills.items() if seconds is None or seconds >= GATE_SECONDS}
    missing += [
        f"{LOG_NAME}: refusing {one_line(c, 60)} took {s} s, expected under {GATE_SECONDS:g}" for c, s in slow.items()
    ]
    known = [seconds for seconds in drills.values() if seconds is not None]
    facts = {"reasons_drilled": len(REASONS & drills.keys()), "slowest_s": max(known, default=None)}
    limit = {"reasons_drilled": len(REASONS), "slowest_s": GATE_SECONDS}
    text = "A wrong environment is refused before the tests, in under 1 s"
    names = (SIGNATURE, "environment_validated", "environment_validation_fail")
    return Row("AC-5", text, names, facts, limit, tuple(missing), f"{PIPELINE} environment")


def drill_seconds(evidence: Evidence) -> dict[str, float | None]:
    """Reason code: the longest that a drill took to refuse it, for this reason alone."""
    found: dict[str, float | None] = {}
    for event in evidence.events("environment_validation_fail", drill=True):
        code, seconds = str(event.get("provoked")), number(event.get("seconds"))
        if event.get("reasons") == [code]:
            known = found.get(code, 0.0)
            found[code] = None if seconds is None or known is None else max(known, seconds)
    return found


def judge_ladder(evidence: Evidence) -> Row:
    """AC-6: the ladder file promises a baseline and a target, and the log recorded this very promise."""
    name = evidence.ladder_name
    ladder, problem = read_ladder(evidence.data.get(name))
    missing = [f"{LADDER}: {problem}"] if problem else []
    recorded = [
        e for e in evidence.events("coverage_ladder_recorded") if e["context"].get("script") != "enforce_gates"
    ]
    if not recorded:
        missing.append(f"{LOG_NAME}: no coverage_ladder_recorded")
    elif not problem:
        missing += ladder_gaps(evidence, ladder, recorded[-1])
    text = "Coverage ladder's baseline and target recorded"
    facts = {"baseline": ladder.get("baseline"), "target": ladder.get("target")}
    return Row("AC-6", text, (name, "coverage_ladder_recorded"), facts, None, tuple(missing), f"{PIPELINE} baseline")


@lru_cache(maxsize=4)
def read_ladder(data: bytes | None) -> tuple[dict[str, Any], str]:
    """The ladder, or why it is none."""
    import yaml

    if data is None:
        return {}, "expected a file, got none"
    try:
        ladder = redact(yaml.safe_load(data.decode()))  # dates and other objects become text
        rates = {
            f"{part}.{m}": dig(ladder, f"{part}.{m}") for part in ("baseline", "target") for m in ("line", "branch")
        }
        for key, rate in rates.items():
            value = number(rate)
            if not (value is not None and 0 <= value <= 100) and (rate is not None or key.endswith("line")):
                return {}, f"{key}: expected a number from 0 to 100, got {one_line(rate, 80)}"
        return ladder, ""
    except Exception as error:  # the parser raises many kinds on hostile documents
        return {}, f"expected a ladder, got {type(error).__name__}: {one_line(error, 120)}"


def ladder_gaps(evidence: Evidence, ladder: Mapping[str, Any], event: Mapping[str, Any]) -> list[str]:
    found = []
    for part in ("baseline", "target"):
        told = {key: dig(ladder, f"{part}.{key}") for key in ("line", "branch")}
        for where, source in ((LOG_NAME, event), (BASELINE, evidence.document(BASELINE).get("ladder"))):
            said = {key: dig(source, f"{part}.{key}") for key in told}
            if source and said != told:
                found.append(f"{LADDER}: {part} is {told}, {where} has {said}")
    coverage = evidence.document(BASELINE).get("coverage")
    measured = {key: dig(coverage, f"{key}_percent") for key in ("line", "branch")}
    if coverage and event.get("measured") is not None and event["measured"] != measured:
        found.append(f"{LOG_NAME}: recorded {one_line(event['measured'])}, {BASELINE} has {measured}")
    return found


def judge_events(evidence: Evidence) -> Row:
    """AC-7: every event of the taxonomy was seen in this run, every start ended once, nothing was ever lost."""
    lacking = missing_events(evidence)
    missing = [f"missing: {name}" for name in lacking] + evidence.lacking("AC-7") + unended(evidence.mine)
    if evidence.events("logging_deficit", drill=False):
        missing.append("a logging_deficit stands in this run; start a new one")
    names = (LOG_NAME,)
    facts, limit = len(EXPECTED) - len(lacking), len(EXPECTED)
    return Row("AC-7", "Every required event seen, without a deficit", names, facts, limit, tuple(missing), PIPELINE)


def missing_events(evidence: Evidence) -> list[str]:
    """What this script and the gates' own re-evaluation log proves nothing about the others."""
    seen = {event["event"] for event in evidence.mine if not is_own(event)}
    return sorted(EXPECTED - seen)


def is_own(event: Mapping[str, Any]) -> bool:
    script = event["context"].get("script")
    return script == "emit_checkpoint" or (script, event["event"]) == ("enforce_gates", "coverage_ladder_recorded")


def unended(events: Sequence[Mapping[str, Any]]) -> list[str]:
    count = Counter((event["event"], str(event["context"].get("pid"))) for event in events)
    found = []
    for start, ends in ENDS.items():
        for pid in sorted({pid for name, pid in count if name in (start, *ends)}):
            begun, ended = count[start, pid], sum(count[end, pid] for end in ends)
            if begun != ended:
                found.append(f"process {one_line(pid, 20)}: {begun} {start}, {ended} ended")
    return found


def judge_consistency(evidence: Evidence) -> list[Row]:
    """Whether the evidence belongs together: one commit, one environment, one lock, one run, one unbroken log."""
    return [one_commit(evidence), one_environment(evidence), one_lock(evidence), one_run(evidence), one_log(evidence)]


def one_commit(evidence: Evidence) -> Row:
    commits = {name: evidence.documents[name].get("commit") for name in ONE_RUN if name in evidence.documents}
    first, wanted = next(iter(commits.items()), (BASELINE, None))
    missing = [
        f"{name}: of commit {short(commit)}, {first} of {short(wanted)}"
        for name, commit in commits.items()
        if commit != wanted
    ]
    if commits and not wanted:
        missing = [f"{first}: names no commit; commit the project first"]
    return Row("COMMIT", "All evidence is of one commit", tuple(commits), wanted, None, tuple(missing))


def one_environment(evidence: Evidence) -> Row:
    known, text = evidence.document(SIGNATURE), "All evidence is of one environment"
    wanted, python, ran = (
        known.get("signature"),
        dig(known, "python.full"),
        evidence.document(PROPERTIES).get("python"),
    )
    if known and wanted != content_digest({key: known.get(key) for key in IDENTITY}):
        return Row("ENVIRONMENT", text, (SIGNATURE,), wanted, None, (f"{SIGNATURE}: is not what its signature says",))
    told = [(BASELINE, dig(evidence.document(BASELINE), "environment.signature"))] * (BASELINE in evidence.documents)
    validated = evidence.events("environment_validated", drill=False)
    told += [(LOG_NAME, event["signature"]) for event in validated if "signature" in event]
    missing = [
        f"{name}: of environment {short(signature)}, {SIGNATURE} of {short(wanted)}"
        for name, signature in told
        if known and signature != wanted
    ]
    if python and ran and not str(python).startswith(str(ran)):
        missing.append(f"{PROPERTIES}: run by Python {one_line(ran, 40)}, {SIGNATURE} has {one_line(python, 40)}")
    return Row("ENVIRONMENT", text, (SIGNATURE, BASELINE, LOG_NAME), wanted, None, tuple(missing))


def one_lock(evidence: Evidence) -> Row:
    """The lock file, its recorded hash and the environment's lock sources name one digest."""
    lock, recorded = evidence.lock_name, f"{SNAPSHOT}/requirements.lock.hash"
    digest = evidence.digests[lock] if lock else ""
    missing = []
    stated = evidence.text(recorded)
    if stated is not None and lock == f"{SNAPSHOT}/requirements.lock" and digest not in stated:
        missing.append(f"{recorded}: expected {digest}, got {one_line(stated, 80)}")
    sources = evidence.document(SIGNATURE).get("lock_sources")
    if SIGNATURE in evidence.documents and (not sources or digest.encode() not in canonical(sources)):
        missing.append(f"{SIGNATURE}: its lock sources do not name {lock or 'any lock'} {short(digest)}")
    names = tuple(name for name in (lock, recorded, SIGNATURE) if name and name in evidence.digests)
    return Row("LOCK", "All evidence is of one lock", names, digest or None, None, tuple(missing))


def one_run(evidence: Evidence) -> Row:
    """Every artifact names the judged run; where its events state an artifact's digest, that is the artifact."""
    runs = {name: evidence.documents[name]["run_id"] for name in ONE_RUN if name in evidence.documents}
    missing = [
        f"{name}: of run {one_line(run, 80)}, judged is {one_line(evidence.run_id, 80)}"
        for name, run in runs.items()
        if run != evidence.run_id
    ]
    logged = {name: digest for event in evidence.mine for name, digest in part(event, "artifacts").items()}
    for name, digest in logged.items():
        actual = evidence.document(name).get("sha256")
        if actual and digest != actual:
            missing.append(f"{name}: {LOG_NAME} has it with sha256 {short(digest)}, got {short(actual)}")
    return Row("RUN", "All evidence is of one run", tuple(runs), evidence.run_id, None, tuple(missing))


def one_log(evidence: Evidence) -> Row:
    problems = [f"{LOG_NAME}: {one_line(problem)}" for problem in evidence.log.problems[:SHOWN]]
    text = "The event log's chain is unbroken"
    facts = {"events": len(evidence.log.events), "head": evidence.log.head}
    return Row(
        "LOG", text, (LOG_NAME,), facts, None, tuple(problems), f"move artifacts/{LOG_NAME} away, then {PIPELINE}"
    )


def short(digest: object) -> str:
    return one_line(digest, 13) if digest else "none"


def judge_gates(evidence: Evidence) -> Row:
    """Every hard gate passed, nothing else counts as passing; advisory ones are reported."""
    missing = evidence.lacking("GATES")
    hard = [row for row in gate_rows(evidence) if row.get("enforcement") != "advisory"]
    passed = [row for row in hard if row.get("verdict") == "pass"]
    if VERDICTS in evidence.documents and not {str(row.get("gate")) for row in hard} >= HARD_GATES:
        missing.append(f"{VERDICTS}: expected the hard gates {', '.join(sorted(HARD_GATES))}, got {len(hard)}")
    for row in hard:
        if row not in passed:
            gate, verdict, value = (one_line(row.get(key), 120) for key in ("gate", "verdict", "value"))
            missing.append(f"{VERDICTS}: gate {gate} says {verdict}: {value}")
    missing += verdict_gaps(evidence)
    fired = [row for row in trigger_rows(evidence) if row.get("state") == "fired"]
    missing += [f"{VERDICTS}: trigger {one_line(row.get('name'), 60)} fired" for row in fired]
    text, remedy = "Every hard gate passes", f"{PIPELINE} gates"
    return Row("GATES", text, (VERDICTS,), len(passed), len(hard), tuple(missing), remedy)


def verdict_gaps(evidence: Evidence) -> list[str]:
    """The verdicts as the gates logged them: one edited afterwards differs."""
    document = evidence.document(VERDICTS)
    if not document:
        return []
    logged = [event for event in evidence.events("coverage_ladder_recorded") if "gates" in event and is_own(event)]
    told = {
        "gates": {str(row.get("gate")): row.get("verdict") for row in gate_rows(evidence)},
        "triggers": {str(row.get("name")): row.get("state") for row in trigger_rows(evidence)},
    }
    found = [f"{LOG_NAME}: no verdicts of the gates"] if not logged else []
    for key, rows in told.items():
        if logged and logged[-1].get(key) != rows:
            found.append(f"{VERDICTS}: {key} are {one_line(rows)}, {LOG_NAME} has {one_line(logged[-1].get(key))}")
    if document.get("judged_run") != evidence.run_id:
        found.append(f"{VERDICTS}: judged run {one_line(document.get('judged_run'), 80)}")
    return found


def gate_rows(evidence: Evidence) -> list[dict[str, Any]]:
    return rows_of(evidence.document(VERDICTS).get("gates"))


def trigger_rows(evidence: Evidence) -> list[dict[str, Any]]:
    return rows_of(evidence.document(VERDICTS).get("triggers"))


@dataclass(frozen=True)
class Plan:
    """The plan document as its changelog should describe it."""

    version: str | None
    sha256: str | None
    changelog_version: str | None
    changelog_sha256: str | None

    def gaps(self) -> list[str]:
        if self.sha256 is None:
            return [f"{PLAN}: expected a file, got none"]
        if self.version is None:
            return [f"{PLAN}: expected a line Version: X.Y, got none"]
        if self.changelog_version is None:
            return [f"{CHANGELOG}: expected a top entry ## [X.Y] - DATE, got none"]
        found = []
        if self.changelog_version != self.version:
            found.append(f"{CHANGELOG}: top entry is {self.changelog_version}, {PLAN} is {self.version}")
        if self.changelog_sha256 != self.sha256:
            stated = self.changelog_sha256 or "no SHA256"
            found.append(f"{CHANGELOG}: expected SHA256 {self.sha256}, got {stated}")
        return found


def read_plan(evidence: Evidence) -> Plan:
    text, changes = evidence.text(f"{SNAPSHOT}/{PLAN}"), evidence.text(f"{SNAPSHOT}/{CHANGELOG}") or ""
    version = re.search(r"^\W*Version:\W*(\d+(?:\.\d+)*)", text or "", re.MULTILINE)
    entries = list(re.finditer(r"^## \[(\d+(?:\.\d+)*)\]", changes, re.MULTILINE))
    top = changes[entries[0].start() : entries[1].start() if len(entries) > 1 else None] if entries else ""
    digest = re.search(r"SHA-?256\b.*?\b([0-9a-fA-F]{64})\b", top)
    return Plan(
        version[1] if version else None,
        evidence.digests.get(f"{SNAPSHOT}/{PLAN}"),
        entries[0][1] if entries else None,
        digest[1].lower() if digest else None,
    )


@dataclass(frozen=True)
class Risk:
    """One row of the risk matrix; `rests_on` names the criteria that resolve it, `gaps` what speaks against it."""

    id: str
    risk: str
    impact: str
    likelihood: str
    mitigation: str
    evidence: tuple[str, ...]
    rests_on: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


def risk_matrix(evidence: Evidence) -> list[Risk]:
    plan = tuple(read_plan(evidence).gaps())
    documents = (f"{SNAPSHOT}/{PLAN}", f"{SNAPSHOT}/{CHANGELOG}")
    return [
        Risk("R-1", "The plan document is missing or not the agreed one", "high", "low",
             "version control; its hash stands in the changelog", documents, (), plan),
        Risk("R-2", "Property tests that cannot be believed", "medium", "low",
             "a fixed seed, proven identical runs, the nightly search apart", (PROPERTIES,), ("AC-3",)),
        Risk("R-3", "Fail-fast hides failures of the rest", "medium", "medium",
             "the baseline is whole; fail-fast modes never touch it", (BASELINE, FAILFAST), ("AC-1",)),
        Risk("R-4", "Coverage creeps down", "medium", "medium",
             "the ladder's gate", (LADDER, VERDICTS), ("AC-6", "GATES")),
        Risk("R-5", "The environment drifts", "high", "medium",
             "the validator refuses it; one signature everywhere", (SIGNATURE,), ("AC-5", "ENVIRONMENT", "LOCK")),
        Risk("R-6", "Measuring costs too much", "low", "medium",
             "seconds per stage in the baseline; stages can be skipped", (BASELINE,), (), overhead_gaps(evidence)),
        Risk("R-7", "Tests that run in parallel disturb each other", "high", "low",
             "one process until flakes are classified", (DURATIONS, FLAKES), (), parallel_gaps(evidence)),
    ]  # fmt: skip


def overhead_gaps(evidence: Evidence) -> tuple[str, ...]:
    seconds = {name: number(value) or 0.0 for name, value in part(evidence.document(BASELINE), "capture").items()}
    suite = seconds.get("suite", 0.0)
    beside, allowed = sum(seconds.values()) - suite, max(OVERHEAD[0] * suite, OVERHEAD[1])
    if beside <= allowed:
        return ()
    return (f"{BASELINE}: {beside:.1f} s beside the suite, expected at most {allowed:.1f}",)


def parallel_gaps(evidence: Evidence) -> tuple[str, ...]:
    """Workers are no risk where the history of the same tests shows no flake."""
    rows = rows_of(evidence.document(DURATIONS).get("tests"))
    workers = {str(row["worker"]) for row in rows if row.get("worker")}
    flakes = evidence.document(FLAKES)
    if not workers or (flakes.get("flaky") == [] and flakes.get("runs")):
        return ()
    return (f"{FLAKES}: tests ran on {len(workers)} workers without a history free of flakes",)


def judge_risks(evidence: Evidence, rows: Mapping[str, Row]) -> list[Row]:
    """A risk is resolved by evidence, or open with what is missing; one that rests on criteria waits for them."""
    judged = []
    for risk in risk_matrix(evidence):
        gaps = risk.gaps if risk.impact == "high" else ()
        waits = tuple(name for name in risk.rests_on if not rows[name].met)
        remedy = "update the changelog's top entry, commit, then " + PIPELINE if risk.id == "R-1" else PIPELINE
        judged.append(
            Row(risk.id, f"Risk resolved: {risk.risk}", risk.evidence, risk.impact, None, gaps, remedy, waits)
        )
    return judged


def risk_rows(evidence: Evidence, rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    shown = []
    for risk in risk_matrix(evidence):
        missing = [*risk.gaps, *(name for name in risk.rests_on if not rows[name].met)]
        state = "open" if missing else "resolved"
        shown.append({**asdict(risk), "state": state, "missing": missing})
    return shown


def judge_readiness(evidence: Evidence, rows: Mapping[str, Row], emitting: bool) -> Row:
    """AC-4: everything else holds, no incident is open, and the log says that the checkpoint was emitted."""
    mend = "close it: enforce_gates.py --resolve ID --reason TEXT"
    missing = [f"{path}: an open incident; {mend}" for path in open_incidents(evidence)]
    if not emitting and not evidence.events("foundation_checkpoint_emitted"):
        missing.append(f"{LOG_NAME}: no foundation_checkpoint_emitted")
    waits = tuple(name for name, row in rows.items() if not row.met)
    text = "Checkpoint emitted after all prior criteria, with no high risk open"
    names = (*OWN[:2], "foundation_checkpoint_emitted")
    return Row("AC-4", text, names, None, None, tuple(missing), f"{PIPELINE} checkpoint", waits)


def open_incidents(evidence: Evidence) -> list[str]:
    """Incidents that are not resolved or not readable, and the switch that an open one sets."""
    found = {path for path, incident in evidence.incidents.items() if incident.get("state") != "resolved"}
    found |= {path for path in evidence.problems if path.startswith("incidents/")}
    return sorted(found | ({FORCED_OFF} & evidence.digests.keys()))


def judge_done(evidence: Evidence, rows: Mapping[str, Row]) -> list[Row]:
    """The definition of done; what repeats a criterion waits for it and is never named twice."""

    def repeats(name: str, text: str, files: Iterable[str], *others: str) -> Row:
        return Row(name, text, tuple(files), waits_for=tuple(other for other in others if not rows[other].met))

    criteria = [f"AC-{number}" for number in range(1, 8)]
    return [
        repeats("DOD-1", "AC-1 to AC-7 satisfied", criteria, *criteria),
        repeats("DOD-2", "All mandatory artifacts exist with hashes", MANDATORY, *sorted(set(MANDATORY.values()))),
        repeats("DOD-3", "Checkpoint emitted, ready to be committed", OWN, "AC-4"),
        triggers_documented(evidence),
        pipeline_enforced(evidence),
        repeats("DOD-6", "Event log complete without deficits", (LOG_NAME,), "AC-7", "LOG"),
    ]


def triggers_documented(evidence: Evidence) -> Row:
    """Each rollback trigger was seen to fire in a drill, and the plan says what sets it off."""
    drilled = [name for name, count in drilled_triggers(evidence).items() if count]
    missing = [f"{LOG_NAME}: no drill of the trigger {name}" for name in TRIGGERS if name not in drilled]
    text = evidence.text(f"{SNAPSHOT}/{PLAN}")
    if text is not None:
        missing += [f"{PLAN}: does not explain {key}" for key in TRIGGER_KEYS if key not in text]
    names, title = ("risk_trigger", f"{SNAPSHOT}/{PLAN}"), "Rollback triggers configured and documented"
    return Row("DOD-4", title, names, drilled, list(TRIGGERS), tuple(missing), f"{PIPELINE} gates")


def drilled_triggers(evidence: Evidence) -> dict[str, int]:
    """How often a drill saw each trigger fire with all that follows."""
    drills = [event for event in evidence.events("risk_trigger", drill=True) if not event.get("missing")]
    return {name: sum(event.get("trigger") == name for event in drills) for name in TRIGGERS}


def pipeline_enforced(evidence: Evidence) -> Row:
    """A workflow runs the validator and the gates in steps that can fail it."""
    names = tuple(sorted(name for name in evidence.data if "/workflows/" in name))
    commands = "\n".join(command for name in names for command in enforced(evidence.data[name]))
    found = [stage for stage, form in ENFORCED.items() if re.search(form, commands, re.MULTILINE)]
    missing = [f".github/workflows: no step that enforces {stage}" for stage in ENFORCED if stage not in found]
    text, remedy = (
        "The workflow enforces validator and ladder gate",
        f"add steps: {PIPELINE} {' and '.join(ENFORCED)}",
    )
    return Row("DOD-5", text, names, found, list(ENFORCED), tuple(missing), remedy)


@lru_cache(maxsize=16)
def enforced(workflow: bytes) -> list[str]:
    """The commands of a workflow whose failure fails it."""
    import yaml

    try:
        jobs = yaml.safe_load(workflow.decode())["jobs"].values()
        steps = [step for job in jobs if not job.get("continue-on-error") for step in job.get("steps", ())]
        commands = [str(step["run"]) for step in steps if "run" in step and not step.get("continue-on-error")]
    except Exception:  # not a workflow: it enforces nothing
        return []
    return [command for command in commands if "|| true" not in command]


def judge(evidence: Evidence, emitting: bool = False) -> dict[str, Row]:
    """Every row by its id. `emitting`: the emission's own event is about to be written, so its absence is no gap."""
    found = [judge_baseline(evidence), judge_failfast(evidence), judge_properties(evidence)]
    found += [judge_environment(evidence), judge_ladder(evidence), judge_events(evidence)]
    found += [*judge_consistency(evidence), judge_gates(evidence)]
    rows = {row.id: row for row in found}
    rows |= {row.id: row for row in judge_risks(evidence, rows)}
    rows["AC-4"] = judge_readiness(evidence, rows, emitting)
    rows |= {row.id: row for row in judge_done(evidence, rows)}
    order = [*(f"AC-{number}" for number in range(1, 8)), *(name for name in rows if not name.startswith("AC-"))]
    return {name: rows[name] for name in order}


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
        ("Holistic", "all mandatory evidence in one envelope", MANDATORY, ("DOD-2",)),
        ("Validation", "every criterion is computed", (LOG_NAME, LADDER), ("DOD-1",)),
        ("Integration", "gates and workflow use the evidence", (VERDICTS, LADDER), ("GATES", "DOD-5")),
    ),
    "laws": (
        ("No orphans", "all evidence is of one commit and one run", (BASELINE, LOG_NAME), ("COMMIT", "RUN")),
        ("No cycles", "each line follows the one before", (LOG_NAME,), ("LOG",)),
        ("Complete evidence", "every criterion names its evidence", MANDATORY, ("DOD-1", "DOD-2")),
        ("Deterministic closure", "done is computed, the plan is locked by hash", (PLAN,), ("DOD-1", "R-1")),
        ("Traceability", "plan, version and changelog agree", (PLAN, CHANGELOG), ("R-1",)),
    ),
    "patterns": (
        ("Triangle", "environment, metrics and checkpoint", (SIGNATURE, BASELINE), ("AC-5", "AC-1", "AC-4")),
        ("Circle", "nothing mandatory is left out", MANDATORY, ("DOD-2", "AC-7")),
        ("Spiral", "baseline, target, next baseline", (LADDER, PROPERTIES), ("AC-6", "AC-3")),
        ("Golden ratio", "few strong controls, the rest deferred", (PLAN,), ("R-1", "GATES")),
        ("Fractal", "each script works alone on any project", MANDATORY, ("DOD-2",)),
    ),
}


def governance(evidence: Evidence, rows: Mapping[str, Row]) -> dict[str, Any]:
    """The plan's frames, each row computed: its evidence is there, its digests hold, its criteria are met."""

    def row(name: str, asks: str, files: Iterable[str], criteria: Sequence[str]) -> dict[str, Any]:
        paths = [path if path in evidence.digests else f"{SNAPSHOT}/{path}" for path in files]
        present = all(path in evidence.digests for path in paths)
        verified = present and not any(path in evidence.problems for path in paths)
        complete = verified and all(rows[criterion].met for criterion in criteria)
        shown = {"name": name, "asks": asks, "evidence": paths, "criteria": list(criteria)}
        return shown | {"present": present, "verified": verified, "complete": complete}

    return {frame: [row(*entry) for entry in entries] for frame, entries in GOVERNANCE.items()}


def compose(evidence: Evidence) -> dict[str, Any]:
    """The checkpoint's body, a pure function of the evidence: --verify computes it again and compares."""
    rows = judge(evidence)
    plan, baseline = read_plan(evidence), evidence.document(BASELINE)

    def plain(*prefixes: str) -> list[dict[str, Any]]:
        return [row.plain() for row in rows.values() if row.id.startswith(prefixes)]

    body = {
        "verdict": "proven" if all(row.met for row in rows.values()) else "not proven",
        "evidence_commit": baseline.get("commit"),
        "dirty_evidence": sorted(name for name in ONE_RUN if evidence.document(name).get("dirty")),
        "criteria": plain("AC-"),
        "definition_of_done": plain("DOD-"),
        "consistency": plain("COMMIT", "ENVIRONMENT", "LOCK", "RUN", "LOG"),
        "metrics": metrics_section(evidence),
        "failfast": failfast_section(evidence),
        "properties": properties_section(evidence),
        "events": events_section(evidence),
        "gates": [row.plain() for row in rows.values() if row.id == "GATES"] + gates_section(evidence),
        "risks": risk_rows(evidence, rows),
        "rollback_triggers": triggers_section(evidence),
        "governance": governance(evidence, rows),
        "plan": {
            "path": PLAN,
            "version": plan.version,
            "sha256": plan.sha256,
            "changelog_version": plan.changelog_version,
        },
        "log": {"events": len(evidence.log.events), "bytes": evidence.log_bytes, "head": evidence.log.head},
        "files": [f"{digest}  {path}" for path, digest in sorted(evidence.digests.items())],
    }
    return dict(redact(body))


def metrics_section(evidence: Evidence) -> dict[str, Any]:
    baseline, durations = evidence.document(BASELINE), evidence.document(DURATIONS)
    tests = rows_of(durations.get("tests"))
    slowest = sorted(tests, key=lambda row: (-(number(row.get("seconds")) or 0.0), str(row.get("id"))))[:SHOWN]
    ladder, _ = read_ladder(evidence.data.get(evidence.ladder_name))
    return {
        "outcomes": baseline.get("outcomes"),
        "durations": {key: value for key, value in part(baseline, "durations").items() if key != "phases"},
        "slowest": [{"id": row.get("id"), "seconds": row.get("seconds")} for row in slowest],
        "not_shown": len(tests) - len(slowest),
        "distribution": distribution(tests),
        "coverage": {key: value for key, value in part(baseline, "coverage").items() if key != "files"},
        "ladder": {key: ladder.get(key) for key in ("baseline", "target", "tolerance", "horizon")},
        "flakes": baseline.get("flakes"),
        "markers": baseline.get("markers"),
        "capture": baseline.get("capture"),
        "population": baseline.get("population"),
    }


def distribution(tests: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many tests took how long."""
    limits, labels = [limit for limit, _ in BUCKETS], [*(label for _, label in BUCKETS), "10 s or more"]
    counts = dict.fromkeys(labels, 0)
    for test in tests:
        seconds = number(test.get("seconds")) or 0.0
        counts[labels[bisect_right(limits, seconds)]] += 1
    return counts


def failfast_section(evidence: Evidence) -> dict[str, Any]:
    summary = evidence.document(FAILFAST)
    times = detection_times(summary)
    first = {key: dig(summary, f"first_failure.{key}") for key in ("id", "phase")}
    section = {key: summary.get(key) for key in ("mode", "elapsed_to_detection_s", "tests_run", "tests_collected")}
    return section | {"first_failure": first, "detection_mean_s": times, "improvement_percent": improvement(times)}


def properties_section(evidence: Evidence) -> dict[str, Any]:
    results = evidence.document(PROPERTIES)
    tests = rows_of(results.get("tests"))
    paths = {"outcomes": "outcomes", "examples": "examples.run", "mean_ms": "runtime_ms.mean", "digest": "digest"}
    shown = [{"id": row.get("id"), **{key: dig(row, path) for key, path in paths.items()}} for row in tests[:SHOWN]]
    section = {key: results.get(key) for key in ("runs", "seed", "mismatches", "false_failures", "mode")}
    section |= {"control_shown": dig(results, "control.shown"), "tests": shown}
    return section | {"not_shown": len(tests) - len(shown)}


def events_section(evidence: Evidence) -> dict[str, Any]:
    """Per event of the taxonomy: how often, how many of them drills, first and last."""
    table: dict[str, dict[str, Any]] = {}
    for name in sorted(TAXONOMY):
        found = evidence.events(name)
        times = [event["timestamp"] for event in found]
        row = {"count": len(found), "drills": sum(bool(event.get("drill")) for event in found)}
        table[name] = row | {"first": times[0] if times else None, "last": times[-1] if times else None}
    lacking = missing_events(evidence)
    percent = 100 * (len(EXPECTED) - len(lacking)) / len(EXPECTED)
    return {
        "required": len(EXPECTED),
        "missing": lacking,
        "percent": percent,
        "unended": unended(evidence.mine),
        "seen": table,
    }


def gates_section(evidence: Evidence) -> list[dict[str, Any]]:
    keys = ("gate", "enforcement", "verdict", "value", "limit")
    return [{key: row.get(key) for key in keys} for row in gate_rows(evidence)]


def triggers_section(evidence: Evidence) -> list[dict[str, Any]]:
    states, drilled = {str(row.get("name")): row for row in trigger_rows(evidence)}, drilled_triggers(evidence)
    keys = ("state", "value", "limit")
    return [
        {"trigger": name, "drills": drilled[name], **{key: states.get(name, {}).get(key) for key in keys}}
        for name in TRIGGERS
    ]


def statement(document: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """The checkpoint as an unsigned in-toto Statement v1 with the test-result v0.1 predicate.

    https://github.com/in-toto/attestation/tree/main/spec: subjects are what was judged, configuration what it was
    judged under, the tests are the criteria.
    """
    files = {path: hexdigest for hexdigest, path in (line.split("  ", 1) for line in document["files"])}
    subjects = [
        {"name": path, "digest": {"sha256": value}} for path, value in files.items() if path not in CONFIGURATION
    ]
    subjects.insert(0, {"name": CHECKPOINT, "digest": {"sha256": digest}})
    subjects.insert(0, {"name": "commit", "digest": {"gitCommit": document["evidence_commit"]}})
    configuration = [{"name": path, "digest": {"sha256": files[path]}} for path in CONFIGURATION if path in files]
    judged = judged_rows(document)
    open_risks = [row["id"] for row in document["risks"] if row["state"] != "resolved"]
    advice = [f"gate {row['gate']}" for row in document["gates"] if row.get("gate") and row["verdict"] != "pass"]
    failed = [row["id"] for row in judged if not row["met"]]
    warned = [*open_risks, *advice]
    predicate = {
        "result": "FAILED" if failed else "WARNED" if warned else "PASSED",
        "configuration": configuration,
        "passedTests": [row["id"] for row in judged if row["met"]],
        "warnedTests": warned,
        "failedTests": failed,
    }
    return {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": predicate}


def derived(document: Mapping[str, Any], data: bytes) -> dict[str, bytes]:
    """The files that follow from the checkpoint: the page, the statement, the list for sha256sum -c."""
    made = {PAGE: page(document).encode(errors="backslashreplace")}
    made[STATEMENT] = (indented(statement(document, sha256(data))) + "\n").encode(errors="backslashreplace")
    digests = {CHECKPOINT: sha256(data), **{name: sha256(content) for name, content in made.items()}}
    lines = [*document["files"], *(f"{digest}  {name}" for name, digest in digests.items())]
    made[SUMS] = ("\n".join(lines) + "\n").encode(errors="backslashreplace")
    return made


def code(value: object, limit: int = CLIPPED) -> str:
    """Foreign text, such as a test id, for a cell of a Markdown table: shown as it is, never read as Markdown."""
    text = one_line(value, limit)
    if "\\|" in text:  # a code span cannot say that in a table
        return "<code>" + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text) + "</code>"
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if text.strip(" `") != text else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|')}{pad}{fence}" if text.strip() else "(blank)"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], left_out: int = 0, where: str = "") -> str:
    """A Markdown table of cells that are safe already, with a line for what it leaves out."""
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines) + (f"\n\n{left_out} more are in {where}." if left_out > 0 else "")


def bars(title: str, unit: str, data: Mapping[str, float]) -> str:
    """A Mermaid bar chart; labels are this script's own, numbers are written as the table beside it writes them."""
    if not data or max(data.values()) <= 0:
        return ""
    labels = ", ".join(f'"{label}"' for label in data)
    values = ", ".join(map(digits, data.values()))
    lines = [PALETTE, "xychart-beta", f'    title "{title}"', f"    x-axis [{labels}]"]
    lines += [f'    y-axis "{unit}" 0 --> {digits(max(data.values()))}', f"    bar [{values}]"]
    return fenced(lines)


def pie(title: str, data: Mapping[str, int]) -> str:
    shown = {label: count for label, count in data.items() if count > 0}
    return (
        fenced([f"pie showData title {title}", *(f'    "{label}" : {count}' for label, count in shown.items())])
        if shown
        else ""
    )


def fenced(lines: Sequence[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"]) + "\n\n"


def digits(value: float) -> str:
    """A number as people and the chart's grammar read it: no exponent, at most three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def cell(value: object) -> str:
    """A value for people: numbers plain, the rest as code."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (plain := number(value)) is not None:
        return digits(plain)
    if isinstance(value, dict):
        pairs = [(code(key, 60), cell(item), isinstance(item, dict)) for key, item in list(value.items())[:SHOWN]]
        return ", ".join(f"{key} ({text})" if nested else f"{key} {text}" for key, text, nested in pairs) or "-"
    if isinstance(value, list):
        more = f" and {len(value) - SHOWN} more" if len(value) > SHOWN else ""
        return ", ".join(code(item, 80) for item in value[:SHOWN]) + more or "-"
    return code(value)


def page(document: Mapping[str, Any]) -> str:
    """The checkpoint for people: the verdict first, every chart beside its numbers."""
    return "\n\n".join(text for _, text in page_sections(document)) + "\n"


def page_sections(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("Criteria", criteria_text),
        ("Metrics", metrics_text),
        ("Coverage ladder", ladder_text),
        ("Fail-fast", failfast_text),
        ("Property pilot", properties_text),
        ("Gates and rollback triggers", gates_text),
        ("Risks", risks_text),
        ("Events", events_text),
        ("Governance", governance_text),
        ("Plan", plan_text),
        ("Evidence", files_text),
    ]
    sections = [("Verdict", headline(document))]
    return sections + [(title, f"## {title}\n\n{make(document)}") for title, make in parts]


def headline(document: Mapping[str, Any]) -> str:
    judged = judged_rows(document)
    lines = [
        f"# Foundation: {document['verdict']}",
        f"{sum(row['met'] for row in judged)} of {len(judged)} criteria hold.",
    ]
    if document["dirty"] or document["dirty_evidence"]:
        lines.append("**The files differed from the commit when this was measured**, so it cannot be published.")
    rows = [
        ("commit", document["evidence_commit"]),
        ("run", document["run_id"]),
        ("issued", document["generated_at"]),
    ]
    rows += [(row["id"].lower(), row["value"]) for row in judged if row["id"] in ("ENVIRONMENT", "LOCK")]
    lines.append(table(("", ""), [(name, cell(value)) for name, value in rows]))
    lines.append(f"To check it: `python scripts/tests/{PROG} --verify DIR`, or `sha256sum -c {SUMS}`.")
    return "\n\n".join(lines)


def judged_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    sections = ("criteria", "definition_of_done", "consistency", "gates")
    return [row for section in sections for row in document[section] if "met" in row]


def criteria_text(document: Mapping[str, Any]) -> str:
    rows = [
        (row["id"], row["criterion"], mark(row["met"]), cell(row["value"]), cell(row["limit"]))
        for row in judged_rows(document)
    ]
    return table(("id", "criterion", "met", "value", "limit"), rows)


def mark(held: bool) -> str:
    return "yes" if held else "**no**"


def metrics_text(document: Mapping[str, Any]) -> str:
    metrics = document["metrics"]
    outcomes = {name: int(number(dig(metrics, f"outcomes.{name}")) or 0) for name in OUTCOMES}
    text = pie("Tests by outcome", outcomes) + table(("outcome", "tests"), outcomes.items())
    spread = metrics["distribution"]
    text += "\n\n### How long tests take\n\n" + bars("Tests by duration", "tests", spread)
    text += table(("duration", "tests"), spread.items())
    ranks = ("p50", "p90", "p95", "p99", "max")
    shown = [digits(1000 * (number(dig(metrics, f"durations.{rank}")) or 0.0)) for rank in ranks]
    text += "\n\n" + table([f"{rank}, ms" for rank in ranks], [shown])
    slow = {str(place): 1000 * (number(row["seconds"]) or 0.0) for place, row in enumerate(metrics["slowest"], 1)}
    text += "\n\n### The slowest tests\n\n" + bars("Slowest tests, by rank", "ms", slow)
    rows = [
        (place, code(row["id"]), digits(ms))
        for (place, ms), row in zip(slow.items(), metrics["slowest"], strict=True)
    ]
    return text + table(("rank", "test", "ms"), rows, metrics["not_shown"], f"`{DURATIONS}`")


def ladder_text(document: Mapping[str, Any]) -> str:
    metrics, rows = document["metrics"], []
    chart: dict[str, float] = {}
    for metric in ("line", "branch"):
        steps = {step: dig(metrics, f"ladder.{step}.{metric}") for step in ("baseline", "target")}
        steps = {"baseline": steps["baseline"], "now": dig(metrics, f"coverage.{metric}_percent"), **steps}
        chart |= {f"{metric} {step}": rate for step, value in steps.items() if (rate := number(value)) is not None}
        rows.append((metric, *(cell(value) for value in steps.values())))
    text = bars("Coverage ladder", "percent", chart) + table(("coverage, %", "baseline", "now", "target"), rows)
    tolerance, horizon = (cell(dig(metrics, f"ladder.{key}")) for key in ("tolerance", "horizon"))
    return f"{text}\n\nTolerance {tolerance} points, horizon {horizon}."


def failfast_text(document: Mapping[str, Any]) -> str:
    means, better = (document["failfast"][key] for key in ("detection_mean_s", "improvement_percent"))
    times = {mode: means[mode] for mode in MODES if mode in means}
    rows = [(mode, digits(mean), cell(better.get(mode)), cell(IMPROVEMENT.get(mode))) for mode, mean in times.items()]
    chart = bars("Time to the verdict on a failure", "seconds", times)
    return chart + table(("mode", "mean, s", "sooner, %", "target, %"), rows)


def properties_text(document: Mapping[str, Any]) -> str:
    found = document["properties"]
    false = cell(dig(found, "false_failures.count"))
    text = f"{cell(found['runs'])} runs with seed {cell(found['seed'])}: {cell(found['mismatches'])} mismatches, "
    text += f"{false} false failures. Another seed gives other examples: {cell(found['control_shown'])}.\n\n"
    keys = ("outcomes", "examples", "mean_ms", "digest")
    rows = [(code(row["id"]), *(cell(row[key]) for key in keys)) for row in found["tests"]]
    head = ("property", "outcomes", "examples", "mean, ms", "digest")
    return text + table(head, rows, found["not_shown"], f"`{PROPERTIES}`")


def gates_text(document: Mapping[str, Any]) -> str:
    keys = ("gate", "enforcement", "verdict", "value", "limit")
    gates = [[cell(row[key]) for key in keys] for row in document["gates"] if "gate" in row]
    text = table(keys, gates[: 2 * SHOWN], len(gates) - 2 * SHOWN, f"`{VERDICTS}`")
    keys = ("trigger", "state", "value", "limit", "drills")
    return f"{text}\n\n" + table(keys, [[cell(row[key]) for key in keys] for row in document["rollback_triggers"]])


def risks_text(document: Mapping[str, Any]) -> str:
    keys = ("id", "risk", "impact", "likelihood", "mitigation")
    rows = [(*(row[key] for key in keys), cell(row["evidence"]), row["state"]) for row in document["risks"]]
    return table((*keys, "evidence", "state"), rows)


def events_text(document: Mapping[str, Any]) -> str:
    events, log, keys = document["events"], document["log"], ("count", "drills", "first", "last")
    rows = [(cell(name), *(cell(row[key]) for key in keys)) for name, row in events["seen"].items()]
    text = f"{cell(events['percent'])} % of {events['required']} required events were seen. "
    text += f"The log holds {log['events']} lines; its head is {cell(log['head'])}.\n\n"
    return text + table(("event", "seen", "drills", "first", "last"), rows)


def governance_text(document: Mapping[str, Any]) -> str:
    states = ("present", "verified", "complete")
    head = ("", "asks", "evidence", "rests on", *states)

    def shown(row: Mapping[str, Any]) -> Sequence[object]:
        more = f" and {len(row['evidence']) - 3} more" if len(row["evidence"]) > 3 else ""
        evidence = cell(row["evidence"][:3]) + more
        return (
            row["name"],
            row["asks"],
            evidence,
            ", ".join(row["criteria"]),
            *(mark(row[state]) for state in states),
        )

    frames = document["governance"].items()
    return "\n\n".join(f"### {frame.capitalize()}\n\n{table(head, map(shown, rows))}" for frame, rows in frames)


def plan_text(document: Mapping[str, Any]) -> str:
    plan = document["plan"]
    return table(("plan", "version", "SHA-256"), [(cell(plan["path"]), cell(plan["version"]), cell(plan["sha256"]))])


def files_text(document: Mapping[str, Any]) -> str:
    lines = document["files"]
    rows = [(code(path), f"`{digest}`") for digest, path in (line.split("  ", 1) for line in lines[: 10 * SHOWN])]
    return table(("file", "SHA-256"), rows, len(lines) - 10 * SHOWN, f"`{SUMS}`")


def fit(sections: Sequence[tuple[str, str]], room: int) -> str:
    """The sections within so many bytes: the later ones go first, and the last line says which."""
    kept = list(sections)
    while True:
        left = [title for title, _ in sections[len(kept) :]]
        note = f"\n\nLeft out for lack of room: {', '.join(left)}; see {PAGE}." if left else ""
        text = "\n\n".join(part for _, part in kept) + note + "\n"
        if len(text.encode(errors="backslashreplace")) <= room or not kept:
            return text if len(text.encode(errors="backslashreplace")) <= room else ""
        kept.pop()


def refusal_sections(rows: Iterable[Row], evidence: Evidence) -> list[tuple[str, str]]:
    rows = list(rows)
    own = [row for row in rows if row.missing]
    shown = [(row.id, row.criterion, gap_cell(row), f"`{row.remedy}`") for row in own]
    text = f"# Foundation: not proven\n\nRun {code(evidence.run_id, 80)}. {waiting_text(rows)}"
    return [("Verdict", text), ("What is missing", table(("id", "criterion", "missing", "remedy"), shown))]


def gap_cell(row: Row) -> str:
    more = f" and {len(row.missing) - SHOWN} more" if len(row.missing) > SHOWN else ""
    return "<br>".join(code(text, 300) for text in row.missing[:SHOWN]) + more


def waiting_text(rows: Iterable[Row]) -> str:
    waiting = [row.id for row in rows if row.waits_for and not row.missing]
    return f"{', '.join(waiting)} wait for the others." if waiting else ""


def error_lines(rows: Sequence[Row]) -> list[str]:
    """One workflow command per unmet row, within what a step may make; the last says how many were left out."""
    found = [row for row in rows if row.missing]
    room = len(found) if len(found) <= ANNOTATIONS else ANNOTATIONS - 1
    lines = [f"::error title={PROG}::{row.id}: {command_text('; '.join(row.missing))}" for row in found[:room]]
    if len(found) > room:
        lines.append(f"::error title={PROG}::{len(found) - room} more criteria are not met; see the step summary")
    return lines


def command_text(text: str) -> str:
    return harmless(text, 1000).replace("%", "%25")


def harmless(value: object, limit: int = 300) -> str:
    """Text for the middle of a line of a workflow's log: in the old form a command may begin there too."""
    return one_line(value, limit).replace("##[", "#_[")


def find_files(place: Path) -> list[str]:
    """The evidence in a folder, by name: what else lies there is not looked at."""
    names = [name for name in (*MANDATORY, *OPTIONAL) if os.path.lexists(place / name)]
    deep = [*place.glob(f"{SNAPSHOT}/**/*"), *place.glob("incidents/*/incident.json")]
    names += [path.relative_to(place).as_posix() for path in deep if path.is_symlink() or not path.is_dir()]
    return sorted(names)


def load(place: Path, run_id: str, log_bytes: int | None = None, events: int | None = None) -> Evidence:
    """Read the evidence in a folder; what cannot be used is a problem of that file, never an error.

    `log_bytes` and `events`: only so much of the log, which may have grown since.
    """
    documents, data, digests, problems = {}, {}, {}, {}
    for name in find_files(place):
        try:
            content = read_file(place, name)
            if name == LOG_NAME:
                content = content[:log_bytes]
            digests[name] = sha256(content)
            if name.endswith(".json") and not name.startswith(f"{SNAPSHOT}/"):
                documents[name] = read_artifact(place / name, PurePosixPath(name).name)
                check_shape(documents[name])
            elif name != LOG_NAME:
                data[name] = content
            else:
                log_bytes = len(content)
        except EvidenceError as error:
            documents.pop(name, None)
            problems[name] = str(error).removeprefix(f"{place / name}: ").replace(f"{place}{os.sep}", "")
    problems |= {
        name: "expected a file, got none" for name in MANDATORY if name not in digests and name not in problems
    }
    if f"{SNAPSHOT}/{LADDER}" in digests and LADDER not in digests:
        del problems[LADDER]
    log = read_log(place / LOG_NAME) if LOG_NAME in digests else LogReading([], GENESIS, [])
    if events is not None and events < len(log.events):
        log = LogReading(log.events[:events], log.events[events]["context"]["prev"], log.problems)
    return Evidence(run_id, documents, data, digests, problems, log, log_bytes or 0)


def with_new_log(place: Path, evidence: Evidence) -> Evidence:
    """The evidence after another line was logged."""
    content, log = read_file(place, LOG_NAME), read_log(place / LOG_NAME)
    if sha256(content.removesuffix(b"\n").rpartition(b"\n")[2]) != log.head:
        raise EvidenceError(f"{place / LOG_NAME}: grew while it was read; wait for the other script and run again")
    digests = {**evidence.digests, LOG_NAME: sha256(content)}
    return replace(evidence, digests=digests, log=log, log_bytes=len(content))


def read_file(place: Path, name: str) -> bytes:
    """The bytes of a regular file below `place`; no link, device or pipe is followed or opened."""
    path = place / name
    if not is_listing(f"{GENESIS}  {name}"):
        raise EvidenceError(f"{path}: expected a name that sha256sum can list, got another; rename it")
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or not path.resolve().is_relative_to(place.resolve()):
            raise EvidenceError(f"{path}: expected a regular file, got another kind; remove it")
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None


def check_shape(document: Mapping[str, Any]) -> None:
    """The envelope's texts are texts, so that they can be compared."""
    for key in ("run_id", "generated_at"):
        if not isinstance(document.get(key), str):
            raise EvidenceError(f"{key}: expected text, got {one_line(document.get(key), 60)}")


@dataclass(frozen=True)
class Mismatch:
    """One way in which a checkpoint does not hold."""

    kind: str
    file: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: expected {self.expected}, got {self.actual}"


def verify(place: Path, live: bool) -> list[Mismatch]:
    """Everything that does not hold of the checkpoint in a folder. `live`: others may write there beside it."""
    path = place / CHECKPOINT
    if not any(os.path.lexists(place / name) for name in OWN):
        raise EvidenceError(f"{place}: expected {CHECKPOINT}, got none; emit it first, or pass another DIR")
    if not path.is_file() or path.is_symlink():
        return [Mismatch("checkpoint", CHECKPOINT, "a file", "another kind" if os.path.lexists(path) else "none")]
    data = read_file(place, CHECKPOINT)
    try:
        document = read_artifact(path)
        check_document(document)
    except EvidenceError as error:
        said = str(error).removeprefix(f"{path}: ")
        stated = re.match(r"expected (sha256 \w+), got (\w+)", said)
        return [Mismatch("checkpoint", CHECKPOINT, *(stated.groups() if stated else ("a whole checkpoint", said)))]
    found = layout_mismatches(document, data) + file_mismatches(place, document, live)
    found += log_mismatches(place, document)
    if not any(mismatch.kind in ("file", "log") for mismatch in found):  # else what follows from them differs as well
        found += section_mismatches(place, document)
    return found + derived_mismatches(place, document, data)


@lru_cache(maxsize=1)
def empty_body() -> dict[str, Any]:
    """The sections of a checkpoint that rests on nothing: their names and types."""
    return compose(Evidence(""))


def check_document(document: Mapping[str, Any]) -> None:
    """Whether this has the shape of a checkpoint; what its sections say is recomputed later."""
    wrong = [
        name
        for name, value in empty_body().items()
        if type(document.get(name)) is not type(value) and value is not None
    ]
    wrong += [name for name in ("run_id", "generated_at") if not isinstance(document.get(name), str)]
    lines = document.get("files")
    if wrong or not isinstance(lines, list) or not all(isinstance(line, str) and is_listing(line) for line in lines):
        raise EvidenceError(f"expected every section, got a wrong or missing {(wrong or ['files'])[0]}")
    if not all(isinstance(dig(document, f"log.{key}"), int) for key in ("events", "bytes")):
        raise EvidenceError("log: expected counts of events and bytes, got others")


def is_listing(line: str) -> bool:
    """A line of sha256sum that names a file below its folder."""
    hit = re.fullmatch(r"[0-9a-f]{64}  ([^\\\r\n]+)", line)
    return bool(hit) and not PurePosixPath(hit[1]).is_absolute() and ".." not in PurePosixPath(hit[1]).parts  # type: ignore[index]


def layout_mismatches(document: Mapping[str, Any], data: bytes) -> list[Mismatch]:
    written = (indented(document) + "\n").encode(errors="backslashreplace")
    if data == written:
        return []
    return [Mismatch("layout", CHECKPOINT, f"sha256 {sha256(written)} as it was written", sha256(data))]


def file_mismatches(place: Path, document: Mapping[str, Any], live: bool) -> list[Mismatch]:
    listed = {path: digest for digest, path in (line.split("  ", 1) for line in document["files"])}
    found = []
    for path, digest in listed.items():
        try:
            content = read_file(place, path)
        except EvidenceError as error:
            said = str(error).removeprefix(f"{place / path}: ") if os.path.lexists(place / path) else "no file"
            found.append(Mismatch("file", path, f"sha256 {digest}", said))
            continue
        actual = sha256(content[: document["log"]["bytes"]] if live and path == LOG_NAME else content)
        if actual != digest:
            found.append(Mismatch("file", path, f"sha256 {digest}", actual))
    strangers = set(find_files(place) if live else all_files(place)) - {*listed, *OWN}
    return found + [Mismatch("file", path, "no file", "one that is not listed") for path in sorted(strangers)]


def all_files(place: Path) -> list[str]:
    """Everything below a folder but the folders themselves; links are not followed."""
    return [p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_symlink() or not p.is_dir()]


def log_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """The chain is unbroken, and the recorded head is the hash of the recorded number of lines."""
    try:
        reading = read_log(place / LOG_NAME) if (place / LOG_NAME).is_file() else LogReading([], GENESIS, [])
    except EvidenceError as error:
        return [Mismatch("log", LOG_NAME, "a readable log", str(error).removeprefix(f"{place / LOG_NAME}: "))]
    found = [Mismatch("log", LOG_NAME, "an unbroken chain", problem) for problem in reading.problems[:1]]
    count, lines = dig(document, "log.events"), len(reading.events)
    if lines < count:
        return [*found, Mismatch("log", LOG_NAME, f"{count} events", str(lines))]
    head = reading.head if lines == count else reading.events[count]["context"]["prev"]
    if head != dig(document, "log.head"):
        found.append(Mismatch("log", LOG_NAME, f"head {dig(document, 'log.head')} after {count} events", str(head)))
    return found


def section_mismatches(place: Path, document: Mapping[str, Any]) -> list[Mismatch]:
    """Each section against the one computed from the evidence, and every criterion again."""
    evidence = load(place, str(document["run_id"]), document["log"]["bytes"], document["log"]["events"])
    computed = compose(evidence)
    found = [difference(f"{CHECKPOINT} {name}", value, document.get(name)) for name, value in computed.items()]
    found.append(difference(f"{CHECKPOINT} commit", computed["evidence_commit"], document.get("commit")))
    emitted = max((event["timestamp"] for event in evidence.events("foundation_checkpoint_emitted")), default="")
    if document["generated_at"] < emitted:
        found.append(Mismatch("section", f"{CHECKPOINT} generated_at", f"after {emitted}", document["generated_at"]))
    strange = sorted(document.keys() - computed.keys() - ENVELOPE)
    found += [Mismatch("section", f"{CHECKPOINT} {one_line(name, 60)}", "no such section", "one") for name in strange]
    unmet = [row for row in (*judged_rows(computed), *computed["risks"]) if row["missing"]]
    found += [Mismatch("criterion", row["id"], "met", "; ".join(row["missing"])) for row in unmet]
    return [mismatch for mismatch in found if mismatch]


def difference(where: str, expected: Any, actual: Any) -> Mismatch | None:
    """The innermost first difference between two values, or None."""
    pairs: list[tuple[str, Any, Any]] | None = None
    if isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        pairs = [(key, value, actual[key]) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = [(label(value, place), value, actual[place]) for place, value in enumerate(expected)]
    if pairs is not None:
        found = (difference(f"{where}.{key}", *values) for key, *values in pairs)
        return next((mismatch for mismatch in found if mismatch), None)
    if canonical(expected) == canonical(actual):
        return None
    return Mismatch("section", where, one_line(json.dumps(expected), 200), one_line(json.dumps(actual), 200))


def label(row: object, place: int) -> str:
    return str(dig(row, "id") or dig(row, "name") or dig(row, "gate") or dig(row, "trigger") or place)


def derived_mismatches(place: Path, document: Mapping[str, Any], data: bytes) -> list[Mismatch]:
    found = []
    try:
        made = derived(document, data)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        return [Mismatch("derived", CHECKPOINT, "sections to show", f"{type(error).__name__}: {one_line(error, 80)}")]
    for name, expected in made.items():
        try:
            content = read_file(place, name)
        except EvidenceError as error:
            found.append(
                Mismatch("derived", name, f"sha256 {sha256(expected)}", str(error).removeprefix(f"{place / name}: "))
            )
            continue
        if content != expected:
            found.append(Mismatch("derived", name, f"sha256 {sha256(expected)}", sha256(content)))
    return found


def first_of_each(found: Iterable[Mismatch]) -> list[tuple[Mismatch, int]]:
    """The first mismatch of each kind, and how many more there are of it."""
    kinds: dict[str, list[Mismatch]] = {}
    for mismatch in found:
        kinds.setdefault(mismatch.kind, []).append(mismatch)
    return [(mismatches[0], len(mismatches) - 1) for mismatches in kinds.values()]


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    root: Path
    artifacts: Path
    quiet: bool
    publish: bool


def take_snapshot(run: Run) -> None:
    """Copy the project's own files that the criteria rest on beside the evidence, so that it is whole by itself."""
    shutil.rmtree(run.artifacts / SNAPSHOT, ignore_errors=True)
    platform = HERE.parents[1]
    found = [(path, path.relative_to(run.root)) for form in TAKEN for path in sorted(run.root.glob(form))]
    found += [(platform / name, Path(name)) for name in (PLAN, CHANGELOG)]
    for path, name in found:
        if not path.is_file():
            continue
        try:
            target = run.artifacts / SNAPSHOT / name
            target.parent.mkdir(parents=True, exist_ok=True)
            run.write_bytes(f"{SNAPSHOT}/{name.as_posix()}", path.read_bytes())
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be copied: {error.strerror}; check its permissions") from None


def remove_old(artifacts: Path) -> None:
    """Half a run must not look ready."""
    for name in OWN:
        try:
            (artifacts / name).unlink(missing_ok=True)
        except OSError as error:
            raise EvidenceError(f"{artifacts / name}: cannot be removed: {error.strerror}; remove it") from None


def emit(run: Run, settings: Settings) -> int:
    """Judge; refuse with what is missing, or log and write the checkpoint. Returns 0 or 1."""
    remove_old(run.artifacts)
    take_snapshot(run)
    evidence = load(run.artifacts, run.id)
    rows = with_head(judge(evidence, emitting=True), run, evidence)
    if not all(row.met for row in rows.values()):
        return refuse(run, evidence, list(rows.values()), settings)
    others = [f"{digest}  {name}" for name, digest in sorted(evidence.digests.items()) if name != LOG_NAME]
    facts = {"criteria": len(rows), "commit": run.commit[0], "evidence": sha256("\n".join(others).encode())}
    run.log.info("foundation_checkpoint_emitted", **facts)
    evidence = with_new_log(run.artifacts, evidence)
    body = compose(evidence)
    if body["verdict"] != "proven":
        return refuse(run, evidence, list(judge(evidence).values()), settings)
    document = write_checkpoint(run, body)
    summarize(page_sections(document))
    if not settings.quiet:
        print(terminal_table(document))
        print(f"{PROG}: proven: {run.artifacts / CHECKPOINT}")
    return publish(run, evidence, document, settings.quiet) if settings.publish else 0


def with_head(rows: dict[str, Row], run: Run, evidence: Evidence) -> dict[str, Row]:
    """The one thing that only the project itself can say: its commit is still the evidence's."""
    commit, expected = run.commit[0], evidence.document(BASELINE).get("commit")
    if not expected or commit == expected:
        return rows
    gap = f"{BASELINE}: of commit {short(expected)}, the project is at {short(commit)}"
    return rows | {"COMMIT": replace(rows["COMMIT"], missing=(gap, *rows["COMMIT"].missing))}


def refuse(run: Run, evidence: Evidence, rows: Sequence[Row], settings: Settings) -> int:
    """Say what is missing, in the log, on the terminal, in the workflow's summary and annotations. Returns 1."""
    if lacking := missing_events(evidence):
        run.log.error("logging_deficit", missing=lacking)
    unmet = [row.id for row in rows if row.missing]
    run.log.warning("risk_trigger", trigger="checkpoint_refused", unmet=unmet)
    summarize(refusal_sections(rows, evidence))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(*error_lines(rows), sep="\n", file=sys.stderr)
    if not settings.quiet:
        print(refusal_table(rows))
    print(f"{PROG}: not proven: {', '.join(unmet)}; mend it, then {PIPELINE}", file=sys.stderr)
    return 1


def refusal_table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row.missing:
            lines.append(f"{row.id:<12} {row.criterion}")
            lines += [f"{'':<12} - {harmless(text)}" for text in row.missing[:SHOWN]]
            lines += [f"{'':<12}   and {len(row.missing) - SHOWN} more"] * (len(row.missing) > SHOWN)
            lines.append(f"{'':<12}   mend: {row.remedy}")
    return "\n".join([*lines, waiting_text(rows)]).rstrip()


def terminal_table(document: Mapping[str, Any]) -> str:
    rows = judged_rows(document)
    return "\n".join(f"{row['id']:<12} {'yes' if row['met'] else 'no':<4} {row['criterion']}" for row in rows)


def write_checkpoint(run: Run, body: Mapping[str, Any]) -> dict[str, Any]:
    """All four files are made aside and put in place, the checkpoint itself last."""
    with staging(run.artifacts) as place:
        aside = copy.copy(run)
        aside.artifacts = place
        document = aside.write(CHECKPOINT, CHECKPOINT_VERSION, body)
        if masked := [name for name, value in body.items() if document[name] != value]:
            cause = "it holds the value of a secret variable of this process"
            raise EvidenceError(f"{CHECKPOINT}: {masked[0]} could not be computed again: {cause}; unset it")
        for name, content in derived(document, (place / CHECKPOINT).read_bytes()).items():
            aside.write_bytes(name, content)
        for name in (PAGE, STATEMENT, SUMS, CHECKPOINT):
            (place / name).replace(run.artifacts / name)
    return document


@contextmanager
def staging(artifacts: Path) -> Iterator[Path]:
    """A private folder beside what it will become; nothing of it stays."""
    place = artifacts / f".foundation.{os.getpid()}"
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
    except OSError as error:
        raise EvidenceError(
            f"{error.filename or place}: cannot be written: {error.strerror}; make room for it"
        ) from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def summarize(sections: Sequence[tuple[str, str]]) -> None:
    """Append to the workflow step's summary as much as it takes."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("ab") as stream:
            stream.write(fit(sections, SUMMARY_LIMIT - stream.tell()).encode(errors="backslashreplace"))
    except OSError as error:
        print(f"{PROG}: GITHUB_STEP_SUMMARY: cannot be written: {error.strerror}", file=sys.stderr)


def publish(run: Run, evidence: Evidence, document: Mapping[str, Any], quiet: bool) -> int:
    """Copy checkpoint and evidence to artifacts/foundation, built beside and verified first. Returns 0 or 1."""
    dirty = [*document["dirty_evidence"], *([CHECKPOINT] if document["dirty"] else [])]
    if dirty:
        return unpublished(
            f"{', '.join(dirty)}: measured on files that differ from the commit; commit them, then {PIPELINE}"
        )
    with staging(run.artifacts) as place:
        for name in (*evidence.digests, *OWN):
            content = read_file(run.artifacts, name)
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place / name, content[: evidence.log_bytes] if name == LOG_NAME else content)
        if leak := find_leak(place, machine_paths(run)):
            return unpublished(leak)
        if found := verify(place, live=False):
            return unpublished(f"{found[0]}; emit it again")
        swap(place, run.artifacts / "foundation")
    if not quiet:
        print(f"{PROG}: published: {run.artifacts / 'foundation'}; commit it")
    return 0


def unpublished(reason: str) -> int:
    complain(PROG, f"not published: {reason}")
    return 1


def machine_paths(run: Run) -> list[str]:
    """Absolute paths that say where this machine keeps things, longest first."""
    import tempfile

    mine = [run.root, run.artifacts, HERE.parents[1], Path.cwd(), Path.home()]
    places = [*mine, *map(Path, (sys.prefix, sys.base_prefix, tempfile.gettempdir()))]
    texts = {str(form) for place in places for form in (place, place.resolve()) if form != Path(form.anchor)}
    return sorted(texts, key=lambda text: (-len(text), text))


def find_leak(place: Path, paths: Iterable[str]) -> str | None:
    """The first published file that names a path of this machine, with the line."""
    escaped = [re.escape(form) for path in paths for form in {path, json.dumps(path)[1:-1]}]
    leak = re.compile(rf"(?<![\w.<])(?:{'|'.join(escaped)})(?![\w.-])".encode())
    for name in sorted(all_files(place)):
        content = read_file(place, name)
        if hit := leak.search(content):
            line = content.count(b"\n", 0, hit.start()) + 1
            return f"{name}: line {line}: expected no path of this machine, got {hit[0].decode()!r}; see PLAN.md"
    return None


def swap(fresh: Path, place: Path) -> None:
    """Put the new folder in the old one's place; the old one goes last."""
    old = place.with_name(f".foundation.old.{os.getpid()}")
    if place.exists():
        place.replace(old)
    try:
        fresh.replace(place)
    except OSError:
        if old.exists():
            old.replace(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def report_verification(place: Path, artifacts: Path, quiet: bool) -> int:
    """Verify and say what does not hold. Returns 0 or 1."""
    live = place.resolve() == artifacts.resolve()
    found = verify(place, live)
    for mismatch, more in first_of_each(found):
        print(
            f"{PROG}: {harmless(mismatch, 1000)}{f' (and {more} more of this kind)' if more else ''}", file=sys.stderr
        )
    if not found and not quiet:
        document = read_artifact(place / CHECKPOINT)
        counts = f"{len(document['files'])} files, {document['log']['events']} events"
        print(f"{PROG}: holds: {counts}, commit {document['commit']}")
    return 1 if found else 0


def judged_run(artifacts: Path) -> str | None:
    """Without TPR_RUN_ID: the run that the baseline is of, so that a checkpoint by hand joins that chain."""
    try:
        return str(read_artifact(artifacts / BASELINE)["run_id"])
    except (EvidenceError, KeyError):
        return None


def open_run(settings: Settings) -> Run:
    joined = None if os.environ.get("TPR_RUN_ID") else judged_run(settings.artifacts)
    if joined is None:
        return Run("emit_checkpoint", settings.root, settings.artifacts)
    os.environ["TPR_RUN_ID"] = joined
    try:
        return Run("emit_checkpoint", settings.root, settings.artifacts)
    finally:
        del os.environ["TPR_RUN_ID"]


def parser() -> Arguments:
    arguments = Arguments(str(__doc__), "emit_checkpoint")
    arguments.add_argument(
        "--publish", action="store_true", help="copy the checkpoint with its evidence to artifacts/foundation"
    )
    arguments.add_argument(
        "--verify", nargs="?", const=False, type=folder, metavar="DIR", help="recompute a checkpoint; writes nothing"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    artifacts = (args.artifacts or args.root / "artifacts").absolute()
    settings = Settings(args.root, artifacts, args.quiet, args.publish)
    try:
        if args.verify is not None:
            committed = artifacts / "foundation"
            place = args.verify or (committed if committed.is_dir() else artifacts)
            return report_verification(place, artifacts, args.quiet)
        return emit(open_run(settings), settings)
    except EvidenceError as error:
        return complain(PROG, str(error))
    except KeyboardInterrupt:
        return complain(PROG, "interrupted; run it again")


if __name__ == "__main__":
    raise SystemExit(main())
