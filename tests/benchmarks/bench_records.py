"""What does a record cost per test, and what do 100,000 of them cost to turn into artifacts?

    PYTHON tests/benchmarks/bench_records.py [--tests 10000] [--rounds 5] [--instructions]

PYTHON is an interpreter that has pytest; pytest-reportlog and pytest-json-report are measured beside the recorder
where it has them. Runs alternate. CPU seconds and memory are those of the child process; a run of no test is taken
off, so starting up does not count. Then the recorder alone, on and off by turns within one run: on a busy machine
only that tells microseconds. `--instructions` counts them too, with valgrind, on a tenth of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECT = REPOSITORY / "scripts" / "tests" / "collect_metrics.py"
PEERS = {
    "pytest_reportlog": ["--report-log=peer.jsonl"],
    "pytest_jsonreport": ["--json-report", "--json-report-file=peer.json"],
}
BOOTSTRAP = f"""import runpy, sys
sys.path.insert(0, {str(COLLECT.parent)!r})
raise SystemExit(runpy.run_path({str(COLLECT)!r}, run_name="tpr_suite")["run_suite"]("settings.json", sys.argv[1:]))"""

BLOCK = 50  # tests
SWITCH = f"""import json, time, pytest

class Switch:
    def __init__(self, manager):
        self.manager, self.count, self.on, self.recorder = manager, 0, True, None
        self.seconds = {{True: [], False: []}}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self):
        self.count += 1
        if self.count % {BLOCK}:
            return
        if self.recorder:  # the first block warms up
            self.seconds[self.on].append((time.process_time() - self.began) / {BLOCK})
        if self.on:
            self.recorder = self.manager.unregister(name="tpr-records")
        else:
            self.manager.register(self.recorder, "tpr-records")
        self.on = not self.on
        self.began = time.process_time()

    def pytest_sessionfinish(self):
        with open("blocks.json", "w") as stream:
            json.dump([self.seconds[True], self.seconds[False]], stream)

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.pluginmanager.register(Switch(config.pluginmanager), "switch-blocks")
"""


@dataclass(frozen=True)
class Cost:
    """CPU seconds and peak memory in KiB of one process."""

    seconds: float
    memory: int


def measure(command: list[str], folder: Path) -> Cost:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def instructions(command: list[str], folder: Path) -> int:
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run([*tool, *command], cwd=folder, capture_output=True, text=True, check=False)
    counted = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert counted, done.stderr[-500:]
    return int(counted[1].replace(",", ""))


def suite(folder: Path, tests: int) -> Path:
    """A project of `tests` trivial tests, and what the recorder needs to run beside it."""
    folder.mkdir()
    text = "".join(f"def test_{number}():\n    pass\n" for number in range(tests))
    (folder / "test_trivial.py").write_text(text or "def test_none():\n    pass\n")
    settings = {"records": "records.jsonl", "events": str(COLLECT.with_name("events.py")), "commit": None}
    settings |= {"conftest": str(REPOSITORY / "conftest.py"), "run_id": "bench", "path": "settings.json"}
    switches = {"coverage": False, "contexts": False, "pause": False}
    (folder / "settings.json").write_text(json.dumps(settings | switches))
    return folder


def commands() -> dict[str, list[str]]:
    plain = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    known = {"pytest": ["-m", "pytest", *plain], "recorder": ["-c", BOOTSTRAP, *plain]}
    known |= {name: ["-m", "pytest", *plain, *flags] for name, flags in PEERS.items() if find_spec(name)}
    return {name: [sys.executable, *words] for name, words in known.items()}


def bench_hook(tests: int, rounds: int, count: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        full, empty = suite(Path(place, "full"), tests), suite(Path(place, "empty"), 0)
        costs: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in commands()}
        for _ in range(rounds):
            for name, command in commands().items():
                costs[name].append((measure(command, full), measure(command, empty)))
        counted = {}
        if count:
            fewer = suite(Path(place, "fewer"), tests // 10)
            counted = {
                name: instructions(command, fewer) - instructions(command, empty)
                for name, command in commands().items()
            }
    shown = []
    for name, pairs in costs.items():
        each = [whole.seconds - start.seconds for whole, start in pairs]
        more = [
            1e6 * (own - base) / tests
            for own, base in zip(each, [w.seconds - s.seconds for w, s in costs["pytest"]], strict=True)
        ]
        ratio = statistics.median(
            own / base for own, base in zip(each, [w.seconds - s.seconds for w, s in costs["pytest"]], strict=True)
        )
        memory = statistics.median(whole.memory for whole, _ in pairs) - statistics.median(
            whole.memory for whole, _ in costs["pytest"]
        )
        line = f"{name:<20}{1e6 * statistics.median(each) / tests:8.1f} us/test  {statistics.median(more):+7.1f} us  {ratio:5.2f} CPU  {memory / 1024:+6.2f} MiB"
        if counted:
            line += f"  {counted[name] / counted['pytest']:6.3f} instructions"
        print(line, flush=True)
        if name != "pytest":
            more_instructions = f", {counted[name] / counted['pytest']:.3f} times its instructions" if counted else ""
            shown.append(f"{name} {statistics.median(more):+.0f} us{more_instructions}")
    print(f"| a record per trivial test, CPU on top of bare pytest | {'; '.join(shown)} | bench_records.py |")


def bench_blocks(tests: int, rounds: int) -> None:
    """The figure: at most 20 us a test."""
    with tempfile.TemporaryDirectory() as place:
        folder = suite(Path(place, "full"), tests)
        (folder / "switch.py").write_text(SWITCH)
        command = [*commands()["recorder"], "-p", "switch"]
        on, off = list[float](), list[float]()
        for _ in range(rounds):
            subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
            found = json.loads((folder / "blocks.json").read_bytes())
            on, off = [*on, *found[0]], [*off, *found[1]]
    pairs = [(with_it - without, with_it / without) for with_it, without in zip(on, off, strict=False)]
    more, ratio = (statistics.median(column) for column in zip(*pairs, strict=True))
    base = 1e6 * statistics.median(off)
    print(f"recorder on and off by turns: {1e6 * more:+.1f} us on {base:.0f} us, {ratio:.3f} CPU, {len(pairs)} pairs")


def write_records(artifacts: Path, tests: int) -> None:
    """What a killed capture of `tests` tests leaves behind."""
    folder = artifacts / ".capture" / "bench"
    folder.mkdir(parents=True)
    (folder / "alive").touch()
    (folder / "settings.json").write_text(json.dumps({"run_id": "bench", "commit": None, "dirty": False}))
    with (folder / "records.jsonl").open("w") as stream:
        stream.write(json.dumps({"collected": tests}) + "\n")
        for number in range(tests):
            name = f"tests/unit/test_module_{number // 100}.py::TestThing::test_case[{number}-value]"
            record = {"id": name, "outcome": "passed", "start": time.time(), "worker": ""}
            record |= {"markers": ["parametrize", "slow"] if number % 3 else []}
            record |= {"setup": 0.000123, "call": 0.000456 + number % 997 / 1e5, "teardown": 0.000078}
            stream.write(json.dumps({"start": name}) + "\n" + json.dumps(record) + "\n")


def bench_artifacts(tests: int, rounds: int) -> None:
    """The figure: under 5 s and under 300 MiB; ten times the tests, at most eleven times the time."""
    flags = ["--recover", "--quiet", "--skip=environment", "--skip=flakes", "--skip=coverage"]
    costs: dict[int, list[Cost]] = {0: [], tests // 10: [], tests: []}
    for _ in range(rounds):
        for number, found in costs.items():
            with tempfile.TemporaryDirectory() as place:
                write_records(Path(place, "artifacts"), max(number, 1))
                found.append(measure([sys.executable, str(COLLECT), f"--root={place}", *flags], Path(place)))
    start = statistics.median(cost.seconds for cost in costs[0])
    shown = []
    for number, found in costs.items():
        seconds = statistics.median(cost.seconds for cost in found)
        memory = statistics.median(cost.memory for cost in found) / 1024
        print(
            f"{number:>8} records  {seconds:6.2f} s CPU  {seconds - start:6.2f} s without start-up  {memory:6.1f} MiB"
        )
        shown.append(f"{number:,}: {seconds:.2f} s, {memory:.0f} MiB")
    print(f"| test records to the artifacts, CPU | {'; '.join(shown[1:])} | bench_records.py |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instructions", action="store_true")
    args = parser.parse_args()
    bench_hook(args.tests, args.rounds, args.instructions)
    bench_blocks(args.tests, args.rounds)
    bench_artifacts(args.records, args.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
