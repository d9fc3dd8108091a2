"""How far can scan_flakes.py be believed, and how fast is it? The figures in the README.

    python tests/benchmarks/bench_flakes.py verdicts [--seeds 20] [--first 1000]
    python tests/benchmarks/bench_flakes.py speed [--pairs 9]

verdicts: precision and recall of `flaky` and the adjusted Rand index of the clusters on seeded histories of 2,000
tests by 100 runs, beside two yardsticks: "passed and failed on one commit, mass outages dropped", and a normaliser
of hex, numbers and paths. speed: test cases a second against a bare loop over defusedxml's iterparse, the peak
memory of a 200 MB file, and the cost of one run more. Ratios of alternating measurements, not seconds, compare.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve()
SCRIPT = HERE.parents[2] / "scripts" / "tests" / "scan_flakes.py"
sys.path[:0] = [str(SCRIPT.parent), str(HERE.parents[1])]

import scan_flakes  # noqa: E402
from flake_corpus import HARD, PLAIN, Corpus, Plan, make, write  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

PLANS = {
    "plain": PLAIN,
    "plain, retries": replace(PLAIN, retries=0.3),
    "plain, one run a commit now and then": replace(PLAIN, runs_per_commit=(1, 2)),
    "hard": HARD,
    "hard, no retries": replace(HARD, retries=0.0),
    "hard, rare flakes": replace(HARD, odds=(0.01, 0.1)),
    "hard, 5 partial outages": replace(HARD, partial=5),
    "hard, 80 outside": replace(HARD, outside=80),
    "hard, long commits": replace(HARD, runs_per_commit=(4, 9)),
    "hard, 400 tests": replace(HARD, tests=400, outside=10),
    "hard, 30 runs": replace(HARD, runs=30),
    "hard, 5 outages": replace(HARD, outages=5),
}


def scan(corpus: Corpus, folder: Path, dialect: str) -> dict[str, Any]:
    write(corpus, folder, dialect)
    window = scan_flakes.Window(last=1000, since=None)
    return scan_flakes.scan(folder, True, window, lambda _: None)


def observable(corpus: Corpus) -> set[int]:
    """Flaky tests that gave evidence: recovered in a run, or passed and failed on a commit, by themselves."""
    passed: defaultdict[int, set[str]] = defaultdict(set)
    failed: defaultdict[int, set[str]] = defaultdict(set)
    recovered = set()
    for run in corpus.runs:
        for test in corpus.flaky.keys() - run.absent:
            result = run.results.get(test)
            if result is None:
                passed[test].add(run.commit)
            elif result.cause == "flaky":
                (failed if result.attempts[-1] == "f" else passed)[test].add(run.commit)
                recovered |= {test} if result.attempts[-1] == "p" else set()
    return recovered | {test for test in failed if failed[test] & passed[test]}


def naive(corpus: Corpus) -> set[int]:
    """Flaky by the usual rule: passed and failed on one commit; runs with a fifth of failures dropped."""
    passed: defaultdict[str, set[int]] = defaultdict(set)
    failed: defaultdict[str, set[int]] = defaultdict(set)
    found = set()
    for run in corpus.runs:
        bad = {test for test, result in run.results.items() if result.attempts[-1] == "f"}
        if len(bad) * 5 < len(corpus.ids):
            failed[run.commit] |= bad
            found |= {
                test for test, result in run.results.items() if "f" in result.attempts and result.attempts[-1] == "p"
            }
            passed[run.commit] |= (
                set(range(len(corpus.ids)))
                - bad
                - run.absent
                - {t for t, r in run.results.items() if r.attempts == "s"}
            )
    return found.union(*(passed[commit] & failed[commit] for commit in failed))


def scores(found: set[int], truth: set[int], wanted: set[int]) -> tuple[float, float]:
    """Precision against all flaky tests, recall of those in `wanted`."""
    return len(found & truth) / max(1, len(found)), len(found & wanted) / max(1, len(wanted))


def rand_index(pairs: list[tuple[Any, Any]]) -> float:
    """Adjusted Rand index of (truth, found) labels (Hubert and Arabie 1985)."""
    both = sum(math.comb(n, 2) for n in Counter(pairs).values())
    left = sum(math.comb(n, 2) for n in Counter(a for a, _ in pairs).values())
    right = sum(math.comb(n, 2) for n in Counter(b for _, b in pairs).values())
    chance = left * right / max(1, math.comb(len(pairs), 2))
    most = (left + right) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def plain_normaliser(message: str) -> str:
    message = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b", "#", message)
    return re.sub(r"\d+", "#", re.sub(r"(/[\w.+-]+)+", "#", message))


def rand_indices(corpus: Corpus, body: dict[str, Any]) -> tuple[float, float]:
    """Of the clusters over all failures that no outage caused, by the scan and by the plain normaliser."""
    cluster = {
        (test, file): row["signature"] for row in body["clusters"] for test in row["tests"] for file in row["runs"]
    }
    reason_of = {**corpus.flaky, **corpus.broken}
    ours, theirs = [], []
    for run in corpus.runs:
        for test, result in run.results.items():
            if result.cause in ("flaky", "regression", "fix") and (
                label := cluster.get((corpus.ids[test], f"run-{run.number}.xml"))
            ):
                ours.append((reason_of[test], label))
                theirs.append((reason_of[test], plain_normaliser(result.messages[-1])))
    return rand_index(ours), rand_index(theirs)


def judge_one(plan: Plan, seed: int, dialect: str) -> dict[str, float]:
    corpus = make(plan, seed)
    with tempfile.TemporaryDirectory() as folder:
        body = scan(corpus, Path(folder), dialect)
    number = {name: test for test, name in enumerate(corpus.ids)}
    found = {number[row["id"]] for row in body["flaky"]}
    truth, wanted = set(corpus.flaky), observable(corpus)
    precision, recall = scores(found, truth, wanted)
    usual, usual_recall = scores(naive(corpus), truth, wanted)
    index, plain_index = rand_indices(corpus, body)
    failed = {test for run in corpus.runs for test, result in run.results.items() if result.cause == "flaky"}
    false = found - truth
    return {
        "precision": precision,
        "recall": recall,
        "recall of all that failed": scores(found, truth, failed)[1],
        "usual precision": usual,
        "usual recall": usual_recall,
        "rand": index,
        "plain rand": plain_index,
        "victims": len(
            false
            & corpus.victims.get("outage", set())
            - corpus.victims.get("partial", set())
            - corpus.victims.get("outside", set())
        ),
        "regressions": len(false & set(corpus.broken)),
    }


def verdicts(seeds: int, first: int) -> None:
    shown, reasons = [], []
    for name, plan in PLANS.items():
        rows = [judge_one(plan, seed, ("pytest", "capture")[seed % 2]) for seed in range(first, first + seeds)]
        means = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        worst = {key: min(row[key] for row in rows) for key in ("precision", "recall", "rand")}
        print(name)
        print(
            f"  precision {means['precision']:.3f} (worst {worst['precision']:.3f})  recall {means['recall']:.3f}"
            f" (worst {worst['recall']:.3f}), of all that failed {means['recall of all that failed']:.3f}"
            f"  | usual rule {means['usual precision']:.2f} {means['usual recall']:.2f}"
        )
        print(
            f"  Rand index {means['rand']:.3f} (worst {worst['rand']:.3f}) | plain normaliser {means['plain rand']:.2f}"
            f"  | called flaky: {sum(r['victims'] for r in rows):.0f} victims of mass outages,"
            f" {sum(r['regressions'] for r in rows):.0f} of regressions"
        )
        shown.append(
            f"{name}: precision {means['precision']:.2f}, recall {means['recall']:.2f} (worst history"
            f" {worst['precision']:.2f}, {worst['recall']:.2f}; failed and passed on one commit: precision"
            f" {means['usual precision']:.2f})"
        )
        reasons.append(
            f"{name}: {means['rand']:.2f} (a normaliser of hex, numbers and paths {means['plain rand']:.2f})"
        )
    print(
        f"| flaky tests in {seeds} written histories of each kind, truth known | {'; '.join(shown)} | bench_flakes.py |\n"
        f"| reasons of their failures, adjusted Rand index | {'; '.join(reasons)} | bench_flakes.py |"
    )


def big_file(path: Path, cases: int, padding: int = 0) -> None:
    """A JUnit file as pytest writes it; every 500th test fails, with `padding` characters more of text."""
    rng = random.Random(7)
    with path.open("w", encoding="utf-8") as stream:
        stream.write(
            '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest">'
        )
        for n in range(cases):
            head = f'<testcase classname="tests.unit.test_module_{n // 100}.TestThing" name="test_case_{n}[{n % 7}]"'
            stream.write(f'{head} time="{rng.random():.3f}"')
            if n % 500:
                stream.write(" />")
            else:
                text = f"E       ValueError: no {n}\n\ntests/x.py:3: ValueError\n" + "padding &lt; " * (padding // 10)
                stream.write(f'><failure message="ValueError: no {n}">{text}</failure></testcase>')
        stream.write("</testsuite></testsuites>")


def bare_loop(path: Path) -> int:
    from defusedxml.ElementTree import iterparse

    count = 0
    for _, element in iterparse(path):
        count += element.tag == "testcase"
        element.clear()
    return count


def read_and_keep(path: Path) -> None:
    store = scan_flakes.Store(None)
    store.prepare()
    store.put("x", (0, 0), scan_flakes.read_report(path, store.keep))


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def child(*argv: str) -> tuple[float, float]:
    """CPU seconds and peak MiB of a scan as a process of its own."""
    code = (
        "import os, subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "_, _, used = os.wait4(p.pid, 0); print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    command = [sys.executable, "-c", code, sys.executable, str(SCRIPT), *argv]
    seconds, size = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(size)


def speed(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "hundred-thousand.xml"
        big_file(path, 100_000)
        bare, ours = [], []
        for _ in range(pairs):
            bare.append(cpu(lambda: bare_loop(path)))
            ours.append(cpu(lambda: read_and_keep(path)))
        print(
            f"reading: {1e5 / min(ours):,.0f} cases a second, bare iterparse {1e5 / min(bare):,.0f}; ratio"
            f" {min(bare) / min(ours):.2f}"
        )
        ratio = statistics.median(map(float.__truediv__, bare, ours))
        peaks = []
        for name, cases, padding in (("2 million tests", 1_950_000, 0), ("long failures", 10_000, 10_000_000)):
            history = folder / name
            history.mkdir()
            big_file(history / "run.xml", cases, padding)
            size = (history / "run.xml").stat().st_size / 2**20
            seconds, peak = child("--history", str(history), "--artifacts", str(folder / "artifacts"))
            print(f"a file of {size:.0f} MiB, {name}: {seconds:.1f} s CPU, peak {peak:.0f} MiB")
            peaks.append(f"{name} ({size:.0f} MiB) in {peak:.0f} MiB of memory")
        history = folder / "history"
        history.mkdir()
        corpus = make(replace(HARD, tests=10_000, runs=201), 3)
        write(corpus, history)
        last = (history / "run-200.xml").rename(folder / "run-200.xml")
        command = ("--history", str(history), "--artifacts", str(folder / "artifacts"), "--last", "1000")
        first, _ = child(*command)
        again, _ = child(*command)
        last.rename(history / "run-200.xml")
        started = time.perf_counter()
        one_more, peak = child(*command)
        wall = time.perf_counter() - started
        print(f"200 runs by 10,000 tests: first {first:.1f} s CPU, again {again:.2f} s")
        print(f"one run more: {one_more:.2f} s CPU, {wall:.2f} s by the clock, peak {peak:.0f} MiB")
    print(
        f"| reading JUnit | {ratio:.2f} times the tests a second of a bare defusedxml iterparse; {peaks[0]}; one run more"
        f" to 200 runs of 10,000 tests, all judged: {one_more:.1f} s of CPU | bench_flakes.py |"
    )


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("what", choices=("verdicts", "speed"))
    flags.add_argument("--seeds", type=int, default=20)
    flags.add_argument("--first", type=int, default=1000)
    flags.add_argument("--pairs", type=int, default=9)
    args = flags.parse_args()
    if args.what == "verdicts":
        verdicts(args.seeds, args.first)
    else:
        speed(args.pairs)


if __name__ == "__main__":
    main()
