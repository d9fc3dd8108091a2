"""Do the property tests hold, thirty times, on identical inputs?

    python scripts/tests/aggregate_properties.py [--runs N] [--jobs N] [--seed N] [-- PYTEST ARGUMENTS]
    python scripts/tests/aggregate_properties.py --fuzz [--examples N] [-- PYTEST ARGUMENTS]

Runs the Hypothesis tests of a project in fresh processes with one seed and no example database, and digests the
stream of generated examples of every test: a digest that differs between runs is a flake, even if all passed. One
more run with another seed shows that the digest tells inputs apart. --fuzz searches instead: no seed, more
examples, a kept example database; each finding is replayed in a fresh process before it is reported.

Reads:  the project under --root; TPR_SEED, TPR_PROPERTY_RUNTIME_THRESHOLD_MS; --against FILE, an earlier result.
Writes: property.results.json; with --fuzz into ROOT/artifacts/fuzz, which keeps the database too. Hypothesis
        must be 6.137 or newer. The project is not touched, and its own settings profile stays the parent.
Exits:  0 all passed, identical, within the threshold; 1 falsified, mismatch, false failure, crash, too slow;
        2 it could not be told (no property tests, Hypothesis missing, interrupted, bad usage).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from events import Arguments, EvidenceError, Run, complain, one_line, read_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

RESULTS = "property.results.json"
RESULTS_VERSION = "1.0"  # 1.0 first

PROFILES = {False: "tpr", True: "tpr-fuzz"}  # a project that registers one of these is asked with it
FALSE_FAILURES = ("deadline", "health_check", "flaky", "unsatisfiable")
COMPLETE = ("passed", "falsified", "xfailed")  # outcomes whose stream of examples came to its own end
SEARCH = ("reuse", "generate", "target")  # phases that give examples; shrinking only makes a known one smaller
TEXT_LIMIT = 300  # characters kept of one example
FUZZ_EXAMPLES = 2000
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
SILENCED: dict[str, Any] = {  # pytest's and plugins' options that would stop, spread, repeat or shuffle a run, or write
    "maxfail": 0,
    "lf": False,
    "failedfirst": False,
    "stepwise": False,
    "xmlpath": None,
    "continue_on_collection_errors": True,
    "numprocesses": None,
    "dist": "no",
    "distload": False,
    "tx": [],
    "reruns": 0,
    "randomly_reorganize": False,
    "randomly_seed": 0,
    "failfast_mode": "off",
}
# The tests' process: sys.path is what `python -m pytest` makes of it, and no name of ours stays behind.
BOOTSTRAP = """
import gc, sys
gc.disable()  # until the tests begin: what is imported now is here to stay
import importlib.util, os
if sys.path[0] == "": sys.path[0] = os.getcwd()
script, plan = sys.argv[1:]
theirs = sys.modules.pop("events", None)
sys.path.insert(0, os.path.dirname(script))
spec = importlib.util.spec_from_file_location("_tpr_properties", script)
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
del sys.path[0], sys.modules[spec.name], sys.modules["events"]
if theirs: sys.modules["events"] = theirs
sys.exit(module.run_tests(plan))
"""


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment asked for."""

    root: Path
    runs: int
    jobs: int
    seed: int | None
    examples: int | None  # None: not fuzzing
    threshold_ms: float
    patience: float
    against: dict[str, Any] | None
    quiet: bool
    pytest_args: tuple[str, ...]

    @property
    def fuzz(self) -> bool:
        return self.examples is not None


@dataclass(frozen=True)
class Plan:
    """What one process is to run; travels to it as JSON."""

    records: str
    profile: str
    database: str
    pytest_args: tuple[str, ...]
    seed: int | None = None
    examples: int | None = None
    files: tuple[str, ...] | None = None  # None: find them first
    keep: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    reference: str | None = None  # file of the first run's example hashes
    texts: bool = False
    seeds: Mapping[str, int] = field(default_factory=dict)  # a test's own seed, and
    blobs: Mapping[str, str] = field(default_factory=dict)  # its @reproduce_failure line, to replay a finding


@dataclass(frozen=True)
class Result:
    """One property test in one run, as the process that ran it saw it."""

    id: str
    outcome: str  # one of COMPLETE, false_failure, error, skipped, crashed
    kind: str = ""  # of a false failure: one of FALSE_FAILURES
    message: str = ""
    seconds: float = 0.0
    examples: int = 0
    invalid: int = 0
    max_examples: int = 0
    digest: str = ""
    falsifying: tuple[dict[str, Any], ...] = ()
    diverged: dict[str, Any] | None = None  # the first example that is not the first run's
    seed: int | None = None
    seed_from: str = "given"  # or what made the test deaf to it

    @property
    def complete(self) -> bool:
        return self.outcome in COMPLETE

    @property
    def stream(self) -> tuple[str, str]:
        return self.digest, self.outcome


@dataclass
class Trial:
    """One run: what its process (or, after a crash, its processes) recorded."""

    number: int
    seed: int | None
    seconds: float = 0.0
    results: dict[str, Result] = field(default_factory=dict)
    examples: dict[str, list[list[str]]] = field(default_factory=dict)  # of the first run: hash, text, choices
    found: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()
    stopped: bool = False  # found other test modules beside the property tests', so ran none
    modules: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    uncollected: list[dict[str, str]] = field(default_factory=list)
    in_flight: str | None = None
    exit: int | None = None
    problem: str | None = None  # why this is not a whole run

    def counts(self) -> Counter[str]:
        return Counter(result.outcome for result in self.results.values())


# --- in the tests' own process


@dataclass
class Stream:
    """The test that runs now and what was seen of it."""

    id: str
    reference: Sequence[str]
    outcome: str = "skipped"
    kind: str = ""
    message: str = ""
    seconds: float = 0.0
    examples: int = 0
    invalid: int = 0
    max_examples: int = 0
    seed_from: str = "given"
    seed: int | None = None
    retried: str = ""
    count: int = 0
    diverged: dict[str, Any] | None = None
    falsifying: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)  # explicit examples that failed or assume() refused
    hash: Any = field(default_factory=hashlib.sha256)

    def record(self) -> dict[str, Any]:
        names = "id outcome kind message seconds examples invalid max_examples seed seed_from diverged".split()
        falsified = self.outcome == "falsified"
        if self.retried and self.outcome == "passed":
            self.outcome, self.kind, self.message = "false_failure", "flaky", f"passed when repeated: {self.retried}"
        row = {name: getattr(self, name) for name in names} | {"digest": self.hash.hexdigest()}
        return row | {"falsifying": (self.falsifying or self.rejected) if falsified else []}


class Observer:
    """Streams what Hypothesis observes to the plan's records: one JSON line an example, one a finished test."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._fd = os.open(plan.records, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._reference = json.loads(Path(plan.reference).read_bytes()) if plan.reference else {}
        self._now: Stream | None = None
        self._modules: set[str] = set()
        self._library: dict[str, Any] = {}

    def say(self, row: Any) -> None:
        os.write(self._fd, (json.dumps(row, ensure_ascii=True) + "\n").encode())

    def attach(self) -> str | None:
        """Register with Hypothesis before any conftest.py is imported; why that cannot be, if it cannot."""
        try:
            import hypothesis
            from hypothesis.internal import observability

            observability.add_observability_callback(self.observe, all_threads=True)
        except (ImportError, AttributeError, TypeError):
            loaded = sys.modules.get("hypothesis")
            found = getattr(loaded, "__version__", "none")
            return f"hypothesis: expected 6.137 or newer, got {found}; python -m pip install --upgrade hypothesis"
        observability.OBSERVABILITY_COLLECT_COVERAGE = False
        observability.OBSERVABILITY_CHOICES = True
        profiles = hypothesis.settings
        self._library = {name: profiles._profiles.get(name) for name in ("default", "ci")}
        self.say({"versions": {**library_versions(), "hypothesis": hypothesis.__version__}})
        return None

    def take_profile(self) -> None:
        """Make ours of the profile that the project loaded last: its settings, but the seed honoured, no time limits.

        Hypothesis loads `ci` by itself in CI, which ignores the seed: that one is not the project's choice.
        """
        from hypothesis import HealthCheck, settings
        from hypothesis.database import DirectoryBasedExampleDatabase

        plan, current, known = self.plan, settings.get_current_profile_name(), settings._profiles
        if current == plan.profile:
            return
        library = current == "ci" and known.get("ci") is self._library["ci"]
        base = known.get(plan.profile) or known["default" if library else current]
        changes: dict[str, Any] = {"derandomize": False, "database": None, "print_blob": True}
        if base.deadline == self._library["default"].deadline:  # the library's, not a choice: depends on the machine
            changes["deadline"] = None
        changes["suppress_health_check"] = {*base.suppress_health_check, HealthCheck.too_slow}
        if plan.examples:
            changes["max_examples"] = plan.examples
        if plan.database:
            changes["database"] = DirectoryBasedExampleDatabase(plan.database)
        settings.register_profile(plan.profile, parent=base, **changes)
        settings.load_profile(plan.profile)
        self.say({"profile": profile_row(settings.get_profile(plan.profile), base=current)})

    def module(self, path: Path) -> None:
        self._modules.add(str(path))

    def select(self, items: Sequence[Any], rootdir: Path) -> list[Any]:
        """The property tests to run now: none if other test modules were imported on the way, as those take part
        in what Hypothesis generates."""
        wanted = [item for item in items if is_property(item)]
        files = {str(item.path): None for item in wanted}
        stopped = self.plan.files is None and not self._modules <= set(files)
        names = [os.path.relpath(path, rootdir) for path in files]
        self.say({"found": [item.nodeid for item in wanted], "files": names, "stopped": stopped})
        keep, skip = self.plan.keep, set(self.plan.skip)
        return [
            item
            for item in wanted
            if not stopped and item.nodeid not in skip and (keep is None or item.nodeid in keep)
        ]

    def begin(self, item: Any) -> None:
        self.say({"start": item.nodeid})
        self._now = Stream(item.nodeid, self._reference.get(item.nodeid, ()))
        function = getattr(item.obj, "__func__", item.obj)
        settings = getattr(function, "_hypothesis_internal_use_settings", None) or getattr(item.cls, "settings", None)
        self._now.max_examples = getattr(settings, "max_examples", 0)
        if getattr(function, "_hypothesis_internal_use_seed", None) is not None:
            self._now.seed_from = "@seed"
        elif getattr(settings, "derandomize", False):
            self._now.seed_from = "derandomize=True"
        self._replay(item.nodeid, function)

    def _replay(self, test: str, function: Any) -> None:
        if line := self.plan.blobs.get(test):
            from hypothesis import reproduce_failure

            reproduce_failure(*arguments_of(line))(function)
        if self.plan.seeds:
            from hypothesis import core

            core.global_force_seed = self.plan.seeds.get(test)

    def observe(self, observation: Any, _thread: int) -> None:
        stream = self._now
        if stream is None or observation.type != "test_case":
            return
        explicit = observation.how_generated == "explicit example"
        if observation.metadata.phase in SEARCH or explicit:
            self._example(stream, observation, explicit)
        elif observation.how_generated == "minimal failing test case":
            stream.falsifying.append(falsifying_row(observation))

    def _example(self, stream: Stream, observation: Any, explicit: bool) -> None:
        text = stable_text(observation.representation)
        choices = choices_text(getattr(observation.metadata, "choice_nodes", None) or ())
        stream.hash.update(f"{text}\0{choices}\0".encode("utf-8", "surrogatepass"))
        prefix = stream.hash.hexdigest()[:16]
        if self.plan.texts:
            self.say([prefix, text[:TEXT_LIMIT], choices[:TEXT_LIMIT]])
        else:
            os.write(self._fd, f'"{prefix}"\n'.encode())
        if stream.diverged is None and stream.reference and self._differs(stream, prefix):
            stream.diverged = {
                "example": stream.count,
                "text": text[:TEXT_LIMIT],
                "choices": choices[:TEXT_LIMIT],
            }
        stream.count += 1
        if observation.status == "gave_up":
            stream.invalid += 1
            if explicit:
                stream.rejected.append(falsifying_row(observation))
        else:
            stream.examples += 1

    def _differs(self, stream: Stream, prefix: str) -> bool:
        return stream.count >= len(stream.reference) or stream.reference[stream.count] != prefix

    def phase(self, item: Any, call: Any, report: Any) -> None:
        """One phase of the running test has ended."""
        stream = self._now
        if stream is None:
            return
        error = call.excinfo.value if call.excinfo else None
        if report.when == "call":
            stream.seconds += call.duration
        if str(report.outcome) == "rerun":
            stream.retried = one_line(f"{type(error).__name__}: {error}")
            return
        outcome, kind = judge(report, error)
        if report.when == "call" or outcome != "passed":
            stream.outcome, stream.kind = outcome, kind
            stream.message = one_line(f"{type(error).__name__}: {error}") if error is not None else ""
        function = getattr(item.obj, "__func__", item.obj)
        stream.seed = getattr(function, "_hypothesis_internal_use_generated_seed", None)

    def end(self, item: Any) -> None:
        if self._now is not None:
            self.say(self._now.record())
        self._now = None
        if item.nodeid in self.plan.blobs:  # parametrized tests share the function
            getattr(item.obj, "__func__", item.obj)._hypothesis_internal_use_reproduce_failure = None


def hooks(observer: Observer) -> object:
    """The observer as a pytest plugin; pytest is only imported here, in the tests' process."""
    import gc

    import pytest

    class Hooks:
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Generator[None]:
            options = early_config.known_args_namespace
            if hasattr(options, "cov_source"):
                options.cov_source = []  # pytest-cov starts here, if at all
            if problem := observer.attach():
                observer.say({"abort": problem})
                raise pytest.UsageError(problem)
            return (yield)

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, Any, Any]:
            for name, value in SILENCED.items():
                if hasattr(config.option, name):
                    setattr(config.option, name, value)
            if observer.plan.files is not None:
                config.args[:] = [str(config.rootpath / file) for file in observer.plan.files]
            return (yield)

        @pytest.hookimpl(trylast=True)
        def pytest_configure(self) -> None:
            observer.take_profile()

        @pytest.hookimpl(tryfirst=True)
        def pytest_make_collect_report(self) -> None:
            observer.take_profile()  # a conftest.py further down may have loaded its own

        @pytest.hookimpl(tryfirst=True)
        def pytest_pycollect_makemodule(self, module_path: Path) -> None:
            observer.module(module_path)

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                lines = report.longreprtext.strip().splitlines() or [""]
                observer.say({"uncollected": report.nodeid, "message": one_line(lines[-1])})

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
            chosen = observer.select(items, config.rootpath)
            if others := [item for item in items if item not in set(chosen)]:
                config.hook.pytest_deselected(items=others)
            items[:] = chosen

        def pytest_collection_finish(self) -> None:
            gc.enable()

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
            observer.begin(item)
            finished = yield
            observer.end(item)
            return finished

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(
            self, item: pytest.Item, call: pytest.CallInfo[None]
        ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
            report = yield
            observer.phase(item, call, report)
            return report

        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(self, exitstatus: int) -> None:
            observer.say({"exit": int(exitstatus), "modules": local_modules()})

    return Hooks()


def run_tests(path: str) -> int:
    """Entry of the tests' process: run the plan as `python -m pytest` would. Returns pytest's status."""
    from importlib.util import find_spec

    plan = Plan(**json.loads(Path(path).read_bytes()))
    observer = Observer(plan)
    missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
    if missing:
        observer.say({"abort": f"{missing[0]}: expected it installed, got none; python -m pip install {missing[0]}"})
        return 2
    import pytest

    main = find_spec("pytest.__main__")
    arguments = [*plan.pytest_args, *([f"--hypothesis-seed={plan.seed}"] if plan.seed is not None else [])]
    sys.argv = [str(main and main.origin), *arguments]
    return int(pytest.main(arguments, plugins=[hooks(observer)]))


def library_versions() -> dict[str, str]:
    import platform

    import pytest

    return {"python": platform.python_version(), "pytest": pytest.__version__}


def profile_row(settings: Any, base: str) -> dict[str, Any]:
    deadline = settings.deadline and settings.deadline.total_seconds() * 1000
    checks = sorted(check.name for check in settings.suppress_health_check)
    row = {"parent": base, "max_examples": settings.max_examples, "deadline_ms": deadline}
    row |= {"derandomize": settings.derandomize, "database": settings.database is not None}
    return row | {"phases": [phase.name for phase in settings.phases], "suppress_health_check": checks}


def is_property(item: Any) -> bool:
    from hypothesis import is_hypothesis_test

    return is_hypothesis_test(getattr(item, "obj", None)) is True


def stable_text(text: str) -> str:
    """An example as text, without the addresses of objects that have no repr of their own."""
    return ADDRESS.sub("at 0x", text) if "at 0x" in text else text


def choices_text(nodes: Iterable[Any]) -> str:
    """The choices an example was made of: what the value's own text may hide."""
    values = [node.value for node in nodes]
    try:
        return repr(values)
    except ValueError:  # an integer beyond the limit of str()
        return repr([hex(value) if isinstance(value, int) else value for value in values])


def falsifying_row(observation: Any) -> dict[str, Any]:
    explicit = observation.how_generated == "explicit example"
    row = {"representation": stable_text(observation.representation), "explicit": explicit}
    row |= {"error": observation.status_reason, "location": observation.metadata.status_reason_location}
    return row | {"reproduction": observation.metadata.reproduction_decorator}


def arguments_of(line: str) -> tuple[str, bytes]:
    """Version and blob of a line like @reproduce_failure('6.170.15', b'AXicY2BkAAM=')."""
    version, blob = ast.literal_eval(line.partition("reproduce_failure")[2])
    return str(version), bytes(blob)


def judge(report: Any, error: BaseException | None) -> tuple[str, str]:
    """Outcome and kind of one phase of a test, by the types of its exceptions."""
    if hasattr(report, "wasxfail"):
        return ("xfailed" if report.skipped else "passed"), ""
    if report.passed:
        return "passed", ""
    if report.skipped:
        return "skipped", ""
    if report.when != "call" or error is None:
        return "error", ""
    kind = failure_kind(error)
    return ("false_failure", kind) if kind in FALSE_FAILURES else (kind, "")


def failure_kind(error: BaseException) -> str:
    """falsified, error (the test is not usable), or one of FALSE_FAILURES."""
    from hypothesis import errors

    flaky = isinstance(error, errors.Flaky)
    if isinstance(error, BaseExceptionGroup):
        kinds = [failure_kind(inner) for inner in error.exceptions]
        if not flaky:
            return "falsified" if "falsified" in kinds else kinds[0]
        return "deadline" if "deadline" in kinds else "flaky"
    if flaky:
        return "flaky"
    for cls, kind in (
        (errors.DeadlineExceeded, "deadline"),
        (errors.FailedHealthCheck, "health_check"),
        (errors.Unsatisfiable, "unsatisfiable"),
        (errors.HypothesisException, "error"),
    ):
        if isinstance(error, cls):
            return kind
    return "falsified"


def local_modules() -> dict[str, str]:
    """Name and digest of every module whose constants Hypothesis mixes into what it generates."""
    try:
        from hypothesis.internal.constants_ast import is_local_module_file
    except ImportError:
        return {}
    found = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and is_local_module_file(file):
            with contextlib.suppress(OSError):
                found[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return found


# --- thinking


def read_records(trial: Trial, lines: Iterable[bytes]) -> None:
    """Add what one process recorded to its run."""
    trial.in_flight = trial.exit = None
    examples: list[list[str]] = []
    for line in lines:
        if line.startswith(b'"'):
            continue
        try:
            row = json.loads(line)
        except ValueError:  # the process died while it wrote
            continue
        if isinstance(row, list):
            examples.append(row)
        elif "start" in row:
            trial.in_flight = row["start"]
            examples = trial.examples[row["start"]] = []
        elif "id" in row:
            trial.in_flight = None
            row["falsifying"] = tuple(row["falsifying"])
            trial.results[row["id"]] = Result(**row)
        else:
            note_row(trial, row)


def note_row(trial: Trial, row: Mapping[str, Any]) -> None:
    if "found" in row:
        trial.found = trial.found or tuple(row["found"])
        trial.files, trial.stopped = tuple(sorted(row["files"])), row["stopped"]
    elif "uncollected" in row:
        entry = {"id": row["uncollected"], "message": row["message"]}
        trial.uncollected += [entry] if entry not in trial.uncollected else []
    elif "exit" in row:
        trial.exit, trial.modules = row["exit"], row["modules"]
    elif "abort" in row:
        trial.problem = row["abort"]
    else:
        trial.versions |= row.get("versions", {})
        trial.profile = row.get("profile", trial.profile)


def mismatches(trial: Trial, first: Trial) -> list[str]:
    """The tests whose inputs or outcome are not those of the first run; a run cut short tells nothing."""
    pairs = ((result, first.results.get(name)) for name, result in trial.results.items())
    return [now.id for now, then in pairs if then and now.complete and then.complete and now.stream != then.stream]


def stream_groups(rows: Mapping[int, Result]) -> list[tuple[tuple[str, str], list[int]]]:
    """The runs by the stream they saw, the commonest first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, result in rows.items():
        if result.complete:
            groups.setdefault(result.stream, []).append(number)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[1]))


def problems_of(rows: Mapping[int, Result], threshold_ms: float, compare: bool) -> list[str]:
    """What speaks against one test, the gravest first; empty: it holds."""
    outcomes = Counter(result.outcome for result in rows.values())
    found = [name for name in ("crashed", "falsified", "false_failure", "error") if outcomes[name]]
    if compare and len(stream_groups(rows)) > 1:
        found.append("mismatch")
    timed = [result.seconds for result in rows.values() if result.complete]
    if timed and 1000 * sum(timed) / len(timed) > threshold_ms:
        found.append("slow")
    return found


def runtime_ms(seconds: Sequence[float]) -> dict[str, float | None]:
    """Mean, p50, p95 and max in milliseconds (statistics.quantiles, inclusive method)."""
    from statistics import quantiles

    if not seconds:
        return dict.fromkeys(("mean", "p50", "p95", "max"))
    ordered = sorted(1000 * value for value in seconds)
    cuts = quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    stats = {"mean": sum(ordered) / len(ordered), "p50": cuts[49], "p95": cuts[94], "max": ordered[-1]}
    return {name: round(min(max(value, ordered[0]), ordered[-1]), 3) for name, value in stats.items()}


def control_row(result: Result, other: Result | None) -> str:
    """What another seed did to one test: changed, or why it could not, or unexplained."""
    if other is None or not (result.complete and other.complete):
        return "not compared"
    if result.digest != other.digest:
        return "changed"
    if result.seed_from != "given":
        return f"seed ignored: {result.seed_from}"
    return "every input tried" if result.examples < result.max_examples else "unexplained"


def likely_cause(facts: Mapping[str, Any]) -> str:
    """Why two runs saw different streams, as far as it can be told."""
    if facts["modules"]:
        return f"other local modules were imported: {', '.join(facts['modules'])}"
    if facts["same_stream"]:
        return "the same inputs, another outcome: the test depends on time, order or other outside state"
    if facts["steady_hash_seed"]:
        return "hash order: with PYTHONHASHSEED=0 the runs are identical; sort sets before sampling from them"
    how = "the strategy turns the same choices into other values" if facts["same_choices"] else "other choices"
    return f"{how}: wall clock, random numbers of its own, addresses or other outside state in the strategy"


def cause_between(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    """Why two results, perhaps of two machines, differ: the first of their circumstances that does."""
    for name in ("seed", "python", "hypothesis", "profile", "files", "local_modules"):
        if now.get(name) != then.get(name):
            detail = changed_names(now.get(name), then.get(name))
            return f"{name.replace('_', ' ')}: {one_line(detail, 200)}"
    return "nothing recorded differs: wall clock, hash order or other outside state in the strategy"


def changed_names(now: Any, then: Any) -> str:
    if isinstance(now, dict) and isinstance(then, dict):
        return ", ".join(sorted(str(key) for key, _ in now.items() ^ then.items())) if hashable(now, then) else "differs"
    return f"expected {then}, got {now}"


def hashable(*mappings: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for mapping in mappings for value in mapping.values())


@dataclass(frozen=True)
class Evidence:
    """All that was run, and what the questions asked afterwards gave."""

    settings: Settings
    trials: list[Trial]
    control: Trial | None = None
    causes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    replays: Mapping[tuple[str, int], dict[str, bool]] = field(default_factory=dict)
    partial: str | None = None

    @property
    def first(self) -> Trial:
        return self.trials[0]

    def rows(self, test: str) -> dict[int, Result]:
        return {trial.number: trial.results[test] for trial in self.trials if test in trial.results}

    def tests(self) -> list[str]:
        return sorted({*(self.first.found or ()), *(name for trial in self.trials for name in trial.results)})


def body_of(evidence: Evidence) -> dict[str, Any]:
    """The artifact's body: pure arithmetic over the evidence."""
    settings, first = evidence.settings, evidence.first
    tests = [test_row(evidence, name) for name in evidence.tests()]
    results = [result for trial in evidence.trials for result in trial.results.values()]
    false = sum(result.outcome == "false_failure" for result in results)
    observed = sum(result.complete for result in results) + false
    body = {
        "mode": "fuzz" if settings.fuzz else "deterministic",
        "partial": evidence.partial,
        "seed": settings.seed,
        "runs": len(evidence.trials),
        "jobs": settings.jobs,
        "threshold_ms": settings.threshold_ms,
        "false_failures": {"count": false, "observed": observed, "percent": percent(false, observed)},
        "mismatches": sum("mismatch" in row["problems"] for row in tests),
        "control": control_body(evidence),
        "against": against_body(evidence, tests),
        **first.versions,
        "hash_seed": os.environ.get("PYTHONHASHSEED", "random"),
        "ci": "CI" in os.environ,
        "pytest_args": list(settings.pytest_args),
        "profile": first.profile,
        "files": {file: file_digest(settings.root, file) for file in first.files},
        "local_modules": first.modules,
        "uncollected": first.uncollected,
        "per_run": [run_row(trial, first) for trial in evidence.trials],
        "tests": tests,
    }
    return body


def percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None


def file_digest(root: Path, file: str) -> str:
    try:
        return hashlib.sha256((root / file).read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def run_row(trial: Trial, first: Trial) -> dict[str, Any]:
    counts = trial.counts()
    row: dict[str, Any] = {"run": trial.number, "seconds": round(trial.seconds, 3), "problem": trial.problem}
    row |= {name: counts[name] for name in (*COMPLETE, "skipped", "error", "crashed")}
    return row | {"false_failures": counts["false_failure"], "mismatches": len(mismatches(trial, first))}


def test_row(evidence: Evidence, test: str) -> dict[str, Any]:
    settings, rows = evidence.settings, evidence.rows(test)
    results = list(rows.values())
    shown = next((result for result in results if result.complete), results[0] if results else Result(test, "error"))
    groups = stream_groups(rows)
    problems = problems_of(rows, settings.threshold_ms, not settings.fuzz)
    if len(rows) < len(evidence.trials) and not evidence.partial:
        problems.append("missing")
    return {
        "id": test,
        "problems": problems,
        "outcomes": dict(sorted(Counter(result.outcome for result in results).items())),
        "examples": {"run": shown.examples, "invalid": shown.invalid, "max": shown.max_examples},
        "falsifying_examples": falsifying_of(evidence, rows),
        "failures": failures_of(rows),
        "runtime_ms": runtime_ms([result.seconds for result in results if result.complete]),
        "digest": groups[0][0][0] if groups else None,
        "streams": [{"digest": key[0], "outcome": key[1], "runs": runs} for key, runs in groups[:10]],
        "mismatch": evidence.causes.get(test),
        "seed": shown.seed if settings.fuzz and settings.seed is None else settings.seed,
        "seed_ignored": None if shown.seed_from == "given" else shown.seed_from,
    }


def failures_of(rows: Mapping[int, Result]) -> list[dict[str, Any]]:
    """What went wrong beside falsification, with the runs it happened in."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number, result in rows.items():
        if result.outcome in ("false_failure", "error", "crashed"):
            key = (result.kind or result.outcome, result.outcome)
            found.setdefault(key, []).append({"run": number, "message": result.message})
    return [
        {"kind": kind, "outcome": outcome, "runs": [hit["run"] for hit in hits], "message": hits[0]["message"]}
        for (kind, outcome), hits in found.items()
    ]


def falsifying_of(evidence: Evidence, rows: Mapping[int, Result]) -> list[dict[str, Any]]:
    """The shrunk examples that falsify a test, each once, with the run that found it and how to see it again."""
    found: dict[str, dict[str, Any]] = {}
    for number, result in rows.items():
        for place, example in enumerate(result.falsifying):
            entry = found.setdefault(example["representation"], {**example, "runs": []})
            entry["runs"].append(number)
            entry["location"] = relative(example["location"], evidence.settings.root)
            entry["error"] = result.message if len(result.falsifying) == 1 else entry["error"].partition(" at ")[0]
            entry |= {"seed": result.seed if evidence.settings.seed is None else evidence.settings.seed}
            entry |= evidence.replays.get((result.id, place), {})
    return list(found.values())


def relative(location: str | None, root: Path) -> str | None:
    return location.removeprefix(f"{root}{os.sep}") if location else None


def control_body(evidence: Evidence) -> dict[str, Any] | None:
    """Whether the digests tell inputs apart: another seed changes them, and no two tests share one."""
    if evidence.control is None:
        return None
    first, other = evidence.first, evidence.control
    rows = {name: control_row(result, other.results.get(name)) for name, result in first.results.items()}
    digests = [result.digest for result in first.results.values() if result.complete and result.examples]
    return {
        "seed": other.seed,
        "changed": sum(text == "changed" for text in rows.values()),
        "unchanged": {name: text for name, text in sorted(rows.items()) if text != "changed"},
        "tests": len(digests),
        "distinct": len(set(digests)),
        "shown": "unexplained" not in rows.values() and (len(digests) < 2 or len(set(digests)) > 1),
    }


def against_body(evidence: Evidence, tests: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    then = evidence.settings.against
    if then is None:
        return None
    first = evidence.first
    now = {"seed": evidence.settings.seed, **first.versions, "profile": first.profile, "local_modules": first.modules}
    now["files"] = {file: file_digest(evidence.settings.root, file) for file in first.files}
    known = {row["id"]: row["digest"] for row in then["tests"]}
    differ = [row["id"] for row in tests if row["id"] in known and known[row["id"]] != row["digest"]]
    cause = cause_between(now, then) if differ else None
    return {"run_id": then["run_id"], "compared": len(known), "differ": differ, "cause": cause}


def verdict(body: Mapping[str, Any]) -> int:
    """0 every property holds, identically; 1 one does not; 2 that cannot be told. The exit code."""
    if any(row["problems"] for row in body["tests"]) or (body["against"] or {}).get("differ"):
        return 1
    if body["control"] and not body["control"]["shown"]:
        return 1
    told = any(set(row["outcomes"]) & set(COMPLETE) for row in body["tests"])
    return 0 if told and not body["partial"] else 2


# --- processes


class Workshop:
    """Starts the tests' processes, reads what they recorded, and can stop them all."""

    def __init__(self, run: Run, settings: Settings, folder: Path) -> None:
        self.run, self.settings, self.folder = run, settings, folder
        self._live: set[subprocess.Popen[bytes]] = set()
        self._made = 0
        self._lock = threading.Lock()
        self.stopping = False
        storage = run.artifacts / ".hypothesis"
        self.database = str(storage / "examples") if settings.fuzz and settings.seed is None else ""
        self._env = {**os.environ, "TPR_RUN_ID": run.id, "TPR_FAILFAST_MODE": "off"}
        self._env["HYPOTHESIS_STORAGE_DIRECTORY"] = str(storage)

    def plan(self, **changes: Any) -> Plan:
        settings = self.settings
        common = {"profile": PROFILES[settings.fuzz], "pytest_args": settings.pytest_args, "seed": settings.seed}
        common |= {"database": self.database, "examples": settings.examples}
        return Plan(**{"records": "", **common, **changes})

    def trial(self, number: int, plan: Plan, purpose: str, hash_seed: str | None = None) -> Trial:
        """One run. A test that takes its process down is put down as crashed; a further process runs the rest."""
        trial = Trial(number, plan.seed)
        env = self._env if hash_seed is None else {**self._env, "PYTHONHASHSEED": hash_seed}
        began = time.perf_counter()
        while not self.stopping:
            known = tuple(trial.results)
            ended = self._process(trial, plan, known, env)
            if trial.in_flight is None or trial.problem:
                break
            crashed = Result(trial.in_flight, "crashed", "crash", f"its process {ended}", seed=plan.seed)
            trial.results[trial.in_flight] = crashed
            if set(plan.keep or trial.found or ()) <= set(trial.results):
                break
        trial.problem = "interrupted" if self.stopping else trial.problem
        trial.seconds = time.perf_counter() - began
        return trial

    def _process(self, trial: Trial, plan: Plan, skip: tuple[str, ...], env: Mapping[str, str]) -> str:
        """Run one process of a run and read its records; how it ended, in words."""
        with self._lock:
            self._made += 1
            base = self.folder / f"{trial.number}-{self._made}"
        records, output, paper = (base.with_suffix(suffix) for suffix in (".jsonl", ".txt", ".json"))
        paper.write_text(json.dumps(asdict(plan) | {"records": str(records), "skip": skip}), "utf-8")
        command = [sys.executable, "-c", BOOTSTRAP, str(Path(__file__).resolve()), str(paper)]
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command, cwd=self.settings.root, env=env, stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            with self._lock:
                self._live.add(process)
            if self.stopping:
                kill(process)
            status = self._wait(process, records)
        with self._lock:
            self._live.discard(process)
        with contextlib.suppress(FileNotFoundError), records.open("rb") as lines:
            read_records(trial, lines)
        ended = "did not move and was killed" if status is None else describe(status)
        if trial.in_flight is None and trial.exit not in (0, 1, 5) and not trial.problem:
            trial.problem = f"its process {ended}: {last_words(output)}"
        return ended

    def _wait(self, process: subprocess.Popen[bytes], records: Path) -> int | None:
        size = -1
        while True:
            try:
                return process.wait(self.settings.patience)
            except subprocess.TimeoutExpired:
                now = records.stat().st_size if records.exists() else 0
                if now == size:
                    kill(process)
                    process.wait()
                    return None
                size = now

    def stop(self) -> None:
        self.stopping = True
        with self._lock:
            for process in self._live:
                kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def last_words(output: Path) -> str:
    """The line of pytest's output that most likely says what went wrong."""
    lines = [line for line in output.read_text("utf-8", "replace").splitlines() if line.strip(" =!")]
    errors = [line for line in lines if re.match(r"E  |ERROR|\w*(Error|Exception)\b", line)]
    return one_line((errors or lines or ["no output"])[-1].strip(), 200)


def logged(run: Run, first: Trial | None, purpose: str, number: int, make: Callable[[], Trial]) -> Trial:
    """Make a run between its two events."""
    run.log.info("property_test_start", run=number, purpose=purpose)
    trial: Trial | None = None
    try:
        trial = make()
        return trial
    finally:
        facts: dict[str, Any] = {"problem": "interrupted"}
        if trial:
            row = run_row(trial, first or trial)
            facts = {key: value for key, value in row.items() if key != "run"} | {"seed": trial.seed}
        run.log.info("property_test_complete", run=number, purpose=purpose, **facts)


def examine(run: Run, settings: Settings, folder: Path) -> Evidence:
    """Everything that is run, in order: the first run, the others, the control, what the answers ask for."""
    shop = Workshop(run, settings, folder)
    trials: list[Trial] = []
    try:
        with stop_on_term():
            first = find_and_run(run, shop)
            trials.append(first)
            base = shop.plan(files=first.files, keep=first.found, reference=write_reference(first, folder))
            show = progress(settings)
            for trial in many(run, shop, base, first):
                trials.append(trial)
                show(len(trials))
            evidence = Evidence(settings, sorted(trials, key=lambda trial: trial.number), partial=why_partial(trials))
            return ask_further(run, shop, base, evidence)
    except KeyboardInterrupt:
        shop.stop()
        if not trials:
            raise
        return Evidence(settings, sorted(trials, key=lambda trial: trial.number), partial="interrupted")


def find_and_run(run: Run, shop: Workshop) -> Trial:
    """The first run. It finds the property tests; if it met other test modules, a second process runs only those."""
    first = logged(run, None, "run", 1, lambda: shop.trial(1, shop.plan(texts=True), "run"))
    require(first, shop.settings)
    if not first.stopped:
        return first
    plan = shop.plan(texts=True, files=first.files, keep=first.found)
    again = logged(run, None, "run", 1, lambda: shop.trial(1, plan, "run"))
    again.found, again.uncollected = first.found, first.uncollected
    require(again, shop.settings)
    return again


def require(trial: Trial, settings: Settings) -> None:
    """Nothing found, or nothing that could be run, is no evidence."""
    if trial.problem:
        raise EvidenceError(f"{settings.root}: {trial.problem}")
    for entry in trial.uncollected:
        path = settings.root / entry["id"].partition("::")[0]
        if path.is_file() and b"hypothesis" in path.read_bytes():
            raise EvidenceError(f"{entry['id']}: cannot be imported: {entry['message']}; mend it, or name other paths")
    if not trial.found:
        raise EvidenceError(f"{settings.root}: expected tests with @given, found none; give their paths after --")


def why_partial(trials: Iterable[Trial]) -> str | None:
    return next((f"run {trial.number}: {trial.problem}" for trial in trials if trial.problem), None)


def write_reference(first: Trial, folder: Path) -> str:
    path = folder / "reference.json"
    hashes = {name: [row[0] for row in rows] for name, rows in first.examples.items()}
    path.write_text(json.dumps(hashes), "utf-8")
    return str(path)


def many(run: Run, shop: Workshop, base: Plan, first: Trial) -> Iterator[Trial]:
    """The second to the last run, `jobs` at a time, as they end."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    def make(number: int) -> Trial:
        return logged(run, first, "run", number, lambda: shop.trial(number, base, "run"))

    with ThreadPoolExecutor(shop.settings.jobs) as pool:
        try:
            futures = [pool.submit(make, number) for number in range(2, shop.settings.runs + 1)]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            shop.stop()
            pool.shutdown(cancel_futures=True)
            raise


def ask_further(run: Run, shop: Workshop, base: Plan, evidence: Evidence) -> Evidence:
    """What the runs themselves cannot say: does another seed change the inputs, why do streams differ, do the
    findings come back."""
    settings, first = evidence.settings, evidence.first
    control = None
    if not settings.fuzz and settings.seed is not None:
        other = shop.plan(files=base.files, keep=base.keep, seed=settings.seed + 1)
        control = logged(run, None, "control", 0, lambda: shop.trial(0, other, "control"))
    names = sorted({name for trial in evidence.trials for name in mismatches(trial, first)})
    causes = find_causes(run, shop, base, evidence, names) if names and not settings.fuzz else {}
    replays = replay(run, shop, base, evidence)
    return Evidence(settings, evidence.trials, control, causes, replays, evidence.partial)


def find_causes(
    run: Run, shop: Workshop, base: Plan, evidence: Evidence, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """For each test that differs: which runs, the first example that differs, and why, tried with fixed hashes."""
    plan = shop.plan(files=base.files, keep=tuple(names))
    fixed = [logged(run, None, "cause", 0, lambda: shop.trial(0, plan, "cause", hash_seed="0")) for _ in range(3)]
    return {name: mismatch_row(evidence, name, fixed) for name in names}


def mismatch_row(evidence: Evidence, test: str, fixed: Sequence[Trial]) -> dict[str, Any]:
    first, rows = evidence.first, evidence.rows(test)
    common = stream_groups(rows)[0][1]
    odd = [number for number, result in rows.items() if result.complete and number not in common]
    other = next(trial for trial in evidence.trials if test in mismatches(trial, first))
    result = other.results[test]
    was = first.examples.get(test, [])
    now = result.diverged or {"example": result.examples + result.invalid, "text": None, "choices": None}
    expected = was[now["example"]] if now["example"] < len(was) else [None, None, None]
    modules = sorted({name for name, _ in first.modules.items() ^ other.modules.items()})
    steady = {trial.results[test].stream for trial in fixed if test in trial.results}
    facts = {"modules": modules if first.modules and other.modules else []}
    facts |= {"same_stream": result.digest == first.results[test].digest, "steady_hash_seed": len(steady) == 1}
    facts |= {"same_choices": now["choices"] is not None and now["choices"] == expected[2]}
    shown = {"example": now["example"] + 1, "first_run": expected[1], "other_run": now["text"]}
    return {"runs": odd, "compared": [1, other.number], **shown, "cause": likely_cause(facts)}


def replay(run: Run, shop: Workshop, base: Plan, evidence: Evidence) -> dict[tuple[str, int], dict[str, bool]]:
    """Try every finding again in a fresh process: by its @reproduce_failure line, and a fuzzed one by its seed."""
    found = {}
    for trial in reversed(evidence.trials):
        found |= {name: result for name, result in trial.results.items() if result.falsifying}
    kept: dict[tuple[str, int], dict[str, bool]] = {}
    for place in range(max((len(result.falsifying) for result in found.values()), default=0)):
        lines = {name: row.falsifying[place]["reproduction"] for name, row in found.items() if place < len(row.falsifying)}
        lines = {name: line for name, line in lines.items() if line}
        again = replayed(run, shop, base, tuple(lines), blobs=lines) if lines else set()
        kept |= {(name, place): {"reproduced": name in again} for name in lines}
    seeds = {name: row.seed for name, row in found.items() if row.seed is not None and evidence.settings.fuzz}
    again = replayed(run, shop, base, tuple(seeds), seeds=seeds) if seeds else set()
    for name in seeds:
        kept[name, 0] = kept.get((name, 0), {}) | {"seed_reproduced": name in again}
    return kept


def replayed(run: Run, shop: Workshop, base: Plan, names: tuple[str, ...], **how: Any) -> set[str]:
    """The tests that fail again."""
    plan = shop.plan(files=base.files, keep=names, seed=None, database="", **how)
    trial = logged(run, None, "replay", 0, lambda: shop.trial(0, plan, "replay"))
    return {name for name, result in trial.results.items() if result.outcome in ("falsified", "crashed")}


@contextlib.contextmanager
def stop_on_term() -> Iterator[None]:
    """SIGTERM, a workflow's cancel, ends a run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def private_folder(artifacts: Path) -> Iterator[Path]:
    """A folder for the processes' records; those of killed runs go."""
    from shutil import rmtree

    for old in artifacts.glob(".properties-*"):
        if not alive(old.name.split("-")[1]):
            rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".properties-{os.getpid()}-", dir=artifacts))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError, OverflowError):
        return False
    return True


# --- for people


def progress(settings: Settings) -> Callable[[int], None]:
    shown = sys.stderr.isatty() and not settings.quiet

    def show(done: int) -> None:
        if shown:
            end = "\n" if done == settings.runs else ""
            print(f"\rrun {done} of {settings.runs}", end=end, file=sys.stderr, flush=True)

    return show


def table(body: Mapping[str, Any]) -> str:
    """The result for people: one line a test, then what speaks against it and what to do."""
    runs = body["runs"]
    rows = [f"{'verdict':<17}{'examples':>8}{'mean':>12}{'p95':>12}  test"]
    for test in body["tests"]:
        word = ", ".join(test["problems"]).replace("_", " ") or ", ".join(test["outcomes"])
        times = "".join(f"{ms_text(test['runtime_ms'][key]):>12}" for key in ("mean", "p95"))
        rows.append(f"{word:<17}{test['examples']['run']:>8}{times}  {one_line(test['id'])}")
    same = "identical" if not body["mismatches"] else f"{body['mismatches']} tests with differing inputs"
    false = body["false_failures"]
    rows += ["", f"{'runs':<17}{runs}, {'searching' if body['mode'] == 'fuzz' else same}"]
    rows.append(f"{'seed':<17}{body['seed'] if body['seed'] is not None else 'none: a new one for each test'}")
    rows.append(f"{'false failures':<17}{false['count']} of {false['observed']}")
    if control := body["control"]:
        rows.append(
            f"{'control':<17}seed {control['seed']} changed {control['changed']} of "
            f"{control['changed'] + len(control['unchanged'])}; {control['distinct']} of {control['tests']} digests distinct"
        )
    return "\n".join(rows + [line for test in body["tests"] for line in complaints(test, body)] + overall(body))


def ms_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def complaints(test: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    name = one_line(test["id"])
    for found in test["falsifying_examples"]:
        yield f"\n{name}: falsified in {runs_text(found['runs'])}: {one_line(found['representation'])}"
        yield f"  {one_line(found['error'])}"
        if found["reproduction"]:
            again = {True: "seen again in a fresh process", False: "did not come back in a fresh process"}
            yield f"  put above the test: {found['reproduction']} ({again[found.get('reproduced', False)]})"
    for failure in test["failures"]:
        kind = failure["kind"].replace("_", " ")
        yield f"\n{name}: {kind} in {runs_text(failure['runs'])}: {one_line(failure['message'])}"
    if odd := test["mismatch"]:
        yield f"\n{name}: {runs_text(odd['runs'])} saw other inputs, from example {odd['example']} on"
        yield f"  run {odd['compared'][0]}: {one_line(odd['first_run'])}"
        yield f"  run {odd['compared'][1]}: {one_line(odd['other_run'])}"
        yield f"  likely cause: {odd['cause']}"
    if "slow" in test["problems"]:
        mean = ms_text(test["runtime_ms"]["mean"])
        yield f"\n{name}: {mean} on average, limit {ms_text(body['threshold_ms'])}; lower max_examples or simplify it"
    if "missing" in test["problems"]:
        yield f"\n{name}: in {sum(test['outcomes'].values())} of {body['runs']} runs only; its id must not change"
    if test["seed_ignored"]:
        yield f"\n{name}: ignores the seed ({test['seed_ignored']} in its settings or its module's profile)"


def runs_text(runs: Sequence[int]) -> str:
    shown = ", ".join(map(str, runs[:5])) + (", ..." if len(runs) > 5 else "")
    return f"{len(runs)} run{'s' * (len(runs) > 1)} ({shown})"


def overall(body: Mapping[str, Any]) -> list[str]:
    rows = [f"\n{one_line(entry['id'])}: not collected: {entry['message']}" for entry in body["uncollected"]]
    if body["control"] and not body["control"]["shown"]:
        deaf = [name for name, text in body["control"]["unchanged"].items() if text == "unexplained"]
        rows.append(f"\ncontrol: another seed gave the same inputs to {', '.join(deaf) or 'all'}: the seed is ignored")
    if body["against"] and body["against"]["differ"]:
        differ = body["against"]["differ"]
        rows.append(f"\nagainst {body['against']['run_id']}: other inputs in {len(differ)} tests, first {differ[0]}")
        rows.append(f"  likely cause: {body['against']['cause']}")
    if body["partial"]:
        rows.append(f"\npartial: {body['partial']}")
    return rows


def whole(minimum: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"\d{1,40}", text, re.ASCII) or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number from {minimum} on, got {text!r}")
        return int(text)

    return convert


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def parse(argv: Sequence[str] | None) -> tuple[Settings, Path]:
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    fuzz = "--fuzz" in words[:cut]
    env = os.environ
    parser = Arguments(__doc__ or "", "aggregate_properties")
    add = parser.add_argument
    add("--runs", type=whole(1), default=1 if fuzz else 30, metavar="N", help="fresh processes (default 30)")
    add("--jobs", type=whole(1), default=1, metavar="N", help="processes at a time (default 1)")
    seed = None if fuzz else env.get("TPR_SEED", "12345")
    add("--seed", type=whole(0), default=seed, metavar="N", help="default TPR_SEED, else 12345; with --fuzz none")
    add("--fuzz", action="store_true", help="search for new failures instead of repeating")
    add("--examples", type=whole(1), metavar="N", help=f"of --fuzz, for each test (default {FUZZ_EXAMPLES})")
    limit = env.get("TPR_PROPERTY_RUNTIME_THRESHOLD_MS", "1000")
    add("--threshold-ms", type=positive, default=limit, metavar="MS", help="most that a test may take on average")
    add("--patience", type=positive, default="300", metavar="S", help="kill a process that shows no example so long")
    add("--against", type=Path, metavar="FILE", help=f"an earlier {RESULTS} that must have had the same inputs")
    args = parser.parse_args(words[:cut])
    pytest_args = tuple(words[cut + 1 :])
    if args.examples and not fuzz:
        parser.error("--examples: only with --fuzz; a test's own settings say how many otherwise")
    if any(word.startswith("--hypothesis-seed") for word in pytest_args):
        parser.error("--hypothesis-seed: expected --seed before the --")
    try:
        against = read_artifact(args.against, RESULTS) if args.against else None
    except EvidenceError as error:
        parser.error(str(error))
    settings = Settings(
        root=args.root,
        runs=args.runs,
        jobs=args.jobs,
        seed=args.seed,
        examples=(args.examples or FUZZ_EXAMPLES) if fuzz else None,
        threshold_ms=args.threshold_ms,
        patience=args.patience,
        against=against,
        quiet=args.quiet,
        pytest_args=pytest_args,
    )
    usual = args.root / "artifacts" / "fuzz" if fuzz else args.root / "artifacts"
    return settings, (args.artifacts or usual).absolute()


def main(argv: Sequence[str] | None = None) -> int:
    settings, artifacts = parse(argv)
    try:
        run = Run("aggregate_properties", settings.root, artifacts)
        with private_folder(artifacts) as folder:
            body = body_of(examine(run, settings, folder))
        run.write(RESULTS, RESULTS_VERSION, body)
    except EvidenceError as error:
        return complain("aggregate_properties.py", str(error))
    except KeyboardInterrupt:
        return complain("aggregate_properties.py", "interrupted before the first run had ended; run it again")
    if not settings.quiet:
        print(table(body))
    return verdict(body)


if __name__ == "__main__":
    raise SystemExit(main())
