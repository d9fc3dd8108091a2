"""pytest's side of the test platform: one streamed record per finished test.

PYTEST_DONT_REWRITE: a capture loads this file by its path, as the plugin `tpr_conftest`, for any project.

As this project's own conftest.py it only adds options and names the commit in JUnit files. In a capture
(`--tpr-capture SETTINGS`, given by collect_metrics.py) it appends one JSON line per finished test to the
capture's records and says to coverage which test file runs. The process that runs the tests may die at any
moment: what a record says is on disk before the next test starts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import ModuleType

HERE = Path(__file__).resolve().parent
PHASES = ("setup", "call", "teardown")
TEXT_LIMIT = 64 * 1024  # characters of one failure's text
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("test platform")
    with suppress(ValueError):  # already there: this file is the project's conftest.py and the capture's plugin
        group.addoption(
            "--failfast-mode", choices=("off", "soft", "hard"), default=None, help="off (default), soft or hard"
        )
        group.addoption("--tpr-capture", metavar="SETTINGS", default=None, help="given by collect_metrics.py")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Keep pytest-cov out of a capture, whatever the project's addopts ask: two tracers would fight."""
    options = early_config.known_args_namespace
    if getattr(options, "tpr_capture", None) and hasattr(options, "cov_source"):
        options.cov_source = []


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("tpr-records"):
        return
    settings_file = config.getoption("--tpr-capture")
    settings = json.loads(Path(settings_file).read_text("utf-8")) if settings_file else {}
    if not hasattr(config, "workerinput"):
        name_revision(config, settings)
    if settings:
        start_recording(config, settings)


def name_revision(config: pytest.Config, settings: dict[str, Any]) -> None:
    """Add the properties `commit` and `run_id` to pytest's own JUnit file, if it writes one."""
    for plugin in config.pluginmanager.get_plugins():
        if add := getattr(plugin, "add_global_property", None):
            commit = settings["commit"] if settings else git_head(config.rootpath)
            add("commit", commit or "")
            add("run_id", settings.get("run_id") or os.environ.get("TPR_RUN_ID", ""))


def git_head(root: Path) -> str | None:
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def start_recording(config: pytest.Config, settings: dict[str, Any]) -> None:
    manager = config.pluginmanager
    if hasattr(config, "workerinput"):
        manager.register(WorkerRecords(), "tpr-records")
    else:
        manager.register(Records(Path(settings["records"]), settings), "tpr-records")
        if manager.has_plugin("xdist"):
            manager.register(WorkerStart(settings), "tpr-worker-start")
    if settings["contexts"]:
        manager.register(CoverageContexts(), "tpr-contexts")
    if settings["pause"] and sys.version_info < (3, 12):  # from 3.12 on every switch re-instruments all code
        manager.register(TracerPause(config), "tpr-pause")


class Records:
    """Streams what happens in a test session to a file of JSON lines, one `os.write` a line.

    Lines: {"start": id} when a test begins; one with "id" and "outcome" when it has ended; {"collect_error"},
    {"collected"}, {"deselected"}, {"registered"}; {"exit": pytest's status} last. Seconds come from the reports.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._events = Path(settings["events"])
        self._redact: Callable[[str], str] | None = None
        self._markers: list[str] = []
        self._pending: dict[tuple[str, str], dict[str, Any]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._markers = marker_names(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"start": nodeid})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        worker = getattr(report, "worker_id", "")
        key = (worker, report.nodeid)
        if report.when == "setup" or key not in self._pending:
            earlier = self._pending.get(key, {})
            self._pending[key] = new_record(report, getattr(report, "tpr_markers", self._markers), worker, earlier)
        record = self._pending[key]
        self._note(record, report)
        if report.when not in ("setup", "call") and not hasattr(report, "context"):
            del self._pending[key]
            self._write(record)

    def _note(self, record: dict[str, Any], report: pytest.TestReport) -> None:
        if hasattr(report, "context"):  # a subtest: counted beside its test, which fails with it
            kind = outcome_of(report)
            record.setdefault("subtests", {}).setdefault(kind, 0)
            record["subtests"][kind] += 1
            record["outcome"] = worse(record["outcome"], "failed" if report.failed else "passed")
        elif report.when in PHASES:
            record[report.when] = round(report.duration, 6)
        retried = str(report.outcome) == "rerun"  # pytest-rerunfailures' own outcome
        if report.failed or retried:
            record.setdefault("attempts" if retried else "failures", []).append(self._failure(report))
        if not hasattr(report, "context") and not retried:
            record["outcome"] = worse(record["outcome"], outcome_of(report))
            if report.skipped:
                record["reason"] = skip_reason(report)

    def _failure(self, report: pytest.TestReport | pytest.CollectReport) -> dict[str, str]:
        if self._redact is None:
            self._redact = load_module("tpr_events", self._events).redact_text
        kind, text = exception_of(report)
        return {"phase": str(report.when), "type": kind, "text": self._redact(text)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write({"collect_error": report.nodeid, **self._failure(report)})

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._write({"deselected": len(items)})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self._write({"collected": len(session.items)})
        self._write({"registered": registered_markers(session.config), "rootdir": str(session.config.rootpath)})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._write({"collected": len(ids)})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        stop = session.shouldfail or session.shouldstop
        self._write({"exit": int(exitstatus), "stop": str(stop) if stop else None})

    def _write(self, line: dict[str, Any]) -> None:
        with suppress(OSError):  # a full disk must not fail somebody's suite; the missing exit line tells
            os.write(self._fd, (_compact(line) + "\n").encode("utf-8", "backslashreplace"))


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
        scripts = str(Path(script).parent)
        return (
            f"import runpy, sys\nsys.path.insert(0, {scripts!r})\n"
            f"suite = runpy.run_path({script!r}, run_name='tpr_suite')\n"
            f"suite['enter_suite']({path!r}, worker=True)\n"
            "import xdist.remote\n"
            "code = compile(open(xdist.remote.__file__, 'rb').read(), xdist.remote.__file__, 'exec')\n"
            "exec(code, globals())\n"
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

    def pytest_runtestloop(self) -> None:
        coverage = running_coverage()
        self._on = bool(coverage) and not self._measured_hooks(coverage.get_data().measured_files())

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
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self) -> Generator[None]:
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self) -> Generator[None]:
        return (yield from self._phase())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._resume()

    def _phase(self) -> Generator[None]:
        self._resume()
        try:
            return (yield)
        finally:
            self._pause()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
        if call.excinfo is not None:
            self._resume()  # a failure's text calls __repr__ of the code under test
        try:
            return (yield)
        finally:
            self._pause()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        try:
            return (yield)
        finally:
            if report.when == "teardown":
                self._resume()


def running_coverage() -> Any:
    """The coverage measurement that runs in this process, or None."""
    module = sys.modules.get("coverage")
    return module.Coverage.current() if module else None


def marker_names(item: pytest.Item) -> list[str]:
    return sorted({mark.name for mark in item.iter_markers()})


def registered_markers(config: pytest.Config) -> list[str]:
    return sorted({re.split(r"[:(]", line, maxsplit=1)[0].strip() for line in config.getini("markers")})


def new_record(
    report: pytest.TestReport, markers: Iterable[str], worker: str, earlier: dict[str, Any]
) -> dict[str, Any]:
    record: dict[str, Any] = {"id": report.nodeid, "outcome": "passed", "start": round(report.start, 6)}
    record |= {"markers": list(markers), "worker": worker}
    return record | {key: earlier[key] for key in ("attempts",) if key in earlier}


def outcome_of(report: pytest.TestReport) -> str:
    """What pytest itself would call this phase's end: passed, failed, error, skipped, xfailed or xpassed."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "error" if report.when in ("setup", "teardown") else "failed"
    return report.outcome


def worse(known: str, new: str) -> str:
    """A test's outcome is that of its worst phase."""
    order = ("passed", "xpassed", "xfailed", "skipped", "error", "failed")
    return max(known, new, key=order.index)


def skip_reason(report: pytest.TestReport) -> str:
    reason = getattr(report, "wasxfail", "") or (report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
    return str(reason).removeprefix("Skipped: ")


def exception_of(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str]:
    """The exception's type and the report's text, cut in its middle if it is longer than TEXT_LIMIT."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext
    message = crash.message if crash else text
    named = re.match(r"((?:\w+\.)*\w+)(?::|$)", message)
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
