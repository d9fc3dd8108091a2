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
import os
import re
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, partial
from itertools import accumulate, count
from math import ceil
from pathlib import Path
from types import NoneType

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
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
    sha256,
    show,
    write_atomic,
)

try:
    from fcntl import LOCK_EX, flock
except ImportError:  # Windows: one gate at a time
    LOCK_EX, flock = 2, lambda *_: None  # type: ignore[misc]

TYPE_CHECKING = False  # typing would cost --help a tenth of its time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from events import LogReading

    Document = Mapping[str, Any]
    Again = Callable[[Path], "Capture | str"]  # captures into a folder, or says why it could not

VERDICTS, VERDICTS_VERSION = "gate.verdicts.json", "1.0"  # 1.0 first
REPLAY, REPLAY_VERSION = "gate.replay.json", "1.0"  # 1.0 first
INCIDENT, INCIDENT_VERSION = "incident.json", "1.0"  # 1.0 first
FORCED_OFF, FORCED_OFF_VERSION = "failfast.forced_off.json", "1.0"  # 1.0 first; pytest's side and the capture obey it

PASS, FAIL, UNKNOWN = "pass", "fail", "insufficient data"
FIRED, QUIET, UNCONFIRMED = "fired", "quiet", "not confirmed"
UNREADABLE = "not readable"
BASELINE, REFERENCE, SIGNATURE = "baseline.metrics.json", "reference.metrics.json", "env.signature.json"
GATES = {  # gate: how hard it is, what follows where it does not pass
    "environment": ("hard", "halt before the tests; the failure file says why"),
    "coverage": ("hard", "fail the job; evaluate the rollback"),
    "failfast": ("advisory", "an item for the optimisation backlog"),
    "properties": ("advisory", "audit the seed; run the named tests alone"),
    "events": ("hard", "log logging_deficit; block the checkpoint"),
    "integrity": ("hard", "stop the release; produce the evidence anew and look into it"),
}
TRIGGERS = {  # what may roll back: the artifact it rests on
    "coverage": BASELINE,
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
EMITTERS = {  # an event's first word: what logs it, if not a capture
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
MANDATORY = (BASELINE, "baseline.metrics.hash")
LOCK_HASH = "requirements.lock.hash"
ENVELOPE = frozenset("artifact schema_version run_id generated_at commit dirty sha256".split())
CAPTURE = "collect_metrics.py"
PRODUCERS = {  # what is missing: what makes it, if not a capture
    "failfast.summary.json": "benchmark_failfast.py",
    "property.results.json": "aggregate_properties.py",
}
TARGETS = {  # mode: its key, percent
    "soft": ("TPR_MAX_FAIL_FAST_IMPROVEMENT_TARGET", "40"),
    "hard": ("TPR_HARD_FAIL_FAST_IMPROVEMENT_TARGET", "60"),
}
REPLAYED = {"coverage": "0 0.5 1 2 5", "flakes": "1 2 5 10", "properties": "0.1 0.5 1 2"}  # limits to try
PROPERTY_RUNS = 30
PROPERTY_LIMIT = Fraction("0.5")  # percent of false failures
FLAKE_RUNS, FLAKE_TESTS = 10, 30  # fewer say nothing: bench_gates.py draws the operating curve
Z_SQUARED = Fraction("3.8416")  # 1.96 squared: 95 % of the normal distribution, both sides
LARGEST_COUNT = 8_000_000  # below it a percentage's float gives its two counts' quotient back exactly
SAID = ("name", "value", "limit", "where")  # of a trigger, in the log
NAMED = 5  # files, tests or functions named in a line of evidence
FILES_READ, FUNCTIONS_KEPT = 20, 10
SCRIPTS = "python scripts/tests"


@dataclass(frozen=True)
class Row:
    """What a gate or a trigger says, in words and numbers that do not contradict each other."""

    name: str
    state: str
    value: str
    limit: str = ""
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    where: tuple[str, ...] = ()
    digest: str = ""  # of the artifact that a trigger rests on


def decimal(value: Fraction, digits: int) -> str:
    return f"{Decimal(f'{round(value * 10**digits)}e-{digits}'):f}"


def places(value: Fraction) -> int:
    """How many decimal places it takes to write a number exactly; 0 if no twenty do."""
    return next((digits for digits in range(20) if (value * 10**digits).denominator == 1), 0)


def plain(value: Fraction) -> str:
    """A limit in as few digits as it takes."""
    return decimal(value, places(value))


def apart(value: Fraction, limit: Fraction) -> tuple[str, str]:
    """Both numbers with the fewest digits, at least two, that show which of them is larger."""
    digits = max(2, places(limit))
    while sign(round(value, digits) - round(limit, digits)) != sign(value - limit):
        digits += 1
    return decimal(value, digits), decimal(limit, digits)


def sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def named(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = len(items) - NAMED
    return ", ".join(map(one_line, items[:NAMED])) + (f" and {more} more" if more > 0 else "")


def command(script: str, *words: str) -> str:
    """A remedy to paste."""
    from shlex import join

    return one_line(f"{SCRIPTS}/{script} {join(words)}".rstrip(), 2000)


def short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "none"


@dataclass(frozen=True)
class Ladder:
    """The committed promise about coverage: percent per metric, points, days."""

    baseline: Mapping[str, Fraction]
    target: Mapping[str, Fraction]
    tolerance: Fraction
    recorded: date
    horizon: date
    reason: str | None = None


class LadderError(Exception):
    """What is wrong with a ladder file: a line's number and a text."""


def number(text: str) -> Fraction:
    value = Fraction(text)
    if value > 100:
        raise ValueError
    return value


NUMBER = (
    "a number from 0 to 100",
    r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,2})?",
    number,
)
DAY = ("a day like 2026-03-31", r"\d{4}-\d\d-\d\d", date.fromisoformat)
LADDER: dict[str, tuple[str, str, Callable[[str], Any]]] = {  # key: what it is, its form, how it is read
    "schema_version": ("1.0", r"1\.0", str),
    "baseline.line": NUMBER,
    "baseline.branch": NUMBER,
    "baseline.commit": ("a commit id or null", "[0-9a-f]{7,64}", str),
    "baseline.recorded": DAY,
    "target.line": NUMBER,
    "target.branch": NUMBER,
    "tolerance": NUMBER,
    "horizon": DAY,
    "reason": ("words", r".*\S.*", str),
}
SECTIONS = ("baseline", "target")
OPTIONAL = ("baseline.commit", "reason")
NULLABLE = (*OPTIONAL, "baseline.branch", "target.branch")


def read_ladder(data: bytes, name: str) -> Ladder:
    """The ladder in a file's bytes; whatever is not exactly a ladder is refused with its key and line."""
    try:
        return ladder_of(dict(entries(ladder_tree(data))))
    except LadderError as error:
        line, text = error.args
        remedy = f"mend it, or record it anew: {SCRIPTS}/{CAPTURE} --rebaseline --reason TEXT"
        raise EvidenceError(f"{name}: line {line}: {text}; {remedy}") from None


def ladder_tree(data: bytes) -> Any:
    """The file as YAML's nodes: what stands there, not what YAML would make of it."""
    import yaml  # costs twice a bare interpreter's start; most gates do not need it

    text = data.decode("utf-8-sig", "surrogateescape")  # YAML takes no surrogate for text
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise LadderError(line, f"expected text, got the character {error.character:#x}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise LadderError(mark.line + 1 if mark else 1, f"expected YAML: {one_line(error.problem)}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise LadderError(1, f"expected YAML: {one_line(error)}") from None


def entries(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a mapping under their dotted keys, each known and given once."""
    if node is None or node.id != "mapping":
        raise LadderError(line_of(node), f"{prefix.rstrip('.') or 'the file'}: expected keys with values")
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = prefix + (key.value if key.id == "scalar" else "[not a word]"), line_of(key)
        if name not in LADDER and name not in SECTIONS:
            raise LadderError(line, f"{one_line(name)}: unknown key; known are {', '.join(LADDER)}")
        if name in seen:
            raise LadderError(line, f"{name}: given twice, first in line {seen[name]}")
        seen[name] = line
        if name in SECTIONS:
            yield from entries(value, f"{name}.")
        else:
            yield name, value


def line_of(node: Any) -> int:
    return node.start_mark.line + 1 if node else 1


def ladder_of(nodes: Mapping[str, Any]) -> Ladder:
    if missing := [key for key in LADDER if key not in nodes and key not in OPTIONAL]:
        raise LadderError(1, f"{missing[0]}: missing")
    values = {key: value_of(key, node) for key, node in nodes.items()}
    if 1 < values["tolerance"] >= values["baseline.line"]:
        text = f"expected less than baseline.line, got {nodes['tolerance'].value}: a drop could never fail"
        raise LadderError(line_of(nodes["tolerance"]), f"tolerance: {text}")
    baseline, target = (
        {metric: quotient(percent) for metric in METRICS if (percent := values[f"{section}.{metric}"]) is not None}
        for section in SECTIONS
    )
    days = values["baseline.recorded"], values["horizon"]
    return Ladder(baseline, target, values["tolerance"], *days, values.get("reason"))


def value_of(key: str, node: Any) -> Any:
    """The value under a key. A quoted number is none."""
    what, form, read = LADDER[key]
    if node.id != "scalar":
        raise LadderError(line_of(node), f"{key}: expected one value")
    text, bare = node.value, node.style is None
    if key in NULLABLE and bare and text in ("null", "Null", "NULL", "~", ""):
        return None
    if re.fullmatch(form, text, re.ASCII | re.DOTALL) and (bare or read is not number):
        with suppress(ValueError):
            return read(text)
    got = one_line(text if bare else repr(text), 60) or "nothing"
    raise LadderError(line_of(node), f"{key}: expected {what}, got {got}")


def quotient(percent: Fraction) -> Fraction:
    """A percentage that was recorded from counts is a quotient printed as a float: it is that quotient again."""
    return percent.limit_denominator(LARGEST_COUNT)


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
        return Fraction(100 * self.covered, self.valid)

    def __str__(self) -> str:
        return f"{self.covered} of {self.valid}"


NOTHING = Counts(0, 0)


@dataclass(frozen=True)
class Capture:
    """What a capture of the suite says about coverage, and what it is comparable with."""

    digest: str
    commit: str | None
    partial: str | None
    scope: tuple[str, ...]  # the words that ask for the same capture again
    skipped: tuple[str, ...]
    shard: str | None
    environment: str | None
    tests: int
    totals: Mapping[str, Counts]  # per metric; none where nothing was measured
    files: Mapping[str, Mapping[str, Counts]]
    promise: Mapping[str, Fraction]  # the ladder's baseline as it was then


def pick(document: Document, path: str, *kinds: type) -> Any:
    """The value under a dotted path, of exactly one of these types (None: it may be missing)."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        where, got = document.get("artifact"), one_line(repr(value), 60)
        raise EvidenceError(f"{where}: {path}: expected {names}, got {got}; produce it anew")
    return value


def rows_of(document: Document, path: str) -> list[dict[str, Any]]:
    return [row for row in pick(document, path, list) if isinstance(row, dict)]


def read_capture(document: Document) -> Capture:
    coverage = pick(document, "coverage", dict, NoneType) or {}
    rows = pick(document, "coverage.files", list) if coverage else []
    shard = pick(document, "scope", dict).get("shard")
    promise = pick(document, "ladder.baseline", dict) if document.get("ladder") else {}
    arguments = [str(word) for word in pick(document, "scope.pytest_args", list)]
    return Capture(
        digest=pick(document, "sha256", str),
        commit=pick(document, "commit", str, NoneType),
        partial=pick(document, "partial.reason", str) if pick(document, "partial", dict, NoneType) else None,
        scope=(*flags("--source", pick(document, "scope.source", list)), *(["--", *arguments] if arguments else [])),
        skipped=tuple(map(str, pick(document, "scope.skipped_stages", list))),
        shard=None if shard is None else one_line(shard, 40),
        environment=pick(document, "environment.signature", str) if document.get("environment") else None,
        tests=pick(document, "outcomes.tests", int),
        totals={m: counts for m in METRICS if coverage and (counts := counts_of(document, coverage, m)).valid},
        files={m: {pick(row, "path", str): counts_of(document, row, m) for row in rows} for m in METRICS},
        promise={m: quotient(Fraction(repr(p))) for m in METRICS if isinstance(p := promise.get(m), int | float)},
    )


def flags(name: str, values: Iterable[object]) -> list[str]:
    return [word for value in values for word in (name, str(value))]


def counts_of(document: Document, row: Document, metric: str) -> Counts:
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
        for known in self.references:
            if self.ladder.baseline == {metric: counts.percent for metric, counts in known.totals.items()}:
                return known
        return None


@dataclass(frozen=True)
class Comparison:
    """One metric then and now, and on its way to the target."""

    metric: str
    promised: Fraction
    now: Counts
    percent: Fraction
    drop: Fraction  # points lost that removed code does not explain; negative where it rose
    dropped: bool  # by more than the tolerance
    target: Fraction  # 0 where there is none
    missed: bool  # the target, after its horizon
    due_today: Fraction
    to_gain: int  # statements or branches
    days_left: int
    proposed_horizon: str  # when the target is reached from here at the pace that was promised


def compare(case: Case) -> list[Comparison]:
    return [compare_metric(case, metric) for metric in case.capture.totals if metric in case.ladder.baseline]


def compare_metric(case: Case, metric: str) -> Comparison:
    ladder, now, today = case.ladder, case.capture.totals[metric], case.today
    promised, target, percent = ladder.baseline[metric], ladder.target.get(metric, Fraction(0)), now.percent
    drop = promised - percent
    if case.reference:
        removed = removed_covered(case.reference.files[metric], case.capture.files[metric])
        drop = unexplained_drop(case.reference.totals[metric], now, removed)
    span, passed = max(1, (ladder.horizon - ladder.recorded).days), (today - ladder.recorded).days
    rise, gap = target - promised, max(Fraction(0), target - percent)
    days = ceil(gap * span / rise) if rise > 0 else 0
    arrival = date.fromordinal(min(today.toordinal() + days, date.max.toordinal()))
    return Comparison(
        metric,
        promised,
        now,
        percent,
        drop,
        dropped=drop > ladder.tolerance,
        target=target,
        missed=today > ladder.horizon and percent < target,
        due_today=promised + rise * Fraction(min(max(passed, 0), span), span),
        to_gain=max(0, ceil(target * now.valid / 100) - now.covered),
        days_left=(ladder.horizon - today).days,
        proposed_horizon=str(max(ladder.horizon, arrival) if gap else ladder.horizon),
    )


def removed_covered(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> int:
    """Covered statements that may have gone with their code: in a file that shrank, at most by how much."""
    pairs = [(then, after.get(path, NOTHING)) for path, then in before.items()]
    return sum(max(0, min(then.covered - now.covered, then.valid - now.valid)) for then, now in pairs)


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
        key, counts = METRICS[self.metric], f"{self.before} covered before, {self.now} now"
        parts = [f"{self.lost} covered {key} lost their tests"] * bool(self.lost)
        parts += [f"{self.untested} new {key} have no test"] * bool(self.untested)
        return f"{one_line(self.path)}: {', '.join(parts)} ({counts})"


def losses(case: Case, metric: str) -> list[Loss]:
    """Where coverage was lost, the worst first; none without a reference."""
    if not case.reference:
        return []
    rows = []
    for path, now in case.capture.files[metric].items():
        then = case.reference.files[metric].get(path, NOTHING)
        lost = max(0, then.covered - now.covered - max(0, then.valid - now.valid))
        untested = max(0, now.missing - then.missing - lost)
        if lost or untested:
            rows.append(Loss(metric, path, then, now, lost, untested))
    return sorted(rows, key=lambda row: (-row.lost - row.untested, row.path))


def obstacles(case: Case) -> tuple[str, ...]:
    """Why this capture cannot be compared with the promise; each reason alone is enough."""
    now, then = case.capture, case.reference or case.capture
    was, asked = (one_line(repr(" ".join(one.scope))) for one in (then, now))
    signatures = f"{short(then.environment)}, now {short(now.environment)}"
    found = (
        (now.partial, f"the capture is partial: {one_line(now.partial)}"),
        (now.shard, f"the capture is shard {now.shard} only; merge the shards"),
        ("line" not in now.totals, "the capture measured no coverage"),
        (now.commit != case.head, f"the capture is of commit {short(now.commit)}, checked out is {short(case.head)}"),
        (then.scope != now.scope, f"another scope: it was {was}, now {asked}"),
        (then.environment != now.environment, f"another environment: its signature was {signatures}"),
    )
    return tuple(text for holds, text in found if holds)


def lowered_by_hand(case: Case) -> list[str]:
    """Where the ladder's baseline is below the one on record, with no reason given."""
    if case.reference or case.ladder.reason:
        return []
    return [
        f"baseline.{metric} was lowered from {apart(was, now)[0]} to {apart(was, now)[1]} % and no reason is given"
        for known in case.references
        for metric, was in known.promise.items()
        if (now := case.ladder.baseline.get(metric, Fraction(0))) < was
    ]


def judge_coverage(case: Case) -> Row:
    """Whether coverage keeps the promise: no drop beyond the tolerance, the target reached by its horizon."""
    limit = f"points lost: at most {plain(case.ladder.tolerance)}; the target by {case.ladder.horizon}"
    digest = case.capture.digest
    if reasons := obstacles(case):
        remedy = command(CAPTURE, *(case.reference or case.capture).scope)
        return Row("coverage", UNKNOWN, "not comparable", limit, reasons, remedy, digest=digest)
    rows, lowered = compare(case), lowered_by_hand(case)
    fallen = [row for row in rows if row.dropped]
    evidence = [*lowered, *(text for row in rows for text in findings(row, case))]
    if not case.reference:
        evidence.append("judged by percentages alone: no reference.metrics.json is of the ladder's baseline")
    elif fallen:
        evidence.append(f"tests: {case.reference.tests} before, {case.capture.tests} now")
    state = FAIL if lowered or fallen or any(row.missed for row in rows) else PASS
    accept = command(CAPTURE, "--rebaseline", "--reason", "TEXT", *case.capture.scope)
    remedy = f"test what is named here, or accept it: {accept}"
    value = "; ".join(comparison_text(row, case.ladder.tolerance) for row in rows)
    where = tuple(dict.fromkeys(loss.path for row in fallen for loss in losses(case, row.metric)))
    return Row("coverage", state, value, limit, tuple(evidence), remedy, where, digest)


def comparison_text(row: Comparison, tolerance: Fraction) -> str:
    lost = f"{apart(row.drop, tolerance)[0]} points lost" if row.drop > 0 else "nothing lost"
    return f"{row.metric} {apart(row.percent, row.target)[0]} % ({row.now}), {lost}"


def findings(row: Comparison, case: Case) -> Iterator[str]:
    """What there is to say about one metric: its drop and where, its missed target, a fall that is no drop."""
    allowed = case.ladder.tolerance
    if row.dropped:
        yield "{}: {} points lost, {} allowed".format(row.metric, *apart(row.drop, allowed))
        worst = losses(case, row.metric)
        yield from map(str, worst[:NAMED])
        if len(worst) > NAMED:
            yield f"{len(worst) - NAMED} more files lost {METRICS[row.metric]}"
    if row.missed:
        now, target = apart(row.percent, row.target)
        yield f"{row.metric}: {now} %, but {target} % was to be reached by {case.ladder.horizon}"
    fell = row.promised - row.percent
    if fell > allowed >= row.drop:
        explained = decimal(fell - max(row.drop, Fraction(0)), 2)
        yield f"{row.metric}: the percentage fell by {decimal(fell, 2)} points; removed code explains {explained}"


def judge_environment(
    signature: Document | None, failure: Document | None, captured: str | None, lock_changed: str
) -> Row:
    """Whether the environment was validated, and is the one that the suite was captured in (None: no capture)."""
    again, limit = f"{SCRIPTS}/validate_env.py", "validated, and captured in it"
    if failure and failure["generated_at"] > (signature["generated_at"] if signature else ""):
        rows = rows_of(failure, "reasons")
        texts = [f"{row.get('code')}: expected {row.get('expected')}, got {row.get('actual')}" for row in rows]
        remedy = one_line(rows[0].get("remedy") or again) if rows else again
        return Row("environment", FAIL, "refused", limit, tuple(map(one_line, texts)), remedy)
    if not signature:
        return Row("environment", UNKNOWN, "not validated", limit, (f"there is no {SIGNATURE}",), again)
    known = pick(signature, "signature", str)
    evidence = [f"{one_line(lock_changed)} changed after that"] * bool(lock_changed)
    if captured not in (None, known):
        evidence.append(f"the suite was captured in {short(captured)}")
    state, remedy = FAIL if evidence else PASS, f"{SCRIPTS}/{CAPTURE}"
    return Row("environment", state, f"validated {short(known)}", limit, tuple(evidence), remedy)


def judge_failfast(improvement: Mapping[str, Fraction], targets: Mapping[str, Fraction]) -> Row:
    """Whether a failure shows as much sooner as was asked for, in percent of the time without fail-fast."""
    limit = ", ".join(f"{mode} {plain(target)} %" for mode, target in targets.items())
    remedy = f"{SCRIPTS}/benchmark_failfast.py"
    if not improvement:
        return Row("failfast", UNKNOWN, "not measured", limit, ("the last run was no benchmark",), remedy)
    texts = {mode: f"{mode} {apart(improvement[mode], target)[0]} %" for mode, target in targets.items()}
    late = tuple(
        f"{texts[mode]} sooner is short of its target" for mode in targets if improvement[mode] < targets[mode]
    )
    remedy = f"look at the slowest faults: {remedy}"
    return Row("failfast", FAIL if late else PASS, ", ".join(texts.values()), limit, late, remedy)


def improvements(summary: Document) -> dict[str, Fraction]:
    """By how many percent each mode shows a failure sooner than a full run, in the mean over all faults."""
    if pick(summary, "benchmark", dict, NoneType) is None:
        return {}
    means = [pick(summary, f"benchmark.overall.modes.{mode}.mean", int, float) for mode in ("off", *TARGETS)]
    slow, *fast = (Fraction(repr(mean)) for mean in means)
    return {mode: 100 * (1 - mean / slow) for mode, mean in zip(TARGETS, fast, strict=True)} if slow > 0 else {}


def judge_properties(results: Document) -> Row:
    """Whether no property test failed falsely and all runs saw the same examples."""
    runs, mismatches = pick(results, "runs", int), pick(results, "mismatches", int)
    false, flaky = pick(results, "false_failures.count", int), unstable(results)
    limit, value = f"0 in {PROPERTY_RUNS} runs", f"{false} false failures, {mismatches} mismatches in {runs} runs"
    again = f"{SCRIPTS}/aggregate_properties.py --runs {PROPERTY_RUNS}"
    if false or mismatches:
        alone = command("aggregate_properties.py", "--", *flaky[:NAMED])
        return Row("properties", FAIL, value, limit, (f"not to be believed: {named(flaky)}",), alone)
    doubts = ["the runs were partial"] * bool(results.get("partial"))
    doubts += ["these were fuzz runs, without a seed"] * (results.get("mode") != "deterministic")
    doubts += [f"{PROPERTY_RUNS - runs} runs are missing"] * (runs < PROPERTY_RUNS)
    control = results.get("control")
    shown = isinstance(control, dict) and control.get("shown")
    doubts += ["another seed changed nothing, so equal examples prove nothing"] * (not shown)
    return Row("properties", UNKNOWN if doubts else PASS, value, limit, tuple(doubts), again)


def unstable(results: Document) -> list[str]:
    return [str(row.get("id")) for row in rows_of(results, "tests") if row.get("mismatch") or row.get("problems")]


def judge_events(events: Sequence[Document], problems: Sequence[str], run_id: str) -> Row:
    """Whether the log of one run is whole: every event of the taxonomy, every start ended, the chain unbroken."""
    mine = [event for event in events if event["context"].get("run_id") == run_id]
    seen = {(event["event"], event["context"].get("script") == "enforce_gates") for event in mine}
    seen -= {("coverage_ladder_recorded", True)}  # our own record proves nothing about the capture's
    missing = sorted(EXPECTED - {name for name, _ in seen})
    evidence = [f"{LOG_NAME}: {one_line(problem)}" for problem in problems[:NAMED]]
    evidence += [f"missing: {name} ({EMITTERS.get(name.partition('_')[0], CAPTURE)})" for name in missing] + unended(
        mine
    )
    if any(event["event"] == "logging_deficit" and not event.get("drill") for event in mine):
        evidence.append("a deficit was logged in this run before; start a new one")
    value = f"{len(EXPECTED) - len(missing)} of {len(EXPECTED)} events"
    limit = "every event, every start ended, an unbroken chain"
    remedy = f"run what is named here with TPR_RUN_ID={one_line(run_id)}"
    if problems:
        remedy = f"move {LOG_NAME} away and run the chain anew"
    if not mine:
        return Row("events", UNKNOWN, value, limit, (f"no event of run {one_line(run_id)}",), remedy)
    return Row("events", FAIL if evidence else PASS, value, limit, tuple(evidence), remedy)


def unended(events: Sequence[Document]) -> list[str]:
    """Starts without an end and ends without a start, process by process."""
    seen = Counter((event["event"], event["context"].get("pid")) for event in events)
    found = []
    for start, ends in ENDS.items():
        for pid in sorted({pid for name, pid in seen if name in (start, *ends)}, key=str):
            begun, ended = seen[start, pid], sum(seen[end, pid] for end in ends)
            if begun != ended:
                found.append(f"process {pid}: {begun} {start}, {ended} ended")
    return found


def judge_integrity(held: int, wrong: Sequence[str], absent: Sequence[str]) -> Row:
    """Whether every artifact, hash file and incident is as it was written."""
    state = FAIL if wrong else UNKNOWN if absent else PASS
    evidence = (*map(one_line, wrong), *(f"missing: {name}" for name in absent))
    value = f"{held} files hold, {len(wrong)} do not"
    remedy = f"remove what is named here and run {SCRIPTS}/pipeline.py"
    return Row("integrity", state, value, "every digest holds", evidence, remedy)


def coverage_trigger(case: Case) -> Row:
    """Fires where the gate fails for a drop alone. It rests on one run, so it is to be confirmed by another."""
    row = judge_coverage(replace(case, ladder=replace(case.ladder, target={}, reason="set aside")))
    return replace(row, state={PASS: QUIET, FAIL: FIRED}.get(row.state, UNKNOWN), remedy="")


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

    @property
    def lacks(self) -> str:
        lacks = []
        if self.runs < self.least_runs:
            lacks.append(f"{self.least_runs - self.runs} more runs")
        if self.trials < self.least_trials:
            lacks.append(f"{self.least_trials - self.trials} more {self.unit}")
        return f"needs {' and '.join(lacks)}" if lacks else ""


def flake_rate(report: Document, settled: str) -> Rate:
    """The flaky tests, without those that last failed before `settled`, when an incident of theirs was resolved."""
    fresh = [r for r in rows_of(report, "flaky") if not settled or str(r.get("last_failed") or "unknown") > settled]
    runs = [row for row in rows_of(report, "runs") if not row.get("set_aside")]
    where, trials = tuple(str(row.get("id")) for row in fresh), pick(report, "tests_observed", int)
    return Rate(len(fresh), trials, len(runs), "tests", FLAKE_TESTS, FLAKE_RUNS, where, report["sha256"])


def property_rate(results: Document) -> Rate:
    false, observed = (pick(results, f"false_failures.{key}", int) for key in ("count", "observed"))
    runs = pick(results, "runs", int) if results.get("mode") == "deterministic" else 0
    where = tuple(unstable(results)) if false else ()
    return Rate(false, observed, runs, "results", 1, PROPERTY_RUNS, where, results["sha256"])


def rate_trigger(name: str, rate: Rate, limit: Fraction) -> Row:
    """Fires when the Wilson interval's lower bound is above the limit, in percent, and enough was observed.

    The bound is above t exactly when n (p - t)^2 > z^2 t (1 - t) and p > t: no root, so no rounding.
    """
    share, threshold = Fraction(rate.hits, max(rate.trials, 1)), limit / 100
    spread = Z_SQUARED * threshold * (1 - threshold)
    above, lacks, text = share > threshold, rate.lacks, f"{plain(limit)} %"
    if above and not lacks and rate.trials * (share - threshold) ** 2 <= spread:
        enough = int(spread / (share - threshold) ** 2) + 1
        lacks = f"at this rate {enough - rate.trials} more {rate.unit} would show that it is above {text}"
    value = f"{apart(100 * share, limit)[0]} % ({rate.hits} of {rate.trials} {rate.unit} in {rate.runs} runs)"
    state = UNKNOWN if lacks else FIRED if above else QUIET
    evidence = tuple(word for word in (interval_text(rate), lacks) if word)
    return Row(name, state, value, text, evidence, where=rate.where, digest=rate.digest)


def interval_text(rate: Rate) -> str:
    """The Wilson score interval in percent (Wilson 1927), for people; the trigger itself compares exactly."""
    if not rate.trials:
        return ""
    n, share, z2 = rate.trials, rate.hits / rate.trials, float(Z_SQUARED)
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * share * (1 - share) / n + z2 * z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return f"95 % interval {100 * max(0.0, middle - half):.2f} to {100 * min(1.0, middle + half):.2f} %"


class AbsentError(EvidenceError):
    """An artifact that a gate needs is not there: too little data, no defect."""


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment asked for."""

    only: str | None
    flake_limit: Fraction
    targets: Mapping[str, Fraction]
    quiet: bool
    github_env: Path | None


class Evidence:
    """The one door to what a run left behind: read when asked for, refused in one line where it does not hold."""

    def __init__(self, run: Run, today: date) -> None:
        self.run, self.today = run, today
        self.places = list(dict.fromkeys([run.artifacts, run.root / "artifacts" / "foundation"]))
        self._read: dict[Path, Document] = {}

    def document(self, name: str, place: Path | None = None) -> Document | None:
        path = (place or self.run.artifacts) / name
        if path not in self._read and path.exists():
            document = read_artifact(path)
            if not str(version := document.get("schema_version")).startswith("1."):
                got = one_line(version, 20)
                raise EvidenceError(f"{name}: schema_version: expected 1.x, got {got}; produce it anew")
            self._read[path] = document
        return self._read.get(path)

    def need(self, name: str) -> Document:
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
            if not os.environ.get("TPR_RUN_ID") and (baseline := self.document(BASELINE)):
                return str(baseline["run_id"])
        return self.run.id

    @cached_property
    def capture(self) -> Capture:
        return read_capture(self.need(BASELINE))

    @cached_property
    def references(self) -> tuple[Capture, ...]:
        found = [self.document(REFERENCE, place) for place in self.places]
        return tuple(read_capture(document) for document in found if document)

    @cached_property
    def case(self) -> Case:
        return Case(self.ladder, self.capture, self.references, self.today, self.run.commit[0])

    @cached_property
    def ladder(self) -> Ladder:
        path = self.ladder_path
        try:
            return read_ladder(path.read_bytes(), path.name)
        except FileNotFoundError:
            raise AbsentError(path.name) from None
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None

    @property
    def ladder_path(self) -> Path:
        own = self.run.root / "coverage-ladder.yaml"
        return own if own.exists() else self.run.artifacts / own.name

    @property
    def comparable(self) -> Case | None:
        """The case, where the capture can be compared with the promise."""
        with suppress(EvidenceError):
            return None if obstacles(self.case) else self.case
        return None

    def environment(self) -> tuple[Document | None, Document | None, str | None, str]:
        """The validator's two documents, the environment of the capture, the lock file if it has changed since."""
        signature, failure = self.document(SIGNATURE), self.document("env.validation.failure.json")
        captured = self.capture.environment if self.document(BASELINE) else None
        lock = pick(signature, "lock_sources", dict, NoneType) or {} if signature else {}
        path = self.run.root / str(lock.get("file"))
        changed = path.is_file() and file_digest(path) != lock.get("sha256")
        return signature, failure, captured, path.name if changed else ""


def verdicts_of(evidence: Evidence, settings: Settings) -> list[Row]:
    """What each gate says over what the run left behind."""
    need = evidence.need
    questions: dict[str, Callable[[], Row]] = {
        "environment": lambda: judge_environment(*evidence.environment()),
        "coverage": lambda: judge_coverage(evidence.case),
        "failfast": lambda: judge_failfast(improvements(need("failfast.summary.json")), settings.targets),
        "properties": lambda: judge_properties(need("property.results.json")),
        "events": lambda: judge_events(evidence.log.events, evidence.log.problems, evidence.run_id),
        "integrity": lambda: judge_integrity(*audit(evidence)),
    }
    return [answer(gate, questions[gate]) for gate in GATES if settings.only in (None, gate)]


def triggers_of(evidence: Evidence, settings: Settings) -> list[Row]:
    """What each rollback trigger says, at the limits in force."""
    return [answer(name, partial(trigger, name, evidence, settings)) for name in TRIGGERS]


def trigger(name: str, evidence: Evidence, settings: Settings, limit: Fraction | None = None) -> Row:
    """What one rollback trigger says, at this limit or the one in force."""
    if name == "coverage":
        case = evidence.case
        return coverage_trigger(
            case if limit is None else replace(case, ladder=replace(case.ladder, tolerance=limit))
        )
    document = evidence.need(TRIGGERS[name])
    if name == "flakes":
        rate, usual = flake_rate(document, resolved_at(evidence.run.artifacts, name)), settings.flake_limit
    else:
        rate, usual = property_rate(document), PROPERTY_LIMIT
    return rate_trigger(name, rate, usual if limit is None else limit)


def answer(name: str, question: Callable[[], Row]) -> Row:
    """The row asked for; too little data where an artifact is not there or does not hold."""
    try:
        return question()
    except AbsentError as error:
        remedy = f"{SCRIPTS}/{PRODUCERS.get(str(error), CAPTURE)}"
        return Row(name, UNKNOWN, "no data", "", (f"there is no {error}",), remedy)
    except EvidenceError as error:
        return Row(name, UNKNOWN, UNREADABLE, "", (one_line(error),), "mend what is named here")


def audit(evidence: Evidence) -> tuple[int, list[str], list[str]]:
    """How many artifacts, hash files and incidents hold, what is wrong with others, and what is missing."""
    artifacts, held = evidence.run.artifacts, 0
    checks: list[tuple[Callable[[Path], object], Path]] = []
    for place in evidence.places:
        checks += [(read_artifact, place / name) for name in ARTIFACTS if (place / name).exists()]
        checks += [(check_hash_file, path) for path in sorted(place.glob("*.hash"))]
    checks += [(check_hash_file, path) for path in evidence.run.root.glob(LOCK_HASH)]
    checks += [(read_artifact, incident.folder / INCIDENT) for incident in read_incidents(artifacts)]
    wrong = removed_incidents(evidence)
    for check, path in checks:
        try:
            check(path)
            held += 1
        except EvidenceError as error:
            wrong.append(str(error).replace(f"{artifacts}{os.sep}", ""))
    return held, wrong, [name for name in MANDATORY if not (artifacts / name).exists()]


def check_hash_file(path: Path) -> None:
    """A hash file: `sha256:<digest>`, the content digest of the artifact of its name; or lines of sha256sum."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path}: cannot be read: {one_line(error)}; produce it anew") from None
    for line in lines or [""]:
        if whole := re.fullmatch(r"sha256:(.*)", line):
            name, stated = path.with_suffix(".json").name, whole[1]
            actual = read_artifact(path.with_suffix(".json"))["sha256"]
        elif re.fullmatch(r"[0-9a-f]{64} [ *]installed-set", line):
            continue  # no file: a project without a lock, whose packages validate_env.py compares
        elif row := re.fullmatch(r"([0-9a-f]{64}) [ *]([^\0]+)", line):
            name, stated, actual = row[2], row[1], file_digest(path.parent / row[2])
        else:
            raise EvidenceError(f"{path}: expected lines of sha256sum or sha256:<digest>; produce it anew")
        if stated != actual:
            stated = one_line(stated, 64)
            raise EvidenceError(f"{path}: expected {name} with sha256 {stated}, got {actual}; produce it anew")


def file_digest(path: Path) -> str:
    try:
        return sha256(path.read_bytes())
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; produce it anew") from None


@dataclass(frozen=True)
class Incident:
    """A rollback on record. One that cannot be read counts as open."""

    id: str
    folder: Path
    document: Document

    @property
    def open(self) -> bool:
        return self.document.get("state") != "resolved"

    @property
    def digests(self) -> dict[str, str]:
        """The triggers that opened it, each with the digest of the artifact that it rested on."""
        return {str(row.get("name")): str(row.get("digest")) for row in self.document.get("triggers", ())}

    def covers(self, trigger: Row) -> bool:
        """Whether this incident is about the same: still open, or resolved with this very evidence known."""
        return trigger.name in self.digests and (self.open or self.digests[trigger.name] == trigger.digest)


def read_incidents(artifacts: Path) -> list[Incident]:
    found = []
    for path in sorted((artifacts / "incidents").glob("[!.]*")):
        document: Document = {}
        with suppress(EvidenceError):
            read = read_artifact(path / INCIDENT)
            rows_of(read, "triggers"), pick(read, "snapshot", dict)
            document = read
        found.append(Incident(path.name, path, document))
    return found


def removed_incidents(evidence: Evidence) -> list[str]:
    """Incidents that the log knows as open and that are gone: an incident ends by --resolve only."""
    state = {str(event["incident"]): event.get("state") for event in incident_events(evidence.log.events)}
    here = {incident.id for incident in read_incidents(evidence.run.artifacts)}
    gone = [name for name, known in state.items() if known == "opened" and name not in here]
    return [f"incidents/{one_line(name)}: removed before it was resolved" for name in gone]


def incident_events(events: Iterable[Document]) -> list[Document]:
    return [e for e in events if e["event"] == "risk_trigger" and "incident" in e and not e.get("drill")]


def resolved_at(artifacts: Path, trigger: str) -> str:
    """When the last incident of this trigger was resolved; empty if none was."""
    rows = [incident for incident in read_incidents(artifacts) if not incident.open and trigger in incident.digests]
    return max((str(incident.document["generated_at"]) for incident in rows), default="")


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold the incidents' lock, so that two gates at once open one; it ends with the process, however that ends."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as stream:
        flock(stream.fileno(), LOCK_EX)
        yield


def roll_back(
    evidence: Evidence, rows: list[Row], verdicts: list[Row], settings: Settings, again: Again
) -> list[Row]:
    """Act on the triggers that fire; returns their rows as they are after confirmation.

    An incident is built beside its place and renamed into it when it is whole: killed before, there is none; after,
    `enforce_open` of any later run does what is still to be done.
    """
    run = evidence.run
    fired = [row for row in rows if row.state == FIRED]
    if not fired and not read_incidents(run.artifacts):
        return rows
    with locked(run.artifacts / "incidents"):
        known = read_incidents(run.artifacts)
        new = [row for row in fired if not any(incident.covers(row) for incident in known)]
        confirmed = open_incident(evidence, new, verdicts, again) if new else {}
        enforce_open(run, settings.github_env)
    return [confirmed.get(row.name, row) for row in rows]


def open_incident(evidence: Evidence, new: list[Row], verdicts: list[Row], again: Again) -> dict[str, Row]:
    """Snapshot, second capture, confirmation, re-evaluation: the incident, if a trigger still fires after that."""
    import shutil  # with an incident only

    run, place = evidence.run, evidence.run.artifacts / "incidents"
    building = place / ".building"
    shutil.rmtree(building, ignore_errors=True)  # of a gate that was killed: the lock says that none runs
    try:
        files = snapshot(run.artifacts, building / "snapshot")
        second = again(building / "rerun")
        repeated = {"problem": second} if isinstance(second, str) else {"problem": None, "digest": second.digest}
        confirmed = {trigger.name: confirm(trigger, evidence, second) for trigger in new}
        fired = [trigger for trigger in confirmed.values() if trigger.state == FIRED]
        if fired:
            body = {
                "state": "open",
                "opened": {"run_id": run.id, "revision": run.commit[0]},
                "triggers": [asdict(trigger) for trigger in fired],
                "verdicts": [gate_row(verdict) for verdict in verdicts],
                "snapshot": files,
                "rerun": repeated,
                "reevaluation": reevaluation(evidence, second),
                "resolution": None,
            }
            at(run, building).write(INCIDENT, INCIDENT_VERSION, body)
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
    name = re.sub(r"[^\w.-]", "-", run_id, flags=re.ASCII).lstrip(".")[:100] or "run"
    names = (place / (name if number == 1 else f"{name}.{number}") for number in count(1))
    return next(path for path in names if not path.exists())


def snapshot(artifacts: Path, into: Path) -> dict[str, str]:
    """Copy the artifacts themselves, not the folders beside them; returns each file's digest."""
    into.mkdir(parents=True)
    digests = {}
    for path in sorted(artifacts.iterdir()):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            data = path.read_bytes()
            (into / path.name).write_bytes(data)
            digests[path.name] = sha256(data)
    return digests


def confirm(trigger: Row, evidence: Evidence, second: Capture | str) -> Row:
    """A trigger that rests on one run fires only if another run shows the same, where another could be had."""
    if trigger.name != "coverage":
        return trigger
    if isinstance(second, str):
        text = f"not confirmed, for no second capture was possible: {second}"
        return replace(trigger, evidence=(*trigger.evidence, text))
    other = coverage_trigger(replace(evidence.case, capture=second))
    text = f"a second capture, with the seed locked, says {other.state}: {other.value}"
    if other.state == FIRED:
        return replace(trigger, evidence=(*trigger.evidence, text))
    return replace(trigger, state=UNCONFIRMED, evidence=(*trigger.evidence, text, *other.evidence))


def reevaluation(evidence: Evidence, second: Capture | str) -> Document | None:
    """The ladder judged anew, by the second capture where there is one, with the horizon that its pace allows."""
    case = evidence.comparable
    if not case or isinstance(second, str):
        return {"by": "the capture that fired", **in_numbers(case)} if case else None
    return {"by": "the second capture", **in_numbers(replace(case, capture=second))}


def enforce_open(run: Run, github_env: Path | None) -> None:
    """Bring the state in line with the open incidents: said in the log, fail-fast off, for later steps too."""
    opened = [incident for incident in read_incidents(run.artifacts) if incident.open]
    if not opened:
        (run.artifacts / FORCED_OFF).unlink(missing_ok=True)
        return
    logged = {event["incident"] for event in incident_events(read_log(run.artifacts / LOG_NAME).events)}
    for incident in opened:
        if incident.document and incident.id not in logged:
            rows = [{key: row.get(key) for key in SAID} for row in incident.document["triggers"]]
            files = incident.document["snapshot"]
            run.log.warning("risk_trigger", state="opened", incident=incident.id, triggers=rows, snapshot=files)
    body = {"mode": "off", "incidents": [incident.id for incident in opened]}
    run.write(FORCED_OFF, FORCED_OFF_VERSION, body | {"triggers": sorted({n for i in opened for n in i.digests})})
    if github_env:
        hand_over(github_env)


def hand_over(github_env: Path) -> None:
    """Tell the later steps of a workflow job."""
    text = github_env.read_text("utf-8") if github_env.exists() else ""
    with github_env.open("a", encoding="utf-8") as stream:
        stream.write("\n" * (text[-1:] not in ("", "\n")) + "TPR_FAILFAST_MODE=off\n")


def resolve(run: Run, name: str, reason: str, github_env: Path | None) -> str:
    """Close an incident; says what that changes."""
    place = run.artifacts / "incidents"
    with locked(place):
        opened = {incident.id: incident for incident in read_incidents(run.artifacts) if incident.open}
        if name not in opened:
            ids = named(list(opened)) or "none"
            raise EvidenceError(f"{place}: {one_line(name, 100)} is not an open incident; open are: {ids}")
        known = opened.pop(name).document or {"triggers": [], "snapshot": {}, "damaged": True}
        body = {key: value for key, value in known.items() if key not in ENVELOPE}
        body |= {"state": "resolved", "resolution": {"reason": reason, "run_id": run.id, "revision": run.commit[0]}}
        at(run, place / name).write(INCIDENT, INCIDENT_VERSION, body)
        run.log.info("risk_trigger", state="resolved", incident=name, reason=reason)
        enforce_open(run, github_env)
    after = f"open are still: {named(list(opened))}" if opened else "fail-fast is no longer forced off"
    return f"incident {name} is resolved; {after}"


def recapture(evidence: Evidence, quiet: bool, into: Path) -> Capture | str:
    """Capture the suite again as it was captured, fail-fast off and the seed locked, into a folder of its own."""
    import signal  # a second capture only
    import subprocess

    run = evidence.run
    try:
        first, seed = evidence.capture, (evidence.document(SIGNATURE) or {}).get("seed")
    except EvidenceError as error:
        return one_line(error)
    into.mkdir(parents=True)
    if evidence.ladder_path.parent == run.artifacts and evidence.ladder_path.exists():
        write_atomic(into / evidence.ladder_path.name, evidence.ladder_path.read_bytes())
    script = Path(__file__).resolve().with_name("collect_metrics.py")
    command = [sys.executable, str(script), "--root", str(run.root), "--artifacts", str(into), "--quiet"]
    command += ["--failfast-mode", "off", *flags("--skip", first.skipped), *first.scope]
    env = {**os.environ, "TPR_RUN_ID": run.id, "TPR_FAILFAST_MODE": "off"} | ({"TPR_SEED": str(seed)} if seed else {})
    if not quiet:
        print("enforce_gates.py: a trigger fires; capturing again, to confirm it", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL if quiet else 2) as capture:
        try:  # its output goes to stderr: standard output is for the verdict
            code = capture.wait()
        except KeyboardInterrupt:
            capture.terminate()
            capture.wait()
            raise
    try:
        return read_capture(read_artifact(into / BASELINE))
    except EvidenceError:
        return f"collect_metrics.py ended with {code} and wrote no baseline"


def untested_functions(run: Run, case: Case) -> list[dict[str, Any]]:
    """The functions that would close the gap to the target, the largest first, of the files that miss the most."""
    gap = compare_metric(case, "line").to_gain
    if not gap:
        return []
    missed = missed_lines(run.artifacts / "coverage.xml", sorted(case.capture.files["line"], key=len))
    missed.sort(key=lambda row: -len(row[1]))
    rows = [row for path, lines in missed[:FILES_READ] for row in functions_of(path, run.root, lines)]
    rows.sort(key=lambda row: (-row["lines"], row["path"], row["line"]))
    before = accumulate((row["lines"] for row in rows), initial=0)  # lines gained with the rows above
    return [row for row, gained in zip(rows[:FUNCTIONS_KEPT], before, strict=False) if gained < gap]


def missed_lines(report: Path, known: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The uncovered lines per file in a coverage.xml; none where it cannot be had.

    It names a file relative to a source folder, wherever that was; `known` are the paths relative to the root.
    """
    from defusedxml.ElementTree import parse  # with a gap only

    found = []
    with suppress(OSError, ValueError, SyntaxError):
        for node in parse(report).iter("class"):
            name = node.get("filename", "")
            path = next((path for path in known if f"/{path}".endswith(f"/{name}")), name)
            lines = [int(line.get("number", "0")) for line in node.iter("line") if line.get("hits") == "0"]
            found.append((path, lines))
    return found


def functions_of(path: str, root: Path, lines: Sequence[int]) -> list[dict[str, Any]]:
    """How many of these lines each function of a file holds, by its innermost function."""
    import ast  # with a gap only

    try:
        tree = ast.parse((root / path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    spans = [(node.lineno, node.end_lineno or node.lineno, node.name) for node in functions]
    held = Counter(
        max(around) for line in lines if (around := [span for span in spans if span[0] <= line <= span[1]])
    )
    return [{"path": path, "line": span[0], "function": span[2], "lines": total} for span, total in held.items()]


def in_numbers(case: Case) -> dict[str, Any]:
    """Coverage then and now, lost where, and the way to the target."""
    rows = [] if obstacles(case) else compare(case)
    facts = [{k: float(v) if isinstance(v, Fraction) else v for k, v in asdict(row).items()} for row in rows]
    lost = [asdict(loss) for row in rows for loss in losses(case, row.metric)]
    return {"verdict": judge_coverage(case).state, "metrics": facts, "losses": lost}


def today() -> date:
    from datetime import UTC  # not at the top: an older Python has none, and is to be told that it is too old

    return datetime.now(UTC).date()


def enforce(run: Run, settings: Settings) -> int:
    """Judge, roll back if need be, write, log and show; the exit code."""
    evidence = Evidence(run, today())
    verdicts = verdicts_of(evidence, settings)
    triggers = [] if settings.only else triggers_of(evidence, settings)
    triggers = roll_back(evidence, triggers, verdicts, settings, partial(recapture, evidence, settings.quiet))
    case = evidence.comparable if settings.only in (None, "coverage") else None
    details = {**in_numbers(case), "functions": untested_functions(run, case)} if case else {}
    opened = [incident.id for incident in read_incidents(run.artifacts) if incident.open]
    holds = all(row.state == PASS for row in verdicts if GATES[row.name][0] == "hard")
    body: dict[str, Any] = {"only": settings.only, "judged_run": evidence.run_id, "holds": holds, "incidents": opened}
    body |= {"gates": [gate_row(row) for row in verdicts], "triggers": [asdict(row) for row in triggers]}
    run.write(VERDICTS, VERDICTS_VERSION, {**body, "coverage": details or None})
    problems = list(dict.fromkeys(row.evidence[0] for row in [*verdicts, *triggers] if row.value == UNREADABLE))
    code = 2 if problems else int(not holds)
    if deficit := next((row for row in verdicts if row.name == "events" and row.state != PASS), None):
        run.log.error("logging_deficit", judged_run=evidence.run_id, missing=deficit.evidence)
    states, fired = ({row.name: row.state for row in rows} for rows in (verdicts, triggers))
    run.log.info("coverage_ladder_recorded", gates=states, triggers=fired, exit=code)
    if not settings.quiet:
        lines = [*table(verdicts, triggers), *advice(details)]
        if opened:
            lines += [f"open incidents: {named(opened)}; fail-fast is forced off until they are resolved:"]
            lines += [f"{SCRIPTS}/enforce_gates.py --resolve {one_line(opened[0])} --reason TEXT"]
        show("\n".join(lines))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(workflow_commands(verdicts, triggers)), file=sys.stderr)
    for problem in problems:
        complain("enforce_gates.py", problem)
    return code


def gate_row(row: Row) -> dict[str, Any]:
    """A gate's row in the artifact, with its policy; what passes needs no remedy and no response."""
    enforcement, response = GATES[row.name]
    facts: dict[str, Any] = {"gate": row.name, "enforcement": enforcement, "verdict": row.state}
    facts |= {"value": row.value, "limit": row.limit, "evidence": row.evidence}
    failed = row.state != PASS
    return {**facts, "remedy": row.remedy if failed else "", "response": response if failed else ""}


def table(verdicts: Sequence[Row], triggers: Sequence[Row]) -> Iterator[str]:
    """The rows for people: one line each, and below it what there is to say."""
    for title, rows in (("gate", verdicts), ("trigger", triggers)):
        if rows:
            yield f"{title:<23}{'says':<19}value"
        for row in rows:
            kind = GATES[row.name][0] if title == "gate" else "rollback"
            yield f"{row.name:<13}{kind:<10}{row.state:<19}{one_line(row.value)}"
            good, more = row.state in (PASS, QUIET), {"limit": row.limit, "remedy": row.remedy}
            texts = [*row.evidence, *(f"{key}: {text}" for key, text in more.items() if text and not good)]
            yield from (f"{'':<23}{one_line(text, 2000)}" for text in texts)


def advice(details: Document) -> Iterator[str]:
    for row in details.get("metrics", ()):
        if row["to_gain"]:
            when = f"{row['days_left']} days left" if row["days_left"] >= 0 else f"{-row['days_left']} days late"
            gap = f"{row['target'] - row['percent']:.2f} points or {row['to_gain']} {METRICS[row['metric']]} to gain"
            yield f"{row['metric']}: target {row['target']:.2f} %, {gap}, {when}; due today {row['due_today']:.2f} %"
    if functions := details.get("functions"):
        yield "most to gain in: " + named(
            [f"{f['path']}:{f['line']} {f['function']} ({f['lines']})" for f in functions]
        )


def workflow_commands(verdicts: Sequence[Row], triggers: Sequence[Row]) -> Iterator[str]:
    """A workflow command for each row that speaks against the change: at most nine, a step may show ten."""
    for row in [*verdicts, *(row for row in triggers if row.state in (FIRED, UNCONFIRMED))]:
        if row.state != PASS:
            level = "error" if row in verdicts and GATES[row.name][0] == "hard" else "warning"
            text = one_line("; ".join([f"{row.state}: {row.value}", *row.evidence, row.remedy]), 1000)
            yield f"::{level} title={row.name}::{text.replace('%', '%25')}"


def drill(run: Run, settings: Settings) -> int:
    """Provoke each trigger on a throw-away copy, with the limits that are in force here, and see what follows."""
    from tempfile import TemporaryDirectory  # a drill only

    rows, ladder = [], Evidence(run, date.max).ladder_path
    with TemporaryDirectory(prefix="gates-drill-") as place:
        for name in TRIGGERS:
            root = Path(place) / name  # nothing of the project but its ladder: no reference, no other evidence
            trial = Run("enforce_gates", root, root)
            trial.write_bytes(ladder.name, ladder.read_bytes() if ladder.exists() else SAMPLE_LADDER)
            row = drill_one(trial, replace(settings, github_env=trial.artifacts / "github.env"), name)
            facts = {"value": row.value, "limit": row.limit, "missing": row.evidence}
            run.log.warning("risk_trigger", drill=True, trigger=name, state=row.state, **facts)
            rows.append(row)
    if not settings.quiet:
        show("\n".join(["drill: each trigger over sick evidence, on a throw-away copy", *table([], rows)]))
    return int(any(row.evidence for row in rows))


def drill_one(trial: Run, settings: Settings, name: str) -> Row:
    """One trigger over healthy and over sick evidence; the row's evidence is what was expected and not seen."""

    def judged(sick: str) -> Row:
        sample = Evidence(trial, today())
        write_samples(trial, sample.ladder, sick)
        rows = roll_back(sample, triggers_of(sample, settings), [], settings, lambda _: sample.capture)
        return next(row for row in rows if row.name == name)

    healthy, sick = judged(""), judged(name)
    unseen = [f"healthy evidence: expected {QUIET}, got {healthy.state}"] * (healthy.state != QUIET)
    unseen += [f"sick evidence: expected {FIRED}, got {sick.state}"] * (sick.state != FIRED)
    return replace(sick, evidence=tuple(unseen or unseen_actions(trial, settings)))


def unseen_actions(trial: Run, settings: Settings) -> list[str]:
    """What of a rollback cannot be seen in a folder where a trigger fired; resolves the incident at the end."""
    incidents, forced = read_incidents(trial.artifacts), trial.artifacts / FORCED_OFF
    document = incidents[0].document if incidents else {}
    seen = {
        "one incident": len(incidents) == 1,
        "a snapshot in it": bool(document.get("snapshot")),
        "a re-evaluation of the ladder in it": bool(document.get("reevaluation")),
        "fail-fast forced off": forced.exists(),
        "risk_trigger in the log": bool(incident_events(read_log(trial.artifacts / LOG_NAME).events)),
        "TPR_FAILFAST_MODE=off for later steps": bool(settings.github_env and settings.github_env.exists()),
    }
    for incident in incidents:
        resolve(trial, incident.id, "drill", None)
    seen["no longer forced off when resolved"] = not forced.exists()
    return [f"expected {what}, saw none" for what, is_seen in seen.items() if not is_seen]


def write_samples(trial: Run, ladder: Ladder, sick: str) -> None:
    """Evidence of an imaginary suite that keeps every promise, but for what is to be `sick`."""
    totals: dict[str, int] = {}
    for metric, key in METRICS.items():
        covered = -(-10_000 * ladder.baseline.get(metric, 100) // 100)
        totals |= {key: 10_000, f"{key}_covered": 0 if sick == "coverage" else int(covered)}
    scope: dict[str, list[str]] = {"pytest_args": [], "source": [], "skipped_stages": []}
    coverage = {**totals, "files": [{"path": "sample.py", **totals}]}
    trial.write(BASELINE, "1.0", {"partial": None, "scope": scope, "outcomes": {"tests": 100}, "coverage": coverage})
    flaky = [{"id": f"test_sample.py::test_{number}"} for number in range(200 if sick == "flakes" else 0)]
    runs = [{"run_id": str(number)} for number in range(30)]
    trial.write(TRIGGERS["flakes"], "1.0", {"runs": runs, "tests_observed": 200, "flaky": flaky})
    false = {"count": 90 if sick == "properties" else 0, "observed": 90}
    results = {"mode": "deterministic", "runs": 30, "false_failures": false, "tests": []}
    trial.write(TRIGGERS["properties"], "1.0", results)


SAMPLE_LADDER = b"""\
schema_version: "1.0"
baseline: {line: 90.0, branch: 80.0, commit: null, recorded: 2026-01-01}
target: {line: 92.0, branch: 82.0}
tolerance: 1
horizon: 2026-04-01
"""


class Past(Evidence):
    """One run of a stored history, its capture judged by the promise of its day."""

    @cached_property
    def case(self) -> Case:
        ladder = Ladder(self.capture.promise, {}, Fraction(0), date.min, date.max)
        return Case(ladder, self.capture, self.references, date.min, self.capture.commit)

    @property
    def at(self) -> str:
        found = [document for name in TRIGGERS.values() if (document := self.document(name))]
        return max(str(document["generated_at"]) for document in found)


def replay(run: Run, settings: Settings, history: Path) -> int:
    """Judge every stored run by the triggers, at the limits in force and at others, and count."""
    places = {path.parent for path in history.rglob("*.json") if path.name in TRIGGERS.values()}
    if not places:
        names = " or ".join(TRIGGERS.values())
        raise EvidenceError(f"{history}: expected folders with {names}, found none; give a folder of past artifacts")
    stored = [Past(at(run, place), date.max) for place in places]
    stored.sort(key=lambda past: (past.at, past.run.artifacts))
    here = Evidence(run, date.max)
    tolerance = here.ladder.tolerance if here.ladder_path.exists() else Fraction(1)
    in_force = {"coverage": tolerance, "flakes": settings.flake_limit, "properties": PROPERTY_LIMIT}
    rows = [
        replay_row(name, limit, stored, settings) | {"in_force": limit == in_force[name]}
        for name, others in REPLAYED.items()
        for limit in sorted({in_force[name], *map(Fraction, others.split())})
    ]
    run.write(REPLAY, REPLAY_VERSION, {"runs": len(stored), "rows": rows})
    counts = {f"{row['trigger']} {row['limit']}": row["fired"] for row in rows}
    run.log.info("coverage_ladder_recorded", replayed=len(stored), fired=counts)
    if not settings.quiet:
        show(replay_table(rows, len(stored)))
    return 0


def replay_row(name: str, limit: Fraction, stored: Sequence[Past], settings: Settings) -> dict[str, Any]:
    judged = [past for past in stored if past.document(TRIGGERS[name])]
    states = [trigger(name, past, settings, limit).state for past in judged]
    fired = [past.run.artifacts.name for past, state in zip(judged, states, strict=True) if state == FIRED]
    return {
        "trigger": name,
        "limit": plain(limit),
        "runs": len(judged),
        "fired": len(fired),
        "incidents": sum(now == FIRED != before for before, now in zip(["", *states], states, strict=False)),
        "insufficient_data": states.count(UNKNOWN),
        "first": fired[:NAMED],
    }


def replay_table(rows: Sequence[Document], runs: int) -> str:
    lines = [f"{runs} stored runs (* in force; coverage without its second capture)"]
    lines += [f"{'trigger':<13}{'limit':>8}{'runs':>7}{'fired':>7}{'incidents':>11}{'too little data':>17}  first"]
    for row in rows:
        counts = f"{row['runs']:>7}{row['fired']:>7}{row['incidents']:>11}{row['insufficient_data']:>17}"
        limit = f"{'*' * row['in_force']}{row['limit']}"
        lines.append(f"{row['trigger']:<13}{limit:>8}{counts}  {named(row['first'])}".rstrip())
    return "\n".join(lines)


def parser() -> Arguments:
    arguments = Arguments(__doc__ or "", "enforce_gates")
    add = arguments.add_argument
    add("--only", choices=tuple(GATES), metavar="GATE", help=f"judge one: {', '.join(GATES)}")
    add("--drill", action="store_true", help="provoke each trigger on a throw-away copy")
    add("--replay", type=folder, metavar="DIR", help="judge a history: a folder of folders of artifacts")
    add("--resolve", metavar="ID", help="close an incident")
    add("--reason", metavar="TEXT", help="why it is closed")
    limits = {"--flake-threshold": ("TPR_FLAKE_RATE_THRESHOLD", "2", "flaky tests that trigger a rollback")}
    for mode, (key, default) in TARGETS.items():
        limits[f"--{mode}-target"] = (key, default, f"how much sooner {mode} mode is to show a failure")
    for flag, (key, default, text) in limits.items():
        value = os.environ.get(key, default)
        add(flag, type=percentage, metavar="PERCENT", default=value, help=f"{text} (default {default})")
    return arguments


def percentage(text: str) -> Fraction:
    """argparse type: 2, 2.5 or 2 %."""
    digits = text.strip().removesuffix("%").strip()
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,20})?", digits) and (value := Fraction(digits)) <= 100:
        return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 100, got {text!r}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser()
    args = arguments.parse_args(argv)
    if sum(bool(way) for way in (args.drill, args.replay, args.resolve, args.only)) > 1:
        arguments.error("--only, --drill, --replay and --resolve exclude each other")
    if bool(args.resolve) != bool(args.reason and args.reason.strip()):
        arguments.error("--resolve ID and --reason TEXT belong together")
    handed = os.environ.get("GITHUB_ENV")
    targets = {mode: getattr(args, f"{mode}_target") for mode in TARGETS}
    settings = Settings(args.only, args.flake_threshold, targets, args.quiet, Path(handed) if handed else None)
    run = None
    try:
        run = Run("enforce_gates", args.root, args.artifacts or args.root / "artifacts")
        if args.resolve:
            said = resolve(run, args.resolve, args.reason.strip(), settings.github_env)
            if not args.quiet:
                show(said)
            return 0
        if args.drill:
            return drill(run, settings)
        return replay(run, settings, args.replay) if args.replay else enforce(run, settings)
    except EvidenceError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename or args.root}: {error.strerror or error}; make room for it"
    except KeyboardInterrupt:
        problem = "interrupted"
    code = complain("enforce_gates.py", problem)
    with suppress(EvidenceError):
        if run:
            run.log.error("coverage_ladder_recorded", gates={}, problem=problem, exit=code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
