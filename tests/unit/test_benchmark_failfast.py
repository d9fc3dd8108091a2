"""benchmark_failfast.py: which functions it breaks, what it makes of the times, what it leaves behind."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import benchmark_failfast as bench
import pytest
from events import LOG_NAME, Run, content_digest, read_artifact, read_log

pytestmark = pytest.mark.unit

SOURCE = '''\
import functools


def plain(x):
    """Doc."""
    y = x
    return y


@functools.cache
def decorated():
    return 1


def first_is_decorated():
    @functools.cache
    def inner():
        return 1

    return inner()


class Box:
    async def method(self):
        return 1

    if True:

        def conditional(self):
            return 1


def one_line(): return 1


def only_doc():
    """Doc."""


def doc_and_more():
    """Doc."""; return 1


def tabbed():
	return 1


def uncovered():
    return 1
'''
ALL = set(range(1, 47))


def test_a_function_is_broken_where_its_own_first_line_is_covered() -> None:
    found = bench.places_in("m.py", SOURCE, ALL)
    assert {(place.name, place.line, place.indent) for place in found} == {
        ("plain", 6, "    "),
        ("decorated", 12, "    "),
        ("first_is_decorated", 16, "    "),
        ("Box.method", 25, "        "),
        ("Box.conditional", 30, "            "),
        ("tabbed", 45, "\t"),
    }


@pytest.mark.parametrize(
    "name", ["plain", "decorated", "first_is_decorated", "Box.method", "Box.conditional", "tabbed"]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("lead", ["", "\f\n", "PARTED = '\u2028'\n"], ids=["", "form feed", "line separator"])
def test_a_broken_function_raises_first_and_nothing_else_changes(name: str, ending: str, lead: str) -> None:
    text = (lead + SOURCE).replace("\n", ending)
    place = next(place for place in bench.places_in("m.py", text, ALL) if place.name == name)
    broken = place.broken(text)
    functions = dict(bench.functions_of(ast.parse(broken)))
    body = [node for node in functions[name].body if not isinstance(node, ast.Expr)]
    assert isinstance(body[0], ast.Raise)
    assert broken.count(ending) == text.count(ending) + 1
    left = [line for line in broken.splitlines() if bench.BROKEN not in line]
    assert left == text.splitlines()


@pytest.mark.parametrize("text", ["def broken(:\n    pass\n", "\0", ""])
def test_a_source_that_does_not_parse_has_nothing_to_break(text: str) -> None:
    assert bench.places_in("m.py", text, ALL) == []


def test_tests_and_what_belongs_to_them_are_not_broken(tmp_path: Path) -> None:
    for name in ("pkg/mod.py", "tests/test_a.py", "tests/helper.py", "conftest.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("def f():\n    return 1\n")
    names = ("pkg/mod.py", "tests/test_a.py", "tests/helper.py", "conftest.py", "../site/x.py", "gone.py")
    sources = [{"path": name, "covered_by": [{"file": 0, "lines": "1-2"}]} for name in names]
    found = bench.find_places(tmp_path, {"files": [{"path": "tests/test_a.py"}], "sources": sources})
    assert [place.path for place in found] == ["pkg/mod.py"]


def settings(root: Path, **changes: Any) -> bench.Settings:
    known: dict[str, Any] = {"root": root, "seeded": False, "faults": 2, "runs": 2, "seed": 1, "timeout": 60}
    known |= {"targets": {"soft": 40.0, "hard": 60.0}, "quiet": False, "pytest_args": ()}
    return bench.Settings(**(known | changes))


def test_the_seed_alone_chooses_the_faults(tmp_path: Path) -> None:
    places = bench.places_in("m.py", SOURCE, ALL)
    one, other = settings(tmp_path), settings(tmp_path, seed=2)
    assert bench.choose(places, one) == bench.choose(places, one) != bench.choose(places, other)
    assert sorted(map(str, bench.choose(places, one))) == sorted(map(str, places))


def test_the_seeded_scenario_breaks_what_its_readme_says() -> None:
    text = (bench.SAMPLE / "prices.py").read_text()
    (place,) = bench.choose(bench.places_in("prices.py", text, ALL), settings(bench.SAMPLE, seeded=True))
    assert (place.path, place.name) == ("prices.py", "discount")
    readme = (bench.SAMPLE / "README.md").read_text()
    assert all(f"`{word}`" in readme for word in (place.path, place.name))


# What the times come to

PLACE = bench.Place("m.py", "f", 2, "    ")


def trial(**seconds: list[float]) -> bench.Trial:
    names = {"off": "off", "soft": "soft", "hard": "hard", "x": "pytest -x", "limit": "limit"}
    made = bench.Trial(PLACE, target="test_m.py::test_f")
    for key, values in seconds.items():
        made.timings[names[key]] = [bench.Timing(value, value / 2, 1) for value in values]
    first = {"id": "test_m.py::test_f", "phase": "call", "type": "RuntimeError", "message": "RuntimeError"}
    known = {"first_failure": first, "elapsed_to_detection_s": 1.0, "tests_run": 1, "tests_collected": 2}
    known |= {"order": "1 likely files first", "rollback": None}
    made.summaries = {
        "soft": {**known, "mode": "soft", "partial_metrics": True},
        "hard": {**known, "mode": "hard", "partial_metrics": False, "rollback": {"reason": "call failed"}},
    }
    return made


TRIALS = [
    trial(off=[10, 12, 11], soft=[5, 5, 5], hard=[1, 2, 3], x=[8], limit=[1]),
    trial(off=[20], soft=[6], hard=[3], x=[6], limit=[1.4]),
]


def test_times_are_compared_by_the_median_of_each_fault() -> None:
    found = bench.compare(TRIALS, "seconds")
    assert found["modes"]["off"] == {"mean": 15.5, "median": 15.5, "min": 11, "max": 20}
    assert found["improvement_percent"] == {
        "soft against off": {"mean": 64.52, "median": 64.52},
        "hard against off": {"mean": 83.87, "median": 83.87},
        "soft against pytest -x": {"mean": 21.43, "median": 21.43},
        "hard against pytest -x": {"mean": 64.29, "median": 64.29},
    }
    assert found["ratios"] == {"pytest -x to hard, geometric mean": 2.828, "hard to limit, median": 2.071}


def test_processor_time_is_compared_apart_from_the_clock() -> None:
    slow = trial(off=[8], soft=[4], hard=[2], x=[6], limit=[1])
    slow.timings = {mode: [bench.Timing(9, timing.cpu, 1) for timing in rows] for mode, rows in slow.timings.items()}
    found = bench.compare([slow], "cpu")
    assert found["improvement_percent"]["hard against off"] == {"mean": 75.0, "median": 75.0}
    assert found["ratios"] == {"pytest -x to hard, geometric mean": 3.0, "hard to limit, median": 2.0}


def test_a_spread_tells_mean_from_median_in_tenths_of_a_millisecond() -> None:
    stats = {"mean": 0.7778, "median": 0.6667, "min": 0.3333, "max": 1.3333}
    assert bench.spread([4 / 3, 1 / 3, 2 / 3]) == stats


def test_ranges_of_lines_are_their_numbers() -> None:
    assert [*bench.numbers("1-3,7")] == [1, 2, 3, 7]
    assert [*bench.numbers("")] == []


@pytest.mark.parametrize(("target", "met"), [(83.87, True), (83.88, False)])
def test_a_target_is_met_from_its_very_value_on(target: float, met: bool) -> None:
    verdict = bench.judge(bench.compare(TRIALS, "seconds"), {"hard": target})
    assert verdict == {"hard": {"target_percent": target, "measured_percent": 83.87, "met": met}}


def test_a_mode_that_is_later_than_off_has_a_negative_improvement() -> None:
    assert bench.improvement(2.0, 3.0) == -50.0


def test_every_round_runs_every_mode_and_the_first_begins_with_off() -> None:
    assert bench.turn(0, False)[0] == "off"
    assert all(sorted(bench.turn(number, False)) == sorted(bench.MODES) for number in range(7))
    assert len({bench.turn(number, False) for number in range(5)}) == 5


def test_the_seeded_scenario_repeats_only_the_modes() -> None:
    assert bench.turn(0, True) == bench.MODES
    assert {frozenset(bench.turn(number, True)) for number in (1, 2, 3)} == {frozenset(("off", "soft", "hard"))}
    assert len({bench.turn(number, True) for number in (1, 2, 3)}) == 3


# The copy


def make_project(root: Path) -> Path:
    root.mkdir()
    (root / "m.py").write_text("def f():\n    return 1\n\n\ndef g():\n    return 1\n\n\ndef h():\n    return 1\n")
    (root / "test_m.py").write_text("import m\n\ndef test_f():\n    assert m.f() == 1\n")
    (root / ".gitignore").write_text("generated.py\n")
    (root / "generated.py").write_text("")
    for name in ("artifacts", ".venv", "__pycache__", ".git"):
        (root / name).mkdir()
        (root / name / "junk").write_text("")
    return root


def test_the_copy_has_what_the_project_has_and_goes_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "project")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", "")  # git's own folder then has no info/
    monkeypatch.setenv("GIT_INDEX_FILE", str(root / "index"))  # as in a hook
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with bench.throw_away(root) as copy:
        monkeypatch.delenv("GIT_INDEX_FILE")
        names = {path.name for path in copy.iterdir()}
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True, check=True
        )
        (copy / "m.py").write_text("")
    assert names == {"m.py", "test_m.py", ".gitignore", "generated.py", ".git"}
    assert status.stdout == ""
    assert not copy.parent.exists()
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_fault_is_taken_back_whatever_happens(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    before = (root / "m.py").read_bytes()

    def interrupted() -> None:
        with bench.Bench(root, settings(root)).fault(PLACE):
            assert bench.BROKEN in (root / "m.py").read_text()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (root / "m.py").read_bytes() == before


def test_the_copys_code_comes_first_on_the_import_path(tmp_path: Path) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    (copy / "src").mkdir(parents=True)
    known = {
        "PYTHONPATH": os.pathsep.join([f"{root}/lib", "/other"]),
        "TPR_FAILFAST_MODE": "hard",
        "GIT_DIR": "x",
        "A": "b",
    }
    env = bench.child_env(known, settings(root), copy)
    assert env["PYTHONPATH"].split(os.pathsep) == [f"{copy}/src", str(copy), f"{copy}/lib", "/other"]
    assert (env["TPR_FAILFAST_MODE"], env["TPR_SEED"], env["A"]) == ("off", "1", "b")
    assert "GIT_DIR" not in env


def test_the_limit_keeps_options_and_drops_paths(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    found = bench.options_of(["-q", "-p", "no:x", "tests", "tests::test_a", "-k", "b"], tmp_path)
    assert found == ["-q", "-p", "no:x", "-k", "b"]


def test_a_run_that_takes_too_long_is_ended_with_all_its_children(tmp_path: Path) -> None:
    child = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, process_group=0)
    assert bench.wait(process, 1.0)[0] == 124
    end = time.monotonic() + 10
    while is_running(tmp_path / "pid"):
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text() or 0), 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    state = Path(f"/proc/{pid_file.read_text()}/stat")
    return not state.exists() or ") Z " not in state.read_text()


def test_a_run_is_timed_with_its_status_and_its_processor_time() -> None:
    process = subprocess.Popen([sys.executable, "-c", "sum(range(2_000_000)); raise SystemExit(1)"], process_group=0)
    code, cpu = bench.wait(process, 60)
    assert code == 1
    assert 0 < cpu < 60


# The whole script, its runs pretended


class Pretence:
    """Stands in for Bench.time: writes what each mode would have written, and tells the times it is given."""

    def __init__(self, codes: dict[tuple[str, str], int] | None = None, baseline: int = 0) -> None:
        self.codes, self.baseline = codes or {}, baseline
        self.ran: list[tuple[str, str]] = []

    def time(self, this: bench.Bench, mode: str, target: str = "") -> bench.Timing:
        text = (this.copy / "m.py").read_text()
        broken = next((name for name in "fgh" if f"def {name}():\n    raise" in text), "")
        self.ran.append((broken, mode))
        (this.copy.parent / "output.txt").write_text("said\n")
        this.artifacts.mkdir(exist_ok=True)
        seconds = {"off": 10.0, "soft": 4.0, "hard": 1.0, "pytest -x": 5.0, "limit": 0.5}[mode]
        code = self.codes.get((broken, mode), 1) if broken else self.baseline
        if mode == "off":
            write(
                this.artifacts,
                "durations.json",
                tests=[{"id": "test_m.py::test_f", "outcome": "failed", "seconds": 1}],
            )
            lines = {"covered_by": [{"file": 0, "lines": "1-99"}], "path": "m.py"}
            files = [{"path": "test_m.py", "seconds": 1, "names": ["test_f"]}]
            write(this.artifacts, "test.map.json", files=files, sources=[lines], failed=[], rootdir=".")
        if mode in ("soft", "hard"):
            write(this.artifacts, "failfast.summary.json", **TRIALS[0].summaries[mode])
        return bench.Timing(seconds, seconds, code)


def write(folder: Path, artifact: str, **body: Any) -> None:
    document = {"artifact": artifact, "commit": None, "dirty": False, **body}
    (folder / artifact).write_text(json.dumps({**document, "sha256": content_digest(document)}))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def run_main(monkeypatch: pytest.MonkeyPatch, root: Path, pretence: Pretence, *flags: str) -> int:
    for key in [key for key in os.environ if key.startswith("TPR_")]:
        monkeypatch.delenv(key)

    def pretended(this: bench.Bench, mode: str, target: str = "") -> bench.Timing:
        return pretence.time(this, mode, target)

    monkeypatch.setattr(bench.Bench, "time", pretended)
    return bench.main(["--root", str(root), "--faults", "2", "--runs", "2", *flags])


def test_the_summary_has_every_key_and_the_log_one_pair_per_mode(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, project, Pretence()) == 0
    summary = read_artifact(project / "artifacts" / "failfast.summary.json")
    keys = (
        "mode first_failure elapsed_to_detection_s tests_run tests_collected order partial_metrics rollback benchmark"
    )
    assert set(keys.split()) <= set(summary)
    benchmark = summary["benchmark"]
    assert benchmark["targets"]["hard"] == {"target_percent": 60, "measured_percent": 90, "met": True}
    assert len(benchmark["faults"]) == 2
    assert len(benchmark["faults"][0]["runs"]["off"]["seconds"]) == 2
    log = read_log(project / "artifacts" / LOG_NAME)
    logged = [(event["event"], event.get("mode"), event.get("drill")) for event in log.events]
    assert logged == [
        ("failfast_mode_applied", "soft", None),
        ("failfast_mode_applied", "hard", None),
        ("early_exit_detected", "soft", None),
        ("early_exit_detected", "hard", None),
        ("risk_trigger", None, True),
    ]
    said = capsys.readouterr().out.partition("busy machine")[0]
    assert "hard against off                 90.0 % of the mean" in said
    assert said.endswith("target of hard: 60 %, measured 90.0 %: met\n")


@pytest.mark.parametrize(("load", "said"), [(4.0, False), (4.1, True)])
def test_a_busy_machine_is_said_beside_the_verdict(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str], load: float, said: bool
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert run_main(monkeypatch, project, Pretence()) == 0
    assert ("busy machine: load 4.1 on 2 processors; measure again later" in capsys.readouterr().out) is said


@pytest.mark.parametrize(("flags", "code"), [(("--soft-target", "60"), 0), (("--soft-target", "61"), 1)])
def test_a_target_that_is_not_met_is_a_no(
    monkeypatch: pytest.MonkeyPatch, project: Path, flags: tuple[str, ...], code: int
) -> None:
    assert run_main(monkeypatch, project, Pretence(), *flags) == code
    assert (project / "artifacts" / "failfast.summary.json").exists()


@pytest.mark.parametrize("key", ["TPR_MAX_FAIL_FAST_IMPROVEMENT_TARGET", "TPR_HARD_FAIL_FAST_IMPROVEMENT_TARGET"])
def test_the_targets_come_from_the_environment_and_flags_win(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(key, "77")
    mode = "soft" if "MAX" in key else "hard"
    assert bench.parse([])[0].targets[mode] == 77
    assert bench.parse([f"--{mode}-target", "5"])[0].targets[mode] == 5


def test_a_fault_that_the_suite_does_not_see_is_reported_and_replaced(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretence = Pretence({("g", "off"): 0})
    assert run_main(monkeypatch, project, pretence, "--seed", "1") == 0
    benchmark = read_artifact(project / "artifacts" / "failfast.summary.json")["benchmark"]
    tried = [name for name, mode in pretence.ran if mode == "off" and name]
    assert {row["fault"][-1] for row in benchmark["faults"]} == {"f", "h"}
    assert [row["why"] for row in benchmark["unseen"]] == ["off ended with 0: said"] * ("g" in tried)


@pytest.mark.parametrize(
    ("pretence", "said"),
    [
        (Pretence({(name, "off"): 0 for name in "fgh"}), "no fault was seen by the suite; the last one: m.py:"),
        (Pretence({(name, "hard"): 0 for name in "fgh"}), "off saw the fault, hard ended with 0: said; report this"),
        (Pretence(baseline=1), "expected the copy's suite to pass without a fault, got exit 1: said; mend it"),
    ],
    ids=["unseen", "missed by a mode", "red by itself"],
)
def test_what_can_not_be_told_is_one_line_and_no_summary(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str], pretence: Pretence, said: str
) -> None:
    assert run_main(monkeypatch, project, pretence) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (project / "artifacts" / "failfast.summary.json").exists()
    assert read_log(project / "artifacts" / LOG_NAME).events


def test_without_git_it_says_so(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run_main(monkeypatch, project, Pretence()) == 2
    assert "git: cannot be run: No such file or directory; install it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (KeyboardInterrupt(), "interrupted; nothing was written"),
        (OSError(28, "No space left on device", "copy"), "copy: No space left on device; make room for a copy"),
    ],
    ids=["Ctrl-C", "full"],
)
def test_what_ends_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    trouble: BaseException,
    text: str,
) -> None:
    def end(*_: object) -> bench.Timing:
        raise trouble

    monkeypatch.setattr(bench.Bench, "time", end)
    assert bench.main(["--root", str(project)]) == 2
    assert capsys.readouterr().err == f"benchmark_failfast.py: error: {text}\n"


def test_an_interruption_keeps_the_faults_that_were_done(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretence = Pretence()

    def time_or_stop(this: bench.Bench, mode: str, target: str = "") -> bench.Timing:
        if len({name for name, _ in pretence.ran if name}) > 1:
            raise KeyboardInterrupt
        return pretence.time(this, mode, target)

    monkeypatch.setattr(bench.Bench, "time", time_or_stop)
    assert bench.main(["--root", str(project), "--runs", "1"]) == 2
    assert "interrupted after 1 of 3 faults; they are written" in capsys.readouterr().err
    assert len(read_artifact(project / "artifacts" / "failfast.summary.json")["benchmark"]["faults"]) == 1


@pytest.mark.parametrize(
    "words", [["--faults", "0"], ["--runs", "x"], ["--seed", "x"], ["--hard-target", "101"], ["--scenario", "other"]]
)
def test_bad_usage_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(words)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_projects_own_map_serves_only_while_it_fits(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    run = Run("benchmark_failfast", tmp_path, artifacts)
    run.__dict__["commit"] = ("c" * 40, False)
    body: dict[str, Any] = {"files": [], "sources": [], "failed": [], "rootdir": "."}
    cases: list[tuple[dict[str, Any], bool]] = [({}, True), ({"commit": "d" * 40}, False)]
    cases += [({"dirty": True}, False), ({"failed": ["t"]}, False), ({"failed": None}, False)]
    cases += [({"rootdir": "../.."}, False)]  # of the copy it is not: what is above the project stays there
    for changes, fits in cases:
        write(artifacts, "test.map.json", **{**body, "commit": "c" * 40, **changes})
        assert (bench.fitting_map(run) is not None) is fits, changes
    run.__dict__["commit"] = ("c" * 40, True)
    assert bench.fitting_map(run) is None
