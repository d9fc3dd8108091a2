"""What every script must be: loose, self-describing, and with no events but the known ones."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from events import TAXONOMY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.constitutional

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts" / "tests"
PACKAGES = {  # besides the standard library and events
    "events.py": "",
    "validate_env.py": "packaging",
    "collect_metrics.py": "coverage pytest yaml defusedxml",
    "scan_flakes.py": "defusedxml",
    "benchmark_failfast.py": "",
    "aggregate_properties.py": "hypothesis pytest",
    "enforce_gates.py": "yaml defusedxml",
    "emit_checkpoint.py": "yaml",
    "render_report.py": "",
    "pipeline.py": "",
    "conftest.py": "pytest coverage hypothesis xdist",  # xdist only in a hook that xdist itself calls
}
LOGGED_BY = {
    "metrics_capture_start": "collect_metrics.py",
    "metrics_capture_complete": "collect_metrics.py",
    "environment_validation_start": "validate_env.py",
    "environment_validation_ok": "validate_env.py",
    "environment_validated": "validate_env.py",
    "environment_validation_fail": "validate_env.py",
    "failfast_mode_applied": "collect_metrics.py",
    "early_exit_detected": "collect_metrics.py",
    "property_test_start": "aggregate_properties.py",
    "property_test_complete": "aggregate_properties.py",
    "flake_scan_complete": "scan_flakes.py",
    "coverage_ladder_recorded": "collect_metrics.py",
    "foundation_checkpoint_emitted": "emit_checkpoint.py",
    "logging_deficit": "emit_checkpoint.py",
    "risk_trigger": "enforce_gates.py",
}
EVENTS_LIMIT = 400  # lines of code


def tracked(pattern: str) -> list[Path]:
    done = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.splitlines()]


FILES = [ROOT / "conftest.py", *tracked("scripts/tests/*.py")]
RUNNABLE = [file for file in FILES if file.name not in ("events.py", "conftest.py")]
name_of = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def strangers(source: str, packages: str) -> set[str]:
    """Modules that `source` imports, wherever in it, and must not."""
    return imported(ast.parse(source)) - sys.stdlib_module_names - set(packages.split())


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__", "find_spec"):
            names |= {str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return {name.partition(".")[0] if name[0] != "." else name for name in names}


def called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@name_of
def test_a_script_imports_the_standard_library_events_and_its_own_packages(file: Path) -> None:
    allowed = PACKAGES[file.name] + ("" if file.name in ("events.py", "conftest.py") else " events")
    assert strangers(file.read_text("utf-8"), allowed) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import numpy", {"numpy"}),
        ("import yaml, os.path", set()),
        ("def f():\n    from scan_flakes import main", {"scan_flakes"}),
        ("from .events import Run", {".events"}),
        ("importlib.import_module('rich.table')", {"rich"}),
        ("__import__('rich')", {"rich"}),
    ],
)
def test_a_forbidden_import_is_found(source: str, found: set[str]) -> None:
    assert strangers(source, "yaml") == found


def shells(source: str) -> list[int]:
    """Lines that hand a text to a shell."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if any(word.arg == "shell" and getattr(word.value, "value", True) for word in call.keywords)
        or (isinstance(call.func, ast.Attribute) and ast.unparse(call.func) in ("os.system", "os.popen"))
    ]


def test_no_text_is_handed_to_a_shell() -> None:
    found = {str(file): shells(file.read_text("utf-8")) for file in tracked("*.py")}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("run(x, shell=True)", [1]),
        ("run(x, shell=quick)", [1]),
        ("\nos.system(x)", [2]),
        ("os.popen(x)", [1]),
        ("run(x, shell=False)", []),
        ("platform.system()", []),
    ],
)
def test_a_shell_is_found(source: str, lines: list[int]) -> None:
    assert shells(source) == lines


def lines_of_code(source: str) -> int:
    """Lines that are neither empty nor comment nor docstring."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - set(docstring_lines(ast.parse(source))))


def docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def test_events_stays_tiny() -> None:
    assert lines_of_code((SCRIPTS / "events.py").read_text("utf-8")) <= EVENTS_LIMIT


def test_only_code_counts_as_a_line_of_code() -> None:
    assert lines_of_code('"""Say\nmore."""\n\n# why\nx = (  # how\n    1\n)\ndef f():\n    """Do."""\n') == 4


@pytest.mark.parametrize("file", RUNNABLE, ids=lambda file: file.name)
def test_an_older_python_gets_a_line(file: Path) -> None:
    """A suite's interpreter may be one; what it lacks must not be imported before the line is said."""
    older = "import datetime, runpy, sys; del datetime.UTC; sys.version_info = (3, 10, 9); del sys.argv[0]"
    code = f"{older}; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, file, "--help"], capture_output=True, text=True, check=False)
    said = f"{file.name}: error: expected Python 3.11 or newer, got 3.10.9; run it with python3.11\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("file", RUNNABLE, ids=lambda file: file.name)
def test_a_script_has_one_door(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    mains = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    assert [ast.unparse(main.args) for main in mains] == ["argv: Sequence[str] | None=None"]
    assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    raise SystemExit(main())"


@pytest.mark.parametrize("file", RUNNABLE, ids=lambda file: file.name)
def test_help_is_the_docstring_and_says_what_is_read_written_and_meant(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(file), "--help"],  # where Python does not look for events.py beside it
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    assert docstring
    assert docstring in done.stdout
    assert undescribed(docstring, file.name) == []


def undescribed(docstring: str, script: str) -> list[str]:
    """What a script's docstring leaves out: its question, how it is run, what it reads and writes, its exits."""
    rules = {
        "question": r"\A[^\n]*\?",
        "run": rf"^    python\S* scripts/tests/{re.escape(script)}",
        "reads": "^Reads: ",
        "writes": "^Writes: ",
        "exits": r"^Exits:  0 [\s\S]*\b1 [\s\S]*\b2 ",
    }
    return [name for name, rule in rules.items() if not re.search(rule, docstring, re.MULTILINE)]


def test_what_a_docstring_leaves_out_is_found() -> None:
    whole = "Why?\n\n    python scripts/tests/x.py\n\nReads:  a\nWrites: b\nExits:  0 yes; 1 no; 2 unknown"
    assert undescribed(whole, "x.py") == []
    assert undescribed("Exits: 0 1", "x.py") == ["question", "run", "reads", "writes", "exits"]


@cache
def texts(source: str) -> set[str]:
    """All string constants of `source` but its docstrings."""
    tree = ast.parse(source)
    silent = set(docstring_lines(tree))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {str(node.value) for node in found if node.lineno not in silent}


def logged(source: str) -> set[str]:
    """Names given, as they stand, to a log's info, warning or error."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    doors = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS]
    logs = [call for call in doors if ast.unparse(call.func).rpartition(".")[0].endswith("log")]
    return {str(call.args[0].value) for call in logs if isinstance(call.args[0], ast.Constant)}


LEVELS = ("info", "warning", "error")


@name_of
def test_every_event_that_is_logged_is_in_the_taxonomy(file: Path) -> None:
    assert logged(file.read_text("utf-8")) - TAXONOMY == set()


def test_every_event_has_the_one_script_that_answers_for_it() -> None:
    assert set(LOGGED_BY) == TAXONOMY
    assert set(LOGGED_BY.values()) <= set(PACKAGES)


@pytest.mark.parametrize(("event", "script"), [row for row in LOGGED_BY.items() if SCRIPTS / row[1] in FILES])
def test_every_event_of_the_taxonomy_is_logged(event: str, script: str) -> None:
    assert event in texts((SCRIPTS / script).read_text("utf-8"))


def test_an_event_only_spoken_of_is_not_logged() -> None:
    source = '"""risk_trigger"""\nrun.log.info("risk_trigge", x="other")\nlog.error(name)\nprint("risk_trigger2")'
    assert logged(source) == {"risk_trigge"}
    assert "risk_trigger" not in texts(source)
