"""What does the suite look like today? Runs it once under branch coverage and writes a hashed baseline.

    python scripts/tests/collect_metrics.py [--root DIR] [--artifacts DIR] [-- PYTEST ARGUMENTS]
    python scripts/tests/collect_metrics.py --shard 2/16 [-- PYTEST ARGUMENTS]      a share of the tests
    python scripts/tests/collect_metrics.py --merge artifacts/shards/*              all shares as one capture

Reads:  the project under --root, its coverage and pytest configuration, TPR_* variables, artifacts/history.
Writes: coverage.xml, durations.json, markers.usage.json, test.map.json, flake.report.json, env.signature.json,
        baseline.metrics.json with baseline.metrics.hash, history/<run id>.xml, reference.metrics.json and
        coverage-ladder.yaml (a first capture only, or --rebaseline). The project itself is not touched.
        A shard writes its own, and shard.evidence.json, into artifacts/shards/2-of-16.
Exits:  0 the suite passed; 1 a test failed or the environment was refused; 2 it could not be told (no tests,
        a crash, an interruption, bad usage). What finished before a crash is written, marked partial.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import accumulate, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import (
    MASK,
    Arguments,
    EvidenceError,
    Run,
    complain,
    folder,
    one_line,
    read_artifact,
    redact_text,
    secret_values,
    sha256,
    show,
    write_atomic,
)

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    import subprocess
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

REFERENCE = "reference.metrics.json"  # the baseline that the ladder came from
DURATIONS_VERSION = "1.0"  # 1.0 first
MARKERS_VERSION = "1.0"  # 1.0 first
MAP_VERSION = "1.0"  # 1.0 first
BASELINE_VERSION = "1.0"  # 1.0 first
SUMMARY_VERSION = "1.0"  # 1.0 first
LADDER_VERSION = "1.0"  # 1.0 first
SHARD_VERSION = "1.0"  # 1.0 first

HERE = Path(__file__).resolve().parent
STAGES = ("environment", "coverage", "contexts", "flakes")  # what --skip can leave out
PHASES = ("setup", "call", "teardown")
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
RED = ("failed", "error")
SHARD = "shard.evidence.json"
FORCED_OFF = "failfast.forced_off.json"  # enforce_gates.py writes it with an incident
STARTED = time.perf_counter()
KEYS = {  # key of the environment: its default
    "TPR_SEED": "12345",
    "TPR_FAILFAST_MODE": "off",
    "TPR_ENV_VALIDATE": "enable",
}
TARGET_STEP = 2.0  # points of line and branch coverage that a new ladder asks for
HORIZON_DAYS = 90
UNREADABLE = (ValueError, ArithmeticError, TypeError, LookupError, AttributeError, RecursionError)  # safe_load's own
LADDER_LIMIT = 64 * 1024  # bytes of a ladder that are read: YAML's parser is slow on hostile depth
HISTORY_KEPT = 30
EXIT_TEXT = {3: "pytest had an internal error", 4: "pytest refused its arguments", 5: "pytest collected no tests"}


class Settings(NamedTuple):
    """What the command line and the environment asked for; PLAN.md explains each flag."""

    root: Path
    artifacts: Path
    quiet: bool
    mode: str
    skip: frozenset[str]
    top: int
    timeout: float | None
    source: list[str]
    trace_all: bool
    rebaseline: bool
    reason: str | None
    coverage_baseline: float | None
    coverage_target: float | None
    coverage_tolerance: float
    recover: bool
    shard: tuple[int, int] | None  # its number and how many there are
    merge: list[Path]
    pytest_args: list[str]

    @property
    def measured(self) -> bool:
        return self.mode != "hard" and "coverage" not in self.skip


class Suite(NamedTuple):
    """What one run of the suite left behind: its tests as recorded, and how it ended."""

    tests: Sequence[dict[str, Any]] = ()
    collect_errors: Sequence[dict[str, Any]] = ()
    collected: int = 0
    deselected: int = 0
    registered: Sequence[str] = ()
    rootdir: str = ""
    in_flight: Sequence[str] = ()
    exit: int | None = None  # pytest's status; None: it did not come to its end
    stop: str | None = None  # pytest's own reason for stopping early
    torn: int = 0
    order: str | None = None  # how a fail-fast mode ordered the tests
    first_red: dict[str, Any] | None = None  # the first record of a failure, a collection's included
    core: str | None = None  # what traced the lines: coverage's measurement core
    abort: str | None = None  # why the suite's process gave up before pytest began
    reason: str | None = None  # why this is not the whole suite
    split: str | None = None  # the digest of all shards' tests; None: not a shard
    roots: Sequence[str] = ()  # where shards ran, if elsewhere

    @property
    def partial(self) -> dict[str, Any] | None:
        return {"reason": self.reason, "in_flight": list(self.in_flight)} if self.reason else None


def read_records(lines: Iterable[str]) -> Suite:
    """The suite that a stream of record lines tells of; a torn line is counted, not trusted."""
    started: dict[str, None] = {}
    seen: dict[str, Any] = {"tests": [], "collect_errors": [], "collected": 0, "deselected": 0, "torn": 0}
    for row in parsed(lines):
        if not isinstance(row, dict):
            seen["torn"] += 1
            continue
        if "collect_error" in row or row.get("outcome") in RED:
            seen.setdefault("first_red", row)
        if "id" in row:
            started.pop(row["id"], None)
            seen["tests"].append(row)
        elif "start" in row:
            started[row["start"]] = None
        elif "collect_error" in row:
            seen["collect_errors"].append(row)
        elif "deselected" in row:
            seen["deselected"] += row["deselected"]
        elif "collected" in row:
            seen["collected"] = max(seen["collected"], row["collected"])
        else:
            seen |= row
    started.pop(seen.get("not_begun", ""), None)
    if "split" in seen and seen.get("exit") == 5:
        seen["exit"] = 0  # more shards than tests: this one has none, and that is right
    known = {name: seen[name] for name in Suite._fields if name in seen}
    return Suite(**{**known, "in_flight": tuple(started)})


def parsed(lines: Iterable[str]) -> Iterator[object]:
    """Each line as JSON, None for a torn one; many at once, so that equal keys are one object in memory."""
    stream = iter(lines)
    while chunk := list(islice(stream, 1000)):
        try:
            yield from json.loads(f"[{','.join(chunk)}]")
        except ValueError:
            yield from map(parsed_line, chunk)


def parsed_line(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def why_partial(suite: Suite, returncode: int, stopped: str | None) -> str | None:
    """Why the recorded tests are not the whole suite; None if they are. `stopped`: what this script did to it."""
    if stopped:
        return stopped
    if suite.exit is None and returncode < 0:
        return f"the suite's process was killed by {signal_name(-returncode)}"
    if suite.exit is None and (suite.rootdir or returncode not in EXIT_TEXT):
        return f"the records end in the middle; the suite's process ended with status {returncode}"
    if suite.exit is None:
        return EXIT_TEXT[returncode]
    if suite.collect_errors:
        return f"{len(suite.collect_errors)} files could not be collected"
    if suite.stop:
        return suite.stop
    if suite.exit in (2, 3):
        return EXIT_TEXT.get(suite.exit, "interrupted")
    if suite.torn:
        return f"{suite.torn} records are torn"
    missing = suite.collected - len(suite.tests)
    return f"{missing} of {suite.collected} collected tests did not finish" if missing > 0 else None


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def verdict(suite: Suite) -> int:
    """0 the whole suite passed; 1 a failure was seen; 2 neither."""
    if suite.collect_errors or suite.exit in (1, 6) or any(test["outcome"] in RED for test in suite.tests):
        return 1
    return 2 if suite.reason or not (suite.tests or suite.split) or suite.exit != 0 else 0


def seconds_of(test: Mapping[str, Any]) -> float:
    """A test's duration in seconds: the sum of its phases."""
    return float(test.get("setup", 0.0) + test.get("call", 0.0) + test.get("teardown", 0.0))


def duration_stats(seconds: Sequence[float]) -> dict[str, float | int | None]:
    """Count, total, mean, p50, p90, p95, p99 and max of durations in seconds; None where there are none.

    Quantiles by linear interpolation between the closest ranks (statistics.quantiles, inclusive method).
    """
    from statistics import quantiles  # imports decimal and fractions; --help should not wait

    if not seconds:
        return {"count": 0, "total": 0.0} | dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))
    ordered = sorted(seconds)
    cuts = quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    low, high = ordered[0], ordered[-1]
    total = sum(ordered)
    ranks = accumulate((cuts[49], cuts[89], cuts[94], cuts[98]), max)  # between equal neighbours they may waver
    stats = {"mean": total / len(ordered), **dict(zip(("p50", "p90", "p95", "p99"), ranks, strict=True))}
    kept = {name: round(min(max(value, low), high), 6) for name, value in stats.items()}
    return {"count": len(ordered), "total": round(total, 6), **kept, "max": round(high, 6)}


def durations_body(suite: Suite, top: int) -> dict[str, Any]:
    rows = [duration_row(test) for test in suite.tests]
    slowest = sorted(rows, key=lambda row: (-row["seconds"], row["id"]))[:top]
    return {
        "partial": suite.partial,
        "unit": "s",
        "all": duration_stats([row["seconds"] for row in rows]),
        "phases": {phase: duration_stats([row[phase] for row in rows]) for phase in PHASES},
        "slowest": slowest,
        "tests": rows,
    }


def duration_row(test: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": test["id"],
        "outcome": test["outcome"],
        "seconds": round(seconds_of(test), 6),
        "setup": test.get("setup", 0.0),
        "call": test.get("call", 0.0),
        "teardown": test.get("teardown", 0.0),
        "start": test["start"],
        "worker": test["worker"] or None,
    }


def markers_body(suite: Suite) -> dict[str, Any]:
    used = Counter(marker for test in suite.tests for marker in test["markers"])
    registered = set(suite.registered)
    names = sorted(registered | set(used))
    return {
        "partial": suite.partial,
        "markers": [{"name": name, "registered": name in registered, "tests": used[name]} for name in names],
        "unused": [name for name in names if not used[name]],
        "unregistered": [name for name in names if name not in registered],
    }


def outcome_counts(suite: Suite) -> dict[str, int]:
    counts = Counter(test["outcome"] for test in suite.tests)
    subtests = [test["subtests"] for test in suite.tests if "subtests" in test]
    return {
        "tests": len(suite.tests),
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "retried_attempts": sum(len(test["attempts"]) for test in suite.tests if "attempts" in test),
        "subtests_passed": sum(found.get("passed", 0) for found in subtests),
        "subtests_failed": sum(found.get("failed", 0) for found in subtests),
        "collect_errors": len(suite.collect_errors),
        "deselected": suite.deselected,
    }


def junit(suite: Suite, run_id: str, commit: str | None, dirty: bool) -> bytes:
    """The run as JUnit XML: one testcase per test, retried attempts with their texts as Surefire writes them."""
    counts = Counter(test["outcome"] for test in suite.tests)
    began = min((test["start"] for test in suite.tests if test["start"]), default=0.0)  # a crashed worker's has none
    facts = {"commit": commit, "run_id": run_id, "dirty": "true" if dirty else None, "partial": suite.reason}
    properties = "".join(f"<property{attributes(name=key, value=text)}/>" for key, text in facts.items() if text)
    total = attributes(
        name="pytest",
        tests=len(suite.tests),
        failures=counts["failed"],
        errors=counts["error"],
        skipped=counts["skipped"] + counts["xfailed"],
        time=f"{sum(map(seconds_of, suite.tests)):.6f}",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
    )
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="pytest tests"><testsuite{total}>'
    cases = "\n".join(map(testcase, suite.tests))
    text = f"{head}<properties>{properties}</properties>\n{cases}\n</testsuite></testsuites>\n"
    return text.encode("utf-8", "replace")


def testcase(test: Mapping[str, Any]) -> str:
    path, bracket, parameters = str(test["id"]).partition("[")
    scope, parted, name = path.rpartition("::")
    place = scope_attributes(scope) if parted else attributes(classname="", file=path)
    named = attributes(name=(name if parted else dotted(path)) + bracket + parameters)
    children = "" if test["outcome"] == "passed" and "attempts" not in test else "".join(case_children(test))
    return f'<testcase{place}{named} time="{seconds_of(test):.6f}">{children}</testcase>'


@lru_cache(maxsize=1)
def scope_attributes(scope: str) -> str:
    """What the tests of a file or class, which follow each other, have in common."""
    file, *classes = scope.split("::")
    return attributes(classname=".".join([dotted(file), *classes]), file=file)


def dotted(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def case_children(test: Mapping[str, Any]) -> Iterator[str]:
    attempts, failures = test.get("attempts", ()), test.get("failures", ())
    for number, attempt in enumerate(attempts):
        recovered = "flakyFailure" if not failures else "rerunFailure" if number else "failure"
        yield problem(recovered, attempt)
    for failure in failures:
        kind = "failure" if failure["phase"] == "call" else "error"
        yield problem("rerunFailure" if attempts and kind == "failure" else kind, failure)
    if test["outcome"] in ("skipped", "xfailed"):
        kind = "pytest.skip" if test["outcome"] == "skipped" else "pytest.xfail"
        yield f"<skipped{attributes(type=kind, message=test.get('reason', ''))}/>"


def problem(tag: str, failure: Mapping[str, str]) -> str:
    lead = "" if failure["phase"] == "call" else f"failed on {failure['phase']} with "
    message = lead + said(failure)
    return f"<{tag}{attributes(message=message, type=failure['type'])}>{xml(failure['text'])}</{tag}>"


def said(failure: Mapping[str, str]) -> str:
    """What the exception itself says, in a line: pytest marks it with an E."""
    marked = [line[1:].strip() for line in failure["text"].splitlines() if line.startswith("E ")]
    return (marked or failure["text"].strip().splitlines() or [""])[0]


def attributes(**pairs: object) -> str:
    return "".join([f' {name}="{xml(str(value), newline="&#10;")}"' for name, value in pairs.items()])


def xml(text: str, newline: str = "\n") -> str:
    """Text as XML: markup escaped, characters that XML 1.0 has no way to hold written as #x1B."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    if escaped.isprintable():
        return escaped
    return "".join(c if c.isprintable() else newline if c == "\n" else xml_character(c) for c in escaped)


def xml_character(char: str) -> str:
    code = ord(char)
    held = code in (0x9, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
    return f"&#{code};" if held else f"#x{code:02X}"


def coverage_counts(report: Path, root: Path) -> dict[str, Any]:
    """Statements and branches, covered and valid, per file and in all, counted from a coverage.xml.

    Counts, and percentages derived from them: the report's own rates are rounded to four digits and clipped.
    """
    from defusedxml.ElementTree import iterparse  # needed after a run only

    bases: list[Path] = []
    files: list[dict[str, Any]] = []
    now = {"statements": 0, "statements_covered": 0, "branches": 0, "branches_covered": 0}
    try:
        for _, element in iterparse(report):
            if element.tag == "source":
                bases.append(root / (element.text or ""))
            elif element.tag == "line":
                now["statements"] += 1
                now["statements_covered"] += element.get("hits") != "0"
                if condition := element.get("condition-coverage"):
                    taken, _, valid = condition.partition("(")[2].rstrip(")").partition("/")
                    now["branches"] += int(valid)
                    now["branches_covered"] += int(taken)
            elif element.tag == "class":
                files.append({"path": source_path(element.get("filename"), bases, root), **now})
                now = dict.fromkeys(now, 0)
                element.clear()
    except (SyntaxError, ValueError, TypeError, OSError) as error:  # the parser's own is a SyntaxError
        raise EvidenceError(f"{report}: expected coverage's report, got {one_line(error)}; capture again") from None
    total = {key: sum(row[key] for row in files) for key in now}
    return {
        **total,
        "line_percent": percent(total["statements_covered"], total["statements"]),
        "branch_percent": percent(total["branches_covered"], total["branches"]),
        "files": sorted(files, key=lambda row: str(row["path"])),
    }


def percent(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def source_path(name: str, bases: Sequence[Path], root: Path) -> str:
    """A source file relative to the root, from its name relative to a source folder."""
    return relative(next((base / name for base in bases if (base / name).is_file()), root / name), root)


def relative(path: str | Path, root: Path) -> str:
    """The path from the root, with slashes, also where it leads out of it."""
    return os.path.relpath(path, root).replace(os.sep, "/")


def line_ranges(lines: Iterable[int]) -> str:
    """Line numbers as text: 1-3,7,9-12."""
    ranges, first, last = [], 0, -1
    for line in [*sorted(lines), 0]:
        if line != last + 1:
            if first:
                ranges.append(f"{first}-{last}" if first < last else str(first))
            first = line
        last = line
    return ",".join(ranges)


def population(body: Mapping[str, Any]) -> dict[str, Any]:
    """How many of the baseline's fields have a value: scalars and lists count, a null does not."""

    def leaves(value: object) -> Iterator[object]:
        if isinstance(value, dict) and value:
            for item in value.values():
                yield from leaves(item)
        else:
            yield value

    values = [leaf for name, section in body.items() if name != "partial" for leaf in leaves(section)]
    populated = sum(value is not None for value in values)
    return {"fields": len(values), "populated": populated, "percent": percent(populated, len(values))}


def enter_suite(settings_file: str, worker: bool = False) -> dict[str, Any]:
    """In the suite's own process, before anything of the suite is imported: measure, and load conftest.py."""
    settings: dict[str, Any] = json.loads(Path(settings_file).read_text("utf-8"))
    sys.path[:] = [place for place in sys.path if place != str(HERE)]  # the suite may have its own module `events`
    for name in ("events", "collect_metrics"):
        sys.modules.pop(name, None)
    if settings["coverage"]:
        start_coverage(settings, worker)
    import importlib.util  # measured suites must not wait for it in every script

    spec = importlib.util.spec_from_file_location("tpr_conftest", settings["conftest"])
    assert spec
    assert spec.loader
    plugin = importlib.util.module_from_spec(spec)
    sys.modules["tpr_conftest"] = plugin
    spec.loader.exec_module(plugin)
    return settings


def start_coverage(settings: Mapping[str, Any], worker: bool) -> None:
    import coverage  # the suite's process only

    if coverage.Coverage.current():
        return  # an xdist worker that the project's own `patch = subprocess` measures already
    cov = coverage.Coverage(
        data_file=settings["data_file"],
        data_suffix=f"worker.{os.getpid()}" if worker else None,
        source=settings["source"] or None,
    )
    for option, more in {"run:disable_warnings": ["no-data-collected"], "run:omit": settings["omit"]}.items():
        known = cov.get_option(option)  # a suite without tests is told in one line, not warned of
        cov.set_option(option, [*(known if isinstance(known, list) else ()), *more] or None)
    for option in ("run:dynamic_context", "run:context"):
        cov.set_option(option, None)
    if "multiprocessing" in str(cov.get_option("run:concurrency")):  # its processes read the project's file alone
        os.environ["COVERAGE_FILE"] = settings["data_file"]
    else:
        cov.set_option("run:branch", True)
    cov.start()
    if not worker:
        line = json.dumps({"core": dict(cov.sys_info()).get("core")})
        Path(settings["records"]).write_text(line + "\n", "utf-8")


def run_suite(settings_file: str, pytest_args: list[str]) -> int:
    """In the suite's own process: run pytest as `python -m pytest` would, and save what coverage saw."""
    try:
        enter_suite(settings_file)
    except Exception as error:  # a broken configuration; the parent says so
        give_up(settings_file, f"coverage cannot start: {type(error).__name__}: {error}; mend the configuration")
        return 4
    import pytest  # only now: what pytest imports is measured too

    sys.argv = [str(Path(pytest.__file__).with_name("__main__.py")), *pytest_args]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = int(pytest.main(["-p", "tpr_conftest", f"--tpr-capture={settings_file}", *pytest_args]))
    except KeyboardInterrupt:  # before its session had begun
        return 2
    if (coverage := sys.modules.get("coverage")) and (cov := coverage.Coverage.current()):
        cov.stop()
        try:
            cov.save()
        except Exception as error:
            give_up(settings_file, f"coverage cannot be saved: {error}; make room for it")
    return status


def give_up(settings_file: str, why: str) -> None:
    with contextlib.suppress(OSError):
        settings = json.loads(Path(settings_file).read_text("utf-8"))
        with Path(settings["records"]).open("a", encoding="utf-8") as records:
            records.write(json.dumps({"abort": why}) + "\n")


class Capture(NamedTuple):
    """The private folder of one capture: what it measured stays there until the artifacts are written."""

    folder: Path

    @property
    def records(self) -> Path:
        return self.folder / "records.jsonl"

    @property
    def data_file(self) -> Path:
        return self.folder / ".coverage"

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    @property
    def origin(self) -> tuple[str, str | None, bool]:
        """Run id, commit and dirtiness of the run that made this capture, whatever is checked out by now."""
        try:
            known = json.loads(self.settings.read_bytes())
            return known["run_id"], known["commit"], known["dirty"]
        except (OSError, ValueError, KeyError):
            return self.folder.name, None, False

    def suite(self) -> Suite:
        try:
            with self.records.open(encoding="utf-8", errors="replace", newline="\n") as stream:
                suite = read_records(stream)
        except FileNotFoundError:
            return Suite()
        except OSError as error:
            raise EvidenceError(f"{self.records}: cannot be read: {error.strerror}; capture again") from None
        secrets = secret_values(os.environ)
        for test in suite.tests:  # the texts of failures were redacted before they were recorded
            for key in ("id", "reason") if "reason" in test else ("id",):
                test[key] = redact_text(test[key], secrets)
        return suite._replace(tests=by_id(suite.tests))


def by_id(tests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests, sorted. What lost a secret is told apart by a number: nothing of the secret may do that."""
    masked, found = Counter[str](), list(tests)
    for test in found:
        if MASK in test["id"]:
            name = re.sub(r"#\d+$", "", test["id"])
            masked[name] += 1
            test["id"] = f"{name}#{masked[name]}"
    return sorted(found, key=itemgetter("id"))


@contextlib.contextmanager
def alive(folder: Path) -> Iterator[int]:
    """Hold the lock that tells a running capture from a dead one; the suite's process inherits it."""
    with writing(folder):
        descriptor = os.open(folder / "alive", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def lock(descriptor: int, wait: bool = True) -> bool:
    """Take an exclusive file lock; where the system has none, every capture counts as running."""
    try:
        import fcntl  # not on every system
    except ImportError:
        return wait
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def dead_captures(artifacts: Path) -> list[Capture]:
    """Captures that were killed before they wrote their artifacts, oldest first."""
    found = []
    for marker in artifacts.glob(".capture/*/alive"):
        with contextlib.suppress(FileNotFoundError):  # it ended by itself
            descriptor = os.open(marker, os.O_RDWR)
            try:
                if lock(descriptor, wait=False):
                    found.append((marker.stat().st_mtime, Capture(marker.parent)))
            finally:
                os.close(descriptor)
    return [capture for _, capture in sorted(found)]


def open_capture(run: Run, settings: Settings) -> Capture:
    folder = run.artifacts / ".capture" / f"{safe_name(run.id)}-{os.getpid()}"
    earlier = run.artifacts.parents[1] if settings.shard else run.artifacts  # what the last capture left
    capture, conftest = Capture(folder), find_conftest()
    own = HERE.is_relative_to(run.root) and conftest.parent != HERE  # the platform's own suite measures it
    contents = {
        "script": str(HERE / "collect_metrics.py"),
        "events": str(HERE / "events.py"),
        "conftest": str(conftest),
        "path": str(capture.settings),
        "records": str(capture.records),
        "data_file": str(capture.data_file),
        "run_id": run.id,
        "commit": run.commit[0],
        "dirty": run.commit[1],
        "root": str(run.root),
        "artifacts": str(earlier),
        "coverage": settings.measured,
        "contexts": settings.measured and "contexts" not in settings.skip,
        "pause": settings.measured and not settings.trace_all,
        "source": settings.source,
        "shard": settings.shard,
        "durations": settings.shard and recorded_durations(earlier, run.root / "artifacts" / "foundation"),
        "omit": [] if own else [str(HERE / "*"), str(conftest)],
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(capture.settings, json.dumps(contents).encode())
    return capture


def recorded_durations(*places: Path) -> str | None:
    """The durations of the last capture, by which a shard takes its share; None: there are none."""
    for place in places:
        if (path := place / "durations.json").exists():
            read_artifact(path)
            return str(path)
    return None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be written: {error.strerror}; make room for it") from None


def find_conftest() -> Path:
    """The platform's conftest.py: beside the scripts in a repository that has one of its own, else at its top."""
    for path in (HERE / "conftest.py", HERE.parents[1] / "conftest.py"):
        if path.is_file() and "tpr_conftest" in path.read_text("utf-8", "replace"):
            return path
    raise EvidenceError(f"{HERE.parents[1] / 'conftest.py'}: expected the platform's conftest.py; copy it there")


def safe_name(text: str) -> str:
    """A run's id as the name of a file that is not hidden."""
    return re.sub(r"[^\w.-]", "-", text, flags=re.ASCII).lstrip(".")[:100] or "run"


def run_child(run: Run, capture: Capture, settings: Settings, held: int, stops: Stops) -> int:
    """Run the suite in its own process, to its end or until it is stopped; returns its status."""
    import subprocess

    bootstrap = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "  # no traceback from its imports
        f"sys.path[:] = [{str(HERE)!r}, *(place or os.getcwd() for place in sys.path)]; import collect_metrics; "
        f"raise SystemExit(collect_metrics.run_suite({str(capture.settings)!r}, sys.argv[1:]))"
    )
    mode_args = [f"--failfast-mode={settings.mode}"] if settings.mode != "off" else []
    command = [sys.executable, "-c", bootstrap, *mode_args, *settings.pytest_args]
    inherit: dict[str, Any] = {} if os.name == "nt" else {"pass_fds": (held,)}
    try:
        process = subprocess.Popen(command, cwd=run.root, env=child_env(run, settings), **inherit)
    except OSError as error:
        raise EvidenceError(f"{run.root}: no suite can run here: {error.strerror}; check it") from None
    with stops.passed_to(process, settings.timeout):
        if settings.measured:
            import coverage  # noqa: F401 - while the suite runs; needed after it
        process.wait()
    return int(process.returncode)


class Stops:
    """Why a capture was stopped: by signals or its time limit. The suite gets a moment to end by itself.

    A signal outside the suite is only noted: what was measured is written to its end. A second Ctrl-C is not.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._timers: list[threading.Timer] = []

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def passed_to(self, process: subprocess.Popen[bytes], timeout: float | None) -> Iterator[None]:
        self._process = process
        if self.reasons:
            process.kill()
        if timeout:
            self._after(timeout, lambda: self._stop(f"stopped after --timeout {timeout:g} s", 3))
        try:
            yield
        finally:
            self._process = None
            for timer in self._timers:
                timer.cancel()

    def _take(self, number: int, _frame: object) -> None:
        grace, told = (5, in_foreground()) if number == signal.SIGINT else (1, False)
        if self._process:
            self._stop(f"interrupted by {signal_name(number)}", grace, told)
        elif self.reasons and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.reasons.append(f"interrupted by {signal_name(number)}")

    def _stop(self, reason: str, grace: float, told: bool = False) -> None:
        self.reasons.append(reason)
        if not (process := self._process):
            return
        if len(self.reasons) > 1:
            process.kill()
        elif not told:
            process.send_signal(signal.SIGINT) if os.name != "nt" else process.terminate()
        self._after(grace, process.kill)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        import threading

        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)


def in_foreground() -> bool:
    """Whether a terminal delivers Ctrl-C to the suite's process as well as to this one."""
    try:
        with open("/dev/tty", "rb") as terminal:  # noqa: PTH123 - a device
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, AttributeError):
        return os.name == "nt"


def run_script(run: Run, settings: Settings, script: str, *flags: str) -> int:
    """Run another script of the platform as a process on the same root and artifacts: its exit code."""
    import subprocess

    places = ["--root", str(run.root), "--artifacts", str(run.artifacts)]
    command = [sys.executable, str(HERE / script), "--quiet", *places, *flags]
    return subprocess.run(command, env=child_env(run, settings), check=False).returncode


@contextlib.contextmanager
def beside(work: Callable[[], object], watch: Stopwatch) -> Iterator[None]:
    """Do `work` in a process of its own while the block runs; its stages are told to `watch`."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(Exception):
            work()
            os.write(writer, json.dumps(watch.seconds).encode())
            os._exit(0)
        os._exit(1)
    os.close(writer)
    try:
        yield
    finally:
        _, status = os.waitpid(child, 0)
        told = os.read(reader, 1 << 16)
        os.close(reader)
    if status:
        work()  # what failed there fails here too, and says why
    else:
        watch.seconds |= json.loads(told)


def report_coverage(
    capture: Capture, run: Run, suite: Suite, meanwhile: contextlib.AbstractContextManager[None]
) -> dict[str, Any] | None:
    """Write coverage.xml from the capture's data; its counts, or None if nothing was measured.

    `meanwhile` is entered when the data are whole.
    After soft's early stop of the files that ran alone: the others were not reached, and to analyse them takes long.
    """
    import coverage  # the environment is validated by now

    temporary = capture.folder / "coverage.xml"
    try:
        with contextlib.chdir(run.root), contextlib.ExitStack() as stack:
            cov = coverage.Coverage(data_file=str(capture.data_file))
            stack.callback(lambda: close(cov.get_data()))
            if suite.roots:  # a path of another machine becomes one of this
                known = cov.get_option("paths") or {}
                cov.set_option("paths", {**known, "shards": [str(run.root), *suite.roots]})  # type: ignore[dict-item]
            if data_files(capture) == [capture.data_file] and not cov.get_option("paths"):
                cov.load()
            else:  # what was measured elsewhere, in other processes too, gets the paths of here
                if capture.data_file.exists():
                    capture.data_file.rename(capture.folder / ".coverage.suite")
                cov.combine([str(path) for path in data_files(capture)])
                cov.save()
            data = cov.get_data()
            if not data.measured_files():
                return None
            early = suite.order and suite.reason
            ran = [path for path in data.measured_files() if data.lines(path)] if early else None
            with meanwhile:
                cov.xml_report(ran, outfile=str(temporary), ignore_errors=True)
        run.write_bytes("coverage.xml", temporary.read_bytes())
    except coverage.exceptions.NoDataError:
        return None
    except (coverage.CoverageException, OSError) as error:
        if suite.reason:  # killed while it wrote them: the tests count for more
            return None
        raise EvidenceError(f"coverage data: {one_line(error)}; mend it or pass --skip coverage") from None
    return {"core": suite.core, **coverage_counts(run.artifacts / "coverage.xml", run.root)}


def close(data: Any) -> None:
    """Close coverage data that were read; older versions of coverage have no way to."""
    getattr(data, "close", lambda: None)()


def data_files(capture: Capture) -> list[Path]:
    return [path for path in sorted(capture.folder.glob(".coverage*")) if not path.name.endswith("-journal")]


def line_map(capture: Capture, suite: Suite, run: Run) -> dict[str, Any]:
    """Which test file covered which lines of which source file, and what each test file cost: for later orders."""
    import coverage

    data = coverage.CoverageData(str(capture.data_file))
    data.read()
    files = test_files(suite)
    number = {row["path"]: index for index, row in enumerate(files)}
    sources = []
    for path in sorted(data.measured_files()):
        covered: defaultdict[str, list[int]] = defaultdict(list)
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                covered[context].append(line)
        known = sorted((number[context], lines) for context, lines in covered.items() if context in number)
        rows = [{"file": index, "lines": line_ranges(lines)} for index, lines in known]
        sources.append({"path": relative(run.root / path, run.root), "covered_by": rows})
    close(data)
    failed = [test["id"] for test in suite.tests if test["outcome"] in RED]
    rootdir = relative(suite.rootdir or run.root, run.root)
    return {"rootdir": rootdir, "files": files, "sources": sources, "failed": failed}


def test_files(suite: Suite) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for test in suite.tests:
        path, _, name = test["id"].partition("::")
        row = rows.setdefault(path, {"path": path, "seconds": 0.0, "names": {}})
        row["seconds"] += seconds_of(test)
        row["names"][name.partition("[")[0]] = None
    return [
        {**row, "seconds": round(row["seconds"], 6), "names": list(row["names"])} for _, row in sorted(rows.items())
    ]


def keep_history(suite: Suite, run: Run, origin: tuple[str, str | None, bool]) -> None:
    """Write the run's JUnit file into history, oldest files beyond HISTORY_KEPT removed."""
    history = run.artifacts / "history"
    with writing(history):
        history.mkdir(exist_ok=True)
    name, number = safe_name(origin[0]), 1
    while (path := history / (f"{name}.xml" if number == 1 else f"{name}.{number}.xml")).exists():
        number += 1
    run.write_bytes(f"history/{path.name}", junit(suite, *origin))
    ages = []
    for file in history.glob("*.xml"):
        with contextlib.suppress(FileNotFoundError):  # another capture has removed it
            ages.append((file.stat().st_mtime_ns, file.name))
    for _, name in sorted(ages)[:-HISTORY_KEPT]:
        (history / name).unlink(missing_ok=True)


def scan_flakes(run: Run, settings: Settings) -> dict[str, Any] | None:
    """Have scan_flakes.py read the history; its report, or None if it could not tell."""
    if run_script(run, settings, "scan_flakes.py") not in (0, 1):
        return None
    return read_artifact(run.artifacts / "flake.report.json")


def ladder_path(run: Run) -> Path:
    """The project's own coverage-ladder.yaml; a foreign project that has none keeps it with its artifacts."""
    own = run.root / "coverage-ladder.yaml"
    return own if own.exists() or run.root == HERE.parents[1] else run.artifacts / own.name


def read_ladder(path: Path) -> dict[str, Any] | None:
    import yaml  # needed after a run only

    try:
        document: dict[str, Any] = yaml.safe_load(path.read_bytes()[:LADDER_LIMIT])
        line, branch = document["baseline"]["line"], document["baseline"]["branch"]
        document["baseline"] |= {"line": float(line), "branch": None if branch is None else float(branch)}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    except (*UNREADABLE, yaml.YAMLError) as error:
        detail = f"{type(error).__name__}: {one_line(error)}"
        remedy = "mend it or record it anew with --rebaseline --reason TEXT"
        raise EvidenceError(f"{path}: expected baseline.line and baseline.branch, got {detail}; {remedy}") from None
    return document


def known_ladder(run: Run, settings: Settings) -> dict[str, Any] | None:
    """The ladder, if there is one. One that cannot be read gives way to a new one that has a reason."""
    try:
        return read_ladder(ladder_path(run))
    except EvidenceError:
        if settings.rebaseline and settings.reason:
            return None
        raise


def new_ladder(coverage: Mapping[str, Any], commit: str | None, settings: Settings) -> dict[str, Any]:
    """A ladder whose baseline is this capture and whose target is TARGET_STEP points above it."""
    line = coverage["line_percent"] if settings.coverage_baseline is None else settings.coverage_baseline
    branch, now = coverage["branch_percent"], time.time()
    wanted = settings.coverage_target
    return {
        "schema_version": LADDER_VERSION,
        "baseline": {"line": line, "branch": branch, "commit": commit, "recorded": day(now)},
        "target": {
            "line": min(100.0, line + TARGET_STEP) if wanted is None else wanted,
            "branch": None if branch is None else min(100.0, branch + TARGET_STEP),
        },
        "tolerance": settings.coverage_tolerance,
        "horizon": day(now + HORIZON_DAYS * 86400),
        **({"reason": settings.reason} if settings.reason else {}),
    }


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def record_ladder(run: Run, settings: Settings, coverage: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Log this capture against the ladder; write the ladder first if there is none, or on --rebaseline."""
    import yaml

    path = ladder_path(run)
    known = known_ladder(run, settings)
    fresh = known is None or settings.rebaseline
    if known and fresh and lowered(known["baseline"], coverage) and not settings.reason:
        raise EvidenceError(f"{path}: --rebaseline would lower the baseline; say why with --reason TEXT")
    if known is None or settings.rebaseline:
        known = new_ladder(coverage, run.commit[0], settings)
        text = "# The promise about coverage, in percent and points; PLAN.md explains each key.\n"
        with writing(path):
            write_atomic(path, (text + yaml.safe_dump(known, sort_keys=False)).encode())
    ladder: dict[str, Any] = {"path": relative(path, run.root)}
    ladder |= {key: known.get(key) for key in ("baseline", "target", "tolerance", "horizon")}
    measured = {"line": coverage["line_percent"], "branch": coverage["branch_percent"]}
    run.log.info("coverage_ladder_recorded", new=fresh, measured=measured, reason=known.get("reason"), **ladder)
    return ladder, fresh


def lowered(known: Mapping[str, Any], coverage: Mapping[str, Any]) -> bool:
    pairs = [(coverage[f"{kind}_percent"], known[kind]) for kind in ("line", "branch")]
    return any(None not in pair and pair[0] < pair[1] for pair in pairs)


def baseline_body(
    suite: Suite, durations: Mapping[str, Any], markers: Mapping[str, Any], **rest: Any
) -> dict[str, Any]:
    """The consolidated baseline from what the stages of the capture gave; a skipped stage leaves null."""
    flakes, signature = rest["flakes"], rest["signature"]
    counts = {key: len(flakes[key]) for key in ("runs", "unreadable", "flaky", "suspected", "clusters") if flakes}
    body = {
        "partial": suite.partial,
        "scope": rest["scope"],
        "outcomes": outcome_counts(suite),
        "durations": {**durations["all"], "phases": durations["phases"]},
        "coverage": rest["coverage"],
        "markers": {
            "registered": sum(row["registered"] for row in markers["markers"]),
            "used": sum(row["tests"] > 0 for row in markers["markers"]),
            "unused": len(markers["unused"]),
            "unregistered": len(markers["unregistered"]),
        },
        "flakes": flakes and counts | {"rate": flakes["rate"]},
        "environment": signature and {key: signature[key] for key in ("signature", "python", "platform")},
        "ladder": rest["ladder"],
        "capture": rest["seconds"],
    }
    return {**body, "population": population(body)}


class Stopwatch:
    """Wall seconds per stage of the capture."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - began, 3)


def write_evidence(run: Run, settings: Settings, capture: Capture, suite: Suite, watch: Stopwatch) -> dict[str, Any]:
    """Write every artifact of the capture; returns the baseline. A partial one moves no ladder and no map."""
    whole = settings.mode == "off" and not suite.reason and not settings.shard
    mapped = whole and "contexts" not in settings.skip
    apart = bool(settings.merge) and hasattr(os, "fork")  # joined suites are large ones

    def write_tests() -> None:
        with watch.stage("durations"):
            run.write("durations.json", DURATIONS_VERSION, durations)
        with watch.stage("markers"):
            run.write("markers.usage.json", MARKERS_VERSION, markers)
        with watch.stage("history"):
            keep_history(suite, run, capture.origin)

    def write_map() -> None:
        with watch.stage("contexts"):
            run.write("test.map.json", MAP_VERSION, line_map(capture, suite, run))

    durations, markers = durations_body(suite, settings.top), markers_body(suite)
    nothing = contextlib.nullcontext()
    with beside(write_tests, watch) if apart else nothing, watch.stage("coverage"):
        meanwhile = beside(write_map, watch) if apart and mapped else nothing
        coverage = None if "coverage" in settings.skip else report_coverage(capture, run, suite, meanwhile)
    if not apart:
        write_tests()
    with watch.stage("flakes"):
        flakes = None if "flakes" in settings.skip else scan_flakes(run, settings)
    ladder, fresh = None, False
    if whole and coverage and coverage["line_percent"] is not None:
        ladder, fresh = record_ladder(run, settings, coverage)
    if mapped and coverage and not apart:
        write_map()
    parts = {"coverage": coverage, "flakes": flakes, "ladder": ladder, "signature": read_signature(run, settings)}
    body = baseline_body(suite, durations, markers, **parts, seconds=watch.seconds, scope=scope(suite, settings))
    if settings.mode != "off":
        return body  # ordered by a change, to stop early: the baseline and its hash stay
    if fresh:
        run.write(REFERENCE, BASELINE_VERSION, body)
    elif ladder:
        keep_reference(run)
    baseline = run.write("baseline.metrics.json", BASELINE_VERSION, body)
    run.write_bytes("baseline.metrics.hash", f"sha256:{baseline['sha256']}\n".encode())
    return baseline


def keep_reference(run: Run) -> None:
    """In a fresh checkout only the published checkpoint holds the reference: the next one must carry it on."""
    published = run.root / "artifacts" / "foundation" / REFERENCE
    with contextlib.suppress(EvidenceError):  # none, or damaged: the gates say so
        if not (run.artifacts / REFERENCE).exists() and read_artifact(published):
            run.write_bytes(REFERENCE, published.read_bytes())


def scope(suite: Suite, settings: Settings) -> dict[str, Any]:
    """What was measured: two captures compare only if this is equal."""
    arguments = {"pytest_args": settings.pytest_args, "source": settings.source}
    shard = {"shard": "{}/{}".format(*settings.shard)} if settings.shard else {}
    return {**arguments, "skipped_stages": sorted(settings.skip), "collected": suite.collected, **shard}


def read_signature(run: Run, settings: Settings) -> dict[str, Any] | None:
    path = run.artifacts / "env.signature.json"
    skipped = "environment" in settings.skip or os.environ.get("TPR_ENV_VALIDATE") == "skip"
    return None if skipped or not path.exists() else read_artifact(path)


def child_env(run: Run, settings: Settings) -> dict[str, str]:
    env = {**KEYS, **os.environ, "TPR_RUN_ID": run.id, "TPR_FAILFAST_MODE": settings.mode}
    if not (run.root / ".hypothesis").exists():  # examples of the suite's property tests stay in artifacts too
        env.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(run.artifacts / ".hypothesis"))
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):  # they would begin another measurement
        env.pop(name, None)
    return env


def work(run: Run, settings: Settings, stops: Stops) -> int:
    """Recover, or validate and then capture or merge; the exit code."""
    if settings.recover:
        return recover(run, settings)
    watch = Stopwatch()
    if "environment" not in settings.skip:
        with watch.stage("environment"):
            if code := run_script(run, settings, "validate_env.py", "--allow-unrecorded"):
                return 1 if code == 1 else 2
    need_packages(settings)
    if settings.measured and settings.mode == "off":
        known_ladder(run, settings)  # what is wrong with it is said before the suite runs
    return merge_shards(run, settings, watch) if settings.merge else capture_suite(run, settings, watch, stops)


def capture_suite(run: Run, settings: Settings, watch: Stopwatch, stops: Stops) -> int:
    """Run, write, show; the exit code."""
    if settings.shard:
        for name in (SHARD, ".coverage"):  # an earlier run's
            (run.artifacts / name).unlink(missing_ok=True)
    for dead in dead_captures(run.artifacts):
        salvage(run, dead)
    if stops.reasons:
        raise EvidenceError(f"{run.root}: {stops.reasons[0]} before the suite ran; capture again")
    note_commit(run)
    capture = open_capture(run, settings)
    with alive(capture.folder) as held:
        with watch.stage("suite"):
            returncode = run_child(run, capture, settings, held, stops)
        suite = capture.suite()
        suite = suite._replace(reason=why_partial(suite, returncode, next(iter(stops.reasons), None)))
        if stops.reasons or settings.shard:  # who cancels a run grants it few seconds; a shard has no history
            settings = settings._replace(skip=settings.skip | {"flakes"})
        if settings.mode != "off":
            write_summary(run, settings, suite)
        if settings.mode == "hard":
            drop(capture)
            return verdict(suite)
        return conclude(run, settings, capture, suite, watch)


def conclude(run: Run, settings: Settings, capture: Capture, suite: Suite, watch: Stopwatch) -> int:
    """Write and show what a capture measured; its exit code."""
    if not (suite.tests or suite.split) or suite.abort:
        if not suite.tests:
            drop(capture)
        refuse_empty(suite, settings)
    baseline = write_evidence(run, settings, capture, suite, watch)
    if capture.data_file.exists():
        capture.data_file.replace(run.artifacts / ".coverage")  # for merging
    if settings.shard and settings.mode == "off":
        write_shard(run, settings, suite, watch)
    drop(capture)
    if not settings.quiet:
        show(table(baseline, time.perf_counter() - STARTED))
    if suite.reason:
        flying = f"; in flight: {', '.join(map(one_line, suite.in_flight[:5]))}" if suite.in_flight else ""
        print(f"collect_metrics.py: partial: {one_line(suite.reason)}{flying}", file=sys.stderr)
    return verdict(suite)


def note_commit(run: Run) -> None:
    """Say where git is there and tells no commit: it refuses a checkout that is another user's, as in a container."""
    if not run.commit[0] and any((place / ".git").exists() for place in (run.root, *run.root.parents)):
        print(f"collect_metrics.py: no commit is known; git -C {run.root} status says why", file=sys.stderr)


def need_packages(settings: Settings) -> None:
    """Say before the suite runs, not after it, what this interpreter lacks."""
    from importlib.util import find_spec

    packages = {"pytest": "pytest", "coverage": "coverage", "defusedxml": "defusedxml", "yaml": "PyYAML"}
    wanted = packages if settings.measured else ["pytest"]
    if missing := [packages[name] for name in wanted if not find_spec(name)]:
        remedy = f"{sys.executable} -m pip install {' '.join(missing)}"
        raise EvidenceError(f"{sys.executable}: expected {', '.join(missing)}, found none; {remedy}")


def write_summary(run: Run, settings: Settings, suite: Suite) -> None:
    """failfast.summary.json of a soft or hard run, its events, and a line for people.

    After a hard stop it says what is known of the suite as a whole, and what would tell whether to roll back.
    """
    first, hard = suite.first_red and first_failure(suite.first_red), settings.mode == "hard"
    elapsed = round(time.perf_counter() - STARTED, 3)
    facts = {"elapsed_to_detection_s": elapsed, "tests_run": len(suite.tests), "tests_collected": suite.collected}
    rollback = None
    if first and hard:
        last = earlier(run, "baseline.metrics.json")
        rollback = {
            "reason": f"{first['phase']} of {first['id']} failed",
            "last_baseline": {key: last.get(key) for key in ("run_id", "commit", "generated_at")},
            "metrics_of_this_run": False,
            "next": "collect_metrics.py --failfast-mode off, then enforce_gates.py",
        }
    body = {"mode": settings.mode, "first_failure": first, **facts, "order": suite.order, "partial_metrics": not hard}
    body |= {"rollback": rollback, "benchmark": earlier(run, "failfast.summary.json").get("benchmark")}
    run.write("failfast.summary.json", SUMMARY_VERSION, body)
    if first:
        run.log.warning("early_exit_detected", mode=settings.mode, first_failure=first, **facts)
    if first and rollback:
        run.log.warning("risk_trigger", trigger="hard_failfast_exit", where=first["id"], **rollback)
    if not settings.quiet:
        show(summary_table(body))
    if hard:
        print("collect_metrics.py: hard mode writes no metrics for this run; earlier ones stay", file=sys.stderr)


def earlier(run: Run, name: str) -> dict[str, Any]:
    """An artifact that an earlier run left; empty without one that holds."""
    try:
        return read_artifact(run.artifacts / name)
    except EvidenceError:
        return {}


def first_failure(row: Mapping[str, Any]) -> dict[str, str]:
    if "collect_error" in row:
        identity, failure = row["collect_error"], {**row, "phase": "collect"}
    else:
        identity, failure = row["id"], next(iter(row.get("failures", ())), {"phase": "call", "type": "", "text": ""})
    return {"id": identity, "phase": failure["phase"], "type": failure["type"], "message": one_line(said(failure))}


def summary_table(summary: Mapping[str, Any]) -> str:
    first = summary["first_failure"]
    return aligned(
        ("mode", summary["mode"]),
        ("order", summary["order"] or "-"),
        ("first failure", f"{one_line(first['id'])} ({first['phase']})" if first else "none"),
        ("", first and first["message"]),
        ("verdict after", f"{clock(summary['elapsed_to_detection_s'])}, {summary['tests_run']} tests run"),
    )


def aligned(*rows: tuple[str, Any]) -> str:
    """Rows for people, a row without a text left out."""
    return "\n".join(f"{name:<17}{text}" for name, text in rows if text)


def refuse_empty(suite: Suite, settings: Settings) -> None:
    """No finished test is no evidence: earlier artifacts stay as they are."""
    if suite.abort:
        raise EvidenceError(f"{settings.root}: {suite.abort}")
    if suite.collect_errors:
        first = suite.collect_errors[0]
        where = f"{settings.root}: {suite.reason}, first {first['collect_error']}"
        raise RedSuiteError(f"{where}: {first['type']}; mend it")
    text = EXIT_TEXT.get(suite.exit or 0, f"no test finished: {suite.reason or 'pytest was not asked to run any'}")
    remedy = "give paths or options after --" if suite.exit in (0, 5) else "mend what is said above"
    raise EvidenceError(f"{settings.root}: {text}; {remedy}")


class RedSuiteError(EvidenceError):
    """Nothing ran, but a failure was seen: the answer is no, not unknown."""


def drop(capture: Capture) -> None:
    from shutil import rmtree  # imports archive formats; --help should not wait

    rmtree(capture.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        capture.folder.parent.rmdir()


def salvage(run: Run, dead: Capture) -> None:
    """A killed capture's tests go to the history, so that its flakes are not lost; its folder goes."""
    with remains_of(dead):
        suite = dead.suite()._replace(reason="the capture was killed")
        if suite.tests:
            keep_history(suite, run, dead.origin)
    drop(dead)


@contextlib.contextmanager
def remains_of(dead: Capture) -> Iterator[None]:
    """What a crash of the machine left in the records may be anything."""
    try:
        yield
    except UNREADABLE as error:
        wrong = f"expected the records of a capture, got {type(error).__name__}: {one_line(error, 100)}"
        raise EvidenceError(f"{dead.records}: {wrong}; remove {dead.folder}") from None


def recover(run: Run, settings: Settings) -> int:
    """Write the partial metrics of the last capture that was killed, from its records."""
    found, place = dead_captures(run.artifacts), run.artifacts / ".capture"
    if not found:
        living = "one whose suite still runs; wait for its end" if place.exists() else "none; capture instead"
        raise EvidenceError(f"{place}: expected a killed capture, found {living}")
    *older, last = found
    for dead in older:
        salvage(run, dead)
    with remains_of(last):
        suite = last.suite()
        suite = suite._replace(abort=None, reason=suite.abort or "the capture was killed")
        run.commit = last.origin[1:]
        return conclude(run, settings._replace(mode="off"), last, suite, Stopwatch())


def write_shard(run: Run, settings: Settings, suite: Suite, watch: Stopwatch) -> None:
    """What merging needs of a shard, beside its coverage data: all that was recorded of its tests."""
    assert settings.shard
    number, of = settings.shard
    data = run.artifacts / ".coverage"
    body = {
        "shard": number,
        "of": of,
        "root": str(run.root),
        "environment": signature_of(run, settings),
        "coverage_sha256": sha256(data.read_bytes()) if data.exists() else None,
        "suite_seconds": watch.seconds.get("suite", 0.0),
        "scope": {**scope(suite, settings), "skipped_stages": sorted(settings.skip - {"flakes"})},
        "suite": suite._asdict(),
    }
    run.write(SHARD, SHARD_VERSION, body)


def signature_of(run: Run, settings: Settings) -> str | None:
    """The digest that identifies the environment; None if it was not validated."""
    document = read_signature(run, settings)
    return str(document["signature"]) if document else None


class Shard(NamedTuple):
    """A shard's evidence and where it lies."""

    place: Path
    facts: dict[str, Any]
    suite: Suite

    @property
    def name(self) -> str:
        return f"{self.facts['shard']}/{self.facts['of']}"

    @property
    def origin(self) -> dict[str, object]:
        """What all shards of a run have in common."""
        names = ("run_id", "commit", "dirty", "environment", "pytest_args", "source", "skipped_stages")
        facts = self.facts | self.facts["scope"]
        return {name: facts[name] for name in names} | {"split": self.suite.split}


def read_shard(place: Path) -> Shard:
    facts = read_artifact(place / SHARD)
    try:
        shard = Shard(place, facts, Suite(**facts["suite"]))
        _every_fact = (shard.origin, shard.name, int(facts["shard"]), float(facts["suite_seconds"]))
        digest, data = facts["coverage_sha256"], place / ".coverage"
    except UNREADABLE as error:
        raise EvidenceError(f"{place / SHARD}: {one_line(repr(error))}; run shard and merge in one version") from None
    if digest and (not data.exists() or sha256(data.read_bytes()) != digest):
        raise EvidenceError(f"{data}: expected the coverage data of shard {shard.name}; run that shard again")
    return shard


def merge_shards(run: Run, settings: Settings, watch: Stopwatch) -> int:
    """Join the evidence of all shards and write what one capture of the whole suite would have: its exit code."""
    shards = sorted(map(read_shard, settings.merge), key=lambda shard: int(shard.facts["shard"]))
    here = {"run_id": run.id, "commit": run.commit[0], "dirty": run.commit[1]}
    if problem := misfit(shards, here | {"environment": signature_of(run, settings)}):
        raise EvidenceError(problem)
    scope = shards[0].facts["scope"]
    settings = settings._replace(
        source=scope["source"],
        pytest_args=scope["pytest_args"],
        skip=settings.skip | set(scope["skipped_stages"]),
    )
    watch.seconds["suite"] = round(sum(shard.facts["suite_seconds"] for shard in shards), 3)
    capture = open_capture(run, settings)
    with alive(capture.folder):
        for shard in shards:
            if shard.facts["coverage_sha256"]:
                copy = capture.folder / f".coverage.{shard.facts['shard']}"
                copy.write_bytes((shard.place / ".coverage").read_bytes())
        return conclude(run, settings, capture, joined(shards, run.root), watch)


def misfit(shards: Sequence[Shard], here: Mapping[str, object]) -> str | None:
    """Why these are not all the shards of one run, measured as `here` says; None if they are."""
    count = shards[0].facts["of"]
    places: dict[int, Path] = {}
    for shard in shards:
        number, place = shard.facts["shard"], shard.place
        if shard.facts["of"] != count:
            return f"{place}: shard {shard.name}: expected one of {count} shards; merge the shards of one run"
        if number in places:
            return f"{place}: shard {shard.name} is there twice, also as {places[number]}; remove one"
        places[number] = place
        for name, expected in {**shards[0].origin, **here}.items():
            if (actual := shard.origin[name]) != expected:
                got = f"expected {name} {expected!r}, got {actual!r}"
                why = ": other tests were collected, or other durations read" if name == "split" else ""
                return f"{place}: shard {shard.name}: {one_line(got)}{why}; run that shard again"
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in places]
    return f"shard {', '.join(missing)} missing: run it, or give its folder to --merge" if missing else None


def joined(shards: Sequence[Shard], root: Path) -> Suite:
    """One suite of all shards' tests. Each shard has collected all files, so what that said is said by each."""
    suites = [shard.suite for shard in shards]
    ended = [2 if suite.exit is None else suite.exit for suite in suites]
    reasons = [f"shard {shard.name}: {shard.suite.reason}" for shard in shards if shard.suite.reason]
    first = shards[0]
    return first.suite._replace(
        tests=by_id(test for suite in suites for test in suite.tests),
        collected=sum(suite.collected for suite in suites),
        rootdir=str(root / os.path.relpath(first.suite.rootdir, first.facts["root"])),
        in_flight=[test for suite in suites for test in suite.in_flight],
        exit=1 if 1 in ended else max(ended),
        reason="; ".join(reasons) or None,
        split=None,
        roots=sorted({shard.facts["root"] for shard in shards} - {str(root)}),
    )


def table(baseline: Mapping[str, Any], seconds: float) -> str:
    """The baseline for people, with units."""
    outcomes, durations, coverage = baseline["outcomes"], baseline["durations"], baseline["coverage"] or {}
    markers, flakes, filled = baseline["markers"], baseline["flakes"], baseline["population"]
    counts = ", ".join(f"{outcomes[name]} {name}" for name in OUTCOMES if outcomes[name])
    subtests = outcomes["subtests_passed"] + outcomes["subtests_failed"]
    quantiles = "  ".join(f"{name} {clock(durations[name])}" for name in ("p50", "p90", "p95", "p99", "max"))
    stages = "  ".join(f"{name} {clock(value)}" for name, value in baseline["capture"].items())
    return aligned(
        ("tests", f"{outcomes['tests']}: {counts}"),
        ("retried attempts", outcomes["retried_attempts"] and str(outcomes["retried_attempts"])),
        ("subtests", subtests and f"{subtests}: {outcomes['subtests_failed']} failed"),
        ("durations", f"total {clock(durations['total'])}  {quantiles}"),
        ("coverage", None if coverage else "nothing measured"),
        ("lines", coverage and share(coverage["statements_covered"], coverage["statements"])),
        ("branches", coverage and share(coverage["branches_covered"], coverage["branches"])),
        ("markers", ", ".join(f"{markers[name]} {name}" for name in ("used", "unused", "unregistered"))),
        ("flakes", flakes and "{flaky} flaky, {suspected} suspected in {runs} runs".format(**flakes)),
        ("populated", "{percent:.1f} % of {fields} fields".format(**filled)),
        ("capture", f"{clock(seconds)}: {stages}"),
        ("baseline", f"sha256:{baseline['sha256']}" if "sha256" in baseline else "untouched by a fail-fast mode"),
    )


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} % ({part} of {whole})" if whole else "none to measure"


def parse(argv: Sequence[str] | None) -> Settings:
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    env = os.environ
    parser = Arguments(__doc__ or "", "collect_metrics")
    add = parser.add_argument
    default = env.get("TPR_FAILFAST_MODE", "off")
    add("--failfast-mode", dest="mode", type=mode, default=default, help="off (default), soft or hard")
    add("--skip", action="append", default=[], choices=STAGES, help="leave a stage out (repeatable)")
    add("--top", type=count, default=25, metavar="N", help="how many slowest tests (default 25)")
    add("--timeout", type=span, metavar="SECONDS", help="stop the suite after this long")
    add("--source", action="append", default=[], help="measure this folder or package (default: coverage's own)")
    add("--trace-all", action="store_true", help="trace pytest's own code between tests too (slower, same lines)")
    add("--rebaseline", action="store_true", help="make this capture the ladder's baseline")
    add("--reason", metavar="TEXT", help="why a baseline is lowered; goes into the ladder and the log")
    baseline, target = env.get("TPR_COVERAGE_BASELINE"), env.get("TPR_COVERAGE_TARGET")
    drop = env.get("TPR_COVERAGE_TOLERANCE_DROP", "1")
    add("--coverage-baseline", type=rate, default=baseline, metavar="PERCENT", help="of a new ladder (captured)")
    add("--coverage-target", type=rate, default=target, metavar="PERCENT", help="what it asks for (baseline + 2)")
    add("--coverage-tolerance", type=rate, default=drop, metavar="POINTS", help="what may be lost (1)")
    add("--recover", action="store_true", help="write what a killed capture had measured, and stop")
    add("--shard", type=share_of, metavar="I/N", help="run the I-th of N shares of the tests, for --merge")
    add("--merge", type=folder, nargs="+", default=[], metavar="DIR", help="join the shards in these folders")
    args = parser.parse_args(words[:cut])
    if args.shard and "TPR_RUN_ID" not in env:
        parser.error("--shard: expected TPR_RUN_ID, the same for all shards and their merge; set it")
    if args.merge and (args.shard or args.recover or args.mode != "off" or words[cut + 1 :]):
        parser.error("--merge: the shards have run; expected no other run's flags beside it")
    args.artifacts = args.artifacts or args.root / "artifacts"
    args.skip = frozenset(args.skip)
    return Settings(**vars(args), pytest_args=words[cut + 1 :])


def mode(text: str) -> str:
    if text not in ("off", "soft", "hard"):
        raise argparse.ArgumentTypeError(f"expected one of off, soft, hard, got {text!r}")
    return text


def count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def share_of(text: str) -> tuple[int, int]:
    number, _, whole = text.partition("/")
    if not (number.isdecimal() and whole.isdecimal() and 1 <= int(number) <= int(whole)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, got {text!r}")
    return int(number), int(whole)


def bounded(text: str, largest: float, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= largest:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return value


def rate(text: str) -> float:
    return bounded(text, 100, "a number from 0 to 100")


def span(text: str) -> float:
    from threading import TIMEOUT_MAX

    return bounded(text, TIMEOUT_MAX, "a number of seconds")


def open_standard_streams() -> None:
    """Give this process and the suite an empty stream for each that was closed: pytest cannot do without."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def main(argv: Sequence[str] | None = None) -> int:
    open_standard_streams()
    settings = parse(argv)
    try:
        run, settings = begin(settings)
    except EvidenceError as error:
        return complain("collect_metrics.py", str(error))
    stops = Stops()
    with stops.handled():
        code, trouble = 2, "a bug: its traceback is on stderr"
        try:
            facts = {name: getattr(settings, name) for name in ("mode", "pytest_args", "shard", "merge")}
            unset = {key: value for key, value in KEYS.items() if key not in os.environ}
            run.log.info("metrics_capture_start", **facts, skip=sorted(settings.skip), defaults=unset)
            if settings.mode != "off":
                run.log.info("failfast_mode_applied", mode=settings.mode)
            code, trouble = work(run, settings, stops), ""
        except (EvidenceError, KeyboardInterrupt) as error:
            trouble = str(error) or "interrupted"
            complain("collect_metrics.py", trouble)
            code = 1 if isinstance(error, RedSuiteError) else 2
        finally:
            elapsed = round(time.perf_counter() - STARTED, 3)
            with contextlib.suppress(EvidenceError):
                run.log.info("metrics_capture_complete", exit=code, problem=trouble or None, elapsed_s=elapsed)
    return code


def begin(settings: Settings) -> tuple[Run, Settings]:
    """The run, and the settings as far as an open incident lets them be."""
    run = Run("collect_metrics", settings.root, settings.artifacts)
    if settings.mode != "off" and (run.artifacts / FORCED_OFF).exists():
        remedy = "see enforce_gates.py --resolve"
        print(f"collect_metrics.py: an open incident forces fail-fast off; {remedy}", file=sys.stderr)
        settings = settings._replace(mode="off")
    if settings.shard:  # an earlier capture's evidence stays: its durations say which tests are this shard's
        commit = run.commit
        run = Run(run.script, run.root, run.artifacts / "shards" / "{}-of-{}".format(*settings.shard))
        run.commit = commit
    return run, settings


if __name__ == "__main__":
    raise SystemExit(main())
