"""What does proving identical runs cost against plain pytest, and what does observing cost?

    python tests/benchmarks/bench_properties.py [--runs 30] [--rounds 3] [--root DIR] [-- PYTEST_ARGS]

Runs: RUNS plain `pytest` processes one after the other, the aggregation with --jobs 1 and --jobs 2, in turn, over
the same files with the same seed, profile and caches. Observing: a property of 1,000 trivial examples in this
process, with and without the aggregation's observer. Medians of the rounds' ratios; CPU of all child processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parents[2]
SCRIPT = HERE / "scripts" / "tests" / "aggregate_properties.py"
sys.path.insert(0, str(SCRIPT.parent))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds, those of the children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def plain(root: Path, runs: int, pytest_args: list[str], artifacts: Path) -> None:
    env = os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(artifacts / ".hypothesis")}
    profile = ["--hypothesis-profile=tpr"] if root == HERE else []
    line = [sys.executable, "-m", "pytest", "-q", "--hypothesis-seed=12345", *profile, *pytest_args]
    for _ in range(runs):
        subprocess.run(line, cwd=root, env=env, stdout=subprocess.DEVNULL, check=True)


def aggregated(root: Path, runs: int, pytest_args: list[str], artifacts: Path, jobs: int) -> None:
    line = [sys.executable, str(SCRIPT), "--root", str(root), "--artifacts", str(artifacts), "--quiet"]
    line += ["--runs", str(runs), "--jobs", str(jobs), "--threshold-ms", "60000", "--", *pytest_args]
    subprocess.run(line, check=True)


def compare_runs(root: Path, runs: int, rounds: int, pytest_args: list[str]) -> None:
    shown = {}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder)
        plain(root, 1, pytest_args, artifacts)  # fills the caches of everybody
        kinds: dict[str, Callable[[], None]] = {
            "plain pytest": lambda: plain(root, runs, pytest_args, artifacts),
            "--jobs 1": lambda: aggregated(root, runs, pytest_args, artifacts, 1),
            "--jobs 2": lambda: aggregated(root, runs, pytest_args, artifacts, 2),
        }
        seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        digests = set()
        for _ in range(rounds):
            for kind, work in kinds.items():
                seconds[kind].append(timed(work))
                if kind != "plain pytest":
                    found = json.loads((artifacts / "property.results.json").read_bytes())
                    digests.add(tuple((row["id"], row["digest"]) for row in found["tests"]))
    for kind, rows in seconds.items():
        wall, cpu = (statistics.median(row[index] for row in rows) for index in (0, 1))
        ratios = [row[0] / base[0] for row, base in zip(rows, seconds["plain pytest"], strict=True)]
        shown[kind] = statistics.median(ratios)
        print(f"{kind:<14}{wall:8.1f} s wall {cpu:8.1f} s CPU   wall x {shown[kind]:.3f}")
    results = "identical" if len(digests) == 1 else "DIFFERENT"
    print(f"{'results':<14}{results} in {2 * rounds} aggregations")
    print(
        f"| {runs} runs of the properties against {runs} plain pytest processes | {shown['--jobs 1']:.2f} of their time,"
        f" with `--jobs 2` {shown['--jobs 2']:.2f}; results {results} | bench_properties.py |"
    )


def observed(examples: int, rounds: int) -> None:
    from aggregate_properties import Observer, Plan, Result
    from hypothesis import core, given, settings
    from hypothesis import strategies as st
    from hypothesis.internal import observability

    printing: Any = core
    shown = []
    printer = printing.RepresentationPrinter
    with tempfile.TemporaryDirectory() as folder:
        observer = Observer(Plan(1, "run", "tpr", (), 1, records=f"{folder}/records"))
        cases: dict[str, Any] = {
            "integers()": st.integers(),
            "text()": st.text("abc"),
            "lists(integers())": st.lists(st.integers()),
        }
        for name, strategy in cases.items():

            @settings(max_examples=examples, database=None, deadline=None, derandomize=True)
            @given(strategy)
            def trivial(value: object) -> None:
                pass

            trivial()
            ratios = []
            for _ in range(rounds):
                before = cpu_of(trivial)
                observer._now = Result("trivial")
                observer.listen()
                during = cpu_of(trivial)
                observability.remove_observability_callback(observer.observe)
                printing.RepresentationPrinter = printer
                assert observer._now.examples == examples
                ratios.append(during / ((before + cpu_of(trivial)) / 2))
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{name:<20}{examples} examples: CPU x {middle:.3f} (quartiles {low:.3f} to {high:.3f})")
            shown.append(f"{name} {middle:.2f}")
    print(
        f"| observing a property of {examples:,} trivial examples, against the property alone, CPU |"
        f" {', '.join(shown)} | bench_properties.py |"
    )


def cpu_of(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=HERE)
    args = parser.parse_args(words[:cut])
    observed(1000, 9)
    with contextlib.suppress(KeyboardInterrupt):
        compare_runs(args.root.absolute(), args.runs, args.rounds, words[cut + 1 :] or ["tests/property"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
