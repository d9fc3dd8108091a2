"""How often are the gates wrong: on changes to foreign projects beside their peers, and over simulated histories?

    python tests/benchmarks/bench_gates.py curve                  false alarms and delays of the triggers
    python tests/benchmarks/bench_gates.py cases SDIST_FOLDER     seven changes to three projects, judged by all

`cases` makes an environment of its own (pip) with the peers and the projects, which it unpacks from SDIST_FOLDER:
attrs-*.tar.gz, click-*.tar.gz, more_itertools-*.tar.gz. Every tool judges the same coverage data and is asked
for the same: nothing may be lost. The changes are made by syntax tree, and the suites stay green.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "tests"
sys.path.insert(0, str(SCRIPTS))
import enforce_gates as gates  # noqa: E402 - it is not installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PEERS = "diff-cover==11.0.1 coverage-threshold==0.6.2"
PLATFORM = "pytest==9.2.0 coverage==7.17.3 hypothesis==6.170.15 PyYAML==6.0.3 defusedxml==0.7.1"
SLOW = "not test_concurrent and not PrimeFunction and not test_roundtrip and not test_large and not lcg and not cross"
PASS, FAIL, UNKNOWN = "pass", "fail", "cannot tell"


@dataclass(frozen=True)
class Project:
    """A foreign project and what is changed in it."""

    name: str
    package: str  # folder of its sources
    needs: str
    pytest_args: tuple[str, ...]
    deleted: tuple[str, ...]  # fully covered functions that nothing but their tests uses
    untested: tuple[str, ...]  # functions whose tests are deleted
    moved: tuple[str, str]  # file, function without names of its module

    @property
    def sources(self) -> str:
        return Path(self.package).name


PROJECTS = (
    Project(
        "click",
        "src/click",
        "",
        ("-q", "tests"),
        ("pass_meta_key",),
        ("make_pass_decorator", "pass_meta_key"),
        ("src/click/parser.py", "_split_opt"),
    ),
    Project(
        "more_itertools",
        "more_itertools",
        "",
        ("-q", "tests", "-k", SLOW),
        ("constrained_batches", "gray_product", "interleave_evenly", "chunked_even"),
        ("split_when", "constrained_batches"),
        ("more_itertools/more.py", "interleave_evenly"),
    ),
    Project(
        "attrs",
        "src/attr",
        "",
        ("-q", "tests", *(f"--ignore=tests/test_{name}.py" for name in ("make", "funcs", "dunders", "converters"))),
        ("_MaxLengthValidator", "max_len", "_MinLengthValidator", "min_len"),
        ("is_callable", "matches_re"),
        ("src/attr/_make.py", "_determine_attrs_eq_order"),
    ),
)


def cut(source: str, nodes: Sequence[ast.stmt]) -> str:
    """The source without these statements, their decorators included."""
    gone: set[int] = set()
    for node in nodes:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        gone |= set(range(first, (node.end_lineno or first) + 1))
    return "".join(line for number, line in enumerate(source.splitlines(keepends=True), 1) if number not in gone)


def without_definitions(source: str, names: Sequence[str]) -> str:
    """The source without the functions and classes of these names, and without what exports or imports them."""
    source = cut(source, [n for n in ast.parse(source).body if getattr(n, "name", None) in names])
    for name in names:
        source = re.sub(rf"^ *['\"]{name}['\"],\n", "", source, flags=re.MULTILINE)  # a line of __all__
        source = re.sub(rf"^from [\w.]+ import {name}(?: as {name})?\n", "", source, flags=re.MULTILINE)
        source = re.sub(rf"^    {name},\n", "", source, flags=re.MULTILINE)
    return source


def without_tests(source: str, names: Sequence[str]) -> str:
    """A test file without the tests that mention one of these names."""
    mentions = re.compile(rf"\b(?:{'|'.join(names)})\b")
    tree = ast.parse(source)
    found: list[ast.stmt] = []
    for node in tree.body:
        text = ast.get_source_segment(source, node) or ""
        decorators = " ".join(ast.unparse(d) for d in getattr(node, "decorator_list", ()))
        if isinstance(node, ast.FunctionDef) and mentions.search(text + decorators):
            found.append(node)
        elif isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            hit = [n for n in methods if mentions.search(ast.get_source_segment(source, n) or "")]
            whole = hit and (hit == methods or not all(n.name.startswith("test") for n in hit))
            found += [node] if whole else hit
    source = cut(source, found)
    for name in names:
        source = re.sub(rf"^(?:from [\w.]+ import {name}|    {name},)\n", "", source, flags=re.MULTILINE)
    return source


def rewrite(files: Iterator[Path], change: Callable[[str], str]) -> None:
    for path in files:
        before = path.read_text("utf-8", "surrogateescape")
        if (after := change(before)) != before:
            path.write_text(after, "utf-8", "surrogateescape")


def delete_covered(root: Path, project: Project) -> None:
    rewrite((root / project.package).rglob("*.py"), lambda text: without_definitions(text, project.deleted))
    rewrite((root / "tests").rglob("test_*.py"), lambda text: without_tests(text, project.deleted))


def delete_tests(root: Path, project: Project) -> None:
    rewrite((root / "tests").rglob("test_*.py"), lambda text: without_tests(text, project.untested))


def move_code(root: Path, project: Project) -> None:
    path, name = root / project.moved[0], project.moved[1]
    source = path.read_text("utf-8")
    (node,) = [n for n in ast.parse(source).body if getattr(n, "name", None) == name]
    body = ast.get_source_segment(source, node) or ""
    (path.parent / "_moved.py").write_text(f"from __future__ import annotations\n\n\n{body}\n", "utf-8")
    lines = cut(source, [node]).splitlines(keepends=True)
    tree = ast.parse("".join(lines))
    after = max(n.end_lineno or 0 for n in tree.body if isinstance(n, ast.ImportFrom | ast.Import) or is_docstring(n))
    path.write_text("".join([*lines[:after], f"from ._moved import {name}\n", *lines[after:]]), "utf-8")


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and node.lineno == 1


def add_uncovered(root: Path, project: Project) -> None:
    path = root / project.moved[0]
    body = "".join(f"    n += {number}\n" for number in range(9))
    path.write_text(path.read_text("utf-8") + f"\n\ndef nobody_tests_this(n):\n{body}    return n\n", "utf-8")


def stop_early(root: Path, _project: Project) -> None:
    stop = 'import pytest\n\n\ndef test_stop():\n    pytest.exit("enough", returncode=0)\n'
    (root / "tests" / "test_n_stop.py").write_text(stop, "utf-8")


def nothing(_root: Path, _project: Project) -> None:
    """The same code again."""


CASES: tuple[tuple[str, Callable[[Path, Project], None], int | None, str], ...] = (
    ("covered functions deleted with their tests", delete_covered, None, PASS),
    ("only tests deleted", delete_tests, None, FAIL),
    ("code moved between files", move_code, None, PASS),
    ("ten statements added without a test", add_uncovered, None, FAIL),
    ("the run stopped in the middle", stop_early, None, UNKNOWN),
    ("target missed, on the day of its horizon", nothing, 0, PASS),
    ("target missed, one day after", nothing, -1, FAIL),
)
TOOLS = ("enforce_gates", "fail_under", "diff-cover", "coverage-threshold", "its missing lines")


class Bench:
    """One project in an environment of its own: change, capture, ask every tool, go back."""

    def __init__(self, project: Project, python: Path, root: Path) -> None:
        self.project, self.python, self.root = project, python, root
        self.artifacts = root / "artifacts"
        self.env = {**os.environ, "TPR_ENV_VALIDATE": "skip", "COVERAGE_FILE": str(self.artifacts / ".coverage")}
        self.env.pop("TPR_RUN_ID", None)

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False)

    def module(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.call(str(self.python), "-m", name, *argv)

    def git(self, *argv: str) -> None:
        done = self.call("git", "-c", "user.name=b", "-c", "user.email=b@b", *argv)
        if done.returncode:
            raise SystemExit(f"git {argv[0]}: {done.stderr}")

    def capture(self) -> int:
        command = [str(self.python), str(SCRIPTS / "collect_metrics.py"), "--quiet", "--skip", "flakes"]
        command += ["--source", self.project.sources, "--coverage-tolerance", "0"]
        return self.call(*command, "--", *self.project.pytest_args).returncode

    def prepare(self) -> dict[str, Any]:
        (self.root / ".gitignore").write_text("artifacts/\n__pycache__/\n", "utf-8")
        for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "as published")):
            self.git(*command)
        self.git("tag", "start")
        if code := self.capture():
            raise SystemExit(f"{self.project.name}: the suite as published ends with {code}")
        return self.totals()

    def totals(self) -> dict[str, Any]:
        self.module("coverage", "json", "-q", "-o", str(self.artifacts / "coverage.json"))
        totals: dict[str, Any] = json.loads((self.artifacts / "coverage.json").read_text("utf-8"))["totals"]
        return totals

    def judge(
        self, change: Callable[[Path, Project], None], horizon: int | None, start: dict[str, Any]
    ) -> dict[str, str]:
        ladder = self.artifacts / "coverage-ladder.yaml"
        text = ladder.read_text("utf-8")
        change(self.root, self.project)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "the change")
        if (code := self.capture()) and change is not stop_early:
            raise SystemExit(f"{self.project.name}: the changed suite is not green")
        if horizon is not None:
            day = datetime.now(UTC).date() + timedelta(days=horizon)
            ladder.write_text(re.sub("horizon: .*", f"horizon: {day}", text), "utf-8")
        found = {"suite": str(code), **self.answers(start, horizon)}
        ladder.write_text(text, "utf-8")
        self.git("reset", "-q", "--hard", "start")
        self.git("clean", "-fdq")
        return found

    def answers(self, start: dict[str, Any], horizon: int | None) -> dict[str, str]:
        began = time.monotonic()
        self.call(str(self.python), str(SCRIPTS / "enforce_gates.py"), "--quiet", "--only", "coverage")
        seconds = time.monotonic() - began
        (row,) = json.loads((self.artifacts / gates.VERDICTS).read_text("utf-8"))["gates"]
        ours = UNKNOWN if row["verdict"] == gates.UNKNOWN else row["verdict"]
        found = {"seconds": f"{seconds:.2f}", "evidence": "; ".join(row["evidence"][:3]), TOOLS[0]: ours}
        if horizon is not None:
            return found | dict.fromkeys(TOOLS[1:], "-")
        self.totals()
        config = self.artifacts / "none.toml"
        config.write_text("", "utf-8")
        report = ["--coverage-json", str(self.artifacts / "coverage.json"), "--config", str(config)]
        least = ["--line-coverage-min", floor(start["percent_statements_covered"])]
        least += ["--branch-coverage-min", floor(start["percent_branches_covered"])]
        most = ["--line-coverage-min", "0", "--number-missing-lines-max", str(start["missing_lines"])]
        combined = f"--fail-under={floor(start['percent_covered'])}"
        xml, percent = (
            str(self.artifacts / "coverage.xml"),
            f"--fail-under={floor(start['percent_statements_covered'])}",
        )
        threshold = str(self.python.with_name("coverage-threshold"))
        exits = (
            self.module("coverage", "report", "--precision=2", combined),
            self.call(str(self.python.with_name("diff-cover")), xml, "--compare-branch=start", percent),
            self.call(threshold, *report, *least),
            self.call(threshold, *report, *most),
        )
        return found | {tool: FAIL if done.returncode else PASS for tool, done in zip(TOOLS[1:], exits, strict=True)}


def floor(percent: float) -> str:
    """What people write down: two digits, rounded down."""
    return f"{int(100 * percent) / 100:.2f}"


def make_environment(folder: Path, roots: Sequence[Path], needs: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    words = [*PLATFORM.split(), *PEERS.split(), *needs.split()]
    words += [word for root in roots for word in ("-e", str(root))]
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *words], check=True)
    return python


def cases(sdists: Path, only: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-gates-") as place:
        projects = [project for project in PROJECTS if only in (None, project.name)]
        roots = [unpack(sdists, project, Path(place)) for project in projects]
        needs = " ".join(project.needs for project in projects)
        python = make_environment(Path(place) / "venv", roots, needs)
        rows: dict[str, list[dict[str, str]]] = {}
        for project, root in zip(projects, roots, strict=True):
            bench = Bench(project, python, root)
            start = bench.prepare()
            for title, change, horizon, _ in CASES:
                answer = bench.judge(change, horizon, start)
                rows.setdefault(title, []).append(answer)
                print(f"{project.name:<15} {title:<42} {answer}", file=sys.stderr, flush=True)
        print_cases(rows, [project.name for project in projects])


def unpack(sdists: Path, project: Project, place: Path) -> Path:
    (archive,) = sdists.glob(f"{project.name}-[0-9]*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    return place / archive.name.removesuffix(".tar.gz")


def print_cases(rows: dict[str, list[dict[str, str]]], names: Sequence[str]) -> None:
    print(f"| change ({', '.join(names)}) | right | " + " | ".join(TOOLS) + " |")
    print("|---|---|" + "---|" * len(TOOLS))
    for title, _, _, right in CASES:
        cells = [said([row[tool] for row in rows[title]], right) for tool in TOOLS]
        print(f"| {title} | {right} | " + " | ".join(cells) + " |")


def said(answers: Sequence[str], right: str) -> str:
    """One word for the projects together: the answer, and of how many it is wrong."""
    wrong = sum(answer not in (right, "-") for answer in answers)
    counts = ", ".join(f"{answer} {number}" for answer, number in sorted(Counter(answers).items()))
    return f"{answers[0] if len(set(answers)) == 1 else counts}{' (wrong)' if wrong == len(answers) else ''}"


FLAKE_WINDOW, HEALTHY_RUNS, SICK_RUNS, TRIALS = 30, 400, 100, 5


def flake_history(rng: random.Random, tests: int, hiccup: float, sick: int, seen: float) -> Iterator[tuple[int, int]]:
    """Per run: tests that flaked in the last 30 runs, and how many runs that were.

    Every test hiccups with the same small probability; after the healthy runs, `sick` of them flake often.
    """
    last = [-10_000] * tests
    for number in range(HEALTHY_RUNS + SICK_RUNS):
        for test in range(tests):
            often = number >= HEALTHY_RUNS and test < sick
            if rng.random() < (seen if often else hiccup):
                last[test] = number
        yield sum(number - when < FLAKE_WINDOW for when in last), min(number + 1, FLAKE_WINDOW)


def operate(states: Sequence[bool]) -> tuple[int, int | None]:
    """False alarms begun in the healthy runs, and how many runs the first alarm comes after the change."""
    alarms = sum(now and not before for before, now in zip([False, *states], states[:HEALTHY_RUNS], strict=False))
    delay = next((number for number, state in enumerate(states[HEALTHY_RUNS:]) if state), None)
    return alarms, delay


def flake_curve() -> None:
    print("| tests | flaky in 30 runs, then | point rate: false alarms, delay | trigger: false alarms, delay |")
    print("|---|---|---|---|")
    limit = Fraction(2)
    for tests in (10, 30, 100, 500, 2000):
        for share in (0.005, 0.01, 0.015):
            rng = random.Random(f"{tests} {share}")
            naive, ours = [], []
            for _ in range(TRIALS):
                history = list(flake_history(rng, tests, share / FLAKE_WINDOW, max(3, tests // 12), 0.1))
                naive.append(operate([Fraction(100 * hits, tests) > limit for hits, _ in history]))
                rates = [gates.Rate(h, tests, n, "tests", gates.FLAKE_TESTS, gates.FLAKE_RUNS) for h, n in history]
                ours.append(operate([gates.rate_trigger("flakes", r, limit).state == gates.FIRED for r in rates]))
            then = 100 * max(3, tests // 12) / tests
            print(f"| {tests} | {100 * share:g} %, {then:.0f} % | {summary(naive)} | {summary(ours)} |")


def property_curve() -> None:
    print("| tests | false failures, then | point rate: false alarms, delay | trigger: false alarms, delay |")
    print("|---|---|---|---|")
    limit = gates.PROPERTY_LIMIT
    for tests in (3, 30):
        for healthy, sick in ((0.0, 0.03), (0.0005, 0.03), (0.002, 0.03), (0.004, 0.03)):
            rng = random.Random(f"{tests} {healthy}")
            naive, ours = [], []
            for _ in range(TRIALS):
                shares = [healthy] * HEALTHY_RUNS + [sick] * SICK_RUNS
                hits = [sum(rng.random() < share for _ in range(30 * tests)) for share in shares]
                naive.append(operate([Fraction(100 * n, 30 * tests) > limit for n in hits]))
                rates = [gates.Rate(n, 30 * tests, 30, "results", 1, gates.PROPERTY_RUNS) for n in hits]
                ours.append(operate([gates.rate_trigger("properties", r, limit).state == gates.FIRED for r in rates]))
            print(f"| {tests} | {100 * healthy:g} %, {100 * sick:g} % | {summary(naive)} | {summary(ours)} |")


def coverage_curve() -> None:
    """Lines that are covered by chance, in a project of 10,000: each capture draws them anew."""
    print("| tolerance | lines by chance | really lost | one run: false alarms, delay | confirmed: alarms, delay |")
    print("|---|---|---|---|---|")
    for tolerance, racy, lost in ((0, 20, 30), (0, 200, 60), (1, 200, 150), (1, 2000, 200), (1, 10_000, 400)):
        rng = random.Random(f"{tolerance} {racy}")
        once, twice = [], []
        for _ in range(TRIALS):
            known = covered(rng, racy, 0)
            states = [(known - c > 100 * tolerance, known - d > 100 * tolerance) for c, d in draws(rng, racy, lost)]
            once.append(operate([first for first, _ in states]))
            twice.append(operate([first and second for first, second in states]))
        print(f"| {tolerance} | {racy} | {lost} | {summary(once)} | {summary(twice)} |")


def covered(rng: random.Random, racy: int, lost: int) -> int:
    return 9000 - lost + rng.getrandbits(racy).bit_count()


def draws(rng: random.Random, racy: int, lost: int) -> Iterator[tuple[int, int]]:
    for number in range(HEALTHY_RUNS + SICK_RUNS):
        gone = lost if number >= HEALTHY_RUNS else 0
        yield covered(rng, racy, gone), covered(rng, racy, gone)


def summary(found: Sequence[tuple[int, int | None]]) -> str:
    alarms = 1000 * sum(alarm for alarm, _ in found) / (HEALTHY_RUNS * len(found))
    delays = sorted(delay for _, delay in found if delay is not None)
    middle = f"{delays[len(delays) // 2]} runs" if len(delays) > len(found) // 2 else "never"
    return f"{alarms:.1f} per 1,000, {middle}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("curve", "cases"))
    parser.add_argument("sdists", type=Path, nargs="?", help="folder of source distributions, for `cases`")
    parser.add_argument("--only", choices=[project.name for project in PROJECTS])
    args = parser.parse_args()
    if args.part == "cases":
        if not args.sdists:
            parser.error("cases needs a folder of source distributions")
        cases(args.sdists, args.only)
        return 0
    for draw in (flake_curve, property_curve, coverage_curve):
        draw()
        print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
