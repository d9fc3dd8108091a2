"""What does merging cost, and how even are shards?

    PYTHON tests/benchmarks/bench_shards.py [--tests 100000] [--shards 16] [--rounds 3] [DURATIONS.json ...]

PYTHON is an interpreter that has the five packages. Merges the evidence of made-up shards: tests in files of a hundred,
each file covering a tenth of 200 sources. Seconds and memory are those of the merging process. Then the longest shard
over the mean, by the recorded seconds: of the made-up suite and of each durations.json given.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from coverage import CoverageData

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECT = REPOSITORY / "scripts" / "tests" / "collect_metrics.py"
sys.path[:0] = [str(REPOSITORY), str(COLLECT.parent)]
import collect_metrics as collect  # noqa: E402 - found through the line above
import events  # noqa: E402

from conftest import split  # noqa: E402

RUN_ID = "bench"
SOURCES, LINES = 200, 300


def suite(tests: int) -> dict[str, float]:
    """Ids with seconds as suites have them: many short, few long; some files take much longer than others."""
    chance = random.Random(1)
    slow = [chance.lognormvariate(0, 1) for _ in range(tests // 100 + 1)]
    return {
        f"tests/unit/test_module_{number // 100}.py::TestThing::test_case[{number}-value]": slow[number // 100]
        * chance.lognormvariate(-6, 1.5)
        for number in range(tests)
    }


def measured(place: Path, root: Path, files: Iterable[str]) -> str:
    """Coverage data in which each test file covers a tenth of the sources; their digest."""
    data = CoverageData(str(place / ".coverage"))
    for file in files:
        chance = random.Random(file)
        data.set_context(file)
        lines = [chance.randrange(1, LINES) for _ in range(LINES // 3)]
        for source in chance.sample(range(SOURCES), SOURCES // 10):
            data.add_arcs({str(root / f"source_{source}.py"): [(line, line + 1) for line in lines]})
    data.close()
    return str(events.sha256((place / ".coverage").read_bytes()))


def write_shards(root: Path, shares: list[list[str]], seconds: Mapping[str, float]) -> list[Path]:
    for number in range(SOURCES):
        (root / f"source_{number}.py").write_text("x = 1\n" * LINES)
    return [write_shard(root, number, len(shares), share, seconds) for number, share in enumerate(shares, 1)]


def write_shard(root: Path, number: int, of: int, share: list[str], seconds: Mapping[str, float]) -> Path:
    run = events.Run("collect_metrics", root, root / f"{number}-of-{of}")
    tests = [
        {"id": test, "outcome": "passed", "start": time.time(), "markers": ["parametrize", "slow"], "worker": ""}
        | {"setup": 0.000123, "call": round(seconds[test], 6), "teardown": 0.000078}
        for test in share
    ]
    files = sorted({test.partition("::")[0] for test in share})
    body = {"shard": number, "of": of, "root": str(root), "environment": None, "suite_seconds": 1.0}
    body |= {"coverage_sha256": measured(run.artifacts, root, files)}
    body |= {"scope": {"pytest_args": [], "source": [], "skipped_stages": ["environment", "flakes"]}}
    facts = {"tests": tests, "collected": len(tests), "rootdir": str(root), "exit": 0, "split": "bench"}
    run.write(collect.SHARD, collect.SHARD_VERSION, {**body, "suite": facts})
    return Path(run.artifacts)


def bench_merge(seconds: Mapping[str, float], shares: list[list[str]], rounds: int) -> None:
    """The figure: under 10 s and under 500 MiB for 16 shards of 100,000 tests in all."""
    os.environ["TPR_RUN_ID"] = RUN_ID
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folders = write_shards(root, shares, seconds)
        flags = [f"--root={root}", f"--artifacts={root}.artifacts", "--quiet", "--skip=environment", "--skip=flakes"]
        command = [sys.executable, str(COLLECT), *flags, "--merge", *map(str, folders)]
        costs, walls = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            process = subprocess.Popen(command)
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            costs.append(usage)
            walls.append(time.perf_counter() - began)
        merged = events.read_artifact(Path(f"{root}.artifacts") / "baseline.metrics.json")
    assert merged["outcomes"]["passed"] == len(seconds)
    cpu, wall = statistics.median(cost.ru_utime + cost.ru_stime for cost in costs), statistics.median(walls)
    memory = max(cost.ru_maxrss for cost in costs) / 1024
    stages = "  ".join(f"{name} {seconds:.2f} s" for name, seconds in merged["capture"].items() if name != "suite")
    print(f"merging {len(shares)} shards of {len(seconds)} tests: {cpu:.2f} s CPU, {wall:.2f} s, {memory:.0f} MiB")
    print(f"  of that, the last time: {stages}")
    print(
        f"| merging {len(shares)} shards of {len(seconds):,} tests | {wall:.1f} s by the clock, {cpu:.1f} s of CPU,"
        f" {memory:.0f} MiB | bench_shards.py |"
    )


def bench_balance(name: str, seconds: Mapping[str, float], counts: Iterable[int]) -> None:
    """The figure: at most 1.05, where no single test is too long for it."""
    for count in counts:
        shares = split(seconds, seconds, count)
        loads = [sum(seconds[test] for test in share) for share in shares]
        mean = sum(loads) / count
        files = sum(len({test.partition("::")[0] for test in share}) for share in shares)
        cut = files - len({test.partition("::")[0] for test in seconds})
        longest = max(seconds.values()) / mean
        print(
            f"{name}: {count} shards: longest {max(loads) / mean:.3f} of the mean, {cut} files in one shard more, longest test {longest:.2f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("durations", nargs="*", type=Path)
    args = parser.parse_args()
    seconds = suite(args.tests)
    began = time.process_time()
    shares = split(seconds, seconds, args.shards)
    print(f"splitting {args.tests} tests: {time.process_time() - began:.2f} s CPU")
    bench_merge(seconds, shares, args.rounds)
    bench_balance("made up", seconds, (2, 4, 16))
    for path in args.durations:
        rows = json.loads(path.read_bytes())["tests"]
        bench_balance(str(path.parent.name), {row["id"]: row["seconds"] for row in rows}, (2, 4, 8, 16))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
