"""Shards: every test in exactly one, about as long as each other, and joined into what one capture would say."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import collect_metrics as collect
import pytest
from events import EvidenceError, Run, read_artifact

if TYPE_CHECKING:
    from pathlib import Path

    import conftest as platform
else:
    from root_conftest import platform

pytestmark = pytest.mark.unit
QUICK = ("--skip", "environment", "--skip", "flakes", "--skip", "coverage", "--quiet")
split = platform.split


def suite_of(files: int, tests: int, seed: int) -> dict[str, float]:
    """Ids with seconds as suites have them: most short, few long, none longer than a twentieth of a share of 16."""
    chance = random.Random(seed)
    ids = [f"tests/test_{chance.randrange(files)}.py::test_{number}[a-b]" for number in range(tests)]
    return {test: min(chance.lognormvariate(-4, 1.5), 0.3) for test in ids}


def lengths(shares: list[list[str]], known: dict[str, float]) -> list[float]:
    return [sum(known[test] for test in share) for share in shares]


@pytest.mark.parametrize(("files", "tests"), [(1, 2000), (7, 2000), (300, 2000), (5, 3)])
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_every_test_is_in_exactly_one_shard_whatever_is_known_of_it(files: int, tests: int, count: int) -> None:
    suite = suite_of(files, tests, seed=count)
    for known in (suite, {}, dict(list(suite.items())[::2])):
        shares = split(suite, known, count)
        assert len(shares) == count
        assert Counter(test for share in shares for test in share) == Counter(dict.fromkeys(suite, 1))


@pytest.mark.parametrize("files", [1, 7, 40, 300])
@pytest.mark.parametrize("count", [2, 5, 16])
def test_the_longest_shard_takes_at_most_five_percent_more_than_the_mean(files: int, count: int) -> None:
    for seed, speed in enumerate((1, 1, 50)):  # also where a test takes about a millisecond
        suite = {test: seconds / speed for test, seconds in suite_of(files, 3000, seed).items()}
        found = lengths(split(suite, suite, count), suite)
        assert max(found) <= 1.05 * sum(found) / count


def test_the_order_of_collection_and_of_the_record_changes_no_shard() -> None:
    suite = suite_of(20, 500, seed=3)
    shuffled = list(suite.items())
    random.Random(4).shuffle(shuffled)
    assert split([test for test, _ in shuffled], dict(shuffled), 4) == split(suite, suite, 4)


def test_files_stay_whole_where_that_balances() -> None:
    suite = {f"test_{file}.py::test_{test}": 1.0 for file in range(8) for test in range(10)}
    shares = split(suite, suite, 4)
    assert [len({test.partition("::")[0] for test in share}) for share in shares] == [2, 2, 2, 2]


def test_a_long_file_is_cut_into_runs_of_neighbours() -> None:
    suite = {f"test_a.py::test_{test:03}": 1.0 for test in range(100)}
    for share in split(suite, suite, 2):
        numbers = [int(test[-3:]) for test in share]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_run_is_of_one_file_and_no_longer_than_it_may_be() -> None:
    seconds = {"a.py::1": 1.0, "a.py::2": 1.0, "a.py::3": 9.0, "a.py::4": 0.5, "b.py::1": 0.5, "b.py::B::2": 0.5}
    assert platform.runs_of(seconds, 2.0) == [
        (2.0, ["a.py::1", "a.py::2"]),
        (9.0, ["a.py::3"]),
        (0.5, ["a.py::4"]),
        (1.0, ["b.py::1", "b.py::B::2"]),
    ]


def test_the_longest_run_is_dealt_first_to_the_shortest_share() -> None:
    runs = [(1.0, ["w"]), (2.0, ["z"]), (3.0, ["x"]), (2.0, ["y"])]
    assert sorted(platform.deal(runs, 2)) == [(4.0, 0, ["x", "w"]), (4.0, 1, ["y", "z"])]
    assert split({"a.py::t", "b.py::t"}, {"a.py::t": 5.0, "b.py::t": 1.0}, 2) == [["a.py::t"], ["b.py::t"]]


def test_a_new_test_weighs_what_its_file_does_else_what_all_do() -> None:
    known = {"a.py::x": 3.0, "a.py::y": 5.0, "b.py::z": 1.0}
    found = platform.expected_seconds(["a.py::new", "b.py::z", "c.py::new"], known)
    assert {test: round(seconds - platform.OWN_COST, 6) for test, seconds in found.items()} == {
        "a.py::new": 4.0,
        "b.py::z": 1.0,
        "c.py::new": 3.0,
    }


def test_tests_that_take_no_time_are_spread_all_the_same() -> None:
    suite = {f"test_{number}.py::test": 0.0 for number in range(40)}
    assert [len(share) for share in split(suite, suite, 4)] == [10, 10, 10, 10]


def test_one_test_longer_than_a_share_has_a_shard_for_itself() -> None:
    suite = {"test_long.py::test": 50.0, **{f"test_{number}.py::test": 0.1 for number in range(30)}}
    assert ["test_long.py::test"] in split(suite, suite, 3)


def record(name: str, outcome: str = "passed", **more: Any) -> dict[str, Any]:
    seconds = {"setup": 0.001, "call": 0.01, "teardown": 0.002}
    return {"id": name, "outcome": outcome, "start": 1.0, "markers": ["slow"], "worker": "", **seconds, **more}


def shard(root: Path, number: int, *tests: dict[str, Any], of: int = 2, folder: str = "", **facts: Any) -> Path:
    """The evidence of a shard, as a capture writes it."""
    run = Run("collect_metrics", root, root / (folder or f"shard{number}"))
    run.commit = facts.pop("commit", "c" * 40), False
    run.id = facts.pop("run_id", "r1")
    suite = {"tests": tests, "collected": len(tests), "registered": ["slow"], "rootdir": str(root), "exit": 0}
    scope = {"pytest_args": ["-q"], "source": [], "skipped_stages": ["coverage", "environment"]}
    body: dict[str, Any] = {"shard": number, "of": of, "root": str(root), "suite_seconds": 1.5}
    body |= {name: facts.pop(name, None) for name in ("environment", "coverage_sha256")}
    body["scope"] = scope | facts.pop("scope", {})
    run.write(collect.SHARD, collect.SHARD_VERSION, body | {"suite": suite | {"split": "s", "deselected": 3} | facts})
    return run.artifacts


@pytest.fixture(autouse=True)
def one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPR_RUN_ID", "r1")
    monkeypatch.setattr(Run, "commit", ("c" * 40, False))


def merge(root: Path, *places: Path) -> int:
    return collect.main(["--root", str(root), *QUICK, "--merge", *map(str, places)])


def test_merged_shards_are_one_suite_of_all_their_tests(tmp_path: Path) -> None:
    one = shard(tmp_path, 1, record("b"), record("d", "skipped", reason="no"))
    two = shard(tmp_path, 2, record("c"), record("a", "xfailed"))
    assert merge(tmp_path, two, one) == 0
    artifacts = tmp_path / "artifacts"
    baseline = read_artifact(artifacts / "baseline.metrics.json")
    counts = {key: value for key, value in baseline["outcomes"].items() if value}
    assert counts == {"tests": 4, "passed": 2, "skipped": 1, "xfailed": 1, "deselected": 3}
    assert baseline["scope"]["collected"] == 4
    assert "shard" not in baseline["scope"]
    assert (baseline["scope"]["pytest_args"], baseline["partial"]) == (["-q"], None)
    assert baseline["capture"]["suite"] == 3.0
    assert [row["id"] for row in read_artifact(artifacts / "durations.json")["tests"]] == ["a", "b", "c", "d"]
    assert [path.name for path in (artifacts / "history").iterdir()] == ["r1.xml"]
    assert not (artifacts / ".capture").exists()


def test_a_shard_that_was_killed_makes_the_whole_partial_for_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = shard(tmp_path, 1, record("a"))
    two = shard(tmp_path, 2, record("b"), exit=None, reason="killed by SIGKILL", in_flight=["c"])
    assert merge(tmp_path, one, two) == 2
    baseline = read_artifact(tmp_path / "artifacts" / "baseline.metrics.json")
    assert baseline["partial"] == {"reason": "shard 2/2: killed by SIGKILL", "in_flight": ["c"]}
    assert "partial: shard 2/2: killed by SIGKILL; in flight: c" in capsys.readouterr().err


def test_work_beside_another_is_another_processs_and_its_error_is_told_here(tmp_path: Path) -> None:
    note, watch = tmp_path / "note", collect.Stopwatch()

    def work() -> None:
        with watch.stage("work"):
            note.write_text(str(os.getpid()))

    with collect.beside(work, watch):
        pass
    assert int(note.read_text()) != os.getpid()
    assert list(watch.seconds) == ["work"]
    broken = Mock(side_effect=EvidenceError("no room"))
    with pytest.raises(EvidenceError, match="no room"), collect.beside(broken, watch):
        pass


def test_a_failure_in_any_shard_is_the_suites(tmp_path: Path) -> None:
    one, two = shard(tmp_path, 1, record("a")), shard(tmp_path, 2, record("b", "failed"), exit=1)
    assert merge(tmp_path, one, two) == 1


def test_a_shard_without_a_test_of_its_own_is_no_trouble(tmp_path: Path) -> None:
    one, two = shard(tmp_path, 1, record("a")), shard(tmp_path, 2)
    assert merge(tmp_path, one, two) == 0
    empty = collect.read_records(['{"split":"s"}', '{"exit":5,"stop":null}'])
    assert collect.verdict(empty) == 0


def test_tests_whose_ids_lost_the_same_secret_in_two_shards_stay_two(tmp_path: Path) -> None:
    one, two = (shard(tmp_path, number, record("t[[redacted]]#1")) for number in (1, 2))
    assert merge(tmp_path, one, two) == 0
    tests = read_artifact(tmp_path / "artifacts" / "durations.json")["tests"]
    assert [row["id"] for row in tests] == ["t[[redacted]]#1", "t[[redacted]]#2"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"number": 3}, "shard 2/3 missing: run it, or give its folder to --merge"),
    "twice": ({"number": 1}, "other: shard 1/3 is there twice, also as "),
    "count": ({"of": 4}, "other: shard 2/4: expected one of 3 shards"),
    "run": ({"run_id": "r0"}, "other: shard 2/3: expected run_id 'r1', got 'r0'; run that shard again"),
    "commit": ({"commit": "d" * 40}, "other: shard 2/3: expected commit "),
    "environment": ({"environment": "e"}, "other: shard 2/3: expected environment None, got 'e'"),
    "arguments": ({"scope": {"pytest_args": []}}, "other: shard 2/3: expected pytest_args ['-q'], got []"),
    "durations": ({"split": "t"}, "other: shard 2/3: expected split 's', got 't': other tests were collected"),
    "coverage": ({"coverage_sha256": "0" * 64}, "other/.coverage: expected the coverage data of shard 2/3"),
    "number": ({"number": "two"}, "other/shard.evidence.json: ValueError("),
    "version": ({"surprise": 1}, "other/shard.evidence.json: TypeError("),
}


@pytest.mark.parametrize(("facts", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_belong_together_is_refused_by_the_shards_number(
    facts: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [shard(tmp_path, number, record(str(number)), of=3) for number in (1, 3)]
    given = {"of": 3, "number": 2} | facts
    other = shard(tmp_path, given.pop("number"), record("2"), folder="other", **given)
    assert merge(tmp_path, *(own[:1] if "missing" in said else own), other) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "artifacts" / "baseline.metrics.json").exists()


def test_all_missing_shards_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge(tmp_path, shard(tmp_path, 2, record("a"), of=4)) == 2
    assert "shard 1/4, 3/4, 4/4 missing: run it" in capsys.readouterr().err


def test_changed_evidence_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = shard(tmp_path, 1, record("a"), of=1)
    text = (place / collect.SHARD).read_text().replace('"passed"', '"failed"')
    (place / collect.SHARD).write_text(text)
    assert merge(tmp_path, place) == 2
    assert "changed since written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--shard", "0/4"], "expected I/N with I from 1 to N, got '0/4'"),
        (["--shard", "5/4"], "expected I/N with I from 1 to N, got '5/4'"),
        (["--shard", "2"], "expected I/N with I from 1 to N, got '2'"),
        (["--merge", "nowhere"], "nowhere: expected a folder, got nothing"),
        (["--merge", ".", "--shard", "1/2"], "--merge: the shards have run"),
        (["--merge", ".", "--", "-k", "x"], "--merge: the shards have run"),
    ],
)
def test_a_shard_that_can_not_be_is_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        collect.main(argv)
    assert said in capsys.readouterr().err


def test_shards_need_one_run_id_from_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TPR_RUN_ID")
    with pytest.raises(SystemExit):
        collect.main(["--shard", "1/2"])
    assert "expected TPR_RUN_ID, the same for all shards and their merge" in capsys.readouterr().err
