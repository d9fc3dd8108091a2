"""What does a capture cost against pytest-cov, and does it measure the same lines as `coverage run`?

    PYTHON tests/benchmarks/bench_capture.py [--pairs 5] [--trace-all] [--lines] DIR[:PYTEST_ARGS] ...

PYTHON is an interpreter that has the suites' packages, the five packages and pytest-cov. Every DIR is an
unpacked source distribution. Runs alternate; CPU seconds are those of all child processes; medians and ratios.
Exits 1 if a suite costs more than 1.05 times the peer, or all more than 0.95 in the geometric mean.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

COLLECT = Path(__file__).resolve().parents[2] / "scripts" / "tests" / "collect_metrics.py"
PEER = "pytest --cov"
CAPTURE, TRACE_ALL = "capture", "capture --trace-all"
SUITE_LIMIT, MEAN_LIMIT = 1.05, 0.95


def command(kind: str, out: Path, pytest_args: list[str]) -> list[str]:
    if kind == PEER:
        reports = [f"--cov-report=xml:{out}/coverage.xml", f"--junitxml={out}/junit.xml", "--durations=25"]
        return [sys.executable, "-m", "pytest", "--cov", "--cov-branch", *reports, *pytest_args]
    if kind == "coverage run":
        data_file = f"--data-file={out}/.coverage"
        return [sys.executable, "-m", "coverage", "run", "--branch", data_file, "-m", "pytest", *pytest_args]
    extra = ["--trace-all"] if kind == TRACE_ALL else []
    return [sys.executable, str(COLLECT), "--quiet", f"--artifacts={out}", *extra, "--", *pytest_args]


def run(kind: str, root: Path, out: Path, pytest_args: list[str]) -> float:
    """CPU seconds of one run of `kind` and everything that it started."""
    env = os.environ | {"COVERAGE_FILE": str(out / ".coverage"), "PYTHONHASHSEED": "0"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command(kind, out, pytest_args), cwd=root, env=env, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert kind == "coverage run" or (out / "coverage.xml").exists(), f"{kind} of {root} measured nothing"
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def hit_lines(report: Path) -> set[tuple[str, str, str, str]]:
    """Every line of a coverage.xml with whether it was hit and its branches."""
    found = set()
    for element in ET.parse(report).iter("class"):
        for line in element.iter("line"):
            branch = line.get("condition-coverage", "")
            found.add((element.get("filename", ""), line.get("number", ""), line.get("hits", ""), branch))
    return found


def compare_lines(root: Path, pytest_args: list[str]) -> dict[str, tuple[int, int]]:
    """Per kind: how many lines of its coverage.xml differ from that of `coverage run`, and of how many."""
    reports = {}
    for kind in ("coverage run", PEER, CAPTURE, TRACE_ALL):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            run(kind, root, out, pytest_args)
            if kind == "coverage run":
                xml = ["xml", "-q", f"--data-file={out}/.coverage", "-o", f"{out}/coverage.xml"]
                env = os.environ | {"PYTHONHASHSEED": "0"}  # a set of source folders decides how a file is named
                subprocess.run([sys.executable, "-m", "coverage", *xml], cwd=root, env=env, check=False)
            reports[kind] = hit_lines(out / "coverage.xml")
    truth = reports["coverage run"]
    return {kind: (len({line[:2] for line in truth ^ lines}), len(truth)) for kind, lines in reports.items()}


def bench_lines(suites: list[tuple[Path, list[str]]]) -> int:
    shown, differing = [], 0
    for root, pytest_args in suites:
        found = compare_lines(root, pytest_args)
        for kind, (wrong, lines) in found.items():
            print(f"{root.name:<24}{kind:<24}{wrong} of {lines} lines differ", flush=True)
        (ours, lines), (theirs, _) = found[CAPTURE], found[PEER]
        shown.append(f"{root.name}: {ours} of {lines:,} differ (`{PEER}`: {theirs:,})")
        differing += ours
    print(f"| lines and branches against `coverage run` | {'; '.join(shown)} | bench_capture.py --lines |")
    return 1 if differing else 0


def bench_cost(suites: list[tuple[Path, list[str]]], kinds: tuple[str, ...], pairs: int) -> int:
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    shown = []
    for root, pytest_args in suites:
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(pairs):
            for kind in kinds[:: 1 if number % 2 else -1]:  # who goes first changes
                with tempfile.TemporaryDirectory() as folder:
                    seconds[kind].append(run(kind, root, Path(folder), pytest_args))
        for kind in kinds:
            each = [ours / peer for ours, peer in zip(seconds[kind], seconds[PEER], strict=True)]
            ratio, span = statistics.median(each), f"{min(each):.2f} to {max(each):.2f}"
            ratios[kind].append(ratio)
            median = statistics.median(seconds[kind])
            print(f"{root.name:<24}{kind:<24}{median:8.2f} s CPU  {ratio:5.2f}  ({span})", flush=True)
            if kind == CAPTURE:
                shown.append(f"{root.name} {ratio:.2f} ({span})")
    means = {kind: math.exp(statistics.mean(map(math.log, values))) for kind, values in ratios.items()}
    for kind in kinds[1:]:
        print(f"{'geometric mean':<24}{kind:<24}{'':14}  {means[kind]:5.2f}")
    peer = f"`{PEER}` with its reports, CPU, median of {pairs} pairs (least to most)"
    shown.append(f"geometric mean {means[CAPTURE]:.2f}")
    print(f"| capture against {peer} | {'; '.join(shown)} | bench_capture.py |")
    return 1 if max(ratios[CAPTURE]) > SUITE_LIMIT or means[CAPTURE] > MEAN_LIMIT else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--lines", action="store_true", help="compare lines instead of time")
    parser.add_argument("suites", nargs="+")
    parser.add_argument("--trace-all", action="store_true", help="measure the capture that traces everything, too")
    args = parser.parse_args()
    suites = []
    for place, _, words in (suite.partition(":") for suite in args.suites):
        suites.append((Path(place).resolve(), ["-q", "-p", "no:randomly", *shlex.split(words)]))
    if args.lines:
        return bench_lines(suites)
    return bench_cost(suites, (PEER, CAPTURE, TRACE_ALL) if args.trace_all else (PEER, CAPTURE), args.pairs)


if __name__ == "__main__":
    raise SystemExit(main())
