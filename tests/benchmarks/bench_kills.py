"""Does a capture that is killed at any moment lose a finished test, a whole artifact or a line of the log?

    PYTHON tests/benchmarks/bench_kills.py [--kills 50] [--seed 1]

PYTHON is an interpreter that has the five packages. Each round captures a project of 200 tests over the evidence of
an earlier capture, kills the capture and everything it started with SIGKILL at a random moment, reads every artifact
and the log, then lets `--recover` write the partial metrics and counts. Exits 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts" / "tests"
sys.path.insert(0, str(SCRIPTS))
from events import EvidenceError, content_digest, read_artifact, read_log  # noqa: E402

TESTS = 200
SUITE = f"""import os, time, pytest
@pytest.mark.parametrize("number", range({TESTS}))
def test_work(number):
    with open(os.environ["BEGUN"], "a") as begun:
        begun.write(f"{{number}}\\n")
    time.sleep(0.005)
"""


def start(root: Path, *flags: str) -> subprocess.Popen[bytes]:
    """A capture in a process group of its own; each test notes its beginning in a file."""
    begun = root.parent / "begun"
    begun.write_text("")
    command = [sys.executable, str(SCRIPTS / "collect_metrics.py"), "--root", str(root), "--quiet", *flags]
    env, none = {**os.environ, "BEGUN": str(begun)}, subprocess.DEVNULL
    return subprocess.Popen([*command, "--", "-q"], env=env, stdin=none, stdout=none, stderr=none, process_group=0)


def what_is_lost(artifacts: Path, finished: int) -> list[str]:
    """What does not hold of the evidence, right after the kill and again after the recovery."""
    lost = broken_files(artifacts)
    last = len(list((artifacts / "history").glob("*.xml")))
    captures = list((artifacts / ".capture").glob("*")) if (artifacts / ".capture").exists() else []
    code = start(artifacts.parent, "--recover").wait()
    lost += broken_files(artifacts)
    baseline = read_artifact(artifacts / "baseline.metrics.json")
    if captures and code == 2 and finished:
        kept = baseline["outcomes"]["tests"]
        if kept < finished or not baseline["partial"]:
            lost.append(f"{finished} tests had finished, {kept} are in the partial metrics")
        if len(list((artifacts / "history").glob("*.xml"))) == last:
            lost.append("the run is not in the history")
    elif not captures and baseline["outcomes"]["tests"] != TESTS:
        lost.append("the earlier baseline is gone")
    return lost


def broken_files(artifacts: Path) -> list[str]:
    found = [f"events.log.jsonl: {problem}" for problem in read_log(artifacts / "events.log.jsonl").problems]
    for path in artifacts.glob("*.json"):
        try:
            read_artifact(path)
        except EvidenceError as error:
            found.append(str(error))
    digest = content_digest(read_artifact(artifacts / "baseline.metrics.json"))
    stated = (artifacts / "baseline.metrics.hash").read_text()
    return found if stated == f"sha256:{digest}\n" else [*found, "baseline.metrics.hash is of another baseline"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    chance, bad, reached = random.Random(args.seed), 0, []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "project")
        root.mkdir()
        (root / "test_work.py").write_text(SUITE)
        began = time.perf_counter()
        assert start(root).wait() == 0
        whole = time.perf_counter() - began
        kept = Path(shutil.copytree(root / "artifacts", Path(place, "kept")))
        for _ in range(args.kills):
            shutil.rmtree(root / "artifacts")
            shutil.copytree(kept, root / "artifacts")
            capture = start(root)
            time.sleep(chance.uniform(0, whole))
            os.killpg(capture.pid, signal.SIGKILL)
            capture.wait()
            finished = max(0, len((root.parent / "begun").read_text().splitlines()) - 1)
            reached.append(finished)
            for problem in what_is_lost(root / "artifacts", finished):
                bad += 1
                print(f"killed after {finished} finished tests: {problem}", flush=True)
    amid = sum(0 < number < TESTS - 1 for number in reached)
    print(f"{args.kills} kills over {whole:.1f} s, {amid} of them amid the tests: {bad} losses")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
