"""The laws of the recorder: one line per finished test, written before the next begins, whatever the test does."""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import conftest as platform
else:
    from root_conftest import platform


pytestmark = pytest.mark.unit
EVENTS = Path(__file__).parents[2] / "scripts" / "tests" / "events.py"


def report(when: str, outcome: str = "passed", name: str = "test_a.py::test_b", **more: Any) -> pytest.TestReport:
    made = pytest.TestReport(
        nodeid=name,
        location=("test_a.py", 1, "test_b"),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=more.pop("longrepr", "E   ValueError: no" if outcome in ("failed", "rerun") else None),
        when=when,  # type: ignore[arg-type]
        duration={"setup": 0.25, "call": 1.5, "teardown": 0.125}.get(when, 0.0),
        start=1763800000.25,
        stop=1763800002.0,
    )
    vars(made).update(more)
    return made


def phases(*outcomes: str, **more: Any) -> list[pytest.TestReport]:
    return [report(when, outcome, **more) for when, outcome in zip(platform.PHASES, outcomes, strict=True)]


@pytest.mark.parametrize(("copied", "ignored"), [(True, [True, True, None, None]), (False, [None] * 4)])
def test_a_project_that_the_scripts_were_copied_into_collects_none_of_theirs(
    copied: bool, ignored: list[bool | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "scripts" / "tests"
    monkeypatch.setattr(platform, "HERE", here)
    monkeypatch.setattr(platform, "COPIED", copied)
    paths = [here, here / "failfast_seeded" / "test_till.py", here.parent, tmp_path / "scripts" / "tests_of_mine"]
    assert [platform.pytest_ignore_collect(path) for path in paths] == ignored


class Node:
    """What the recorder asks of an item or a collector."""

    def __init__(self, name: str = "test_a.py::test_b", *markers: str, parent: Node | None = None) -> None:
        self.nodeid, self.parent, self.asked = name, parent, 0
        self.own_markers = [SimpleNamespace(name=marker) for marker in markers]

    def iter_markers(self) -> Iterator[SimpleNamespace]:
        self.asked += 1
        return iter([*self.own_markers, *(self.parent.iter_markers() if self.parent else ())])


class Recording:
    """A recorder, and the lines that it has written so far."""

    def __init__(self, path: Path, kind: type[platform.Records] = platform.Records) -> None:
        self.path = path
        self.records = kind(path, {"events": str(EVENTS)})

    def begin(self, node: Node, following: Node | None = None) -> None:
        self.records.pytest_runtest_protocol(cast("pytest.Item", node), cast("pytest.Item | None", following))

    def feed(self, *reports: pytest.TestReport) -> list[dict[str, Any]]:
        for one in reports:
            self.records.pytest_runtest_logreport(one)
        return self.lines()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "records.jsonl")


def test_a_record_is_on_disk_when_the_test_has_ended_and_not_before(recording: Recording) -> None:
    recording.begin(Node())
    setup, call, teardown = phases("passed", "passed", "passed")
    assert recording.feed(setup, call) == [{"start": "test_a.py::test_b"}]
    assert recording.feed(teardown)[1:] == [
        {
            "id": "test_a.py::test_b",
            "outcome": "passed",
            "start": 1763800000.25,
            "markers": [],
            "worker": "",
            "setup": 0.25,
            "call": 1.5,
            "teardown": 0.125,
        }
    ]


def test_the_next_test_is_announced_with_the_record_of_the_last_and_taken_back_if_it_never_begins(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, writes = [Node(name) for name in "abc"], Mock(wraps=os.write)
    monkeypatch.setattr(recording.records, "_os_write", writes)
    for node, following in pairwise(nodes):
        recording.begin(node, following)
        recording.feed(*phases("passed", "passed", "passed", name=node.nodeid))
    session = SimpleNamespace(shouldfail="stopping after 1 failures", shouldstop=False)
    recording.records.pytest_sessionfinish(cast("pytest.Session", session), 1)
    lines = recording.lines()
    assert [next(iter(line)) for line in lines] == ["start", "id", "start", "id", "start", "not_begun", "exit"]
    assert (lines[-3], lines[-2]) == ({"start": "c"}, {"not_begun": "c"})
    assert writes.call_count == 1 + len("ab") + 2  # the first start, the tests, the two last lines


@pytest.mark.parametrize("name", ['a::b["\\]', "a::b[\n\x00\u2028ü]", "a::b[\ud800]", "x" * 10_000])
def test_the_spelled_out_line_of_a_passing_test_reads_as_the_encoders(name: str, recording: Recording) -> None:
    reports = phases("passed", "passed", "passed", name=name)
    spelled = json.loads(platform.plain_record(name, reports, ("slow", 'a"b')))
    assert spelled == json.loads(platform._compact(recording.records._record(name, reports, ("slow", 'a"b'))))


@pytest.mark.parametrize(
    ("outcomes", "more", "outcome"),
    [
        (("passed", "failed", "passed"), {}, "failed"),
        (("passed", "passed", "failed"), {}, "error"),
        (("passed", "failed", "failed"), {}, "failed"),
        (("passed", "passed", "passed"), {"wasxfail": "known"}, "xpassed"),
        (("passed", "skipped", "passed"), {"wasxfail": "known"}, "xfailed"),
    ],
)
def test_a_tests_outcome_is_that_of_its_worst_phase(
    outcomes: tuple[str, str, str], more: dict[str, str], outcome: str, recording: Recording
) -> None:
    reports = phases(*outcomes)
    vars(reports[1]).update(more)
    (record,) = recording.feed(*reports)
    assert record["outcome"] == outcome
    assert [found["phase"] for found in record.get("failures", [])] == [
        phase for phase, said in zip(platform.PHASES, outcomes, strict=True) if said == "failed"
    ]


def test_a_failed_set_up_ends_the_test_without_a_call(recording: Recording) -> None:
    (record,) = recording.feed(report("setup", "failed"), report("teardown"))
    assert (record["outcome"], "call" in record, record["failures"][0]["phase"]) == ("error", False, "setup")


def test_a_skip_tells_its_reason(recording: Recording) -> None:
    place = ("test_a.py", 3, "Skipped: not today")
    (record,) = recording.feed(report("setup", "skipped", longrepr=place), report("teardown"))
    assert (record["outcome"], record["reason"]) == ("skipped", "not today")


def test_attempts_that_were_retried_stay_with_the_one_record_of_their_test(recording: Recording) -> None:
    for _ in range(2):
        assert recording.feed(*phases("passed", "rerun", "passed")) == []
    (record,) = recording.feed(*phases("passed", "passed", "passed"))
    assert (record["outcome"], len(record["attempts"]), "failures" in record) == ("passed", 2, False)
    assert record["call"] == 1.5


def test_a_test_retried_to_its_last_attempt_failed(recording: Recording) -> None:
    recording.feed(report("setup", "rerun"), report("teardown"))
    (record,) = recording.feed(*phases("passed", "failed", "passed"))
    assert (record["outcome"], len(record["attempts"]), len(record["failures"])) == ("failed", 1, 1)
    assert record["attempts"][0]["phase"] == "setup"


def test_subtests_are_counted_beside_their_test_which_fails_with_them(recording: Recording) -> None:
    setup, call, teardown = phases("passed", "passed", "passed")
    parts = [report("call", outcome, context=object()) for outcome in ("passed", "failed", "passed")]
    (record,) = recording.feed(setup, *parts, call, teardown)
    assert (record["outcome"], record["subtests"]) == ("failed", {"passed": 2, "failed": 1})
    assert record["call"] == 1.5


def test_workers_that_run_the_same_test_at_once_do_not_mix(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "records.jsonl", platform.DistributedRecords)
    one = phases("passed", "passed", "passed", worker_id="gw0", tpr_markers=["slow"])
    two = phases("passed", "failed", "passed", worker_id="gw1")
    lines = recording.feed(*(part for pair in zip(one, two, strict=True) for part in pair))
    assert [(line["worker"], line["outcome"], line["markers"]) for line in lines] == [
        ("gw0", "passed", ["slow"]),
        ("gw1", "failed", []),
    ]


def test_a_worker_that_crashed_fails_the_test_it_ran(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "records.jsonl", platform.DistributedRecords)
    recording.records.pytest_runtest_logstart("test_a.py::test_b")  # type: ignore[attr-defined]
    recording.feed(report("setup", worker_id="gw0"))
    lines = recording.feed(report("???", "failed", longrepr="worker 'gw0' crashed"))
    assert [line.get("outcome") for line in lines] == [None, "failed"]


def test_markers_of_parents_are_looked_up_once_and_an_items_own_each_time(recording: Recording) -> None:
    module = Node("test_a.py", "slow")
    for name, own in (("a", ()), ("b", ("odd", "slow")), ("c", ())):
        recording.begin(Node(name, *own, parent=module))
        recording.feed(*phases("passed", "passed", "passed", name=name))
    recording.begin(Node("d", parent=Node("test_b.py")))
    ended = [
        line["markers"] for line in recording.feed(*phases("passed", "passed", "passed", name="d")) if "id" in line
    ]
    assert ended == [["slow"], ["odd", "slow"], ["slow"], []]
    assert module.asked == 1


def test_a_report_past_pytests_protocol_has_no_markers_of_another_test(recording: Recording) -> None:
    recording.begin(Node("test_a.py::other", "slow"))
    assert recording.feed(*phases("passed", "passed", "passed"))[-1]["markers"] == []


def test_a_full_disk_does_not_fail_the_suite(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(recording.records, "_os_write", full)
        assert recording.feed(*phases("passed", "passed", "passed", name="lost")) == []
    assert [line["id"] for line in recording.feed(*phases("passed", "failed", "passed", name="kept"))] == ["kept"]


def test_a_suite_that_puts_its_own_write_into_os_loses_no_record(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.write", None)
    recording.begin(Node())
    assert recording.feed(*phases("passed", "passed", "passed"))[-1]["outcome"] == "passed"


def test_a_failures_text_is_redacted_before_it_is_on_disk(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "tellnobody")
    recording.feed(report("setup"), report("call", "failed", longrepr="E  OSError: tellnobody"), report("teardown"))
    text = recording.path.read_text()
    assert "OSError" in text
    assert "tellnobody" not in text


def test_an_id_and_a_reason_are_redacted_before_they_are_on_disk(recording: Recording) -> None:
    node = Node(f"t.py::test_b[ghp_{'a1' * 18}]")
    recording.begin(node, node)
    skipped = report("setup", "skipped", name=node.nodeid, longrepr=("t.py", 1, "Skipped: password=hunter2"))
    lines = recording.feed(skipped, report("teardown", name=node.nodeid))
    assert [lines[0]["start"], lines[1]["id"], lines[2]["start"]] == ["t.py::test_b[[redacted]]"] * 3
    assert lines[1]["reason"] == "password=[redacted]"


def crashed(message: str, text: str = "") -> pytest.TestReport:
    crash = SimpleNamespace(message=message) if message else None
    shown = SimpleNamespace(reprcrash=crash, toterminal=lambda out: out.line(text))
    return report("call", "failed", longrepr=shown)


@pytest.mark.parametrize(
    ("message", "text", "kind"),
    [
        ("ValueError: no", "", "ValueError"),
        ("assert 1 == 2", "", "AssertionError"),
        ("a.b.Odd: x: y", "", "a.b.Odd"),
        ("test_a.test_b.<locals>.Mine: x", "", "test_a.test_b.<locals>.Mine"),
        ("KeyboardInterrupt", "", "KeyboardInterrupt"),
        ("[XPASS(strict)] known", "", "Failed"),
        ("", "import x\nE   ModuleNotFoundError: No module named 'x'", "ModuleNotFoundError"),
        ("", "E     def (\nE         ^\nE   SyntaxError: invalid syntax", "SyntaxError"),
        ("", "something else", "Failed"),
    ],
)
def test_a_failures_type_is_that_of_the_exception(message: str, text: str, kind: str) -> None:
    assert platform.exception_of(crashed(message, text))[0] == kind


def test_an_endless_text_is_cut_in_its_middle() -> None:
    text = platform.exception_of(crashed("ValueError: no", "a" * 70_000 + "b" * 70_000))[1]
    assert platform.TEXT_LIMIT < len(text) < platform.TEXT_LIMIT + 100
    whole = "a" * platform.TEXT_LIMIT
    assert platform.exception_of(crashed("ValueError: no", whole))[1] == whole
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert "characters ...]" in text


def test_registered_markers_are_names_without_their_help() -> None:
    lines = ["slow: takes long", "timeout(seconds, method): ends it", "plain"]
    config = cast("pytest.Config", SimpleNamespace(getini=lambda _name: lines))
    assert platform.registered_markers(config) == ["plain", "slow", "timeout"]


def paused(**hooks: Any) -> platform.TracerPause:
    config = SimpleNamespace(hook=SimpleNamespace(**{name: hooks.get(name) for name in platform.TracerPause.HOOKS}))
    for name in platform.TracerPause.HOOKS:
        functions = [SimpleNamespace(function=function) for function in hooks.get(name, ())]
        setattr(config.hook, name, SimpleNamespace(get_hookimpls=lambda functions=functions: functions))
    return platform.TracerPause(cast("pytest.Config", config))


def test_the_tracer_pauses_only_while_no_hook_between_the_phases_is_measured() -> None:
    hooks = {"pytest_runtest_setup": [test_registered_markers_are_names_without_their_help]}
    assert paused(**hooks)._measured_hooks({__file__})
    assert not paused(**hooks)._measured_hooks({"/elsewhere.py"})
    assert not paused()._measured_hooks({__file__})


def test_the_tracer_is_on_in_every_phase_also_after_a_subtest_and_off_between_them() -> None:
    pause, before = paused(), sys.gettrace()
    pause._on = True

    def tracer(*_: object) -> None:
        return None

    seen = []
    sys.settrace(tracer)
    try:
        pause._pause()
        seen.append(sys.gettrace() is None)
        phase = pause.pytest_runtest_call()
        next(phase)
        seen.append(sys.gettrace() is tracer)
        subtest = pause.pytest_runtest_makereport(cast("pytest.CallInfo[Any]", SimpleNamespace(excinfo=None)))
        for step in (subtest, phase):
            list(step)
            seen.append(sys.gettrace() is (tracer if step is subtest else None))
        pause.pytest_sessionfinish()
        seen.append(sys.gettrace() is tracer)
    finally:
        sys.settrace(before)
    assert seen == [True] * 5


def test_the_tracer_pauses_too_where_a_fail_fast_mode_runs_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loop:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self) -> bool:
            return True

    data = SimpleNamespace(measured_files=set)
    monkeypatch.setattr(platform, "running_coverage", lambda: SimpleNamespace(get_data=lambda: data))
    manager, pause = pytest.PytestPluginManager(), paused()
    manager.register(pause)
    manager.register(Loop())
    assert manager.hook.pytest_runtestloop(session=None) is True
    assert pause._on
