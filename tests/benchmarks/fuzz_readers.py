"""Does any reader answer hostile input with anything but its own error, in bounded time and memory?

    PYTHON tests/benchmarks/fuzz_readers.py [--cases 20000] [--seed 1] [--reader NAME]

PYTHON is an interpreter that has the five packages. Each case takes a real file (of a healthy run's evidence, a
capture, a lock, a report of another tool), changes it (bits, spans, numbers, names, depth, encoding; for JSON also its
values, and then the digest is made to hold again), and reads it in this process. A reader may raise its own error; a
script's `main` may not raise at all and ends with 0, 1 or 2. A case may take LIMIT seconds of CPU, all of them SPACE bytes.
Prints how often each reader accepted and refused, so that one that refuses everything is seen; exits 1 on a finding,
which is kept in the folder that is named.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "scripts" / "tests"), str(REPOSITORY)]
import aggregate_properties  # noqa: E402
import benchmark_failfast  # noqa: E402
import collect_metrics  # noqa: E402
import emit_checkpoint  # noqa: E402
import enforce_gates  # noqa: E402
import events  # noqa: E402
import render_report  # noqa: E402
import scan_flakes  # noqa: E402
import validate_env  # noqa: E402
from events import EvidenceError  # noqa: E402

import conftest  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LIMIT, SPACE = 5.0, 3 << 30
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, -1e308, 10**30, -(10**400), 2**63, "", "0", "x" * 5000, [], {}, [[]]),
    *(
        [None],
        {"": ""},
        "\ud800",
        "\x00",
        "../..",
        "/etc",
        "é\u2028\u202e",
        "NaN",
        "2026-99-99",
        "9999-12-31T23:59:59Z",
    ),
    *([1, "a", None, {}], {"id": None}, "[" * 50, "::error::x", "<script>", "%s%n", "\n", "1.0"),
)
SPANS: tuple[bytes, ...] = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"[" * 20_000,
    b'{"a":' * 5000,
)
SPANS += (
    b"&e;",
    b"<!DOCTYPE a [<!ENTITY e 'x'>]>",
    b"<a>" * 3000,
    b"]]>",
    b"\r",
    b"\xef\xbb\xbf",
    b"*a",
    b"&a [*a]",
    b"!!python/object:x ",
)
SPANS += (
    b"\n",
    b'"',
    b"'",
    b"\\",
    b"}",
    b"{",
    b",",
    b":",
    b"- ",
    b"? ",
    b"%",
    b"\t",
    b"\x1f\x8b",
    b"==",
    b";",
    b"#",
    b"\xe2\x80\xa8",
)
ENCODINGS = ("utf-16", "utf-32", "utf-7", "cp037", "latin-1", "utf-8-sig")


class TooSlowError(Exception):
    """A case took longer than LIMIT."""


def changed(chance: random.Random, data: bytes) -> bytes:
    """The bytes with one to three things done to them."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = chance.choice(WAYS)(chance, data)
    return data


def span(chance: random.Random, data: bytes) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 2, 8, 64, 500)))


def flip(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20)) if data else 0):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def drop(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    return data[:start] + data[end:]


def double(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 50)) + data[end:]


def swap(chance: random.Random, data: bytes) -> bytes:
    (a, b), (c, d) = sorted((span(chance, data), span(chance, data)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def put(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    return data[:start] + chance.choice(SPANS) + data[chance.choice((start, end)) :]


def blow_up(chance: random.Random, data: bytes) -> bytes:
    numbers = list(re.finditer(rb"\d+", data))
    if not numbers:
        return data
    found = chance.choice(numbers)
    number = chance.choice((b"0", b"-1", b"1" * 4400, b"9" * 30, b"1e400", b"0x1", b"1_0", b"NaN", b"1.5", b"1e-400"))
    return data[: found.start()] + number + data[found.end() :]


def lines(chance: random.Random, data: bytes) -> bytes:
    rows = data.split(b"\n")
    place = chance.randrange(len(rows))
    way = chance.randrange(3)
    if way == 0:
        del rows[place]
    elif way == 1:
        rows.insert(chance.randrange(len(rows)), rows[place])
    else:
        chance.shuffle(rows)
    return b"\n".join(rows)


def encode(chance: random.Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(chance.choice(ENCODINGS), "replace")


WAYS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flip,
    cut,
    drop,
    double,
    swap,
    put,
    put,
    blow_up,
    lines,
    encode,
)


def reshaped(chance: random.Random, data: bytes) -> bytes:
    """A JSON document with some of its values replaced, renamed, dropped or doubled, and a digest that holds."""
    document = json.loads(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        holder, key = chance.choice(places(document))
        way = chance.randrange(8)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[chance.choice(("", "id", "name", "x", "\ud800"))] = holder.pop(key)
        elif way == 2 and isinstance(holder, list):
            holder.extend([holder[key]] * chance.choice((1, 30)))
        elif way == 3:
            other, name = chance.choice(places(document))
            holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = json.loads(json.dumps(chance.choice(ODD)))
        if not places(document):
            break
    if isinstance(document, dict) and "sha256" in document:
        document["sha256"] = events.content_digest(document)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a document, as (what holds it, key or index)."""
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        found.append((value, key))
        found += places(item)
    return found


class Reader(NamedTuple):
    """A reader, the real files it is tried on, and the errors that are its own."""

    name: str
    files: Sequence[Path]
    read: Callable[[Path], object]
    own: tuple[type[Exception], ...] = (EvidenceError,)
    share: float = 1.0  # of the cases: what takes long gets fewer
    reshape: float = 0.0  # how often a JSON document's values are changed, not its bytes


@contextmanager
def bounded() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TooSlowError

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)  # CPU seconds: other work on the machine does not count
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def through_main(main: Callable[[list[str]], int], *words: str) -> Callable[[Path], object]:
    """A script on the evidence around the changed file; it must answer with 0, 1 or 2, and without a traceback."""

    def read(_path: Path) -> int:
        said = StringIO()
        with redirect_stdout(StringIO()), redirect_stderr(said):
            code = main([*words])
        assert code in (0, 1, 2), f"exit {code}"
        assert code != 2 or said.getvalue().count("\n") >= 1, "exit 2 without a word"
        assert "Traceback" not in said.getvalue(), said.getvalue()
        return code

    return read


def fuzz(reader: Reader, count: int, chance: random.Random, findings: Path) -> tuple[Counter[str], float]:
    """Try the reader on so many changed files; how often each answer came, and the longest time in seconds."""
    answers, longest, kept = Counter[str](), 0.0, findings / reader.name.replace(" ", "_")
    kept.mkdir()
    originals = {path: path.read_bytes() for path in reader.files}
    for number in range(count):
        path = chance.choice(reader.files)
        before = originals[path]
        is_json = path.suffix == ".json" and chance.random() < reader.reshape
        data = (reshaped if is_json else changed)(chance, before) if number else before
        path.write_bytes(data)
        began = time.process_time()
        try:
            with bounded():
                result = reader.read(path)
            answers[f"exit {result}" if type(result) is int else "read"] += 1
        except reader.own as error:
            said = str(error)
            answers["refused"] += 1
            if "\n" in said or not said:
                note(f"{type(error).__name__} of no line or more: {said!r}", data, kept / path.name, answers)
        except (Exception, SystemExit) as error:
            note(trace(error), data, kept / path.name, answers)
        finally:
            path.write_bytes(before)
        longest = max(longest, time.process_time() - began)
    return answers, longest


def trace(error: BaseException) -> str:
    rows = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(row.filename).name}:{row.lineno} {row.name}" for row in reversed(rows))
    return f"{type(error).__name__}: {events.one_line(error, 120)} ({where})"


def note(what: str, data: bytes, kept: Path, answers: Counter[str]) -> None:
    """Count a finding; the first of its kind is shown and kept."""
    answers["FINDINGS"] += 1
    kind = f"!{what.rpartition('(')[2] or what}"
    answers[kind] += 1
    if answers[kind] == 1:
        kept = kept.with_name(f"{answers['FINDINGS']}-{kept.name}")
        kept.write_bytes(data)
        print(f"{kept.parent.name}: {what}; kept as {kept}", flush=True)


SUREFIRE = b"""<?xml version="1.0" encoding="UTF-8"?><testsuite name="a.B" tests="3" time="1.5">
<properties><property name="git_commit" value="abc"/></properties>
<testcase name="one" classname="a.B" time="0.1"><flakyFailure message="no" type="E">x<stackTrace>E: no
 at a.B</stackTrace><system-out>out</system-out></flakyFailure></testcase>
<testcase name="two" classname="a.B"><failure type="E">E: no</failure><rerunFailure type="E"><stackTrace>E</stackTrace>
</rerunFailure></testcase><testcase name="three" classname="a.B"><skipped/></testcase></testsuite>"""
LOCKS = {
    "requirements.lock": b"a==1.0 ; python_version >= '3.11' \\\n    --hash=sha256:00\n# note\nb[x]==2\nc @ file:///c\n",
    "uv.lock": b"version = 1\n[[package]]\nname = 'a'\nversion = '1'\nsource = {editable = '.'}\n[[package]]\nname='b'\n",
    "poetry.lock": b"[[package]]\nname = 'a'\nversion = '1.0'\noptional = false\n[metadata]\nlock-version = '2.0'\n",
    "pylock.toml": b"lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = '1'\nmarker = \"'x' in extras\"\n",
}


def build(place: Path) -> Path:
    """A project with the whole evidence of a healthy run, and folders for what a reader wants to find alone."""
    root = place / "project"
    root.mkdir()
    runpy.run_path(str(REPOSITORY / "tests" / "samples" / "foundation" / "build_evidence.py"))["build"](root, tests=8)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        assert emit_checkpoint.main(["--root", str(root), "--publish", "--quiet"]) == 0
        assert render_report.main(["--root", str(root), "--quiet"]) == 0
    return root


def killed_capture(place: Path) -> Path:
    """A capture as a kill leaves it: its records and its settings."""
    folder = place / "killed" / "artifacts" / ".capture" / "r-1"
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [{"core": "CTracer"}, {"rootdir": str(place / "killed"), "registered": ["slow"]}]
    rows += [{"collected": 4}, {"deselected": 1}, {"order": "usual"}]
    seconds = {"start": 1767225600.5, "markers": ["slow"], "worker": "", "setup": 0.1, "call": 0.2, "teardown": 0.1}
    failure = {"phase": "call", "type": "E", "text": "E   boom\nE   more"}
    rows += [{"start": "t.py::a"}, {"id": "t.py::a", "outcome": "passed", **seconds}]
    rows += [{"id": "t.py::b[x-1]", "outcome": "failed", **seconds, "failures": [failure], "attempts": [failure]}]
    rows += [
        {"id": "t.py::c", "outcome": "skipped", **seconds, "reason": "no", "subtests": {"passed": 2, "failed": 1}}
    ]
    rows += [{"collect_error": "t2.py", **failure}, {"start": "t.py::d"}, {"exit": 1, "stop": None}]
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "settings.json").write_text(json.dumps({"run_id": "r", "commit": None, "dirty": False}))
    (folder / "alive").touch()
    return folder


def readers(place: Path) -> list[Reader]:
    root = build(place)
    artifacts = root / "artifacts"
    alone = place / "alone"
    alone.mkdir()
    suite = collect_metrics.read_records((killed_capture(place) / "records.jsonl").read_text().splitlines())
    files = {
        "junit.xml": collect_metrics.junit(suite, "run", "abc", dirty=False),
        "surefire.xml": SUREFIRE,
        "coverage.xml": (REPOSITORY / "artifacts" / "foundation" / "coverage.xml").read_bytes()[:0] or COVERAGE,
        "ladder.yaml": (artifacts / "project" / "coverage-ladder.yaml").read_bytes(),
        "records.jsonl": PROPERTY_RECORDS,
    }
    for name, data in files.items():
        (alone / name).write_bytes(data)
    json_files = sorted(path for path in artifacts.glob("*.json") if path.name != "foundation.intoto.json")
    words = ("--root", str(root), "--quiet")
    gates = [*json_files, artifacts / "events.log.jsonl", artifacts / "coverage.xml", root / "coverage-ladder.yaml"]
    gates += [artifacts / "baseline.metrics.hash", root / "requirements.lock.hash"]
    published = sorted(path for path in (artifacts / "foundation").rglob("*") if path.is_file())
    killed = killed_capture(place / "again")
    recover = through_main(
        recovery(killed, collect_metrics.main), "--recover", "--skip", "flakes", "--skip", "coverage"
    )
    history = artifacts / "history"
    history.mkdir(exist_ok=True)
    for name in ("junit.xml", "surefire.xml"):
        shutil.copy(alone / name, history / name)
    scan_flakes.with_store(
        history, lambda store: scan_flakes.read_history(store, history, scan_flakes.Window(30, None), lambda _: None)
    )
    return [
        Reader("junit", [alone / "junit.xml", alone / "surefire.xml"], read_junit, (scan_flakes.UnreadableError,)),
        Reader("coverage xml", [alone / "coverage.xml"], lambda path: collect_metrics.coverage_counts(path, root)),
        Reader(
            "missed lines", [alone / "coverage.xml"], lambda path: enforce_gates.missed_lines(path, ["work.py"]), ()
        ),
        *(lock_reader(place, name, data) for name, data in LOCKS.items()),
        Reader(
            "installed files", [record_file(place)], lambda path: validate_env.modified_files(str(path.parent)), ()
        ),
        Reader("ladder, capture", [alone / "ladder.yaml"], collect_metrics.read_ladder),
        Reader(
            "ladder, gates", [alone / "ladder.yaml"], lambda path: enforce_gates.read_ladder(path.read_bytes(), "l")
        ),
        Reader(
            "ladder, checkpoint", [alone / "ladder.yaml"], lambda path: emit_checkpoint.read_ladder(path.read_bytes())
        ),
        Reader("hash file", [root / "requirements.lock.hash"], enforce_gates.check_hash_file),
        Reader("log", [artifacts / "events.log.jsonl"], events.read_log, ()),
        Reader("artifact", json_files, events.read_artifact, reshape=0.3),
        Reader("records", [killed / "records.jsonl"], read_records),
        Reader("property records", [alone / "records.jsonl"], read_property_records, ()),
        Reader(
            "order map",
            [line_map(place, root)],
            lambda path: conftest.find_order(root, root, [path], artifacts),
            (),
            reshape=0.8,
        ),
        Reader("fault map", [line_map(place, root)], lambda path: fault_map(path, root), (), reshape=0.8),
        Reader("shard", [shard(place, suite)], lambda path: collect_metrics.read_shard(path.parent), reshape=0.8),
        Reader("flake store", [history / ".flakes.sqlite"], through_main(scan_flakes.main, *words), (), 0.05),
        Reader("scan_flakes", [history / "junit.xml"], through_main(scan_flakes.main, *words), (), 0.1),
        Reader("recover", [killed / "records.jsonl", killed / "settings.json"], recover, (), 0.05, 0.5),
        Reader("render_report", gates, through_main(render_report.main, *words), (), 0.1, 0.8),
        Reader("enforce_gates", gates, through_main(enforce_gates.main, *words), (), 0.1, 0.8),
        Reader(
            "verify",
            published,
            through_main(emit_checkpoint.main, *words, "--verify", str(artifacts / "foundation")),
            (),
            0.1,
            0.6,
        ),
        # last: a checkpoint that does not hold is withdrawn
        Reader("emit_checkpoint", gates, through_main(emit_checkpoint.main, *words), (), 0.05, 0.8),
    ]


COVERAGE = b"""<?xml version="1.0" ?><coverage version="7" lines-valid="3" lines-covered="2" line-rate="0.6667"
 branches-valid="2" branches-covered="1" branch-rate="0.5"><sources><source>/x</source></sources><packages><package
 name="."><classes><class name="work.py" filename="work.py"><methods/><lines><line number="1" hits="1"/><line number="2"
 hits="1" branch="true" condition-coverage="50% (1/2)" missing-branches="3"/><line number="3" hits="0"/></lines></class>
 </classes></package></packages></coverage>"""
RESULT = {"id": "t.py::p", "outcome": "passed", "digest": "ab", "examples": 3, "seconds": 0.1}
PROPERTY_ROWS: tuple[dict[str, Any], ...] = (
    {"facts": {"python": "3.11"}},
    {"found": ["t.py::p"], "stopped": False},
    {"start": "t.py::p"},
    {"trying": "x"},
)
PROPERTY_ROWS += (RESULT, {"uncollected": {"id": "u.py", "property": False, "message": "m"}}, {"exit": 0})
PROPERTY_RECORDS = "".join(json.dumps(row) + "\n" for row in PROPERTY_ROWS).encode()


def read_junit(path: Path) -> object:
    return scan_flakes.read_report(path, lambda *_: "")


def read_records(path: Path) -> object:
    """Records of a dead capture, as `--recover` reads them, through everything that is computed from them."""
    dead = collect_metrics.Capture(path.parent)
    with collect_metrics.remains_of(dead):
        suite = dead.suite()
        collect_metrics.junit(suite, *dead.origin)
        return collect_metrics.durations_body(suite, 5), collect_metrics.markers_body(suite)


def read_property_records(path: Path) -> object:
    trial = aggregate_properties.Trial(aggregate_properties.Plan(1, "run", "tpr", (), None))
    with path.open("rb") as rows:
        aggregate_properties.read_records(trial, rows)
    return trial.results


def lock_reader(place: Path, name: str, data: bytes) -> Reader:
    folder = place / f"lock-{name}"
    folder.mkdir()
    (folder / name).write_bytes(data)
    return Reader(
        name, [folder / name], lambda path: validate_env.read_lock(path.parent, {}), (validate_env.LockError,)
    )


def record_file(place: Path) -> Path:
    folder = place / "site" / "a-1.dist-info"
    folder.mkdir(parents=True)
    (folder.parent / "a.py").write_text("1\n")
    (folder / "RECORD").write_text(
        "a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\na-1.dist-info/RECORD,,\n"
    )
    return folder / "RECORD"


def line_map(place: Path, root: Path) -> Path:
    folder = place / "map" / "artifacts"
    if not folder.exists():
        run = events.Run("collect_metrics", root, folder)
        files = [{"path": "test_work.py", "seconds": 0.1, "names": ["test_a", "test_b"]}]
        sources = [{"path": "work.py", "covered_by": [{"file": 0, "lines": "1-3,7"}]}]
        run.write(
            "test.map.json",
            "1.0",
            {"rootdir": ".", "files": files, "sources": sources, "failed": ["test_work.py::a"]},
        )
        (root / "test_work.py").write_text("def test_a(): pass\n")
        (root / "work.py").write_text("def f():\n    return 1\n")
    return folder / "test.map.json"


def fault_map(path: Path, root: Path) -> object:
    run = events.Run("benchmark_failfast", root, path.parent)
    try:
        known = benchmark_failfast.fitting_map(run)
        return benchmark_failfast.find_places(root, known) if known else None
    finally:
        run.log.close()


def shard(place: Path, suite: collect_metrics.Suite) -> Path:
    folder = place / "shard"
    run = events.Run("collect_metrics", place, folder)
    scope = {"pytest_args": [], "source": [], "skipped_stages": [], "collected": 4, "shard": "1/2"}
    facts = {
        "shard": 1,
        "of": 2,
        "root": str(place),
        "environment": None,
        "coverage_sha256": None,
        "suite_seconds": 1.0,
    }
    run.write("shard.evidence.json", "1.0", {**facts, "scope": scope, "suite": suite._asdict()})
    return folder / "shard.evidence.json"


def recovery(killed: Path, main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """A recovery consumes what it recovers, so each gets a copy."""

    def recover(words: list[str]) -> int:
        root = killed.parents[2]
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(root, Path(folder, "copy"))
            return main(["--root", str(copy), "--quiet", *words])

    return recover


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", type=int, default=20_000, help="per reader (default 20000); what takes long gets fewer"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", action="append", help="only readers whose name starts so")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    logging.disable()
    for name in [name for name in os.environ if name.startswith(("TPR_", "GITHUB_"))]:
        del os.environ[name]
    os.fsync = lambda fd: None  # noqa: ARG005 - thousands of files that nobody needs after a power cut
    enforce_gates.recapture = lambda *_: "not captured again"  # a suite's run per case would take days
    findings, total, cases, slowest = Path(tempfile.mkdtemp(prefix="fuzz-findings-")), 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'reader':22}{'cases':>8}{'findings':>10}{'longest':>10}  answers", flush=True)
        chosen = [reader for reader in readers(Path(folder)) if reader.name.startswith(tuple(args.reader or [""]))]
        for reader in chosen:
            count = max(1, int(args.cases * reader.share))
            answers, longest = fuzz(reader, count, random.Random(f"{args.seed} {reader.name}"), findings)
            total += (bad := answers["FINDINGS"])
            cases, slowest = cases + count, max(slowest, longest)
            told = ", ".join(f"{name} {n}" for name, n in answers.items() if name[0] not in "!F")
            print(f"{reader.name:22}{count:>8}{bad:>10}{longest:>8.2f} s  {told}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{total} findings; peak {peak:.0f} MiB")
    print(
        f"| {cases:,} changed real files to {len(chosen)} readers and scripts | {total} answered otherwise than with their own"
        f" error; longest {slowest:.1f} s of CPU, {peak:.0f} MiB | fuzz_readers.py |"
    )
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
