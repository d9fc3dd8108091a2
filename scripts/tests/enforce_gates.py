"""May this change go in, and must fail-fast be rolled back? Judges the evidence of a run by six gates.

    python scripts/tests/enforce_gates.py [--only GATE]                 judge
    python scripts/tests/enforce_gates.py --drill                       prove that each trigger fires
    python scripts/tests/enforce_gates.py --replay DIR                  how often would they have fired?
    python scripts/tests/enforce_gates.py --resolve ID --reason TEXT    close an incident

Gates: environment, coverage, events and integrity are hard; failfast and properties advise. Each says pass, fail
or insufficient data. Triggers: a coverage drop (confirmed by a second capture), the rate of flaky tests, the rate
of false property failures. One that fires opens an incident and forces fail-fast off until it is resolved.

Reads:  the artifacts of the run, coverage-ladder.yaml, reference.metrics.json (artifacts, or artifacts/foundation
        of the root); TPR_RUN_ID, TPR_SEED, TPR_FLAKE_RATE_THRESHOLD, the two improvement targets, GITHUB_ENV.
Writes: gate.verdicts.json; when a trigger fires incidents/<run id>/ and failfast.forced_off.json, and
        TPR_FAILFAST_MODE=off into GITHUB_ENV; with --replay gate.replay.json.
Exits:  0 every hard gate passes (--drill: every trigger fired); 1 one fails or has too little data;
        2 it could not be told (bad usage, a file that is unreadable, corrupt or refused, an interruption).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from types import NoneType

from events import (
    LOG_NAME,
    TAXONOMY,
    Arguments,
    EvidenceError,
    Run,
    complain,
    folder,
    one_line,
    read_artifact,
    read_log,
    write_atomic,
)

try:
    from fcntl import LOCK_EX, flock
except ImportError:  # Windows: one gate at a time
    LOCK_EX, flock = 2, lambda *_: None  # type: ignore[misc]

TYPE_CHECKING = False  # typing would cost --help a tenth of its time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from fractions import Fraction
    from typing import Any

    from events import LogReading

VERDICTS, VERDICTS_VERSION = "gate.verdicts.json", "1.0"  # 1.0 first
REPLAY, REPLAY_VERSION = "gate.replay.json", "1.0"  # 1.0 first
INCIDENT, INCIDENT_VERSION = "incident.json", "1.0"  # 1.0 first
FORCED_OFF, FORCED_OFF_VERSION = "failfast.forced_off.json", "1.0"  # 1.0 first; pytest's side and the capture obey it

HERE = Path(__file__).resolve().parent
PASS, FAIL, UNKNOWN = "pass", "fail", "insufficient data"
FIRED, QUIET, UNCONFIRMED = "fired", "quiet", "not confirmed"
UNREADABLE = "not readable"


GATES = {  # gate: how hard it is, what follows where it does not pass
    "environment": ("hard", "halt before the tests; the failure file says why"),
    "coverage": ("hard", "fail the job; evaluate the rollback"),
    "failfast": ("advisory", "an item for the optimisation backlog"),
    "properties": ("advisory", "audit the seed; run the named tests alone"),
    "events": ("hard", "log logging_deficit; block the checkpoint"),
    "integrity": ("hard", "stop the release; produce the evidence anew and look into it"),
}
TRIGGERS = {  # what may roll back: the artifact it rests on
    "coverage": "baseline.metrics.json",
    "flakes": "flake.report.json",
    "properties": "property.results.json",
}
METRICS = {"line": "statements", "branch": "branches"}  # the ladder's name: the capture's
EXPECTED = TAXONOMY - {"logging_deficit", "foundation_checkpoint_emitted"}  # the checkpoint comes after the gates
ENDS = {  # every start has exactly one of these ends
    "metrics_capture_start": ("metrics_capture_complete",),
    "environment_validation_start": ("environment_validation_ok", "environment_validation_fail"),
    "property_test_start": ("property_test_complete",),
}
EMITTERS = {  # an event's first word: what logs it
    "metrics": "collect_metrics.py",
    "flake": "collect_metrics.py",
    "coverage": "collect_metrics.py",
    "environment": "validate_env.py, then validate_env.py --drill",
    "failfast": "benchmark_failfast.py",
    "early": "benchmark_failfast.py",
    "property": "aggregate_properties.py",
    "risk": "enforce_gates.py --drill",
}
ARTIFACTS = (  # what carries its own digest
    "baseline.metrics.json durations.json env.signature.json env.validation.failure.json failfast.forced_off.json "
    "failfast.summary.json flake.report.json foundation.checkpoint.json gate.replay.json gate.verdicts.json "
    "markers.usage.json property.results.json reference.metrics.json test.map.json"
).split()
MANDATORY = ("baseline.metrics.json", "baseline.metrics.hash")
ENVELOPE = frozenset("artifact schema_version run_id generated_at commit dirty sha256".split())
REPORT_TOTALS = ("lines-valid", "lines-covered", "branches-valid", "branches-covered")
PRODUCERS = {  # what is missing: what makes it
    "baseline.metrics.json": "collect_metrics.py",
    "coverage-ladder.yaml": "collect_metrics.py",
    "failfast.summary.json": "benchmark_failfast.py",
    "flake.report.json": "collect_metrics.py",
    "property.results.json": "aggregate_properties.py",
}
TARGETS = (  # mode, its key, percent
    ("soft", "TPR_MAX_FAIL_FAST_IMPROVEMENT_TARGET", "40"),
    ("hard", "TPR_HARD_FAIL_FAST_IMPROVEMENT_TARGET", "60"),
)
DEFAULT_SEED = "12345"
REPLAYED = {"coverage": "0 0.5 1 2 5", "flakes": "1 2 5 10", "properties": "0.1 0.5 1 2"}  # limits to try
PROPERTY_RUNS = 30
PROPERTY_LIMIT = "0.5"  # percent of false failures
FLAKE_RUNS, FLAKE_TESTS = 10, 30  # fewer say nothing: bench_gates.py draws the operating curve
Z_SQUARED = "3.8416"  # 1.96 squared: 95 % of the normal distribution, both sides
LARGEST_COUNT = 8_000_000  # below it a percentage's float gives its two counts' quotient back exactly
LADDER_SIZE = 64 * 1024
ANNOTATIONS = 10  # GitHub shows no more of a step
NAMED = 5  # files, tests or functions named in a line of evidence
LOSSES_KEPT = 100
FUNCTIONS_KEPT = 10
SCRIPTS = "python scripts/tests"


@dataclass(frozen=True)
class Verdict:
    """What a gate says, in words and numbers that do not contradict each other."""

    gate: str
    enforcement: str
    verdict: str
    value: str
    limit: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    response: str = ""


def ruling(
    gate: str, verdict: str, value: str, limit: str, evidence: Iterable[str] = (), *, remedy: str = ""
) -> Verdict:
    """A verdict with its row of the policy; what passes needs no remedy and no response."""
    (enforcement, response), passed = GATES[gate], verdict == PASS
    after = ("", "") if passed else (remedy, response)
    return Verdict(gate, enforcement, verdict, value, limit, tuple(evidence), *after)


def exact(numerator: str | float, denominator: int = 1) -> Fraction:
    """A number as it is, never rounded: a text as its decimal digits say, a quotient as its two counts."""
    from fractions import Fraction  # imports decimal; --help should not wait

    return Fraction(numerator) / denominator


def decimal(value: Fraction, digits: int) -> str:
    scaled = round(value * 10**digits)
    whole, part = divmod(abs(scaled), 10**digits)
    return f"{'-' * (scaled < 0)}{whole}.{part:0{digits}d}"


def places(value: Fraction) -> int:
    """How many decimal places it takes to write a number exactly; 0 if no twenty do."""
    return next((digits for digits in range(20) if (value * 10**digits).denominator == 1), 0)


def apart(value: Fraction, limit: Fraction) -> tuple[str, str]:
    """Both numbers with the fewest digits, at least two, that show which of them is larger."""
    digits = max(2, places(limit))
    while (round(value, digits) > round(limit, digits), round(value, digits) < round(limit, digits)) != (
        value > limit,
        value < limit,
    ):
        digits += 1
    return decimal(value, digits), decimal(limit, digits)


def named(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = len(items) - NAMED
    return ", ".join(map(one_line, items[:NAMED])) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Ladder:
    """The committed promise about coverage: percent per metric, points, days."""

    baseline: Mapping[str, Fraction]
    target: Mapping[str, Fraction]
    tolerance: Fraction
    recorded: date
    horizon: date
    reason: str | None = None


@dataclass(frozen=True)
class Scalar:
    """One value of a ladder file as it stands there."""

    key: str
    text: str
    plain: bool  # not quoted, so it may be a number, a date or null
    line: int


class LadderError(Exception):
    """What is wrong with a ladder file, and in which line."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")


def read_ladder(data: bytes, name: str) -> Ladder:
    """The ladder in a file's bytes; whatever is not exactly a ladder is refused with its key and line."""
    try:
        if len(data) > LADDER_SIZE:
            raise LadderError(1, f"expected at most {LADDER_SIZE} bytes, got {len(data)}")
        return ladder_of({scalar.key: scalar for scalar in ladder_scalars(ladder_text(data))})
    except LadderError as error:
        remedy = f"mend it, or record it anew: {SCRIPTS}/collect_metrics.py --rebaseline --reason TEXT"
        raise EvidenceError(f"{name}: {error}; {remedy}") from None


def ladder_text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LadderError(data.count(b"\n", 0, error.start) + 1, "expected UTF-8, got other bytes") from None


def ladder_scalars(text: str) -> Iterator[Scalar]:
    import yaml  # costs twice a bare interpreter's start; most gates do not need it

    try:
        refuse_extras(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise LadderError(line, f"expected text, got the character {error.character:#x}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise LadderError(mark.line + 1 if mark else 1, f"expected YAML: {one_line(error.problem, 100)}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise LadderError(1, f"expected YAML: {one_line(error, 100)}") from None
    yield from flatten(root, "", {})


def refuse_extras(text: str) -> None:
    """What YAML allows and a promise does not need: values from somewhere else, and nesting that costs time."""
    import yaml

    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        line, kind = token.start_mark.line + 1, type(token).__name__.removesuffix("Token")
        depth += kind.endswith("Start") - kind.endswith("End")
        if kind in ("Anchor", "Alias", "Tag", "Directive"):
            raise LadderError(line, f"expected plain values, got YAML's {kind.lower()}")
        if depth > 4:  # one of them is the stream
            raise LadderError(line, "expected plain values, got deeper nesting")


def flatten(node: Any, prefix: str, seen: dict[str, int]) -> Iterator[Scalar]:
    """The values of a mapping node under their dotted keys; `seen` says in which line each key stood first."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        where = prefix.rstrip(".") or "the file"
        raise LadderError(node.start_mark.line + 1 if node else 1, f"{where}: expected keys with values")
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        key = prefix + (key_node.value if isinstance(key_node, yaml.ScalarNode) else "[not a word]")
        if key not in LADDER and key not in SECTIONS:
            raise LadderError(line, f"{one_line(key, 60)}: unknown key; known are {', '.join(LADDER)}")
        if key in seen:
            raise LadderError(line, f"{key}: given twice, first in line {seen[key]}")
        seen[key] = line
        if key in SECTIONS:
            yield from flatten(value, f"{key}.", seen)
        elif isinstance(value, yaml.ScalarNode):
            yield Scalar(key, value.value, value.style is None, value.start_mark.line + 1)
        else:
            raise LadderError(value.start_mark.line + 1, f"{key}: expected one value")


def ladder_of(scalars: Mapping[str, Scalar]) -> Ladder:
    values: dict[str, Any] = {}
    for key, (convert, needed) in LADDER.items():
        if key in scalars:
            values[key] = convert(scalars[key])
        elif needed:
            raise LadderError(1, f"{key}: missing")
    baseline, target = (
        {metric: values[f"{part}.{metric}"] for metric in METRICS if values[f"{part}.{metric}"] is not None}
        for part in SECTIONS
    )
    day = values["baseline.recorded"]
    ladder = Ladder(baseline, target, values["tolerance"], day, values["horizon"], values.get("reason"))
    if 1 < ladder.tolerance >= ladder.baseline["line"]:
        tolerance = scalars["tolerance"]
        text = f"tolerance: expected less than baseline.line, got {tolerance.text}: a drop could never fail"
        raise LadderError(tolerance.line, text)
    return ladder


def number_of(scalar: Scalar) -> Fraction:
    if scalar.plain and re.fullmatch(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,2})?", scalar.text):
        value = exact(scalar.text)
        if value <= 100:
            return value
    raise expected(scalar, "a number from 0 to 100")


def percent_of(scalar: Scalar) -> Fraction:
    """A percentage. One that was recorded from counts is a quotient printed as a float: it is that quotient again."""
    return number_of(scalar).limit_denominator(LARGEST_COUNT)


def percent_or_none(scalar: Scalar) -> Fraction | None:
    return None if is_null(scalar) else percent_of(scalar)


def day_of(scalar: Scalar) -> date:
    with suppress(ValueError):
        if re.fullmatch(r"\d{4}-\d\d-\d\d", scalar.text, re.ASCII):
            return date.fromisoformat(scalar.text)
    raise expected(scalar, "a day like 2026-03-31")


def commit_of(scalar: Scalar) -> str | None:
    if is_null(scalar) or re.fullmatch("[0-9a-f]{7,64}", scalar.text):
        return None if is_null(scalar) else scalar.text
    raise expected(scalar, "a commit id or null")


def version_of(scalar: Scalar) -> str:
    if scalar.text != "1.0":
        raise expected(scalar, "1.0")
    return scalar.text


def text_of(scalar: Scalar) -> str:
    if not scalar.text.strip() or is_null(scalar):
        raise expected(scalar, "words")
    return scalar.text


def is_null(scalar: Scalar) -> bool:
    return scalar.plain and scalar.text in ("null", "Null", "NULL", "~", "")


def expected(scalar: Scalar, what: str) -> LadderError:
    got = one_line(scalar.text if scalar.plain else repr(scalar.text), 60) or "nothing"
    return LadderError(scalar.line, f"{scalar.key}: expected {what}, got {got}")


SECTIONS = ("baseline", "target")
LADDER: dict[str, tuple[Callable[[Scalar], object], bool]] = {  # key: its reader, whether it must be there
    "schema_version": (version_of, True),
    "baseline.line": (percent_of, True),
    "baseline.branch": (percent_or_none, True),
    "baseline.commit": (commit_of, False),
    "baseline.recorded": (day_of, True),
    "target.line": (percent_of, True),
    "target.branch": (percent_or_none, True),
    "tolerance": (number_of, True),
    "horizon": (day_of, True),
    "reason": (text_of, False),
}


@dataclass(frozen=True)
class Counts:
    """Statements or branches: how many there are, how many are covered."""

    valid: int
    covered: int

    @property
    def missing(self) -> int:
        return self.valid - self.covered

    @property
    def percent(self) -> Fraction:
        return exact(100 * self.covered, self.valid)

    def __str__(self) -> str:
        return f"{self.covered} of {self.valid}"


NOTHING = Counts(0, 0)


@dataclass(frozen=True)
class Capture:
    """What a capture of the suite says about coverage, and what it is comparable with."""

    digest: str
    run_id: str
    at: str
    commit: str | None
    partial: str | None
    arguments: tuple[str, ...]
    source: tuple[str, ...]
    skipped: tuple[str, ...]
    shard: str | None
    environment: str | None
    tests: int
    red: int
    deselected: int
    totals: Mapping[str, Counts]  # per metric; none where nothing was measured
    files: Mapping[str, Mapping[str, Counts]]
    promise: Mapping[str, Fraction]  # the ladder's baseline as it was then


def pick(document: Mapping[str, Any], path: str, *kinds: type) -> Any:
    """The value under a dotted path, of exactly one of these types (None: it may be missing)."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        where, got = document.get("artifact"), one_line(repr(value), 60)
        raise EvidenceError(f"{where}: {path}: expected {names}, got {got}; produce it anew")
    return value


def check_version(document: Mapping[str, Any]) -> None:
    version = str(document.get("schema_version"))
    if version.partition(".")[0] != "1":
        where = document.get("artifact")
        raise EvidenceError(f"{where}: schema_version: expected 1.x, got {one_line(version, 20)}; produce it anew")


def read_capture(document: Mapping[str, Any]) -> Capture:
    check_version(document)
    coverage = pick(document, "coverage", dict, NoneType) or {}
    rows = pick(document, "coverage.files", list) if coverage else []
    shard = pick(document, "scope", dict).get("shard")
    promise = pick(document, "ladder.baseline", dict) if document.get("ladder") else {}
    return Capture(
        digest=pick(document, "sha256", str),
        run_id=pick(document, "run_id", str),
        at=pick(document, "generated_at", str),
        commit=pick(document, "commit", str, NoneType),
        partial=pick(document, "partial.reason", str) if pick(document, "partial", dict, NoneType) else None,
        arguments=tuple(map(str, pick(document, "scope.pytest_args", list))),
        source=tuple(map(str, pick(document, "scope.source", list))),
        skipped=tuple(map(str, pick(document, "scope.skipped_stages", list))),
        shard=None if shard is None else one_line(shard, 40),
        environment=pick(document, "environment.signature", str) if document.get("environment") else None,
        tests=pick(document, "outcomes.tests", int),
        red=pick(document, "outcomes.failed", int) + pick(document, "outcomes.error", int),
        deselected=pick(document, "outcomes.deselected", int),
        totals={m: counts for m in METRICS if coverage and (counts := counts_of(document, coverage, m)).valid},
        files={m: {pick(row, "path", str): counts_of(document, row, m) for row in rows} for m in METRICS},
        promise={
            m: exact(repr(p)).limit_denominator(LARGEST_COUNT) for m in METRICS if is_percent(p := promise.get(m))
        },
    )


def is_percent(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 100


def counts_of(document: Mapping[str, Any], row: Mapping[str, Any], metric: str) -> Counts:
    key = METRICS[metric]
    valid, covered = row.get(key), row.get(f"{key}_covered")
    if type(valid) is int and type(covered) is int and 0 <= covered <= valid:
        return Counts(valid, covered)
    where, got = document.get("artifact"), f"{one_line(covered, 20)} of {one_line(valid, 20)}"
    raise EvidenceError(f"{where}: coverage: expected counts of {key}, got {got}; produce it anew")


@dataclass(frozen=True)
class Case:
    """All that the coverage gate judges."""

    ladder: Ladder
    capture: Capture
    references: tuple[Capture, ...]  # captures that the ladder's baseline may have come from
    today: date
    head: str | None  # the commit that is checked out

    @cached_property
    def reference(self) -> Capture | None:
        """The capture that the ladder's baseline came from, told by its very counts."""
        return next((known for known in self.references if comes_from(self.ladder, known)), None)


def comes_from(ladder: Ladder, capture: Capture) -> bool:
    return ladder.baseline == {metric: counts.percent for metric, counts in capture.totals.items()}


@dataclass(frozen=True)
class Comparison:
    """One metric then and now. `drop`: points lost that removed code does not explain; negative where it rose."""

    metric: str
    promised: Fraction
    now: Counts
    drop: Fraction
    target: Fraction | None
    tolerance: Fraction
    missed: bool  # the target, after its horizon

    @property
    def dropped(self) -> bool:
        return self.drop > self.tolerance

    @property
    def explained(self) -> bool:
        return self.promised - self.now.percent > self.tolerance >= self.drop


def compare(case: Case) -> list[Comparison]:
    return [
        compare_metric(case, metric, now)
        for metric, now in case.capture.totals.items()
        if metric in case.ladder.baseline
    ]


def compare_metric(case: Case, metric: str, now: Counts) -> Comparison:
    promised, target = case.ladder.baseline[metric], case.ladder.target.get(metric)
    drop = promised - now.percent
    if case.reference:
        removed = removed_covered(case.reference.files[metric], case.capture.files[metric])
        drop = unexplained_drop(case.reference.totals[metric], now, removed)
    late = case.today > case.ladder.horizon
    missed = target is not None and late and now.percent < target
    return Comparison(metric, promised, now, drop, target, case.ladder.tolerance, missed)


def removed_covered(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> int:
    """Covered statements that may have gone with their code: in a file that shrank, at most by how much."""
    removed = 0
    for path, then in before.items():
        now = after.get(path, NOTHING)
        removed += max(0, min(then.covered - now.covered, then.valid - now.valid))
    return removed


def unexplained_drop(before: Counts, after: Counts, removed: int) -> Fraction:
    """Points of coverage lost, less what removed code explains.

    Deleting fully covered code lowers the percentage though nothing was lost. So, where the project as a whole
    shrank, the baseline is taken as if the code were gone from it too: `removed` of the statements that are no
    more were covered. Code that moved to another file leaves the whole as large as it was and explains nothing.
    """
    shrunk = max(0, before.valid - after.valid)
    kept = Counts(before.valid - shrunk, before.covered - min(shrunk, removed))
    return min(before.percent, kept.percent) - after.percent


@dataclass(frozen=True)
class Loss:
    """One file whose coverage fell: covered statements that are covered no longer, new ones that never were."""

    metric: str
    path: str
    before: Counts
    now: Counts
    lost: int
    untested: int

    def __str__(self) -> str:
        key = METRICS[self.metric]
        if self.before == NOTHING:
            return f"{one_line(self.path)}: {self.untested} of {self.now.valid} new {key} have no test"
        parts = [f"{self.lost} covered {key} lost their tests"] * bool(self.lost)
        parts += [f"{self.untested} new {key} have no test"] * bool(self.untested)
        return f"{one_line(self.path)}: {', '.join(parts)} ({self.before} covered before, {self.now} now)"


def losses(before: Capture, after: Capture, metric: str) -> list[Loss]:
    """Where coverage was lost, the worst first."""
    rows = []
    for path, now in after.files[metric].items():
        then = before.files[metric].get(path, NOTHING)
        lost = max(0, then.covered - now.covered - max(0, then.valid - now.valid))
        untested = max(0, now.missing - then.missing - lost)
        if lost or untested:
            rows.append(Loss(metric, path, then, now, lost, untested))
    return sorted(rows, key=lambda row: (-row.lost - row.untested, row.path))


def obstacles(case: Case) -> list[str]:
    """Why this capture cannot be compared with the promise; each reason alone is enough."""
    capture, reference = case.capture, case.reference
    found = []
    if capture.partial:
        found.append(f"the capture is partial: {one_line(capture.partial)}")
    if capture.shard:
        found.append(f"the capture is shard {capture.shard} only; merge the shards")
    if "line" not in capture.totals:
        found.append("the capture measured no coverage")
    if capture.commit != case.head:
        found.append(f"the capture is of commit {short(capture.commit)}, checked out is {short(case.head)}")
    return found + (differences(reference, capture) if reference else [])


def differences(reference: Capture, capture: Capture) -> list[str]:
    """In what the capture's scope or environment is another than the reference's."""
    found = []
    for name in ("arguments", "source"):
        then, now = " ".join(getattr(reference, name)), " ".join(getattr(capture, name))
        if then != now:
            found.append(
                f"another scope: pytest's {name} were {one_line(repr(then), 80)}, now {one_line(repr(now), 80)}"
            )
    if capture.deselected and not reference.deselected:
        found.append(f"another scope: {capture.deselected} tests are deselected, none were")
    if reference.environment != capture.environment:
        then, now = short(reference.environment), short(capture.environment)
        found.append(f"another environment: its signature was {then}, now {now}")
    return found


def short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "none"


def lowered_by_hand(case: Case) -> str | None:
    """A ladder whose baseline is below the one on record, with no reason given."""
    if case.reference or case.ladder.reason:
        return None
    for known in case.references:
        for metric, was in known.promise.items():
            now = case.ladder.baseline.get(metric)
            if now is None or now < was:
                texts = ("nothing", decimal(was, 2)) if now is None else apart(now, was)
                return f"baseline.{metric} was lowered from {texts[1]} to {texts[0]} % and no reason is given"
    return None


def judge_coverage(case: Case) -> Verdict:
    """Whether coverage keeps the promise: no drop beyond the tolerance, the target reached by its horizon."""
    limit = f"at most {points(case.ladder.tolerance)} lost; the target by {case.ladder.horizon}"
    if reasons := obstacles(case):
        remedy = f"{SCRIPTS}/collect_metrics.py" + arguments_text(case.reference or case.capture)
        return ruling("coverage", UNKNOWN, coverage_text(case.capture), limit, reasons, remedy=remedy)
    rows = compare(case)
    value = "; ".join(comparison_text(row) for row in rows)
    evidence = [text for row in rows for text in findings(row, case)]
    if lowered := lowered_by_hand(case):
        evidence.insert(0, lowered)
    failed = lowered or any(row.dropped or row.missed for row in rows)
    if not case.reference:
        evidence.append("judged by the ladder's percentages: " + missing_reference(case))
    if case.reference and any(row.dropped for row in rows):
        evidence.append(f"tests: {case.reference.tests} before, {case.capture.tests} now")
    if case.capture.red:
        evidence.append(f"{case.capture.red} tests failed in this capture")
    accept = f"accept it: {SCRIPTS}/collect_metrics.py --rebaseline --reason TEXT{arguments_text(case.capture)}"
    return ruling(
        "coverage", FAIL if failed else PASS, value, limit, evidence, remedy=f"test what is named here, or {accept}"
    )


def missing_reference(case: Case) -> str:
    if case.references:
        return "reference.metrics.json is not the capture that its baseline came from"
    return "there is no reference.metrics.json, so removed code cannot be told from lost tests"


def arguments_text(capture: Capture) -> str:
    source = "".join(f" --source {one_line(word)}" for word in capture.source)
    return source + (f" -- {one_line(' '.join(capture.arguments))}" if capture.arguments else "")


def plain(value: Fraction) -> str:
    """A limit in as few digits as it takes."""
    digits = places(value)
    return decimal(value, digits) if digits else str(round(value))


def points(value: Fraction) -> str:
    return f"{plain(value)} point{'s' * (value != 1)}"


def coverage_text(capture: Capture) -> str:
    rows = [f"{metric} {decimal(counts.percent, 2)} % ({counts})" for metric, counts in capture.totals.items()]
    return "; ".join(rows) or "nothing measured"


def comparison_text(row: Comparison) -> str:
    lost = f"{apart(row.drop, row.tolerance)[0]} points lost" if row.drop > 0 else "nothing lost"
    measured = apart(row.now.percent, row.target)[0] if row.target is not None else decimal(row.now.percent, 2)
    return f"{row.metric} {measured} % ({row.now}), {lost}"


def findings(row: Comparison, case: Case) -> Iterator[str]:
    """What there is to say about one metric: its drop and where, its missed target, a drop that is none."""
    if row.dropped:
        lost, tolerance = apart(row.drop, row.tolerance)
        yield f"{row.metric}: {lost} points lost, {tolerance} allowed"
        if case.reference:
            worst = losses(case.reference, case.capture, row.metric)
            yield from map(str, worst[:NAMED])
            if len(worst) > NAMED:
                yield f"{len(worst) - NAMED} more files lost {METRICS[row.metric]}"
    if row.missed and row.target is not None:
        now, target = apart(row.now.percent, row.target)
        yield f"{row.metric}: {now} %, but {target} % was to be reached by {case.ladder.horizon}"
    if row.explained:
        fell = row.promised - row.now.percent
        explained = decimal(fell - max(row.drop, exact(0)), 2)
        yield f"{row.metric}: the percentage fell by {decimal(fell, 2)} points; removed code explains {explained}"


def pace(case: Case, row: Comparison) -> dict[str, Any]:
    """Advice on the way to the target: what is still to gain, what today asks for, when this pace arrives."""
    ladder, target = case.ladder, row.target
    if target is None:
        return {}
    span = (ladder.horizon - ladder.recorded).days
    passed = min(max((case.today - ladder.recorded).days, 0), max(span, 0))
    due = row.promised + (target - row.promised) * (exact(passed, span) if span > 0 else 1)
    wanted = -(-target * row.now.valid // 100)
    points = max(exact(0), target - row.now.percent)
    return {
        "metric": row.metric,
        "percent": float(row.now.percent),
        "target": float(target),
        "due_today": float(due),
        "points_to_gain": float(points),
        f"{METRICS[row.metric]}_to_gain": max(0, int(wanted) - row.now.covered),
        "days_left": (ladder.horizon - case.today).days,
        "proposed_horizon": str(proposed_horizon(case, row, points)),
    }


def proposed_horizon(case: Case, row: Comparison, points: Fraction) -> date:
    """The day on which the target is reached from today at the pace that the ladder asked for."""
    ladder = case.ladder
    rise = row.target - row.promised if row.target is not None else exact(0)
    span = (ladder.horizon - ladder.recorded).days
    if points <= 0 or rise <= 0 or span <= 0:
        return ladder.horizon
    with suppress(OverflowError):
        return max(ladder.horizon, case.today + timedelta(days=int(-(-points * span // rise))))
    return date.max


@dataclass(frozen=True)
class Environment:
    """What the validator left behind, and which environment the suite was captured in."""

    signature: str | None = None
    validated_at: str = ""
    reasons: tuple[str, ...] = ()
    remedy: str = ""
    refused_at: str | None = None
    captured: str | None = None  # None: no capture, or one without validation
    lock_changed: str = ""  # the lock file that is no longer the validated one


def judge_environment(facts: Environment) -> Verdict:
    """Whether the recorded environment was validated and is the one that the suite was captured in."""
    again, limit = f"{SCRIPTS}/validate_env.py", "validated, and captured in it"
    value = f"signature {short(facts.signature)}"
    if facts.refused_at and facts.refused_at > facts.validated_at:
        return ruling("environment", FAIL, "refused", limit, facts.reasons, remedy=facts.remedy or again)
    if not facts.signature:
        return ruling(
            "environment", UNKNOWN, "not validated", limit, ["there is no env.signature.json"], remedy=again
        )
    if facts.lock_changed:
        text = f"{one_line(facts.lock_changed)} changed after it was validated"
        return ruling("environment", FAIL, value, limit, [text], remedy=again)
    if facts.captured and facts.captured != facts.signature:
        text = f"the suite was captured in {short(facts.captured)}, validated is {short(facts.signature)}"
        return ruling("environment", FAIL, value, limit, [text], remedy=f"{SCRIPTS}/collect_metrics.py")
    return ruling("environment", PASS, value, limit)


def judge_failfast(improvement: Mapping[str, Fraction], targets: Mapping[str, Fraction]) -> Verdict:
    """Whether a failure shows as much sooner as was asked for, in percent of the time without fail-fast."""
    limit = ", ".join(f"{mode} {plain(target)} %" for mode, target in targets.items())
    bench = f"{SCRIPTS}/benchmark_failfast.py"
    if missing := [mode for mode in targets if mode not in improvement]:
        return ruling("failfast", UNKNOWN, "not measured", limit, [f"no benchmark of {named(missing)}"], remedy=bench)
    short_of = [mode for mode, target in targets.items() if improvement[mode] < target]
    value = ", ".join(f"{mode} {apart(improvement[mode], target)[0]} %" for mode, target in targets.items())
    evidence = [
        f"{mode}: {apart(improvement[mode], targets[mode])[0]} % sooner is short of its target" for mode in short_of
    ]
    return ruling(
        "failfast", FAIL if short_of else PASS, value, limit, evidence, remedy=f"read the slowest faults: {bench}"
    )


@dataclass(frozen=True)
class Properties:
    """What thirty runs of the property tests gave."""

    digest: str
    runs: int
    false_failures: int
    observed: int
    mismatches: int
    partial: str | None
    deterministic: bool
    control: bool  # another seed gave other examples, so equal digests mean something
    flaky: tuple[str, ...]


def judge_properties(facts: Properties) -> Verdict:
    """Whether no property test failed falsely and all runs saw the same examples."""
    limit = f"0 in {PROPERTY_RUNS} runs"
    value = f"{facts.false_failures} false failures, {facts.mismatches} mismatches in {facts.runs} runs"
    again = f"{SCRIPTS}/aggregate_properties.py --runs {PROPERTY_RUNS}"
    if facts.false_failures or facts.mismatches:
        alone = f"{again} -- {' '.join(map(one_line, facts.flaky[:NAMED]))}".rstrip()
        return ruling("properties", FAIL, value, limit, [f"not to be believed: {named(facts.flaky)}"], remedy=alone)
    doubts = ["the runs were partial: " + one_line(facts.partial)] if facts.partial else []
    doubts += ["these were fuzz runs, without a seed"] * (not facts.deterministic)
    doubts += [f"{PROPERTY_RUNS - facts.runs} runs are missing"] * (facts.runs < PROPERTY_RUNS)
    doubts += ["another seed changed nothing, so equal examples prove nothing"] * (not facts.control)
    return ruling("properties", UNKNOWN if doubts else PASS, value, limit, doubts, remedy=again)


def judge_events(events: Sequence[Mapping[str, Any]], problems: Sequence[str], run_id: str) -> Verdict:
    """Whether the log of one run is whole: every event of the taxonomy, every start ended, the chain unbroken."""
    mine = [event for event in events if event["context"].get("run_id") == run_id]
    seen = {event["event"] for event in mine if not from_gates(event)}
    missing = sorted(EXPECTED - seen)
    value = f"{len(EXPECTED) - len(missing)} of {len(EXPECTED)} events"
    limit = "every event, every start ended, an unbroken chain"
    evidence = [f"{LOG_NAME}: {one_line(problem)}" for problem in problems[:NAMED]]
    evidence += [f"missing: {name} ({emitter(name)})" for name in missing]
    evidence += unended(mine)
    if any(event["event"] == "logging_deficit" and not event.get("drill") for event in mine):
        evidence.append("a deficit was logged in this run before; start a new one")
    remedy = f"run what is named here with TPR_RUN_ID={one_line(run_id)}"
    if problems:
        remedy = f"move {LOG_NAME} away and run the chain anew"
    if not mine:
        return ruling(
            "events", UNKNOWN, value, limit, [*problems[:NAMED], f"no event of run {run_id}"], remedy=remedy
        )
    return ruling("events", FAIL if evidence else PASS, value, limit, evidence, remedy=remedy)


def from_gates(event: Mapping[str, Any]) -> bool:
    """The gates' own record of a run, which proves nothing about the capture that should have logged it."""
    return bool(event["event"] == "coverage_ladder_recorded" and event["context"].get("script") == "enforce_gates")


def emitter(event: str) -> str:
    return EMITTERS.get(event.partition("_")[0], "pipeline.py")


def unended(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Starts without an end and ends without a start, process by process."""
    count = Counter((event["event"], event["context"].get("pid")) for event in events)
    found = []
    for start, ends in ENDS.items():
        for pid in sorted({pid for name, pid in count if name in (start, *ends)}, key=str):
            begun, ended = count[start, pid], sum(count[end, pid] for end in ends)
            if begun != ended:
                found.append(f"process {pid}: {begun} {start}, {ended} ended")
    return found


@dataclass(frozen=True)
class Audit:
    """What was verified: files whose digest holds, findings, files that should be there."""

    held: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def judge_integrity(audit: Audit) -> Verdict:
    """Whether every artifact, hash file and incident is as it was written."""
    value = f"{len(audit.held)} files hold, {len(audit.wrong)} do not"
    evidence = [one_line(text) for text in audit.wrong] + [f"missing: {name}" for name in audit.absent]
    verdict = FAIL if audit.wrong else UNKNOWN if audit.absent else PASS
    remedy = f"remove what is named here and run {SCRIPTS}/pipeline.py"
    return ruling("integrity", verdict, value, "every digest holds", evidence, remedy=remedy)


@dataclass(frozen=True)
class Trigger:
    """What a rollback trigger says; it fires, stays quiet, or names the data it lacks."""

    name: str
    state: str
    value: str
    limit: str
    evidence: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    digest: str = ""  # of the artifact that it rests on


def coverage_trigger(case: Case) -> Trigger:
    """Fires on a drop beyond the tolerance. It rests on one run, so it is to be confirmed by another."""
    limit = points(case.ladder.tolerance)
    if reasons := obstacles(case):
        return Trigger("coverage", UNKNOWN, "not comparable", limit, tuple(reasons), (), case.capture.digest)
    rows = compare(case)
    value = "; ".join(comparison_text(row) for row in rows)
    fallen = [row for row in rows if row.dropped]
    evidence = tuple(text for row in fallen for text in findings(row, case))
    before = case.reference
    where = [loss.path for row in fallen for loss in losses(before, case.capture, row.metric)] if before else []
    state = FIRED if fallen else QUIET
    return Trigger("coverage", state, value, limit, evidence, tuple(dict.fromkeys(where)), case.capture.digest)


@dataclass(frozen=True)
class Rate:
    """So many of so many, seen in so many runs; and how much is too little to say anything."""

    hits: int
    trials: int
    runs: int
    unit: str
    least_trials: int
    least_runs: int
    where: tuple[str, ...] = ()
    digest: str = ""
    notes: tuple[str, ...] = ()


def rate_trigger(name: str, rate: Rate, limit: Fraction) -> Trigger:
    """Fires when the Wilson interval's lower bound is above the limit, in percent, and enough was observed.

    The bound is above t exactly when n (p - t)^2 > z^2 t (1 - t) and p > t: no root, so no rounding.
    """
    share, threshold = exact(rate.hits, max(rate.trials, 1)), limit / 100
    spread = exact(Z_SQUARED) * threshold * (1 - threshold)
    above = share > threshold
    value = f"{apart(100 * share, limit)[0]} % ({rate.hits} of {rate.trials} {rate.unit} in {rate.runs} runs)"
    text = f"{plain(limit)} %"
    lacks = lacking(rate)
    if above and not lacks and rate.trials * (share - threshold) ** 2 <= spread:
        enough = int(spread / (share - threshold) ** 2) + 1
        lacks = f"at this rate {enough - rate.trials} more {rate.unit} would show that it is above {text}"
    evidence = (f"95 % interval {interval_text(rate)}", *rate.notes) if rate.trials else rate.notes
    if lacks:
        return Trigger(name, UNKNOWN, value, text, (*evidence, lacks), rate.where, rate.digest)
    return Trigger(name, FIRED if above else QUIET, value, text, evidence, rate.where, rate.digest)


def lacking(rate: Rate) -> str:
    lacks = []
    if rate.runs < rate.least_runs:
        lacks.append(f"{rate.least_runs - rate.runs} more runs")
    if rate.trials < rate.least_trials:
        lacks.append(f"{rate.least_trials - rate.trials} more {rate.unit}")
    return f"needs {' and '.join(lacks)}" if lacks else ""


def interval_text(rate: Rate) -> str:
    """The Wilson score interval in percent (Wilson 1927), for people; the trigger itself compares exactly."""
    n, share, z2 = rate.trials, rate.hits / rate.trials, float(Z_SQUARED)
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * share * (1 - share) / n + z2 * z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return f"{100 * max(0.0, middle - half):.2f} to {100 * min(1.0, middle + half):.2f} %"


class AbsentError(Exception):
    """An artifact that a gate needs is not there: too little data, no defect."""


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment asked for."""

    only: str | None
    flake_limit: Fraction
    targets: Mapping[str, Fraction]
    quiet: bool
    github_env: Path | None

    @property
    def gates(self) -> tuple[str, ...]:
        return (self.only,) if self.only else tuple(GATES)


class Evidence:
    """The one door to what a run left behind: read when asked for, refused in one line where it does not hold."""

    def __init__(self, run: Run, today: date, github_env: Path | None = None) -> None:
        self.run, self.today, self.github_env = run, today, github_env
        self._read: dict[Path, dict[str, Any]] = {}

    def document(self, name: str) -> dict[str, Any] | None:
        return self._document(self.run.artifacts / name)

    def _document(self, path: Path) -> dict[str, Any] | None:
        if path not in self._read and path.exists():
            self._read[path] = read_artifact(path)
            check_version(self._read[path])
        return self._read.get(path)

    def need(self, name: str) -> dict[str, Any]:
        if document := self.document(name):
            return document
        raise AbsentError(name)

    @cached_property
    def log(self) -> LogReading:
        return read_log(self.run.artifacts / LOG_NAME)

    @cached_property
    def run_id(self) -> str:
        """The run to be judged: the chain's, or by hand the one of the baseline."""
        with suppress(EvidenceError):
            if not os.environ.get("TPR_RUN_ID") and (baseline := self.document("baseline.metrics.json")):
                return str(baseline["run_id"])
        return self.run.id

    @cached_property
    def case(self) -> Case:
        capture = read_capture(self.need("baseline.metrics.json"))
        found = [self._document(folder / "reference.metrics.json") for folder in evidence_folders(self.run)]
        references = tuple(read_capture(document) for document in found if document)
        return Case(self.ladder, capture, references, self.today, self.run.commit[0])

    @cached_property
    def ladder(self) -> Ladder:
        path = ladder_path(self.run)
        try:
            return read_ladder(path.read_bytes(), path.name)
        except FileNotFoundError:
            raise AbsentError(path.name) from None
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None

    def environment(self) -> Environment:
        signature = self.document("env.signature.json") or {}
        failure = self.document("env.validation.failure.json")
        baseline = self.document("baseline.metrics.json")
        reasons = [row for row in (pick(failure, "reasons", list) if failure else ()) if isinstance(row, dict)]
        return Environment(
            signature=pick(signature, "signature", str) if signature else None,
            validated_at=signature.get("generated_at", ""),
            reasons=tuple(reason_text(row) for row in reasons),
            remedy=one_line(reasons[0].get("remedy", "")) if reasons else "",
            refused_at=failure["generated_at"] if failure else None,
            captured=read_capture(baseline).environment if baseline else None,
            lock_changed=self._lock_changed(signature),
        )

    def _lock_changed(self, signature: Mapping[str, Any]) -> str:
        known = signature.get("lock_sources")
        if not isinstance(known, dict):
            return ""
        lock = self.run.root / str(known.get("file"))
        return lock.name if lock.is_file() and file_digest(lock) != known.get("sha256") else ""

    def properties(self) -> Properties:
        document = self.need("property.results.json")
        tests = [row for row in pick(document, "tests", list) if isinstance(row, dict)]
        flaky = [str(row.get("id")) for row in tests if row.get("mismatch") or row.get("problems")]
        return Properties(
            digest=document["sha256"],
            runs=pick(document, "runs", int),
            false_failures=pick(document, "false_failures.count", int),
            observed=pick(document, "false_failures.observed", int),
            mismatches=pick(document, "mismatches", int),
            partial=None if document.get("partial") is None else str(document["partial"]),
            deterministic=document.get("mode") == "deterministic",
            control=bool((document.get("control") or {}).get("shown")),
            flaky=tuple(flaky),
        )

    def flakes(self, settled: str) -> Rate:
        """The rate of flaky tests, without those that last failed before `settled`, when an incident was resolved."""
        document = self.need("flake.report.json")
        rows = [row for row in pick(document, "flaky", list) if isinstance(row, dict)]
        runs = [row for row in pick(document, "runs", list) if isinstance(row, dict) and not row.get("set_aside")]
        fresh = [row for row in rows if not settled or str(row.get("last_failed") or "unknown") > settled]
        left_out = len(rows) - len(fresh)
        return Rate(
            hits=len(fresh),
            trials=pick(document, "tests_observed", int),
            runs=len(runs),
            unit="tests",
            least_trials=FLAKE_TESTS,
            least_runs=FLAKE_RUNS,
            where=tuple(str(row.get("id")) for row in fresh),
            digest=document["sha256"],
            notes=(f"{left_out} flaky tests last failed before their incident was resolved",) * bool(left_out),
        )


def evidence_folders(run: Run) -> list[Path]:
    """Where evidence is: the run's artifacts, and what the repository committed."""
    return list(dict.fromkeys([run.artifacts, run.root / "artifacts" / "foundation"]))


def ladder_path(run: Run) -> Path:
    own = run.root / "coverage-ladder.yaml"
    return own if own.exists() else run.artifacts / own.name


def reason_text(row: Mapping[str, Any]) -> str:
    return one_line(f"{row.get('code')}: expected {row.get('expected')}, got {row.get('actual')}")


def judge(gate: str, evidence: Evidence, settings: Settings) -> Verdict:
    """One gate's verdict over what the run left behind."""
    try:
        if gate == "environment":
            return judge_environment(evidence.environment())
        if gate == "coverage":
            return judge_coverage(evidence.case)
        if gate == "failfast":
            return judge_failfast(improvements(evidence.need("failfast.summary.json")), settings.targets)
        if gate == "properties":
            return judge_properties(evidence.properties())
        if gate == "events":
            return judge_events(evidence.log.events, evidence.log.problems, evidence.run_id)
        return judge_integrity(audit(evidence))
    except AbsentError as error:
        name = str(error)
        return ruling(gate, UNKNOWN, "no data", "", [f"there is no {name}"], remedy=f"{SCRIPTS}/{PRODUCERS[name]}")


def improvements(summary: Mapping[str, Any]) -> dict[str, Fraction]:
    """By how many percent each mode shows a failure sooner than a full run, in the mean over all faults."""
    if pick(summary, "benchmark", dict, NoneType) is None:
        return {}
    modes = [mode for mode, _, _ in TARGETS]
    means = [pick(summary, f"benchmark.overall.modes.{mode}.mean", int, float) for mode in ("off", *modes)]
    slow, *fast = (exact(repr(mean)) for mean in means)
    return {mode: 100 * (1 - mean / slow) for mode, mean in zip(modes, fast, strict=True)} if slow > 0 else {}


def audit(evidence: Evidence) -> Audit:
    """Verify every artifact, hash file and incident there is; nothing found wrong is hidden by another."""
    run = evidence.run
    checks: list[tuple[str, Callable[[], object]]] = []
    for place in evidence_folders(run):
        found = [place / name for name in ARTIFACTS if (place / name).exists()]
        checks += [(shown(path, run), partial(read_artifact, path)) for path in found]
        checks += [(shown(path, run), partial(check_hash_file, path)) for path in sorted(place.glob("*.hash"))]
    checks += [(path.name, partial(check_hash_file, path)) for path in sorted(run.root.glob("*.hash"))]
    for incident in read_incidents(run.artifacts):
        checks.append((f"incidents/{incident.id}", partial(read_artifact, incident.folder / INCIDENT)))
    if (run.artifacts / "coverage.xml").exists() and (run.artifacts / "baseline.metrics.json").exists():
        checks.append(("coverage.xml", partial(check_report, run.artifacts)))
    held, wrong = [], removed_incidents(evidence)
    for name, check in checks:
        try:
            check()
            held.append(name)
        except EvidenceError as error:
            wrong.append(str(error).replace(f"{run.artifacts}{os.sep}", ""))
    absent = [name for name in MANDATORY if not (run.artifacts / name).exists()]
    return Audit(tuple(held), tuple(wrong), tuple(absent))


def shown(path: Path, run: Run) -> str:
    return path.name if path.parent == run.artifacts else path.relative_to(run.root).as_posix()


def check_hash_file(path: Path) -> None:
    """A hash file: `sha256:<digest>`, the content digest of the artifact of its name; or lines of sha256sum."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path}: cannot be read: {one_line(error)}; produce it anew") from None
    if text.startswith("sha256:"):
        stated, actual = text.strip().removeprefix("sha256:"), read_artifact(path.with_suffix(".json"))["sha256"]
        compare_digests(path, path.with_suffix(".json").name, stated, actual)
        return
    rows = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in text.splitlines() if line]
    if not rows or not all(rows):
        raise EvidenceError(f"{path}: expected lines of sha256sum or sha256:<digest>; produce it anew")
    for row in rows:
        assert row
        compare_digests(path, row[2], row[1], file_digest(path.parent / row[2]))


def compare_digests(path: Path, name: str, stated: str, actual: str) -> None:
    if stated != actual:
        raise EvidenceError(
            f"{path}: expected {name} with sha256 {one_line(stated, 64)}, got {actual}; produce it anew"
        )


def file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; produce it anew") from None


def check_report(artifacts: Path) -> None:
    """coverage.xml carries no digest of its own: its totals must be the baseline's."""
    capture = read_capture(read_artifact(artifacts / "baseline.metrics.json"))
    path = artifacts / "coverage.xml"
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; capture again") from None
    stated = [int(found[1]) if (found := re.search(rf'\b{name}="(\d+)"', head)) else -1 for name in REPORT_TOTALS]
    line, branch = (capture.totals.get(metric, NOTHING) for metric in METRICS)
    counts = [line.valid, line.covered, branch.valid, branch.covered]
    if capture.totals and stated != counts:
        raise EvidenceError(f"{path}: expected the baseline's totals {counts}, got {stated}; capture again")


@dataclass(frozen=True)
class Incident:
    """A rollback on record. One that cannot be read counts as open."""

    id: str
    folder: Path
    document: Mapping[str, Any] | None

    @property
    def open(self) -> bool:
        return not self.document or self.document.get("state") != "resolved"

    @property
    def triggers(self) -> list[Mapping[str, Any]]:
        return list(self.document["triggers"]) if self.document else []

    def covers(self, trigger: Trigger) -> bool:
        """Whether this incident is about the same: still open, or resolved with this very evidence known."""
        same = [row for row in self.triggers if row.get("name") == trigger.name]
        return bool(same) and (self.open or any(row.get("digest") == trigger.digest for row in same))


def incidents_folder(artifacts: Path) -> Path:
    return artifacts / "incidents"


def read_incidents(artifacts: Path) -> list[Incident]:
    place = incidents_folder(artifacts)
    folders = sorted(path for path in place.glob("*") if path.is_dir() and not path.name.startswith("."))
    return [read_incident(path) for path in folders]


def read_incident(path: Path) -> Incident:
    try:
        document = read_artifact(path / INCIDENT)
        rows = [*pick(document, "triggers", list), *pick(document, "snapshot", list)]
        return Incident(path.name, path, document if all(isinstance(row, dict) for row in rows) else None)
    except EvidenceError:
        return Incident(path.name, path, None)


def removed_incidents(evidence: Evidence) -> list[str]:
    """Incidents that the log knows as open and that are gone: an incident ends by --resolve only."""
    state: dict[str, object] = {}
    for event in evidence.log.events:
        if event["event"] == "risk_trigger" and "incident" in event and not event.get("drill"):
            state[str(event["incident"])] = event.get("state")
    here = {incident.id for incident in read_incidents(evidence.run.artifacts)}
    gone = [name for name, known in state.items() if known == "opened" and name not in here]
    return [f"incidents/{one_line(name)}: removed before it was resolved" for name in gone]


def resolved_at(incidents: Iterable[Incident], trigger: str) -> str:
    """When the last incident of this trigger was resolved; empty if none was."""
    rows = [i for i in incidents if not i.open and any(row.get("name") == trigger for row in i.triggers)]
    return max((str((row.document or {}).get("generated_at", "")) for row in rows), default="")


def triggers_of(evidence: Evidence, settings: Settings) -> list[Trigger]:
    """What each rollback trigger says over what the run left behind."""
    known = read_incidents(evidence.run.artifacts)
    judges: dict[str, Callable[[], Trigger]] = {
        "coverage": lambda: coverage_trigger(evidence.case),
        "flakes": lambda: rate_trigger("flakes", evidence.flakes(resolved_at(known, "flakes")), settings.flake_limit),
        "properties": lambda: property_trigger(evidence.properties(), exact(PROPERTY_LIMIT)),
    }
    found = []
    for name, judge_trigger in judges.items():
        try:
            found.append(judge_trigger())
        except AbsentError as error:
            found.append(Trigger(name, UNKNOWN, "no data", "", (f"there is no {error}",)))
        except EvidenceError as error:
            found.append(Trigger(name, UNKNOWN, UNREADABLE, "", (one_line(error),)))
    return found


def property_trigger(facts: Properties, limit: Fraction) -> Trigger:
    hits, trials, runs = facts.false_failures, facts.observed, facts.runs * facts.deterministic
    rate = Rate(hits, trials, runs, "results", 1, PROPERTY_RUNS, facts.flaky if hits else (), facts.digest)
    return rate_trigger("properties", rate, limit)


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold the incidents' lock, so that two gates at once open one; it ends with the process, however that ends."""
    descriptor = -1
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        flock(descriptor, LOCK_EX)
        yield
    except OSError as error:
        where = error.filename or place
        raise EvidenceError(f"{where}: cannot be written: {error.strerror}; make room for it") from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def roll_back(
    evidence: Evidence, triggers: list[Trigger], verdicts: list[Verdict], again: Callable[[Path], Capture | str]
) -> list[Trigger]:
    """Act on the triggers that fire; returns them as they are after confirmation.

    An incident is built beside its place and renamed into it when it is whole: killed before, there is none; after,
    `enforce_open` of any later run does what is still to be done.
    """
    run = evidence.run
    if not any(trigger.state == FIRED for trigger in triggers) and not read_incidents(run.artifacts):
        return triggers
    with locked(incidents_folder(run.artifacts)):
        known = read_incidents(run.artifacts)
        new = [t for t in triggers if t.state == FIRED and not any(incident.covers(t) for incident in known)]
        if new:
            confirmed = open_incident(evidence, new, verdicts, again)
            triggers = [confirmed.get(trigger.name, trigger) for trigger in triggers]
        enforce_open(run, evidence.github_env)
    return triggers


def open_incident(
    evidence: Evidence, new: list[Trigger], verdicts: list[Verdict], again: Callable[[Path], Capture | str]
) -> dict[str, Trigger]:
    """Snapshot, second capture, confirmation, re-evaluation: the incident, if a trigger still fires after that."""
    import shutil  # with an incident only

    run, place = evidence.run, incidents_folder(evidence.run.artifacts)
    for left_over in place.glob(".building-*"):  # of a gate that was killed: the lock says that none runs
        shutil.rmtree(left_over, ignore_errors=True)
    building = place / f".building-{os.getpid()}"
    try:
        files = snapshot(run.artifacts, building / "snapshot")
        second = again(building / "rerun")
        confirmed = {trigger.name: confirm(trigger, evidence, second) for trigger in new}
        fired = [trigger for trigger in confirmed.values() if trigger.state == FIRED]
        if fired:
            body = incident_body(evidence, fired, verdicts, second)
            at(run, building).write(INCIDENT, INCIDENT_VERSION, {**body, "snapshot": files})
            building.rename(free_name(place, run.id))
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return confirmed


def at(run: Run, place: Path) -> Run:
    """The same run, writing its artifacts into another folder."""
    other = copy(run)
    other.artifacts = place
    return other


def free_name(place: Path, run_id: str) -> Path:
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in run_id).lstrip(".")[:100] or "run"
    names = (place / (name if number == 1 else f"{name}.{number}") for number in count(1))
    return next(path for path in names if not path.exists())


def snapshot(artifacts: Path, into: Path) -> list[dict[str, Any]]:
    """Copy the artifacts themselves, not the folders beside them; each with its digest."""
    into.mkdir(parents=True)
    rows = []
    for path in sorted(artifacts.iterdir()):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            data = path.read_bytes()
            if path.name == LOG_NAME:
                data = data[: data.rfind(b"\n") + 1]  # another process may be writing the rest
            (into / path.name).write_bytes(data)
            rows.append({"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    return rows


def confirm(trigger: Trigger, evidence: Evidence, second: Capture | str) -> Trigger:
    """A trigger that rests on one run fires only if another run shows the same, where another could be had."""
    if trigger.name != "coverage":
        return trigger
    if isinstance(second, str):
        return replace(
            trigger, evidence=(*trigger.evidence, f"not confirmed, for no second capture was possible: {second}")
        )
    case = replace(evidence.case, capture=second)
    other = coverage_trigger(case)
    state = FIRED if other.state == FIRED else UNCONFIRMED
    text = f"a second capture, with the seed locked, says {other.state}: {other.value}"
    return replace(
        trigger, state=state, evidence=(*trigger.evidence, text, *(other.evidence if state != FIRED else ()))
    )


def incident_body(
    evidence: Evidence, fired: list[Trigger], verdicts: list[Verdict], second: Capture | str
) -> dict[str, Any]:
    run = evidence.run
    repeated = {"problem": second} if isinstance(second, str) else {"problem": None, "digest": second.digest}
    return {
        "state": "open",
        "opened": {"run_id": run.id, "revision": run.commit[0]},
        "triggers": [asdict(trigger) for trigger in fired],
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "rerun": {"folder": "rerun", **repeated},
        "reevaluation": reevaluation(evidence, second),
        "resolution": None,
    }


def reevaluation(evidence: Evidence, second: Capture | str) -> dict[str, Any] | None:
    """The ladder judged anew, by the second capture where there is one, with the horizon that its pace allows."""
    try:
        case = evidence.case if isinstance(second, str) else replace(evidence.case, capture=second)
    except (AbsentError, EvidenceError):
        return None
    verdict = judge_coverage(case)
    rows = [] if obstacles(case) else compare(case)
    return {
        "by": "the capture that fired" if isinstance(second, str) else "the second capture",
        "verdict": verdict.verdict,
        "value": verdict.value,
        "horizon": str(case.ladder.horizon),
        "metrics": [pace(case, row) for row in rows],
    }


def enforce_open(run: Run, github_env: Path | None) -> None:
    """Bring the state in line with the open incidents: said in the log, fail-fast off, for later steps too."""
    known = read_incidents(run.artifacts)
    open_ = [incident for incident in known if incident.open]
    if not open_:
        (run.artifacts / FORCED_OFF).unlink(missing_ok=True)
        return
    for incident in open_:
        if incident.document and not is_logged(run, incident.id):
            log_incident(run, incident)
    ids = [incident.id for incident in open_]
    if forced_ids(run.artifacts) != ids:
        body = {
            "mode": "off",
            "incidents": ids,
            "triggers": sorted({str(r.get("name")) for i in open_ for r in i.triggers}),
        }
        run.write(FORCED_OFF, FORCED_OFF_VERSION, body)
    if github_env:
        hand_over(github_env)


def is_logged(run: Run, incident: str) -> bool:
    rows = read_log(run.artifacts / LOG_NAME).events
    return any(row["event"] == "risk_trigger" and row.get("incident") == incident for row in rows)


def log_incident(run: Run, incident: Incident) -> None:
    snapshot = incident.document["snapshot"] if incident.document else ()
    rows = [{key: row.get(key) for key in ("name", "value", "limit", "where")} for row in incident.triggers]
    files = {str(row.get("name")): row.get("sha256") for row in snapshot}
    run.log.warning("risk_trigger", state="opened", incident=incident.id, triggers=rows, snapshot=files)


def forced_ids(artifacts: Path) -> list[str] | None:
    try:
        return list(read_artifact(artifacts / FORCED_OFF)["incidents"])
    except (EvidenceError, KeyError, TypeError):
        return None


def hand_over(github_env: Path) -> None:
    """Tell the later steps of a workflow job."""
    try:
        with github_env.open("a+b") as stream:
            stream.seek(0)
            text = stream.read()
            stream.write((b"" if text.endswith(b"\n") or not text else b"\n") + b"TPR_FAILFAST_MODE=off\n")
    except OSError as error:
        raise EvidenceError(f"{github_env}: cannot be appended to: {error.strerror}; check GITHUB_ENV") from None


def resolve(run: Run, name: str, reason: str, github_env: Path | None) -> str:
    """Close an incident; says what that changes."""
    place = incidents_folder(run.artifacts)
    with locked(place):
        known = {incident.id: incident for incident in read_incidents(run.artifacts)}
        incident = known.get(name)
        if not incident or not incident.open:
            open_ = named([incident.id for incident in known.values() if incident.open]) or "none"
            state = "is resolved already" if incident else "is not an incident"
            raise EvidenceError(f"{place}: {one_line(name, 100)} {state}; open are: {open_}")
        body = {
            k: v
            for k, v in (incident.document or {"triggers": [], "snapshot": [], "damaged": True}).items()
            if k not in ENVELOPE
        }
        resolution = {"reason": reason, "run_id": run.id, "revision": run.commit[0]}
        at(run, incident.folder).write(
            INCIDENT, INCIDENT_VERSION, {**body, "state": "resolved", "resolution": resolution}
        )
        run.log.info("risk_trigger", state="resolved", incident=name, reason=reason)
        enforce_open(run, github_env)
    left = [incident.id for incident in known.values() if incident.open and incident.id != name]
    after = f"open are still: {named(left)}" if left else "fail-fast is no longer forced off"
    return f"incident {name} is resolved; {after}"


@contextmanager
def stop_on_term() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that what runs below is stopped and what was begun is cleared away."""
    import signal  # with a second capture only
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def recapture(evidence: Evidence, quiet: bool, into: Path) -> Capture | str:
    """Capture the suite again as it was captured, fail-fast off and the seed locked, into a folder of its own."""
    run = evidence.run
    try:
        first = read_capture(evidence.need("baseline.metrics.json"))
        seed = (evidence.document("env.signature.json") or {}).get("seed")
    except (AbsentError, EvidenceError) as error:
        return one_line(error)
    into.mkdir(parents=True)
    ladder = run.artifacts / "coverage-ladder.yaml"
    if ladder.exists():
        write_atomic(into / ladder.name, ladder.read_bytes())
    command = [sys.executable, str(HERE / "collect_metrics.py"), "--root", str(run.root), "--artifacts", str(into)]
    command += [
        "--quiet",
        "--failfast-mode",
        "off",
        *flags("--source", first.source),
        *flags("--skip", first.skipped),
    ]
    env = {**os.environ, "TPR_RUN_ID": run.id, "TPR_SEED": str(seed or os.environ.get("TPR_SEED") or DEFAULT_SEED)}
    if not quiet:
        print("enforce_gates.py: a trigger fires; capturing again, to confirm it", file=sys.stderr, flush=True)
    code = run_child([*command, "--", *first.arguments], {**env, "TPR_FAILFAST_MODE": "off"}, quiet)
    try:
        return read_capture(read_artifact(into / "baseline.metrics.json"))
    except EvidenceError:
        return f"collect_metrics.py ended with {code} and wrote no baseline"


def flags(name: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (name, value)]


def run_child(command: list[str], env: Mapping[str, str], quiet: bool) -> int:
    """Its output goes to stderr: standard output is for the verdict. Stopped with us, by a signal it understands."""
    import subprocess  # with a second capture only

    with stop_on_term():
        process = subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL if quiet else 2)
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait()


def outlook(evidence: Evidence) -> dict[str, Any] | None:
    """Coverage in numbers: then, now, lost where, and the way to the target; None where nothing can be compared."""
    try:
        case = evidence.case
    except (AbsentError, EvidenceError):
        return None
    if obstacles(case):
        return None
    rows, before = compare(case), case.reference
    lost = [loss for row in rows for loss in losses(before, case.capture, row.metric)] if before else []
    advice = [pace(case, row) for row in rows if row.target is not None]
    gap = next((row["statements_to_gain"] for row in advice if row["metric"] == "line"), 0)
    return {
        "basis": "counts" if before else "percentages",
        "comparisons": [comparison_row(row) for row in rows],
        "losses": [asdict(loss) for loss in lost[:LOSSES_KEPT]],
        "losses_left_out": max(0, len(lost) - LOSSES_KEPT),
        "pace": advice,
        "functions": closing(untested_functions(evidence.run, case.capture.files["line"]), gap) if gap else [],
    }


def comparison_row(row: Comparison) -> dict[str, Any]:
    return {
        "metric": row.metric,
        "baseline_percent": float(row.promised),
        "valid": row.now.valid,
        "covered": row.now.covered,
        "lost_points": float(row.drop),
        "tolerance": float(row.tolerance),
        "dropped": row.dropped,
        "target_missed": row.missed,
    }


def untested_functions(run: Run, known: Iterable[str]) -> list[dict[str, Any]]:
    """The functions of the `known` files with uncovered lines, the most first; none where they cannot be had."""
    try:
        missed = missed_lines((run.artifacts / "coverage.xml").read_text("utf-8"), sorted(known, key=len))
    except (OSError, ValueError):
        return []
    rows: list[dict[str, Any]] = []
    for path, lines in sorted(missed.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(rows) >= FUNCTIONS_KEPT and len(lines) <= rows[FUNCTIONS_KEPT - 1]["lines"]:
            break  # no function of this file or of any after it can come to the front
        rows += functions_of(path, run.root, lines)
        rows.sort(key=lambda row: (-row["lines"], row["path"], row["line"]))
    return rows[:FUNCTIONS_KEPT]


def missed_lines(report: str, known: Sequence[str]) -> dict[str, list[int]]:
    """The uncovered lines per file in a coverage.xml, which has an element a line.

    It names a file relative to a source folder, wherever that was; `known` are the paths relative to the root.
    """
    from html import unescape  # with a gap only

    missed: dict[str, list[int]] = {}
    lines: list[int] = []
    for found in re.finditer(r'<class .*\bfilename="(.*?)"|<line number="(\d+)" hits="0"', report):
        if found[2]:
            lines.append(int(found[2]))
        else:
            name = unescape(found[1])
            path = next((path for path in known if f"/{path}".endswith(f"/{name}")), name)
            lines = missed.setdefault(path, [])
    return {path: lines for path, lines in missed.items() if lines}


def functions_of(path: str, root: Path, lines: Sequence[int]) -> list[dict[str, Any]]:
    """How many of these lines each function of a file holds, by its innermost function."""
    import ast  # needed with a gap only

    try:
        tree = ast.parse((root / path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    found: list[tuple[int, int, str]] = []
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, prefix = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((node.lineno, node.end_lineno or node.lineno, prefix + node.name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            prefix += f"{node.name}."
        stack += [(child, prefix) for child in ast.iter_child_nodes(node)]
    held = Counter(max(around) for line in lines if (around := [row for row in found if row[0] <= line <= row[1]]))
    return [{"path": path, "line": row[0], "function": row[2], "lines": number} for row, number in held.items()]


def closing(functions: Sequence[dict[str, Any]], gap: int) -> list[dict[str, Any]]:
    """The fewest of these functions that together hold as many lines as are still to gain."""
    chosen: list[dict[str, Any]] = []
    for row in functions:
        if sum(known["lines"] for known in chosen) >= gap:
            break
        chosen.append(row)
    return chosen


def enforce(run: Run, settings: Settings) -> int:
    """Judge, roll back if need be, write, log and show; the exit code."""
    evidence = Evidence(run, datetime.now(UTC).date(), settings.github_env)
    verdicts, problems = [], []
    for gate in settings.gates:
        try:
            verdicts.append(judge(gate, evidence, settings))
        except EvidenceError as error:
            text, remedy = one_line(error), "mend what is named here"
            verdicts.append(ruling(gate, UNKNOWN, UNREADABLE, "", [text], remedy=remedy))
            problems.append(text)
    triggers = [] if settings.only else triggers_of(evidence, settings)
    problems += [trigger.evidence[0] for trigger in triggers if trigger.value == UNREADABLE]
    triggers = roll_back(evidence, triggers, verdicts, partial(recapture, evidence, settings.quiet))
    code = 2 if problems else exit_code(verdicts)
    details = outlook(evidence) if "coverage" in settings.gates else None
    body = verdict_body(evidence, settings, verdicts, triggers, details)
    run.write(VERDICTS, VERDICTS_VERSION, body)
    log_verdicts(evidence, verdicts, triggers, code)
    if not settings.quiet:
        show(table(verdicts, triggers, details, body["incidents"]))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(workflow_commands(verdicts, triggers, details)), file=sys.stderr)
    for problem in dict.fromkeys(problems):
        complain("enforce_gates.py", problem)
    return code


def show(text: str) -> None:
    try:
        if text:
            print(text, flush=True)
    except BrokenPipeError:  # the reader has seen enough; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def exit_code(verdicts: Iterable[Verdict]) -> int:
    return int(any(verdict.enforcement == "hard" and verdict.verdict != PASS for verdict in verdicts))


def verdict_body(
    evidence: Evidence,
    settings: Settings,
    verdicts: Sequence[Verdict],
    triggers: Sequence[Trigger],
    details: dict[str, Any] | None,
) -> dict[str, Any]:
    open_ = [incident.id for incident in read_incidents(evidence.run.artifacts) if incident.open]
    backlog = [verdict for verdict in verdicts if verdict.gate == "failfast" and verdict.verdict == FAIL]
    return {
        "only": settings.only,
        "judged_run": evidence.run_id,
        "holds": exit_code(verdicts) == 0,
        "gates": [asdict(verdict) for verdict in verdicts],
        "triggers": [asdict(trigger) for trigger in triggers],
        "incidents": open_,
        "coverage": details,
        "backlog": [text for verdict in backlog for text in verdict.evidence],
    }


def log_verdicts(evidence: Evidence, verdicts: Sequence[Verdict], triggers: Sequence[Trigger], code: int) -> None:
    log = evidence.run.log
    for verdict in verdicts:
        if verdict.gate == "events" and verdict.verdict != PASS:
            log.error("logging_deficit", judged_run=evidence.run_id, missing=verdict.evidence)
    rows = {verdict.gate: verdict.verdict for verdict in verdicts}
    states = {trigger.name: trigger.state for trigger in triggers}
    log.info("coverage_ladder_recorded", gates=rows, triggers=states, exit=code)


def table(
    verdicts: Sequence[Verdict],
    triggers: Sequence[Trigger],
    details: Mapping[str, Any] | None,
    open_: Sequence[str],
) -> str:
    """The verdicts for people: one line each, what speaks against it below."""
    lines = [f"{'gate':<13}{'':<10}{'verdict':<19}value"]
    for verdict in verdicts:
        lines.append(f"{verdict.gate:<13}{verdict.enforcement:<10}{verdict.verdict:<19}{one_line(verdict.value)}")
        lines += [f"{'':<23}{one_line(text)}" for text in verdict.evidence]
        if verdict.verdict != PASS:
            lines += [
                f"{'':<23}{name}: {one_line(text)}"
                for name, text in (("limit", verdict.limit), ("remedy", verdict.remedy))
                if text
            ]
    if triggers:
        lines += ["", f"{'trigger':<23}{'state':<19}value"]
    for trigger in triggers:
        limit = f", limit {trigger.limit}" if trigger.limit else ""
        lines.append(f"{trigger.name:<23}{trigger.state:<19}{one_line(trigger.value)}{limit}")
        lines += [f"{'':<23}{one_line(text)}" for text in trigger.evidence if trigger.state != QUIET]
    lines += ["", *advice_lines(details)] if details else []
    if open_:
        lines += ["", f"open incidents: {named(open_)}; fail-fast is forced off until they are resolved:"]
        lines += [f"{SCRIPTS}/enforce_gates.py --resolve {one_line(open_[0])} --reason TEXT"]
    return "\n".join(line.rstrip() for line in lines)


def advice_lines(details: Mapping[str, Any]) -> Iterator[str]:
    for row in details["pace"]:
        metric = METRICS[row["metric"]]
        gain = row[f"{metric}_to_gain"]
        head = f"{row['metric']}: target {row['target']:.2f} %"
        if not gain:
            yield f"{head} is reached"
        else:
            when = f"{row['days_left']} days left" if row["days_left"] >= 0 else f"{-row['days_left']} days late"
            gap = f"{row['points_to_gain']:.2f} points or {gain} {metric} to gain"
            yield f"{head}, {gap}, {when}; due today {row['due_today']:.2f} %"
    rows = [f"{row['path']}:{row['line']} {row['function']} ({row['lines']})" for row in details["functions"]]
    if rows:
        yield f"most to gain in: {named(rows)}"


def workflow_commands(
    verdicts: Sequence[Verdict], triggers: Sequence[Trigger], details: Mapping[str, Any] | None
) -> list[str]:
    """Workflow commands for what does not pass, within GitHub's limit for a step; the last says what is left out."""
    found = []
    for verdict in verdicts:
        if verdict.verdict != PASS:
            level = "error" if verdict.enforcement == "hard" else "warning"
            text = "; ".join([f"{verdict.verdict}: {verdict.value}", *verdict.evidence, verdict.remedy])
            found.append(command(level, f"gate {verdict.gate}", text))
    found += [
        command("warning", f"rollback trigger {t.name}", "; ".join([t.value, *t.evidence]))
        for t in triggers
        if t.state in (FIRED, UNCONFIRMED)
    ]
    dropped = any(verdict.gate == "coverage" and verdict.verdict == FAIL for verdict in verdicts)
    for row in details["losses"] if details and dropped else ():
        text = (
            f"{row['lost']} covered {METRICS[row['metric']]} lost their tests, {row['untested']} new ones have none"
        )
        found.append(command("warning", "coverage", text, row["path"]))
    if len(found) > ANNOTATIONS:
        left = len(found) - ANNOTATIONS + 1
        found[ANNOTATIONS - 1 :] = [
            command("notice", "gates", f"{left} more annotations are left out; see {VERDICTS}")
        ]
    return found


def command(level: str, title: str, text: str, file: str = "") -> str:
    where = f"file={escaped(one_line(file), ':,')}," if file else ""
    return f"::{level} {where}title={escaped(title, ':,')}::{escaped(one_line(text, 1000))}"


def escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)


def drill(run: Run, settings: Settings) -> int:
    """Provoke each trigger on a throw-away copy, with the limits that are in force here, and see what follows."""
    from tempfile import TemporaryDirectory  # a drill only

    rows = []
    with TemporaryDirectory(prefix="gates-drill-") as folder:
        for name in TRIGGERS:
            trigger, missing = drill_one(run, settings, name, Path(folder) / name)
            rows.append((trigger, missing))
            facts = {"value": trigger.value, "limit": trigger.limit, "missing": missing}
            run.log.warning("risk_trigger", drill=True, trigger=name, state=trigger.state, **facts)
    if not settings.quiet:
        lines = [f"{'drill':<13}{'state':<19}value"]
        lines += [f"{t.name:<13}{t.state:<19}{t.value}, limit {t.limit}" for t, _ in rows]
        lines += [f"{t.name}: {text}" for t, missing in rows for text in missing]
        show("\n".join(lines))
    return int(any(missing for _, missing in rows))


def drill_one(run: Run, settings: Settings, name: str, place: Path) -> tuple[Trigger, list[str]]:
    """One trigger: quiet over healthy evidence, and over sick evidence every action of a rollback seen to happen."""
    trial = Run("enforce_gates", run.root, place)
    if not ladder_path(run).exists():
        trial.write_bytes("coverage-ladder.yaml", SAMPLE_LADDER.encode())
    elif ladder_path(run).parent != run.root:
        trial.write_bytes("coverage-ladder.yaml", ladder_path(run).read_bytes())
    today = datetime.now(UTC).date()
    write_samples(trial, Evidence(trial, today).ladder, sick="")
    healthy = {trigger.name: trigger for trigger in triggers_of(Evidence(trial, today), settings)}[name]
    missing = [f"healthy evidence: expected {QUIET}, got {healthy.state}"] * (healthy.state != QUIET)
    write_samples(trial, Evidence(trial, today).ladder, sick=name)
    evidence = Evidence(trial, today, place / "github.env")
    found = roll_back(evidence, triggers_of(evidence, settings), [], lambda _: evidence.case.capture)
    fired = {trigger.name: trigger for trigger in found}[name]
    missing += [f"sick evidence: expected {FIRED}, got {fired.state}"] * (fired.state != FIRED)
    return fired, missing + (unseen_actions(trial) if not missing else [])


def unseen_actions(trial: Run) -> list[str]:
    """What of a rollback cannot be seen in a folder where a trigger fired; resolves the incident at the end."""
    incidents = read_incidents(trial.artifacts)
    incident = incidents[0] if incidents else None
    document = incident.document if incident and incident.document else {}
    seen = {
        "one incident": len(incidents) == 1,
        "a snapshot in it": bool(document.get("snapshot")),
        "a re-evaluation of the ladder in it": bool(document.get("reevaluation")),
        "fail-fast forced off": incident is not None and forced_ids(trial.artifacts) == [incident.id],
        "risk_trigger in the log": incident is not None and is_logged(trial, incident.id),
        "TPR_FAILFAST_MODE=off for later steps": (trial.artifacts / "github.env").exists(),
    }
    if incident:
        resolve(trial, incident.id, "drill", None)
        seen["no longer forced off when resolved"] = forced_ids(trial.artifacts) is None
    return [f"expected {what}, saw none" for what, is_seen in seen.items() if not is_seen]


def write_samples(trial: Run, ladder: Ladder, sick: str) -> None:
    """Evidence of an imaginary suite that keeps every promise, but for what is to be `sick`."""
    totals: dict[str, int] = {}
    for metric, key in METRICS.items():
        covered = -(-10_000 * ladder.baseline.get(metric, exact(100)) // 100)
        totals |= {key: 10_000, f"{key}_covered": 0 if sick == "coverage" else int(covered)}
    scope: dict[str, list[str]] = {"pytest_args": [], "source": [], "skipped_stages": []}
    outcomes = {"tests": 100, "failed": 0, "error": 0, "deselected": 0}
    coverage = {**totals, "files": [{"path": "sample.py", **totals}]}
    capture = {"partial": None, "scope": scope, "outcomes": outcomes, "coverage": coverage}
    trial.write("baseline.metrics.json", "1.0", capture)
    flaky = [{"id": f"test_sample.py::test_{number}"} for number in range(200 if sick == "flakes" else 0)]
    runs = [{"run_id": str(number)} for number in range(30)]
    trial.write("flake.report.json", "1.0", {"runs": runs, "tests_observed": 200, "flaky": flaky, "clusters": []})
    false = {"count": 90 if sick == "properties" else 0, "observed": 90}
    results = {"mode": "deterministic", "runs": 30, "false_failures": false, "mismatches": 0, "tests": []}
    trial.write("property.results.json", "1.0", {**results, "control": {"shown": True}})


SAMPLE_LADDER = """\
schema_version: "1.0"
baseline: {line: 90.0, branch: 80.0, commit: null, recorded: 2026-01-01}
target: {line: 92.0, branch: 82.0}
tolerance: 1
horizon: 2026-04-01
"""


@dataclass(frozen=True)
class Stored:
    """One run of a stored history: when it was, and what each trigger judges."""

    name: str
    at: str
    facts: Mapping[str, Case | Rate | Properties]


def replay(run: Run, settings: Settings, history: Path) -> int:
    """Judge every stored run by the triggers, at the limits in force and at others, and count."""
    stored = sorted(stored_runs(run, history), key=lambda one: (one.at, one.name))
    if not stored:
        names = " or ".join(TRIGGERS.values())
        raise EvidenceError(f"{history}: expected folders with {names}, found none; give a folder of past artifacts")
    rows = [replay_row(name, limit, current, stored) for name, limit, current in replay_limits(run, settings)]
    run.write(REPLAY, REPLAY_VERSION, {"runs": len(stored), "rows": rows})
    run.log.info(
        "coverage_ladder_recorded",
        replayed=len(stored),
        fired={f"{r['trigger']} {r['limit']}": r["fired"] for r in rows},
    )
    if not settings.quiet:
        show(replay_table(rows, len(stored)))
    return 0


def replay_limits(run: Run, settings: Settings) -> list[tuple[str, Fraction, bool]]:
    """The limits to try for each trigger, those in force marked."""
    try:
        tolerance = Evidence(run, date.max).ladder.tolerance
    except AbsentError:
        tolerance = exact(1)
    current = {"coverage": tolerance, "flakes": settings.flake_limit, "properties": exact(PROPERTY_LIMIT)}
    found = []
    for name, others in REPLAYED.items():
        limits = {exact(text) for text in others.split()} | {current[name]}
        found += [(name, limit, limit == current[name]) for limit in sorted(limits)]
    return found


def replay_row(name: str, limit: Fraction, current: bool, stored: Sequence[Stored]) -> dict[str, Any]:
    judged = [(one, replay_trigger(name, one.facts[name], limit)) for one in stored if name in one.facts]
    fired = [one.name for one, trigger in judged if trigger.state == FIRED]
    states = [trigger.state for _, trigger in judged]
    begun = sum(now == FIRED != before for before, now in zip(["", *states], states, strict=False))
    return {
        "trigger": name,
        "limit": plain(limit),
        "in_force": current,
        "runs": len(judged),
        "fired": len(fired),
        "incidents": begun,
        "insufficient_data": states.count(UNKNOWN),
        "first": fired[:NAMED],
    }


def replay_trigger(name: str, facts: Case | Rate | Properties, limit: Fraction) -> Trigger:
    if isinstance(facts, Case):
        return coverage_trigger(replace(facts, ladder=replace(facts.ladder, tolerance=limit)))
    if isinstance(facts, Properties):
        return property_trigger(facts, limit)
    return rate_trigger(name, facts, limit)


def replay_table(rows: Sequence[Mapping[str, Any]], runs: int) -> str:
    lines = [f"{runs} stored runs (* in force; coverage without its second capture)"]
    lines.append(
        f"{'trigger':<13}{'limit':>8}  {'runs':>5} {'fired':>6} {'incidents':>10} {'too little data':>16}  first"
    )
    for row in rows:
        limit = f"{'*' * row['in_force']}{row['limit']}"
        counts = f"{row['runs']:>5} {row['fired']:>6} {row['incidents']:>10} {row['insufficient_data']:>16}"
        lines.append(f"{row['trigger']:<13}{limit:>8}  {counts}  {named(row['first'])}".rstrip())
    return "\n".join(lines)


def stored_runs(run: Run, history: Path) -> Iterator[Stored]:
    """Every folder below that holds an artifact of a trigger; one that is broken is refused by name."""
    for place in sorted({path.parent for path in history.rglob("*.json") if path.name in TRIGGERS.values()}):
        evidence = Evidence(at(run, place), date.max)
        facts: dict[str, Case | Rate | Properties] = {}
        if evidence.document("baseline.metrics.json"):
            facts["coverage"] = stored_case(evidence)
        if evidence.document("flake.report.json"):
            facts["flakes"] = evidence.flakes("")
        if evidence.document("property.results.json"):
            facts["properties"] = evidence.properties()
        found = [document for name in TRIGGERS.values() if (document := evidence.document(name))]
        yield Stored(place.relative_to(history.parent).as_posix(), max(str(d["generated_at"]) for d in found), facts)


def stored_case(evidence: Evidence) -> Case:
    """A capture with the promise of its day: the ladder's baseline as the capture recorded it."""
    capture = read_capture(evidence.need("baseline.metrics.json"))
    reference = evidence.document("reference.metrics.json")
    known = (read_capture(reference),) if reference else ()
    ladder = Ladder(capture.promise, {}, exact(0), date.min, date.max)
    return Case(ladder, capture, known, date.min, capture.commit)


def parser() -> Arguments:
    env = os.environ
    arguments = Arguments(str(__doc__), "enforce_gates")
    add = arguments.add_argument
    add("--only", choices=tuple(GATES), metavar="GATE", help=f"judge one: {', '.join(GATES)}")
    add("--drill", action="store_true", help="provoke each trigger on a throw-away copy")
    add("--replay", type=folder, metavar="DIR", help="judge a history: a folder of folders of artifacts")
    add("--resolve", metavar="ID", help="close an incident")
    add("--reason", type=words, metavar="TEXT", help="why it is closed")
    add(
        "--flake-threshold",
        type=percentage,
        metavar="PERCENT",
        default=env.get("TPR_FLAKE_RATE_THRESHOLD", "2"),
        help="flaky tests that trigger a rollback (default 2)",
    )
    for mode, key, default in TARGETS:
        add(
            f"--{mode}-target",
            type=percentage,
            metavar="PERCENT",
            default=env.get(key, default),
            help=f"how much sooner {mode} mode is to show a failure (default {default})",
        )
    return arguments


def percentage(text: str) -> Fraction:
    """argparse type: 2, 2.5 or 2 %."""
    number = text.strip().removesuffix("%").strip()
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,20})?", number) and (value := exact(number)) <= 100:
        return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 100, got {text!r}")


def words(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a reason, got nothing")
    return text.strip()


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser()
    args = arguments.parse_args(argv)
    if sum(bool(way) for way in (args.drill, args.replay, args.resolve, args.only)) > 1:
        arguments.error("--only, --drill, --replay and --resolve exclude each other")
    if bool(args.resolve) != bool(args.reason):
        arguments.error("--resolve ID and --reason TEXT belong together")
    handed = os.environ.get("GITHUB_ENV")
    settings = Settings(
        only=args.only,
        flake_limit=args.flake_threshold,
        targets={mode: getattr(args, f"{mode}_target") for mode, _, _ in TARGETS},
        quiet=args.quiet,
        github_env=Path(handed) if handed else None,
    )
    try:
        run = Run("enforce_gates", args.root, (args.artifacts or args.root / "artifacts").absolute())
    except EvidenceError as error:
        return complain("enforce_gates.py", str(error))
    try:
        if args.resolve:
            said = resolve(run, args.resolve, args.reason, settings.github_env)
            show("" if args.quiet else said)
            return 0
        if args.drill:
            return drill(run, settings)
        return replay(run, settings, args.replay) if args.replay else enforce(run, settings)
    except EvidenceError as error:
        problem, code = str(error), complain("enforce_gates.py", str(error))
    except OSError as error:
        problem = f"{error.filename or args.root}: {error.strerror or error}; make room for it"
        code = complain("enforce_gates.py", problem)
    except KeyboardInterrupt:
        problem, code = "interrupted", complain("enforce_gates.py", "interrupted")
    with suppress(EvidenceError):
        run.log.error("coverage_ladder_recorded", gates={}, problem=problem, exit=code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
