"""What the scan says of histories that real pytest wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from scan_flakes import Window, scan

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

CONFTEST = """
import os, pytest

@pytest.fixture(scope="session", autouse=True)
def commit(record_testsuite_property):
    record_testsuite_property("commit", os.environ["COMMIT"])
"""
TESTS = """
import os, pytest

RUN, COMMIT = int(os.environ["RUN"]), os.environ["COMMIT"]

def test_steady():
    pass

@pytest.mark.parametrize("text", ["a::b", "a-b", "ü"])
def test_flips(text):
    assert (RUN, text) != (1, "a::b"), f"no answer within {RUN}.5 s from 10.0.0.{RUN}:8080"

def test_regression():
    assert COMMIT == "A"

class TestThings:
    @pytest.fixture
    def thing(self):
        yield
        if RUN == 1:
            raise OSError("left open")

    def test_teardown(self, thing):
        pass

    def test_both(self, thing):
        assert RUN != 1

def test_subtests(subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert (RUN, number) != (1, 2)

@pytest.mark.skipif(RUN == 1, reason="not today")
def test_skipped_now_and_then():
    pass

@pytest.mark.xfail(RUN == 1, reason="known")
def test_expected():
    assert RUN != 1
"""
RETRIED = """
import pytest

attempts = []

def test_recovers():
    attempts.append(1)
    assert len(attempts) > 2

def test_never():
    assert attempts == []

@pytest.fixture
def thing():
    attempts.append("thing")
    yield
    assert attempts.count("thing") > 1, "left open"

def test_recovers_in_tear_down(thing):
    pass

def test_fine():
    pass
"""


def project(folder: Path, tests: str) -> Path:
    (folder / "history").mkdir()
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text(CONFTEST)
    (folder / "tests" / "test_it.py").write_text(tests, "utf-8")
    return folder


def run_pytest(root: Path, run: int, *argv: str, commit: str = "A", python: str = sys.executable) -> int:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV", "TPR_"))}
    own = {"RUN": str(run), "COMMIT": commit, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    usual = ["-q", "-p", "no:cacheprovider", f"--junitxml=history/{run}.xml", *argv, "tests"]
    command = [python, "-m", "pytest", *usual]
    return subprocess.run(command, cwd=root, env=kept | own, capture_output=True, check=False, timeout=60).returncode


def verdicts(root: Path) -> dict[str, Any]:
    return scan(root / "history", True, Window(30, None), lambda _: None)


def test_flaky_broken_and_skipped_are_told_apart_in_every_family(tmp_path: Path) -> None:
    """One test from run to run, whichever attributes a family gives it."""
    root = project(tmp_path, TESTS)
    families, commits = ("xunit2", "xunit1", "legacy", "xunit2"), "AAAB"
    flags = [("-o", f"junit_family={family}") for family in families]
    assert [run_pytest(root, n, *flags[n], commit=commit) for n, commit in enumerate(commits)] == [0, 1, 0, 1]
    body = verdicts(root)
    assert {row["id"]: row["evidence"] for row in body["flaky"]} == {
        "tests/test_it.py::TestThings::test_both": "same_commit",
        "tests/test_it.py::TestThings::test_teardown": "same_commit",
        "tests/test_it.py::test_flips[a::b]": "same_commit",
        "tests/test_it.py::test_subtests": "same_commit",
    }
    assert body["suspected"] == []
    assert [(row["id"], row["kind"]) for row in body["breakages"]] == [
        ("tests/test_it.py::test_regression", "regression")
    ]
    assert [(run["commit"], run["skipped"], run["rerun"]) for run in body["runs"]] == [
        ("A", 0, 0),
        ("A", 2, 0),
        ("A", 0, 0),
        ("B", 0, 0),
    ]
    assert body["tests_observed"] == 10
    (template,) = (row["template"] for row in body["clusters"] if "no answer" in row["template"])
    assert template == "AssertionError: no answer within # from #"


def test_a_retried_test_is_flaky_if_it_passed_and_broken_if_it_never_did(tmp_path: Path, plugins_python: str) -> None:
    root = project(tmp_path, RETRIED)
    assert run_pytest(root, 0, "-p", "pytest_rerunfailures", "--reruns=2", python=plugins_python) == 1
    body = verdicts(root)
    assert {row["id"]: (row["evidence"], row["failures"]) for row in body["flaky"]} == {
        "tests/test_it.py::test_recovers": ("passed_on_rerun", 2),
        "tests/test_it.py::test_recovers_in_tear_down": ("passed_on_rerun", 1),
    }
    assert [(row["id"], row["kind"]) for row in body["breakages"]] == [("tests/test_it.py::test_never", "broken")]
    (counts,) = body["runs"]
    assert (counts["passed"], counts["failed"], counts["rerun"]) == (3, 1, 5)
