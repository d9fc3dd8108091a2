"""enforce_gates.py: never red for deleted code, never green on half the data, never a roll-back on three samples."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import enforce_gates as gates
import pytest
from enforce_gates import FAIL, FIRED, PASS, QUIET, UNKNOWN, Case, Counts, Ladder, main
from events import EvidenceError, Run, read_artifact, read_log
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.unit
TODAY = date(2026, 3, 1)
LADDER = """\
# a comment
schema_version: '1.0'
baseline:
  line: 90.0
  branch: 80.0
  commit: 0123456789abcdef0123456789abcdef01234567
  recorded: '2026-01-01'
target:
  line: 92.0
  branch: 82.0
tolerance: 1
horizon: '2026-04-01'
"""
quick = settings(max_examples=60, deadline=None, database=None)


def ladder(text: str = LADDER) -> Ladder:
    return gates.read_ladder(text.encode(), "coverage-ladder.yaml")


@pytest.mark.parametrize(
    "text",
    [
        LADDER,
        LADDER.replace("\n", "\r\n"),
        "\ufeff" + LADDER,
        LADDER.replace("'2026-01-01'", "2026-01-01").replace("'1.0'", "1.0"),
        LADDER.replace("90.0", "9.0e+1").replace("tolerance: 1", "tolerance: 1.00"),
        LADDER.replace("target:\n  line: 92.0\n  branch: 82.0", "target: {line: 92, branch: 82.}"),
        "%YAML 1.1\n---\n" + LADDER + "...\n",
        LADDER.replace("'2026-01-01'", "&day '2026-01-01'").replace("line: 90.0", "line: !!float 90"),
    ],
    ids=["as written", "CRLF", "BOM", "unquoted", "exponent", "flow mapping", "document marks", "anchor and tag"],
)
def test_a_ladder_reads_the_same_however_it_is_spelled(text: str) -> None:
    assert ladder(text) == ladder()


@pytest.mark.parametrize("null", ["null", "Null", "NULL", "~", ""])
def test_a_ladder_may_leave_branches_and_commit_out_and_give_a_reason(null: str) -> None:
    text = (
        LADDER.replace("branch: 80.0", f"branch: {null}").replace("branch: 82.0", "branch: ~")
        + 'reason: "moved\\nout"\n'
    )
    read = ladder(text.replace("commit: 0123456789abcdef0123456789abcdef01234567", "commit: null"))
    assert (read.baseline, read.target) == ({"line": Fraction(90)}, {"line": Fraction(92)})
    assert read.reason == "moved\nout"


def test_a_point_may_always_be_lost() -> None:
    text = LADDER.replace("line: 90.0", "line: 0.5")
    assert ladder(text).tolerance == 1
    with pytest.raises(EvidenceError, match=r"line, got 1\.01: a drop could never fail"):
        ladder(text.replace("tolerance: 1", "tolerance: 1.01"))


NO_NUMBERS = "ninety '90' yes null .nan .inf -.inf 100.01 -1 1e999999999 0o132 090 1:30 9_0 ٩٠".split()
REFUSED = [
    *(
        (f"line: {text}", "line: 90.0", f"line: {text}", "line 4: baseline.line: expected a number")
        for text in NO_NUMBERS
    ),
    ("empty", "line: 92.0", "line:", "line 9: target.line: expected a number from 0 to 100, got nothing"),
    ("long", "line: 90.0", f"line: {'9' * 70}", f"a number from 0 to 100, got {'9' * 59}…; mend it"),
    ("list", "line: 90.0", "line: [90]", "line 4: baseline.line: expected one value"),
    ("mapping", "tolerance: 1", "tolerance: {line: 1}", "line 11: tolerance: expected one value"),
    ("scalar section", "target:\n  line: 92.0\n  branch: 82.0", "target: 92", "line 8: target: expected keys"),
    (
        "unknown key",
        "tolerance: 1",
        "tolerence: 1",
        "line 11: tolerence: unknown key; known are schema_version, baseline.line, ",
    ),
    ("unknown key below", "branch: 82.0", "branches: 82", "line 10: target.branches: unknown key"),
    ("key that is no word", "tolerance: 1", "[1]: 1", "line 11: [not a word]: unknown key"),
    ("merge key", "branch: 82.0", "<<: {branch: 82}", "line 10: target.<<: unknown key"),
    ("key again", "tolerance: 1", "tolerance: 1\ntolerance: 9", "line 12: tolerance: given twice, first in line 11"),
    ("section again", "tolerance: 1", "baseline: {line: 1}", "line 11: baseline: given twice, first in line 3"),
    ("missing key", "tolerance: 1\n", "", "line 1: tolerance: missing"),
    ("alias", "line: 90.0", "line: *x", "line 4: expected YAML: found undefined alias"),
    ("object tag", "line: 90.0", "line: !!python/object:os.system x", "line 4: baseline.line: expected"),
    ("documents", "tolerance: 1", "tolerance: 1\n---\ntolerance: 1", "line 12: expected YAML: but found another"),
    ("tab", "  branch: 82.0", "\tbranch: 82.0", "line 10: expected YAML"),
    ("open quote", "horizon: '", 'horizon: "', "expected YAML"),
    ("control character", "tolerance: 1", "tolerance: \x07", "line 11: expected text, got the character 0x7"),
    ("bad escape", "tolerance: 1", 'tolerance: "\\U00FFFFFF"', "line 1: expected YAML: chr() arg not in range"),
    ("worse escape", "tolerance: 1", 'tolerance: "\\UFFFFFFFF"', "line 1: expected YAML: "),
    ("deep nesting", "tolerance: 1", "tolerance: " + "[" * 600, "expected YAML: "),
    ("no day", "'2026-04-01'", "'2026-02-30'", "line 12: horizon: expected a day like 2026-03-31, got '2026-02-30'"),
    ("a time", "'2026-04-01'", "2026-04-01 10:00:00", "line 12: horizon: expected a day"),
    ("a week", "'2026-04-01'", "'2026-W14-3'", "line 12: horizon: expected a day"),
    ("another version", "'1.0'", "'2.0'", "line 2: schema_version: expected 1.0, got '2.0'"),
    ("no commit", "commit: 0123456789abcdef", "commit: HEAD #", "line 6: baseline.commit: expected a commit id"),
    ("empty reason", "tolerance: 1", "tolerance: 1\nreason: ''", "line 12: reason: expected words"),
    (
        "never failing",
        "tolerance: 1",
        "tolerance: 90",
        "line 11: tolerance: expected less than baseline.line, got 90",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_ladder_that_is_not_one_is_refused_with_key_and_line(old: str, new: str, said: str) -> None:
    assert old in LADDER
    with pytest.raises(EvidenceError) as refused:
        ladder(LADDER.replace(old, new, 1))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[1, 2]", b"90", b"\xff\xfe", b"baseline:\n  line: \xe9", b"- a\n- b"])
def test_bytes_that_are_no_ladder_are_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"^coverage-ladder.yaml: line \d: (the file: )?expected "):
        gates.read_ladder(data, "coverage-ladder.yaml")


@quick
@given(st.binary(max_size=200) | st.tuples(st.integers(0, len(LADDER)), st.binary(min_size=1, max_size=6)))
def test_no_bytes_give_the_reader_anything_but_its_own_error(change: bytes | tuple[int, bytes]) -> None:
    data = LADDER.encode()
    data = change if isinstance(change, bytes) else data[: change[0]] + change[1] + data[change[0] + len(change[1]) :]
    with suppress(EvidenceError):
        gates.read_ladder(data, "coverage-ladder.yaml")


counts = st.integers(1, gates.LARGEST_COUNT).flatmap(lambda n: st.builds(Counts, st.just(n), st.integers(0, n)))


@quick
@given(counts)
def test_a_percentage_recorded_from_counts_is_their_quotient_again(count: Counts) -> None:
    written = repr(100.0 * count.covered / count.valid)
    assert gates.quotient(gates.number(written)) == count.percent


def metrics(line: Counts, branch: Counts | None) -> dict[str, Counts]:
    return {"line": line} | ({"branch": branch} if branch else {})


Files = dict[str, tuple[int, int]]  # path: statements, covered


def capture(files: Files, **changes: Any) -> gates.Capture:
    """A capture of these files, which have no branches."""
    rows = {path: Counts(*pair) for path, pair in files.items()}
    total = Counts(sum(row.valid for row in rows.values()), sum(row.covered for row in rows.values()))
    facts: dict[str, Any] = {
        "digest": "d",
        "commit": "c" * 40,
        "partial": None,
        "scope": (),
        "skipped": (),
        "shard": None,
        "environment": "e" * 64,
        "tests": 10,
        "totals": {"line": total} if total.valid else {},
        "files": {"line": rows, "branch": {}},
        "promise": {},
    }
    return gates.Capture(**facts | changes)


def promise(before: gates.Capture, tolerance: str = "1") -> Ladder:
    baseline = {metric: count.percent for metric, count in before.totals.items()}
    target = {metric: min(Fraction(100), percent + 2) for metric, percent in baseline.items()}
    return Ladder(baseline, target, Fraction(tolerance), date(2026, 1, 1), date(2026, 4, 1))


def case(before: Files, after: Files, tolerance: str = "1", **changes: Any) -> Case:
    known = capture(before)
    return Case(promise(known, tolerance), capture(after, **changes), (known,), TODAY, "c" * 40)


A, B = "a.py", "b.py"
CASES = [
    ("nothing changed", {A: (100, 90)}, {A: (100, 90)}, PASS),
    ("a covered function deleted with its tests", {A: (100, 90)}, {A: (50, 40)}, PASS),
    ("a covered file deleted with its tests", {A: (60, 50), B: (40, 40)}, {A: (60, 50)}, PASS),
    ("tests deleted", {A: (100, 90)}, {A: (100, 80)}, FAIL),
    (
        "tests deleted, and covered code deleted elsewhere",
        {A: (100, 90), B: (50, 50)},
        {A: (100, 80), B: (1, 1)},
        FAIL,
    ),
    ("code moved", {A: (100, 90), B: (10, 10)}, {A: (40, 40), B: (70, 60)}, PASS),
    ("uncovered code moved", {A: (100, 50), B: (10, 10)}, {A: (50, 50), B: (60, 10)}, PASS),
    ("code swapped between files", {A: (50, 50), B: (50, 10)}, {A: (50, 30), B: (50, 30)}, PASS),
    ("code moved, its tests lost", {A: (100, 90), B: (10, 10)}, {A: (40, 40), B: (70, 40)}, FAIL),
    ("everything renamed, its tests lost", {A: (100, 90)}, {B: (100, 50)}, FAIL),
    ("uncovered code added", {A: (100, 90)}, {A: (110, 90)}, FAIL),
    ("a new file without tests", {A: (100, 90)}, {A: (100, 90), B: (10, 0)}, FAIL),
    ("covered code added", {A: (100, 90)}, {A: (110, 100)}, PASS),
    ("dead code deleted", {A: (100, 90)}, {A: (90, 90)}, PASS),
    ("dead code deleted, tests deleted elsewhere", {A: (50, 0), B: (50, 40)}, {B: (50, 10)}, FAIL),
    ("covered code deleted, uncovered code added", {A: (100, 90)}, {A: (90, 80), B: (10, 0)}, FAIL),
    ("covered code deleted, less of it added", {A: (100, 90), B: (20, 20)}, {A: (50, 40), B: (50, 50)}, PASS),
    ("dead code deleted, as much lost in the same file: a known limit", {A: (100, 50)}, {A: (60, 10)}, PASS),
    ("nearly all deleted", {A: (1000, 900)}, {A: (100, 0)}, PASS),
    ("nearly all deleted, and a little of the rest lost", {A: (1000, 900)}, {A: (110, 5)}, FAIL),
]


@pytest.mark.parametrize(("before", "after", "verdict"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_counts_tell_removed_code_from_lost_tests(before: Files, after: Files, verdict: str) -> None:
    assert gates.judge_coverage(case(before, after)).state == verdict


@pytest.mark.parametrize(
    ("before", "after", "removed"),
    [
        ({A: (10, 10)}, {A: (10, 5)}, 0),
        ({A: (10, 8)}, {A: (6, 7)}, 1),
        ({A: (10, 8)}, {A: (9, 2)}, 1),
        ({A: (5, 4), B: (3, 3)}, {}, 7),
        ({A: (5, 2)}, {A: (9, 8)}, 0),
    ],
)
def test_covered_code_went_at_most_by_how_much_its_file_shrank(before: Files, after: Files, removed: int) -> None:
    then, now = ({path: Counts(*pair) for path, pair in files.items()} for files in (before, after))
    assert gates.removed_covered(then, now) == removed


@pytest.mark.parametrize("with_reference", [True, False], ids=["counts", "percentages"])
@quick
@given(total=st.integers(100, 100_000), data=st.data())
def test_a_drop_equal_to_the_tolerance_passes_and_one_statement_more_fails(
    with_reference: bool, total: int, data: st.DataObject
) -> None:
    covered = data.draw(st.integers(total // 2, total))
    lost = data.draw(st.integers(0, covered - 1))
    known = capture({A: (total, covered)})
    exactly = replace(promise(known), tolerance=Fraction(100 * lost, total))
    references = (known,) if with_reference else ()

    def verdict(now: int) -> str:
        return gates.judge_coverage(Case(exactly, capture({A: (total, now)}), references, TODAY, "c" * 40)).state

    assert (verdict(covered - lost), verdict(covered - lost - 1)) == (PASS, FAIL)


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_the_target_holds_from_the_day_after_the_horizon(days: int) -> None:
    late = replace(case({A: (100, 90)}, {A: (100, 90)}), today=date(2026, 4, 1) + timedelta(days))
    verdict = gates.judge_coverage(late)
    assert verdict.state == (FAIL if days > 0 else PASS)
    assert ("line: 90.00 %, but 92.00 % was to be reached by 2026-04-01" in verdict.evidence) == (days > 0)


def test_a_missed_target_rolls_nothing_back() -> None:
    late = replace(case({A: (100, 90)}, {A: (100, 90)}), today=date(2027, 1, 1))
    assert (gates.judge_coverage(late).state, gates.coverage_trigger(late).state) == (FAIL, QUIET)
    fallen = gates.coverage_trigger(replace(late, capture=capture({A: (100, 80)})))
    assert (fallen.state, fallen.remedy) == (FIRED, "")


def test_a_reached_target_passes_after_the_horizon_and_one_statement_less_fails() -> None:
    late = replace(case({A: (1000, 900)}, {A: (1000, 920)}), today=date(2027, 1, 1))
    assert gates.judge_coverage(late).state == PASS
    assert gates.judge_coverage(replace(late, capture=capture({A: (1000, 919)}))).state == FAIL


OBSTACLES: list[tuple[str, dict[str, Any], str]] = [
    ("partial", {"partial": "killed by SIGKILL"}, "the capture is partial: killed by SIGKILL"),
    ("shard", {"shard": "2/4"}, "the capture is shard 2/4 only; merge the shards"),
    ("nothing measured", {"totals": {}}, "the capture measured no coverage"),
    ("other scope", {"scope": ("--", "-k", "fast")}, "another scope: it was '', now '-- -k fast'"),
    (
        "other environment",
        {"environment": "f" * 64},
        "another environment: its signature was eeeeeeeeeeee, now ffffffffffff",
    ),
    ("no environment", {"environment": None}, "another environment: its signature was eeeeeeeeeeee, now none"),
    ("stale", {"commit": "b" * 40}, "the capture is of commit bbbbbbbbbbbb, checked out is cccccccccccc"),
]


@pytest.mark.parametrize(("change", "said"), [o[1:] for o in OBSTACLES], ids=[o[0] for o in OBSTACLES])
def test_data_that_cannot_be_compared_never_passes_and_never_rolls_back(change: dict[str, Any], said: str) -> None:
    for covered in (0, 100):
        doubtful = case({A: (100, 90)}, {A: (100, covered)}, **change)
        verdict, trigger = gates.judge_coverage(doubtful), gates.coverage_trigger(doubtful)
        assert (verdict.state, trigger.state) == (UNKNOWN, UNKNOWN)
        assert said in verdict.evidence


def test_a_remedy_asks_for_the_same_capture_and_can_be_pasted() -> None:
    scope = ("--source", "src", "--", "-k", "not slow")
    judged = case({A: (100, 90)}, {A: (100, 80)}, scope=scope)
    for references, words in (((), "--rebaseline --reason TEXT "), ((capture({A: (100, 90)}, scope=scope),), "")):
        partial = replace(judged.capture, partial="killed" if references else None)
        remedy = gates.judge_coverage(replace(judged, references=references, capture=partial)).remedy
        assert remedy.endswith(f"scripts/tests/collect_metrics.py {words}--source src -- -k 'not slow'")


def test_what_cannot_be_compared_is_to_be_captured_anew_in_the_same_scope() -> None:
    judged = case({A: (100, 90)}, {A: (100, 90)}, partial="killed", scope=("--source", "src"), digest="d2")
    said = "not comparable", "points lost: at most 1; the target by 2026-04-01", ("the capture is partial: killed",)
    row = gates.judge_coverage(replace(judged, references=()))
    assert row == gates.Row("coverage", UNKNOWN, *said, f"{CAPTURE} --source src", digest="d2")


def test_a_drop_says_how_much_where_what_is_allowed_and_what_to_do() -> None:
    assert gates.judge_coverage(case({A: (100, 90)}, {A: (100, 80)})) == gates.Row(
        "coverage",
        FAIL,
        "line 80.00 % (80 of 100), 10.00 points lost",
        "points lost: at most 1; the target by 2026-04-01",
        (
            "line: 10.00 points lost, 1.00 allowed",
            "a.py: 10 covered statements lost their tests (90 of 100 covered before, 80 of 100 now)",
            "tests: 10 before, 10 now",
        ),
        f"test what is named here, or accept it: {CAPTURE} --rebaseline --reason TEXT",
        ("a.py",),
        "d",
    )


def test_the_files_that_lost_most_are_named_first_with_what_they_lost() -> None:
    before = {"x.py": (100, 90), "y.py": (50, 50), "z.py": (10, 10)}
    after = {"x.py": (100, 85), "y.py": (50, 20), "z.py": (16, 10), "new.py": (8, 2)}
    evidence = gates.judge_coverage(case(before, after)).evidence
    assert evidence == (
        "line: 26.51 points lost, 1.00 allowed",
        "y.py: 30 covered statements lost their tests (50 of 50 covered before, 20 of 50 now)",
        "new.py: 6 new statements have no test (0 of 0 covered before, 2 of 8 now)",
        "z.py: 6 new statements have no test (10 of 10 covered before, 10 of 16 now)",
        "x.py: 5 covered statements lost their tests (90 of 100 covered before, 85 of 100 now)",
        "tests: 10 before, 10 now",
    )


def test_a_fall_that_removed_code_explains_is_said_and_the_removed_file_is_no_loss() -> None:
    verdict = gates.judge_coverage(case({A: (100, 90)}, {A: (50, 40)}))
    assert verdict.evidence == ("line: the percentage fell by 10.00 points; removed code explains 10.00",)
    verdict = gates.judge_coverage(case({A: (100, 90), B: (50, 50)}, {A: (100, 70)}))
    assert verdict.where == (A,)
    assert gates.judge_coverage(case({A: (100, 90)}, {A: (50, 40)}, "10")).evidence == ()
    verdict = gates.judge_coverage(case({A: (100, 90)}, {A: (50, 39)}, "2"))
    assert verdict.evidence == ("line: the percentage fell by 12.00 points; removed code explains 10.00",)


def test_of_many_files_that_lost_the_worst_are_named_and_the_rest_counted() -> None:
    before = {f"{name}.py": (10, 10) for name in "abcdef"}
    for count, more in ((5, ()), (6, ("1 more files lost statements",))):
        after = {path: (10, 9 if place < count else 10) for place, path in enumerate(before)}
        evidence = gates.judge_coverage(case(before, after)).evidence
        assert evidence[6:-1] == more
    (loss,) = gates.losses(case({A: (100, 90)}, {A: (90, 70)}), "line")
    assert (loss.lost, loss.untested) == (10, 0)


@pytest.mark.parametrize("others", [(), (capture({A: (100, 89)}),)], ids=["none", "of another baseline"])
def test_without_its_reference_the_percentages_decide_and_it_is_said(others: tuple[gates.Capture, ...]) -> None:
    judged = case({A: (100, 90)}, {A: (50, 40)})
    alone = gates.judge_coverage(replace(judged, references=others))
    assert (alone.state, "10.00 points lost" in alone.value) == (FAIL, True)
    said = "judged by percentages alone: no reference.metrics.json is of the ladder's baseline"
    assert alone.evidence == ("line: 10.00 points lost, 1.00 allowed", said)
    assert gates.judge_coverage(replace(judged, references=(*others, *judged.references))).state == PASS


def test_a_baseline_lowered_by_hand_fails_unless_a_reason_stands_beside_it() -> None:
    recorded = capture({A: (100, 90)}, promise={"line": Fraction(90)})
    lowered = replace(promise(recorded), baseline={"line": Fraction(70)})
    judged = Case(lowered, capture({A: (100, 80)}), (recorded,), TODAY, "c" * 40)
    verdict = gates.judge_coverage(judged)
    assert verdict.state == FAIL
    assert verdict.evidence[0] == "baseline.line was lowered from 90.00 to 70.00 % and no reason is given"
    assert gates.coverage_trigger(judged).state == QUIET
    assert gates.judge_coverage(replace(judged, ladder=replace(lowered, reason="moved out"))).state == PASS
    raised = replace(lowered, baseline={"line": Fraction(91)})
    assert gates.judge_coverage(replace(judged, ladder=raised, capture=recorded)).state == PASS


def test_a_promise_left_out_is_lowered_to_nothing_and_one_kept_is_not_lowered() -> None:
    recorded = capture({A: (100, 89)}, promise={"line": Fraction(90), "branch": Fraction(50)})
    kept = replace(promise(recorded), baseline={"line": Fraction(90)})
    said = gates.lowered_by_hand(Case(kept, recorded, (recorded,), TODAY, "c" * 40))
    assert said == ["baseline.branch was lowered from 50.00 to 0.00 % and no reason is given"]


def test_branches_are_judged_by_themselves() -> None:
    known = capture({A: (100, 90)})
    known = replace(known, totals={**known.totals, "branch": Counts(10, 10)})
    known = replace(known, files={"line": known.files["line"], "branch": {A: Counts(10, 10)}})
    now = replace(known, totals={**known.totals, "branch": Counts(10, 9)})
    now = replace(now, files={"line": known.files["line"], "branch": {A: Counts(10, 9)}})
    verdict = gates.judge_coverage(Case(promise(known), now, (known,), TODAY, "c" * 40))
    assert verdict.state == FAIL
    assert verdict.value == "line 90.00 % (90 of 100), nothing lost; branch 90.00 % (9 of 10), 10.00 points lost"


fractions = st.fractions(0, 100, max_denominator=10**9)


@quick
@given(fractions, fractions)
def test_printed_numbers_stand_to_each_other_as_the_exact_ones_do(value: Fraction, limit: Fraction) -> None:
    for other in (limit, value + Fraction(1, 10**12), value - Fraction(1, 10**12)):
        shown, against = map(Fraction, gates.apart(value, other))
        assert (shown > against, shown < against) == (value > other, value < other)


@quick
@given(st.integers(1, 10**6), st.data())
def test_the_verdict_on_a_drop_can_be_read_off_the_printed_numbers(total: int, data: st.DataObject) -> None:
    covered, now = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    tolerance = data.draw(st.decimals(0, 3, places=4).map(str))
    judged = gates.judge_coverage(case({A: (total, covered)}, {A: (total, now)}, tolerance))
    printed = judged.value.partition("), ")[2].removesuffix(" points lost")
    lost = Fraction(0) if printed == "nothing lost" else Fraction(printed)
    assert (lost > Fraction(tolerance)) == (judged.state == FAIL)


@pytest.mark.parametrize(
    ("target", "covered", "today", "horizon", "expected"),
    [
        ("92", 905, TODAY, "2026-04-01", (15, 90 + Fraction(2 * 59, 90), "2026-05-08")),
        ("90.5", 900, TODAY, "2026-04-01", (5, 90 + Fraction(59, 180), "2026-05-30")),
        ("92", 920, TODAY, "2026-04-01", (0, 90 + Fraction(2 * 59, 90), "2026-04-01")),
        ("92", 920, date(2026, 5, 1), "2026-04-01", (0, 92, "2026-04-01")),
        ("92", 900, date(2025, 12, 31), "2026-04-01", (20, 90, "2026-04-01")),
        ("90", 895, date(2026, 5, 1), "2026-04-01", (5, 90, "2026-05-01")),
        ("92", 900, TODAY, "2026-01-01", (20, 92, "2026-03-02")),
        ("0", 900, TODAY, "2026-04-01", (0, 90 - Fraction(90 * 59, 90), "2026-04-01")),
    ],
    ids="on-the-way half-a-point reached in-time before-it-began no-rise on-one-day no-target".split(),
)
def test_the_pace_says_what_is_to_gain_and_when_it_would_arrive(
    target: str, covered: int, today: date, horizon: str, expected: tuple[object, ...]
) -> None:
    judged = replace(case({A: (1000, 900)}, {A: (1000, covered)}), today=today)
    steps = {"line": Fraction(target)} if target != "0" else {}
    asked = replace(judged.ladder, target=steps, horizon=date.fromisoformat(horizon))
    (row,) = gates.compare(replace(judged, ladder=asked))
    assert (row.target, row.days_left) == (Fraction(target), (asked.horizon - today).days)
    assert (row.to_gain, row.due_today, row.proposed_horizon) == expected


VALID = {"artifact": "env.signature.json", "signature": "s" * 64, "generated_at": "2026-01-02"}


def refused(day: str) -> dict[str, Any]:
    return {"artifact": "env.validation.failure.json", "reasons": [{"code": "drift"}], "generated_at": day}


@pytest.mark.parametrize(
    ("signature", "failure", "captured", "lock", "verdict"),
    [
        (VALID, None, "s" * 64, "", PASS),
        (VALID, None, None, "", PASS),
        (None, None, None, "", UNKNOWN),
        (VALID, None, "t" * 64, "", FAIL),
        (VALID, refused("2026-01-03"), None, "", FAIL),
        (VALID, refused("2026-01-01"), None, "", PASS),
        (VALID, refused("2026-01-02"), None, "", PASS),
        (None, refused("2026-01-01") | {"reasons": []}, None, "", FAIL),
        (None, refused("2026-01-01"), None, "", FAIL),
        (VALID, None, None, "requirements.lock", FAIL),
    ],
    ids="captured no-capture not-validated elsewhere refused-later mended at-once no-reasons refused lock".split(),
)
def test_the_environment_gate(
    signature: dict[str, Any] | None, failure: dict[str, Any] | None, captured: str | None, lock: str, verdict: str
) -> None:
    assert gates.judge_environment(signature, failure, captured, lock).state == verdict


TARGETS = {"soft": Fraction(40), "hard": Fraction(60)}


@pytest.mark.parametrize(
    ("soft", "hard", "verdict"),
    [("40", "60", PASS), ("39.99999", "99", FAIL), ("99", "59.99999", FAIL)],
)
def test_the_failfast_gate_never_rounds_up_to_its_target(soft: str, hard: str, verdict: str) -> None:
    measured = {"soft": Fraction(soft), "hard": Fraction(hard)}
    judged = gates.judge_failfast(measured, TARGETS)
    assert judged.state == verdict
    assert ("39.99999 %" in judged.value) == (soft == "39.99999")


@pytest.mark.parametrize(
    ("means", "saved"),
    [((0.5, 0.25, 0.125), {"soft": 50, "hard": 75}), ((0, 0, 0), {}), (None, {})],
    ids=["measured", "in no time", "no benchmark"],
)
def test_improvement_is_percent_of_the_time_without_failfast(
    means: tuple[float, ...] | None, saved: dict[str, int]
) -> None:
    modes = {mode: {"mean": mean} for mode, mean in zip(("off", "soft", "hard"), means or (), strict=False)}
    assert gates.improvements({"benchmark": {"overall": {"modes": modes}} if means else None}) == saved


def results(**changes: Any) -> dict[str, Any]:
    false = {"count": changes.pop("false", 0), "observed": 90}
    body = {"runs": 30, "false_failures": false, "mismatches": 0, "partial": None, "mode": "deterministic"}
    return {
        "sha256": "d",
        **body,
        "control": {"shown": True},
        "tests": [{"id": "t", "problems": ["flaky"]}],
        **changes,
    }


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, PASS),
        ({"false": 1}, FAIL),
        ({"mismatches": 1}, FAIL),
        ({"runs": 29}, UNKNOWN),
        ({"partial": "interrupted"}, UNKNOWN),
        ({"mode": "fuzz"}, UNKNOWN),
        ({"control": {"shown": False}}, UNKNOWN),
        ({"control": None}, UNKNOWN),
        ({"control": "of another kind"}, UNKNOWN),
    ],
    ids=[
        "stable",
        "false failure",
        "mismatch",
        "few runs",
        "partial",
        "fuzz",
        "deaf control",
        "no control",
        "odd control",
    ],
)
def test_the_properties_gate(change: dict[str, Any], verdict: str) -> None:
    assert gates.judge_properties(results(**change)).state == verdict


def event(
    name: str, script: str = "collect_metrics", run_id: str = "r", pid: object = 1, **fields: Any
) -> dict[str, Any]:
    return {"event": name, "context": {"run_id": run_id, "script": script, "pid": pid}, **fields}


WHOLE = [event(name) for name in sorted(gates.EXPECTED)]
WHOLE = [row for row in WHOLE if row["event"] != "environment_validation_fail"] + [
    event("environment_validation_start", pid=2, drill=True),
    event("environment_validation_fail", pid=2, drill=True),
]


def test_a_whole_log_passes() -> None:
    assert gates.judge_events(WHOLE, [], "r").state == PASS
    assert gates.judge_events([*WHOLE, event("logging_deficit", drill=True)], [], "r").state == PASS


@pytest.mark.parametrize("name", sorted(gates.EXPECTED))
def test_each_event_that_is_missing_is_named_with_what_logs_it(name: str) -> None:
    judged = gates.judge_events([row for row in WHOLE if row["event"] != name], [], "r")
    assert judged.state == FAIL
    assert any(text.startswith(f"missing: {name} (") and ".py" in text for text in judged.evidence)


@pytest.mark.parametrize(
    ("events", "problems", "said"),
    [
        (WHOLE, ["line 3: chain broken"], "events.log.jsonl: line 3: chain broken"),
        ([*WHOLE, event("metrics_capture_start", pid=7)], [], "process 7: 1 metrics_capture_start, 0 ended"),
        ([*WHOLE, event("metrics_capture_start", pid="?")], [], "process ?: 1 metrics_capture_start, 0 ended"),
        ([*WHOLE, event("property_test_complete", pid=8)], [], "process 8: 0 property_test_start, 1 ended"),
        ([*WHOLE, event("logging_deficit")], [], "a deficit was logged in this run before; start a new one"),
        ([event(r["event"], run_id="other") for r in WHOLE], [], "no event of run r"),
    ],
    ids=["chain", "start without end", "start of no process", "end without start", "deficit", "another run"],
)
def test_a_log_that_does_not_hold_does_not_pass(events: list[dict[str, Any]], problems: list[str], said: str) -> None:
    judged = gates.judge_events(events, problems, "r")
    assert judged.state != PASS
    assert said in judged.evidence


def test_the_gates_own_record_does_not_stand_in_for_the_captures() -> None:
    rows = [row for row in WHOLE if row["event"] != "coverage_ladder_recorded"]
    rows.append(event("coverage_ladder_recorded", script="enforce_gates"))
    assert gates.judge_events(rows, [], "r").state == FAIL


DRIFT = {"code": "drift", "expected": "1", "actual": "2", "remedy": "lock anew"}
REFUSED_NOW = {"reasons": [DRIFT, DRIFT | {"code": "more"}], "generated_at": "2026-01-03"}
VALIDATE, CAPTURE = f"{gates.SCRIPTS}/validate_env.py", f"{gates.SCRIPTS}/collect_metrics.py"
VALID_IN, NO_FALSE = "validated, and captured in it", "0 in 30 runs"
WHOLE_LOG = "every event, every start ended, an unbroken chain"
AGAIN = f"{gates.SCRIPTS}/aggregate_properties.py --runs 30"
ODD = [{"id": "a", "problems": []}, {"id": "b", "problems": ["flaky"]}, {"id": "c", "mismatch": {"runs": [2]}}]


@pytest.mark.parametrize(
    ("judge", "facts", "row"),
    [
        (
            gates.judge_environment,
            (VALID, REFUSED_NOW, None, ""),
            (FAIL, "refused", VALID_IN, ("drift: expected 1, got 2", "more: expected 1, got 2"), "lock anew"),
        ),
        (
            gates.judge_environment,
            (None, None, None, ""),
            (UNKNOWN, "not validated", VALID_IN, ("there is no env.signature.json",), VALIDATE),
        ),
        (
            gates.judge_environment,
            (VALID, None, "t" * 64, "uv.lock"),
            (
                FAIL,
                f"validated {'s' * 12}",
                VALID_IN,
                ("uv.lock changed after that", f"the suite was captured in {'t' * 12}"),
                CAPTURE,
            ),
        ),
        (
            gates.judge_properties,
            (results(tests=[], runs=28, partial="x", mode="fuzz", control=None),),
            (
                UNKNOWN,
                "0 false failures, 0 mismatches in 28 runs",
                NO_FALSE,
                (
                    "the runs were partial",
                    "these were fuzz runs, without a seed",
                    "2 runs are missing",
                    "another seed changed nothing, so equal examples prove nothing",
                ),
                AGAIN,
            ),
        ),
        (
            gates.judge_properties,
            (results(false=2, mismatches=1, tests=ODD),),
            (
                FAIL,
                "2 false failures, 1 mismatches in 30 runs",
                NO_FALSE,
                ("not to be believed: b, c",),
                f"{gates.SCRIPTS}/aggregate_properties.py -- b c",
            ),
        ),
        (
            gates.judge_properties,
            (results(),),
            (PASS, "0 false failures, 0 mismatches in 30 runs", NO_FALSE, (), AGAIN),
        ),
        (
            gates.judge_failfast,
            ({}, TARGETS),
            (
                UNKNOWN,
                "not measured",
                "soft 40 %, hard 60 %",
                ("the last run was no benchmark",),
                f"{gates.SCRIPTS}/benchmark_failfast.py",
            ),
        ),
        (
            gates.judge_failfast,
            ({"soft": Fraction(50), "hard": Fraction("59.5")}, TARGETS),
            (
                FAIL,
                "soft 50.00 %, hard 59.50 %",
                "soft 40 %, hard 60 %",
                ("hard 59.50 % sooner is short of its target",),
                f"look at the slowest faults: {gates.SCRIPTS}/benchmark_failfast.py",
            ),
        ),
        (
            gates.judge_integrity,
            (7, ["x.json: changed"], ["y.json"]),
            (
                FAIL,
                "7 files hold, 1 do not",
                "every digest holds",
                ("x.json: changed", "missing: y.json"),
                f"remove what is named here and run {gates.SCRIPTS}/pipeline.py",
            ),
        ),
        (
            gates.judge_events,
            ([], [], "r"),
            (
                UNKNOWN,
                "0 of 13 events",
                WHOLE_LOG,
                ("no event of run r",),
                "run what is named here with TPR_RUN_ID=r",
            ),
        ),
        (
            gates.judge_events,
            (WHOLE, ["line 3: torn"], "r"),
            (
                FAIL,
                "13 of 13 events",
                WHOLE_LOG,
                ("events.log.jsonl: line 3: torn",),
                "move events.log.jsonl away and run the chain anew",
            ),
        ),
    ],
    ids="refused not-validated elsewhere doubts unstable stable no-benchmark late changed no-run torn".split(),
)
def test_a_gates_row_says_what_is_what_should_be_why_and_what_to_do(
    judge: Callable[..., gates.Row], facts: tuple[Any, ...], row: tuple[Any, ...]
) -> None:
    assert judge(*facts) == gates.Row(judge.__name__.removeprefix("judge_"), *row)


@pytest.mark.parametrize(
    ("word", "logs"),
    [("property", "aggregate_properties.py"), ("early", "benchmark_failfast.py"), ("metrics", "collect_metrics.py")],
)
def test_a_missing_event_is_logged_by_the_script_of_its_first_word(word: str, logs: str) -> None:
    rest = [row for row in WHOLE if not row["event"].startswith(word)]
    missing = [text for text in gates.judge_events(rest, [], "r").evidence if text.startswith(f"missing: {word}")]
    assert missing
    assert all(f"({logs}" in text for text in missing)


def test_a_run_that_was_set_aside_and_a_settled_flake_count_no_more() -> None:
    days = {"a": "2026-01-02", "then": "2026-01-03", "b": "2026-01-04", "c": None}
    flaky = [{"id": name, "last_failed": day} for name, day in days.items()]
    report = {
        "flaky": flaky,
        "runs": [{"set_aside": None}, {"set_aside": "outage"}],
        "tests_observed": 50,
        "sha256": "d",
    }
    found = gates.flake_rate(report, "2026-01-03")
    assert found == gates.Rate(2, 50, 1, "tests", gates.FLAKE_TESTS, gates.FLAKE_RUNS, ("b", "c"), "d")
    assert gates.flake_rate(report, "").where == ("a", "then", "b", "c")


def test_false_failures_are_counted_in_runs_with_a_seed() -> None:
    known = gates.property_rate(results(false=2, tests=ODD))
    assert known == gates.Rate(2, 90, 30, "results", 1, gates.PROPERTY_RUNS, ("b", "c"), "d")
    assert (gates.property_rate(results(mode="fuzz")).runs, gates.property_rate(results()).where) == (0, ())


def rate(hits: int, trials: int, runs: int = 30, least: int = 1) -> gates.Rate:
    return gates.Rate(hits, trials, runs, "tests", least, 10)


@pytest.mark.parametrize(
    ("observed", "state", "said"),
    [
        (rate(0, 1000), QUIET, ""),
        (rate(20, 1000), QUIET, ""),
        (rate(31, 1000), FIRED, ""),
        (rate(21, 1000), UNKNOWN, "at this rate 74296 more tests would show that it is above 2 %"),
        (rate(1, 3, least=30), UNKNOWN, "needs 27 more tests"),
        (rate(3, 3, runs=2, least=30), UNKNOWN, "needs 8 more runs and 27 more tests"),
        (rate(0, 0), UNKNOWN, "needs 1 more tests"),
    ],
    ids=["none", "at the limit", "well above", "hardly above", "three samples", "two runs", "nothing"],
)
def test_a_rate_fires_only_on_enough_data_well_above_its_limit(observed: gates.Rate, state: str, said: str) -> None:
    trigger = gates.rate_trigger("flakes", observed, Fraction(2))
    assert trigger.state == state
    assert said in " ".join(trigger.evidence)


def test_a_triggers_row_says_the_share_of_how_many_and_how_sure_it_is() -> None:
    observed = gates.Rate(31, 1000, 30, "tests", 30, 10, ("a", "b"), "d")
    shown = "3.10 % (31 of 1000 tests in 30 runs)", "2 %", ("95 % interval 2.19 to 4.37 %",)
    assert gates.rate_trigger("flakes", observed, Fraction(2)) == gates.Row(
        "flakes", FIRED, *shown, where=("a", "b"), digest="d"
    )
    assert gates.rate_trigger("flakes", rate(1, 1), Fraction(2)).value == "100.00 % (1 of 1 tests in 30 runs)"


@quick
@given(st.integers(1, 3000), st.data(), st.integers(0, 50))
def test_a_rate_fires_exactly_when_its_wilson_lower_bound_is_above_the_limit(
    trials: int, data: st.DataObject, limit: int
) -> None:
    hits = data.draw(st.integers(0, trials))
    low = float(gates.interval_text(rate(hits, trials)).split()[3])
    fired = gates.rate_trigger("flakes", rate(hits, trials), Fraction(limit)).state == FIRED
    assert fired == (low > limit) or abs(low - limit) < 0.006  # the text has two digits


def test_a_bound_exactly_at_the_limit_does_not_fire() -> None:
    at, above = (gates.rate_trigger("flakes", rate(hits, 10_000), Fraction(50)) for hits in (5098, 5099))
    assert (at.state, above.state) == (UNKNOWN, FIRED)
    assert at.evidence[1] == "at this rate 1 more tests would show that it is above 50 %"
    assert gates.interval_text(rate(0, 0)) == ""


def test_one_false_failure_in_ninety_is_too_little_to_roll_back_and_two_are_enough() -> None:
    rates = [gates.property_rate(results(false=number)) for number in (0, 1, 2)]
    states = [gates.rate_trigger("properties", rate, gates.PROPERTY_LIMIT).state for rate in rates]
    assert states == [QUIET, UNKNOWN, FIRED]


class Project:
    """A project whose run left healthy evidence of every kind behind; each method makes one thing sick."""

    def __init__(self, root: Path) -> None:
        self.root, self.artifacts = root, root / "artifacts"
        self.run = Run("collect_metrics", root, self.artifacts)
        (root / "coverage-ladder.yaml").write_text(LADDER.replace("2026-04-01", "2999-01-01"), "utf-8")
        self.capture(900)
        self.capture(900, "reference.metrics.json")
        (root / "requirements.lock").write_text("one", "utf-8")
        lock = {"file": "requirements.lock", "sha256": gates.file_digest(root / "requirements.lock")}
        self.run.write("env.signature.json", "1.0", {"signature": "e" * 64, "seed": 7, "lock_sources": lock})
        self.flakes(0)
        self.properties(0)
        self.failfast(70, 95)
        for row in WHOLE:
            self.run.log.info(row["event"], drill=row.get("drill", False))
        self.run.log.info("property_test_start")
        self.run.log.info("property_test_complete")

    def capture(self, covered: int, name: str = "baseline.metrics.json", **changes: Any) -> None:
        counts = {"statements": 1000, "statements_covered": covered, "branches": 100, "branches_covered": 80}
        body: dict[str, Any] = {
            "partial": None,
            "scope": {"pytest_args": [], "source": [], "skipped_stages": [], "collected": 9},
            "outcomes": {"tests": 9, "failed": 0, "error": 0, "deselected": 0},
            "coverage": {**counts, "files": [{"path": "calc.py", **counts}]},
            "environment": {"signature": "e" * 64},
            "ladder": {"baseline": {"line": 90.0, "branch": 80.0}},
        }
        digest = self.run.write(name, "1.0", {**body, **changes})["sha256"]
        if name == "baseline.metrics.json":
            self.run.write_bytes("baseline.metrics.hash", f"sha256:{digest}\n".encode())

    def flakes(self, flaky: int, last_failed: str | None = "2026-01-01T00:00:00.000000Z") -> None:
        rows = [{"id": f"t.py::test_{number}", "last_failed": last_failed} for number in range(flaky)]
        runs = [{"run_id": str(number), "set_aside": number == 0} for number in range(30)]
        body = {"runs": runs, "flaky": rows, "tests_observed": 200}
        self.run.write("flake.report.json", "1.0.0", body)

    def properties(self, false_failures: int) -> None:
        tests = [{"id": "p.py::test_p", "problems": ["flaky"] * bool(false_failures), "mismatch": None}]
        false = {"count": false_failures, "observed": 90}
        body = {"mode": "deterministic", "partial": None, "runs": 30, "false_failures": false, "mismatches": 0}
        self.run.write("property.results.json", "1.0", {**body, "control": {"shown": True}, "tests": tests})

    def failfast(self, soft: float, hard: float) -> None:
        modes = {"off": {"mean": 100}, "soft": {"mean": 100 - soft}, "hard": {"mean": 100 - hard}}
        self.run.write("failfast.summary.json", "1.0", {"benchmark": {"overall": {"modes": modes}}})

    def enforce(self, *argv: str) -> int:
        return main(["--root", str(self.root), *argv])

    def verdicts(self) -> dict[str, str]:
        rows = read_artifact(self.artifacts / gates.VERDICTS)["gates"]
        return {row["gate"]: row["verdict"] for row in rows}

    def triggers(self) -> dict[str, str]:
        rows = read_artifact(self.artifacts / gates.VERDICTS)["triggers"]
        return {row["name"]: row["state"] for row in rows}

    def incidents(self) -> list[str]:
        return sorted(path.name for path in (self.artifacts / "incidents").glob("*"))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [row for row in read_log(self.artifacts / "events.log.jsonl").events if row["event"] == name]

    def again(self, covered: int | None) -> Callable[..., gates.Capture | str]:
        """A stand-in for the second capture: so many statements covered, or not possible."""

        def recapture(evidence: gates.Evidence, quiet: bool, into: Path) -> gates.Capture | str:
            if covered is None:
                return "no suite here"
            self.capture(covered, "second.json")
            return replace(gates.read_capture(read_artifact(self.artifacts / "second.json")), digest="second")

        return recapture


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in [name for name in os.environ if name.startswith(("TPR_", "GITHUB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TPR_RUN_ID", "r")
    made = Project(tmp_path)
    monkeypatch.setattr(gates, "recapture", made.again(800))
    return made


def test_healthy_evidence_passes_every_gate_and_fires_nothing(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.enforce() == 0
    assert project.verdicts() == dict.fromkeys(gates.GATES, PASS)
    assert project.triggers() == dict.fromkeys(gates.TRIGGERS, QUIET)
    assert not (project.artifacts / "incidents").exists()
    table = capsys.readouterr().out
    assert all(gate in table for gate in gates.GATES)
    assert "line: target 92.00 %, 2.00 points or 20 statements to gain" in table
    recorded = [
        row for row in project.events("coverage_ladder_recorded") if row["context"]["script"] == "enforce_gates"
    ]
    assert [row["exit"] for row in recorded] == [0]
    monkeypatch.delenv("TPR_RUN_ID")  # by hand the run of the baseline is judged
    assert project.enforce("--quiet") == 0
    assert read_artifact(project.artifacts / gates.VERDICTS)["judged_run"] == "r"


@pytest.mark.parametrize("gate", gates.GATES)
def test_only_judges_one_gate_and_opens_no_incident(project: Project, gate: str) -> None:
    project.capture(100)
    project.enforce("--only", gate, "--quiet")
    assert list(project.verdicts()) == [gate]
    assert project.incidents() == []


@pytest.mark.parametrize(
    ("artifact", "gate", "code"),
    [
        ("env.signature.json", "environment", 1),
        ("baseline.metrics.json", "coverage", 1),
        ("coverage-ladder.yaml", "coverage", 1),
        ("failfast.summary.json", "failfast", 0),
        ("property.results.json", "properties", 0),
        ("events.log.jsonl", "events", 1),
        ("baseline.metrics.hash", "integrity", 1),
    ],
)
def test_missing_evidence_is_insufficient_data_and_never_passes_a_hard_gate(
    project: Project, artifact: str, gate: str, code: int
) -> None:
    for place in (project.root, project.artifacts):
        (place / artifact).unlink(missing_ok=True)
    assert project.enforce("--quiet", "--only", gate) == code
    assert project.verdicts() == {gate: UNKNOWN}


@pytest.mark.parametrize(
    ("sick", "gate", "code"),
    [
        (
            lambda p: p.run.write("env.validation.failure.json", "1.0", {"reasons": [{"code": "drift"}]}),
            "environment",
            1,
        ),
        (lambda p: (p.root / "requirements.lock").write_text("other", "utf-8"), "environment", 1),
        (lambda p: p.capture(889), "coverage", 1),
        (lambda p: p.failfast(39.999, 95), "failfast", 0),
        (lambda p: p.properties(1), "properties", 0),
        (lambda p: p.run.log.info("metrics_capture_start"), "events", 1),
        (lambda p: p.run.write_bytes("baseline.metrics.hash", b"sha256:0\n"), "integrity", 1),
        (
            lambda p: p.run.write_bytes("requirements.lock.hash", b"0" * 64 + b"  baseline.metrics.json\n"),
            "integrity",
            1,
        ),
        (lambda p: p.run.write_bytes("some.hash", b"what"), "integrity", 1),
    ],
    ids="environment lock coverage failfast properties events hash sha256sum no-hash".split(),
)
def test_each_gate_fails_alone_and_only_hard_ones_count(
    project: Project, sick: Callable[[Project], object], gate: str, code: int
) -> None:
    sick(project)
    assert project.enforce("--quiet", "--only", gate) == code
    assert project.verdicts() == {gate: FAIL}
    row = read_artifact(project.artifacts / gates.VERDICTS)["gates"][0]
    assert all(row[key] for key in ("value", "limit", "evidence", "remedy"))
    assert row["response"] == gates.GATES[gate][1]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("requirements.lock.hash", f"{'0' * 64}  requirements.lock\n", 1),
        ("requirements.lock.hash", f"{'0' * 64}  a\0name\n", 1),
        ("requirements.lock.hash", f"{'0' * 64}  installed-set\n", 0),  # no file: the validator compares it
        ("assets.hash", "what another tool wrote", 0),
    ],
)
def test_of_the_projects_own_files_only_the_recorded_lock_is_checked(
    project: Project, name: str, text: str, code: int
) -> None:
    (project.root / "requirements.lock").write_text("pytest==1.0\n", "utf-8")
    (project.root / name).write_text(text, "utf-8")
    assert project.enforce("--quiet", "--only", "integrity") == code


def test_a_deficit_is_logged_with_what_is_missing_and_blocks_the_same_run_for_good(project: Project) -> None:
    assert project.enforce("--quiet") == 0
    project.run.log.info("metrics_capture_start")
    assert project.enforce("--quiet") == 1
    assert "2 metrics_capture_start, 1 ended" in str(project.events("logging_deficit")[0]["missing"])
    project.run.log.info("metrics_capture_complete")
    assert project.enforce("--quiet") == 1


def tamper(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_a_corrupt_artifact_is_named_by_integrity_and_nothing_else_is_told_from_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(project.artifacts / "baseline.metrics.json", b'"statements_covered": 900', b'"statements_covered": 990')
    assert project.enforce("--quiet", "--only", "integrity") == 1
    assert project.enforce() == 2
    verdicts = project.verdicts()
    assert (verdicts["integrity"], verdicts["coverage"], verdicts["events"]) == (FAIL, UNKNOWN, PASS)
    assert "baseline.metrics.json: expected sha256" in capsys.readouterr().err


def test_a_value_of_another_kind_is_refused_with_its_place_and_cut() -> None:
    document = {"artifact": "a.json", "b": {"c": "x" * 70}}
    with pytest.raises(EvidenceError) as refused:
        gates.pick(document, "b.c", int, type(None))
    assert str(refused.value) == f"a.json: b.c: expected int or NoneType, got '{'x' * 58}…; produce it anew"
    assert gates.counts_of(document, {"statements": 3, "statements_covered": 3}, "line") == Counts(3, 3)
    with pytest.raises(EvidenceError) as refused:
        gates.counts_of(document, {"statements": "1" * 30, "statements_covered": "2" * 30}, "line")
    got = f"{'2' * 19}… of {'1' * 19}…"
    assert str(refused.value) == f"a.json: coverage: expected counts of statements, got {got}; produce it anew"


MISSHAPEN: list[dict[str, Any]] = [
    {"coverage": 7},
    {"coverage": {"files": 3}},
    {"coverage": {"statements": 10, "statements_covered": 11, "branches": 0, "branches_covered": 0, "files": []}},
    {"coverage": {"statements": True, "statements_covered": True, "files": []}},
    {"scope": None},
    {"outcomes": []},
    {"partial": "yes"},
    {"environment": {"signature": 3}},
    {"ladder": {"baseline": 3}},
]
UNUSABLE: list[tuple[Callable[[Project], object], str]] = [
    *((lambda p, body=body: p.capture(900, **body), "baseline.metrics.json: ") for body in MISSHAPEN),
    (
        lambda p: p.run.write("baseline.metrics.json", "2.0", {}),
        "baseline.metrics.json: schema_version: expected 1.x",
    ),
    (lambda p: (p.root / "coverage-ladder.yaml").write_text("line: .nan"), "coverage-ladder.yaml: line 1: "),
    (lambda p: (p.artifacts / "baseline.metrics.json").write_text("{"), "baseline.metrics.json: "),
]


@pytest.mark.parametrize(("spoil", "said"), UNUSABLE)
def test_what_cannot_be_used_is_refused_in_one_line(
    project: Project, capsys: pytest.CaptureFixture[str], spoil: Callable[[Project], object], said: str
) -> None:
    spoil(project)
    assert project.enforce("--quiet", "--only", "coverage") == 2
    error = capsys.readouterr().err
    assert error.startswith("enforce_gates.py: error: ")
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["--only", "nothing"],
        ["--only", "coverage", "--drill"],
        ["--resolve", "x"],
        ["--reason", "y"],
        ["--resolve", "x", "--reason", "  "],
        ["--replay", "nowhere"],
        ["--flake-threshold", "101"],
        ["--flake-threshold", "nan"],
        ["--soft-target", "-1"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_and_2(project: Project, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        project.enforce(*argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("TPR_MAX_FAIL_FAST_IMPROVEMENT_TARGET", "70.1"), ("TPR_HARD_FAIL_FAST_IMPROVEMENT_TARGET", "95.1 %")],
)
def test_the_targets_come_from_flag_then_variable(
    project: Project, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(key, value)
    project.enforce("--quiet")
    assert project.verdicts()["failfast"] == FAIL
    project.enforce("--quiet", "--soft-target", "70", "--hard-target", "95")
    assert project.verdicts()["failfast"] == PASS
    monkeypatch.setenv(key, "many")
    with pytest.raises(SystemExit):
        project.enforce()


SICK: dict[str, Callable[[Project], object]] = {
    "coverage": lambda p: p.capture(800),
    "flakes": lambda p: p.flakes(20),
    "properties": lambda p: p.properties(5),
}


@pytest.mark.parametrize("name", SICK)
def test_a_trigger_that_fires_does_all_that_a_rollback_asks(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Fail-fast off here and in later steps, a second capture, snapshot and event, the ladder judged anew."""
    handed = project.root / "github.env"
    handed.write_text("OTHER=1", "utf-8")
    monkeypatch.setenv("GITHUB_ENV", str(handed))
    SICK[name](project)
    project.enforce("--quiet")
    assert project.triggers() == {other: FIRED if other == name else QUIET for other in gates.TRIGGERS}
    assert project.incidents() == [".lock", "r"]
    incident = read_artifact(project.artifacts / "incidents" / "r" / "incident.json")
    assert (incident["state"], [row["name"] for row in incident["triggers"]]) == ("open", [name])
    assert incident["rerun"]["digest"] == "second"
    assert incident["reevaluation"]["verdict"] == FAIL
    snapshot = project.artifacts / "incidents" / "r" / "snapshot"
    assert sorted(incident["snapshot"]) == sorted(path.name for path in snapshot.iterdir())
    assert (snapshot / "baseline.metrics.json").read_bytes() == (
        project.artifacts / "baseline.metrics.json"
    ).read_bytes()
    (logged,) = [row for row in project.events("risk_trigger") if "incident" in row]
    assert (logged["incident"], logged["state"]) == ("r", "opened")
    assert logged["snapshot"] == incident["snapshot"]
    forced = read_artifact(project.artifacts / gates.FORCED_OFF)
    assert (forced["mode"], forced["incidents"], forced["triggers"]) == ("off", ["r"], [name])
    assert handed.read_text("utf-8") == "OTHER=1\nTPR_FAILFAST_MODE=off\n"


def test_a_drop_that_a_second_capture_does_not_show_rolls_nothing_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "recapture", project.again(900))
    project.capture(800)
    assert project.enforce("--quiet") == 1
    assert project.triggers()["coverage"] == gates.UNCONFIRMED
    assert project.incidents() == [".lock"]
    assert not (project.artifacts / gates.FORCED_OFF).exists()


def test_where_no_second_capture_can_be_had_the_trigger_fires_and_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "recapture", project.again(None))
    project.capture(800)
    assert project.enforce("--quiet") == 1
    incident = read_artifact(project.artifacts / "incidents" / "r" / "incident.json")
    assert incident["rerun"]["problem"] == "no suite here"
    assert "no second capture was possible: no suite here" in incident["triggers"][0]["evidence"][-1]


@pytest.mark.parametrize(("run_id", "name"), [("..", "run"), ("\u65e5" * 200, "-" * 100)])
def test_whatever_a_run_is_called_its_incident_has_a_name(tmp_path: Path, run_id: str, name: str) -> None:
    assert gates.free_name(tmp_path, run_id) == tmp_path / name


def test_an_open_incident_covers_the_same_trigger_but_not_another(project: Project) -> None:
    project.capture(800)
    project.enforce("--quiet")
    project.capture(700)
    project.enforce("--quiet")
    assert project.incidents() == [".lock", "r"]
    project.flakes(20)
    project.enforce("--quiet")
    assert project.incidents() == [".lock", "r", "r.2"]
    assert read_artifact(project.artifacts / gates.FORCED_OFF)["incidents"] == ["r", "r.2"]


def test_an_incident_stays_until_the_last_is_resolved(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.flakes(20)
    project.properties(5)
    project.enforce("--quiet")
    project.capture(800)
    project.enforce("--quiet")
    project.capture(900)
    assert project.enforce() == 0
    assert "open incidents: r, r.2; fail-fast is forced off" in capsys.readouterr().out
    assert project.enforce("--resolve", "r", "--reason", "quarantined") == 0
    assert (project.artifacts / gates.FORCED_OFF).exists()
    assert project.enforce("--resolve", "r.2", "--reason", "tests are back") == 0
    assert not (project.artifacts / gates.FORCED_OFF).exists()
    resolved = read_artifact(project.artifacts / "incidents" / "r" / "incident.json")
    assert (resolved["state"], resolved["resolution"]["reason"]) == ("resolved", "quarantined")
    assert [row["state"] for row in project.events("risk_trigger") if "incident" in row].count("resolved") == 2


def test_resolved_evidence_does_not_fire_again_but_new_evidence_does(project: Project) -> None:
    project.capture(800)
    project.enforce("--quiet")
    project.enforce("--resolve", "r", "--reason", "known")
    project.enforce("--quiet")
    assert project.incidents() == [".lock", "r"]
    project.capture(700)
    project.enforce("--quiet")
    assert project.incidents() == [".lock", "r", "r.2"]


@pytest.mark.parametrize("later", ["2999-01-01T00:00:00.000000Z", None], ids=["later", "no time"])
def test_flakes_that_last_failed_before_their_incident_was_resolved_count_no_more(
    project: Project, later: str | None
) -> None:
    project.flakes(20)
    project.enforce("--quiet")
    project.enforce("--resolve", "r", "--reason", "mended")
    project.flakes(19)
    project.enforce("--quiet")
    assert (project.triggers()["flakes"], project.incidents()) == (QUIET, [".lock", "r"])
    project.flakes(18, later)
    project.enforce("--quiet")
    assert (project.triggers()["flakes"], project.incidents()) == (FIRED, [".lock", "r", "r.2"])


@pytest.mark.parametrize("name", ["unknown", "../r", "r"])
def test_only_an_open_incident_can_be_resolved(
    project: Project, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    project.capture(800)
    project.enforce("--quiet")
    if name == "r":
        project.enforce("--resolve", "r", "--reason", "done")
        capsys.readouterr()
    assert project.enforce("--resolve", name, "--reason", "done") == 2
    assert "open are: " in capsys.readouterr().err
    assert project.events("coverage_ladder_recorded")[-1]["exit"] == 2


def test_an_incident_that_was_edited_counts_as_open_and_fails_integrity(project: Project) -> None:
    project.capture(800)
    project.enforce("--quiet")
    tamper(project.artifacts / "incidents" / "r" / "incident.json", b'"state": "open"', b'"state": "resolved"')
    project.capture(900)
    assert project.enforce("--quiet") == 1
    assert project.verdicts()["integrity"] == FAIL
    assert read_artifact(project.artifacts / gates.FORCED_OFF)["incidents"] == ["r"]
    assert project.enforce("--resolve", "r", "--reason", "edited by hand") == 0
    assert project.enforce("--quiet") == 0


def test_an_incident_removed_by_hand_is_missed(project: Project) -> None:
    project.capture(800)
    project.enforce("--quiet")
    (project.artifacts / "incidents" / "r").rename(project.root / "hidden")
    project.enforce("--quiet", "--only", "integrity")
    row = read_artifact(project.artifacts / gates.VERDICTS)["gates"][0]
    assert row["evidence"] == ["incidents/r: removed before it was resolved"]


def test_a_gate_killed_after_the_incident_was_opened_is_completed_by_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.capture(800)
    with monkeypatch.context() as patch:
        patch.setattr(gates, "enforce_open", lambda *_: None)
        project.enforce("--quiet")
    assert (project.incidents(), (project.artifacts / gates.FORCED_OFF).exists()) == ([".lock", "r"], False)
    project.capture(900)
    project.enforce("--quiet")
    assert read_artifact(project.artifacts / gates.FORCED_OFF)["incidents"] == ["r"]
    assert [row["incident"] for row in project.events("risk_trigger") if "incident" in row] == ["r"]


def test_a_gate_that_cannot_go_on_leaves_no_half_incident_and_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> str:
        raise EvidenceError("disk full")

    monkeypatch.setattr(gates, "recapture", stopped)
    (project.artifacts / "incidents" / ".building").mkdir(parents=True)  # of one that was killed
    project.capture(800)
    assert project.enforce("--quiet") == 2
    assert project.incidents() == [".lock"]
    assert project.events("coverage_ladder_recorded")[-1]["exit"] == 2


def test_the_drill_sees_every_trigger_fire_and_touches_nothing_here(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ENV", str(project.root / "github.env"))
    before = sorted(path.name for path in project.artifacts.iterdir())
    assert project.enforce("--drill") == 0
    assert sorted(path.name for path in project.artifacts.iterdir()) == before
    assert not (project.root / "github.env").exists()
    drilled = [row for row in project.events("risk_trigger") if row["drill"] and "trigger" in row]
    assert [(row["trigger"], row["state"], row["missing"]) for row in drilled] == [
        (name, FIRED, []) for name in gates.TRIGGERS
    ]
    assert capsys.readouterr().out.count(FIRED) == 3


def test_the_drill_is_on_samples_alone_whatever_the_project_published(project: Project) -> None:
    published = project.root / "artifacts" / "foundation"
    published.mkdir(parents=True)
    (project.artifacts / "reference.metrics.json").rename(published / "reference.metrics.json")
    assert project.enforce("--drill", "--quiet") == 0


def test_the_drill_finds_a_limit_that_nothing_can_exceed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.enforce("--drill", "--flake-threshold", "100") == 1
    assert "sick evidence: expected fired, got quiet" in capsys.readouterr().out


ACTIONS = dict.fromkeys(["enforce_open", "hand_over", "reevaluation"], lambda *_: None)


@pytest.mark.parametrize(
    ("action", "idle"), [*ACTIONS.items(), ("snapshot", lambda _, into: into.mkdir(parents=True) or {})]
)
def test_the_drill_finds_an_action_that_does_not_happen(
    project: Project, monkeypatch: pytest.MonkeyPatch, action: str, idle: Callable[..., object]
) -> None:
    monkeypatch.setattr(gates, action, idle)
    assert project.enforce("--drill", "--quiet") == 1


def test_a_replay_counts_what_would_have_fired_at_each_limit(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    history = project.root / "history"
    for number, covered in enumerate([900, 895, 885, 885, 900, 880]):
        one = Project.__new__(Project)
        one.artifacts = history / f"run-{number}"
        one.run = Run("collect_metrics", project.root, one.artifacts)
        one.capture(covered)
        one.flakes(0 if number else 30)
    assert project.enforce("--replay", str(history)) == 0
    rows = {(row["trigger"], row["limit"]): row for row in read_artifact(project.artifacts / gates.REPLAY)["rows"]}
    found = {limit: (row["fired"], row["incidents"]) for (name, limit), row in rows.items() if name == "coverage"}
    assert found == {"0": (4, 2), "0.5": (3, 2), "1": (3, 2), "2": (0, 0), "5": (0, 0)}
    assert rows["coverage", "1"]["in_force"]
    assert rows["coverage", "1"]["first"] == ["run-2", "run-3", "run-5"]
    assert (rows["flakes", "2"]["runs"], rows["flakes", "2"]["fired"]) == (6, 1)
    assert rows["properties", "0.5"]["runs"] == 0
    assert "6 stored runs" in capsys.readouterr().out


def test_each_row_that_speaks_against_the_change_is_annotated(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.capture(0)
    project.failfast(10, 95)
    assert project.enforce("--quiet") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("::")]
    assert [line.partition("::")[2].partition(":")[0] for line in lines] == [
        "error title=coverage", "warning title=failfast", "warning title=coverage"
    ]  # fmt: skip
    assert lines[0].startswith("::error title=coverage::fail: line 0.00 %25 (0 of 1000)")
    assert len(gates.GATES) + len(gates.TRIGGERS) < 10


def test_hostile_names_reach_neither_terminal_nor_workflow(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    counts = {"statements": 1000, "statements_covered": 0, "branches": 100, "branches_covered": 80}
    project.capture(0, coverage={**counts, "files": [{"path": "a\n::error::pwned\x1b[31m.py", **counts}]})
    project.enforce()
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert not any(line.startswith("::error::") for line in (shown.out + shown.err).splitlines())


def test_the_functions_that_close_the_gap_are_named_largest_first(project: Project) -> None:
    source = "def small():\n    a = 1\n\n\nclass Big:\n    def one(self):\n" + "        b = 1\n" * 25
    (project.root / "calc.py").write_text(source, "utf-8")
    lines = "".join(f'<line number="{n}" hits="0"/>\n' for n in [2, *range(7, 32)])
    totals = 'lines-valid="1000" lines-covered="900" branches-valid="100" branches-covered="80"'
    head = f'<coverage {totals}>\n<source>{project.root}</source>\n<class name="c" filename="calc.py">\n'
    project.run.write_bytes("coverage.xml", f"{head}{lines}</class></coverage>".encode())
    assert project.enforce("--quiet") == 0
    details = read_artifact(project.artifacts / gates.VERDICTS)["coverage"]
    assert details["functions"] == [{"path": "calc.py", "line": 6, "function": "one", "lines": 25}]


def test_the_verdicts_of_a_run_are_plain_data_of_one_shape(project: Project) -> None:
    project.enforce("--quiet")
    document = read_artifact(project.artifacts / gates.VERDICTS)
    assert set(document) - gates.ENVELOPE == {
        "only", "judged_run", "holds", "gates", "triggers", "incidents", "coverage"
    }  # fmt: skip
    assert set(document["gates"][0]) == set("gate enforcement verdict value limit evidence remedy response".split())
    assert set(document["triggers"][0]) == set("name state value limit evidence remedy where digest".split())
    assert json.loads(json.dumps(document)) == document
