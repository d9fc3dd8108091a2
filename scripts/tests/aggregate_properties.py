"""Do the property tests hold, thirty times, on identical inputs?

    python scripts/tests/aggregate_properties.py [--runs N] [--jobs N] [--seed N] [-- PYTEST ARGUMENTS]
    python scripts/tests/aggregate_properties.py --fuzz [--examples N] [-- PYTEST ARGUMENTS]

Runs the Hypothesis tests of a project in fresh processes with one seed and no example database, and digests the
stream of generated examples of every test: a digest that differs between runs is a flake, even if all passed. One
more run with another seed shows that the digest tells inputs apart. --fuzz searches instead: no seed, more
examples, a kept example database; each finding is replayed in a fresh process before it is reported.

Reads:  the project under --root; TPR_SEED, TPR_PROPERTY_RUNTIME_THRESHOLD_MS.
Writes: property.results.json; with --fuzz into ROOT/artifacts/fuzz, which keeps the database too. Needs Hypothesis
        6.141 or newer. The project is not touched; what its own settings profile says holds, but for the seed.
Exits:  0 all passed, identical, within the threshold; 1 falsified, mismatch, false failure, crash, too slow;
        2 it could not be told (no property tests, Hypothesis missing, interrupted, bad usage).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import Arguments, EvidenceError, Run, complain, one_line, show

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from typing import Any

RESULTS = "property.results.json"
RESULTS_VERSION = "1.1"  # 1.1: no comparison with an earlier result; 1.0 first

FALSE_FAILURES = ("deadline", "health_check", "flaky", "unsatisfiable")
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)  # a row that is not whole
COMPLETE = ("passed", "falsified", "xfailed")  # outcomes whose stream of examples came to its own end
SEARCH = ("reuse", "generate", "target")  # phases that give examples; shrinking only makes a known one smaller
TEXT_LIMIT = 300  # characters kept of one example
FUZZ_EXAMPLES = 2000
CIRCUMSTANCES = ("python", "hypothesis", "pytest", "profile", "files", "local_modules")  # they shape the inputs
# Options of pytest and its plugins that would stop, spread, repeat or shuffle a run, or write into the project.
SILENCED: dict[str, Any] = {
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
del sys.path[:2], sys.modules[spec.name], sys.modules["events"]
if theirs: sys.modules["events"] = theirs
sys.exit(module.run_tests(plan))
"""


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment asked for; named as the flags are."""

    root: Path
    runs: int
    jobs: int
    seed: int | None
    examples: int | None  # None: not fuzzing
    threshold_ms: float
    quiet: bool
    pytest_args: tuple[str, ...]
    allow_none: bool = False

    @property
    def fuzz(self) -> bool:
        return self.examples is not None


@dataclass(frozen=True)
class Plan:
    """One run to be made; its processes get it as JSON."""

    number: int
    purpose: str  # run, control, or what is asked afterwards: trace, cause, replay
    profile: str
    pytest_args: tuple[str, ...]
    seed: int | None
    examples: int | None = None
    database: str = ""
    records: str = ""
    files: tuple[str, ...] | None = None  # None: find the tests first
    keep: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)  # first run's digests: what is the same need not be said
    trace: bool = False  # say each example before it runs
    hash_seed: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)  # a test's own seed, and
    blobs: Mapping[str, str] = field(default_factory=dict)  # its @reproduce_failure line, to replay a finding


@dataclass
class Result:
    """One property test in one run, as the process that ran it saw it."""

    id: str
    outcome: str = "skipped"  # one of COMPLETE, or false_failure, error, skipped, crashed
    kind: str = ""  # of a false failure: one of FALSE_FAILURES
    message: str = ""
    seconds: float = 0.0
    examples: int = 0
    invalid: int = 0
    max_examples: int = 0
    digest: str = ""
    stream: list[list[str]] = field(default_factory=list)  # of each example: hash so far, text, choices
    falsifying: list[dict[str, Any]] = field(default_factory=list)
    tried: str = ""  # the last example before a crash, if examples were traced
    seed: int | None = None  # Hypothesis's own choice, where none is given
    deaf: str = ""  # what makes the test ignore the seed

    @property
    def complete(self) -> bool:
        return self.outcome in COMPLETE

    @property
    def key(self) -> tuple[str, str]:
        return self.digest, self.outcome


@dataclass
class Trial:
    """One run: what its process (or, after a crash, its processes) recorded."""

    plan: Plan
    seconds: float = 0.0
    results: dict[str, Result] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    stopped: bool = False  # other test modules were imported beside the property tests', so none was run
    facts: dict[str, Any] = field(default_factory=dict)  # versions, profile, files, local modules
    uncollected: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_flight: str | None = None
    trying: str = ""
    exit: int | None = None
    problem: str | None = None  # why this is not a whole run

    @property
    def number(self) -> int:
        return self.plan.number


@dataclass(frozen=True)
class Evidence:
    """All that was run, and what the questions asked afterwards gave."""

    settings: Settings
    trials: list[Trial]
    control: Trial | None = None
    causes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    traces: Mapping[str, str] = field(default_factory=dict)  # the example that took the process down
    replays: Mapping[tuple[str, str], bool] = field(default_factory=dict)  # by test and way: did it fail again?
    partial: str | None = None

    @property
    def first(self) -> Trial:
        return self.trials[0]

    def rows(self, test: str) -> dict[int, Result]:
        return {trial.number: trial.results[test] for trial in self.trials if test in trial.results}


def read_records(trial: Trial, lines: Iterable[bytes]) -> None:
    """Add what one process recorded to its run."""
    trial.in_flight = trial.exit = None
    for line in lines:
        with contextlib.suppress(*UNREADABLE):  # the process died while it wrote
            row = json.loads(line)
            if "start" in row:
                trial.in_flight, trial.trying = row["start"], ""
            elif "id" in row:
                trial.results[row["id"]] = Result(**row)
                trial.in_flight = None
            elif "found" in row:
                trial.found, trial.stopped = tuple(row["found"]), row["stopped"]
            elif "uncollected" in row:
                trial.uncollected[row["uncollected"]["id"]] = row["uncollected"]
            trial.trying = row.get("trying", trial.trying)
            trial.problem = row.get("abort", trial.problem)
            trial.exit = row.get("exit", trial.exit)
            trial.facts |= row.get("facts", {})


def mismatches(trial: Trial, first: Trial) -> list[str]:
    """The tests whose inputs or outcome are not those of the first run; a run cut short tells nothing."""
    pairs = ((result, first.results.get(name)) for name, result in trial.results.items())
    return [now.id for now, then in pairs if then and now.complete and then.complete and now.key != then.key]


def stream_groups(rows: Mapping[int, Result]) -> list[tuple[tuple[str, str], list[int]]]:
    """The runs by the stream they saw, the commonest first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, result in rows.items():
        if result.complete:
            groups.setdefault(result.key, []).append(number)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[1]))


def problems_of(rows: Mapping[int, Result], settings: Settings) -> list[str]:
    """What speaks against one test, the gravest first; empty: it holds. A search may differ and may take its time."""
    outcomes = Counter(result.outcome for result in rows.values())
    found = [name for name in ("crashed", "falsified", "false_failure", "error") if outcomes[name]]
    if not settings.fuzz and len(stream_groups(rows)) > 1:
        found.append("mismatch")
    mean = runtime_ms(rows)["mean"]
    return found + ["slow"] * (not settings.fuzz and mean is not None and mean > settings.threshold_ms)


def runtime_ms(rows: Mapping[int, Result]) -> dict[str, float | None]:
    """Mean, p50, p95 and max of the complete runs in milliseconds (statistics.quantiles, inclusive method)."""
    from statistics import quantiles  # imports decimal and fractions; --help should not wait

    ordered = sorted(1000 * result.seconds for result in rows.values() if result.complete)
    if not ordered:
        return dict.fromkeys(("mean", "p50", "p95", "max"))
    cuts = quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    p50 = min(cuts[49], ordered[-1])
    p95 = min(max(p50, cuts[94]), ordered[-1])  # interpolation may err by an ulp
    stats = {"mean": sum(ordered) / len(ordered), "p50": p50, "p95": p95, "max": ordered[-1]}
    return {name: round(value, 3) for name, value in stats.items()}


def control_text(result: Result, other: Result | None) -> str:
    """What another seed did to one test: changed, or why it did not, or unexplained."""
    if other is None or not (result.complete and other.complete):
        return "not compared"
    if result.digest != other.digest:
        return "changed"
    if result.deaf:
        return f"seed ignored: {result.deaf}"
    return "every input tried" if result.examples < result.max_examples else "unexplained"


def likely_cause(changed: str, same_inputs: bool, steady: bool, same_choices: bool) -> str:
    """Why two runs differ, as far as it can be told. `steady`: they agree under a fixed hash seed."""
    if changed:
        return changed
    if same_inputs:
        return "the same inputs, another outcome: the test depends on time, order or other outside state"
    if steady:
        return "hash order: with PYTHONHASHSEED=0 the runs are identical; sort sets before sampling from them"
    how = "the same choices give other values" if same_choices else "other choices are made"
    return f"{how}: wall clock, random numbers of its own, addresses or other outside state in the strategy"


def changed_fact(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    """The first circumstance in which two runs differ; empty if there is none."""
    for name in CIRCUMSTANCES:
        new, old = now.get(name), then.get(name)
        if new and old and new != old:
            if isinstance(new, str):
                return f"{name}: {old} then, {new} now"
            odd = sorted(key for key in {*new, *old} if new.get(key) != old.get(key))
            return f"{name.replace('_', ' ')} differ: {', '.join(odd)}"
    return ""


def results_body(evidence: Evidence) -> dict[str, Any]:
    """The artifact's body: pure arithmetic over the evidence."""
    settings, first = evidence.settings, evidence.first
    names = {*first.found, *(name for trial in evidence.trials for name in trial.results)}
    tests = [test_row(evidence, name) for name in sorted(names)]
    outcomes = Counter(result.outcome for trial in evidence.trials for result in trial.results.values())
    false = outcomes["false_failure"]
    observed = false + sum(outcomes[name] for name in COMPLETE)
    return {
        "mode": "fuzz" if settings.fuzz else "deterministic",
        "partial": evidence.partial,
        "seed": settings.seed,
        "runs": len(evidence.trials),
        "jobs": settings.jobs,
        "threshold_ms": settings.threshold_ms,
        "pytest_args": list(settings.pytest_args),
        "false_failures": {
            "count": false,
            "observed": observed,
            "percent": round(100 * false / observed, 4) if observed else None,
        },
        "mismatches": sum("mismatch" in row["problems"] for row in tests),
        "control": control_body(evidence),
        "circumstances": first.facts,
        "uncollected": list(first.uncollected.values()),
        "per_run": [run_row(trial, first) for trial in evidence.trials],
        "tests": tests,
    }


def run_row(trial: Trial, first: Trial) -> dict[str, Any]:
    counts = Counter(result.outcome for result in trial.results.values())
    row = {"run": trial.number, "seconds": round(trial.seconds, 3), "problem": trial.problem}
    row |= {name: counts[name] for name in (*COMPLETE, "skipped", "error", "crashed")}
    return row | {"false_failures": counts["false_failure"], "mismatches": len(mismatches(trial, first))}


def test_row(evidence: Evidence, test: str) -> dict[str, Any]:
    settings, rows = evidence.settings, evidence.rows(test)
    results = list(rows.values())
    shown = next((result for result in results if result.complete), results[0] if results else Result(test))
    groups = stream_groups(rows)
    problems = problems_of(rows, settings)
    if len(rows) < len(evidence.trials) and not evidence.partial and "crashed" not in problems:
        problems.append("missing")
    return {
        "id": test,
        "problems": problems,
        "outcomes": dict(sorted(Counter(result.outcome for result in results).items())),
        "examples": {"run": shown.examples, "invalid": shown.invalid, "max": shown.max_examples},
        "falsifying_examples": falsifying_rows(evidence, rows),
        "failures": failure_rows(rows, evidence.traces.get(test)),
        "runtime_ms": runtime_ms(rows),
        "digest": groups[0][0][0] if groups else None,
        "streams": [{"digest": key[0], "outcome": key[1], "runs": runs} for key, runs in groups[:10]],
        "mismatch": evidence.causes.get(test),
        "seed": shown.seed if settings.seed is None else settings.seed,
        "seed_ignored": shown.deaf or None,
    }


def failure_rows(rows: Mapping[int, Result], trace: str | None) -> list[dict[str, Any]]:
    """What went wrong beside falsification, each kind with the runs it happened in."""
    found: dict[str, dict[str, Any]] = {}
    for number, result in rows.items():
        unshown = result.outcome == "falsified" and not result.falsifying
        if unshown or result.outcome in ("false_failure", "error", "crashed"):
            kind = result.kind or result.outcome
            example = trace if kind == "crashed" else None
            entry: dict[str, Any] = {"kind": kind, "runs": [], "message": result.message, "example": example}
            found.setdefault(kind, entry)["runs"].append(number)
    return list(found.values())


def falsifying_rows(evidence: Evidence, rows: Mapping[int, Result]) -> list[dict[str, Any]]:
    """The shrunk examples that falsify a test, each once, with the runs that found it and whether it came back."""
    found: dict[str, dict[str, Any]] = {}
    here = f"{evidence.settings.root}{os.sep}"
    for number, result in rows.items():
        for example in result.falsifying:
            entry = found.setdefault(example["representation"], {**example, "runs": []})
            entry["runs"].append(number)
            entry["location"] = (example["location"] or "").removeprefix(here) or None
            entry["error"] = result.message if len(result.falsifying) == 1 else example["error"].partition(" at ")[0]
            entry["seed"] = result.seed if evidence.settings.seed is None else evidence.settings.seed
            entry["reproduced"] = evidence.replays.get((result.id, example["reproduction"]))
            entry["seed_reproduced"] = evidence.replays.get((result.id, "seed"))
    return list(found.values())


def control_body(evidence: Evidence) -> dict[str, Any] | None:
    """Whether the digests tell inputs apart: another seed changes them, and two tests do not share one."""
    if evidence.control is None:
        return None
    first, other = evidence.first, evidence.control
    texts = {name: control_text(result, other.results.get(name)) for name, result in first.results.items()}
    digests = [result.digest for result in first.results.values() if result.complete and result.examples]
    compared = {text for text in texts.values() if text != "not compared"}
    return {
        "seed": other.plan.seed,
        "changed": sum(text == "changed" for text in texts.values()),
        "unchanged": {name: text for name, text in sorted(texts.items()) if text != "changed"},
        "tests": len(digests),
        "distinct": len(set(digests)),
        "shown": bool(compared) and "unexplained" not in compared and (len(digests) < 2 or len(set(digests)) > 1),
    }


def verdict(body: Mapping[str, Any]) -> int:
    """0 every property holds, identically; 1 one does not; 2 that cannot be told. The exit code."""
    told = any(set(row["outcomes"]) & set(COMPLETE) for row in body["tests"])
    deaf = told and body["control"] and not body["control"]["shown"]
    if deaf or any(row["problems"] for row in body["tests"]):
        return 1
    return 0 if told and not body["partial"] else 2


class Observer:
    """A pytest plugin in the tests' own process: streams what Hypothesis observes to the plan's records.

    Lines: {"start"} and a Result for each test, {"trying"} an example, {"found"}, {"uncollected"}, {"facts"},
    {"abort"}; {"exit"} last. Each is on disk before the next thing happens.
    """

    HOOKS: Mapping[str, Mapping[str, Any]] = {  # pytest.hookimpl's options: pytest is only imported there
        "pytest_load_initial_conftests": {"wrapper": True, "tryfirst": True},
        "pytest_cmdline_main": {"wrapper": True, "tryfirst": True},
        "pytest_configure": {"trylast": True},
        "pytest_make_collect_report": {"tryfirst": True},
        "pytest_pycollect_makemodule": {"tryfirst": True},
        "pytest_collection_modifyitems": {"trylast": True},
        "pytest_runtest_protocol": {"wrapper": True, "tryfirst": True},
        "pytest_runtest_makereport": {"wrapper": True, "tryfirst": True},
        "pytest_sessionfinish": {"trylast": True},
    }

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._fd = os.open(plan.records, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._modules: set[Path] = set()
        self._library: Mapping[str, Any] = {}
        self._now: Result | None = None
        self._hash = hashlib.sha256()
        self._given: re.Pattern[str] | None = None  # what a test case gets from pytest: no part of the inputs
        self._rejected: list[dict[str, Any]] = []  # explicit examples that failed, or that assume() refused

    def say(self, row: Any) -> None:
        os.write(self._fd, (json.dumps(row) + "\n").encode())

    def pytest_load_initial_conftests(self, early_config: Any) -> Generator[None]:
        """Before any conftest.py: keep pytest-cov out, listen to Hypothesis."""
        if hasattr(early_config.known_args_namespace, "cov_source"):
            early_config.known_args_namespace.cov_source = []
        try:
            self.listen()
        except (ImportError, AttributeError, TypeError):
            found = getattr(sys.modules.get("hypothesis"), "__version__", "none")
            remedy = "python -m pip install --upgrade hypothesis"
            self.say({"abort": f"hypothesis: expected 6.141 or newer, got {found}; {remedy}"})
            raise SystemExit(2) from None
        self.say({"facts": versions()})
        return (yield)

    def listen(self) -> None:
        from hypothesis import core, settings
        from hypothesis.internal import observability

        observability.add_observability_callback(self.observe, all_threads=True)
        observability.OBSERVABILITY_COLLECT_COVERAGE = False
        observability.OBSERVABILITY_CHOICES = True
        if printer := getattr(core, "RepresentationPrinter", None):  # not its public side: without it, slower
            setattr(core, "RepresentationPrinter", quick_printer(printer))  # noqa: B010 - mypy knows it is no export
        self._library = dict(settings._profiles)

    def pytest_cmdline_main(self, config: Any) -> Generator[None, Any, Any]:
        for name in SILENCED.keys() & vars(config.option).keys():
            setattr(config.option, name, SILENCED[name])
        if self.plan.files is not None:
            config.args[:] = [str(config.rootpath / file) for file in self.plan.files]
        return (yield)

    def pytest_configure(self) -> None:
        self.pytest_make_collect_report()

    def pytest_make_collect_report(self) -> None:
        """Make ours of the settings profile that the project loaded last: the seed honoured, no limits in time.

        A conftest.py further down may have loaded its own. Hypothesis itself loads `ci` in CI, and that one ignores
        the seed: it is not the project's choice.
        """
        from hypothesis import HealthCheck, settings
        from hypothesis.database import DirectoryBasedExampleDatabase

        plan, known, loaded = self.plan, settings._profiles, settings._current_profile or "default"
        if loaded == plan.profile:
            return
        parent = "default" if loaded == "ci" and known["ci"] is self._library.get("ci") else loaded
        parent = plan.profile if plan.profile in known else parent  # the project has one for these runs
        base = known[parent]
        database = DirectoryBasedExampleDatabase(plan.database) if plan.database else None
        changes: dict[str, Any] = {"derandomize": False, "database": database, "print_blob": True}
        changes["suppress_health_check"] = {*base.suppress_health_check, HealthCheck.too_slow}
        if base.deadline == self._library["default"].deadline:  # nobody's choice
            changes["deadline"] = None
        if plan.examples:
            changes["max_examples"] = plan.examples
        settings.register_profile(plan.profile, parent=base, **changes)
        settings.load_profile(plan.profile)
        self.say({"facts": {"profile": profile_facts(settings.get_profile(plan.profile), parent)}})

    def pytest_pycollect_makemodule(self, module_path: Path) -> None:
        self._modules.add(module_path)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            said = [line for line in report.longreprtext.splitlines() if line.startswith("E ")] or [""]
            text = b""
            with contextlib.suppress(OSError):
                text = Path(report.fspath).read_bytes()
            row = {"id": report.nodeid, "message": one_line(said[0][1:].strip()), "property": b"hypothesis" in text}
            self.say({"uncollected": row})

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep the property tests. None is run if other test modules were imported on the way to them: what local
        modules there are decides what Hypothesis generates."""
        wanted = [item for item in items if is_property(item)]
        paths = {item.path for item in wanted}
        files = {os.path.relpath(path, config.rootpath): digest_of(path) for path in sorted(paths)}
        stopped = self.plan.files is None and not self._modules <= paths
        self.say({"found": [item.nodeid for item in wanted], "stopped": stopped, "facts": {"files": files}})
        keep = set(self.plan.keep or [item.nodeid for item in wanted]) - set(self.plan.skip)
        items[:] = [] if stopped else [item for item in wanted if item.nodeid in keep]

    def pytest_collection_finish(self) -> None:
        import gc

        gc.enable()

    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, Any]:
        from inspect import signature

        self.say({"start": item.nodeid})
        function = getattr(item.obj, "__func__", item.obj)
        settings = getattr(function, "_hypothesis_internal_use_settings", None) or getattr(item.cls, "settings", None)
        pinned = getattr(function, "_hypothesis_internal_use_seed", None) is not None
        deaf = "@seed" if pinned else "derandomize=True" if getattr(settings, "derandomize", False) else ""
        self._now = Result(item.nodeid, max_examples=getattr(settings, "max_examples", 0), deaf=deaf)
        self._hash, self._rejected = hashlib.sha256(), []
        self._given = lines_of({"self", *signature(item.obj).parameters})
        with self._replaying(item.nodeid, function):
            done = yield
        self._now.seed = getattr(function, "_hypothesis_internal_use_generated_seed", None)
        self._now.digest = self._hash.hexdigest()
        self._now.falsifying = (self._now.falsifying or self._rejected) if self._now.outcome == "falsified" else []
        if self._now.digest == self.plan.known.get(item.nodeid):
            self._now.stream = []
        self.say(vars(self._now))
        self._now = None
        return done

    @contextlib.contextmanager
    def _replaying(self, test: str, function: Any) -> Iterator[None]:
        """Give the test what the plan says about it alone; parametrized tests share the function."""
        if test in self.plan.seeds:
            from hypothesis import core

            core.global_force_seed = self.plan.seeds[test]  # type: ignore[assignment]  # as --hypothesis-seed does
        if test in self.plan.blobs:
            from hypothesis import reproduce_failure

            reproduce_failure(*blob_of(self.plan.blobs[test]))(function)
        handle = getattr(function, "hypothesis", None) if self.plan.trace else None
        if handle:
            inner, handle.inner_test = handle.inner_test, self._traced(handle.inner_test)
        yield
        if handle:
            handle.inner_test = inner
        if test in self.plan.blobs:
            function._hypothesis_internal_use_reproduce_failure = None

    def _traced(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(Exception):  # a value's own repr
                values = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
                self.say({"trying": stable(f"{inner.__name__}({values})")[:TEXT_LIMIT]})
            return inner(*args, **kwargs)

        return wrapper

    def observe(self, observation: Any, _thread: int) -> None:
        """Hypothesis's callback: a test case has ended. What is raised here would be taken for the test's failure."""
        try:
            if self._now is not None and observation.type == "test_case":
                self._take(observation)
        except Exception as error:
            self.say({"abort": f"this Hypothesis cannot be observed: {type(error).__name__}: {error}; upgrade it"})

    def _take(self, observation: Any) -> None:
        assert self._now
        explicit = observation.how_generated == "explicit example"
        if observation.metadata.phase in SEARCH or explicit:
            text = stable(observation.representation, self._given)
            self._add_example(self._now, text, observation)
            if explicit and observation.status == "gave_up":
                self._rejected.append(falsifying_row(text, observation))
        elif observation.how_generated.startswith("minimal failing"):
            text = stable(observation.representation, self._given)
            self._now.falsifying.append(falsifying_row(text, observation))

    def _add_example(self, now: Result, text: str, observation: Any) -> None:
        nodes = getattr(observation.metadata, "choice_nodes", None) or ()
        # They tell apart what the text may hide; hex: str() refuses large integers.
        choices = repr([hex(node.value) if type(node.value) is int else node.value for node in nodes])
        self._hash.update(f"{order_free(text)}\0{choices}\0".encode("utf-8", "surrogatepass"))
        now.stream.append([self._hash.hexdigest()[:16], text[:TEXT_LIMIT], choices[:TEXT_LIMIT]])
        if observation.status == "gave_up":
            now.invalid += 1
        else:
            now.examples += 1

    def pytest_runtest_makereport(self, call: Any) -> Generator[None, Any, Any]:
        report = yield
        if self._now is not None:
            error = call.excinfo.value if call.excinfo else None
            note_phase(self._now, report, call.duration, error)
        return report

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.say({"exit": int(exitstatus), "facts": {"local_modules": local_modules()}})


def run_tests(path: str) -> int:
    """Entry of the tests' process: run the plan as `python -m pytest` would. Returns pytest's status."""
    from importlib.util import find_spec

    observer = Observer(Plan(**json.loads(Path(path).read_bytes())))
    for name in ("pytest", "hypothesis"):
        if find_spec(name) is None:
            wrong = f"{name}: expected it installed, got none; python -m pip install {name}"
            observer.say({"abort": wrong, "facts": {name: None}})
            return 2
    import pytest

    for name, options in Observer.HOOKS.items():
        pytest.hookimpl(**options)(getattr(Observer, name))
    seed = observer.plan.seed
    arguments = [*observer.plan.pytest_args, *([f"--hypothesis-seed={seed}"] if seed is not None else [])]
    main = find_spec("pytest.__main__")
    sys.argv = [str(main and main.origin), *arguments]
    return int(pytest.main(arguments, plugins=[observer]))


def versions() -> dict[str, str]:
    import platform

    import hypothesis
    import pytest

    hashes = os.environ.get("PYTHONHASHSEED", "random")
    found = {"python": platform.python_version(), "pytest": pytest.__version__, "hypothesis": hypothesis.__version__}
    return found | {"hash_seed": hashes, "ci": "yes" if "CI" in os.environ else "no"}


def profile_facts(settings: Any, parent: str) -> dict[str, Any]:
    """What of a settings profile decides about inputs and failures."""
    facts = {name: getattr(settings, name) for name in ("max_examples", "derandomize", "stateful_step_count")}
    deadline = settings.deadline and 1000 * settings.deadline.total_seconds()
    return {"parent": parent, **facts, "deadline_ms": deadline, "phases": [phase.name for phase in settings.phases]}


def quick_printer(full: Any) -> Any:
    """Hypothesis's printer of test cases, with plain values through repr: printing is what observing costs most."""

    class Quick(full):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._later, self._said = (args, kwargs), ""

        def __getattr__(self, name: str) -> Any:
            """Become the full printer as soon as more is asked of it."""
            if "_later" not in vars(self):
                raise AttributeError(name)
            args, kwargs = self.__dict__.pop("_later")
            full.__init__(self, *args, **kwargs)
            return getattr(self, name)

        def repr_call(self, name: str, args: Any, kwargs: Any, **options: Any) -> None:
            data = getattr(vars(self).get("_later", ((), {}))[1].get("context"), "data", None)
            commented = getattr(data, "span_comments", True)
            if commented or args or options.get("avoid_realization") or not all(map(is_plain, kwargs.values())):
                super().repr_call(name, args, kwargs, **options)
            else:
                lines = "".join(f"    {key}={value!r},\n" for key, value in kwargs.items())
                self._said = f"{name}(\n{lines})" if lines else f"{name}()"

        def getvalue(self) -> str:
            return self._said if "_later" in vars(self) else str(full.getvalue(self))

    return Quick


def is_plain(value: Any) -> bool:
    """Whether repr says all of a value, in one way, at no great length."""
    kind = type(value)
    if kind is int:
        return bool(value.bit_length() < 1024)
    if kind in (list, tuple):
        return len(value) < 100 and all(map(is_plain, value))
    return kind in (float, bool, str, bytes, type(None))


def is_property(item: Any) -> bool:
    from hypothesis import is_hypothesis_test

    return is_hypothesis_test(getattr(item, "obj", None)) is True


def lines_of(names: Iterable[str]) -> re.Pattern[str]:
    """Finds the lines that Hypothesis's text of a test case gives to these arguments."""
    return re.compile(rf"^    (?:{'|'.join(map(re.escape, names))})=.*\n(?:     .*\n)*", re.MULTILINE)


def stable(text: str, given: re.Pattern[str] | None = None) -> str:
    """A test case as text, without what is no part of its inputs: fixtures, and addresses in place of a repr."""
    text = given.sub("", text) if given else text
    return re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x", text) if "at 0x" in text else text


def order_free(text: str) -> str:
    """The text without the order of its characters if it shows a set or a draw, which print in the order of hashes.

    What order there was in the inputs, the choices tell.
    """
    return "".join(sorted(text)) if "{" in text or "\nDraw " in text else text


def falsifying_row(text: str, observation: Any) -> dict[str, Any]:
    facts = observation.metadata
    row = {"representation": text, "error": observation.status_reason}
    row["location"] = getattr(facts, "status_reason_location", None)  # not in older ones
    return row | {"reproduction": facts.reproduction_decorator}


def blob_of(line: str) -> tuple[str, bytes]:
    """Version and blob of a line like @reproduce_failure('6.170.15', b'AXicY2BkAAM=')."""
    from ast import literal_eval

    version, blob = literal_eval(line.partition("reproduce_failure")[2])
    return version, blob


def note_phase(now: Result, report: Any, seconds: float, error: BaseException | None) -> None:
    """Take one phase of a test into its result: setup and teardown only count where they go wrong."""
    if report.when == "call":
        now.seconds += seconds
    said = one_line(f"{type(error).__name__}: {error}") if error is not None else ""
    if str(report.outcome) == "rerun":  # pytest-rerunfailures: a failure that may yet be covered up
        now.message = said
    elif report.when == "call" or not report.passed:
        retried = now.message if now.outcome == "skipped" else ""
        now.outcome, now.kind = judge(report, error)
        if retried and now.outcome == "passed":
            now.outcome, now.kind, said = "false_failure", "flaky", f"passed when repeated after {retried}"
        now.message = said


def judge(report: Any, error: BaseException | None) -> tuple[str, str]:
    """Outcome of one phase of a test and the kind of a false failure, by the types of the exceptions."""
    if hasattr(report, "wasxfail") and not report.failed:
        return ("xfailed" if report.skipped else "passed"), ""
    if not report.failed:
        return report.outcome, ""
    if report.when != "call" or error is None:
        return "error", ""
    kind = failure_kind(error)
    return ("false_failure", kind) if kind in FALSE_FAILURES else (kind, "")


def failure_kind(error: BaseException) -> str:
    """falsified, error (the test cannot be used as it is), or one of FALSE_FAILURES."""
    from hypothesis import errors

    if isinstance(error, BaseExceptionGroup):
        kinds = {failure_kind(inner) for inner in error.exceptions}
        if not isinstance(error, errors.Flaky):
            return "falsified" if "falsified" in kinds else min(kinds)
        return "deadline" if "deadline" in kinds else "flaky"
    for cls, kind in (
        (errors.Flaky, "flaky"),
        (errors.DeadlineExceeded, "deadline"),
        (errors.FailedHealthCheck, "health_check"),
        (errors.Unsatisfiable, "unsatisfiable"),
        (errors.HypothesisException, "error"),
    ):
        if isinstance(error, cls):
            return kind
    return "falsified"


def local_modules() -> dict[str, str]:
    """Name and digest of the modules whose constants Hypothesis mixes into what it generates."""
    try:
        from hypothesis.internal.constants_ast import is_local_module_file
    except ImportError:
        return {}
    files = {name: getattr(module, "__file__", None) for name, module in sorted(sys.modules.items())}
    return {name: digest_of(Path(file)) for name, file in files.items() if file and is_local_module_file(file)}


def digest_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


class Workshop:
    """Starts the tests' processes between events, reads what they recorded, and can stop them all."""

    def __init__(self, run: Run, settings: Settings, folder: Path) -> None:
        self.run, self.settings, self.folder = run, settings, folder
        self.first: Trial | None = None
        self.ended: list[Trial] = []
        self._live: set[subprocess.Popen[bytes]] = set()
        self._made = itertools.count(1)
        self._stopping = False
        self.storage = run.artifacts / ".hypothesis"
        own = {"TPR_RUN_ID": run.id, "TPR_FAILFAST_MODE": "off", "HYPOTHESIS_STORAGE_DIRECTORY": str(self.storage)}
        self._env = os.environ | own
        if self._env.pop("PYTHONDONTWRITEBYTECODE", None):  # keep the project clean, but compile it once
            self._env["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")

    def trial(self, plan: Plan) -> Trial:
        """One run, between its two events. A test that takes its process down is put down as crashed; a further
        process runs the rest."""
        facts = {"purpose": plan.purpose, "seed": plan.seed}
        self.run.log.info("property_test_start", run=plan.number, **facts)
        trial, began = Trial(plan), time.perf_counter()
        try:
            while self._process(trial) and not self._stopping:
                pass
        finally:
            if self._stopping or sys.exception():
                trial.problem = f"interrupted in {trial.in_flight}" if trial.in_flight else "interrupted"
            trial.seconds = time.perf_counter() - began
            facts["purpose"] = "discovery" if trial.stopped else plan.purpose
            self.ended.append(trial)
            self.run.log.info("property_test_complete", **facts, **run_row(trial, self.first or trial))
        return trial

    def _process(self, trial: Trial) -> bool:
        """Let one process run what is left of a run and read its records. Whether it crashed with tests left."""
        base = self.folder / f"{trial.number}-{next(self._made)}"
        records, output, paper = (base.with_suffix(suffix) for suffix in (".jsonl", ".txt", ".json"))
        plan = replace(trial.plan, skip=tuple(trial.results), records=str(records))
        paper.write_text(json.dumps(asdict(plan)), "utf-8")
        status = self._wait(
            [sys.executable, "-c", BOOTSTRAP, str(Path(__file__).resolve()), str(paper)], plan, output
        )
        with contextlib.suppress(FileNotFoundError), records.open("rb") as lines:
            read_records(trial, lines)
        if self._stopping:
            return False
        if trial.in_flight is None:
            if trial.exit not in (0, 1, 5) and not trial.problem:
                trial.problem = f"{how_ended(status)}: {last_words(output)}"
            return False
        crashed = Result(trial.in_flight, "crashed", message=how_ended(status), tried=trial.trying)
        trial.results[crashed.id] = crashed
        return not set(plan.keep or trial.found) <= trial.results.keys()

    def _wait(self, command: Sequence[str], plan: Plan, output: Path) -> int:
        import subprocess

        env = self._env | ({"PYTHONHASHSEED": plan.hash_seed} if plan.hash_seed else {})
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command,
                cwd=self.settings.root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._live.add(process)
        if self._stopping:
            kill(process)
        status = process.wait()
        self._live.discard(process)
        return status

    def stop(self) -> None:
        self._stopping = True
        for process in self._live.copy():
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def how_ended(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"its process was killed by {signal.Signals(-status).name}"
    return f"its process was killed by signal {-status}"


def last_words(output: Path) -> str:
    """The line of pytest's output that most likely says what went wrong."""
    lines = [line for line in output.read_text("utf-8", "replace").splitlines() if line.strip(" =!")]
    errors = [line for line in lines if re.match(r"E  |ERROR|\w*(Error|Exception)\b|\S+ error: ", line)]
    return one_line((errors or lines or ["no output"])[-1].strip(), 200)


def examine(run: Run, settings: Settings, folder: Path) -> Evidence:
    """Everything that is run, in order: the first run, the others and the control, what the answers ask for."""
    shop = Workshop(run, settings, folder)
    trials: list[Trial] = []
    try:
        with term_interrupts():
            trials.append(first_trial(shop, settings))
            base = plan_of(trials[0])
            plans = [replace(base, number=number) for number in range(2, settings.runs + 1)]
            if not settings.fuzz and settings.seed is not None:
                plans.append(replace(base, number=0, purpose="control", seed=settings.seed + 1))
            for trial in together(shop, plans):
                trials.append(trial)
                show_progress(len(trials), len(plans) + 1, settings)
            return ask_further(shop, base, evidence_of(settings, trials))
    except KeyboardInterrupt:
        shop.stop()
        if not trials:
            raise
        whole = (trial for trial in shop.ended if not trial.problem and trial.plan.purpose in ("run", "control"))
        late = [trial for trial in whole if not trial.stopped and trial not in trials]  # the log says complete
        return replace(evidence_of(settings, [*trials, *late]), partial="interrupted")


def evidence_of(settings: Settings, trials: Iterable[Trial]) -> Evidence:
    ordered = sorted(trials, key=lambda trial: trial.number)
    broken = (f"{trial.plan.purpose} {trial.number}: {trial.problem}" for trial in ordered if trial.problem)
    control = next((trial for trial in ordered if trial.plan.purpose == "control"), None)
    return Evidence(settings, [trial for trial in ordered if trial.number], control, partial=next(broken, None))


def first_trial(shop: Workshop, settings: Settings) -> Trial:
    """The first run. It finds the property tests; if it met other test modules, a second process runs only those."""
    searching = settings.fuzz and settings.seed is None
    plan = Plan(
        number=1,
        purpose="run",
        profile="tpr-fuzz" if settings.fuzz else "tpr",
        pytest_args=settings.pytest_args,
        seed=settings.seed,
        examples=settings.examples,
        database=str(shop.storage / "examples") if searching else "",
        trace=settings.fuzz,  # no seed would bring the input of a crash back
    )
    first = shop.trial(plan)
    require(first, settings)
    if first.stopped:
        found = first
        first = shop.trial(plan_of(found))
        first.found, first.uncollected = found.found, found.uncollected
        require(first, settings)
    shop.first = first
    return first


class NoPropertyError(EvidenceError):
    """The project has no property tests, or not even Hypothesis."""


def require(trial: Trial, settings: Settings) -> None:
    """Nothing found, or nothing that could be run, is no evidence."""
    if trial.problem:
        kind = NoPropertyError if trial.facts.get("hypothesis", "") is None else EvidenceError
        raise kind(f"{settings.root}: {trial.problem}")
    for entry in trial.uncollected.values():
        if entry["property"]:
            said = f"{entry['id']}: cannot be imported: {entry['message']}"
            raise EvidenceError(f"{said}; mend it, or name other paths")
    if not trial.found:
        raise NoPropertyError(f"{settings.root}: expected tests with @given, found none; give their paths after --")


def plan_of(first: Trial) -> Plan:
    """The plan of the runs after this one: its files and tests, its digests to compare with."""
    known = {name: result.digest for name, result in first.results.items()}
    return replace(first.plan, files=tuple(first.facts["files"]), keep=first.found, known=known)


def together(shop: Workshop, plans: Iterable[Plan]) -> Iterator[Trial]:
    """Make the runs, some at a time; each as it ends."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(shop.settings.jobs) as pool:
        try:
            for future in as_completed([pool.submit(shop.trial, plan) for plan in plans]):
                yield future.result()
        except BaseException:
            shop.stop()
            pool.shutdown(cancel_futures=True)
            raise


def ask_further(shop: Workshop, base: Plan, evidence: Evidence) -> Evidence:
    """What the runs themselves cannot say: which example crashes, why streams differ, whether findings come back."""
    results = [result for trial in reversed(evidence.trials) for result in trial.results.values()]
    traces = {result.id: result.tried for result in results if result.outcome == "crashed"}
    odd = tuple(sorted({name for trial in evidence.trials for name in mismatches(trial, evidence.first)}))
    found = {result.id: result for result in results if result.falsifying}
    plans = [*replay_plans(replace(base, purpose="replay"), found)]
    if not evidence.settings.fuzz:
        plans += [replace(base, purpose="trace", keep=(name,), trace=True) for name in traces]
        plans += [replace(base, purpose="cause", keep=odd, hash_seed="0")] * 3 if odd else []
    answers = list(together(shop, [replace(plan, number=number) for number, plan in enumerate(plans)]))
    fixed = [trial for trial in answers if trial.plan.purpose == "cause"]
    for trial in answers:
        if trial.plan.purpose == "trace":
            traces |= {name: result.tried for name, result in trial.results.items()}
    causes = {name: mismatch_row(evidence, name, fixed) for name in odd} if fixed else {}
    return replace(evidence, traces=traces, causes=causes, replays=replays_of(answers))


def mismatch_row(evidence: Evidence, test: str, fixed: Sequence[Trial]) -> dict[str, Any]:
    """Which runs of a test are odd, the first example that differs from the first run's, and why.

    `fixed`: more runs, all under one hash seed.
    """
    first, rows = evidence.first, evidence.rows(test)
    common = stream_groups(rows)[0][1]
    other = next(trial for trial in evidence.trials if test in mismatches(trial, first))
    then, now = first.results[test], other.results[test]
    place, one, another = first_difference(then.stream, now.stream or then.stream)
    steady = {trial.results[test].key for trial in fixed if test in trial.results}
    return {
        "runs": [number for number, result in rows.items() if result.complete and number not in common],
        "compared": [first.number, other.number],
        "example": place + 1,
        "texts": [one[1], another[1]],
        "cause": likely_cause(
            changed=changed_fact(other.facts, first.facts),
            same_inputs=then.digest == now.digest,
            steady=len(steady) == 1,
            same_choices=one[2] == another[2],
        ),
    }


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> tuple[int, Any, Any]:
    """Where two streams part, and what each has there (nothing, if it has ended)."""
    nothing = [None, None, None]
    pairs = enumerate(itertools.zip_longest(one, other, fillvalue=nothing))
    return next(((place, *pair) for place, pair in pairs if pair[0][0] != pair[1][0]), (len(one), nothing, nothing))


def replay_plans(base: Plan, found: Mapping[str, Result]) -> Iterator[Plan]:
    """Plans to see every finding again: by its @reproduce_failure line, and what a search found also by its seed."""
    base = replace(base, seed=None, database="")
    for place in range(max((len(result.falsifying) for result in found.values()), default=0)):
        shown = {name: result.falsifying[place : place + 1] for name, result in found.items()}
        blobs = {name: rows[0]["reproduction"] for name, rows in shown.items() if rows and rows[0]["reproduction"]}
        if blobs:
            yield replace(base, keep=tuple(blobs), blobs=blobs)
    if seeds := {name: result.seed for name, result in found.items() if result.seed is not None}:
        yield replace(base, keep=tuple(seeds), seeds=seeds)


def replays_of(answers: Iterable[Trial]) -> dict[tuple[str, str], bool]:
    """For each test and way to replay it, a @reproduce_failure line or "seed": did it fail again?"""
    kept: dict[tuple[str, str], bool] = {}
    for trial in answers:
        if trial.plan.purpose == "replay":
            failed = {name for name, row in trial.results.items() if row.outcome in ("falsified", "crashed")}
            kept |= {(name, trial.plan.blobs.get(name, "seed")): name in failed for name in trial.plan.keep or ()}
    return kept


@contextlib.contextmanager
def term_interrupts() -> Iterator[None]:
    """SIGTERM, a workflow's cancel, ends a run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def show_progress(done: int, of: int, settings: Settings) -> None:
    if sys.stderr.isatty() and not settings.quiet:
        print(f"\rrun {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)


def table(body: Mapping[str, Any]) -> str:
    """The result for people: one line a test, then what speaks against it and what to do."""
    words = [", ".join(test["problems"] or test["outcomes"]).replace("_", " ") for test in body["tests"]]
    width = max(map(len, [*words, "false failures"])) + 2
    rows = [f"{'':{width}}{'examples':>8}{'mean':>12}{'p95':>12}"]
    for word, test in zip(words, body["tests"], strict=True):
        times = "".join(f"{ms(test['runtime_ms'][key]):>12}" for key in ("mean", "p95"))
        rows.append(f"{word:{width}}{test['examples']['run']:>8}{times}  {one_line(test['id'])}")
    same = f"{body['mismatches']} tests differ" if body["mismatches"] else "identical"
    false, control = body["false_failures"], body["control"]
    facts = {
        "runs": f"{body['runs']}, {'searching' if body['mode'] == 'fuzz' else same}",
        "seed": "a new one for each test" if body["seed"] is None else body["seed"],
        "false failures": f"{false['count']} of {false['observed']}",
    }
    if control:
        total = control["changed"] + len(control["unchanged"])
        facts["control"] = f"seed {control['seed']} changes the inputs of {control['changed']} of {total} tests"
    rows += ["", *(f"{name:{width}}{text}" for name, text in facts.items())]
    return "\n".join([*rows, *(line for test in body["tests"] for line in complaints(test, body)), *remarks(body)])


def ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def flat(text: str | None) -> str:
    return "no example" if text is None else one_line(" ".join(text.split()))


def complaints(test: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    """What speaks against one test, with its remedy."""
    name = one_line(test["id"])
    yield from falsified_lines(test, body)
    for failure in test["failures"]:
        kind = failure["kind"].replace("_", " ")
        yield f"\n{name}: {kind} in {runs_text(failure['runs'])}: {flat(failure['message'])}"
        if failure["example"]:
            yield f"  at {flat(failure['example'])}"
    if odd := test["mismatch"]:
        yield f"\n{name}: {runs_text(odd['runs'])} differ from the others, from example {odd['example']} on"
        for number, text in zip(odd["compared"], odd["texts"], strict=True):
            yield f"  run {number}: {flat(text)}"
        yield f"  likely cause: {odd['cause']}"
    if "missing" in test["problems"]:
        yield f"\n{name}: seen in {sum(test['outcomes'].values())} of {body['runs']} runs; its id must not change"
    if test["seed_ignored"]:
        yield f"\n{name}: ignores the seed: {test['seed_ignored']} in its settings or its module's profile"


def falsified_lines(test: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    from shlex import join  # a falsified test only

    name, command = one_line(test["id"]), one_line(f"python -m pytest {join([test['id']])}", 2000)
    for found in test["falsifying_examples"]:
        yield f"\n{name}: falsified in {runs_text(found['runs'])}: {flat(found['representation'])}"
        yield f"  {flat(found['error'])}"
        if found["reproduction"]:
            again = "fails again" if found.get("reproduced") else "does NOT fail again"
            yield f"  put {found['reproduction']} above it ({again} in a fresh process); {command}"
        if found["seed_reproduced"]:
            most = test["examples"]["max"]
            paths = ["--", *body["pytest_args"]] if body["pytest_args"] else []
            flags = join(["--fuzz", "--examples", str(most), "--seed", str(found["seed"]), *paths])
            yield f"  or search again from its seed: {flags}"


def runs_text(runs: Sequence[int]) -> str:
    shown = ", ".join(map(str, runs[:5])) + (", ..." if len(runs) > 5 else "")
    return f"{len(runs)} run{'s' * (len(runs) > 1)} ({shown})"


def remarks(body: Mapping[str, Any]) -> Iterator[str]:
    """What speaks against the result as a whole."""
    for entry in body["uncollected"]:
        yield f"\n{one_line(entry['id'])}: not collected: {entry['message']}"
    if slow := sum("slow" in test["problems"] for test in body["tests"]):
        yield f"\nslow: {slow} tests take more than {ms(body['threshold_ms'])} on average; lower their max_examples"
    control = body["control"]
    if control and not control["shown"]:
        deaf = [name for name, text in control["unchanged"].items() if text == "unexplained"]
        names = ", ".join(deaf) or "any test"
        yield f"\ncontrol: another seed changes nothing in {names}: something overrides the seed"
    if body["partial"]:
        yield f"\npartial: {body['partial']}"


def whole(minimum: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,40}", text) or int(text) < minimum:
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
    own, pytest_args = words[:cut], tuple(words[cut + 1 :])
    fuzz, env = "--fuzz" in own, os.environ
    seed = None if fuzz else env.get("TPR_SEED", "12345")
    limit = env.get("TPR_PROPERTY_RUNTIME_THRESHOLD_MS", "1000")
    parser = Arguments(__doc__ or "", "aggregate_properties")
    add = parser.add_argument
    add("--runs", type=whole(1), default=1 if fuzz else 30, metavar="N", help="fresh processes (default 30; fuzz: 1)")
    add("--jobs", type=whole(1), default=1, metavar="N", help="processes at a time (default 1)")
    add("--seed", type=whole(0), default=seed, metavar="N", help="default TPR_SEED, else 12345; fuzz: none")
    add("--fuzz", action="store_true", help="search for new failures instead of repeating")
    add("--examples", type=whole(1), metavar="N", help=f"fuzz: for each test (default {FUZZ_EXAMPLES})")
    add("--threshold-ms", type=positive, default=limit, metavar="MS", help="most that a test may take on average")
    add("--allow-none", action="store_true", help="a project without property tests is no error; it proves nothing")
    flags = vars(parser.parse_args(own))
    artifacts, examples, fuzz = (flags.pop(name) for name in ("artifacts", "examples", "fuzz"))
    if examples and not fuzz:
        parser.error("--examples: only with --fuzz; otherwise a test's own settings say how many")
    if any(word.startswith("--hypothesis-seed") for word in pytest_args):
        parser.error("--hypothesis-seed: expected --seed, before the --")
    settings = Settings(**flags, examples=(examples or FUZZ_EXAMPLES) if fuzz else None, pytest_args=pytest_args)
    usual = settings.root / "artifacts" / "fuzz" if fuzz else settings.root / "artifacts"
    return settings, artifacts or usual


def main(argv: Sequence[str] | None = None) -> int:
    settings, artifacts = parse(argv)
    import tempfile

    try:
        run = Run("aggregate_properties", settings.root, artifacts)
        with tempfile.TemporaryDirectory(prefix="tpr-properties-") as folder:
            body = results_body(examine(run, settings, Path(folder)))
        document = run.write(RESULTS, RESULTS_VERSION, body)
    except NoPropertyError as error:
        if not settings.allow_none:
            return complain("aggregate_properties.py", str(error))
        if not settings.quiet:
            show("no property tests: nothing is proven")
        return 0
    except EvidenceError as error:
        return complain("aggregate_properties.py", str(error))
    except OSError as error:
        where = error.filename or "the temporary folder"
        return complain("aggregate_properties.py", f"{where}: {error.strerror}; make room for the runs' records")
    except KeyboardInterrupt:
        return complain("aggregate_properties.py", "interrupted before the first run had ended; run it again")
    if not settings.quiet:
        show(table(document))  # without what is secret
    return verdict(body)


if __name__ == "__main__":
    raise SystemExit(main())
