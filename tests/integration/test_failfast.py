"""The fail-fast modes in real pytest runs: nothing skipped, stopped at the first failure, evidence kept whole."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from events import LOG_NAME, read_artifact, read_log

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"
SCRIPT = ROOT / "scripts" / "tests" / "collect_metrics.py"
FILES = (
    "tests/flat/test_square.py tests/flat/test_circle.py tests/flat/test_empty.py tests/solid/test_cube.py "
    "tests/solid/test_cylinder.py tests/test_all.py shapes/flat.py"
).split()
FLAGS = ("--skip", "environment", "--skip", "flakes")
pytestmark = pytest.mark.integration


def plain_env(**more: str) -> dict[str, str]:
    """No mode, no tracer of an outer run, and none of the plugins that happen to be installed: they cost time."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("TPR_", "GIT_", "PYTEST_", "COV"))}
    return env | {"PYTHONPATH": ".", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | more


def drive(*cases: dict[str, Any]) -> list[dict[str, Any]]:
    """pytest's status and the ids that ran, per case; each in a fork of one process."""
    line = [sys.executable, str(SAMPLES / "failfast_driver.py"), str(ROOT / "conftest.py")]
    said = subprocess.run(line, input=json.dumps(cases), capture_output=True, text=True, check=True, env=plain_env())
    answers: list[dict[str, Any]] = json.loads(said.stdout)
    return answers


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    shutil.copytree(SAMPLES / "failfast_shapes", folder, ignore=shutil.ignore_patterns("__pycache__", "artifacts"))
    return str(folder)


def test_whatever_the_order_the_same_tests_run_each_once(shapes: str) -> None:
    dice = random.Random(7)
    cases: list[dict[str, Any]] = []
    for extra in ([], ["-k", "circle or cube"], ["-m", "slow"], ["tests/solid", "tests/test_all.py"]):
        orders = [dice.sample(FILES, dice.randrange(1, len(FILES) + 1)) for _ in range(2)]
        cases.append({"dir": shapes, "args": extra})
        cases += [{"dir": shapes, "args": ["--failfast-mode=hard", *extra], "files": files} for files in orders]
    for case, answer in zip(cases, drive(*cases), strict=True):
        if "files" not in case:
            usual = answer
            assert usual["ran"]
        assert (answer["code"], sorted(answer["ran"])) == (0, sorted(usual["ran"])), case
        assert answer["setups"].count("world") == 1, case


def test_off_never_reorders_and_a_mode_twice_gives_the_same(shapes: str) -> None:
    ordered = {"dir": shapes, "args": ["--failfast-mode=hard"], "files": FILES[4:1:-1], "words": {"skipped": 1.0}}
    plain, off, first, second = drive(
        {"dir": shapes, "args": []}, {**ordered, "args": ["--failfast-mode=off"]}, ordered, ordered
    )
    assert off == plain
    assert first == second
    assert first["ran"][0] == "tests/solid/test_cylinder.py::test_skipped"
    assert first["ran"] != plain["ran"]


def test_what_needs_all_tests_at_once_gets_them(shapes: str) -> None:
    cases = []
    for extra in (["--collect-only"], ["tests/test_all.py::test_names"], ["--lf"], ["--sw"]):
        cache = "-p cacheprovider -p stepwise".split() if extra[0] in ("--lf", "--sw") else []
        modes = ["--failfast-mode=off", "--failfast-mode=hard"]
        cases += [{"dir": shapes, "args": [*cache, *extra, mode], "files": FILES[::-1]} for mode in modes]
    answers = [(answer["code"], sorted(answer["ran"])) for answer in drive(*cases)]
    assert answers[::2] == answers[1::2]
    assert [len(ran) for _, ran in answers[::2]] == [0, 1, 16, 16]


KINDS = {
    "call": "def test_1():\n    assert 0\n",
    "set-up": "import pytest\n@pytest.fixture\ndef broken():\n    1 / 0\ndef test_1(broken): pass\n",
    "tear-down": "import pytest\n@pytest.fixture\ndef broken():\n    yield\n    1 / 0\ndef test_1(broken): pass\n",
    "collection": "import nothing_of_this_name\n",
    "subtest": "def test_1(subtests):\n    with subtests.test():\n        assert 0\n",
    "strict xfail": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_1(): pass\n",
}
HARMLESS = (
    "import pytest\n@pytest.mark.xfail\ndef test_1():\n    assert 0\n@pytest.mark.xfail\ndef test_2(): pass\n"
    "def test_3():\n    pytest.skip()\n"
)


def test_every_kind_of_failure_stops_the_run_and_nothing_else_does(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = []
    for kind, text in {**KINDS, "harmless": HARMLESS}.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "test_a.py").write_text(text)
        (folder / "test_b.py").write_text("def test_after(): pass\n")
        here = {"dir": str(folder), "args": ["--failfast-mode=soft", "-p", "no:randomly"], "kind": kind}
        cases += [{**here, "files": []}, {**here, "files": ["test_a.py"]}]  # opened with all others, and alone
    for case, answer in zip(cases, drive(*cases), strict=True):
        stopped = "test_b.py::test_after" not in answer["ran"]
        assert (answer["code"], stopped) == ((0, False) if case["kind"] == "harmless" else (1, True)), case


def pytest_here(
    folder: Path, *arguments: str, python: str = sys.executable, **env: str
) -> subprocess.CompletedProcess[str]:
    """pytest in a project that holds a copy of conftest.py."""
    shutil.copy(ROOT / "conftest.py", folder / "conftest.py")
    line = [python, "-m", "pytest", *arguments]
    return subprocess.run(
        line, cwd=folder, env=plain_env(**env), capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("flags", "forced", "said"),
    [
        ((), False, "fail-fast: --failfast-mode=off, TPR_SEED=7, order: usual"),
        (
            ("--failfast-mode=hard",),
            False,
            "fail-fast: --failfast-mode=hard, TPR_SEED=7, order: usual (no baseline: ",
        ),
        (
            ("--failfast-mode=soft",),
            True,
            "--failfast-mode=off, TPR_SEED=7, order: usual (an open incident forces soft",
        ),
    ],
)
def test_the_header_prints_what_reproduces_the_run(
    tmp_path: Path, flags: tuple[str, ...], forced: bool, said: str
) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    if forced:
        (tmp_path / "artifacts").mkdir()
        (tmp_path / "artifacts" / "failfast.forced_off.json").write_text("{}")
    assert said in pytest_here(tmp_path, *flags, TPR_SEED="7").stdout


# Captures


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a baseline of its first commit."""
    folder = tmp_path_factory.mktemp("captured") / "shapes"
    shutil.copytree(SAMPLES / "failfast_shapes", folder, ignore=shutil.ignore_patterns("__pycache__", "artifacts"))
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    done = capture(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(captured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(captured, tmp_path / "shapes"))


def git(folder: Path, *words: str) -> None:
    own = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *own, *words], cwd=folder, check=True, env=plain_env())


def command(folder: Path, *flags: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--root", str(folder), *FLAGS, *flags, "--", "-q"]


def capture(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    line = command(folder, *flags)
    return subprocess.run(line, env=plain_env(), capture_output=True, text=True, check=False, timeout=60)


def change(folder: Path, old: str, new: str, path: str = "shapes/flat.py") -> None:
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new))


def digests(folder: Path) -> dict[str, bytes]:
    left_out = (LOG_NAME, "failfast.summary.json", ".coverage")
    files = [path for path in (folder / "artifacts").glob("*.*") if path.is_file() and path.name not in left_out]
    return {path.name: path.read_bytes() for path in files}


def events(folder: Path) -> list[dict[str, Any]]:
    reading = read_log(folder / "artifacts" / LOG_NAME)
    assert reading.problems == []
    return reading.events


def test_hard_runs_the_likely_test_first_and_touches_no_metrics(project: Path) -> None:
    before, lines = digests(project), len(events(project))
    change(project, "return 3 * radius", "return 4 * radius")
    done = capture(project, "--failfast-mode", "hard")
    summary = read_artifact(project / "artifacts" / "failfast.summary.json")
    assert done.returncode == 1
    assert digests(project) == before
    assert (summary["mode"], summary["tests_run"], summary["partial_metrics"]) == ("hard", 1, False)
    assert summary["first_failure"]["id"].startswith("tests/flat/test_circle.py::test_circle")
    assert summary["order"].endswith(" likely files first (1 files changed, 1 lines of the baseline)")
    assert summary["rollback"]["last_baseline"]["run_id"]
    assert summary["elapsed_to_detection_s"] > 0
    logged = [event["event"] for event in events(project)[lines:]]
    assert logged == [
        "metrics_capture_start",
        "failfast_mode_applied",
        "early_exit_detected",
        "risk_trigger",
        "metrics_capture_complete",
    ]
    assert "hard mode writes no metrics for this run" in done.stderr


def test_soft_writes_everything_marked_partial_and_leaves_the_baseline(project: Path) -> None:
    before = digests(project)
    change(project, "return 3 * radius", "return 4 * radius")
    done = capture(project, "--failfast-mode", "soft")
    after = digests(project)
    summary = read_artifact(project / "artifacts" / "failfast.summary.json")
    assert done.returncode == 1
    assert (summary["mode"], summary["tests_run"], summary["partial_metrics"]) == ("soft", 1, True)
    assert summary["rollback"] is None
    kept = {name for name in before if after[name] == before[name]}
    assert {"baseline.metrics.json", "baseline.metrics.hash", "coverage-ladder.yaml", "test.map.json"} <= kept
    for name in ("durations.json", "markers.usage.json"):
        assert read_artifact(project / "artifacts" / name)["partial"]["reason"].startswith("soft fail-fast")
    every, ran = (re.findall(rb' filename="([^"]+)"', files["coverage.xml"]) for files in (before, after))
    assert (len(every) > 1, ran) == (True, [b"flat.py"]), "files that were not reached are reported as uncovered"
    assert "early_exit_detected" in [event["event"] for event in events(project)]


def test_a_mode_on_a_change_that_breaks_nothing_says_so(project: Path) -> None:
    change(project, "return 3 * radius", "return radius * 3")
    done = capture(project, "--failfast-mode", "hard")
    summary = read_artifact(project / "artifacts" / "failfast.summary.json")
    assert (done.returncode, summary["first_failure"], summary["rollback"]) == (0, None, None)
    assert summary["tests_run"] == summary["tests_collected"] == 16


def test_a_reverted_fix_shows_its_own_test_first(project: Path) -> None:
    """The fix and its test were in the baseline; the change takes the fix back and keeps the test."""
    change(project, "def circle", "def ring(outer, inner):\n    return circle(outer) - circle(inner)\n\n\ndef circle")
    tests = project / "tests" / "test_all.py"
    more = "".join(f"def test_other_{number}():\n    assert flat.ring(1, 1) == 0\n" for number in range(5))
    tests.write_text(f"{tests.read_text()}{more}def test_ring_of_two():\n    assert flat.ring(2, 1) == 9\n")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "fix")
    assert capture(project).returncode == 0
    change(project, "circle(outer) - circle(inner)", "circle(outer - inner)")
    capture(project, "--failfast-mode", "hard")
    summary = read_artifact(project / "artifacts" / "failfast.summary.json")
    assert (summary["first_failure"]["id"], summary["tests_run"]) == ("tests/test_all.py::test_ring_of_two", 1)


@pytest.mark.parametrize(
    ("mode", "number"),
    [("soft", signal.SIGINT), ("hard", signal.SIGTERM), ("soft", signal.SIGKILL), ("hard", signal.SIGKILL)],
)
def test_a_stopped_run_leaves_a_whole_summary_or_none(project: Path, mode: str, number: signal.Signals) -> None:
    change(
        project,
        "return 3 * radius",
        "open('running', 'w').close()\n    __import__('time').sleep(60)\n    return 3 * radius",
    )
    before = digests(project)["baseline.metrics.json"]
    process = subprocess.Popen(
        command(project, "--failfast-mode", mode),
        env=plain_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    wait_for(project / "running")
    os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
    process.wait(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 2)
    summary = project / "artifacts" / "failfast.summary.json"
    assert not summary.exists() or read_artifact(summary)["first_failure"] is None
    assert digests(project)["baseline.metrics.json"] == before


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not appear"
        time.sleep(0.02)


# Plugins


@pytest.fixture(scope="session")
def plugins_python() -> str:
    """An interpreter with xdist and rerunfailures beside what the lock names."""
    python = os.environ.get("TPR_PLUGINS_PYTHON")
    if not python and os.environ.get("CI"):
        pytest.fail("TPR_PLUGINS_PYTHON: expected an interpreter with pytest-xdist and pytest-rerunfailures; set it")
    if not python:
        pytest.skip("TPR_PLUGINS_PYTHON names no interpreter with pytest-xdist and pytest-rerunfailures")
    return python


def test_under_xdist_a_failure_stops_every_worker_promptly(tmp_path: Path, plugins_python: str) -> None:
    (tmp_path / "test_a.py").write_text(
        "import pathlib, pytest, time\n"
        "def test_red():\n"
        "    while len(list(pathlib.Path('.').glob('slept-*'))) < 1: time.sleep(0.01)\n"
        "    assert 0\n"
        "@pytest.mark.parametrize('number', range(9))\n"
        "def test_slow(number):\n"
        "    pathlib.Path(f'slept-{number}').touch()\n"
        "    for _ in range(1200): time.sleep(0.05)\n"
    )
    began = time.monotonic()
    done = pytest_here(tmp_path, "-p", "xdist.plugin", "-n2", "--failfast-mode=hard", python=plugins_python)
    assert time.monotonic() - began < 40
    assert done.returncode in (1, 2)
    assert "1 failed" in done.stdout
    assert len(list(tmp_path.glob("slept-*"))) == 1


def test_under_xdist_every_worker_has_the_same_order_and_runs_everything(project: Path, plugins_python: str) -> None:
    change(project, "return 3 * radius", "return radius * 3")
    done = pytest_here(project, "-p", "xdist.plugin", "-n2", "--failfast-mode=hard", "-v", python=plugins_python)
    assert done.returncode == 0, done.stdout
    assert "14 passed, 1 skipped, 1 xfailed" in done.stdout
    assert "Different tests were collected" not in done.stdout


def test_a_retried_attempt_does_not_stop_the_run(tmp_path: Path, plugins_python: str) -> None:
    (tmp_path / "test_a.py").write_text(
        "tries = []\ndef test_flaky():\n    tries.append(1)\n    assert len(tries) > 1\ndef test_after(): pass\n"
    )
    done = pytest_here(
        tmp_path, "-p", "pytest_rerunfailures", "--reruns=2", "--failfast-mode=hard", python=plugins_python
    )
    assert (done.returncode, "2 passed, 1 rerun" in done.stdout) == (0, True), done.stdout
