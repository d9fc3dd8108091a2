"""What the repository promises as a whole: a hashed lock, nobody's registry, bytes that stay."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.constitutional

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
FIVE = ("pytest", "hypothesis", "coverage", "pyyaml", "defusedxml")
PLACES = re.compile(  # where a package could come from is each machine's own affair
    r"pypi[.]org|python[h]osted[.]org|npmjs[.](?:org|com)|debian[.]org|(?:extra-)?index[-_]url|find[-_]links|trusted[-_]host",
    re.IGNORECASE,
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pins(lock: str) -> dict[str, str]:
    """Each requirement of a lock by its name, with the lines that belong to it."""
    rows = re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return {re.split(r"[=<>~! ]", row, maxsplit=1)[0].lower(): row for row in rows if row.strip()}


def loose(lock: str) -> list[str]:
    """Requirements that are not one version with hashes: `name==version [; marker] --hash=... ...`."""
    whole = re.compile(rf"[\w.-]+==[\w.]+( ; [^-]+?)?(\s+{HASH.pattern})+\s*")
    return [name for name, row in pins(lock).items() if not whole.fullmatch(row)]


def test_the_lock_names_the_five_packages_each_with_one_version_and_hashes() -> None:
    assert set(FIVE) <= set(pins(LOCK))
    assert loose(LOCK) == []


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (f"a==1.0 \\\n    --hash=sha256:{'0' * 64}\n    # via b\n", []),
        (f"a==1 ; sys_platform == 'win32' --hash=sha256:{'0' * 64}\n", []),
        ("a==1.0\n", ["a"]),
        (f"a>=1.0 --hash=sha256:{'0' * 64}\n", ["a"]),
        (f"a==1.0 --hash=md5:{'0' * 32}\n", ["a"]),
        ("a @ file:///x.whl\n", ["a"]),
        ("-e .\n", ["-e"]),
    ],
)
def test_a_loose_requirement_is_found(row: str, found: list[str]) -> None:
    assert loose(row) == found


def test_compiled_packages_are_locked_for_every_system() -> None:
    """A lock has no file names; but a release for three systems and four Pythons has at least 40 files."""
    assert min(len(HASH.findall(pins(LOCK)[name])) for name in ("coverage", "pyyaml")) >= 40


def test_the_locks_header_says_how_to_renew_it() -> None:
    header = LOCK[: LOCK.index("==")]
    for text in ("uv pip compile", "--universal", "--python-version 3.11", "--generate-hashes", *FIVE):
        assert text in header


def test_the_recorded_hash_is_the_locks() -> None:
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    assert (ROOT / "requirements.lock.hash").read_text("utf-8") == f"{digest}  requirements.lock\n"


def attributes(path: str) -> str:
    line = ["git", "check-attr", "text", "eol", "--", path]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", ["requirements.lock", "requirements.lock.hash"])
def test_hashed_text_keeps_its_line_ends(path: str) -> None:
    assert attributes(path) == f"{path}: text: set\n{path}: eol: lf\n"
    assert b"\r" not in (ROOT / path).read_bytes()


def test_committed_evidence_keeps_its_bytes() -> None:
    assert "text: unset" in attributes("artifacts/foundation/baseline.metrics.json")


def test_nothing_names_a_registry_or_an_index() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    found = {name: PLACES.findall((ROOT / name).read_text("utf-8", "replace")) for name in names}
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "text",
    ["https://files.python" + "hosted.org/x", "--index" + "-url x", "PIP_EXTRA_INDEX" + "_URL=x"],
    ids=["host", "flag", "variable"],
)
def test_a_registry_is_found(text: str) -> None:
    assert PLACES.search(text)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (".venv/bin/python", True),
        ("artifacts/events.log.jsonl", True),
        ("artifacts/history/1.xml", True),
        (".coverage", True),
        (".coveragerc", False),
        ("artifacts/foundation/foundation.checkpoint.json", False),
    ],
)
def test_what_a_run_leaves_is_ignored_and_what_is_kept_is_not(path: str, ignored: bool) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert (done.returncode == 0) is ignored
