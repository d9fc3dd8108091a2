"""What does the report cost, and how large is it, over 20,000 tests and 200 runs of history?

    python tests/benchmarks/bench_report.py [--tests N] [--runs N] [--flaky N] [--times N]

Renders the page of an artifacts folder with something wrong in every section, as a process, several times.

Exits: 0 under 3 s and under 5 MB; 1 not.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "tests" / "render_report.py"
sys.path[:0] = [str(ROOT / "tests"), str(SCRIPT.parent)]

from report_evidence import troubled  # noqa: E402 - found through the line above

SECONDS, BYTES = 3.0, 5_000_000


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("tests", 20_000), ("runs", 200), ("flaky", 1_000), ("times", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    wall, used = [], []
    with tempfile.TemporaryDirectory() as folder:
        artifacts = troubled(Path(folder), args.tests, args.runs, args.flaky)
        for _ in range(args.times):
            began, before = time.perf_counter(), cpu()
            subprocess.run([sys.executable, str(SCRIPT), "--root", folder, "--quiet"], check=True)
            wall.append(time.perf_counter() - began)
            used.append(cpu() - before)
        size = (artifacts / "report.html").stat().st_size
    print(f"{args.tests:,} tests, {args.runs} runs, {args.flaky:,} flaky tests")
    print(f"wall {statistics.median(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f}), limit {SECONDS:g}")
    print(f"CPU  {statistics.median(used):.2f} s ({min(used):.2f} to {max(used):.2f})")
    print(f"size {size / 1e6:.2f} MB, limit {BYTES / 1e6:g}")
    print(
        f"| the page over {args.tests:,} tests and {args.runs} runs | {statistics.median(used):.2f} s of CPU,"
        f" {size / 1e6:.2f} MB | bench_report.py |"
    )
    return 0 if statistics.median(wall) < SECONDS and size < BYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
