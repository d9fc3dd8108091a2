"""pytest's side of the test platform: one streamed record per finished test.

PYTEST_DONT_REWRITE: a capture loads this file by its path, as the plugin `tpr_conftest`, for any project.

As this project's own conftest.py it only adds options and names the commit in JUnit files. In a capture
(`--tpr-capture SETTINGS`, given by collect_metrics.py) it appends one JSON line per finished test to the
capture's records and says to coverage which test file runs. The process that runs the tests may die at any
moment: what a record says is on disk before the next test starts.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from types import FrameType, ModuleType

HERE = Path(__file__).resolve().parent
COPIED = (HERE / "events.py").is_file()  # beside the scripts, in a repository with a conftest.py of its own
PHASES = ("setup", "call", "teardown")
MODES = ("off", "soft", "hard")
FORCED_OFF = "failfast.forced_off.json"  # enforce_gates.py writes it with an incident
WHOLE = ("collectonly", "lf", "failedfirst", "newfirst", "stepwise")  # options that need all tests at once
TEXT_LIMIT = 64 * 1024  # characters of one failure's text
BALANCE = 1.03  # the longest shard is to take at most this many times the mean
CUTS = (BALANCE, 1 / 2, 1 / 4, 1 / 8, BALANCE - 1)  # of the mean: longer runs of one file's tests are cut
OWN_COST = 1e-5  # seconds beside the recorded ones: tests that took none are spread all the same
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_text = json.encoder.encode_basestring  # what it encodes a text with, at a fifth of the cost


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("test platform")
    with suppress(ValueError):  # already there: this file is the project's conftest.py and the capture's plugin
        group.addoption("--failfast-mode", choices=MODES, default=None, help="off (default), soft or hard")
        group.addoption("--tpr-capture", metavar="SETTINGS", default=None, help="given by collect_metrics.py")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Keep pytest-cov out of a capture, whatever the project's addopts ask: two tracers would fight.

    A wrapper, because pytest-cov's own hook is a `tryfirst`, and it is registered later, so it is called earlier.
    """
    options = early_config.known_args_namespace
    if getattr(options, "tpr_capture", None) and hasattr(options, "cov_source"):
        options.cov_source = []
    return (yield)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The scripts' sample suite is no test of a project that they were copied into."""
    return True if COPIED and collection_path.is_relative_to(HERE) else None


@pytest.hookimpl(trylast=True)  # pytest's JUnit writer is there by then
def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("tpr-records"):
        return
    settings_file = config.getoption("--tpr-capture")
    settings = json.loads(Path(settings_file).read_text("utf-8")) if settings_file else {}
    if not hasattr(config, "workerinput"):
        name_revision(config, settings)
    if settings:
        start_recording(config, settings)
    start_failfast(config, settings)


def start_failfast(config: pytest.Config, settings: dict[str, Any]) -> None:
    if config.pluginmanager.has_plugin("tpr-failfast"):
        return
    root = Path(settings.get("root", config.rootpath))
    artifacts = Path(settings.get("artifacts", root / "artifacts"))
    mode, order = failfast_mode(config.getoption("--failfast-mode"), artifacts)
    if mode != "off":
        maps = [artifacts / "test.map.json", root / "artifacts" / "foundation" / "test.map.json"]
        order = find_order(root, config.rootpath, maps, artifacts)
        if settings and not hasattr(config, "workerinput"):
            config.pluginmanager.get_plugin("tpr-records").write({"order": order.text})  # type: ignore[union-attr]
    plugin = FailFast(config, mode, order) if mode != "off" else FailFastHeader(mode, order)
    config.pluginmanager.register(plugin, "tpr-failfast")


def failfast_mode(option: str | None, artifacts: Path) -> tuple[str, Order]:
    """The mode in force: the flag, else TPR_FAILFAST_MODE, else off; off, and why, while an incident forces it."""
    mode = option or os.environ.get("TPR_FAILFAST_MODE") or "off"
    if mode not in MODES:
        raise pytest.UsageError(f"TPR_FAILFAST_MODE: expected one of {', '.join(MODES)}, got {mode!r}")
    if mode != "off" and (artifacts / FORCED_OFF).exists():
        return "off", Order(f"usual (an open incident forces {mode} off: enforce_gates.py --resolve)")
    return mode, Order("usual")


def name_revision(config: pytest.Config, settings: dict[str, Any]) -> None:
    """Add the properties `commit` and `run_id` to pytest's own JUnit file, if it writes one."""
    for plugin in config.pluginmanager.get_plugins():
        if add := getattr(plugin, "add_global_property", None):
            commit = settings["commit"] if settings else git(config.rootpath, "rev-parse", "HEAD")
            add("commit", (commit or "").strip())
            add("run_id", settings.get("run_id") or os.environ.get("TPR_RUN_ID", ""))


def start_recording(config: pytest.Config, settings: dict[str, Any]) -> None:
    manager = config.pluginmanager
    if hasattr(config, "workerinput"):
        manager.register(WorkerRecords(), "tpr-records")
    else:
        distributed = getattr(config.option, "dist", "no") != "no"
        records = DistributedRecords if distributed else Records
        manager.register(records(Path(settings["records"]), settings), "tpr-records")
        if distributed:
            manager.register(WorkerStart(settings), "tpr-worker-start")
    if settings.get("shard"):
        manager.register(Shard(settings), "tpr-shard")
    if settings["contexts"]:
        manager.register(CoverageContexts(), "tpr-contexts")
    if settings["pause"] and sys.version_info < (3, 12):  # from 3.12 on every switch re-instruments all code
        manager.register(TracerPause(config), "tpr-pause")


class Records:
    """Streams what happens in a test session to a file of JSON lines, one `os.write` a test.

    Lines: {"start": id} before a test begins, {"not_begun": id} if it then did not; one with "id" and "outcome" when
    it has ended; {"collect_error"}, {"collected"}, {"deselected"}, {"registered"}; {"exit": pytest's status} last.
    Seconds come from the reports; a start's has four digits: no test is shorter, and more are slow to write.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._os_write = os.write  # a test may have another in its place
        self._platform = load_module("tpr_events", Path(settings["events"]))
        self._secrets = self._platform.secret_values(os.environ)
        self._shown = lru_cache(maxsize=64)(self._redact)  # ids as they are written: a kill leaves them as they are
        self._open: dict[str, list[pytest.TestReport]] = {}  # by test: its reports so far
        self._name = ""
        self._item: pytest.Item | None = None
        self._next: pytest.Item | None = None
        self._announced: pytest.Item | None = None  # its start is written, but it has not begun
        self._inherited: tuple[object, tuple[str, ...]] = (None, ())  # a parent and the names of its markers

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if item is not self._announced:
            self._append(start_line(self._shown(item.nodeid)))
        self._item, self._next, self._announced = item, nextitem, None
        self._name = item.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        key = self._key(report)
        reports = self._open.setdefault(key, [])
        reports.append(report)
        if report.when in ("setup", "call") or "context" in vars(report):
            return
        plain = len(reports) == len(PHASES) and all(map(is_plain, reports))
        if not plain and is_retried(reports):
            return
        del self._open[key]
        name = report.nodeid
        markers = self._markers(name, reports)
        shown = self._shown(name)
        line = (
            plain_record(shown, reports, markers) if plain else _compact(self._record(shown, reports, markers)) + "\n"
        )
        self._append(line + self._announce() if name == self._name else line)

    def _announce(self) -> str:
        """The line that begins the next test: on disk before it, and one write a test less."""
        if self._next is None:
            return ""
        self._announced, self._next = self._next, None
        return start_line(self._shown(self._announced.nodeid))

    def _key(self, report: pytest.TestReport) -> str:
        return report.nodeid

    def _markers(self, name: str, _reports: Sequence[pytest.TestReport]) -> tuple[str, ...]:
        if self._item is None or name != self._name:  # reported past pytest's protocol
            return ()
        own, parent = self._item.own_markers, self._item.parent
        if parent is not self._inherited[0]:
            self._inherited = (parent, marker_names(parent) if parent else ())
        names = self._inherited[1]
        return tuple(sorted({*names, *(mark.name for mark in own)})) if own else names

    def _record(self, name: str, reports: Sequence[pytest.TestReport], markers: Sequence[str]) -> dict[str, Any]:
        """The record of a test from all of its reports; those before its last set-up are attempts retried since."""
        last = last_attempt(reports)
        record: dict[str, Any] = {"id": name, "outcome": "passed", "start": round(reports[last].start, 4)}
        record |= {"markers": markers, "worker": getattr(reports[last], "worker_id", "")}
        for report in reports[:last]:
            if is_retried([report]):
                record.setdefault("attempts", []).append(self._failure(report))
        for report in reports[last:]:
            self._note(record, report)
        return record

    def _note(self, record: dict[str, Any], report: pytest.TestReport) -> None:
        if report.failed:
            record.setdefault("failures", []).append(self._failure(report))
        if hasattr(report, "context"):  # a subtest: counted beside its test, which fails with it
            kind = outcome_of(report)
            record.setdefault("subtests", {}).setdefault(kind, 0)
            record["subtests"][kind] += 1
            record["outcome"] = worse(record["outcome"], "failed" if report.failed else "passed")
            return
        record["outcome"] = worse(record["outcome"], outcome_of(report))
        if report.when in PHASES:
            record[report.when] = round(report.duration, 6)
        if report.skipped:
            record["reason"] = self._redact(skip_reason(report))

    def _redact(self, text: str) -> str:
        return str(self._platform.redact_text(text, self._secrets))

    def _failure(self, report: pytest.TestReport | pytest.CollectReport) -> dict[str, str]:
        self._secrets = self._platform.secret_values(os.environ)  # the suite may have set some
        kind, text = exception_of(report)
        return {"phase": str(report.when), "type": kind, "text": self._redact(text)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write({"collect_error": self._shown(report.nodeid), **self._failure(report)})

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.write({"rootdir": str(session.config.rootpath), "registered": registered_markers(session.config)})

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.write({"deselected": len(items)})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self.write({"collected": len(session.items)})
        self.write({"registered": registered_markers(session.config)})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self.write({"collected": len(ids)})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._announced:
            self.write({"not_begun": self._shown(self._announced.nodeid)})
        stop = session.shouldfail or session.shouldstop
        self.write({"exit": int(exitstatus), "stop": self._redact(str(stop)) if stop else None})

    def write(self, line: dict[str, Any]) -> None:
        self._append(_compact(line) + "\n")

    def _append(self, line: str) -> None:
        try:  # noqa: SIM105 - twice a test
            self._os_write(self._fd, line.encode("utf-8", "backslashreplace"))
        except OSError:  # a full disk must not fail somebody's suite; the missing exit line tells
            pass


class DistributedRecords(Records):
    """On an xdist controller: what its workers tell of their tests."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write({"start": self._shown(nodeid)})

    def _key(self, report: pytest.TestReport) -> str:
        return report.nodeid + str(vars(report).get("worker_id", ""))

    def _markers(self, _name: str, reports: Sequence[pytest.TestReport]) -> tuple[str, ...]:
        return next((tuple(vars(report)["tpr_markers"]) for report in reports if hasattr(report, "tpr_markers")), ())


class WorkerRecords:
    """On an xdist worker: sends each test's markers to the controller, on its reports."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "setup":
            vars(report)["tpr_markers"] = marker_names(item)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if coverage := running_coverage():
            coverage.stop()
            coverage.save()


class WorkerStart:
    """On an xdist controller: workers start as the suite's own process did, measured from their first import."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_getremotemodule(self) -> str:
        script, path = self._settings["script"], self._settings["path"]
        remote = importlib.import_module("xdist.remote").__file__  # not imported there: pytest wants to be first
        return (
            f"import runpy, sys\nsys.path.insert(0, {str(Path(script).parent)!r})\n"
            f"suite = runpy.run_path({script!r}, run_name='tpr_suite')\n"
            f"suite['enter_suite']({path!r}, worker=True)\n"
            f"exec(compile(open({remote!r}, 'rb').read(), {remote!r}, 'exec'), globals())\n"
        )


class CoverageContexts:
    """Names the running test file to coverage: a context per file is cheap, one per test is not."""

    def __init__(self) -> None:
        self._file = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        file = item.nodeid.partition("::")[0]
        if file != self._file and (coverage := running_coverage()):
            self._file = file
            with suppress(Exception):  # a full disk: the report at the end says so
                coverage.switch_context(file)


class TracerPause:
    """Switches the tracer off while pytest's own code runs between the phases of a test.

    Up to Python 3.11 a tracer is called for every line of every frame, pytest's included. It stays on wherever
    measured code could run: import, set-up, call, tear-down, a failure's report, and altogether if a hook
    between the phases belongs to a measured file. Only this thread's tracer is touched.
    """

    HOOKS = (
        "pytest_runtest_protocol pytest_runtest_logstart pytest_runtest_logreport pytest_runtest_logfinish "
        "pytest_runtest_makereport pytest_report_teststatus pytest_report_to_serializable pytest_exception_interact "
        "pytest_runtest_setup pytest_runtest_call pytest_runtest_teardown"
    ).split()

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._trace: Any = None
        self._on = False

    @pytest.hookimpl(wrapper=True)  # FailFast runs the loop itself: plain hooks behind it are not called
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        if coverage := running_coverage():
            with suppress(Exception):  # a full disk: the report at the end says so
                self._on = not self._measured_hooks(coverage.get_data().measured_files())
        return (yield)

    def _measured_hooks(self, measured: set[str]) -> bool:
        files = {
            getattr(getattr(impl.function, "__code__", None), "co_filename", "")
            for name in self.HOOKS
            for impl in getattr(self._config.hook, name).get_hookimpls()
        }
        return not measured.isdisjoint(map(os.path.abspath, files - {""} - {__file__}))

    def _pause(self) -> None:
        if self._on and self._trace is None:
            self._trace = sys.gettrace()
            sys.settrace(None)

    def _resume(self) -> None:
        if self._trace is not None:
            sys.settrace(self._trace)
            self._trace = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None]:
        self._pause()
        return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self) -> Generator[None]:
        self._resume()
        try:
            return (yield)
        finally:
            self._pause()

    pytest_runtest_call = pytest_runtest_teardown = pytest_runtest_setup

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._resume()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
        between = self._trace is not None  # a subtest's report is made within its test's call
        if call.excinfo is not None:
            self._resume()  # a failure's text calls __repr__ of the code under test
        try:
            return (yield)
        finally:
            if between:
                self._pause()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        try:
            return (yield)
        finally:
            if report.when == "teardown":
                self._resume()


class Shard:
    """Leaves this machine its share of the collected tests; the others run theirs."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._text = ""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None]:
        """The last word, after all that the suite itself deselects, which is the same everywhere."""
        yield
        (number, count), known = self._settings["shard"], {}
        if recorded := self._settings["durations"]:
            rows = json.loads(Path(recorded).read_bytes())["tests"]
            known = {row["id"]: float(row["seconds"]) for row in rows}
        shares = split({item.nodeid for item in items}, known, count)
        mine = set(shares[number - 1])
        self._text = f"shard {number}/{count}: {len(mine)} of {len(items)} tests"
        items[:] = [item for item in items if item.nodeid in mine]
        digest = hashlib.sha256(_compact(shares).encode("utf-8", "backslashreplace")).hexdigest()
        with Path(self._settings["records"]).open("a", encoding="utf-8") as records:  # an xdist worker, too
            records.write(_compact({"split": digest}) + "\n")

    def pytest_report_collectionfinish(self) -> str:
        return self._text


def split(tests: Iterable[str], known: Mapping[str, float], count: int) -> list[list[str]]:
    """The tests as `count` shares that take about as long as each other; a pure function of its arguments.

    A file's fixtures are made once in each share that has some of its tests. So a file stays whole unless it is
    longer than a share; where that does not balance, than a half, a quarter, ... of one: then it is cut into runs of
    neighbours.
    """
    seconds = expected_seconds(sorted(set(tests)), known)
    mean = sum(seconds.values()) / count
    shares: list[tuple[float, int, list[str]]] = []
    for part in CUTS:
        shares = deal(runs_of(seconds, part * mean), count)
        if max(shares)[0] <= BALANCE * mean:
            break
    return [tests for _, _, tests in sorted(shares, key=lambda share: share[1])]


def expected_seconds(tests: Sequence[str], known: Mapping[str, float]) -> dict[str, float]:
    """What each test will take: as recorded; a new one as its file's tests on average, else as all of them."""
    files: dict[str, list[float]] = {}
    for test, seconds in known.items():
        files.setdefault(test.partition("::")[0], []).append(seconds)
    usual = sum(known.values()) / len(known) if known else 1.0
    usual_of = {file: sum(each) / len(each) for file, each in files.items()}
    return {test: OWN_COST + known.get(test, usual_of.get(test.partition("::")[0], usual)) for test in tests}


def runs_of(seconds: Mapping[str, float], longest: float) -> list[tuple[float, list[str]]]:
    """Neighbouring tests of one file, in runs that take no longer than `longest` seconds (a single test may)."""
    runs: list[tuple[float, list[str]]] = []
    last = ""
    for test, cost in seconds.items():
        file = test.partition("::")[0]
        if runs and file == last and runs[-1][0] + cost <= longest:
            runs[-1] = (runs[-1][0] + cost, runs[-1][1])
            runs[-1][1].append(test)
        else:
            runs.append((cost, [test]))
        last = file
    return runs


def deal(runs: Iterable[tuple[float, list[str]]], count: int) -> list[tuple[float, int, list[str]]]:
    """Shares as (seconds, number, tests): the longest run first, each to the share that is shortest so far."""
    shares: list[tuple[float, int, list[str]]] = [(0.0, number, []) for number in range(count)]
    for cost, tests in sorted(runs, key=lambda run: (-run[0], run[1])):
        seconds, number, share = shares[0]
        share.extend(tests)
        heapq.heapreplace(shares, (seconds + cost, number, share))
    return shares


class FailFastHeader:
    """Says in pytest's header which mode and seed are in force, as what reproduces them, and the order."""

    def __init__(self, mode: str, order: Order) -> None:
        self._mode, self._order = mode, order

    def pytest_report_header(self) -> str:
        seed = os.environ.get("TPR_SEED") or "unset"
        return f"fail-fast: --failfast-mode={self._mode}, TPR_SEED={seed}, order: {self._order.text}"


class FailFast(FailFastHeader):
    """Stops at the first failure, and runs first what the change since the last baseline most likely broke.

    Test files are opened as late as possible: the likeliest first, in batches that double, and the rest only when
    those have passed. Nothing is skipped. soft and hard differ in what a capture measures beside the tests.
    """

    def __init__(self, config: pytest.Config, mode: str, order: Order) -> None:
        super().__init__(mode, order)
        self._config = config
        self._later: dict[str, list[pytest.File]] = {}
        self._wanted: set[str] | None = None  # the test files opened so far; None: all at once
        self._stop: Path | None = None  # the file that tells xdist's workers to stop
        self._ended = threading.Event()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        options = vars(self._config.option)
        whole = any(map(options.get, WHOLE)) or any("::" in argument for argument in self._config.args)
        whole = whole or self._config.pluginmanager.has_plugin("tpr-shard")
        distributed = hasattr(self._config, "workerinput") or options.get("dist", "no") != "no"
        if self._order.files and not whole and not distributed:
            self._wanted = set(self._order.first(1))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        self._stop = self._stop or Path(tempfile.mkdtemp(prefix="tpr-"), "stop")
        node.workerinput["tpr_stop"] = str(self._stop)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if stop_file := getattr(self._config, "workerinput", {}).get("tpr_stop"):
            stop_with_others(session, Path(stop_file), self._ended)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._ended.set()

    def pytest_unconfigure(self) -> None:
        if self._stop:
            self._stop.unlink(missing_ok=True)
            self._stop.parent.rmdir()

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> pytest.CollectReport | None:
        if self._wanted is None or not isinstance(collector, pytest.File) or collector.nodeid in self._wanted:
            return None
        self._later.setdefault(collector.nodeid, []).append(collector)  # several: a module, and its doctests
        return pytest.CollectReport(collector.nodeid, "passed", None, [])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = self._order.sort(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self._wanted is None:
            return None
        if session.testsfailed:
            raise session.Failed(session.shouldfail or "a file could not be collected")
        batch, size = session.items, 1
        while batch or self._later:
            opened = self._order.first(size, among=self._later) or list(self._later)
            self._run(session, batch, bool(opened))
            batch = self._open(session, opened) if opened else []
            session.items = [*session.items, *batch]
            size *= 2
        return True

    def _run(self, session: pytest.Session, batch: Sequence[pytest.Item], more: bool) -> None:
        """pytest's own loop over some of the items; while more may come, the session's fixtures stay alive."""
        upcoming = ComingItem.from_parent(session, name="coming") if more else None
        for item, following in zip(batch, [*batch[1:], upcoming], strict=False):
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)

    def _open(self, session: pytest.Session, names: Sequence[str]) -> list[pytest.Item]:
        assert self._wanted is not None
        self._wanted.update(names)
        files = [file for name in names for file in self._later.pop(name)]
        items = [item for file in files for item in session.genitems(file)]
        self._config.hook.pytest_collection_modifyitems(session=session, config=self._config, items=items)
        session.testscollected += len(items)
        if records := self._config.pluginmanager.get_plugin("tpr-records"):
            records.write({"collected": session.testscollected})
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        return items

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        session = self._config.pluginmanager.get_plugin("session")
        if report.failed and session and not session.shouldfail:
            session.shouldfail = f"{self._mode} fail-fast: stopped at the first failure"
            if distributor := self._config.pluginmanager.get_plugin("dsession"):
                distributor.shouldstop = session.shouldfail
                if self._stop:
                    self._stop.touch()

    pytest_collectreport = pytest_runtest_logreport


def stop_with_others(session: pytest.Session, stop_file: Path, ended: threading.Event) -> None:
    """On an xdist worker: when another worker's test has failed, start no further test and end the running one.

    With status 1: after 2, a keyboard interrupt's, xdist starts a new worker.
    """
    reason = "fail-fast: a test failed on another worker"
    main, before = threading.main_thread().ident, signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop_file.exists():
            pytest.exit(reason, returncode=1)
        if callable(before):
            before(number, frame)

    def watch() -> None:
        while not stop_file.exists():
            if ended.wait(0.05):
                return
        session.shouldstop = reason
        if main and not ended.wait(1) and signal.getsignal(signal.SIGINT) is interrupt:
            signal.pthread_kill(main, signal.SIGINT)

    if os.name != "nt":
        with suppress(ValueError):  # not the main thread: the running test goes on to its end
            signal.signal(signal.SIGINT, interrupt)
    threading.Thread(target=watch, daemon=True).start()


class ComingItem(pytest.Item):
    """Stands for the tests of files that are not open yet."""

    def runtest(self) -> None:
        raise NotImplementedError("never run")


@dataclass(frozen=True)
class Change:
    """A changed file: its path at the baseline, the changed lines there, the words of what is defined around them,
    how pytest names it now, and the identifiers of the changed lines and of the definitions around them."""

    path: str
    lines: frozenset[int] = frozenset()
    words: frozenset[str] = frozenset()
    node: str = ""
    names: Mapping[str, int] = field(default_factory=dict)  # a definition counts 2


@dataclass(frozen=True)
class Order:
    """Test files from the likeliest to fail on, what each word of a test's name says about the change, and what each
    identifier in its code does."""

    text: str
    files: tuple[str, ...] = ()
    words: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, int] = field(default_factory=dict)

    def first(self, count: int, among: Iterable[str] | None = None) -> list[str]:
        """The `count` likeliest files (of those in `among`)."""
        wanted = set(self.files if among is None else among)
        return list(islice((file for file in self.files if file in wanted), count))

    def sort(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """The items with the likely files' in front, each file's best matching tests first, the rest as they were."""
        rank = {file: number for number, file in enumerate(self.files)}
        parts = [item.nodeid.partition("[")[0].partition("::") for item in items]
        used: dict[str, dict[str, frozenset[str]]] = {}
        for item, (file, _, name) in zip(items, parts, strict=True):
            if file in rank and name not in used.setdefault(file, {}):
                used[file][name] = names_used(code_of(item)) if self.names else frozenset()
        match = {file: self.matches(tests) for file, tests in used.items()}
        keys = [(rank[file], -match[file][name]) if file in rank else (len(rank), 0.0) for file, _, name in parts]
        return [items[number] for number in sorted(range(len(items)), key=keys.__getitem__)]

    def matches(self, tests: Mapping[str, frozenset[str]]) -> dict[str, float]:
        """How well each test of a file, given with the identifiers in its code, fits the change: by rare ones."""
        counts = Counter(name for used in tests.values() for name in used & self.names.keys())
        rarity = {name: self.names[name] * math.log(1 + len(tests) / count) for name, count in counts.items()}
        return {test: weight(self.words, name_words(test)) + weight(rarity, used) for test, used in tests.items()}


def code_of(item: pytest.Item) -> CodeType | None:
    """The code of a test's function, past its decorators."""
    function: Any = getattr(getattr(item.parent, "obj", None), getattr(item, "originalname", None) or "", None)
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return getattr(function, "__code__", None)


def names_used(code: CodeType | None) -> frozenset[str]:
    """The identifiers that a function's code reads, sets or calls, those of functions inside it too."""
    if code is None:
        return frozenset()
    inside = [names_used(constant) for constant in code.co_consts if type(constant) is CodeType]
    return frozenset(code.co_names).union(*inside)


def weight(words: Mapping[str, float], found: frozenset[str]) -> float:
    """How much these words say of the change; summed exactly, so that no hash seed changes the order."""
    return math.fsum(map(words.__getitem__, words.keys() & found))


@lru_cache(maxsize=1 << 16)
def name_words(name: str) -> frozenset[str]:
    """The words of an identifier: test_parseHTTPHeader gives parse, http, header."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return frozenset(part.lower() for part in parts) - {"test", "tests", "py"}


def make_order(baseline: Mapping[str, Any], changes: Sequence[Change]) -> Order:
    """The order for `changes`, from which test file covered which line at the baseline: a pure function."""
    files: list[dict[str, Any]] = baseline["files"]
    covered = covered_changes(baseline, changes)
    known = {file["path"] for file in files}
    own = {change.node for change in changes}
    words = rare_words(files, changes)
    names: Counter[str] = Counter()
    for change in changes:
        names |= Counter(change.names)
    failed = {test.partition("::")[0] for test in baseline["failed"]}

    def key(file: Mapping[str, Any]) -> tuple[float, ...]:
        path = file["path"]
        match = max((weight(words, name_words(path) | name_words(name)) for name in file["names"]), default=0.0)
        group = 0 if path in covered else 1 if path in own else 2 if path in failed else 3
        return (group, -covered.get(path, 0), -match, file["seconds"])

    ranked = [(key(file), file["path"]) for file in files]
    ranked += [((1.0,), path) for path in own - known if is_test_file(path)]
    likely = [path for (group, *_), path in sorted(ranked) if group < 3]
    lines = sum(len(change.lines) for change in changes)
    text = f"{len(likely)} likely files first ({len(changes)} files changed, {lines} lines of the baseline)"
    return Order(
        text if likely else f"usual ({len(changes)} files changed, no test known for them)",
        tuple(likely),
        words,
        names,
    )


def covered_changes(baseline: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, float]:
    """Per test file: how many changed lines it covered. A change that no test's lines meet (an import-time line, a
    data file) counts for the tests of its file, else of its folder, by a fraction of a line."""
    sources = {source["path"]: source["covered_by"] for source in baseline["sources"]}
    files = baseline["files"]
    known = {file["path"] for file in files}
    found: dict[str, float] = {}
    for change in changes:
        rows, lines = sources.get(change.path, ()), sorted(change.lines)
        hits: dict[str, float] = {files[row["file"]]["path"]: count_inside(row["lines"], lines) for row in rows}
        if not any(hits.values()) and change.node not in known and not is_test_file(change.node):
            hits = dict.fromkeys(nearest_tests(change.path, sources, files), 0.001)
        for path, count in hits.items():
            if count:
                found[path] = found.get(path, 0) + count
    return found


def nearest_tests(path: str, sources: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> set[str]:
    """The test files that cover anything of `path`, else those in or about the nearest folder known of."""
    if rows := sources.get(path):
        return {files[row["file"]]["path"] for row in rows}
    while path:
        inside = [rows for source, rows in sources.items() if source.startswith(f"{path}/")]
        found = {files[row["file"]]["path"] for rows in inside for row in rows}
        found.update(file["path"] for file in files if file["path"].startswith(f"{path}/"))
        if found:
            return found
        path = path.rpartition("/")[0]
    return set()


def rare_words(files: Iterable[Mapping[str, Any]], changes: Iterable[Change]) -> dict[str, float]:
    """The words around the change, weighted by how few test names have them (inverse document frequency)."""
    names = [name_words(name) for file in files for name in file["names"]]
    wanted = frozenset().union(*(change.words for change in changes))
    counts = Counter(word for words in names for word in words & wanted)
    return {word: math.log(1 + len(names) / count) for word, count in counts.items()}


def count_inside(ranges: str, lines: Sequence[int]) -> int:
    """How many of the sorted lines are in ranges such as 1-3,7."""
    count = 0
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        count += bisect_right(lines, int(last or first)) - bisect_left(lines, int(first))
    return count


def is_test_file(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


DIFF = (  # whatever the user's git configuration says
    "-c core.quotepath=off diff --no-color --no-ext-diff --no-textconv --unified=0 --inter-hunk-context=0 "
    "--find-renames --relative --src-prefix=a/ --dst-prefix=b/ --submodule=short --ignore-submodules=dirty"
).split()


def read_changes(root: Path, commit: str, rootdir: Path, artifacts: Path) -> list[Change]:
    """What differs between the baseline's commit and the files as they are: committed, staged or not, untracked."""
    places = [".", ":(exclude,glob)**/__pycache__/**"]
    if artifacts.is_relative_to(root) and artifacts != root:
        places.append(f":(exclude,literal){artifacts.relative_to(root).as_posix()}")
    diff = git(root, *DIFF, commit, "--", *places)
    others = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *places)
    if diff is None or others is None:
        raise LookupError(f"git does not know the baseline's commit {commit[:12]}")
    changes = [change_of(part, root) for part in re.split(r"^diff --git ", diff, flags=re.MULTILINE)[1:]]
    changes += [Change(path, words=name_words(path), node=path) for path in others.split("\0") if path]
    return [replace(change, node=node_of(root / change.node, rootdir)) for change in changes]


def node_of(path: Path, rootdir: Path) -> str:
    """A file as pytest names it: relative to its rootdir, with slashes."""
    return Path(os.path.relpath(path, rootdir)).as_posix()


def git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


REMOVED = re.compile(r"^-\s*(?:async\s+)?(?:def|class)\s+(\w+)", re.MULTILINE)
HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


def change_of(diff: str, root: Path) -> Change:
    """One file's part of `git diff --unified=0`: old lines, and the words of the definitions around the new ones."""
    old = re.search(r"^--- a/(.+?)\t?$", diff, re.MULTILINE) or re.search(r"^rename from (.+)$", diff, re.MULTILINE)
    new = re.search(r"^\+\+\+ b/(.+?)\t?$", diff, re.MULTILINE) or re.search(r"^rename to (.+)$", diff, re.MULTILINE)
    name = re.match(r"a/(.+?) b/", diff)
    path = (old or new or name or [""] * 2)[1]
    lines: set[int] = set()
    here: set[int] = set()
    for match in HUNK.finditer(diff):
        start, size, now, added = (int(match[i]) if match[i] else 1 for i in (1, 2, 3, 4))
        lines.update(range(start, start + size) if size else (start, start + 1))
        here.update(range(now, now + max(added, 1)))
    text = ""
    if new and new[1].endswith(".py"):
        with suppress(OSError):
            text = (root / new[1]).read_text("utf-8", "replace")
    around = definitions_around(text.split("\n"), here).union(REMOVED.findall(diff))
    words = name_words(path).union(*map(name_words, around))
    changed = "\n".join(CHANGED.findall(diff)) if path.endswith(".py") else ""
    names = dict.fromkeys(IDENTIFIER.findall(changed), 1) | dict.fromkeys(around, 2)
    return Change(path, frozenset(lines), words, new[1] if new else path, names)


CHANGED = re.compile(r"^[-+](?!--|\+\+)(.*)", re.MULTILINE)
IDENTIFIER = re.compile(r"[^\W\d]\w*")
DEFINITION = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)")


def definitions_around(lines: Sequence[str], numbers: Iterable[int]) -> frozenset[str]:
    """The names of the functions and classes around the lines, told by indentation: works on broken files too."""
    wanted, names = set(numbers), set[str]()
    open_blocks: list[tuple[int, str]] = []
    for number, line in enumerate(lines[: max(wanted, default=0)], 1):
        code = line.lstrip()
        if code and code[0] not in "#)]}":
            indent = len(line) - len(code)
            while open_blocks and open_blocks[-1][0] >= indent:
                open_blocks.pop()
            if code.startswith(("def", "class", "async")) and (match := DEFINITION.match(code)):
                open_blocks.append((indent, match[1]))
        if number in wanted:
            names.update(name for _, name in open_blocks)
    return frozenset(names)


def find_order(root: Path, rootdir: Path, maps: Iterable[Path], artifacts: Path) -> Order:
    """The order for the change since the last baseline; the usual one, with the reason, where that is not known."""
    found = next((path for path in maps if path.is_file()), None)
    if found is None:
        return Order("usual (no baseline: capture one with collect_metrics.py)")
    try:
        baseline = json.loads(found.read_bytes())
        if not any((rootdir / file["path"]).is_file() for file in baseline["files"]):
            return Order("usual (the baseline is that of another root)")
        if not baseline["commit"]:
            return Order("usual (the baseline was captured without git)")
        changes = read_changes(root, baseline["commit"], rootdir, artifacts)
        return make_order(baseline, changes) if changes else Order("usual (nothing changed)")
    except (OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return Order(f"usual ({found.name} cannot be used: {type(error).__name__})")
    except LookupError as error:
        return Order(f"usual ({error})")


def running_coverage() -> Any:
    """The coverage measurement that runs in this process, or None."""
    module = sys.modules.get("coverage")
    return module.Coverage.current() if module else None


def marker_names(node: pytest.Item | pytest.Collector) -> tuple[str, ...]:
    return tuple(sorted({mark.name for mark in node.iter_markers()}))


def registered_markers(config: pytest.Config) -> list[str]:
    return sorted({re.split(r"[:(]", line, maxsplit=1)[0].strip() for line in config.getini("markers")})


def last_attempt(reports: Sequence[pytest.TestReport]) -> int:
    return max((number for number, report in enumerate(reports) if report.when == "setup"), default=0)


def is_retried(reports: Sequence[pytest.TestReport]) -> bool:
    """Whether the last attempt among a test's reports is not its last: pytest-rerunfailures' own outcome tells."""
    return any(str(report.outcome) == "rerun" for report in reports[last_attempt(reports) :])


def start_line(name: str) -> str:
    return f'{{"start":{_text(name)}}}\n'


@lru_cache(maxsize=1024)
def encoded(names: tuple[str, ...]) -> str:
    return _compact(names)


def is_plain(report: pytest.TestReport) -> bool:
    facts = vars(report)
    return report.outcome == "passed" and "wasxfail" not in facts and "context" not in facts


def plain_record(name: str, reports: Sequence[pytest.TestReport], markers: tuple[str, ...]) -> str:
    """The line of a test that just passed: nearly every one, so it is spelled out, at a third of the cost."""
    setup, call, teardown = reports
    head = f'{{"id":{_text(name)},"outcome":"passed","start":{setup.start:.4f},"markers":{encoded(markers)},'
    seconds = f'"setup":{setup.duration:.6f},"call":{call.duration:.6f},"teardown":{teardown.duration:.6f}'
    return f'{head}"worker":"{getattr(setup, "worker_id", "")}",{seconds}}}\n'


def outcome_of(report: pytest.TestReport) -> str:
    """What pytest itself would call this phase's end: passed, failed, error, skipped, xfailed or xpassed."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "error" if report.when in ("setup", "teardown") else "failed"
    return report.outcome


def worse(known: str, new: str) -> str:
    """A test's outcome is that of its worst phase."""
    order = ("failed", "error", "skipped", "xfailed", "xpassed", "passed")
    return next(outcome for outcome in order if outcome in (known, new))


def skip_reason(report: pytest.TestReport) -> str:
    reason = getattr(report, "wasxfail", "") or (report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
    return str(reason).removeprefix("Skipped: ")


def exception_of(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str]:
    """The exception's type and the report's text, cut in its middle if it is longer than TEXT_LIMIT."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext
    marked = re.findall(r"^E +(\S.*)", text, re.MULTILINE)  # a file that cannot be imported has no crash entry
    message = crash.message if crash else marked[-1] if marked else text
    named = re.match(r"((?:[\w<>]+\.)*\w+)(?::|$)", message)
    kind = "AssertionError" if message.startswith("assert ") else named[1] if named else "Failed"
    if len(text) > TEXT_LIMIT:
        text = f"{text[: TEXT_LIMIT // 2]}\n[... {len(text) - TEXT_LIMIT} characters ...]\n{text[-TEXT_LIMIT // 2 :]}"
    return kind, text


def load_module(name: str, path: Path) -> ModuleType:
    """Load a file by its path under a private name: the import path of the suite gets no new names."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def pytest_cmdline_main(config: pytest.Config) -> None:
    """Register the settings profiles of the property runs, if Hypothesis is in play: its import costs 0.15 s.

    Both name their parent: in CI the profile in force ignores --hypothesis-seed and would be inherited.
    """
    asked = [config.getoption(name, None) for name in ("hypothesis_profile", "hypothesis_seed")]
    if "hypothesis" not in sys.modules and asked == [None, None]:
        return
    from hypothesis import HealthCheck, settings

    slow = [HealthCheck.too_slow]
    common = settings(settings.get_profile("default"), derandomize=False, deadline=None, print_blob=True)
    settings.register_profile("tpr", parent=common, max_examples=30, database=None, suppress_health_check=slow)
    settings.register_profile("tpr-fuzz", parent=common, max_examples=2000, suppress_health_check=slow)
