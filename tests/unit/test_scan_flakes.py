"""The scan of past runs: what each file says, what is said of each test, and what is kept between scans."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import sqlite3
import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import pytest
import scan_flakes
from events import LOG_NAME, content_digest, read_artifact, read_log
from flake_corpus import HARD, make
from flake_corpus import write as write_corpus
from scan_flakes import (
    SILENT,
    STORE,
    Child,
    Element,
    Outage,
    Seen,
    UnreadableError,
    Window,
    attempts_of,
    chance_of_groups,
    element_of,
    find_outages,
    group_of,
    is_burst,
    is_outage,
    judge,
    lasting_runs,
    main,
    poisson_tail,
    read_report,
    reason_of,
    split_streaks,
    template,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.unit


# The verdict on one test.


def history(text: str) -> list[Seen]:
    """A history in letters, one run each, a space between commits, `?` before a commit that is not known.

    p passed, f failed, r passed on a rerun, b failed three times, o failed in an outage, x passed in one.
    """
    attempts = {"p": "p", "f": "f", "r": "fp", "b": "fff", "o": "f", "x": "p"}
    seen: list[Seen] = []
    for number, runs in enumerate(text.split()):
        commit = None if runs[0] == "?" else f"commit {number}"
        for run in runs.removeprefix("?"):
            seen.append(Seen(len(seen), commit, attempts[run], run in "ox"))
    return seen


@pytest.mark.parametrize(
    ("runs", "evidence", "failing"),
    [
        ("ppp ppp ppp", "", ()),
        ("ppr ppp", "passed_on_rerun", (2,)),
        ("?p ?r", "passed_on_rerun", (1,)),
        ("r", "passed_on_rerun", (0,)),
        ("pfp ppp", "same_commit", (1,)),
        ("fp ppp", "same_commit", (0,)),
        ("f ppp ppp", "", ()),
        ("p ff p ff p", "across_commits", (1, 2, 4, 5)),
        ("pf ppp", "same_commit", (1,)),
        ("pfp ppp pfr", "passed_on_rerun", (8,)),
        ("ppp f ppp ppp", "across_commits", (3,)),
        ("?p ?f ?p", "across_commits", (1,)),
        ("pp bp pp pb pp", "across_commits", (2, 7)),
        ("pop ppp", "", ()),
        ("oxo", "", ()),
        ("pppppp pofpp ppp", "same_commit", (8,)),
    ],
)
def test_a_test_is_called_by_the_strongest_evidence_against_it(
    runs: str, evidence: str, failing: tuple[int, ...]
) -> None:
    kind = {"": "", "across_commits": "suspected"}.get(evidence, "flaky")
    verdict = judge(history(runs))
    assert (verdict.kind, verdict.evidence, verdict.runs) == (kind, evidence, failing)


@pytest.mark.parametrize(
    ("runs", "breakages"),
    [
        ("pppp ffff ffff", [("regression", (4, 5, 6, 7, 8, 9, 10, 11), True)]),
        ("pppp ffff pppp", [("regression", (4, 5, 6, 7), False)]),
        ("pppp ff pppp pppp", [("regression", (4, 5), False)]),
        ("ppppp f", [("regression", (5,), True)]),
        ("ppppp pffff ffppp ppp", [("outside", (6, 7, 8, 9, 10, 11), False)]),
        ("pfffff fffff ppppp ppppp", [("outside", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), False)]),
        ("bbb bbb", [("broken", (0, 1, 2, 3, 4, 5), True)]),
        ("ffff ffff pppp pppp", [("broken", (0, 1, 2, 3, 4, 5, 6, 7), False)]),
        ("pppp ffff fofx ffff pppp", [("regression", tuple(n for n in range(4, 16) if n != 11), False)]),
    ],
)
def test_failures_that_bunch_are_one_breakage_and_no_flake(runs: str, breakages: list[Any]) -> None:
    verdict = judge(history(runs))
    assert (verdict.kind, [*verdict.breakages]) == ("", breakages)


@pytest.mark.parametrize(
    ("runs", "loose", "bunched"),
    [
        ("pfffpp", [], [[1, 2, 3]]),
        ("pffpp", [[1, 2]], []),
        ("ff", [[0, 1]], []),
        ("fffpff", [[0, 1, 2], [4, 5]], []),
        ("pfpfpffpfp", [[1], [3], [5, 6], [8]], []),
        ("p" * 40 + "f" + "p" * 200 + "ff" + "p" * 200, [[40]], [[241, 242]]),
    ],
    ids=lambda value: None if isinstance(value, list) else f"{value.count('f')} of {len(value)}",
)
def test_failures_that_chance_would_not_bunch_are_taken_out(
    runs: str, loose: list[list[int]], bunched: list[list[int]]
) -> None:
    assert split_streaks([run == "f" for run in runs]) == (loose, bunched)


@pytest.mark.parametrize(
    ("ran", "failed", "lasting"),
    [
        (range(10), {0, 3, 4, 5, 8, 9}, {3, 4, 5}),
        ((1, 5, 9, 12), {5, 9, 12}, {5, 9, 12}),
        ((2, 3), {2, 3}, {2, 3}),
        ((2, 3, 4), {2, 3}, set()),
    ],
)
def test_a_test_fails_for_long_over_three_of_its_runs_or_all(
    ran: Sequence[int], failed: set[int], lasting: set[int]
) -> None:
    assert lasting_runs(ran, failed) == lasting


@pytest.mark.parametrize(
    ("before", "after", "evidence", "runs"),
    [
        ("pppfpppp ppppfppp", "pppppppp ppfppppp", "same_commit", (3, 12, 42)),
        ("ppprpppp pppppppp", "pppppppp pppppppp", "passed_on_rerun", (3,)),
        ("ppp f pppppppp ppp", "pppppppp f ppppppp", "across_commits", (3, 39)),
    ],
)
def test_a_test_that_flakes_beside_a_regression_is_both(
    before: str, after: str, evidence: str, runs: tuple[int, ...]
) -> None:
    verdict = judge(history(f"{before} {'f' * 16} {after}"))
    assert (verdict.evidence, verdict.runs) == (evidence, runs)
    assert [breakage.kind for breakage in verdict.breakages] == ["regression"]


def test_the_chance_of_few_groups_is_that_of_all_orders() -> None:
    orders = {*itertools.permutations("fffppppp")}
    for groups in range(1, 9):
        few = sum(len([*itertools.groupby(order)]) <= groups for order in orders)
        assert math.isclose(chance_of_groups(3, 5, groups), few / len(orders))
    assert chance_of_groups(0, 5, 1) == chance_of_groups(5, 0, 1) == 1


def test_the_poisson_tail_is_the_sum_that_it_stands_for() -> None:
    for count, mean in itertools.product((1, 4, 9), (0.02, 1.0, 7.5)):
        below = math.fsum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count))
        assert math.isclose(poisson_tail(count, mean), 1 - below, rel_tol=1e-6, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("hits", "total", "interval"), [(10, 100, (5.52, 17.44)), (0, 10, (0.0, 27.75)), (10, 10, (72.25, 100.0))]
)
def test_the_interval_is_wilsons(hits: int, total: int, interval: tuple[float, float]) -> None:
    found = wilson(hits, total)
    assert found
    assert tuple(round(bound, 2) for bound in found) == interval
    assert wilson(0, 0) is None


# Outages.


def failures(count: int, why: str = "", first: int = 0) -> dict[str, tuple[str, ...]]:
    return {f"test {first + n}": (why or f"reason {n}",) for n in range(count)}


@pytest.mark.parametrize(
    ("ran", "failed", "kind", "tests"),
    [
        (100, failures(20, "down"), "outage", 20),
        (10, failures(4, "down"), "partial outage", 4),
        (4, failures(3), "outage", 3),
        (1000, failures(30), "partial outage", 30),
        (1000, failures(4), None, 0),
        (1000, failures(3, "down"), None, 0),
        (1000, failures(5, "down"), "partial outage", 5),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, dict) else None,
)
def test_tests_that_fail_together_are_an_outage(
    ran: int, failed: dict[str, tuple[str, ...]], kind: str | None, tests: int
) -> None:
    """By their share, by their number against what is usual, or by one reason that is otherwise new."""
    runs = [{}, failures(1), {}, failures(2), failed, {}, {}, failures(1), {}, {}]
    found = find_outages([ran] * 10, runs, [()] * 10)
    assert found == ([Outage(4, kind, frozenset(failed))] if kind else [])


@pytest.mark.parametrize(
    ("failed", "others", "burst"),
    [
        (12, [3] * 5 + [0] * 4, False),
        (12, [3] * 4 + [0] * 5, True),
        (5, [0] * 3, False),
        (5, [0] * 20, True),
        (5, [0] * 100, True),
        (4, [0] * 100, False),
        (40, [], False),
    ],
)
def test_a_burst_is_more_than_the_median_or_the_number_of_runs_explains(
    failed: int, others: list[int], burst: bool
) -> None:
    assert is_burst(failed, others) is burst


@pytest.mark.parametrize(
    ("ran", "failed", "outage"),
    [
        (25, 5, True),
        (26, 5, False),
        (20, 4, False),
        (6, 3, False),
        (5, 3, True),
        (3, 2, False),
        (10**6, 20_000, True),
    ],
)
def test_an_outage_is_a_fifth_and_five_tests_or_more_than_half_and_three(ran: int, failed: int, outage: bool) -> None:
    assert is_outage(ran, failed) is outage


def test_what_is_usual_is_no_outage() -> None:
    flaky = [failures(12, "busy", first=run) for run in range(10)]
    assert find_outages([1000] * 10, flaky, [()] * 10) == []


def test_tests_that_fail_for_long_make_no_outage() -> None:
    broken = [failures(30, "moved") if run > 5 else {} for run in range(10)]
    lasting = [{*tests} for tests in broken]
    assert find_outages([100] * 10, broken, lasting) == []


# Reasons.


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "at 2026-01-05T07:30:00Z",
            "at Mon, 05 Jan 2026 07:30:00 GMT",
            "at 2026-01-05 07:30:00,123",
            "at 1767598200",
        ],
        ["<A object at 0x7f00deadbeef>", "<A object at 0x7ffe12345678>"],
        ["no /tmp/tmpab12cd9x/orders.db", "no /tmp/tmpzz_9k2q1/orders.db"],
        ["no /tmp/pytest-of-me/pytest-3/test_a0/x.db", "no /tmp/pytest-of-ci/pytest-14/popen-gw2/test_b1/x.db"],
        ["no 0b7c4f2e-1111-4222-8333-abcdefabcdef", "no 9e107d9d-372b-4b6e-9a3c-0123456789ab"],
        ["waited 3.2 seconds", "waited 1500ms", "waited 1m30s"],
        ["lost 10.0.0.1:8080", "lost 192.168.7.77:41234", "lost fd00::1:2"],
        ["order42 is late", "order7 is late"],
        ["worker gw3 died", "worker gw11 died"],
        ["read /home/ann/x", "read /home/bob/x"],
        ["\x1b[31mred\x1b[0m", "red"],
        ["token eyQz81Kd0LmX2pVaR7tY is bad", "token Zk2mN8qW5xT1vB9rL4cH is bad"],
    ],
)
def test_what_changes_from_run_to_run_is_masked(spellings: list[str]) -> None:
    assert len({template(text) for text in spellings}) == 1


@pytest.mark.parametrize(
    "meanings",
    [
        ["[Errno 104] reset", "[Errno 111] reset"],
        ["assert 500 == 200", "assert 429 == 200"],
        ["expected: <200> but was: <503>", "expected: <200> but was: <429>"],
        [
            "502 Server Error: Bad Gateway for url: http://a:1/x",
            "503 Server Error: Unavailable for url: http://a:1/x",
        ],
        ["exit status 3", "exit status 137"],
        ["(1205, 'Lock wait')", "(1213, 'Lock wait')"],
        ["no /tmp/tmpab12cd9x/orders.db", "no /tmp/tmpab12cd9x/users.db"],
        ["ORA-00942: no", "ORA-00001: no"],
        ["HTTP 401 for request", "HTTP 403 for request"],
        ["Utf8Error: no", "Utf16Error: no"],
    ],
)
def test_numbers_and_nouns_that_mean_something_stay(meanings: list[str]) -> None:
    own = [template(f"OperationalError: {text}" if text[0] == "(" else text) for text in meanings]
    assert len({*own}) == len(meanings)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("order42", "order#"),
        ("aBcdefg1", "aBcdefg#"),
        ("aBcD1", "#"),
        ("abCD1", "#"),
        ("qq11", "#"),
        ("MAX2", "MAX#"),
        ("[1], [2]", "#"),
        ("A1B2C3D4E5_orders", "#"),
        ("abcd1", "abcd#"),
        ("abcde1", "#"),
        ("ABCD1", "ABCD#"),
        ("ABCDE1", "#"),
        ("deadbeefcafe", "#"),
        ("OrdeR_7_OrdeR_zz_OrdeR_aa", "#"),
        ("orDer_7_orDer_orDers", "#"),
        ("orDer_7_orDer_orDer_order", "orDer_#_orDer_orDer_order"),
        ("x1y2_z3k4_orders_7a8b9c", "#_orders_#"),
        ("X1Y2_Z3K4_ORDERS_7A8B9C", "#_ORDERS_#"),
        ("aBcDeFgHiJkLmNoPqR", "aBcDeFgHiJkLmNoPqR"),
        ("at +5 or x-3, y[7] and [8]", "at # or x-#, y# and #"),
    ],
)
def test_a_word_with_a_digit_keeps_what_can_be_spoken(text: str, masked: str) -> None:
    """A name loses its number only; hex digits, and letters thrown together with digits, go whole."""
    assert template(text) == masked


def test_a_template_is_its_own_template() -> None:
    texts = ["at 2026-01-05 07:30 by 0x7f00deadbeef", "no /tmp/tmpab12cd9x/orders.db", "exit status 3 of worker gw3"]
    for text in texts:
        assert template(template(text)) == template(text)


@pytest.mark.parametrize(
    ("message", "text", "expected"),
    [
        ("short [+9 more lines; full report in element text]", "E   ValueError: no", "ValueError: no"),
        ("assert 1 == 2", "E   assert 1 == 2\n\nx.py:3: AssertionError", "AssertionError: assert 1 == 2"),
        ("", "Traceback (most recent call last):\n  File 'x'\nKeyError: 'gone'\n", "KeyError: 'gone'"),
        ("cart total is wrong\n  at a.js:3", "long stack", "cart total is wrong"),
        ("Failed", "=== RUN   TestX\n    x_test.go:8: no row\n--- FAIL: TestX", "x_test.go:8: no row"),
        ('failed on teardown with "OSError: shut"', "", "OSError: shut"),
        ('failed on setup with "OSError: shut\nfor good"', "", "OSError: shut for good"),
        ("no", "E   ValueError: no\n\nx.py:3: ValueError", "ValueError: no"),
        ("no", "E   socket.timeout: no\n\nx.py:3: socket.timeout", "socket.timeout: no"),
        ("no", "E   not 1\nE   at all\n\nx.py:3: socket.timeout", "socket.timeout: not 1 at all"),
        ("", "Traceback (most recent call last):\nKeyError: 1\nsocket.timeout: 2\n", "socket.timeout: 2"),
        ("", "", None),
        ("failed", "", None),
    ],
)  # fmt: skip
def test_the_reason_is_what_the_last_exception_says(message: str, text: str, expected: str | None) -> None:
    reason = reason_of("", message, text, "test_x")
    assert (reason and reason[1]) == expected


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("K" * 200, "no", "K" * 100 + ": no"),
        ("a.OSError", "OSError: shut", "OSError: shut"),
        ("E", "m" * 600, "E: " + "m" * 500),
    ],
)
def test_a_reason_begins_with_the_type_and_is_bounded(kind: str, message: str, expected: str) -> None:
    reason = reason_of(kind, message, "", "test_x")
    assert reason
    assert reason[1] == expected


def test_a_reason_ends_with_the_line_that_has_its_third_word() -> None:
    """Words that any assertion has do not count; of a text that says little, eight lines are enough."""
    lines = ["assert expected one", "TWO where", "Three", "four"]
    full, dull = (reason_of("", "\n".join(rows), "", "test_x") for rows in (lines, [*"abcdefghij"]))
    assert (full and full[1], dull and dull[1]) == ("assert expected one TWO where Three", "a b c d e f g h")


def test_a_test_that_names_itself_in_its_message_shares_its_reason() -> None:
    names = {
        "test_first": "test_first",
        "test_second[1]": "test_second[1]",
        "test_third": "test_third[a]",
        "test_a": "test_a",
    }
    reasons = {reason_of("", f"cannot open {said}.sock", "", name) for said, name in names.items()}
    assert {reason[0] for reason in reasons if reason} == {"cannot open #.sock"}
    assert reason_of("", "cannot open check.sock", "", "check") == ("cannot open check.sock",) * 2


# One file.

FAILED, TORN_DOWN = Element("failure", "f"), Element("error", "f", teardown=True)
SKIPPED, RETRIED = Element("skipped", "s"), Element("passed", "fp")


@pytest.mark.parametrize(
    ("tags", "element"),
    [
        ("", SILENT),
        ("skipped", SKIPPED),
        ("failure", FAILED),
        ("error", Element("error", "f")),
        ("error failure", FAILED),
        ("flakyFailure flakyError", Element("passed", "ffp")),
        ("failure rerunFailure rerunError", Element("failure", "fff")),
    ],
)
def test_the_children_of_an_element_are_its_attempts(tags: str, element: Element) -> None:
    reasons = tuple((tag, tag) for tag in tags.split() if tag != "skipped")
    children = [Child(tag, reason=None if tag == "skipped" else (tag, tag)) for tag in tags.split()]
    assert element_of(children) == element._replace(reasons=reasons)


@pytest.mark.parametrize("down", [(True,), (True, True), (True, False)])
def test_an_element_is_of_a_tear_down_if_all_its_children_are(down: tuple[bool, ...]) -> None:
    assert element_of([Child("error", one) for one in down]).teardown is all(down)


@pytest.mark.parametrize(
    ("elements", "retried", "attempts"),
    [
        ([FAILED, TORN_DOWN], False, "f"),
        ([TORN_DOWN], False, "f"),
        ([FAILED, FAILED], False, "ff"),
        ([SILENT, TORN_DOWN], True, "ff"),
        ([FAILED, SILENT], False, "fp"),
        ([SILENT, SILENT], False, "p"),
        ([SILENT, SILENT, FAILED], True, "fff"),
        ([RETRIED, SILENT], False, "fpp"),
        ([SKIPPED, SILENT], True, "p"),
        ([FAILED, SKIPPED], False, "s"),
    ],
)
def test_the_elements_of_one_test_are_its_attempts(elements: list[Element], retried: bool, attempts: str) -> None:
    """A silent twin is a failed attempt where there are retries; a failure and its tear-down's error are one."""
    assert attempts_of(elements, retried) == attempts


@pytest.mark.parametrize(
    ("classname", "file", "pytests", "group"),
    [
        ("tests.test_a.TestB", "tests/test_a.py", True, "tests/test_a.py::TestB"),
        ("tests.test_a.TestB.TestC", "tests\\test_a.py", True, "tests/test_a.py::TestB::TestC"),
        ("tests.test_ab", "tests/test_a.py", False, "tests/test_a.py::tests.test_ab"),
        ("ATest", "a/ATest.php", False, "a/ATest.php::ATest"),
        ("ATest", "/a/ATest.php", False, "ATest"),
        ("ATest", "C:\\a\\ATest.cs", False, "ATest"),
        ("", "/a/x.js", False, "/a/x.js"),
        ("", "a/x.js", False, "a/x.js"),
        ("org.ATest", "", False, "org.ATest"),
        ("tests.test_a", "", False, "tests/test_a.py"),
        ("pkg.mod.Klass.Inner", "", True, "pkg/mod.py::Klass::Inner"),
        ("pkg.mod", "", False, "pkg.mod"),
        ("Not-a-module", "", True, "Not-a-module"),
    ],
)
def test_a_test_is_in_its_module_and_classes_or_in_its_file(
    classname: str, file: str, pytests: bool, group: str
) -> None:
    assert group_of(classname, file, pytests) == group


def case(name: str, inner: str = "", classname: str = "tests.test_a", **more: str) -> str:
    attributes = {"classname": classname, "name": name, "time": "0.001", **more}
    head = "<testcase " + " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
    return f"{head}>{inner}</testcase>" if inner else f"{head} />"


def failed(why: str = "AssertionError: no", tag: str = "failure") -> str:
    return f"<{tag} message={quoteattr(why)}>{escape(why)}</{tag}>"


def junit(*cases: str, commit: str = "", when: str = "", suite: str = "pytest", run_id: str = "") -> str:
    named = {"commit": commit, "run_id": run_id}
    known = "".join(f'<property name="{key}" value={quoteattr(value)}/>' for key, value in named.items() if value)
    head = f'<testsuite name="{suite}"' + (f' timestamp="{when}"' if when else "")
    return f"<testsuites>{head}><properties>{known}</properties>{''.join(cases)}</testsuite></testsuites>"


PYTEST = junit(
    case("test_a"),
    case("test_b[x-1]", failed()),
    case("test_c", '<skipped type="pytest.xfail" message="">no</skipped>'),
    case("test_d", failed(tag="error")),
    case("test_e"),
    case("test_e"),
    case("test_f"),
    case("test_f", failed()),
    case("test_g", failed()),
    case("test_g", '<error message="failed on teardown with &quot;OSError: shut&quot;">E  OSError: shut</error>'),
)
SUREFIRE = (
    '<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="3.0" name="org.ATest" time="1,234.5"'
    ' tests="4" errors="0" skipped="1" failures="1" flakes="1"><properties><property name="java" value="21"/>'
    '</properties><testcase name="recovers" classname="org.ATest" time="NaN"><flakyFailure message="m" type="E">'
    "<stackTrace><![CDATA[E: m]]></stackTrace><system-out>E   ValueError: printed</system-out></flakyFailure>"
    '<flakyError message="m" type="E"/></testcase>'
    '<testcase name="stays" classname="org.ATest"><failure type="org.E"><![CDATA[org.E: <m>]]></failure>'
    '<rerunFailure type="org.E"/><rerunError type="org.E"/></testcase>'
    '<testcase name="later" classname="org.ATest"><skipped/></testcase>'
    '<testcase name="fine" classname="org.ATest" time=""/></testsuite>'
)
GRADLE = (
    '<testsuite name="com.B" tests="3" skipped="1" failures="1" errors="0" timestamp="2026-01-05T07:30:00"'
    ' hostname="h" time="0,5"><properties/><testcase name="ok()" classname="com.B" time="0,01"/><testcase'
    ' name="bad()"'
    ' classname="com.B"><failure message="x" type="org.opentest4j.AssertionFailedError">x at B.java:3</failure>'
    '</testcase><testcase name="off()" classname="com.B"><skipped/></testcase>'
    "<system-out><![CDATA[<testcase/>]]></system-out><system-err/></testsuite>"
)
GOTESTSUM = (
    '<testsuites tests="3" failures="1" errors="0" time="0.1"><testsuite tests="3"'
    ' failures="1" name="example.com/pkg"><properties><property name="go.version"'
    ' value="go1.22"></property></properties>'
    '<testcase classname="example.com/pkg" name="TestA" time="0.000000"></testcase><testcase'
    ' classname="example.com/pkg" name="TestB/x=1"><failure message="Failed" type="">=== RUN   TestB\n'
    '    b_test.go:9: got 3\n--- FAIL: TestB (0.00s)</failure></testcase><testcase classname="example.com/pkg"'
    ' name="TestC"><skipped message="=== RUN TestC"></skipped></testcase></testsuite></testsuites>'
)
JEST = (
    '<testsuites name="jest tests" tests="3" failures="1" errors="0" time="1.1"><testsuite name="sum" errors="0"'
    ' failures="1" skipped="1" timestamp="2026-01-05T07:30:00" tests="3"><testcase classname="sum adds"'
    ' name="sum adds" time="0.003"></testcase><testcase classname="sum fails" name="sum fails"><failure>Error:'
    " expect(received)"
    '.toBe(expected)\n at sum.test.js:4:3</failure></testcase><testcase classname="sum skips" name="sum skips">'
    "<skipped/></testcase></testsuite></testsuites>"
)
PHPUNIT = (
    '<testsuites><testsuite name="Project" tests="3" assertions="3" errors="1"><testsuite name="ATest"'
    ' file="/a/ATest.php"><testcase name="testOne" class="ATest" classname="ATest" file="/a/ATest.php"'
    ' line="7"/><testsuite'
    ' name="ATest::testMany"><testcase name="testMany with data set #0" class="ATest" classname="ATest"'
    ' file="/a/ATest.php"><error type="TypeError">TypeError: no</error></testcase><testcase name="testMany with data'
    ' set #1" class="ATest" classname="ATest" file="/a/ATest.php"/></testsuite></testsuite></testsuite></testsuites>'
)
DIALECTS = {  # document, retried attempts
    "pytest": (PYTEST, 2),
    "pytest xunit1": (PYTEST.replace("classname=", 'file="tests/test_a.py" line="3" classname='), 2),
    "surefire": (SUREFIRE, 4),
    "gradle": (GRADLE, 0),
    "gotestsum": (GOTESTSUM, 0),
    "jest": (JEST, 0),
    "phpunit": (PHPUNIT, 0),
    "no attributes": ("<testsuite><testcase/><testcase><failure/></testcase></testsuite>", 0),
    "a namespace": ('<x:testsuite xmlns:x="urn:j"><x:testcase name="a"><x:error/></x:testcase></x:testsuite>', 0),
    "mixed attributes": ('<testsuite><testcase name="a"/><testcase name="b" classname="c"/></testsuite>', 0),
    "empty suites": ("<testsuites/>", 0),
    "deep but sane": ("<testsuites>" + "<testsuite>" * 50 + case("a") + "</testsuite>" * 50 + "</testsuites>", 0),
}  # fmt: skip


def independent(document: str) -> dict[str, int]:
    """Elements by outcome, counted in a whole tree; a childless twin before another is a retried attempt."""
    cases = [node for node in ElementTree.fromstring(document).iter() if node.tag.rpartition("}")[2] == "testcase"]
    tags = [[child.tag.rpartition("}")[2] for child in node] for node in cases]
    return {
        "tests": len(cases),
        "failed": sum("failure" in kinds for kinds in tags),
        "errored": sum("error" in kinds for kinds in tags),
        "skipped": sum("skipped" in kinds for kinds in tags),
    }


@pytest.mark.parametrize(("document", "rerun"), DIALECTS.values(), ids=DIALECTS)
def test_the_counts_of_any_dialect_are_an_independent_readers(tmp_path: Path, document: str, rerun: int) -> None:
    (tmp_path / "run.xml").write_text(document, "utf-8")
    report = read_report(tmp_path / "run.xml", lambda *_: "")
    expected = independent(document)
    assert {name: getattr(report, name) for name in expected} == expected
    assert report.rerun == rerun
    known = report.failed + report.errored + report.skipped + report.passed
    assert known + (2 if document.count("test_e") else 0) == report.tests  # a retried attempt is no test that passed


ENCODINGS = {
    "utf-8 with a mark": ("utf-8-sig", "UTF-8"),
    "utf-16": ("utf-16", "UTF-16"),
    "utf-16 big-endian": ("utf-16-be", "UTF-16BE"),
    "latin-1": ("iso-8859-1", "ISO-8859-1"),
    "windows-1252": ("windows-1252", "windows-1252"),
}


@pytest.mark.parametrize(("codec", "declared"), ENCODINGS.values(), ids=ENCODINGS)
def test_a_name_is_the_same_in_every_encoding(tmp_path: Path, codec: str, declared: str) -> None:
    document = f'<?xml version="1.0" encoding="{declared}"?>' + junit(case("test_größe", failed("ValueError: é")))
    (tmp_path / "run.xml").write_bytes(document.encode(codec))
    report = read_report(tmp_path / "run.xml", lambda *_: "")
    assert [record.test.partition("\0")[2] for record in report.records] == ["test_größe"]
    assert [*report.examples.values()] == ["ValueError: é"]


@pytest.mark.parametrize(("twice", "retried"), [(12, 12), (30, 0)], ids=["few tests twice", "most tests twice"])
def test_a_suite_that_ran_twice_is_no_retry(tmp_path: Path, twice: int, retried: int) -> None:
    cases = [case(f"test_{number}") for number in range(40)]
    (tmp_path / "run.xml").write_text(junit(*cases, *cases[:twice]))
    assert read_report(tmp_path / "run.xml", lambda *_: "").rerun == retried


def test_raw_control_characters_are_read_past(tmp_path: Path) -> None:
    (tmp_path / "run.xml").write_bytes(junit(case("a", "<failure>\x08\x1b[31mno</failure>")).encode())
    assert read_report(tmp_path / "run.xml", lambda *_: "").failed == 1


def bomb(levels: int) -> str:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, levels))
    return (
        f'<!DOCTYPE testsuite [<!ENTITY e0 "ha">{entities}]><testsuite><testcase name="&e{levels - 1};"/></testsuite>'
    )


HOSTILE: dict[str, tuple[bytes, str]] = {
    "an entity bomb": (bomb(12).encode(), "refused: DTDForbidden"),
    "an external entity": (
        b'<!DOCTYPE t [<!ENTITY x SYSTEM "secret.txt">]><testsuite><testcase name="&x;"/></testsuite>',
        "refused",
    ),
    "an external DTD": (
        b'<!DOCTYPE testsuite SYSTEM "x.dtd"><testsuite><testcase name="&e;"/></testsuite>',
        "refused",
    ),
    "NUL bytes": (junit(case("a")).replace("test_a", "te\0st").encode(), "not well-formed"),
    "truncated": (junit(case("a")).encode()[:-9], "not well-formed"),
    "two documents": ((junit(case("a")) * 2).encode(), "not well-formed"),
    "nested deep": (b"<testsuites>" + b"<testsuite>" * 300, "nested more than"),
    "nested very deep": (b"<testsuites>" + b"<a>" * 500_000, "nested more than"),
    "gzip": (gzip.compress(junit(case("a")).encode()), "gzip"),
    "HTML": (b"<!doctype html><html><body>502</body></html>", "not well-formed: syntax error"),
    "XHTML": (b"<html><body>502</body></html>", "not JUnit"),
    "empty": (b"", "empty"),
    "text": (b"502 Bad Gateway", "not well-formed"),
    "an unknown encoding": (b'<?xml version="1.0" encoding="klingon"?><testsuite/>', "encoding"),
    "an odd encoding": (b'<?xml version="1.0" encoding="zlib"?><testsuite/>', "encoding"),
    "one endless tag": (b'<testsuite name="' + b"x" * (6 << 20), "a single tag"),
    "ever new names": (
        b"<testsuite>" + b"".join(b"<n%d/>" % n for n in range(30_000)) + b"</testsuite>",
        "different names",
    ),
}


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_for_its_reason_in_bounded_time(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "secret.txt").write_text("hunter2")
    (tmp_path / "run.xml").write_bytes(data)
    start = time.process_time()
    with pytest.raises(UnreadableError, match=reason) as caught:
        read_report(tmp_path / "run.xml", lambda *_: "")
    assert time.process_time() - start < 5
    assert "hunter2" not in str(caught.value)


def test_a_file_cut_at_any_byte_is_refused_or_read(tmp_path: Path) -> None:
    data = SUREFIRE.encode()
    for end in range(len(data)):
        (tmp_path / "run.xml").write_bytes(data[:end])
        with pytest.raises(UnreadableError):
            read_report(tmp_path / "run.xml", lambda *_: "")


def taken(into: list[str], text: str) -> str:
    into.append(text)
    return text


def test_names_of_tests_leave_memory_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_flakes, "MAX_NAMES", 500)
    (tmp_path / "run.xml").write_text(junit(*(case(f"test_{number}") for number in range(9_000))))
    kept: list[str] = []
    report = read_report(tmp_path / "run.xml", lambda _, names: taken(kept, names))
    portions = [names.count("\0") for names in kept]
    assert (report.tests, report.ran, sum(portions)) == (9_000, 9_000, 9_000)
    assert max(portions) < 2_500  # a portion and what one chunk of the file holds


def test_a_long_text_is_not_held_in_memory(tmp_path: Path) -> None:
    texts = f"<failure>{'x y ' * 4_000_000}</failure><system-out>{'z' * 8_000_000}</system-out>"
    (tmp_path / "run.xml").write_text(junit(case("test_long", texts)))
    tracemalloc.start()
    report = read_report(tmp_path / "run.xml", lambda *_: "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.failed == 1
    assert peak < 10 << 20


# A folder of runs.


def put(folder: Path, *runs: str) -> Path:
    """Runs 0, 1, ... as files of a folder."""
    folder.mkdir(exist_ok=True)
    for number, document in enumerate(runs):
        (folder / f"run-{number}.xml").write_text(document, "utf-8")
    return folder


def scan(folder: Path, last: int = 30, since: str | None = None) -> dict[str, Any]:
    return scan_flakes.scan(folder, True, Window(last, since), lambda _: None)


def flipping(*names: str, classname: str = "tests.test_a", **more: str) -> list[str]:
    """Three runs of one commit; the tests fail in the middle one."""
    fine = [case(name, classname=classname, **more) for name in names]
    others = [case(f"test_other_{n}") for n in range(40)]
    bad = [case(name, failed(f"ValueError: {n}"), classname, **more) for n, name in enumerate(names)]
    days = ("2026-01-01T00:00:00", "2026-01-02T00:00:00", "2026-01-03T00:00:00")
    return [junit(*c, *others, commit="abc", when=w) for c, w in zip((fine, bad, fine), days, strict=True)]


def test_a_report_says_what_was_seen_of_a_flaky_test(tmp_path: Path) -> None:
    body = scan(put(tmp_path / "history", *flipping("test_x[1]")))
    (row,) = body["flaky"]
    assert (
        row.items()
        >= {
            "id": "tests/test_a.py::test_x[1]",
            "evidence": "same_commit",
            "why": "failed 1 of 3 runs on unchanged commits",
            "passes": 2,
            "failures": 1,
            "flip_rate": 1.0,
            "last_failed": "2026-01-02T00:00:00.000000Z",
            "strip": ".F.",
        }.items()
    )
    assert body["rate"] == {"flaky": 1, "observed": 41, "percent": 2.439, "ci95": [0.4319, 12.5951]}
    (cluster,) = body["clusters"]
    assert (
        cluster.items()
        >= {
            "signature": row["signatures"][0],
            "template": "ValueError: #",
            "count": 1,
            "tests": [row["id"]],
            "runs": ["run-1.xml"],
            "first_seen": "2026-01-02T00:00:00.000000Z",
            "example": "ValueError: 0",
        }.items()
    )
    assert (
        body["runs"][1].items()
        >= {
            "file": "run-1.xml",
            "run_id": "run-1",
            "commit": "abc",
            "tests": 41,
            "passed": 40,
            "failed": 1,
            "set_aside": None,
        }.items()
    )


@pytest.mark.parametrize(
    ("broken", "kind"), [(3, "flaky"), (40, "")], ids=["three tests of forty-three", "forty of eighty"]
)
def test_an_outage_is_set_aside_and_calls_nobody_flaky(tmp_path: Path, broken: int, kind: str) -> None:
    body = scan(put(tmp_path / "history", *flipping(*(f"test_{n}" for n in range(broken)))))
    assert {row["id"] for row in body["flaky"]} == {f"tests/test_a.py::test_{n}" for n in range(broken) if kind}
    note = f"outage: {broken} of {broken + 40} tests failed together: ValueError: #"
    assert body["runs"][1]["set_aside"] == (None if kind else note)


def test_a_run_of_changed_files_is_like_no_other_of_its_commit(tmp_path: Path) -> None:
    runs = flipping("test_x")
    runs[1] = runs[1].replace("</properties>", '<property name="dirty" value="true"/></properties>')
    body = scan(put(tmp_path / "history", *runs))
    assert (body["flaky"], [row["id"] for row in body["suspected"]]) == ([], ["tests/test_a.py::test_x"])


IDS = {
    "case": (["test_x", "test_X"], {}, ["tests/test_a.py::test_X", "tests/test_a.py::test_x"]),
    "line breaks": (["a\nb", "a b"], {}, ["tests/test_a.py::a\nb", "tests/test_a.py::a b"]),
    "terminal escapes": (["a\x9b31m"], {}, ["tests/test_a.py::a\x9b31m"]),
    "Markdown": (["a|b`c`<b>"], {}, ["tests/test_a.py::a|b`c`<b>"]),
    "parameters": (["t[a::b]", "t[a.b]"], {}, ["tests/test_a.py::t[a.b]", "tests/test_a.py::t[a::b]"]),
    "a class": (["test_x"], {"classname": "a.test_b.TestC.TestD"}, ["a/test_b.py::TestC::TestD::test_x"]),
    "another tool": (["x"], {"classname": "org.Test", "file": "src/Test.java"}, ["src/Test.java::org.Test::x"]),
}


@pytest.mark.parametrize(("names", "more", "expected"), IDS.values(), ids=IDS)
def test_ids_stay_apart_and_are_those_that_people_know(
    tmp_path: Path, names: list[str], more: dict[str, str], expected: list[str]
) -> None:
    runs = [run.replace("\n", "&#10;") for run in flipping(*names, **more)]
    assert [row["id"] for row in scan(put(tmp_path / "history", *runs))["flaky"]] == sorted(expected)


def test_two_tests_of_one_name_in_two_files_stay_apart(tmp_path: Path) -> None:
    """Jest and PHPUnit give the file; the failure of one is not the other's."""
    runs = []
    for run in range(3):
        cases = [case("adds", failed() if run == 1 and n else "", "sum", file=f"{n}/sum.test.js") for n in range(2)]
        runs.append(junit(*cases, commit="abc", suite="jest"))
    assert [row["id"] for row in scan(put(tmp_path / "h", *runs))["flaky"]] == ["1/sum.test.js::sum::adds"]


def test_a_test_is_the_same_with_its_file_and_without(tmp_path: Path) -> None:
    runs = flipping("test_x")
    runs[1] = runs[1].replace("classname=", 'file="tests/test_a.py" classname=')
    body = scan(put(tmp_path / "history", *runs))
    assert (body["tests_observed"], [row["evidence"] for row in body["flaky"]]) == (41, ["same_commit"])


def test_what_would_act_on_a_terminal_is_shown_as_an_escape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "history", *flipping("a\x9b31m&#10;::error::x"))
    assert main(["--history", str(tmp_path / "history"), "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x9b" not in out
    assert not any(line.startswith("::") for line in out.splitlines())


# What is kept.


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are parsed from here on."""
    parsed: list[str] = []
    read = scan_flakes.read_report

    def counting(path: Path, keep: Callable[[str, str], str]) -> Any:
        parsed.append(path.name)
        return read(path, keep)

    monkeypatch.setattr(scan_flakes, "read_report", counting)
    return parsed


def test_a_file_is_parsed_once_and_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    (folder / "bad.xml").write_text("<")
    parsed = counted(monkeypatch)
    first = scan(folder)
    assert sorted(parsed) == ["bad.xml", "run-0.xml", "run-1.xml", "run-2.xml"]
    assert scan(folder) == first
    assert len(parsed) == 4
    (folder / "run-1.xml").write_text(flipping("test_x")[0].replace("01-01", "01-02"))
    assert scan(folder)["flaky"] == []
    assert parsed[4:] == ["run-1.xml"]


def execute(statement: str) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        with sqlite3.connect(store) as db:
            db.execute(statement)
        db.close()

    return damage


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "missing": lambda store: store.unlink(),
    "empty": lambda store: store.write_bytes(b""),
    "not a database": lambda store: store.write_bytes(b"\0garbage" * 999),
    "cut in half": lambda store: os.truncate(store, store.stat().st_size // 2),
    "another version": execute("UPDATE version SET reader = 'older'"),
    "a changed report": execute("UPDATE files SET body = replace(body, 'ValueError', 'TypeError')"),
    "a report that is no JSON": execute("UPDATE files SET body = 'x'"),
    "a lost list": execute("DELETE FROM lists"),
    "a changed list": execute("UPDATE lists SET body = replace(body, 'test_other', 'test_another')"),
    "no tables": execute("DROP TABLE files"),
    "a folder": lambda store: store.rename(store.with_suffix(".old")).with_name(STORE).mkdir(),
    "a link": lambda store: store.rename(store.with_suffix(".old")).with_name(STORE).symlink_to("nowhere"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_whatever_happened_to_what_is_kept_the_report_is_the_same(
    tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    fresh = scan(folder)
    damage(folder / STORE)
    assert scan(folder) == fresh
    assert scan(folder) == fresh


def test_what_belongs_to_files_that_are_gone_is_dropped(tmp_path: Path) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    (folder / "old.xml").write_text(junit(case("test_gone", classname="old.test_old")))
    scan(folder)
    (folder / "old.xml").unlink()
    scan(folder)
    with sqlite3.connect(folder / STORE) as db:
        kept = [*db.execute("SELECT * FROM files"), *db.execute("SELECT * FROM lists")]
    db.close()
    assert "test_other_7" in str(kept)
    assert "test_gone" not in str(kept)


def test_a_file_that_goes_while_the_folder_is_read_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    there = [(place, names, [*files, "gone.xml"]) for place, names, files in os.walk(folder)]
    monkeypatch.setattr(os, "walk", lambda *_, **__: there)
    assert not scan(folder)["unreadable"]


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    with sqlite3.connect(folder / STORE) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE held (x)")
        other.commit()
        monkeypatch.setattr(sqlite3, "connect", impatient(sqlite3.connect))
        assert len(scan(folder)["flaky"]) == 1
    other.close()


def impatient(connect: Callable[..., Any]) -> Callable[..., Any]:
    return lambda path, **more: connect(path, **(more | {"timeout": 0.01}))


def test_a_package_too_large_for_memory_is_counted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(
        tmp_path / "history", *flipping("test_x"), junit(case("test_new"), case("test_x"), case("test_other_3"))
    )
    usual = scan(folder)
    monkeypatch.setattr(scan_flakes, "MAX_NAMES", 3)
    assert scan(folder) == usual
    assert usual["tests_observed"] == 42


# The folder and the window.


def test_what_cannot_be_read_is_named_and_the_scan_goes_on(tmp_path: Path) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    (folder / "folder.xml").mkdir()
    os.mkfifo(folder / "fifo.xml")
    (folder / "loop.xml").symlink_to(folder / "loop.xml")
    (folder / "circle").symlink_to(folder)
    (tmp_path / "outside.xml").write_text(junit(case("test_outside")))
    (folder / "away.xml").symlink_to(tmp_path / "outside.xml")
    (folder / "part.xml.gz").write_bytes(gzip.compress(b"<testsuite/>"))
    (folder / os.fsdecode(b"latin-\xe9.xml")).write_text("<testsuite/>")
    (folder / "notes.txt").write_text("no XML")
    (folder / "nested").mkdir()
    (folder / "nested" / "bad.xml").write_text("<testsuite>")
    body = scan(folder)
    reasons = {row["file"]: row["reason"] for row in body["unreadable"]}
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "away.xml": "a link, a folder or a device; only regular files are read",
        "fifo.xml": "a link, a folder or a device; only regular files are read",
        "folder.xml": "a link, a folder or a device; only regular files are read",
        "latin-\udce9.xml": "its name is not UTF-8; rename it",
        "loop.xml": "a link, a folder or a device; only regular files are read",
        "nested/bad.xml": "not well-formed",
        "part.xml.gz": "gzip, not XML",
    }
    assert (len(body["runs"]), len(body["flaky"]), body["tests_observed"]) == (3, 1, 41)


def test_the_window_is_the_last_runs_by_their_time(tmp_path: Path) -> None:
    runs = [junit(case("a"), when=f"2026-01-{day:02}T00:00:00+01:00") for day in range(1, 13)]
    folder = put(tmp_path / "history", *reversed(runs))
    assert [row["file"] for row in scan(folder, last=3)["runs"]] == ["run-2.xml", "run-1.xml", "run-0.xml"]
    recent = scan(folder, since="2026-01-10T23:00:00.000000Z")["runs"]
    assert [row["timestamp"][:13] for row in recent] == ["2026-01-10T23", "2026-01-11T23"]


def test_runs_of_one_moment_are_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    runs = [junit(case("a"), when="2026-01-01T00:00:00")] * 12
    assert [row["file"] for row in scan(put(tmp_path / "history", *runs))["runs"]][-2:] == [
        "run-10.xml",
        "run-11.xml",
    ]


def test_a_run_without_a_time_has_that_of_its_file(tmp_path: Path) -> None:
    folder = put(tmp_path / "history", junit(case("a"), when="last Tuesday"))
    os.utime(folder / "run-0.xml", (1_000_000_000, 1_000_000_000))
    assert scan(folder)["runs"][0]["timestamp"] == "2001-09-09T01:46:40.000000Z"


@pytest.mark.parametrize("seed", [1, 2])
def test_verdicts_on_a_history_of_known_truth_can_be_believed(tmp_path: Path, seed: int) -> None:
    corpus = make(replace(HARD, tests=300, runs=40, outside=6, flaky=0.05), seed)
    write_corpus(corpus, tmp_path)
    found = {row["id"] for row in scan(tmp_path, last=100)["flaky"]}
    truth = {corpus.ids[test] for test in corpus.flaky}
    assert found <= truth
    assert len(found) >= 0.8 * len(truth)


# The command.


def run(tmp_path: Path, *argv: str) -> int:
    return main(["--root", str(tmp_path), "--artifacts", str(tmp_path / "artifacts"), *argv])


def events(tmp_path: Path) -> list[dict[str, Any]]:
    reading = read_log(tmp_path / "artifacts" / LOG_NAME)
    assert reading.problems == []
    return [event for event in reading.events if event["event"] == "flake_scan_complete"]


def test_without_a_history_it_says_so_with_null_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    assert "nothing is known about flakes yet" in capsys.readouterr().out
    report = read_artifact(tmp_path / "artifacts" / "flake.report.json")
    assert report["rate"] == {"flaky": 0, "observed": 0, "percent": None, "ci95": None}
    (event,) = events(tmp_path)
    assert (event["status"], event["runs"], event["percent"]) == ("ok", 0, None)


def test_the_event_counts_what_the_report_says(tmp_path: Path) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    (folder / "bad.xml").write_text("")
    assert run(tmp_path, "--history", str(folder), "--quiet") == 0
    (event,) = events(tmp_path)
    assert event.items() >= {
        "status": "ok", "runs": 3, "unreadable": 1, "flaky": 1, "suspected": 0, "clusters": 1, "set_aside": 0,
        "tests_observed": 41, "percent": 2.439,
    }.items()  # fmt: skip


def test_json_on_standard_output_is_the_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    assert run(tmp_path, "--history", str(folder), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == read_artifact(tmp_path / "artifacts" / "flake.report.json")
    assert document["sha256"] == content_digest(document)


def test_the_table_puts_the_worst_first_with_evidence_strip_and_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = flipping("test_x", "test_y")
    runs.append(runs[1].replace("01-02", "01-04").replace('name="test_x"', 'name="test_z"'))
    folder = put(tmp_path / "history", *runs)
    assert run(tmp_path, "--history", str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    first = lines.index("  tests/test_a.py::test_y")
    assert first < lines.index("  tests/test_a.py::test_x")
    assert lines[first + 1].startswith("    .F.F  failed 2 of 4 runs on unchanged commits, last ")
    assert lines[first + 1].endswith("]")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--last", "0"], "expected a number from 1 on"),
        (["--last", "many"], "expected a number from 1 on"),
        (["--since", "someday"], "expected a date"),
        (["--history", "absent"], "expected a folder of JUnit files, got nothing"),
        (["--history", __file__], "expected a folder of JUnit files, got a file"),
    ],
)
def test_what_cannot_be_told_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    try:
        code = run(tmp_path, *argv)
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_since_takes_a_date_or_an_age(tmp_path: Path) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    for since, runs in (("2026-01-03", 1), ("2026-01-02T00:00:00+00:00", 2), ("9999w", 3), ("1h", 0)):
        assert run(tmp_path, "--history", str(folder), "--since", since, "--quiet") == 0
        assert events(tmp_path)[-1]["runs"] == runs


def test_an_interrupted_scan_keeps_what_it_read_and_logs_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path / "history", *flipping("test_x"))
    read = scan_flakes.read_report

    def interrupted(path: Path, keep: Callable[[str, str], str]) -> Any:
        if path.name == "run-2.xml":
            raise KeyboardInterrupt
        return read(path, keep)

    monkeypatch.setattr(scan_flakes, "read_report", interrupted)
    assert run(tmp_path, "--history", str(folder)) == 2
    assert events(tmp_path)[-1].items() >= {"status": "error", "reason": "interrupted; what was read is kept"}.items()
    monkeypatch.setattr(scan_flakes, "read_report", read)
    parsed = counted(monkeypatch)
    assert run(tmp_path, "--history", str(folder)) == 0
    assert parsed == ["run-2.xml"]
