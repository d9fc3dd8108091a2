"""What does a line of the event log cost, against structlog, and does it hold when many write?

    python tests/benchmarks/bench_events.py [--processes 5] [--lines 500]

Makes a throw-away environment with structlog. Appending: CPU of one call, chunks in turn within one process, medians
over several processes (memory layout moves single ones by a tenth); structlog writes plain JSON lines with the
processors that its documentation recommends, no lock and no chain. Many writers: 8 processes of 2 threads append
300 B and 20 kB lines to one log. Big data: 100,000 lines read, 100,000 rows written. Exits 1 if a limit is not kept.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "tests"
sys.path.insert(0, str(SCRIPTS))
from events import LOG_NAME, EventLog, Run, content_digest, indented, read_log, redact  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT = "flake_scan_complete"
LINES: dict[str, dict[str, Any]] = {  # each about 300 B as written
    "filler": {"text": "x" * 130},
    "prose": {"n": 1, "text": "lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor " * 2},
    "summary": {
        "stage": "durations",
        "artifacts": ["coverage.xml", "durations.json", "markers.usage.json"],
        "tests": 1380,
        "seconds": 14.25,
        "reason": "ordinary run, all files whole",
    },
    "test": {
        "test": "tests/integration/test_capture.py::test_a_killed_suite_keeps_every_finished_test[sigterm]",
        "outcome": "failed",
        "seconds": 1.25,
        "message": "AssertionError: expected 3 records",
    },
}
PROCESSES, THREADS = 8, 2
READ_LIMIT, APPEND_LIMIT = 10.0, 1.0


def structured(path: Path) -> Callable[..., object]:
    """structlog as its documentation sets it up for speed, with the standard library's JSON."""
    import structlog  # type: ignore[import-not-found,unused-ignore]

    processors = structlog.processors
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(20),
        processors=[
            structlog.contextvars.merge_contextvars,
            processors.add_log_level,
            processors.format_exc_info,
            processors.TimeStamper(fmt="iso", utc=True),
            processors.JSONRenderer(serializer=lambda value, **_: json.dumps(value).encode()),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=path.open("wb")),
    )
    context = {"run_id": "20251122T170000Z-deadbeef", "script": "bench", "pid": os.getpid()}
    info: Callable[..., object] = structlog.get_logger().bind(context=context).info
    return info


def cost(info: Callable[..., object], fields: dict[str, Any], calls: int = 300) -> float:
    began = time.thread_time()
    for _ in range(calls):
        info(EVENT, **fields)
    return (time.thread_time() - began) / calls * 1e6


def append_once(folder: Path) -> dict[str, tuple[float, float]]:
    """Microseconds of CPU a line, ours and structlog's, for each kind of line."""
    ours = EventLog(folder / f"ours.{os.getpid()}", "bench", "20251122T170000Z-deadbeef").info
    theirs = structured(folder / f"theirs.{os.getpid()}")
    found = {}
    for kind, fields in LINES.items():
        pairs = [(cost(ours, fields), cost(theirs, fields)) for _ in range(40)]
        found[kind] = (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs))
    return found


def write_many(folder: Path, name: str, lines: int) -> None:
    log = Run(name, folder, folder).log

    def write(thread: int) -> None:
        for number in range(lines):
            text = "x" * (20_000 if number % 5 == 0 else 60)
            log.info(EVENT, who=[name, thread, number], text=text)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_process(*arguments: str, python: str = sys.executable) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [python, __file__, "--inner", *arguments]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> Any:
    text, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(text)


def compare_appending(folder: Path, processes: int) -> float:
    """Print both costs for each kind of line; the geometric mean of the ratios."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = str(folder / "venv" / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "structlog"], check=True
    )
    found = [answer(in_process("append", str(folder), python=python)) for _ in range(processes)]
    print(f"{'line':<12}{'events us':>11}{'structlog us':>14}{'ratio':>8}")
    ratios = []
    for kind in LINES:
        ours, theirs = (statistics.median(row[kind][side] for row in found) for side in (0, 1))
        ratios.append(statistics.median(row[kind][0] / row[kind][1] for row in found))
        print(f"{kind:<12}{ours:>11.1f}{theirs:>14.1f}{ratios[-1]:>8.2f}")
    return float(math.prod(ratios) ** (1 / len(ratios)))


def many_writers(folder: Path, lines: int) -> tuple[int, float]:
    """Lines lost, torn, mixed or out of the chain, and lines a second of all writers together."""
    began = time.perf_counter()
    writers = [in_process("write", str(folder), str(number), str(lines)) for number in range(PROCESSES)]
    for writer in writers:
        answer(writer)
    seconds = time.perf_counter() - began
    reading = read_log(folder / LOG_NAME)
    expected = [[str(p), t, n] for p in range(PROCESSES) for t in range(THREADS) for n in range(lines)]
    who = sorted(event["who"] for event in reading.events)
    whole = [
        event for event in reading.events if event["text"].strip("x") == "" and len(event["text"]) in (60, 20_000)
    ]
    return len(reading.problems) + (who != expected) + len(expected) - len(whole), len(expected) / seconds


def read_big(folder: Path) -> dict[str, float]:
    path = folder / "big.jsonl"
    log = EventLog(path, "bench", "run")
    for number in range(100_000):
        log.info(EVENT, test=f"tests/unit/test_x.py::test_{number}", outcome="passed", text="x" * 80)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert not read_log(path).problems
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"seconds": time.process_time() - began, "times": grown / path.stat().st_size}


def write_big() -> dict[str, float]:
    row = {"outcome": "passed", "total_s": 0.001234, "call_s": 0.001, "markers": ["unit", "slow"]}
    rows = [{"id": f"tests/unit/test_m{n % 97}.py::TestC{n % 13}::test_{n}[{n % 5}]", **row} for n in range(100_000)]
    began = time.process_time()
    document = redact({"tests": rows})
    content_digest(document)
    indented(document)
    return {"seconds": time.process_time() - began}


def inner(task: str, *arguments: str) -> object:
    folder = Path(arguments[0])
    if task == "append":
        return append_once(folder)
    if task == "write":
        write_many(folder, arguments[1], int(arguments[2]))
        return None
    return read_big(folder) if task == "read" else write_big()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--inner", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inner:
        print(json.dumps(inner(*args.inner)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratio = compare_appending(folder, args.processes)
        bad, rate = many_writers(folder, args.lines)
        read, written = answer(in_process("read", name)), answer(in_process("rows", name))
    figures: dict[str, tuple[float, float]] = {
        "appending, times structlog": (ratio, APPEND_LIMIT),
        "bad lines of 8 x 2 writers": (bad, 0),
        "reading, times the log's size": (read["times"], READ_LIMIT),
    }
    print(f"\n8 x 2 writers of 300 B and 20 kB: {rate:,.0f} lines a second")
    print(f"100,000 lines read in {read['seconds']:.1f} s, 100,000 rows written in {written['seconds']:.1f} s of CPU")
    print(f"\n{'figure':<34}{'measured':>10}{'limit':>9}")
    for figure, (value, limit) in figures.items():
        print(f"{figure:<34}{value:>10.2f}{limit:>9.2f}  {'kept' if value <= limit else 'NOT KEPT'}")
    print(
        f"| appending an event, locked and chained, against structlog writing plain lines | {ratio:.2f} of its CPU;"
        f" 8 processes of 2 threads: {bad} bad lines | bench_events.py |"
    )
    return 0 if all(value <= limit for value, limit in figures.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
