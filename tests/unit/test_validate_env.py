"""The gate before the first test: it opens for the recorded environment only, and says every reason at once."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from sysconfig import get_platform
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import validate_env
from events import LOG_NAME, content_digest, read_artifact, read_log
from validate_env import (
    DRILLS,
    FAILURE,
    GOOD_LOCK,
    GUARDED,
    HASH_FILE,
    HERE,
    INSTALLED_SET,
    LOCKS,
    PYTHON_FILE,
    SIGNATURE,
    Lock,
    LockError,
    holds,
    installed,
    is_local,
    lock_reasons,
    main,
    make_project,
    modified_files,
    modified_reasons,
    package_reasons,
    python_reasons,
    read_lock,
    reasons_of,
    record_hash,
    requirement_pins,
    table,
    toml_pins,
    variable_reasons,
    workflow_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

pytestmark = pytest.mark.unit

SCRIPTS = Path(__file__).parents[2] / "scripts" / "tests"
IDENTITY = "recorded python os platform lock_sources packages_sha256 tools extra required_variables seed".split()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a valid run, and no others of ours."""
    for name in [name for name in os.environ if name.startswith("TPR_")] + ["GITHUB_ACTIONS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPR_SEED", "12345")
    monkeypatch.setenv("TPR_FAILFAST_MODE", "off")
    return monkeypatch


@pytest.fixture
def root(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """A valid project; the distributions below its `site` are all that is installed."""
    make_project(tmp_path, {})
    see_only(tmp_path / "site", environment)
    return tmp_path


def see_only(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate_env, "installed", lambda _: installed([str(site)]))


def run(root: Path, *flags: str) -> int:
    return main(["--root", str(root), *flags])


def codes(root: Path) -> list[str]:
    return [row["code"] for row in read_artifact(root / "artifacts" / FAILURE)["reasons"]]


def events(root: Path) -> list[dict[str, Any]]:
    reading = read_log(root / "artifacts" / LOG_NAME)
    assert reading.problems == []
    return reading.events


def names(root: Path) -> list[str]:
    return [event["event"].removeprefix("environment_") for event in events(root)]


def lock_anew(root: Path, text: str, name: str = LOCKS[0]) -> None:
    (root / name).write_text(text, "utf-8")
    (root / HASH_FILE).write_text(f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n")


def test_the_recorded_environment_is_let_through_signed_and_logged(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root) == 0
    document = read_artifact(root / "artifacts" / SIGNATURE)
    assert document["signature"] == content_digest({key: document[key] for key in IDENTITY})
    assert document["python"]["full"] == sys.version.split()[0]
    assert document["python"]["minor"] == HERE
    assert document["lock_sources"]["file"] == LOCKS[0]
    assert document["lock_sources"]["sha256"] == hashlib.sha256((root / LOCKS[0]).read_bytes()).hexdigest()
    assert document["tools"] == {"pytest": "1.0", "hypothesis": "1.0", "coverage": "1.0"}
    assert document["required_variables"] == ["TPR_FAILFAST_MODE", "TPR_SEED"]
    assert (document["seed"], document["recorded"], document["extra"]) == ("12345", True, [])
    assert document["os"] == {"name": platform.system(), "architecture": platform.machine()}
    assert document["lock_sources"].items() >= {"python": sys.version.split()[0], "platform": get_platform()}.items()
    assert (document["platform"], document["python"]["implementation"]) == (get_platform(), sys.implementation.name)
    assert {"os_release", "validated_in_s", "monotonic_start"} <= document.keys()
    assert names(root) == ["validation_start", "validation_ok", "validated"]
    assert {event.get("signature") for event in events(root)[1:]} == {document["signature"]}
    assert f"\nsignature   {document['signature'][:12]} in " in capsys.readouterr().out
    assert not (root / "artifacts" / FAILURE).exists()


@pytest.mark.parametrize("drill", DRILLS[1:], ids=[code for code, *_ in DRILLS[1:]])
def test_each_kind_of_drift_is_refused_for_that_reason_alone(
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    drill: tuple[str, Mapping[str, str | None], Mapping[str, str | None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, files, variables = drill
    make_project(tmp_path, files)
    see_only(tmp_path / "site", environment)
    for name, value in variables.items():
        environment.delenv(name) if value is None else environment.setenv(name, value)
    assert run(tmp_path) == 1
    assert codes(tmp_path) == [code]
    assert all(row[key] for row in read_artifact(tmp_path / "artifacts" / FAILURE)["reasons"] for key in row)
    assert names(tmp_path) == ["validation_start", "validation_fail"]
    assert events(tmp_path)[-1]["reasons"] == [code]
    assert f"\nvalidate_env.py: refused: {code}; see " in capsys.readouterr().err
    assert not (tmp_path / "artifacts" / SIGNATURE).exists()


def test_every_reason_is_told_at_once(root: Path, environment: pytest.MonkeyPatch) -> None:
    lock_anew(root, GOOD_LOCK.replace("pytest==1.0", "pytest==2.0") + "lost==1\n")
    (root / HASH_FILE).write_text("0" * 64 + "  requirements.lock\n")
    (root / PYTHON_FILE).write_text("3.0\n")
    (root / "site" / "coverage.py").write_text("changed")
    environment.setenv("TPR_SEED", "x")
    environment.setenv("TPR_FAILFAST_MODE", "x")
    assert run(root, "--require-env", "LOST_VARIABLE") == 1
    assert (
        codes(root)
        == (
            "python_minor_mismatch lock_hash_mismatch package_missing package_drift package_modified env_missing "
            "seed_not_numeric failfast_mode_invalid"
        ).split()
    )


RECORD = "python scripts/tests/validate_env.py --record"
OURS, WHOLE_SET = Lock(LOCKS[0], "d1", {}, set()), Lock(INSTALLED_SET, "d1", {}, set())
PINNED: dict[str, set[str]] = {"a": {"==2", "==1"}, "b": set()}
REASONS: dict[str, tuple[Any, tuple[Any, ...], list[tuple[str, str, str, str]]]] = {
    "python": (
        python_reasons,
        ("3.0\n",),
        [("python_minor_mismatch", "Python 3.0", f"Python {HERE}", "run it with python3.0")],
    ),
    "pythons": (
        python_reasons,
        ("3.1\n3.0 # old\n",),
        [("python_minor_mismatch", "Python 3.0 or 3.1", f"Python {HERE}", "run it with python3.0")],
    ),
    "no python": (
        python_reasons,
        ("system",),
        [("python_minor_mismatch", "a version in .python-version", f"Python {HERE}", RECORD)],
    ),
    "any python": (
        python_reasons,
        (None,),
        [],
    ),
    "no hash": (
        lock_reasons,
        (OURS, None),
        [("lock_hash_missing", "the recorded SHA-256 of requirements.lock", "no requirements.lock.hash", RECORD)],
    ),
    "odd hash": (
        lock_reasons,
        (OURS, ("", "odd")),
        [("lock_hash_missing", "the recorded SHA-256 of requirements.lock", "requirements.lock.hash: odd", RECORD)],
    ),
    "empty hash": (
        lock_reasons,
        (OURS, ("", "")),
        [("lock_hash_missing", "the recorded SHA-256 of requirements.lock", "requirements.lock.hash: empty", RECORD)],
    ),
    "another lock": (
        lock_reasons,
        (OURS, ("d1", "uv.lock")),
        [("lock_missing", "uv.lock", "requirements.lock instead", f"git checkout uv.lock, or {RECORD}")],
    ),
    "changed lock": (
        lock_reasons,
        (OURS, ("d0", LOCKS[0])),
        [("lock_hash_mismatch", "requirements.lock d0", "d1", f"git checkout requirements.lock, or {RECORD}")],
    ),
    "changed set": (
        lock_reasons,
        (WHOLE_SET, ("d0", INSTALLED_SET)),
        [("lock_hash_mismatch", "installed-set d0", "d1", f"pip uninstall what is new, or {RECORD}")],
    ),
    "same lock": (lock_reasons, (OURS, ("d1", LOCKS[0])), []),
    "poetry": (
        package_reasons,
        (Lock("poetry.lock", "", PINNED, {"b"}), {"a": ("3", "")}),
        [
            ("package_drift", "a ==1 or ==2", "3", "poetry sync"),
            ("package_missing", "b", "not installed", "poetry sync"),
        ],
    ),
    "uv": (
        package_reasons,
        (Lock("uv.lock", "", PINNED, set()), {"a": ("3", "")}),
        [("package_drift", "a ==1 or ==2", "3", "uv sync --frozen")],
    ),
    "pylock": (
        package_reasons,
        (Lock("pylock.toml", "", PINNED, {"a"}), {"b": ("3", "")}),
        [("package_missing", "a ==1 or ==2", "not installed", "install from pylock.toml")],
    ),
    "files": (
        modified_reasons,
        ({"a": ["1", "2", "3", "4"], "b": []}, {"a": ("1.0", ""), "b": ("1", "")}),
        [
            (
                "package_modified",
                "the files of a as its RECORD says",
                "changed: 1, 2, 3 and 1 more",
                "python -m pip install --force-reinstall --no-deps a==1.0",
            )
        ],
    ),
    "three files": (
        modified_reasons,
        ({"a": ["1", "2", "3"]}, {"a": ("1.0", "")}),
        [
            (
                "package_modified",
                "the files of a as its RECORD says",
                "changed: 1, 2, 3",
                "python -m pip install --force-reinstall --no-deps a==1.0",
            )
        ],
    ),
    "variables": (
        variable_reasons,
        ({"EMPTY": "", "TPR_SEED": "1²" * 30, "TPR_FAILFAST_MODE": "x" * 50}, ["EMPTY", "LOST"]),
        [
            ("env_missing", "EMPTY set", "empty", "export EMPTY=..."),
            ("env_missing", "LOST set", "not set", "export LOST=..."),
            ("seed_not_numeric", "TPR_SEED a whole number", "1²" * 19 + "1…", "export TPR_SEED=12345"),
            (
                "failfast_mode_invalid",
                "TPR_FAILFAST_MODE off, soft or hard",
                "x" * 39 + "…",
                "export TPR_FAILFAST_MODE=off",
            ),
        ],
    ),
}


@pytest.mark.parametrize(("judge", "facts", "expected"), REASONS.values(), ids=REASONS)
def test_a_reason_says_what_was_expected_what_is_and_what_to_paste(
    judge: Callable[..., Iterable[dict[str, str]]], facts: tuple[Any, ...], expected: list[tuple[str, str, str, str]]
) -> None:
    assert [(row["code"], row["expected"], row["actual"], row["remedy"]) for row in judge(*facts)] == expected


def test_a_lock_that_cannot_be_read_and_a_tool_that_is_not_there_are_told_with_their_remedy() -> None:
    packages = {"pytest": ("1", ""), "coverage": ("1", "")}
    facts: Any = SimpleNamespace(wanted_python=None, lock=None, problem="uv.lock: no", free=False, packages=packages)
    facts.changed, facts.environ, facts.required = {}, {}, []
    assert [[*row.values()] for row in reasons_of(facts)] == [
        ["lock_unreadable", "a lock that can be read", "uv.lock: no", "lock the project anew"],
        ["tool_missing", "hypothesis", "not installed", "python -m pip install hypothesis"],
    ]


def test_a_refusal_is_a_table_for_people(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock_anew(root, GOOD_LOCK + "lost==1.5\n")
    run(root)
    assert capsys.readouterr().err.splitlines() == [
        "code             expected    actual         remedy",
        "package_missing  lost ==1.5  not installed  python -m pip install --require-hashes -r requirements.lock",
        f"validate_env.py: refused: package_missing; see {root}/artifacts/{FAILURE}",
    ]


def test_quiet_leaves_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    (root / PYTHON_FILE).write_text("3.0\n")
    assert run(root, "--quiet") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_workflow_gets_at_most_ten_annotations(root: Path, environment: pytest.MonkeyPatch, capsys: Any) -> None:
    environment.setenv("GITHUB_ACTIONS", "true")
    environment.setenv("TPR_REQUIRED_ENV", ",".join(f"LOST_{n}" for n in range(12)))
    run(root)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("::error")]
    assert len(lines) == 10
    assert lines[0].startswith("::error title=validate_env.py::env_missing: expected LOST_0 set, got not set; ")
    assert lines[-1] == f"::error title=validate_env.py::and 3 more reasons, see {FAILURE}"


def test_an_annotation_can_not_be_broken_out_of() -> None:
    (line,) = workflow_lines([{"code": "c", "expected": "a\n::b", "actual": "50%\r", "remedy": "r"}])
    assert line == "::error title=validate_env.py::c: expected a ::b, got 50%25 ; r"


def test_a_table_is_aligned_and_its_last_column_whole() -> None:
    rows = [{"a": "x" * 99, "b": "1\n2", "c": "z" * 99}, {"a": "y", "b": "", "c": ""}]
    assert table(rows, ("a", "b", "c")).splitlines() == [
        f"a{' ' * 61}b    c",
        f"{'x' * 59}…  1 2  {'z' * 99}",
        "y",
    ]


def test_the_same_environment_keeps_its_signature_file_untouched(root: Path, environment: pytest.MonkeyPatch) -> None:
    run(root)
    path = root / "artifacts" / SIGNATURE
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    environment.setenv("TPR_RUN_ID", "another")
    assert run(root) == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize("spoil", ["cut", "edited", "removed"])
def test_a_signature_file_that_does_not_verify_is_written_anew(root: Path, spoil: str) -> None:
    run(root)
    path = root / "artifacts" / SIGNATURE
    whole = read_artifact(path)
    text = path.read_text()
    if spoil == "removed":
        path.unlink()
    else:
        path.write_text(text[:99] if spoil == "cut" else text.replace("12345", "54321"))
    assert run(root) == 0
    assert read_artifact(path)["signature"] == whole["signature"]


@pytest.mark.parametrize(
    "change",
    [
        lambda _, patch: patch.setenv("TPR_SEED", "7"),
        lambda _, patch: patch.setenv("TPR_REQUIRED_ENV", "HOME"),
        lambda root, _: (root / "site" / "more-2.dist-info").mkdir(),
        lambda root, _: lock_anew(root, GOOD_LOCK + "# another\n"),
    ],
    ids=["seed", "required variables", "one more package", "lock"],
)
def test_another_environment_gets_another_signature(
    root: Path, environment: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], object]
) -> None:
    run(root)
    first = read_artifact(root / "artifacts" / SIGNATURE)["signature"]
    change(root, environment)
    assert run(root) == 0
    assert read_artifact(root / "artifacts" / SIGNATURE)["signature"] != first


def test_another_version_of_what_is_not_locked_is_another_environment(root: Path) -> None:
    (root / "site" / "more-1.dist-info").mkdir()
    run(root)
    first = read_artifact(root / "artifacts" / SIGNATURE)["signature"]
    (root / "site" / "more-1.dist-info").rename(root / "site" / "more-2.dist-info")
    run(root)
    assert read_artifact(root / "artifacts" / SIGNATURE)["signature"] != first


def test_the_signature_is_the_digest_of_what_is_written_even_if_some_is_masked(
    root: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("TPR_SEED", "8675309")
    environment.setenv("SERVICE_PASSWORD", "8675309")
    assert run(root) == 0
    document = read_artifact(root / "artifacts" / SIGNATURE)
    assert document["seed"] == "[redacted]"
    assert document["signature"] == content_digest({key: document[key] for key in IDENTITY})


def test_a_success_removes_a_stale_failure_and_a_failure_removes_nothing(root: Path) -> None:
    run(root)
    (root / PYTHON_FILE).write_text("3.0\n")
    run(root)
    assert (root / "artifacts" / SIGNATURE).exists()
    (root / PYTHON_FILE).write_text(f"{HERE}.1\n")
    assert run(root) == 0
    assert not (root / "artifacts" / FAILURE).exists()


@pytest.mark.parametrize(
    "text", [f"{HERE}\n", f"{HERE}.4", f"# ours\n\n3.0\n{HERE}  # and this\r\n", f"cpython-{HERE}"]
)
def test_python_may_be_any_of_those_named(root: Path, text: str) -> None:
    (root / PYTHON_FILE).write_text(text)
    assert run(root, "--quiet") == 0


@pytest.mark.parametrize("text", ["", "system", "3", "3.1", f"{HERE}1", "\x00\udcff"])
def test_python_must_be_one_of_those_named(root: Path, text: str) -> None:
    (root / PYTHON_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert run(root, "--quiet") == 1
    assert codes(root) == ["python_minor_mismatch"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{hash} *requirements.lock", []),
        ("{HASH}  requirements.lock\r\n", []),
        ("{hash}  ./requirements.lock", []),
        ("{hash}  other.lock", ["lock_missing"]),
        ("{hash}  ../requirements.lock", ["lock_missing"]),
        ("{hash}", ["lock_hash_missing"]),
        ("", ["lock_hash_missing"]),
        ("{hash}  requirements.lock\n{hash}  requirements.lock", ["lock_hash_missing"]),
        ("\x00\xff", ["lock_hash_missing"]),
    ],
)
def test_the_recorded_hash_is_read_as_sha256sum_writes_it(root: Path, text: str, reason: list[str]) -> None:
    digest = hashlib.sha256((root / LOCKS[0]).read_bytes()).hexdigest()
    (root / HASH_FILE).write_text(text.replace("{hash}", digest).replace("{HASH}", digest.upper()), "latin-1")
    assert run(root, "--quiet") == (1 if reason else 0)
    assert (codes(root) if reason else []) == reason


REQUIREMENTS = {
    "pin": ("a==1.0", {"a": {"==1.0"}}),
    "spaces and extras": ("A_b.c [x, y]  ==  1.0 ", {"a-b-c": {"==1.0"}}),
    "arbitrary equality": ("a===1.0+x", {"a": {"===1.0+x"}}),
    "hashes over lines": (
        "a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nb==2",
        {"a": {"==1"}, "b": {"==2"}},
    ),
    "windows lines": ("a==1 \\\r\n    --hash=sha256:00\r\nb==2\r\n", {"a": {"==1"}, "b": {"==2"}}),
    "comments": ("# a==1\na==2  # b==3\n\n   # x", {"a": {"==2"}}),
    "range": ("a >=1, <2", {"a": {">=1,<2"}}),
    "any version": ("a", {"a": set()}),
    "direct": ("a @ https://x/a-1.whl\nb[c]@file:///b", {"a": set(), "b": set()}),
    "options": ("-r other.txt\n--no-binary x\n-e .\n-c c.txt", {}),
    "addresses and paths": ("git+https://x/y@z#egg=y\n./a\n/b/c.whl\nd-1.0.tar.gz\nhttps://x/e.zip", {}),
    "marker holds": (f"a==1 ; sys_platform == '{sys.platform}'", {"a": {"==1"}}),
    "marker does not": ('a==1 ; sys_platform != "win32"\nb==1;os_name=="none"', {"a": {"==1"}}),
    "real marker": ("a==1 ; python_version >= '3' and extra != 'x'\nb==1 ; python_version < '3'", {"a": {"==1"}}),
    "two branches": ("a==1 ; python_version < '3'\na==2 ; python_version >= '3'", {"a": {"==2"}}),
    "byte order mark": ("\ufeffa==1", {"a": {"==1"}}),
}


@pytest.mark.parametrize(("text", "allowed"), REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_a_requirements_file_is_read_as_pip_reads_it(tmp_path: Path, text: str, allowed: dict[str, set[str]]) -> None:
    (tmp_path / LOCKS[0]).write_bytes(text.encode())
    lock = read_lock(tmp_path, {})
    assert (lock.name, lock.allowed, lock.required) == (LOCKS[0], allowed, set(allowed))


@pytest.mark.parametrize(
    "text", ["no pin at all", "a==1 b==2", "==1", "a==1 ; nonsense", "a==1 ; unknown == '1'", "a==", "<html>", "\x00"]
)
def test_what_is_no_requirement_is_named(text: str) -> None:
    with pytest.raises(LockError, match=r"expected name==version, got |marker ") as caught:
        requirement_pins(text)
    assert "\n" not in str(caught.value)


def test_an_endless_requirement_is_cut() -> None:
    with pytest.raises(LockError) as caught:
        requirement_pins("!" * 999)
    assert str(caught.value) == f"expected name==version, got {'!' * 79}…"


def test_an_endless_marker_is_cut() -> None:
    with pytest.raises(LockError) as caught:
        requirement_pins("a==1 ; " + "x" * 999)
    assert str(caught.value).startswith(f"marker {'x' * 79}…: ")
    assert len(str(caught.value)) == len("marker : ") + 80 + 80


@pytest.mark.parametrize("piece", [" ", "a ", "a[", "==", "a==1,", "\\\n", "a;", "-", "a@", ".gz", "://", "a.", "["])
def test_a_hostile_requirements_file_costs_time_in_proportion(piece: str) -> None:
    for text in (piece * 30_000, "a" + piece * 30_000 + "!"):
        began = time.process_time()
        with suppress(LockError):
            requirement_pins(text)
        assert time.process_time() - began < 1


POETRY = """
[[package]]
name = "Pytest"
version = "1.0"
[[package]]
name = "extra-only"
version = "3"
[[package]]
name = "mine"
version = "9"
[package.source]
type = "directory"
"""
UV = """
version = 1
[[package]]
name = "mine"
version = "0.1"
source = { editable = "." }
[[package]]
name = "pytest"
version = "1.0"
source = { registry = "x" }
[[package]]
name = "forked"
version = "1"
[[package]]
name = "forked"
version = "2"
[[package]]
name = "unversioned"
"""
PYLOCK = """
lock-version = "1.0"
default-groups = ["test"]
[[packages]]
name = "pytest"
version = "1.0"
[[packages]]
name = "elsewhere"
version = "1"
marker = "sys_platform == 'none'"
[[packages]]
name = "tested"
version = "1"
marker = "'test' in dependency_groups"
[[packages]]
name = "documented"
version = "1"
marker = "'doc' in extras"
[[packages]]
name = "unclear"
version = "1"
marker = "nonsense"
[[packages]]
name = "mine"
directory = { path = "." }
"""


@pytest.mark.parametrize(
    ("package", "local"),
    [
        ({"source": {"editable": "."}}, True),
        ({"source": {"virtual": "."}}, True),
        ({"source": {"path": "x"}}, True),
        ({"source": {"type": "directory", "url": "."}}, True),
        ({"source": {"type": "git", "url": "x"}}, False),
        ({"path": "x"}, True),
        ({"directory": {"path": "."}}, True),
        ({"version": "1"}, False),
    ],
)
def test_a_package_is_local_where_its_source_is_a_folder(package: dict[str, Any], local: bool) -> None:
    assert is_local(package) is local


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("package = 1", "expected a list of packages"),
        ("package = [1]", "expected a list of packages"),
        ("[[package]]\nversion = '1'", "expected every package to have a name"),
    ],
)
def test_a_lock_of_another_shape_is_said_in_words(text: str, said: str) -> None:
    with pytest.raises(LockError) as caught:
        toml_pins(text, "uv.lock")
    assert str(caught.value) == said


def test_a_poetry_lock_allows_and_requires_nothing() -> None:
    assert toml_pins(POETRY, "poetry.lock") == ({"pytest": {"==1.0"}, "extra-only": {"==3"}}, set())


def test_a_uv_lock_may_allow_several_versions() -> None:
    allowed = {"pytest": {"==1.0"}, "forked": {"==1", "==2"}, "unversioned": set()}
    assert toml_pins(UV, "uv.lock") == (allowed, set())


def test_the_markers_of_a_pylock_decide_what_is_required() -> None:
    allowed = {"pytest": {"==1.0"}, "tested": {"==1"}, "unclear": {"==1"}}
    assert toml_pins(PYLOCK, "pylock.toml") == (allowed, {"pytest", "tested"})


@pytest.mark.parametrize(
    ("name", "text", "reasons"),
    [
        ("poetry.lock", POETRY, []),
        ("poetry.lock", POETRY.replace('"1.0"', '"1.1"'), ["package_drift"]),
        ("uv.lock", UV, []),
        ("uv.lock", UV.replace('"1.0"', '"2.0"'), ["package_drift"]),
        ("pylock.toml", PYLOCK.replace('"tested"', '"coverage"').replace('version = "1"', 'version = "1.0"'), []),
        ("pylock.toml", PYLOCK, ["package_missing"]),
        ("uv.lock", "[[package]]\nversion = '1'", ["lock_unreadable"]),
        ("uv.lock", "package = 1", ["lock_unreadable"]),
        ("uv.lock", "package = [1]", ["lock_unreadable"]),
        ("pylock.toml", "default-groups = 1\n[[packages]]\nname = 'lost'", []),
        ("poetry.lock", "a = " + "[" * 5000, ["lock_unreadable"]),
        ("poetry.lock", "\x00", ["lock_unreadable"]),
    ],
)
def test_each_kind_of_lock_can_be_the_recorded_one(root: Path, name: str, text: str, reasons: list[str]) -> None:
    (root / LOCKS[0]).unlink()
    lock_anew(root, text, name)
    assert run(root, "--quiet") == (1 if reasons else 0)
    assert (codes(root) if reasons else []) == reasons


def test_of_two_locks_the_recorded_one_counts(root: Path) -> None:
    lock_anew(root, POETRY, "poetry.lock")
    (root / LOCKS[0]).write_text("lost==1\n")
    assert run(root, "--quiet") == 0


@pytest.mark.parametrize(
    ("locked", "reasons"),
    [
        ("==1", []),
        ("==1.0.0", []),
        (">=0.9,<2", []),
        ("==1.*", []),
        ("~=1.1", ["package_drift"]),
        ("==x", ["package_drift"]),
    ],
)
def test_versions_are_compared_as_versions(root: Path, locked: str, reasons: list[str]) -> None:
    lock_anew(root, GOOD_LOCK.replace("pytest==1.0", f"pytest{locked}"))
    assert run(root, "--quiet") == (1 if reasons else 0)
    assert (codes(root) if reasons else []) == reasons


@pytest.mark.parametrize(
    ("version", "allowed", "held"),
    [
        ("1.0", set(), True),
        ("2.0", {"==9", ">=2"}, True),
        ("2.0rc1", {">=1"}, True),
        ("1.0", {">=2", "==x"}, False),
    ],
)
def test_one_specifier_that_holds_is_enough(version: str, allowed: set[str], held: bool) -> None:
    assert holds(version, allowed) is held


def test_what_is_installed_but_not_locked_is_recorded_not_refused(root: Path) -> None:
    (root / "site" / "More_Things-2.0.dist-info").mkdir()
    assert run(root) == 0
    assert read_artifact(root / "artifacts" / SIGNATURE)["extra"] == ["more-things"]


def test_without_a_lock_the_installed_set_is_the_lock(root: Path) -> None:
    (root / LOCKS[0]).unlink()
    assert run(root, "--record") == 0
    text = "".join(f"{name}==1.0\n" for name in sorted(GUARDED))
    assert (root / HASH_FILE).read_text() == f"{hashlib.sha256(text.encode()).hexdigest()}  installed-set\n"
    assert run(root) == 0
    (root / "site" / "more-2.dist-info").mkdir()
    assert run(root) == 1
    assert codes(root) == ["lock_hash_mismatch"]


INSTALLED = {
    "a-1.0.dist-info": ("a", "1.0"),
    "More_Things.x-2.0+local.1.dist-info": ("more-things-x", "2.0+local.1"),
    "old-1.0-py3.11.egg-info": ("old", "1.0"),
    "dashed-name-3.dist-info": ("dashed-name", "3"),
}


def test_distributions_are_told_by_the_names_of_their_metadata(tmp_path: Path) -> None:
    for name in [*INSTALLED, "~b-1.0.dist-info", "dist-info", "package", "c-1.0.data", "nameless.egg-info"]:
        (tmp_path / "first" / name).mkdir(parents=True)
    (tmp_path / "second" / "a-9.dist-info").mkdir(parents=True)
    found = installed(["", str(tmp_path / "gone"), __file__, str(tmp_path / "first"), str(tmp_path / "second")])
    assert {name: version for name, (version, _) in found.items()} == dict(INSTALLED.values())


def test_the_files_of_a_distribution_are_compared_with_its_record(tmp_path: Path) -> None:
    for name in ("same.py", "changed.py", "free.py", "same.pyc", "with,comma.py", "odd.py"):
        (tmp_path / name).write_text(name)
    known = {name: record_hash(str(tmp_path / name), "sha256") for name in ("same.py", "with,comma.py")}
    rows = [
        f"same.py,{known['same.py']},7",
        f'"with,comma.py",{known["with,comma.py"]},',
        "changed.py,sha256=AAAA,9",
        "gone.py,sha256=AAAA,9",
        "free.py,,",
        "same.pyc,sha256=AAAA,1",
        "odd.py,rot13=AAAA,1",
        "../../../bin/x,sha256=AAAA,1",  # whoever moves an environment, or wraps its programs, rewrites them
        "short",
        "",
    ]
    (tmp_path / "x.dist-info").mkdir()
    (tmp_path / "x.dist-info" / "RECORD").write_text("\n".join(rows))
    assert modified_files(f"{tmp_path}/x.dist-info") == ["changed.py", "gone.py", "odd.py"]


@pytest.mark.parametrize("record", [None, b"", b"\xff\xfe", b'a,"\n', b"\x00"])
def test_a_record_that_cannot_be_read_accuses_nobody(tmp_path: Path, record: bytes | None) -> None:
    if record is not None:
        (tmp_path / "RECORD").write_bytes(record)
    assert modified_files(str(tmp_path)) == []


def test_the_hash_of_a_file_is_the_one_that_wheels_state(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    expected = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    assert record_hash(str(tmp_path / "empty"), expected) == expected
    assert record_hash(str(tmp_path / "empty"), "sha\0256=x") == ""


def test_recording_makes_the_present_environment_the_expected_one(root: Path, capsys: Any) -> None:
    (root / HASH_FILE).unlink()
    (root / PYTHON_FILE).unlink()
    assert run(root, "--record") == 0
    assert (root / PYTHON_FILE).read_text() == f"{HERE}\n"
    assert subprocess.run(["sha256sum", "-c", HASH_FILE], cwd=root, capture_output=True, check=False).returncode == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [PYTHON_FILE, HERE]
    assert names(root) == ["validation_start", "validation_ok"]
    assert events(root)[-1]["recorded"] == [PYTHON_FILE, HASH_FILE]
    assert run(root) == 0


def test_recording_keeps_a_python_version_that_fits_and_replaces_one_that_does_not(root: Path) -> None:
    (root / PYTHON_FILE).write_text(f"3.0\n{HERE}.7\n")
    run(root, "--record")
    assert (root / PYTHON_FILE).read_text() == f"3.0\n{HERE}.7\n"
    (root / PYTHON_FILE).write_text("3.0\n")
    run(root, "--record")
    assert (root / PYTHON_FILE).read_text() == f"{HERE}\n"


def test_recording_anew_keeps_to_the_lock_that_was_recorded(root: Path) -> None:
    lock_anew(root, POETRY, "poetry.lock")
    run(root, "--record")
    assert (root / HASH_FILE).read_text().endswith("  poetry.lock\n")


def test_a_lock_that_cannot_be_read_cannot_be_recorded(root: Path, capsys: Any) -> None:
    (root / LOCKS[0]).write_text("no pin at all")
    assert run(root, "--record") == 2
    assert (
        "requirements.lock: expected name==version, got no pin at all; lock the project anew"
        in capsys.readouterr().err
    )
    assert names(root) == ["validation_start", "validation_fail"]


def test_a_project_that_recorded_nothing_is_refused_with_the_way_to_record(root: Path) -> None:
    for name in (HASH_FILE, PYTHON_FILE, LOCKS[0]):
        (root / name).unlink()
    assert run(root) == 1
    (row,) = read_artifact(root / "artifacts" / FAILURE)["reasons"]
    assert (row["code"], row["remedy"]) == ("lock_hash_missing", "python scripts/tests/validate_env.py --record")


def test_a_foreign_project_that_recorded_nothing_may_be_let_through(root: Path, capsys: Any) -> None:
    for name in (HASH_FILE, PYTHON_FILE, LOCKS[0], "site/hypothesis-1.0.dist-info/RECORD"):
        (root / name).unlink()
    (root / "site" / "hypothesis-1.0.dist-info").rmdir()
    assert run(root, "--allow-unrecorded") == 0
    assert read_artifact(root / "artifacts" / SIGNATURE)["recorded"] is False
    assert "(nothing is recorded)" in capsys.readouterr().out
    (root / "site" / "pytest.py").write_text("changed")
    (root / "site" / "coverage-1.0.dist-info" / "RECORD").unlink()
    (root / "site" / "coverage-1.0.dist-info").rmdir()
    assert run(root, "--allow-unrecorded") == 1
    assert codes(root) == ["package_modified", "tool_missing"]


@pytest.mark.parametrize("text", [UV.replace('"1.0"', '"2.0"'), "not toml"], ids=["differs", "unreadable"])
def test_a_lock_that_nobody_recorded_promises_nothing(root: Path, text: str) -> None:
    """Though the project has a .python-version: many have, for other tools."""
    for name in (HASH_FILE, LOCKS[0]):
        (root / name).unlink()
    (root / "uv.lock").write_text(text)
    assert run(root, "--quiet", "--allow-unrecorded") == 0
    sources = read_artifact(root / "artifacts" / SIGNATURE)["lock_sources"]
    assert sources["file"] == ("installed-set" if text == "not toml" else "uv.lock")
    assert run(root, "--quiet") == 1


def test_the_name_of_an_environment_is_no_version_to_differ_from(root: Path) -> None:
    """pyenv takes such names, too."""
    (root / PYTHON_FILE).write_text("my-env\n")
    assert run(root, "--quiet", "--allow-unrecorded") == 1
    (root / HASH_FILE).unlink()
    assert run(root, "--quiet", "--allow-unrecorded") == 0


@pytest.mark.parametrize("name", [HASH_FILE, PYTHON_FILE])
def test_a_project_that_recorded_anything_is_held_to_it(root: Path, name: str) -> None:
    (root / ({HASH_FILE, PYTHON_FILE} - {name}).pop()).unlink()
    lock_anew(root, GOOD_LOCK) if name == HASH_FILE else None
    (root / name).write_text("3.0" if name == PYTHON_FILE else "0" * 64 + f"  {LOCKS[0]}")
    assert run(root, "--allow-unrecorded") == 1
    assert codes(root) == ["python_minor_mismatch" if name == PYTHON_FILE else "lock_hash_mismatch"]


@pytest.mark.parametrize("value", ["A_ONE,B_TWO", "A_ONE B_TWO", " ,A_ONE,, B_TWO\n", "B_TWO"])
def test_required_variables_come_from_the_flag_and_from_the_environment(
    root: Path, environment: pytest.MonkeyPatch, value: str
) -> None:
    environment.setenv("TPR_REQUIRED_ENV", value)
    environment.setenv("B_TWO", "")
    assert run(root, "--require-env", "C_THREE", "--require-env", "A_ONE") == 1
    rows = read_artifact(root / "artifacts" / FAILURE)["reasons"]
    assert [(row["code"], row["expected"], row["actual"]) for row in rows] == [
        ("env_missing", "A_ONE set", "not set"),
        ("env_missing", "B_TWO set", "empty"),
        ("env_missing", "C_THREE set", "not set"),
    ]
    for name in ("A_ONE", "B_TWO", "C_THREE"):
        environment.setenv(name, "x")
    assert run(root, "--require-env", "C_THREE") == 0


def test_variables_are_recorded_by_name_never_by_value(root: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "postgres://user:hunter2@host/db")
    environment.setenv("TPR_SEED", "hunter2")
    assert run(root, "--require-env", "DATABASE_URL", "--require-env", "API_TOKEN") == 1
    environment.setenv("TPR_SEED", "7")
    assert run(root, "--require-env", "DATABASE_URL") == 0
    written = b"".join(path.read_bytes() for path in (root / "artifacts").iterdir())
    assert b"postgres" not in written
    assert b"DATABASE_URL" in written
    assert b"API_TOKEN set" in written


@pytest.mark.parametrize("seed", ["-1", "1.5", "1e3", " 1", "\u0663", "0x1", "twelve"])
def test_a_seed_is_a_whole_number(root: Path, environment: pytest.MonkeyPatch, seed: str) -> None:
    environment.setenv("TPR_SEED", seed)
    assert run(root, "--quiet") == 1
    assert codes(root) == ["seed_not_numeric"]


def test_skipping_is_said_in_the_log_and_checks_nothing(
    root: Path, environment: pytest.MonkeyPatch, capsys: Any
) -> None:
    environment.setenv("TPR_ENV_VALIDATE", "skip")
    environment.delenv("TPR_SEED")
    assert run(root) == 0
    assert names(root) == ["validation_start", "validation_ok"]
    assert events(root)[-1]["skipped"] is True
    assert capsys.readouterr().err == "validate_env.py: skipped, as TPR_ENV_VALIDATE says\n"
    assert [path.name for path in (root / "artifacts").iterdir()] == [LOG_NAME]


@pytest.mark.parametrize("value", ["", "no", "Skip"])
def test_a_bad_switch_is_a_usage_error(root: Path, environment: pytest.MonkeyPatch, value: str, capsys: Any) -> None:
    environment.setenv("TPR_ENV_VALIDATE", value)
    with pytest.raises(SystemExit) as caught:
        run(root)
    assert caught.value.code == 2
    assert "TPR_ENV_VALIDATE: expected enable or skip, got " in capsys.readouterr().err


@pytest.mark.parametrize("name", [HASH_FILE, PYTHON_FILE])
def test_a_record_that_is_a_folder_is_one_line_and_exit_2(root: Path, name: str, capsys: Any) -> None:
    (root / name).unlink()
    (root / name).mkdir()
    assert run(root) == 2
    assert capsys.readouterr().err == (
        f"validate_env.py: error: {root / name}: cannot be read: Is a directory; check what it is\n"
    )
    assert names(root) == ["validation_start", "validation_fail"]


def test_a_lock_that_is_a_folder_is_unreadable(root: Path) -> None:
    (root / LOCKS[0]).unlink()
    (root / LOCKS[0]).mkdir()
    assert run(root, "--quiet") == 1
    assert codes(root) == ["lock_unreadable"]


def test_artifacts_that_can_not_be_written_are_one_line_and_exit_2(root: Path, capsys: Any) -> None:
    (root / "artifacts").write_text("")
    assert run(root) == 2
    assert re.fullmatch(r"validate_env.py: error: .*artifacts: cannot be written: .*\n", capsys.readouterr().err)


def test_a_place_taken_for_the_failure_is_one_line_and_exit_2(root: Path, capsys: Any) -> None:
    (root / "artifacts" / FAILURE / "x").mkdir(parents=True)
    assert run(root) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert names(root) == ["validation_start", "validation_fail"]


def test_an_interruption_ends_what_was_started(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate_env, "reasons_of", interrupted)
    assert run(root) == 2
    assert names(root) == ["validation_start", "validation_fail"]
    assert (events(root)[-1]["reasons"], events(root)[-1]["problem"]) == ([], "KeyboardInterrupt")
    assert capsys.readouterr().err == "validate_env.py: error: interrupted\n"


def test_the_drill_proves_that_the_gate_opens_once_and_shuts_for_each_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(validate_env, "DRILL_LIMIT_S", 60)  # how long it takes here is the benchmark's matter
    assert run(root, "--drill") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["drill", "result", "ms", "reasons"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["(unchanged)", "accepted"],
        *([code, "refused"] for code, *_ in DRILLS[1:]),
    ]
    assert names(root) == ["validation_start", "validation_ok"] + ["validation_start", "validation_fail"] * 12
    assert all(event["drill"] is True for event in events(root))
    assert [event["reasons"] for event in events(root)[3::2]] == [[code] for code, *_ in DRILLS[1:]]
    assert [path.name for path in (root / "artifacts").iterdir()] == [LOG_NAME]


@pytest.mark.parametrize(
    ("drill", "reasons"),
    [(("env_missing", {}, {}), ""), (("", {PYTHON_FILE: "3.0"}, {}), "python_minor_mismatch")],
    ids=["gate stays open", "gate stays shut"],
)
def test_a_drill_that_does_not_hold_is_a_no(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, drill: tuple[str, Any, Any], reasons: str
) -> None:
    monkeypatch.setattr(validate_env, "DRILLS", (drill,))
    monkeypatch.setattr(validate_env, "DRILL_LIMIT_S", 60)
    assert run(root, "--drill") == 1
    printed = capsys.readouterr()
    assert "DID NOT HOLD" in printed.out
    assert printed.out.splitlines()[1].endswith(reasons)
    lead = f"validate_env.py: the gate did not hold: {drill[0] or '(unchanged)'}: got {reasons or 'no reason'} in "
    assert printed.err.startswith(lead)
    wanted = " ms; expected that reason alone in under 60 s; where only the time is wrong, try again\n"
    assert printed.err.endswith(wanted)


def test_a_refusal_that_takes_too_long_does_not_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate_env, "DRILLS", DRILLS[1:2])
    monkeypatch.setattr(validate_env, "DRILL_LIMIT_S", 0.0)
    assert run(root, "--drill", "--quiet") == 1


@pytest.mark.parametrize(("slow", "code"), [(2, 0), (3, 1)])
def test_a_slow_refusal_is_tried_three_times(
    root: Path, monkeypatch: pytest.MonkeyPatch, slow: int, code: int
) -> None:
    seconds = iter([1.5] * slow + [0.1])
    monkeypatch.setattr(validate_env, "DRILLS", (("tool_missing", {}, {}),))
    monkeypatch.setattr(validate_env, "tried", lambda *_: (["tool_missing"], next(seconds)))
    assert run(root, "--drill") == code
    assert events(root)[-1]["seconds"] == (1.5 if code else 0.1)


def test_there_is_a_drill_for_every_reason_and_a_reason_for_every_drill() -> None:
    source = (SCRIPTS / "validate_env.py").read_text("utf-8")
    assert set(re.findall(r'reason\(\s*"(\w+)"', source)) == {code for code, *_ in DRILLS[1:]}


def test_the_gate_needs_none_of_the_packages_that_it_checks(root: Path) -> None:
    lock_anew(root, GOOD_LOCK + "elsewhere==1 ; sys_platform == 'none'\n")
    code = (
        f"import sys; from validate_env import main; code = main(['--quiet', '--root', {str(root)!r}]); "
        "slow = 'pytest hypothesis coverage yaml importlib.metadata packaging typing dataclasses'.split(); "
        "print(code, sorted(set(slow) & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": f"{SCRIPTS}{os.pathsep}{root / 'site'}"}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environ, check=True)
    assert done.stdout == "0 []\n", done.stderr


def test_a_failure_and_a_signature_are_plain_json_for_others(root: Path) -> None:
    run(root)
    (root / PYTHON_FILE).write_text("3.0\n")
    run(root)
    for name in (SIGNATURE, FAILURE):
        document = json.loads((root / "artifacts" / name).read_text("utf-8"))
        assert document["artifact"] == name
        assert document["schema_version"] == "1.0"
