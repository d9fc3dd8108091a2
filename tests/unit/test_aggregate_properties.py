"""aggregate_properties.py: what it makes of recorded runs, without running any."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aggregate_properties as ap
import pytest
from aggregate_properties import Evidence, Plan, Result, Settings, Trial
from events import EvidenceError, Run
from hypothesis import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.unit

SETTINGS = Settings(
    root=Path("/project"),
    runs=3,
    jobs=1,
    seed=7,
    examples=None,
    threshold_ms=1000,
    quiet=False,
    pytest_args=(),
)
FUZZ = replace(SETTINGS, seed=None, examples=50)
PLAN = Plan(1, "run", "tpr", (), 7)
EXAMPLE = {"representation": "test_a(x=9)", "error": "E at /project/t.py:3", "location": "/project/t.py:3"}
FINDING = {**EXAMPLE, "reproduction": "@reproduce_failure('6.1', b'AA==')"}


def result(name: str = "t.py::test_a", outcome: str = "passed", digest: str = "d1", **more: Any) -> Result:
    return Result(name, outcome, digest=digest, **{"seconds": 0.01, "examples": 100, "max_examples": 100} | more)


def trials(*rows: Sequence[Result]) -> list[Trial]:
    """Runs from 1 on, each with these results."""
    return [
        Trial(
            replace(PLAN, number=number),
            results={row.id: row for row in results},
            found=tuple(row.id for row in results),
        )
        for number, results in enumerate(rows, 1)
    ]


def body(*rows: Sequence[Result], settings: Settings = SETTINGS, **more: Any) -> dict[str, Any]:
    return ap.results_body(Evidence(settings, trials(*rows), **more))


def test_records_give_results_and_facts() -> None:
    trial = Trial(PLAN)
    lines = [
        b'{"facts": {"python": "3.11"}}',
        b'{"found": ["a", "b"], "stopped": false, "facts": {"files": {"t.py": "00"}}}',
        b'{"start": "a"}',
        b'{"id": "a", "outcome": "passed", "digest": "d", "stream": [["h1", "a(x=0)", "[0]"]]}',
        b'{"uncollected": {"id": "u.py", "message": "no", "property": false}}',
        b'{"exit": 0, "facts": {"local_modules": {}}}',
    ]
    ap.read_records(trial, lines)
    assert trial.results == {"a": Result("a", "passed", digest="d", stream=[["h1", "a(x=0)", "[0]"]])}
    assert trial.found == ("a", "b")
    assert trial.facts == {"python": "3.11", "files": {"t.py": "00"}, "local_modules": {}}
    assert list(trial.uncollected) == ["u.py"]
    assert (trial.in_flight, trial.exit) == (None, 0)


def test_a_process_that_died_leaves_its_test_in_flight() -> None:
    trial = Trial(PLAN)
    torn = [b'{"id": "a", "outc', b"[1]", b"7", b'{"id": "a", "odd": 1}', b'{"found": 1}', b"[" * 100_000]
    ap.read_records(trial, [b'{"start": "a"}', b'{"trying": "a(x=1)"}', *torn])
    assert (trial.in_flight, trial.trying, trial.exit) == ("a", "a(x=1)", None)


def test_the_commonest_stream_comes_first_and_cut_runs_have_none() -> None:
    rows = {1: result(digest="c"), 2: result(), 3: result(), 4: result(outcome="crashed"), 5: result(digest="a")}
    assert ap.stream_groups(rows) == [(("d1", "passed"), [2, 3]), (("c", "passed"), [1]), (("a", "passed"), [5])]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([result(), result()], []),
        ([result(outcome="skipped")], []),
        ([result(outcome="xfailed"), result(outcome="xfailed")], []),
        ([result(), result(digest="d2")], ["mismatch"]),
        ([result(), result(outcome="falsified")], ["falsified", "mismatch"]),
        ([result(), result(outcome="false_failure", digest="d2")], ["false_failure"]),
        ([result(outcome="crashed"), result(outcome="error")], ["crashed", "error"]),
        ([result(seconds=1.5), result(seconds=0.4)], []),
        ([result(seconds=1.0)], []),
        ([result(seconds=1.7), result(seconds=0.4)], ["slow"]),
    ],
)
def test_what_speaks_against_a_test(rows: list[Result], expected: list[str]) -> None:
    assert ap.problems_of(dict(enumerate(rows)), SETTINGS) == expected


def test_a_search_may_differ_and_take_its_time() -> None:
    assert ap.problems_of({1: result(seconds=9), 2: result(digest="d2")}, FUZZ) == []


def test_runtimes_are_in_milliseconds_and_in_order() -> None:
    rows = {number: result(seconds=number / 1000) for number in range(1, 5)}
    assert ap.runtime_ms(rows) == {"mean": 2.5, "p50": 2.5, "p95": 3.85, "max": 4.0}
    two = {1: result(seconds=0.001), 2: result(seconds=0.0020008)}
    assert ap.runtime_ms(two) == {"mean": 1.5, "p50": 1.5, "p95": 1.951, "max": 2.001}
    assert ap.runtime_ms({1: result(seconds=0.5)}) == dict.fromkeys(("mean", "p50", "p95", "max"), 500.0)
    assert ap.runtime_ms({1: result(outcome="crashed")}) == dict.fromkeys(("mean", "p50", "p95", "max"))
    exact = ap.runtime_ms(dict(enumerate([result(seconds=0.0)] * 6 + [result(seconds=738919.1056505705)] * 2)))
    assert exact["p50"] <= exact["p95"] <= exact["max"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        (result(), result(digest="d2"), "changed"),
        (result(), result(), "unexplained"),
        (result(deaf="@seed"), result(), "seed ignored: @seed"),
        (result(examples=2), result(), "every input tried"),
        (result(outcome="crashed"), result(), "not compared"),
        (result(), None, "not compared"),
    ],
)
def test_what_another_seed_shows(first: Result, other: Result | None, expected: str) -> None:
    assert ap.control_text(first, other) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (("local modules differ: a.b", False, True, True), "local modules differ: a.b"),
        (("", True, True, True), "the same inputs, another outcome"),
        (("", False, True, True), "hash order: with PYTHONHASHSEED=0"),
        (("", False, False, True), "the same choices give other values: wall clock"),
        (("", False, False, False), "other choices are made: wall clock"),
    ],
)
def test_the_likely_cause(facts: tuple[str, bool, bool, bool], expected: str) -> None:
    assert ap.likely_cause(*facts).startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"python": "3.12.1"}, "python: 3.12.1 then, 3.11.7 now"),
        ({"hypothesis": "6.1", "local_modules": {"a": "1"}}, "hypothesis: 6.1 then, 6.2 now"),
        ({"profile": {"derandomize": True, "deadline_ms": None}}, "profile differ: derandomize"),
        ({"local_modules": {"a": "1"}}, "local modules differ: a, b"),
        ({"local_modules": {"a": "1", "b": "0"}}, "local modules differ: a"),
        ({"local_modules": {}}, ""),
        ({}, ""),
    ],
)
def test_the_circumstance_that_differs(change: dict[str, Any], expected: str) -> None:
    now = {"python": "3.11.7", "hypothesis": "6.2", "local_modules": {"a": "0", "b": "0"}}
    now["profile"] = {"derandomize": False, "deadline_ms": None}
    assert ap.changed_fact(now, {**now, **change}) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f(x={2, 1})", "f(x={1, 2})"),
        ("f(x=frozenset({'b, }', \"a'\"}))", "f(x=frozenset({\"a'\", 'b, }'}))"),
        ("f(x=[{1, 2}, {(4, {3, 2})}])", "f(x=[{2, 1}, {(4, {2, 3})}])"),
        ("f()\nDraw 1: ['b', 'a']", "f()\nDraw 1: ['a', 'b']"),
    ],
)
def test_the_order_of_a_set_is_no_part_of_the_inputs(one: str, other: str) -> None:
    assert ap.order_free(one) == ap.order_free(other)
    assert len(ap.order_free(one)) == len(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f(x=[2, 1])", "f(x=[1, 2])"),
        ("f(x={1, 2})", "f(x={1, 3})"),
        ("f()\nDraw 1: 1", "f()\nDraw 1: 2"),
    ],
)
def test_the_order_of_a_list_is_part_of_the_inputs(one: str, other: str) -> None:
    assert ap.order_free(one) != ap.order_free(other)


def test_fixtures_and_addresses_are_no_part_of_the_inputs() -> None:
    text = "test_a(\n    tmp_path=PosixPath(\n        '/tmp/1',\n    ),\n    x=<A object at 0x7f12>,\n)"
    given = ap.lines_of({"self", "tmp_path"})
    assert ap.stable(text.replace("\n    ),", "\n        ),"), given) == "test_a(\n    x=<A object at 0x>,\n)"


def test_without_a_fixture_only_an_address_is_taken_out() -> None:
    assert ap.stable("f(x=<A at 0x7F1aB>, y=1)") == "f(x=<A at 0x>, y=1)"


def test_a_reproduction_line_gives_its_arguments() -> None:
    assert ap.blob_of("@reproduce_failure('6.170.15', b'AEFk')") == ("6.170.15", b"AEFk")


SLOW = errors.DeadlineExceeded(timedelta(seconds=2), timedelta(seconds=1))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AssertionError(), "falsified"),
        (SLOW, "deadline"),
        (errors.FailedHealthCheck(""), "health_check"),
        (errors.Unsatisfiable(""), "unsatisfiable"),
        (errors.Flaky(), "flaky"),
        (errors.FlakyFailure("", [ValueError()]), "flaky"),
        (errors.FlakyFailure("", [SLOW]), "deadline"),
        (errors.InvalidArgument(""), "error"),
        (ExceptionGroup("", [SLOW, ValueError()]), "falsified"),
        (ExceptionGroup("", [ExceptionGroup("", [errors.Unsatisfiable("")])]), "unsatisfiable"),
    ],
)
def test_failures_are_told_apart_by_their_types(error: BaseException, expected: str) -> None:
    assert ap.failure_kind(error) == expected


def report(when: str, outcome: str, **more: Any) -> Any:
    state = {"passed": outcome == "passed", "failed": outcome == "failed", "skipped": outcome == "skipped"}
    return SimpleNamespace(when=when, outcome=outcome, **state, **more)


@pytest.mark.parametrize(
    ("phase", "outcome", "more", "error", "expected"),
    [
        ("call", "passed", {}, None, ("passed", "")),
        ("setup", "skipped", {}, ValueError(), ("skipped", "")),
        ("call", "failed", {}, AssertionError(), ("falsified", "")),
        ("call", "failed", {"wasxfail": ""}, AssertionError(), ("falsified", "")),
        ("call", "skipped", {"wasxfail": ""}, AssertionError(), ("xfailed", "")),
        ("call", "passed", {"wasxfail": ""}, None, ("passed", "")),
        ("call", "failed", {}, SLOW, ("false_failure", "deadline")),
        ("call", "failed", {}, errors.InvalidArgument(""), ("error", "")),
        ("call", "failed", {}, None, ("error", "")),
        ("setup", "failed", {}, SLOW, ("error", "")),
    ],
)
def test_a_failed_call_is_judged_by_its_error_and_any_other_phase_is_an_error(
    phase: str, outcome: str, more: dict[str, str], error: Exception | None, expected: tuple[str, str]
) -> None:
    assert ap.judge(report(phase, outcome, **more), error) == expected


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([("setup", "passed", None), ("call", "passed", None), ("teardown", "passed", None)], ("passed", "")),
        ([("setup", "passed", None), ("call", "failed", ValueError("no"))], ("falsified", "ValueError: no")),
        ([("setup", "failed", ValueError("no"))], ("error", "ValueError: no")),
        ([("call", "passed", None), ("teardown", "failed", ValueError("no"))], ("error", "ValueError: no")),
        ([("setup", "skipped", ValueError("why"))], ("skipped", "ValueError: why")),
        (
            [("call", "rerun", ValueError("no")), ("call", "passed", None)],
            ("false_failure", "passed when repeated after ValueError: no"),
        ),
    ],
)
def test_phases_make_one_outcome(phases: list[tuple[str, str, Exception | None]], expected: tuple[str, str]) -> None:
    now = Result("a")
    for when, outcome, error in phases:
        ap.note_phase(now, report(when, outcome), 0.5, error)
    assert (now.outcome, now.message) == expected
    assert now.seconds == 0.5 * sum(when == "call" for when, _, _ in phases)


@pytest.mark.parametrize(("outcome", "expected"), [("skipped", "xfailed"), ("passed", "passed")])
def test_an_expected_failure_is_no_failure(outcome: str, expected: str) -> None:
    now = Result("a")
    ap.note_phase(now, report("call", outcome, wasxfail="known"), 0.1, ValueError())
    assert now.outcome == expected


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1, True),
        (1 << 1023, False),
        ((1 << 1023) - 1, True),
        ([1, (None, b"x", "y", 0.5, True)], True),
        ([0] * 99, True),
        ([0] * 100, False),
        ([[{1}]], False),
        (object(), False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_repr_says_all_of_short_plain_data(value: Any, plain: bool) -> None:
    assert ap.is_plain(value) is plain


def test_the_artifact_counts_false_failures_apart_and_mismatches_by_test() -> None:
    late = result(outcome="false_failure", kind="deadline", message="DeadlineExceeded")
    found = body([result(), result("b")], [late, result("b", digest="d3")], [result(), result("b")])
    assert found["false_failures"] == {"count": 1, "observed": 6, "percent": 16.6667}
    assert found["mismatches"] == 1
    assert [row["mismatches"] for row in found["per_run"]] == [0, 1, 0]
    assert [row["false_failures"] for row in found["per_run"]] == [0, 1, 0]
    first, second = found["tests"]
    assert (first["id"], first["streams"][1]["runs"]) == ("b", [2])
    assert second["failures"] == [{"kind": "deadline", "runs": [2], "message": "DeadlineExceeded", "example": None}]
    assert second["outcomes"] == {"false_failure": 1, "passed": 2}


def test_the_artifact_keeps_its_shape() -> None:
    found = body([result(invalid=2, deaf="@seed")], [result(digest="d2")])
    zeros = dict.fromkeys("falsified xfailed skipped error crashed false_failures".split(), 0)
    runs = [{"run": number, "seconds": 0.0, "problem": None, "passed": 1, **zeros} for number in (1, 2)]
    streams = [{"digest": digest, "outcome": "passed", "runs": [run]} for run, digest in enumerate(("d1", "d2"), 1)]
    test = {
        "id": "t.py::test_a",
        "problems": ["mismatch"],
        "outcomes": {"passed": 2},
        "examples": {"run": 100, "invalid": 2, "max": 100},
        "falsifying_examples": [],
        "failures": [],
        "runtime_ms": dict.fromkeys(("mean", "p50", "p95", "max"), 10.0),
        "digest": "d1",
        "streams": streams,
        "mismatch": None,
        "seed": 7,
        "seed_ignored": "@seed",
    }
    assert found == {
        "mode": "deterministic",
        "partial": None,
        "seed": 7,
        "runs": 2,
        "jobs": 1,
        "threshold_ms": 1000,
        "pytest_args": [],
        "false_failures": {"count": 0, "observed": 2, "percent": 0.0},
        "mismatches": 1,
        "control": None,
        "circumstances": {},
        "uncollected": [],
        "per_run": [row | {"mismatches": number} for number, row in enumerate(runs)],
        "tests": [test],
    }
    assert body([result()], settings=FUZZ)["mode"] == "fuzz"


def test_of_what_was_only_skipped_there_is_no_rate() -> None:
    assert body([result(outcome="skipped")])["false_failures"] == {"count": 0, "observed": 0, "percent": None}


def test_a_test_that_was_never_run_has_neither_times_nor_streams() -> None:
    first = replace(trials([])[0], found=("a",))
    row = ap.results_body(Evidence(SETTINGS, [first]))["tests"][0]
    assert (row["problems"], row["digest"], row["streams"], row["outcomes"]) == (["missing"], None, [], {})
    assert len(body(*([result(digest=str(number))] for number in range(12)))["tests"][0]["streams"]) == 10


def test_a_falsifying_example_stands_once_with_its_runs_and_whether_it_came_back() -> None:
    row = result(outcome="falsified", message="ValueError: no", falsifying=[FINDING])
    replays = {("t.py::test_a", FINDING["reproduction"]): True}
    (example,) = body([row], [row], replays=replays)["tests"][0]["falsifying_examples"]
    assert example["runs"] == [1, 2]
    assert (example["location"], example["error"], example["seed"]) == ("t.py:3", "ValueError: no", 7)
    assert (example["reproduced"], example["seed_reproduced"]) == (True, None)


def test_a_falsified_test_without_an_example_still_says_why() -> None:
    row = body([result(outcome="falsified", message="ValueError: no")], [result(outcome="error")])["tests"][0]
    assert [(failure["kind"], failure["message"]) for failure in row["failures"]] == [
        ("falsified", "ValueError: no"),
        ("error", ""),
    ]


@pytest.mark.parametrize(
    ("outcome", "partial", "problems"),
    [("passed", None, ["missing"]), ("passed", "interrupted", []), ("crashed", None, ["crashed"])],
)
def test_a_test_that_is_not_in_every_run_is_missing(outcome: str, partial: str | None, problems: list[str]) -> None:
    found = body([result(), result("b", outcome)], [result()], partial=partial)
    assert found["tests"][0]["problems"] == problems


def test_a_search_keeps_the_seed_of_each_test_and_a_run_its_own() -> None:
    assert body([result(seed=99)], settings=FUZZ)["tests"][0]["seed"] == 99
    assert body([result(seed=99)])["tests"][0]["seed"] == 7


@pytest.mark.parametrize("outcome", ["false_failure", "error", "crashed"])
def test_what_went_wrong_is_told_once_with_its_runs(outcome: str) -> None:
    bad = result(outcome=outcome, message="ValueError: no")
    (failure,) = body([bad], [result()], [bad], traces={bad.id: "a(x=5)"})["tests"][0]["failures"]
    example = "a(x=5)" if outcome == "crashed" else None
    assert failure == {"kind": outcome, "runs": [1, 3], "message": "ValueError: no", "example": example}


def test_examples_of_two_failures_have_their_own_errors_and_seeds() -> None:
    other = {
        **FINDING,
        "representation": "test_a(x=8)",
        "error": "ZeroDivisionError at t.py:9 at last",
        "location": None,
    }
    row = result(outcome="falsified", message="2 failures", falsifying=[FINDING, other], seed=99)
    found = body([row], settings=FUZZ, replays={(row.id, "seed"): False})["tests"][0]["falsifying_examples"]
    assert [(one["error"], one["location"], one["seed"]) for one in found] == [
        ("E", "t.py:3", 99),
        ("ZeroDivisionError", None, 99),
    ]
    assert [(one["reproduced"], one["seed_reproduced"]) for one in found] == [(None, False)] * 2


def control(*rows: Result) -> Trial:
    return Trial(replace(PLAN, number=0, purpose="control", seed=8), results={row.id: row for row in rows})


def test_the_control_is_shown_only_if_inputs_are_told_apart() -> None:
    both = [result(), result("b", digest="d2")]
    shown = body(both, control=control(result(digest="x"), result("b", digest="y")))["control"]
    assert shown == {"seed": 8, "changed": 2, "unchanged": {}, "tests": 2, "distinct": 2, "shown": True}
    deaf = body(both, control=control(*both))["control"]
    assert (deaf["shown"], deaf["unchanged"]) == (False, {"b": "unexplained", "t.py::test_a": "unexplained"})
    blind = body([result(), result("b")], control=control(result(digest="x"), result("b", digest="x")))["control"]
    assert not blind["shown"]
    assert not body(both, control=control())["control"]["shown"]
    cut = body([*both, result("c", "crashed", digest="")], control=control(*both))["control"]
    assert (cut["tests"], cut["unchanged"]["c"]) == (2, "not compared")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0),
        ({"partial": "interrupted"}, 2),
        ({"control": {"shown": False}}, 1),
        ({"tests": []}, 2),
        ({"tests": [{"outcomes": {"skipped": 3}, "problems": []}]}, 2),
        ({"tests": [{"outcomes": {"passed": 3}, "problems": ["slow"]}], "partial": "interrupted"}, 1),
    ],
)
def test_the_verdict(change: dict[str, Any], expected: int) -> None:
    held = {"tests": [{"outcomes": {"passed": 3}, "problems": []}], "control": None, "partial": None}
    assert ap.verdict({**held, **change}) == expected


def test_the_table_names_thing_value_and_remedy() -> None:
    odd = {"runs": [3], "compared": [1, 3], "example": 2, "texts": ["a(x=0)", None], "cause": "wall clock"}
    falsified = result("f", "falsified", digest="d2", message="ValueError: no", falsifying=[FINDING])
    crash = result("g", "crashed", message="its process ended with status 7")
    rows = [result(), falsified, crash]
    found = body(
        rows,
        rows,
        [result(digest="dx"), falsified, crash],
        causes={"t.py::test_a": odd},
        traces={"g": "g(x=5)"},
        replays={("f", FINDING["reproduction"]): True},
        control=control(result(digest="x"), replace(falsified, digest="y")),
    )
    assert ap.table(found).splitlines() == [
        "                examples        mean         p95",
        "falsified            100     10.0 ms     10.0 ms  f",
        "crashed              100           -           -  g",
        "mismatch             100     10.0 ms     10.0 ms  t.py::test_a",
        "",
        "runs            3, 1 tests differ",
        "seed            7",
        "false failures  0 of 6",
        "control         seed 8 changes the inputs of 2 of 3 tests",
        "",
        "f: falsified in 3 runs (1, 2, 3): test_a(x=9)",
        "  ValueError: no",
        "  put @reproduce_failure('6.1', b'AA==') above it (fails again in a fresh process); python -m pytest f",
        "",
        "g: crashed in 3 runs (1, 2, 3): its process ended with status 7",
        "  at g(x=5)",
        "",
        "t.py::test_a: 1 run (3) differ from the others, from example 2 on",
        "  run 1: a(x=0)",
        "  run 3: no example",
        "  likely cause: wall clock",
    ]


def test_a_remedy_can_be_pasted_whatever_the_ids_and_paths_hold() -> None:
    odd = result("t.py::test_a['x y']", "falsified", falsifying=[FINDING], seed=99)
    fuzz = replace(FUZZ, pytest_args=("my tests", "-q"))
    table = ap.table(body([odd], settings=fuzz, replays={(odd.id, "seed"): True}))
    pasted = [shlex.split(line) for line in re.findall(r"(?:python -m pytest|from its seed:) (.*)", table)]
    assert pasted == [[odd.id], ["--fuzz", "--examples", "100", "--seed", "99", "--", "my tests", "-q"]]


def test_the_first_example_that_differs_is_shown_with_both_texts() -> None:
    one = [["h", "a(x=0)", "[0]"], ["i", "a(x=1)", "[5]"]]
    other = [["h", "a(x=0)", "[0]"], ["j", "a(x=5)", "[5]"]]
    runs = trials([result(stream=one)], [result(digest="d2", stream=other)], [result()])
    fixed = trials([result(digest="a")], [result(digest="b")])
    row = ap.mismatch_row(Evidence(SETTINGS, runs), "t.py::test_a", fixed)
    assert (row["runs"], row["compared"], row["example"]) == ([2], [1, 2], 2)
    assert row["texts"] == ["a(x=1)", "a(x=5)"]
    assert row["cause"].startswith("the same choices give other values")


def test_streams_part_where_one_has_ended_or_nowhere() -> None:
    one = [["h", "a(x=0)", "[0]"], ["i", "a(x=1)", "[5]"]]
    assert ap.first_difference(one, one[:1]) == (1, one[1], [None] * 3)
    assert ap.first_difference(one, one) == (2, [None] * 3, [None] * 3)


def test_findings_are_replayed_by_line_and_searched_ones_by_seed() -> None:
    second = {**FINDING, "reproduction": "@reproduce_failure('6.1', b'BB==')"}
    found = {"a": result("a", falsifying=[FINDING, second], seed=99), "b": result("b", falsifying=[FINDING])}
    plans = list(ap.replay_plans(replace(PLAN, purpose="replay"), found))
    assert [(plan.keep, dict(plan.blobs), dict(plan.seeds)) for plan in plans] == [
        (("a", "b"), {"a": FINDING["reproduction"], "b": FINDING["reproduction"]}, {}),
        (("a",), {"a": second["reproduction"]}, {}),
        (("a",), {}, {"a": 99}),
    ]
    rows = ([result("a", "falsified"), result("b")], [result("a", "crashed")], [result("a")])
    answers = trials(*rows)
    for trial, plan in zip(answers, plans, strict=True):
        trial.plan = plan
    assert ap.replays_of(answers) == {
        ("a", FINDING["reproduction"]): True,
        ("b", FINDING["reproduction"]): False,
        ("a", second["reproduction"]): True,
        ("a", "seed"): False,
    }


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (Trial(PLAN, problem="status 4"), "/project: status 4"),
        (Trial(PLAN), "/project: expected tests with @given, found none"),
        (
            Trial(PLAN, found=("a",), uncollected={"u.py": {"id": "u.py", "message": "no x", "property": True}}),
            "u.py: cannot be imported: no x",
        ),
    ],
)
def test_without_property_tests_nothing_can_be_told(trial: Trial, expected: str) -> None:
    with pytest.raises(EvidenceError, match=expected):
        ap.require(trial, SETTINGS)


@pytest.mark.parametrize(("name", "kind"), [("hypothesis", ap.NoPropertyError), ("pytest", EvidenceError)])
def test_where_hypothesis_is_not_installed_there_are_no_property_tests(
    name: str, kind: type[EvidenceError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, paper = tmp_path / "records", tmp_path / "paper"
    paper.write_text(json.dumps(asdict(replace(PLAN, records=str(records)))))
    monkeypatch.setattr("importlib.util.find_spec", lambda asked: None if asked == name else sys)
    assert ap.run_tests(str(paper)) == 2
    trial = Trial(PLAN)
    ap.read_records(trial, records.read_bytes().splitlines())
    with pytest.raises(EvidenceError, match=f"{name}: expected it installed, got none; python -m pip") as caught:
        ap.require(trial, SETTINGS)
    assert caught.type is kind


def test_the_other_runs_get_the_files_tests_and_digests_of_the_first() -> None:
    first = Trial(PLAN, found=("a", "b"), facts={"files": {"t.py": "00"}})
    first.results = {"a": result("a", "crashed", digest=""), "b": result("b")}
    plan = ap.plan_of(first)
    assert (plan.keep, plan.files, plan.known) == (("a", "b"), ("t.py",), {"a": "", "b": "d1"})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (7, "its process ended with status 7"),
        (-11, "its process was killed by SIGSEGV"),
        (-99, "its process was killed by signal 99"),
    ],
)
def test_how_a_process_ended(status: int, expected: str) -> None:
    assert ap.how_ended(status) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no output"),
        (
            "start\nERROR: usage: x\npytest: error: unrecognized arguments: -z\n  inifile: None\n",
            "pytest: error: unr",
        ),
        ("E   ModuleNotFoundError: No module named 'x'\n=== 1 error ===\n", "E   ModuleNotFoundError"),
        ("Fatal Python error: Aborted\n", "Fatal Python error: Aborted"),
    ],
)
def test_the_last_words_of_a_process(tmp_path: Path, text: str, expected: str) -> None:
    output = tmp_path / "output.txt"
    output.write_text(text)
    assert ap.last_words(output).startswith(expected)


def test_children_keep_a_clean_project_clean_and_run_every_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("TPR_FAILFAST_MODE", "hard")
    shop = ap.Workshop(Run("aggregate_properties", tmp_path, tmp_path), replace(SETTINGS, runs=30), tmp_path)
    assert shop._env["PYTHONPYCACHEPREFIX"] == str(tmp_path / "pycache")
    assert "PYTHONDONTWRITEBYTECODE" not in shop._env
    assert shop._env["TPR_FAILFAST_MODE"] == "off"
    assert shop._env["HYPOTHESIS_STORAGE_DIRECTORY"] == str(tmp_path / ".hypothesis")


def test_defaults_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPR_SEED", "99")
    monkeypatch.setenv("TPR_PROPERTY_RUNTIME_THRESHOLD_MS", "250")
    settings, artifacts = ap.parse(["--root", str(tmp_path), "--", "tests", "-k", "x"])
    assert (settings.seed, settings.threshold_ms, settings.runs, settings.jobs) == (99, 250, 30, 1)
    assert settings.pytest_args == ("tests", "-k", "x")
    assert artifacts == tmp_path / "artifacts"
    assert ap.parse(["--seed", "5"])[0].seed == 5


def test_a_search_has_no_seed_and_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPR_SEED", "99")
    settings, artifacts = ap.parse(["--root", str(tmp_path), "--fuzz"])
    assert (settings.seed, settings.examples, settings.runs) == (None, ap.FUZZ_EXAMPLES, 1)
    assert artifacts == tmp_path / "artifacts" / "fuzz"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--runs", "0"], "argument --runs: expected a whole number from 1 on, got '0'"),
        (["--runs", "²"], "argument --runs: expected a whole number from 1 on, got '²'"),
        (["--seed", "x"], "argument --seed: expected a whole number from 0 on, got 'x'"),
        (["--threshold-ms", "nan"], "argument --threshold-ms: expected a number above 0, got 'nan'"),
        (["--examples", "5"], "--examples: only with --fuzz"),
        (["--", "--hypothesis-seed=1"], "--hypothesis-seed: expected --seed, before the --"),
        (["tests"], "unrecognized arguments: tests"),
    ],
)
def test_bad_usage_is_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        ap.main(argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"aggregate_properties.py: error: {said}")
    assert error.count("\n") == 1


def test_a_bad_seed_in_the_environment_is_refused_like_a_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TPR_SEED", "x")
    with pytest.raises(SystemExit):
        ap.main([])
    assert "argument --seed: expected a whole number from 0 on, got 'x'" in capsys.readouterr().err


def test_an_artifacts_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert ap.main(["--artifacts", str(tmp_path / "file" / "artifacts")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_temporary_folder_it_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", list)
    assert ap.main(["--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("aggregate_properties.py: error: the temporary folder: No usable ")
