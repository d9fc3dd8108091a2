"""The README's table of measured figures: runs the benchmarks and prints the rows that each of them ends with.

    python tests/benchmarks/table.py [--only BENCHMARK.PY ...] [--suites DIR]

Makes a throw-away environment from requirements.lock with the peers and the foreign suites' own needs, and gets the
suites' source distributions from the package index, or unpacked from DIR. Every other line that a benchmark prints
goes to stderr as it comes. CPU seconds and ratios within one run hold on a machine that does other work, too; about
an hour on two cores. Exits 1 if a benchmark fails or misses one of its limits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
LOCK = BENCHMARKS.parents[1] / "requirements.lock"
PEERS = "pytest-cov==7.1.0 pytest-reportlog==1.0.0".split()
SUITES = {  # many tiny tests, slow property tests, heavy imports and servers: what their tests need beside pytest
    "click-8.5.1": (),
    "attrs-26.1.0": ("cloudpickle", "pympler"),
    "werkzeug-3.1.9": ("cryptography", "ephemeral-port-reserve", "pytest-timeout"),
}
RUNS = (  # a benchmark and its arguments; SUITES stands for the unpacked folders
    ("bench_capture.py", "SUITES"),
    ("bench_capture.py", "--lines", "SUITES"),
    ("bench_records.py", "--instructions"),
    ("bench_validate_env.py",),
    ("bench_events.py",),
    ("bench_flakes.py", "verdicts"),
    ("bench_flakes.py", "speed"),
    ("bench_order.py",),
    ("bench_properties.py",),
    ("bench_checkpoint.py",),
    ("bench_report.py",),
    ("bench_shards.py",),
    ("bench_faults.py",),
    ("bench_redaction.py",),
    ("fuzz_readers.py",),
)


def make_environment(folder: Path) -> Path:
    """The interpreter of a new environment with what the lock pins, the peers, and the suites' packages and needs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    suites = [name.replace("-", "==") for name in SUITES]
    subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True)
    subprocess.run([*pip, *PEERS, *suites, *(need for needs in SUITES.values() for need in needs)], check=True)
    return python


def unpack_suites(python: Path, source: Path | None, folder: Path) -> list[Path]:
    if source is None:
        source = folder / "sdists"
        suites = [name.replace("-", "==") for name in SUITES]
        download: list[str | Path] = [
            python,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run([*download, "--no-binary=:all:", f"--dest={source}", *suites], check=True)
    for archive in (source / f"{name}.tar.gz" for name in SUITES):
        with tarfile.open(archive) as sdist:
            sdist.extractall(folder, filter="data")
    return [folder / name for name in SUITES]


def rows_of(command: list[str | Path]) -> tuple[list[str], int]:
    """The rows that a benchmark prints, and its exit code."""
    print("$", *(word.name if isinstance(word, Path) else word for word in command[1:]), file=sys.stderr, flush=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TPR_")}
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        for line in process.stdout or ():
            if line.startswith("| "):
                rows.append(line.rstrip())
            else:
                print(line, end="", file=sys.stderr, flush=True)
    return rows, process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted({name for name, *_ in RUNS}), default=[])
    parser.add_argument("--suites", type=Path, metavar="DIR", help="folder of the source distributions")
    args = parser.parse_args()
    failed = []
    print("| what | measured | with |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        python = make_environment(Path(place, "venv"))
        suites = unpack_suites(python, args.suites, Path(place))
        for name, *words in RUNS:
            if args.only and name not in args.only:
                continue
            arguments = [part for word in words for part in (suites if word == "SUITES" else [word])]
            rows, code = rows_of([python, BENCHMARKS / name, *arguments])
            print(*rows, sep="\n", flush=True)
            if code or not rows:
                failed.append(f"{name} {' '.join(words)}: exit {code}, {len(rows)} rows")
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
