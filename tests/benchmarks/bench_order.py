"""How long does the order of a fail-fast mode take, for 10,000 tests and 100,000 covered lines?

    python tests/benchmarks/bench_order.py [--rounds 11]

Makes a project of 250 modules and 250 test files in git, writes the map that a capture of it would write (each line
covered by four test files), edits some modules, and computes the order as pytest's start does: reading the map, asking
git, ranking the files, sorting the tests. CPU is that of this process and of git, which a busy machine does not
stretch as it does the clock. Exits 1 if the median of it is not under the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))
import conftest as platform  # noqa: E402 - found through the line above

FILES, TESTS_A_FILE, FUNCTIONS, LINES_EACH = 250, 40, 40, 11
WORDS = "parse header encode body route cookie cache lock token retry flush merge split align render".split()
LIMIT_MS = 200.0


def name(file: int, number: int) -> str:
    return "_".join(WORDS[(file * step + number) % len(WORDS)] for step in (3, 5)) + f"_{number}"


def make_project(root: Path) -> list[str]:
    """The files, committed, and the map beside them; returns the ids of the tests."""
    (root / "app").mkdir(parents=True)
    (root / "tests").mkdir()
    files, sources = [], []
    for file in range(FILES):
        body = "    x = 1\n" * (LINES_EACH - 1)
        text = "".join(f"def {name(file, number)}():\n{body}" for number in range(FUNCTIONS))
        (root / f"app/module_{file}.py").write_text(text)
        (root / f"tests/test_{file}.py").write_text("")
        names = [f"test_{name(file, number)}" for number in range(TESTS_A_FILE)]
        files.append({"path": f"tests/test_{file}.py", "seconds": 1.0 + file % 7, "names": names})
        ranges = [f"{start}-{start + LINES_EACH - 2}" for start in range(2, FUNCTIONS * LINES_EACH, LINES_EACH)]
        rows = [{"file": (file * 3 + step) % FILES, "lines": ",".join(ranges)} for step in range(4)]
        sources.append({"path": f"app/module_{file}.py", "covered_by": rows})
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-q", "-m", "baseline")
    commit = git(root, "rev-parse", "HEAD").strip()
    line_map = {"commit": commit, "rootdir": ".", "files": files, "sources": sources, "failed": []}
    (root / "artifacts").mkdir()
    (root / "artifacts" / "test.map.json").write_text(json.dumps(line_map))
    return [f"{row['path']}::{test}" for row in files for test in row["names"]]  # type: ignore[attr-defined]


def item(test: str) -> Any:
    """As a test of pytest's, whose code calls what its name says."""
    name = test.partition("::")[2]
    space: dict[str, Any] = {}
    exec(f"def {name}():\n    made = app.{name.removeprefix('test_')}(1)\n    assert made.x == app.y[1].z", space)
    return SimpleNamespace(nodeid=test, originalname=name, parent=SimpleNamespace(obj=SimpleNamespace(**space)))


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


def edit(root: Path, modules: int) -> None:
    for file in range(modules):
        path = root / f"app/module_{file}.py"
        lines = path.read_text().split("\n")
        for line in range(file * 4 % len(lines), len(lines), len(lines) // 3):
            lines[line] = "    x = 2"
        path.write_text("\n".join(lines))


def clocks() -> tuple[float, float]:
    """Milliseconds: CPU of this process and its ended children, and of the wall clock."""
    return 1000 * sum(os.times()[:4]), 1000 * time.perf_counter()


def measure(root: Path, items: list[Any], rounds: int) -> tuple[float, float, str]:
    """The median CPU and wall milliseconds, and what the order is."""
    taken, text = [], ""
    for _ in range(rounds):
        platform.name_words.cache_clear()
        before = clocks()
        order = platform.find_order(root, root, [root / "artifacts" / "test.map.json"], root / "artifacts")
        first = order.sort(items)[0].nodeid
        taken.append([now - then for now, then in zip(clocks(), before, strict=True)])
        text = f"{order.text}; {first}"
    cpu, wall = (median(column) for column in zip(*taken, strict=True))
    return cpu, wall, text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    shown = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "project"
        items = [item(test) for test in make_project(root)]
        lines = FILES * FUNCTIONS * (LINES_EACH - 1)
        print(f"{len(items)} tests, {lines} covered lines, {rounds} rounds")
        print(f"{'edited modules':<16}{'CPU ms':>8}{'wall ms':>9}{'limit':>7}  order")
        for modules in (1, 10, 100):
            edit(root, modules)
            cpu, wall, text = measure(root, items, rounds)
            shown[modules] = cpu
            print(f"{modules:<16}{cpu:>8.0f}{wall:>9.0f}{LIMIT_MS:>7.0f}  {text}")
    edited = ", ".join(f"{cpu:.0f} ms with {modules} edited" for modules, cpu in shown.items())
    print(f"| the order of {len(items):,} tests over {lines:,} covered lines, CPU | {edited} | bench_order.py |")
    return 0 if max(shown.values()) < LIMIT_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
