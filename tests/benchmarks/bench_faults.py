"""Does anything that was acknowledged get lost when a script is killed, stopped, out of room or not alone?

    PYTHON tests/benchmarks/bench_faults.py [--kills 500] [--seed 1] [--only CAMPAIGN] [--script NAME]

PYTHON is an interpreter that has the five packages; Linux only. Each round runs one script on a small project that has
the whole evidence of earlier runs, lets one thing go wrong, and then holds what is there against the laws: no record of
a finished test lost, every file old and whole or new and whole, an unbroken log, no traceback, an exit code of 0, 1 or
2 (or the signal's), an end to every start (unless killed), nothing outside the artifacts folder. Faults at a write are
put there by tests/samples/faults/sitecustomize.py, one round for every write. Exits 1 if a law was broken.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS, SAMPLES = REPOSITORY / "scripts" / "tests", REPOSITORY / "tests" / "samples"
sys.path.insert(0, str(SCRIPTS))
import emit_checkpoint  # noqa: E402
from collect_metrics import read_ladder, read_records  # noqa: E402
from events import LOG_NAME, EvidenceError, content_digest, read_artifact, read_log  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TESTS = 25
NOTHING = "(?!)"  # a pattern that nothing matches
SUITE = {
    "work.py": "def double(n):\n    if n < 0:\n        return -double(-n)\n    return 2 * n\n",
    "test_work.py": f"""import os, time, pytest, work
@pytest.mark.parametrize("number", range({TESTS}))
def test_work(number):
    if "BEGUN" in os.environ:
        with open(os.environ["BEGUN"], "a") as begun:
            begun.write(f"{{number}}\\n")
    time.sleep(0.005)
    assert work.double(number) == 2 * number
""",
    "test_property.py": """import work
from hypothesis import given, settings, strategies as st
@settings(max_examples=5)
@given(st.integers())
def test_double(n):
    assert work.double(n) == n + n
""",
    "pytest.ini": "[pytest]\n",
    ".gitignore": "artifacts/\n__pycache__/\n.pytest_cache/\n.hypothesis/\n",
}
OWN_CACHES = (".git", "artifacts", "__pycache__", ".pytest_cache", ".hypothesis")
STARTS = {"metrics_capture_start": "metrics_capture_complete", "property_test_start": "property_test_complete"}
STARTS["environment_validation_start"] = "environment_validation_ok environment_validation_fail"
LIMIT = 600  # seconds after which a run counts as hanging, also on a busy machine


class Case(NamedTuple):
    """A script as it is run, and the project that it is run on."""

    name: str
    project: str
    command: str
    share: int = 1  # of the random moments


CASES = (
    Case("validate_env", "suite", "validate_env.py --allow-unrecorded", 6),
    Case("collect_metrics", "suite", "collect_metrics.py -- -q test_work.py", 6),
    Case("collect_metrics hard", "suite", "collect_metrics.py --failfast-mode hard -- -q test_work.py", 3),
    Case("scan_flakes", "suite", "scan_flakes.py", 6),
    Case("benchmark_failfast", "suite", "benchmark_failfast.py --faults 1 --runs 1 -- -q test_work.py"),
    Case("aggregate_properties", "suite", "aggregate_properties.py --runs 2 -- test_property.py"),
    Case("enforce_gates", "evidence", "enforce_gates.py", 6),
    Case("enforce_gates drill", "evidence", "enforce_gates.py --drill", 3),
    Case("emit_checkpoint", "evidence", "emit_checkpoint.py", 5),
    Case("emit_checkpoint publish", "evidence", "emit_checkpoint.py --publish", 5),
    Case("render_report", "evidence", "render_report.py", 5),
    Case("pipeline", "suite", "pipeline.py --python PYTHON baseline -- -q test_work.py", 3),
)


class Ended(NamedTuple):
    """How a run ended: its status, what it said on stderr, and how many tests had finished."""

    code: int
    said: str
    finished: int


class Place:
    """Where it all happens: `now` is the project in use, `kept` what every round starts from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / "kept"
        self.now, self.temporary = folder / "w" / "now", folder / "w" / "tmp"
        self.begun, self.points = folder / "begun", folder / "points"
        self.outside: dict[str, dict[str, str]] = {}
        self.digests: dict[str, str] = {}
        for path in (self.temporary, self.kept):
            path.mkdir(parents=True)

    def fresh(self, project: str) -> None:
        for path in (self.now, self.temporary):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.kept / project, self.now, symlinks=True)
        self.temporary.mkdir()
        for path in (self.begun, self.points):
            path.write_bytes(b"")

    def keep(self, project: str) -> None:
        self.now.rename(self.kept / project)
        self.outside[project] = files_outside(self.kept / project)
        baseline = self.kept / project / "artifacts" / "baseline.metrics.json"
        self.digests[project] = content_digest(read_artifact(baseline))

    def start(self, case: Case, faults: Mapping[str, object], said: str = "stderr") -> subprocess.Popen[bytes]:
        """The script on the project in use, in a process group of its own, with the faults asked for."""
        words = case.command.replace("PYTHON", sys.executable).split()
        command = [sys.executable, str(SCRIPTS / words[0]), "--root", str(self.now), "--quiet", *words[1:]]
        own = {"TMPDIR": str(self.temporary), "BEGUN": str(self.begun), "PYTHONPATH": str(SAMPLES / "faults")}
        within = f"{self.now}/artifacts/" if faults.get("kind") == "read" else f"{self.folder}/w/"
        own |= {"FAULT_WITHIN": within, "FAULT_COUNT": str(self.points), "PYTHONDONTWRITEBYTECODE": "1"}
        own |= {"GIT_CONFIG_GLOBAL": os.devnull, "TPR_SEED": "12345", "TPR_FAILFAST_MODE": "off"}
        own |= {f"FAULT_{name.upper()}": str(value) for name, value in faults.items()}
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("TPR_", "GITHUB_", "FAULT_"))
        }
        none = subprocess.DEVNULL
        with (self.folder / said).open("wb") as stderr:
            return subprocess.Popen(
                command, env=env | own, cwd=self.now, stdin=none, stdout=none, stderr=stderr, process_group=0
            )

    def end(self, process: subprocess.Popen[bytes]) -> Ended:
        """Wait for the end of the script and of all that it started."""
        late = ""
        try:
            process.wait(LIMIT)
            deadline = time.monotonic() + LIMIT
            while descendants(os.getpid()) and time.monotonic() < deadline:
                reap()
                time.sleep(0.005)
        except subprocess.TimeoutExpired:
            late = f"did not end within {LIMIT} s\n"
        kill_all()
        process.wait()
        said = late + (self.folder / "stderr").read_text("utf-8", "replace")
        return Ended(process.returncode, said, max(0, len(self.begun.read_text().splitlines()) - 1))


def descendants(parent: int) -> list[int]:
    """The live processes below this one, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            pid, rest = stat.read_text().split(" ", 1)
            state, ppid = rest.rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(ppid), []).append(int(pid))
    found, queue = [], [parent]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def kill_all() -> None:
    """End what is left of a run: orphans come to this process, which is their subreaper."""
    while left := descendants(os.getpid()):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(0.001)


def reap() -> None:
    """Take the ends of orphans, but not of the script itself, whose Popen wants it."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            pid, rest = stat.read_text().split(" ", 1)
            state, ppid = rest.rpartition(")")[2].split()[:2]
            if state == "Z" and int(ppid) == os.getpid() and int(pid) not in RUNNING:
                os.waitpid(int(pid), os.WNOHANG)


RUNNING: set[int] = set()


def files_outside(root: Path) -> dict[str, str]:
    """The project's own files, by digest."""
    found = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in OWN_CACHES]
        for name in files:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def torn(place: Place, case: Case) -> Iterator[str]:
    """Every file of the evidence that is neither old and whole nor new and whole."""
    artifacts = place.now / "artifacts"
    for problem in read_log(artifacts / "events.log.jsonl").problems:
        yield f"events.log.jsonl: {problem}"
    for path in sorted(path for path in artifacts.rglob("*") if path.is_file()):
        name = str(path.relative_to(artifacts))
        if "/." in f"/{name}":
            continue
        if why := damage(path):
            yield f"{name}: {why}"
    stated, baseline = artifacts / "baseline.metrics.hash", artifacts / "baseline.metrics.json"
    if stated.exists() and baseline.exists():
        known = (content_digest(read_artifact(baseline)), place.digests[case.project])
        if stated.read_text() not in [f"sha256:{digest}\n" for digest in known]:
            yield "baseline.metrics.hash: neither of the old baseline nor of the new one"
    if "emit_checkpoint" in case.command:
        for folder in (artifacts, artifacts / "foundation"):
            if (folder / "foundation.checkpoint.json").exists() and (said := unverified(folder)):
                yield f"checkpoint in {folder.name}: {said}"


def damage(path: Path) -> str:
    """Why this file is not whole, by its kind."""
    try:
        if path.suffix == ".json":
            is_artifact = path.name != "foundation.intoto.json"
            read_artifact(path) if is_artifact else json.loads(path.read_bytes())
        elif path.suffix == ".xml":
            ElementTree.fromstring(path.read_bytes())
        elif path.name == "coverage-ladder.yaml":
            read_ladder(path)
        elif path.name == "report.html" and not path.read_bytes().endswith(b"</html>\n"):
            return "cut"
        elif path.name == "foundation.sha256":
            return "" if path.read_bytes().endswith(b"\n") else "cut"
    except (EvidenceError, ValueError, ElementTree.ParseError) as error:
        return str(error)
    return ""


def unverified(folder: Path) -> str:
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = emit_checkpoint.main(["--verify", str(folder)])
    return said.getvalue().strip().partition("\n")[0] if code else ""


def lost(place: Place, finished: int) -> Iterator[str]:
    """Tests that had finished and are neither in the records of a killed capture nor in the artifacts."""
    artifacts, most = place.now / "artifacts", 0
    for records in artifacts.glob(".capture/*/records.jsonl"):
        with records.open(encoding="utf-8", errors="replace", newline="\n") as stream:
            most = max(most, len(read_records(stream).tests))
    recorded = most
    if most == 0:
        with suppress(EvidenceError):
            most = read_artifact(artifacts / "durations.json")["all"]["count"]
    if most < finished:
        yield f"{finished} tests had finished, {most} are on record"
    if recorded and list(artifacts.glob(".capture/*/alive")):
        yield from unrecovered(place, recorded)


def unrecovered(place: Place, most: int) -> Iterator[str]:
    """What `--recover` does not bring back."""
    recovery = Case("recover", "suite", "collect_metrics.py --recover")
    ended = place.end(watch(place.start(recovery, {})))
    yield from unruly(ended, (0, 1, 2))
    baseline = read_artifact(place.now / "artifacts" / "baseline.metrics.json")
    if baseline["outcomes"]["tests"] < most or not baseline["partial"]:
        yield f"recovered {baseline['outcomes']['tests']} of {most} recorded tests"


def unruly(ended: Ended, codes: Sequence[int]) -> Iterator[str]:
    """What a run may not do, whatever happens to it: a traceback, another exit code."""
    lines = ended.said.splitlines()
    early = not {" in main", " in run_suite"} & {f" in {line.rpartition(', in ')[2]}" for line in lines}
    if "KeyboardInterrupt" in lines and early:  # Python itself, and imports: nothing had begun
        return
    if "Traceback (most recent call last):" in lines:
        yield f"traceback: {lines[-1]} ({' < '.join(reversed(frames(lines)[-4:]))})"
    elif ended.code not in codes:
        yield f"exit {ended.code}: {lines[-1] if lines else 'without a word'}"


def frames(lines: Sequence[str]) -> list[str]:
    found = [line.split('"')[1:] for line in lines if line.startswith('  File "')]
    return [f"{Path(path).name}{where.replace(', line ', ':').replace(', in ', ' ')}" for path, where in found]


def unmatched(place: Place, since: int) -> Iterator[str]:
    """Starts without their end, or with two."""
    counts = Counter[str]()
    for event in read_log(place.now / "artifacts" / "events.log.jsonl").events[since:]:
        counts[event["event"]] += 1
    for start, ends in STARTS.items():
        if counts[start] != (count := sum(counts[end] for end in ends.split())):
            yield f"{counts[start]} {start}, {count} {ends.replace(' ', ' or ')}"


def strays(place: Place, case: Case, killed: bool) -> Iterator[str]:
    """Files that the project did not have, or that were changed, and what is left in the temporary folder."""
    now, before = files_outside(place.now), place.outside[case.project]
    for name in sorted(now.keys() | before.keys()):
        if now.get(name) != before.get(name):
            yield f"{name}: outside the artifacts folder, written or removed"
    left = [path.name for path in place.temporary.iterdir()]
    aside = [path.name for path in (place.now / "artifacts").rglob("*.tmp")]
    if not killed and left + aside:
        yield f"left behind: {', '.join(sorted(left + aside)[:3])}"


def watch(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    RUNNING.clear()
    RUNNING.add(process.pid)
    return process


class Campaign:
    """Counts rounds and broken laws of one kind of fault, per script."""

    def __init__(self, place: Place, seed: int, whole: Mapping[Case, float], codes: Mapping[Case, int]) -> None:
        self.place, self.chance, self.whole, self.codes = place, random.Random(seed), whole, codes
        self.rounds, self.broken, self.told = Counter[str](), Counter[str](), Counter[str]()

    def round(
        self,
        case: Case,
        what: str,
        do: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
        *,
        faults: Mapping[str, object] | None = None,
        codes: Sequence[int] = (0, 1, 2),
        killed: bool = False,
        stopped: bool = False,
        ends: bool = True,
        itself: str = NOTHING,
    ) -> Ended:
        """One run with one fault, judged.

        `killed`: a start may lack its end, temporary files may stay. `itself`: what has to be told of the fault.
        """
        self.place.fresh(case.project)
        log = self.place.now / "artifacts" / "events.log.jsonl"
        since = len(read_log(log).events)
        process = watch(self.place.start(case, faults or {}))
        do(process)
        ended = self.place.end(process)
        wrong = [problem for problem in torn(self.place, case) if not re.fullmatch(itself, problem)]
        found = [*unruly(ended, codes), *wrong, *strays(self.place, case, killed or ended.code < 0)]
        if "collect_metrics" in case.command and "hard" not in case.command:
            found += lost(self.place, 0 if (faults or {}).get("kind") == "write" else ended.finished)
        if ends and not killed and not (stopped and ended.code < 0):
            found += unmatched(self.place, since)
        self.note(case.name, what, found)
        return ended

    def note(self, name: str, what: str, found: Sequence[str]) -> None:
        self.rounds[name] += 1
        self.broken[name] += bool(found)
        for problem in found:
            self.told[problem] += 1
            if self.told[problem] <= 3:
                print(f"{name}, {what}: {problem}", flush=True)


def drawn(campaign: Campaign, cases: Sequence[Case], count: int) -> list[Case]:
    return campaign.chance.choices(cases, [case.share for case in cases], k=count)


def kills(campaign: Campaign, cases: Sequence[Case], count: int) -> None:
    """kill -9 at random moments: of all processes, of the script alone, of one that it started."""
    for case in drawn(campaign, cases, count):
        moment, victim = campaign.chance.uniform(0, campaign.whole[case]), campaign.chance.choice("aaaasc")

        def kill(process: subprocess.Popen[bytes], moment: float = moment, victim: str = victim) -> None:
            time.sleep(moment)
            below = descendants(process.pid)
            targets = {"a": [process.pid, *below], "s": [process.pid], "c": below[-1:]}[victim]
            for pid in targets:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        who = {"a": "all", "s": "the script", "c": "a child"}[victim]
        campaign.round(case, f"{who} killed after {moment:.3f} s", kill, codes=(0, 1, 2, -9), killed=True)


def stops(campaign: Campaign, cases: Sequence[Case], count: int) -> None:
    """SIGTERM and SIGINT at random moments, once the script has begun."""
    for case in drawn(campaign, cases, count):
        sign = campaign.chance.choice((signal.SIGTERM, signal.SIGINT))
        moment = campaign.chance.uniform(0, campaign.whole[case])

        def stop(process: subprocess.Popen[bytes], moment: float = moment, sign: signal.Signals = sign) -> None:
            time.sleep(moment)
            process.send_signal(sign)

        campaign.round(case, f"{sign.name} after {moment:.3f} s", stop, codes=(0, 1, 2, -sign), stopped=True)


class Every(NamedTuple):
    """A fault that strikes at the n-th write, or at the n-th opening for reading, for every n."""

    title: str
    kind: str
    do: str
    stay: bool = False  # from then on
    killed: bool = False

    def run(self, campaign: Campaign, cases: Sequence[Case], most: int) -> None:
        for case in cases:
            points = points_of(campaign.place, case, self.kind)
            numbers = range(1, len(points) + 1)
            count = most and max(1, most * case.share // 6)  # of what takes long, less
            for number in sorted(campaign.chance.sample(numbers, count)) if 0 < count < len(points) else numbers:
                self.strike(campaign, case, number, points)

    def strike(self, campaign: Campaign, case: Case, number: int, points: Sequence[str]) -> None:
        point = points[number - 1].strip()
        faults = {"kind": self.kind, "at": number, "do": self.do, **({"stay": 1} if self.stay else {})}
        campaign.round(
            case,
            f"{self.do} at {number} of {len(points)}: {point}",
            faults=faults,
            codes=(0, 1, 2, -9) if self.killed else (0, 1, 2),
            killed=self.killed,
            ends=not (self.stay or point.endswith(LOG_NAME)),  # else the end cannot be logged either
            itself=self.itself(point),
        )

    def itself(self, point: str) -> str:
        """What the evidence has to say of the fault: the file that it removed, the log's line that it tore."""
        if self.do == "gone":
            name = re.escape(point.removeprefix("read "))
            return rf"checkpoint in artifacts: emit_checkpoint\.py: file: {name}: expected .*"
        return (
            rf"{re.escape(LOG_NAME)}: line \d+: torn.*" if self.do == "torn" and point.endswith(LOG_NAME) else NOTHING
        )


def points_of(place: Place, case: Case, kind: str) -> list[str]:
    """What the script and its children write (or read), in order."""
    place.fresh(case.project)
    place.end(watch(place.start(case, {"kind": kind})))
    return place.points.read_text("utf-8", "replace").splitlines()


def clock(campaign: Campaign, cases: Sequence[Case], _most: int) -> None:
    """A clock that goes back by a minute and a half each time it is read."""
    for case in cases:
        ended = campaign.round(case, "clock going backwards", faults={"kind": "clock"})
        if ended.code != campaign.codes[case]:
            campaign.note(case.name, "clock going backwards", [f"exit {ended.code}, not {campaign.codes[case]}"])


def together(campaign: Campaign, cases: Sequence[Case], count: int) -> None:
    """Two scripts at once in one folder, both slowed down at random."""
    slow = {"kind": "write", "do": "slow"}
    for first in drawn(campaign, cases, count):
        second = campaign.chance.choice([case for case in cases if case.project == first.project])
        others: list[subprocess.Popen[bytes]] = []

        def beside(
            _process: subprocess.Popen[bytes], second: Case = second, others: list[subprocess.Popen[bytes]] = others
        ) -> None:
            others.append(campaign.place.start(second, slow, "stderr.2"))
            RUNNING.add(others[0].pid)

        campaign.round(first, f"beside {second.name}", beside, stopped=True, faults=slow)
        said = Ended(others[0].wait(), (campaign.place.folder / "stderr.2").read_text("utf-8", "replace"), 0)
        campaign.note(second.name, f"beside {first.name}", [*unruly(said, (0, 1, 2))])


APPENDER = """import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from events import EventLog
log = EventLog(Path(sys.argv[2]), "appender", "run")
with open(sys.argv[3], "w", buffering=1) as acknowledged:
    for number in range(int(sys.argv[5])):
        log.info("risk_trigger", writer=sys.argv[4], number=number, pad="x" * (number % 300))
        acknowledged.write(f"{sys.argv[4]} {number}\\n")
"""


def one_log(campaign: Campaign, _cases: Sequence[Case], count: int) -> None:
    """Eight processes on one log, half of them killed: every line that was acknowledged is there."""
    for number in range(max(1, count // 20)):
        campaign.place.fresh("suite")
        log, acks = campaign.place.temporary / LOG_NAME, [campaign.place.temporary / f"ack{n}" for n in range(8)]
        writers = [
            subprocess.Popen([sys.executable, "-c", APPENDER, SCRIPTS, log, ack, str(n), "2000"], process_group=0)
            for n, ack in enumerate(acks)
        ]
        time.sleep(campaign.chance.uniform(0.1, 0.4))
        for writer in writers[::2]:
            writer.kill()
            time.sleep(campaign.chance.uniform(0, 0.05))
        codes = [writer.wait() for writer in writers]
        reading = read_log(log)
        there = {f"{event['writer']} {event['number']}" for event in reading.events}
        asked = {line for ack in acks if ack.exists() for line in ack.read_text().splitlines()}
        found = [*reading.problems, *(f"{line} was acknowledged and is not there" for line in sorted(asked - there))]
        found += [f"exit {code}" for code in codes[1::2] if code]
        campaign.note("events", f"round {number}", found)


UNWRITABLE = (
    "w/now/pytest.ini",
    "w/now/pytest.ini/below",
    "/proc/nothing/here",
    "/dev/null",
    "w/now/\udcff/x" + "y" * 300,
)


def unwritable(campaign: Campaign, cases: Sequence[Case], _most: int) -> None:
    """An artifacts folder that cannot be one."""
    for case in cases:
        for name in UNWRITABLE:
            place = campaign.place
            place.fresh(case.project)
            where = name if name.startswith("/") else f"{place.folder}/{name}"
            script, rest = case.command.split(" ", 1) if " " in case.command else (case.command, "")
            case_there = case._replace(command=f"{script} --artifacts {where} {rest}")
            ended = place.end(watch(place.start(case_there, {})))
            said = [*unruly(ended, (2,)), *strays(place, case, killed=False)]
            campaign.note(case.name, f"artifacts at {name}", said)


Work = Callable[["Campaign", "Sequence[Case]", int], None]
CAMPAIGNS: dict[str, tuple[str, Work]] = {
    "kills": ("kill -9 at a random moment", kills),
    "stops": ("SIGTERM, SIGINT at a random moment", stops),
    "together": ("two scripts at once, both slow", together),
    "log": ("8 processes on one log, 4 killed", one_log),
    "unwritable": ("no artifacts folder can be there", unwritable),
    "clock": ("a clock that runs backwards", clock),
}
EVERY = {
    "deaths": Every("kill -9 before every write", "write", "kill", killed=True),
    "tears": Every("kill -9 amid every write", "write", "torn", killed=True),
    "full": Every("disk full from every write on", "write", "ENOSPC", stay=True),
    "short": Every("every write that only half fits", "write", "short"),
    "errors": Every("every write that fails once", "write", "EIO"),
    "denied": Every("no permission from every write on", "write", "EACCES", stay=True),
    "vanish": Every("every file gone when it is opened", "read", "gone"),
}
CAMPAIGNS |= {name: (every.title, every.run) for name, every in EVERY.items()}


def prepare(place: Place) -> None:
    """The two projects: a suite with the evidence of some captures, and one with a whole chain's evidence."""
    place.now.mkdir(parents=True)
    for name, text in SUITE.items():
        (place.now / name).write_text(text)
    for command in (
        "init -q -b main",
        "add -A",
        "-c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -qm a",
    ):
        subprocess.run(["git", *command.split()], cwd=place.now, check=True)
    capture = Case("", "suite", "collect_metrics.py -- -q test_work.py")
    properties = Case("", "suite", "aggregate_properties.py --runs 2 -- test_property.py")
    for case in (capture, properties, capture):
        ended = place.end(watch(place.start(case, {})))
        assert ended.code == 0, ended.said
    place.keep("suite")
    place.now.mkdir()
    runpy.run_path(str(SAMPLES / "foundation" / "build_evidence.py"))["build"](place.now)
    place.temporary.mkdir(exist_ok=True)
    for command in ("emit_checkpoint.py --publish", "render_report.py"):
        ended = place.end(watch(place.start(Case("", "evidence", command), {})))
        assert ended.code == 0, ended.said
    place.keep("evidence")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="random moments of kill -9 (default 500)")
    parser.add_argument("--stops", type=int, default=120, help="random moments of SIGTERM and SIGINT, and pairs")
    parser.add_argument(
        "--most", type=int, default=30, metavar="N", help="writes of a script to strike at (30; 0: every one)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=CAMPAIGNS, action="append")
    parser.add_argument("--script", help="only cases whose name starts so")
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what a killed script leaves behind comes to us
    cases = [case for case in CASES if case.name.startswith(args.script or "")]
    broken, done = 0, []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        prepare(place)
        whole, codes = measure(place, cases)
        print(f"{'what goes wrong':36}{'rounds':>8}{'laws broken in':>16}{'seconds':>9}", flush=True)
        for name in args.only or CAMPAIGNS:
            title, work = CAMPAIGNS[name]
            campaign, began = Campaign(place, args.seed, whole, codes), time.perf_counter()
            count = {"kills": args.kills, "stops": args.stops, "together": args.stops}.get(name, args.most)
            with suppress(KeyboardInterrupt):  # the rounds that were done count
                work(campaign, cases, count)
            rounds, bad = campaign.rounds.total(), campaign.broken.total()
            broken += bad
            done.append(f"{title}: {rounds:,}")
            print(f"{title:36}{rounds:>8}{bad:>16}{time.perf_counter() - began:>9.0f}", flush=True)
    print(f"| runs with one fault: {'; '.join(done)} | a law broken in {broken} of them | bench_faults.py |")
    return 1 if broken else 0


def measure(place: Place, cases: Sequence[Case]) -> tuple[dict[Case, float], dict[Case, int]]:
    """How long each script takes when nothing goes wrong, and what it says then."""
    whole, codes = {}, {}
    for case in cases:
        place.fresh(case.project)
        began = time.perf_counter()
        ended = place.end(watch(place.start(case, {})))
        whole[case], codes[case] = time.perf_counter() - began, ended.code
        print(f"{case.name:36}{whole[case]:8.2f} s, exit {ended.code}", flush=True)
        assert not [*unruly(ended, (0, 1))], ended.said
    return whole, codes


if __name__ == "__main__":
    raise SystemExit(main())
