"""README.md and PLAN.md against the code, in both directions."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from events import TAXONOMY

pytestmark = pytest.mark.constitutional

ROOT = Path(__file__).resolve().parents[2]
PLAN, README = ROOT / "scripts" / "tests" / "PLAN.md", ROOT / "README.md"
DOCUMENTS = pytest.mark.parametrize("document", [PLAN, README], ids=["PLAN.md", "README.md"])
OTHERS_FLAGS = set(
    "--require-hashes --branch --cov --cov-branch --cov-report --junitxml --durations --help -x "
    "--lf --ff --nf --sw --collect-only "
    "--universal --python-version --generate-hashes --no-header".split()
)
OTHERS_FILES = set(
    "coverage.py more.py test_basic.py test_formatting.py test_invariants.py test_make.py test_options.py "
    "run-4.xml".split()
)
PASSING = {"settings.json", "records.jsonl", "reference.json"}  # files that a run removes, or keeps to itself
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
KEY = re.compile(r"\bTPR_[A-Z_]*[A-Z]\b")
FILE = re.compile(r"\.?[\w-]+(?:\.[\w-]+)*\.(?:py|jsonl?|xml|ya?ml|md|html|hash|lock|ini|toml|yml)")
WORD = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")


@cache
def tracked() -> tuple[str, ...]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(done.stdout.splitlines())


@cache
def sources() -> dict[str, str]:
    names = [name for name in tracked() if re.fullmatch(r"scripts/tests/\w+\.py|conftest\.py", name)]
    return {Path(name).name: (ROOT / name).read_text("utf-8") for name in names}


@cache
def flags(script: str) -> frozenset[str]:
    """The flags that a script offers, by its own --help; conftest.py's by its source, but for its inner ones."""
    if script == "conftest.py":
        return frozenset(re.findall(r'addoption\(\s*"(--(?!tpr-)[\w-]+)"', sources()[script]))
    if script == "events.py":
        return frozenset()
    line = [sys.executable, str(ROOT / "scripts" / "tests" / script), "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    return frozenset(re.findall(r"^  (?:-\w, )?(--[\w-]+)", done.stdout, re.MULTILINE)) - {"--help"}


def texts(source: str) -> set[str]:
    """All string constants of a source, docstrings included."""
    nodes = ast.walk(ast.parse(source))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@cache
def keys() -> frozenset[str]:
    return frozenset(key for source in sources().values() for text in texts(source) for key in KEY.findall(text))


@cache
def evidence() -> frozenset[str]:
    """Names of files that the scripts write or read as evidence."""
    named = {text for source in sources().values() for text in texts(source) if FILE.fullmatch(text)}
    return frozenset(name for name in named if re.search(r"\.(?:jsonl?|hash|xml|yaml|md|html)$", name)) - PASSING


def unknown(document: str) -> list[str]:
    """What a document names that is not there."""
    spans = " ".join(re.findall(r"`([^`\n]+)`", document))
    every = frozenset().union(*map(flags, sources())) | OTHERS_FLAGS
    code = " ".join(sources().values())
    files = {Path(name).name for name in tracked()} | set(FILE.findall(code)) | OTHERS_FILES
    wrong = [flag for flag in FLAG.findall(document) if flag not in every]
    wrong += [key for key in KEY.findall(document) if key not in keys()]
    wrong += [name for name in FILE.findall(document) if name not in files]
    wrong += [word for word in WORD.findall(spans) if not re.search(rf"\b{word}\b", code)]
    return sorted(set(wrong))


@DOCUMENTS
def test_everything_that_a_document_names_is_there(document: Path) -> None:
    assert unknown(document.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ("run it with --root, `--quiet`", []),
        ("run it with --rooot", ["--rooot"]),
        ("TPR_SEED and TPR_SEAD", ["TPR_SEAD"]),
        ("`pipeline.py` writes `absent.report.json`", ["absent.report.json"]),
        ("`risk_trigger`, `metrics_capture_begin`, not_code", ["metrics_capture_begin"]),
    ],
)
def test_a_name_that_is_not_there_is_found(document: str, found: list[str]) -> None:
    assert unknown(document) == found


@pytest.mark.parametrize("script", sources())
def test_the_contract_names_every_script_and_all_of_its_flags(script: str) -> None:
    plan = PLAN.read_text("utf-8")
    assert script in plan
    assert sorted(flags(script) - set(FLAG.findall(plan))) == []


@pytest.mark.parametrize("kind", ["events", "keys", "evidence"])
def test_the_contract_names_everything_that_there_is(kind: str) -> None:
    plan = PLAN.read_text("utf-8")
    there = {"events": TAXONOMY, "keys": keys(), "evidence": evidence()}[kind]
    assert sorted(name for name in there if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", plan)) == []


@DOCUMENTS
def test_every_link_in_a_document_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("stage", ["chain", "test"])
def test_the_readmes_first_commands_run_the_chain_and_the_tests(stage: str) -> None:
    commands = re.findall(
        r"^\$ (python3\.11 scripts/tests/pipeline\.py\b[^#\n]*)", README.read_text("utf-8"), re.MULTILINE
    )
    expected = {"chain": "python3.11 scripts/tests/pipeline.py", "test": "python3.11 scripts/tests/pipeline.py test"}
    assert commands[["chain", "test"].index(stage)].strip() == expected[stage]
