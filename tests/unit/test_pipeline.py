"""The laws of pipeline.py: order, verdicts, one environment, and signals that reach the stage that runs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pipeline
import pytest
from events import LOG_NAME, read_log
from pipeline import Order, Result, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

SCRIPTS = pipeline.scripts_folder()
A, B, C = (Stage(name, "?", [f"{name}.py"], tests=name == "b") for name in "abc")
ALWAYS = Stage("report", "?", ["report.py"], always=True)
FILLED = "import pathlib; pathlib.Path('filled').open('a').write('x')"  # a FILL step; runs in the environment


@pytest.fixture(autouse=True)
def plain_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """No annotations beside the errors, also where these tests run in a workflow."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform in a folder of its own, whose environment is filled by a harmless step."""
    place = tmp_path / "platform"
    place.mkdir()
    (place / "requirements.lock").write_text("# nothing\n")
    monkeypatch.setattr(pipeline, "scripts_folder", lambda: place / "scripts" / "tests")
    monkeypatch.setattr(pipeline, "FILL", (("-c", FILLED),))
    monkeypatch.setattr(pipeline, "STAGES", (a_stage(tmp_path, "first", ""),))
    return place


def a_stage(folder: Path, name: str, body: str) -> Stage:
    script = folder / f"{name}.py"
    script.write_text(body)
    return Stage(name, f"does {name} hold?", [str(script)])


def run_main(root: Path, *argv: str) -> int:
    return pipeline.main(["--root", str(root), "--python", sys.executable, *argv])


def fills(platform: Path) -> int:
    """How often the environment was filled since it was last emptied."""
    return len((platform / ".venv" / "filled").read_text())


@pytest.mark.parametrize(
    ("status", "code"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (255, 2), (-2, 2), (-9, 2)]
)
def test_a_status_that_is_no_verdict_means_could_not_tell(status: int, code: int) -> None:
    assert pipeline.translate(status) == code


@pytest.mark.parametrize(
    ("codes", "verdicts", "worst"),
    [
        ({}, "yes yes yes yes", 0),
        ({"a": 1}, "no / / yes", 1),
        ({"b": 2}, "yes 2 / yes", 2),
        ({"c": 1, "report": 2}, "yes yes no 2", 2),
        ({"a": 1, "report": 1}, "no / / no", 1),
    ],
)
def test_the_chain_stops_at_the_first_stage_that_does_not_say_yes(
    codes: dict[str, int], verdicts: str, worst: int
) -> None:
    results = pipeline.chain((A, B, C, ALWAYS), lambda stage: Result(stage.name, codes.get(stage.name, 0)))
    short = {"could not tell": "2", "not run": "/"}
    assert " ".join(short.get(result.verdict, result.verdict) for result in results) == verdicts
    assert pipeline.worst(results) == worst


def test_the_table_shows_what_ran_and_what_did_not() -> None:
    assert pipeline.table([Result("environment", 0, 0.31), Result("baseline", 2, 12.4), Result("gates", None)]) == (
        "stage         verdict         seconds\n"
        "environment   yes                 0.3\n"
        "baseline      could not tell     12.4\n"
        "gates         not run"
    )


@pytest.mark.parametrize(
    ("stage", "extra", "expected"),
    [
        (A, ["-k", "x"], [str(SCRIPTS / "a.py"), "--root", "/r", "--artifacts", "/e", "--quiet"]),
        (B, ["-k", "x"], [str(SCRIPTS / "b.py"), "--root", "/r", "--artifacts", "/e", "--quiet", "--", "-k", "x"]),
        (B, [], [str(SCRIPTS / "b.py"), "--root", "/r", "--artifacts", "/e", "--quiet"]),
        (Stage("test", "?", ["pytest"], tests=True), ["-k", "x"], ["-m", "pytest", "-k", "x"]),
    ],
    ids=["no tests", "tests", "nothing extra", "pytest itself"],
)
def test_only_what_runs_tests_gets_pytests_arguments(stage: Stage, extra: list[str], expected: list[str]) -> None:
    order = Order([stage], Path("/r"), Path("/e"), quiet=True, extra=extra)
    assert pipeline.commands(stage, Path("/python"), order) == [["/python", *expected]]


def test_only_the_last_step_gets_the_flags_for_the_place() -> None:
    stage = Stage("a", "?", ["a.py", "--drill"], ["a.py"], abroad=["--lenient"])
    for root, flags in ((SCRIPTS.parents[1], []), (Path("/r"), ["--lenient"])):
        order = Order([stage], root, Path("/e"))
        common = ["/python", str(SCRIPTS / "a.py"), "--root", str(root), "--artifacts", "/e"]
        assert pipeline.commands(stage, Path("/python"), order) == [[*common, "--drill"], [*common, *flags]]


@pytest.mark.parametrize(("made", "flags"), [("tests/own", ["--", "tests/own"]), ("tests", [])])
def test_a_stage_keeps_to_its_folder_where_a_project_has_it(made: str, flags: list[str], tmp_path: Path) -> None:
    (tmp_path / made).mkdir(parents=True)
    order = Order([A], tmp_path, Path("/e"), extra=["-k", "x"])
    line = pipeline.commands(Stage("a", "?", ["a.py"], folder="tests/own"), Path("/python"), order)[0]
    assert line[6:] == flags


@pytest.mark.parametrize(
    ("argv", "own", "extra"),
    [
        ([], [], []),
        (["--"], [], []),
        (["test", "--", "-k", "x", "--", "y"], ["test"], ["-k", "x", "--", "y"]),
    ],
)
def test_what_follows_the_first_two_dashes_is_pytests(argv: list[str], own: list[str], extra: list[str]) -> None:
    assert pipeline.split(argv) == (own, extra)


def test_the_real_chain_has_the_stages_in_order_and_leaves_out_the_tests() -> None:
    chained = [stage.name for stage in pipeline.choose(None, pipeline.STAGES)]
    assert chained == "environment baseline failfast properties gates checkpoint report".split()
    assert [stage.name for stage in pipeline.choose("test", pipeline.STAGES)] == ["test"]


def test_a_made_run_id_is_the_time_in_utc_and_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 4, 2, 0)))
    monkeypatch.setattr(os, "urandom", lambda size: b"\xab" * size)
    assert pipeline.chain_environ({})["TPR_RUN_ID"] == "20260102T030405Z-abababab"


def test_defaults_fill_only_what_is_unset() -> None:
    made = pipeline.chain_environ({"TPR_SEED": "7", "HOME": "/h"})
    assert made.pop("TPR_RUN_ID")
    assert made == {"TPR_SEED": "7", "TPR_FAILFAST_MODE": "off", "HOME": "/h"}
    assert pipeline.chain_environ({"TPR_RUN_ID": "77-1"})["TPR_RUN_ID"] == "77-1"
    assert pipeline.chain_environ({})["TPR_RUN_ID"] != pipeline.chain_environ({})["TPR_RUN_ID"]


def test_all_stages_see_one_run_id_and_the_same_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TPR_RUN_ID", raising=False)
    monkeypatch.setenv("TPR_SEED", "7")
    body = "import os, sys; print(os.environ['TPR_RUN_ID'], os.environ['TPR_SEED'], *sys.argv[1:])"
    monkeypatch.setattr(pipeline, "STAGES", tuple(a_stage(tmp_path, name, body) for name in "ab"))
    assert run_main(tmp_path, "--artifacts", str(tmp_path / "e")) == 0
    first, second, *table = capfd.readouterr().out.splitlines()
    assert first == second
    assert first.split()[1:] == ["7", "--root", str(tmp_path), "--artifacts", str(tmp_path / "e")]
    assert [line.split()[0] for line in table] == ["stage", "a", "b"]


def test_a_stage_stops_at_the_first_step_that_does_not_say_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bodies = {"a": "print('a')", "b": "print('b'); raise SystemExit(1)", "c": "print('c')"}
    steps = [step for name, body in bodies.items() for step in a_stage(tmp_path, name, body).steps]
    monkeypatch.setattr(pipeline, "STAGES", (Stage("first", "?", *steps),))
    assert run_main(tmp_path, "first") == 1
    assert capfd.readouterr().out.split() == ["a", "b"]


def test_progress_names_each_stage_and_quiet_drops_it_with_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = (a_stage(tmp_path, "first", "raise SystemExit(1)"), a_stage(tmp_path, "second", ""))
    monkeypatch.setattr(pipeline, "STAGES", rows)
    assert run_main(tmp_path) == 1
    begun, ended = capfd.readouterr().err.splitlines()
    assert begun == "pipeline.py: first: does first hold?"
    assert ended.startswith("pipeline.py: first: no, after 0.")
    assert run_main(tmp_path, "--quiet") == 1
    assert capfd.readouterr() == ("", "")


def test_one_stage_runs_alone_and_has_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = (a_stage(tmp_path, "first", "raise SystemExit(1)"), a_stage(tmp_path, "second", "print('ran')"))
    monkeypatch.setattr(pipeline, "STAGES", rows)
    assert run_main(tmp_path, "second") == 0
    assert capfd.readouterr().out == "ran\n"


def test_a_stage_killed_by_a_signal_could_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = a_stage(tmp_path, "dies", "import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(pipeline, "STAGES", (dies,))
    assert run_main(tmp_path) == 2


def test_pytest_runs_in_the_root_with_its_arguments(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_it.py").write_text("def test_here(): pass\n")
    assert run_main(tmp_path, "test", "--", "-q", "-p", "no:cacheprovider") == 0
    assert capfd.readouterr().out.startswith(".")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["absent"], "argument STAGE: invalid choice: 'absent'"),
        (["--python", "/absent"], "argument --python: /absent: expected an interpreter, got nothing that can be run"),
        (["--root", "/absent"], "argument --root: /absent: expected a folder, got nothing"),
        (["first", "--", "-x"], "expected nothing after --, as first runs no tests; see pipeline.py --help"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    argv: list[str], says: str, platform: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = pipeline.main(argv)
    except SystemExit as error:  # argparse leaves main this way
        code = int(str(error.code))
    lines = capsys.readouterr().err.splitlines()
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"pipeline.py: error: {says}")
    assert not (platform / ".venv").exists()


def test_an_interpreter_that_can_not_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = tmp_path / "python"
    fake.write_bytes(b"\0")
    fake.chmod(0o755)
    assert pipeline.main(["environment", "--quiet", "--root", str(tmp_path), "--python", str(fake)]) == 2
    assert capsys.readouterr().err == (
        f"pipeline.py: error: {fake}: cannot be run: Exec format error; pass another --python\n"
    )


# The environment


def test_an_environment_is_made_once_and_then_reused(platform: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(["--root", str(platform)]) == 0
    assert "making" in capfd.readouterr().err
    assert pipeline.main(["--root", str(platform)]) == 0
    assert "making" not in capfd.readouterr().err
    assert fills(platform) == 1


def break_lock(platform: Path) -> None:
    (platform / "requirements.lock").write_text("# something\n")


def break_python(platform: Path) -> None:
    pipeline.venv_python(platform / ".venv").unlink()


def break_stamp(platform: Path) -> None:
    (platform / ".venv" / pipeline.STAMP).write_text("unfinished\n")


def move(platform: Path) -> None:
    stamp = platform / ".venv" / pipeline.STAMP
    stamp.write_text(stamp.read_text().replace(str(platform), "/elsewhere"))


@pytest.mark.parametrize("change", [break_lock, break_python, break_stamp, move], ids=lambda change: change.__name__)
def test_an_environment_that_no_longer_matches_is_made_anew(platform: Path, change: object) -> None:
    assert pipeline.main(["--root", str(platform)]) == 0
    assert callable(change)
    change(platform)
    stray = platform / ".venv" / "lib" / "stray.py"
    stray.touch()
    assert pipeline.main(["--root", str(platform)]) == 0
    assert not stray.exists()
    assert fills(platform) == 1


def test_the_stages_run_in_the_environment(platform: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path(pipeline.STAGES[0].steps[0][0]).write_text("import sys; print(sys.prefix)")
    assert pipeline.main(["--root", str(platform), "--quiet"]) == 0
    assert capfd.readouterr() == (f"{platform / '.venv'}\n", "")


def test_a_failed_making_says_why_logs_it_and_is_tried_again(
    platform: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    good = pipeline.FILL
    failing = "print('Collecting x'); print('ERROR: THESE PACKAGES DO NOT MATCH'); print('bye'); raise SystemExit(1)"
    monkeypatch.setattr(pipeline, "FILL", (("-c", failing),))
    assert pipeline.main(["--root", str(platform), "--quiet"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "got ERROR: THESE PACKAGES DO NOT MATCH; read" in err
    reading = read_log(platform / "artifacts" / LOG_NAME)
    assert [event["event"] for event in reading.events] == [
        "environment_validation_start",
        "environment_validation_fail",
    ]
    assert reading.events[1]["reasons"] == ["package_missing"]
    assert "THESE PACKAGES DO NOT MATCH" in reading.events[1]["details"][0]["actual"]
    monkeypatch.setattr(pipeline, "FILL", good)
    assert pipeline.main(["--root", str(platform), "--quiet"]) == 0


def test_a_project_that_is_built_is_installed_and_again_when_its_build_file_changes(
    platform: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "import pathlib, sys; pathlib.Path('installed').open('a').write(sys.argv[-1] + ' ')"
    monkeypatch.setattr(pipeline, "INSTALL", ("-c", note))
    for text, installed in (("[tool.x]", False), ("[build-system]", True), ("[build-system]\n[project]", True)):
        (platform / "pyproject.toml").write_text(text)
        assert pipeline.main(["--root", str(platform), "--quiet"]) == 0
        found = platform / ".venv" / "installed"
        assert found.exists() == installed
        assert not installed or found.read_text() == f"{platform} "
        filled = fills(platform)
        assert pipeline.main(["--root", str(platform), "--quiet"]) == 0
        assert fills(platform) == filled


def test_a_missing_lock_is_one_line_and_logged(platform: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (platform / "requirements.lock").unlink()
    assert pipeline.main(["--root", str(platform)]) == 2
    lock = platform / "requirements.lock"
    assert capsys.readouterr().err == (
        f"pipeline.py: error: {lock}: cannot be read: No such file or directory; restore it, or pass --python\n"
    )
    assert len(read_log(platform / "artifacts" / LOG_NAME).events) == 2


def test_somebody_elses_environment_is_refused_and_not_touched(
    platform: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (platform / ".venv").mkdir()
    (platform / ".venv" / "pyvenv.cfg").write_text("home = /usr\n")
    assert pipeline.main(["--root", str(platform), "--quiet"]) == 2
    assert "expected an environment made by pipeline.py, got another; move it away" in capsys.readouterr().err
    assert [entry.name for entry in (platform / ".venv").iterdir()] == ["pyvenv.cfg"]


def test_an_artifacts_folder_that_can_not_be_written_is_one_line(
    platform: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (platform / "requirements.lock").unlink()
    blocked = platform / "file"
    blocked.touch()
    assert pipeline.main(["--root", str(platform), "--artifacts", str(blocked)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# Other processes


def driver(folder: Path, changes: str = "", flags: str = "--quiet") -> list[str]:
    """The command of a pipeline with `changes` made to its module first; its stage is folder/first.py."""
    (folder / "requirements.lock").write_text("# nothing\n")
    (folder / "first.py").touch()
    script = folder / "driver.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import pathlib, pipeline; from pipeline import Stage\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "pipeline.scripts_folder = lambda: folder / 'scripts' / 'tests'\n"
        "pipeline.STAGES = (Stage('first', '?', [str(folder / 'first.py')]),)\n"
        f"pipeline.FILL = (('-c', {FILLED!r}),)\n"
        f"{changes}\n"
        f"raise SystemExit(pipeline.main(['--root', str(folder), *{flags.split()!r}]))\n"
    )
    return [sys.executable, str(script)]


SLOW = (  # a signal's second copy would merge with the first, were it sent at once
    "import time; pass_on = pipeline.Relay.pass_on\n"
    "pipeline.Relay.pass_on = lambda *args: (time.sleep(0.1), pass_on(*args))"
)


def start(line: list[str]) -> subprocess.Popen[str]:
    null = subprocess.DEVNULL
    return subprocess.Popen(line, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True, process_group=0)


WAITS = """
import pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
def note(number, frame):
    with (here / "signals").open("a") as stream: stream.write(signal.Signals(number).name + " ")
    here.joinpath("leave").touch()
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, note)
(here / "ready").touch()
end = time.monotonic() + 20
while not (here / "leave").exists() and time.monotonic() < end: time.sleep(0.02)
time.sleep(0.3)
"""


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not appear"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_reaches_the_stage_once_and_ends_the_chain_with_one_line(
    tmp_path: Path, number: signal.Signals
) -> None:
    second = "pipeline.STAGES += (Stage('second', '?', [str(folder / 'second.py')], always=True),)"
    line = driver(tmp_path, f"{SLOW}\n{second}", f"--quiet --python {sys.executable}")
    (tmp_path / "first.py").write_text(WAITS)
    (tmp_path / "second.py").write_text(f"open({str(tmp_path / 'second-ran')!r}, 'w')")
    process = start(line)
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, number)
    said = process.communicate(timeout=20)[1]
    assert (process.returncode, said) == (2, f"pipeline.py: error: stopped by {number.name}\n")
    assert (tmp_path / "signals").read_text() == f"{number.name} "
    assert not (tmp_path / "second-ran").exists()


def test_ctrl_c_at_a_terminal_reaches_the_stage_once(tmp_path: Path) -> None:
    line = driver(tmp_path, SLOW, f"--quiet --python {sys.executable}")
    (tmp_path / "first.py").write_text(WAITS)
    spawn = f"import pty, sys; sys.exit(pty.spawn({line!r}) >> 8)"
    pipe = subprocess.PIPE
    terminal = subprocess.Popen([sys.executable, "-c", spawn], stdin=pipe, stdout=pipe, start_new_session=True)
    wait_for(tmp_path / "ready")
    said = terminal.communicate(b"\x03", timeout=20)[0]
    assert (terminal.returncode, said) == (2, b"^Cpipeline.py: error: stopped by SIGINT\r\n")
    assert (tmp_path / "signals").read_text() == "SIGINT "


def test_a_signal_while_the_environment_is_made_leaves_nothing_to_trust(tmp_path: Path) -> None:
    fill = f"import time; open({str(tmp_path / 'ready')!r}, 'w'); time.sleep(20)"
    process = start(driver(tmp_path, f"pipeline.FILL = (('-c', {fill!r}),)"))
    wait_for(tmp_path / "ready")
    process.terminate()
    said = process.communicate(timeout=20)[1]
    assert (process.returncode, said) == (2, "pipeline.py: error: stopped by SIGTERM\n")
    assert len(read_log(tmp_path / "artifacts" / LOG_NAME).events) == 2
    assert subprocess.run(driver(tmp_path), check=True, timeout=20).returncode == 0
    assert fills(tmp_path) == 1


def test_two_pipelines_at_once_make_one_environment(tmp_path: Path) -> None:
    with in_use(tmp_path):
        both = [start(driver(tmp_path, flags="")) for _ in range(2)]
        said = "".join(process.stderr.readline() for process in both if process.stderr)
        assert said.count("waiting for another pipeline") == 2
    said = "".join(process.communicate(timeout=20)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert (said.count("making"), fills(tmp_path)) == (1, 1)


@pytest.mark.parametrize("made_before", [False, True])
def test_an_environment_is_shared_while_its_stages_run(tmp_path: Path, made_before: bool) -> None:
    line = driver(tmp_path)
    if made_before:
        subprocess.run(line, check=True)
    (tmp_path / "first.py").write_text(WAITS)
    process = start(line)
    wait_for(tmp_path / "ready")
    with in_use(tmp_path) as place, pytest.raises(BlockingIOError):
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (tmp_path / "leave").touch()
    assert process.communicate(timeout=20)[1] == ""


def test_an_environment_in_use_is_not_made_anew(tmp_path: Path) -> None:
    with in_use(tmp_path):
        process = start(driver(tmp_path, flags=""))
        assert process.stderr
        assert process.stderr.readline() == "pipeline.py: waiting for another pipeline\n"
        assert not (tmp_path / ".venv").exists()
    assert "made" in process.communicate(timeout=20)[1]
    assert (process.returncode, fills(tmp_path)) == (0, 1)


def test_a_signal_ends_the_wait_for_another_pipeline(tmp_path: Path) -> None:
    with in_use(tmp_path):
        process = start(driver(tmp_path, flags=""))
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == "pipeline.py: error: stopped by SIGINT\n"


@contextmanager
def in_use(platform: Path) -> Iterator[int]:
    """Another pipeline works with the platform's environment."""
    place = os.open(platform, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield place
    finally:
        os.close(place)


def test_a_reader_that_leaves_early_makes_no_traceback(tmp_path: Path) -> None:
    line = driver(tmp_path, flags="")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0
    assert "Error" not in done.stderr


def test_a_signal_while_a_stage_is_being_started_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_start(line: list[str], **how: object) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] = real(line, **how)  # type: ignore[call-overload]
        os.kill(os.getpid(), signal.SIGTERM)
        return child

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", slow_start)
    monkeypatch.setattr(pipeline, "STAGES", (a_stage(tmp_path, "sleeps", "import time; time.sleep(30)"),))
    started = time.monotonic()
    assert run_main(tmp_path) == 2
    assert time.monotonic() - started < 20
