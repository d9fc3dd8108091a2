"""What does the environment's gate cost, against pip check and against a bare interpreter?

    python tests/benchmarks/bench_validate_env.py [--rounds 21]

Makes a throw-away environment from requirements.lock with the newest pip, and runs the commands in turn. CPU is that
of the whole process in its median; wall time is the 95th percentile. Exits 1 if a limit is not kept.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VALIDATE = str(REPOSITORY / "scripts" / "tests" / "validate_env.py")
HELP_LIMIT, PIP_LIMIT, WALL_LIMIT_MS, DRILL_LIMIT_MS = 3.0, 0.5, 300.0, 1000.0


def make_environment(folder: Path) -> str:
    """The interpreter of a new environment that holds what the lock pins."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    subprocess.run([*pip, "--require-hashes", "-r", str(REPOSITORY / "requirements.lock")], check=True)
    return python


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall milliseconds of one process, which must succeed."""
    environ = {**os.environ, "TPR_SEED": "12345", "TPR_FAILFAST_MODE": "off", "TPR_ENV_VALIDATE": "enable"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a module is compiled once, as everywhere
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1000, wall * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = make_environment(folder / "venv")
        here = ["--root", str(REPOSITORY), "--artifacts", str(folder / "artifacts")]
        commands = {
            "bare interpreter": [python, "-c", "pass"],
            "validate_env.py --help": [python, VALIDATE, "--help"],
            "validate_env.py": [python, VALIDATE, *here],
            "pip check": [python, "-m", "pip", "check"],
        }
        for command in commands.values():
            measure(command, folder)  # byte code and caches
        costs = [{name: measure(command, folder) for name, command in commands.items()} for _ in range(rounds)]
        drill = subprocess.run([python, VALIDATE, "--drill", *here], capture_output=True, text=True, check=True)
    cpu = {name: statistics.median(row[name][0] for row in costs) for name in commands}
    wall = {name: statistics.quantiles([row[name][1] for row in costs], n=20)[18] for name in commands}
    slowest = max(float(line.split()[2]) for line in drill.stdout.splitlines()[1:])
    bare, peer = cpu["bare interpreter"], cpu["pip check"]
    print(f"{'command':<24}{'CPU ms':>9}{'x bare':>9}{'x pip check':>13}{'p95 wall ms':>13}")
    for name in commands:
        print(f"{name:<24}{cpu[name]:>9.1f}{cpu[name] / bare:>9.2f}{cpu[name] / peer:>13.2f}{wall[name]:>13.0f}")
    figures = {
        "--help, times a bare interpreter": (cpu["validate_env.py --help"] / bare, HELP_LIMIT),
        "validation, times pip check": (cpu["validate_env.py"] / peer, PIP_LIMIT),
        "validation, p95 wall ms": (wall["validate_env.py"], WALL_LIMIT_MS),
        "slowest drill, CPU ms": (slowest, DRILL_LIMIT_MS),
    }
    print(f"\n{'figure':<34}{'measured':>10}{'limit':>9}")
    for name, (value, limit) in figures.items():
        print(f"{name:<34}{value:>10.2f}{limit:>9.2f}  {'kept' if value <= limit else 'NOT KEPT'}")
    print(
        f"| validate_env.py as a process | {cpu['validate_env.py'] / peer:.2f} of the CPU of `pip check`;"
        f" {wall['validate_env.py']:.0f} ms by the clock at the 95th percentile | bench_validate_env.py |"
    )
    return 0 if all(value <= limit for value, limit in figures.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
