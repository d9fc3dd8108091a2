"""Is every change to a published checkpoint found, and what do emission and verification cost?

    python tests/benchmarks/bench_checkpoint.py [--changes N] [--tests N] [--seed N]

Publishes the checkpoint of a sample run, changes one byte at a random place of a random file N times (default
2,000), then deletes, adds, swaps, truncates and links files, and drops, reorders, repeats, edits, forges and appends
log lines, forged ones with a chain that fits. Each change must be found, and the changed file named first. Then it
times both commands as processes, over a baseline of --tests tests (default 10,000).

Exits: 0 every change was found and named; 1 one was not.
"""

from __future__ import annotations

import argparse
import random
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts" / "tests"
sys.path.insert(0, str(SCRIPTS))

import emit_checkpoint as script  # noqa: E402 - found through the line above
from events import LOG_NAME  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SAMPLE = runpy.run_path(str(ROOT / "tests" / "samples" / "foundation" / "build_evidence.py"))
Change = tuple[str, str, "Callable[[], object]"]  # kind, the file to be named, what to do


def publish(root: Path, tests: int) -> Path:
    """A project with the published checkpoint of a healthy run; returns the published folder."""
    SAMPLE["build"](root, tests=tests)
    script.HERE = root / "scripts" / "tests"
    if script.main(["--root", str(root), "--quiet", "--publish"]):
        raise SystemExit("the sample's checkpoint is refused")
    return root / "artifacts" / "foundation"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def byte_changes(folder: Path, count: int, chance: random.Random) -> Iterator[Change]:
    """One byte of one file becomes another, anywhere."""
    files = files_of(folder)
    for _ in range(count):
        name = chance.choice(sorted(files))
        data = bytearray(files[name])
        data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        yield "byte", name, writing(folder / name, bytes(data))


def file_changes(folder: Path, chance: random.Random) -> Iterator[Change]:
    """Every file deleted, cut, made longer, swapped with another, made a link; a new one in every folder."""
    files = files_of(folder)
    for name, data in sorted(files.items()):
        path, other = folder / name, chance.choice([n for n in sorted(files) if files[n] != data])
        yield "deleted", name, path.unlink
        yield "truncated", name, writing(path, data[: chance.randrange(len(data))])
        yield "longer", name, writing(path, data + b"\n")
        yield "swapped", f"{name} with {other}", swapping(path, folder / other)
        yield "linked", name, linking(path, folder.parent / "elsewhere")
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        name = f"added-{chance.randrange(10**6)}.json"
        yield "added", (place / name).relative_to(folder).as_posix(), writing(place / name, b"{}\n")


def log_changes(folder: Path, chance: random.Random, count: int) -> Iterator[Change]:
    """Lines dropped, reordered, repeated; events edited, forged or appended with a chain that fits."""
    path = folder / LOG_NAME
    lines = path.read_bytes().splitlines(keepends=True)

    def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[chance.randrange(len(rows))]["forged"] = True
        return rows

    for _ in range(count):
        first, second = sorted(chance.sample(range(len(lines)), 2))
        swapped = [*lines[:first], lines[second], *lines[first + 1 : second], lines[first], *lines[second + 1 :]]
        yield "line dropped", LOG_NAME, writing(path, b"".join(lines[:first] + lines[first + 1 :]))
        yield "lines reordered", LOG_NAME, writing(path, b"".join(swapped))
        yield "line repeated", LOG_NAME, writing(path, b"".join([*lines[:first], lines[first], *lines[first:]]))
        yield "line forged", LOG_NAME, lambda: SAMPLE["relog"](path, edit)
        yield "line dropped, chain fits", LOG_NAME, lambda: SAMPLE["relog"](path, lambda rows: rows[:-1])
        yield "line appended, chain fits", LOG_NAME, lambda: SAMPLE["relog"](path, lambda rows: [*rows, rows[-1]])


def writing(path: Path, data: bytes) -> Callable[[], object]:
    return lambda: path.write_bytes(data)


def swapping(one: Path, other: Path) -> Callable[[], object]:
    first, second = one.read_bytes(), other.read_bytes()
    return lambda: (one.write_bytes(second), other.write_bytes(first))


def linking(path: Path, outside: Path) -> Callable[[], object]:
    """The file becomes a link to itself, moved outside."""

    def change() -> None:
        outside.write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(outside)

    return change


def run(folder: Path, changes: Iterator[Change]) -> tuple[Counter[str], list[str]]:
    """Make each change, verify, undo it: how many of each kind were found, and what was missed or misnamed."""
    found: Counter[str] = Counter()
    missed = []
    for kind, name, change in changes:
        before = files_of(folder)
        change()
        mismatches = script.verify(folder)
        if mismatches and mismatches[0].file.split()[0] in name.split(" with "):
            found[kind] += 1
        else:
            missed.append(f"{kind}: {name}: {mismatches[0] if mismatches else 'not found'}")
        restore(folder, before)
    return found, missed


def restore(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink() or (path.is_file() and path.relative_to(folder).as_posix() not in files):
            path.unlink()
    for name, data in files.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != data:
            (folder / name).write_bytes(data)


def seconds(command: Sequence[str], times: int) -> list[float]:
    """CPU seconds of a process, from start to end."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return found


def timings(root: Path) -> list[str]:
    """CPU seconds of both commands as processes; the project gets copies of the scripts, to have its own plan."""
    for name in ("events.py", "emit_checkpoint.py"):
        (root / "scripts" / "tests" / name).write_bytes((SCRIPTS / name).read_bytes())
    program = [sys.executable, str(root / "scripts" / "tests" / "emit_checkpoint.py"), "--root", str(root), "--quiet"]
    shown = []
    empty = seconds([sys.executable, "-c", ""], 5)
    print(f"{'bare interpreter':<28}{statistics.median(empty):8.3f} s")
    for title, flags in (("emission", []), ("verification", ["--verify", str(root / "artifacts")])):
        values = seconds([*program, *flags], 7)
        median = statistics.median(values)
        print(f"{title:<28}{median:8.3f} s   {min(values):.3f} to {max(values):.3f}")
        shown.append(f"{title} {median:.2f} s")
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=2000)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=12345)
    args = parser.parse_args(argv)
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        folder = publish(Path(small), 20)
        assert script.verify(folder) == []
        missed, rows = [], []
        for what, changes in (
            ("one-byte changes of a published checkpoint", byte_changes(folder, args.changes, chance)),
            ("files deleted, added, swapped, truncated, linked", file_changes(folder, chance)),
            ("log lines dropped, forged, reordered", log_changes(folder, chance, 20)),
        ):
            found, wrong = run(folder, changes)
            missed += wrong
            for kind, count in sorted(found.items()):
                print(f"{kind:<28}{count:6} found and named")
            tried = found.total() + len(wrong)
            rows.append(f"| {what} | {found.total():,} of {tried:,} found, the file named | bench_checkpoint.py |")
        print(*missed, sep="\n", end="\n" if missed else "")
        publish(Path(large), args.tests)
        shown = timings(Path(large))
    rows.append(
        f"| a checkpoint over {args.tests:,} tests, CPU of the whole process | {', '.join(shown)} | bench_checkpoint.py |"
    )
    print(*rows, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
