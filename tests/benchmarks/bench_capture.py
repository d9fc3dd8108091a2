"""What does a capture cost against pytest-cov, and does it measure the same lines as `coverage run`?

    PYTHON tests/benchmarks/bench_capture.py [--pairs 5] [--trace-all] [--lines] DIR[:PYTEST_ARGS] ...

PYTHON is an interpreter that has the suites' packages, the five packages and pytest-cov. Every DIR is an
unpacked source distribution. Runs alternate; CPU seconds are those of all child processes; medians and ratios.
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


def compare_lines(root: Path, pytest_args: list[str]) -> dict[str, str]:
    """Per kind: how many lines of its coverage.xml differ from that of `coverage run`."""
    reports = {}
    for kind in ("coverage run", PEER, CAPTURE, TRACE_ALL):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            run(kind, root, out, pytest_args)
            if kind == "coverage run":
                xml = ["xml", "-q", f"--data-file={out}/.coverage", "-o", f"{out}/coverage.xml"]
                subprocess.run([sys.executable, "-m", "coverage", *xml], cwd=root, check=False)
            reports[kind] = hit_lines(out / "coverage.xml")
    truth = reports["coverage run"]
    return {kind: f"{len({line[:2] for line in truth ^ lines})} of {len(truth)}" for kind, lines in reports.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--lines", action="store_true", help="compare lines instead of time")
    parser.add_argument("suites", nargs="+")
    parser.add_argument("--trace-all", action="store_true", help="measure the capture that traces everything, too")
    args = parser.parse_args()
    kinds = (PEER, CAPTURE, TRACE_ALL) if args.trace_all else (PEER, CAPTURE)
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds[1:]}
    for suite in args.suites:
        place, _, words = suite.partition(":")
        root, pytest_args = Path(place).resolve(), ["-q", "-p", "no:randomly", *shlex.split(words)]
        if args.lines:
            for kind, text in compare_lines(root, pytest_args).items():
                print(f"{root.name:<24}{kind:<24}{text} lines differ", flush=True)
            continue
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(args.pairs):
            for kind in kinds[:: 1 if number % 2 else -1]:  # who goes first changes
                with tempfile.TemporaryDirectory() as folder:
                    seconds[kind].append(run(kind, root, Path(folder), pytest_args))
        for kind in kinds:
            each = [ours / peer for ours, peer in zip(seconds[kind], seconds[PEER], strict=True)]
            ratio, span = statistics.median(each), f"{min(each):.2f} to {max(each):.2f}"
            print(f"{root.name:<24}{kind:<24}{statistics.median(seconds[kind]):8.2f} s CPU  {ratio:5.2f}  ({span})")
            sys.stdout.flush()
            if kind != PEER:
                ratios[kind].append(ratio)
    for kind, values in ratios.items():
        if values:
            print(f"{'geometric mean':<24}{kind:<24}{'':14}  {math.exp(statistics.mean(map(math.log, values))):5.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
