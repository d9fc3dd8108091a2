"""How much sooner does a failure show? Breaks one function at a time and times each mode until its verdict.

    python scripts/tests/benchmark_failfast.py --scenario seeded              the sample suite's own fault
    python scripts/tests/benchmark_failfast.py --faults 20 -- -q              this project, 20 faults
    python scripts/tests/benchmark_failfast.py --root ../click -- tests       another project

A fault is a `raise` at the start of a function that the suite covers; TPR_SEED chooses. It is put into a copy of
the project, never into the project. Timed from process start to process end, in turn: a full capture (off), soft,
hard, plain `pytest -x`, and the limit: a fresh pytest that runs only the fastest failing test. A fault that the
full run does not see is reported and replaced.

Reads:  the project under --root; artifacts/test.map.json if it still fits; tests/samples/failfast_seeded; TPR_SEED,
        TPR_MAX_FAIL_FAST_IMPROVEMENT_TARGET (soft), TPR_HARD_FAIL_FAST_IMPROVEMENT_TARGET.
Writes: failfast.summary.json and its events. What runs in the copy leaves its evidence there, and goes with it.
Exits:  0 both targets met; 1 one is not; 2 it could not be told (a suite that fails by itself, no fault, no git), or
        it was interrupted: the faults that were done by then are written.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import Arguments, EvidenceError, Run, complain, content_digest, one_line, read_artifact, show

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    import ast
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    Say = Callable[[str], None]

SUMMARY_VERSION = "1.0"  # 1.0 first

PROG = "benchmark_failfast.py"
HERE = Path(__file__).resolve().parent
SAMPLE = HERE / "failfast_seeded"  # beside the scripts where they were copied to, as pytest would find it below tests
if not SAMPLE.is_dir():
    SAMPLE = HERE.parents[1] / "tests" / "samples" / "failfast_seeded"
SEEDED = ("prices.py", "discount")
MODES = ("off", "soft", "hard", "pytest -x", "limit")
BROKEN = "injected by benchmark_failfast.py"
LEFT_OUT = ".git artifacts __pycache__ .venv venv .tox .nox node_modules .*_cache .hypothesis".split()
RED = {**{mode: {1} for mode in MODES}, "pytest -x": {1, 2}, "limit": {1, 2}}  # pytest: 2, a file cannot be collected
TRIES = 3  # faults tried for each one wanted
OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # they would lead git to another repository
GIT = "git -c user.name=benchmark -c user.email= -c commit.gpgsign=false -c core.hooksPath=/dev/null".split()


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment asked for."""

    root: Path
    seeded: bool
    faults: int
    runs: int
    seed: int
    targets: Mapping[str, float]  # percent, by mode
    timeout: float
    quiet: bool
    pytest_args: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A function that can be broken: where its first statement stands, and what stands before it in that line."""

    path: str
    name: str
    line: int
    indent: str

    @property
    def title(self) -> str:
        return f"{self.path}:{self.line} {self.name}"

    def broken(self, text: str) -> str:
        lines = source_lines(text)
        ending = "\r\n" if lines[self.line - 1].endswith("\r\n") else "\n"
        lines.insert(self.line - 1, f'{self.indent}raise RuntimeError("{BROKEN}"){ending}')
        return "".join(lines)


@dataclass(frozen=True)
class Timing:
    """One run: seconds from its start to its end, of the clock and of all its processes, and its verdict."""

    seconds: float
    cpu: float
    code: int


@dataclass
class Trial:
    """One fault and what each mode needed to see it."""

    place: Place
    timings: dict[str, list[Timing]] = field(default_factory=lambda: {mode: [] for mode in MODES})
    target: str = ""  # the test that the limit runs
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    unseen: str | None = None  # why this fault does not count

    def typical(self, mode: str, kind: str = "seconds") -> float:
        from statistics import median

        return float(median(getattr(timing, kind) for timing in self.timings[mode]))


def places_in(path: str, text: str, covered: set[int]) -> list[Place]:
    """The functions of a source file whose first statement the suite covers and stands at the start of its line."""
    import ast

    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    lines = source_lines(text)
    for name, function in functions_of(tree):
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        if not body:
            continue
        first = min([body[0].lineno, *(node.lineno for node in getattr(body[0], "decorator_list", ()))])
        code = lines[first - 1]
        indent = code[: len(code) - len(code.lstrip())]
        if body[0].lineno in covered and len(indent) == body[0].col_offset:
            found.append(Place(path, name, first, indent))
    return found


def source_lines(text: str) -> list[str]:
    """The lines as Python counts them: a form feed ends none."""
    from io import StringIO

    return StringIO(text, newline="").readlines()


def functions_of(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods with their qualified names; not those inside a function."""
    import ast

    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}", child
        elif isinstance(child, ast.ClassDef):
            yield from functions_of(child, f"{prefix}{child.name}.")
        elif not isinstance(child, ast.expr):
            yield from functions_of(child, prefix)


def find_places(root: Path, line_map: Mapping[str, Any]) -> list[Place]:
    """Every function of the project that can be broken, tests and what belongs to them left out."""
    tests = {row["path"] for row in line_map["files"]}
    folders = {path.rpartition("/")[0] for path in tests} - {""}
    found: list[Place] = []
    for source in line_map["sources"]:
        path = source["path"]
        of_tests = path in tests or any(path.startswith(f"{folder}/") for folder in folders)
        if of_tests or path.startswith("../") or path.endswith("conftest.py"):
            continue
        covered = {line for row in source["covered_by"] for line in numbers(row["lines"])}
        found += places_in(path, read_source(root / path), covered)
    return sorted(found, key=lambda place: (place.path, place.line))


def numbers(ranges: str) -> Iterator[int]:
    """The numbers of 1-3,7."""
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def read_source(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def spread(values: Sequence[float]) -> dict[str, float]:
    from statistics import fmean, median

    kinds: dict[str, Callable[[Sequence[float]], float]]
    kinds = {"mean": fmean, "median": median, "min": min, "max": max}
    return {name: round(kind(values), 4) for name, kind in kinds.items()}


def improvement(slow: float, fast: float) -> float:
    """By how many percent `fast` is sooner than `slow`; negative if it is later."""
    return round(100 * (1 - fast / slow), 2)


def compare(trials: Sequence[Trial], kind: str) -> dict[str, Any]:
    """The modes over all faults: each fault counts with the median of its runs."""
    from statistics import geometric_mean, median

    typical = {mode: [trial.typical(mode, kind) for trial in trials] for mode in MODES}
    stats = {mode: spread(values) for mode, values in typical.items()}
    gains = {
        f"{mode} against {base}": {how: improvement(stats[base][how], stats[mode][how]) for how in ("mean", "median")}
        for base in ("off", "pytest -x")
        for mode in ("soft", "hard")
    }
    speedup = geometric_mean(trial.typical("pytest -x", kind) / trial.typical("hard", kind) for trial in trials)
    distance = median(trial.typical("hard", kind) / trial.typical("limit", kind) for trial in trials)
    ratios = {"pytest -x to hard, geometric mean": round(speedup, 3), "hard to limit, median": round(distance, 3)}
    return {"modes": stats, "improvement_percent": gains, "ratios": ratios}


def judge(overall: Mapping[str, Any], targets: Mapping[str, float]) -> dict[str, Any]:
    """Whether each mode's mean detection time is as many percent below that of `off` as its target asks."""
    measured = {mode: overall["improvement_percent"][f"{mode} against off"]["mean"] for mode in targets}
    return {
        mode: {"target_percent": target, "measured_percent": measured[mode], "met": measured[mode] >= target}
        for mode, target in targets.items()
    }


def row_of(trial: Trial) -> dict[str, Any]:
    timed = {
        mode: {kind: [round(getattr(timing, kind), 4) for timing in timings] for kind in ("seconds", "cpu")}
        for mode, timings in trial.timings.items()
    }
    first = {mode: summary["first_failure"] for mode, summary in trial.summaries.items()}
    return {"fault": trial.place.title, "limit_test": trial.target, "first_failure": first, "runs": timed}


def summary_body(settings: Settings, trials: Sequence[Trial], unseen: Sequence[Trial]) -> dict[str, Any]:
    """failfast.summary.json: the last hard run as its own summary told it, and the whole benchmark."""
    last = trials[-1].summaries["hard"]
    kept = ("mode", "first_failure", "elapsed_to_detection_s", "tests_run", "tests_collected", "order")
    overall = compare(trials, "seconds")
    benchmark = {
        "scenario": "seeded" if settings.seeded else "faults",
        "seed": settings.seed,
        "runs_per_mode": settings.runs,
        "pytest_args": list(settings.pytest_args),
        "machine": {"processors": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "targets": judge(overall, settings.targets),
        "overall": overall,
        "overall_cpu": compare(trials, "cpu"),
        "faults": [row_of(trial) for trial in trials],
        "unseen": [{"fault": trial.place.title, "why": trial.unseen} for trial in unseen],
    }
    return {key: last[key] for key in (*kept, "partial_metrics", "rollback")} | {"benchmark": benchmark}


def table(benchmark: Mapping[str, Any]) -> str:
    """The benchmark for people: seconds per fault and mode, then what they come to."""
    from statistics import median

    lines = [f"{'seconds until the verdict':<48}" + "".join(f"{mode:>10}" for mode in MODES)]
    for row in benchmark["faults"]:
        times = "".join(f"{median(row['runs'][mode]['seconds']):10.2f}" for mode in MODES)
        lines.append(f"{one_line(row['fault'], 47):<48}{times}")
    for how in ("mean", "median", "min", "max"):
        stats = benchmark["overall"]["modes"]
        lines.append(f"{how:<48}" + "".join(f"{stats[mode][how]:10.2f}" for mode in MODES))
    lines += [f"not seen by the suite: {row['fault']} ({row['why']})" for row in benchmark["unseen"]]
    for pair, gain in benchmark["overall"]["improvement_percent"].items():
        lines.append(f"{pair:<30}{gain['mean']:7.1f} % of the mean{gain['median']:8.1f} % of the median")
    for name, ratio in benchmark["overall"]["ratios"].items():
        lines.append(f"{name:<42}{ratio:7.2f}")
    for mode, row in benchmark["targets"].items():
        word = "met" if row["met"] else "not met"
        measured = f"{row['target_percent']:g} %, measured {row['measured_percent']:.1f} %"
        lines.append(f"target of {mode}: {measured}: {word}")
    load, processors = (benchmark["machine"][name] for name in ("load", "processors"))
    if load > 2 * (processors or 1):
        lines.append(f"busy machine: load {load} on {processors} processors; measure again later")
    return "\n".join(lines)


class Bench:
    """A throw-away copy of the project, and how its suite is run there."""

    def __init__(self, copy: Path, settings: Settings) -> None:
        self.copy, self.settings = copy, settings
        self.artifacts = copy / "artifacts"
        self._env = child_env(os.environ, settings, copy)

    def command(self, mode: str, target: str) -> list[str]:
        """The command line of a mode; `target` is the one test of the limit."""
        own = list(self.settings.pytest_args)
        if mode == "pytest -x":
            return [sys.executable, "-m", "pytest", "-x", *own]
        if mode == "limit":
            return [sys.executable, "-m", "pytest", *options_of(own, self.copy), target]
        script = [sys.executable, str(HERE / "collect_metrics.py"), "--root", str(self.copy)]
        script += ["--artifacts", str(self.artifacts), "--quiet", "--failfast-mode", mode]
        return [*script, "--", *own]

    def time(self, mode: str, target: str = "") -> Timing:
        """Run a mode to its end; its output is not shown."""
        import subprocess

        line = self.command(mode, target)
        with (self.copy.parent / "output.txt").open("wb") as output:
            began = time.perf_counter()
            child = subprocess.Popen(
                line,
                cwd=self.copy,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
            code, cpu = wait(child, self.settings.timeout)
        return Timing(time.perf_counter() - began, cpu, code)

    def said(self) -> str:
        """The last line of what the last run said, for an error message."""
        lines = (self.copy.parent / "output.txt").read_text("utf-8", "replace").strip().splitlines()
        return one_line(lines[-1]) if lines else "nothing"

    @contextmanager
    def fault(self, place: Place) -> Iterator[None]:
        """The copy with one function broken."""
        path = self.copy / place.path
        before = path.read_bytes()
        path.write_bytes(place.broken(before.decode()).encode())
        try:
            yield
        finally:
            path.write_bytes(before)


def wait(child: subprocess.Popen[bytes], timeout: float) -> tuple[int, float]:
    """The child's exit status (124 if it was stopped after `timeout`) and the CPU seconds of all that it ran."""
    from threading import Timer

    late: list[bool] = []

    def stop() -> None:
        late.append(True)
        os.killpg(child.pid, signal.SIGKILL)

    timer = Timer(timeout, stop)
    timer.daemon = True
    timer.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    finally:
        timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    return 124 if late else child.returncode, usage.ru_utime + usage.ru_stime


def options_of(arguments: Sequence[str], root: Path) -> list[str]:
    """pytest's arguments without the paths among them."""
    return [word for word in arguments if word.startswith("-") or not (root / word.partition("::")[0]).exists()]


def child_env(environ: Mapping[str, str], settings: Settings, copy: Path) -> dict[str, str]:
    """The environment of what runs in the copy: its code first on the import path, no mode, no foreign git."""
    dropped = (*OF_A_HOOK, "TPR_FAILFAST_MODE", "GITHUB_ACTIONS")
    env = {key: value for key, value in environ.items() if key not in dropped}
    known = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    moved = [str(copy / Path(path).relative_to(settings.root)) for path in known if is_below(path, settings.root)]
    others = [path for path in known if not is_below(path, settings.root)]
    src = [str(copy / "src")] if (copy / "src").is_dir() else []
    env["PYTHONPATH"] = os.pathsep.join([*src, str(copy), *moved, *others])
    return env | {"TPR_SEED": str(settings.seed), "TPR_FAILFAST_MODE": "off"}


def is_below(path: str, root: Path) -> bool:
    return Path(path).is_relative_to(root)


@contextmanager
def throw_away(root: Path) -> Iterator[Path]:
    """A copy of the project, changes and generated files included, as a git repository of one commit."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="tpr-benchmark-"))
    try:
        copy = folder / root.name
        shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        git(copy, "init", "--quiet")
        exclude = copy / ".git" / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text("".join(f"{name}\n" for name in LEFT_OUT), "utf-8")
        git(copy, "add", "--all")
        git(copy, "commit", "--quiet", "--allow-empty", "--message", "as it is")
        yield copy
    except shutil.Error as error:
        raise EvidenceError(f"{root}: cannot be copied: {one_line(error)}; make it readable") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def git(folder: Path, *words: str) -> str:
    import subprocess

    env = {key: value for key, value in os.environ.items() if key not in OF_A_HOOK}
    try:
        done = subprocess.run([*GIT, *words], cwd=folder, env=env, capture_output=True, check=False)
    except OSError as error:
        raise EvidenceError(f"git: cannot be run: {error.strerror}; install it: the order needs it") from None
    if done.returncode:
        said = one_line(done.stderr.decode(errors="replace"))
        raise EvidenceError(f"git {words[0]}: expected it to work in a copy, got {said}; mend it")
    return done.stdout.decode().strip()


def prepare(bench: Bench, run: Run, say: Say) -> list[Place]:
    """See that the copy has a baseline: the project's, if it still fits, else a capture. Returns what can break."""
    path = bench.artifacts / "test.map.json"
    known = None if bench.settings.seeded else fitting_map(run)
    found: list[Place] = []
    if known:
        bench.artifacts.mkdir(exist_ok=True)
        known["commit"] = git(bench.copy, "rev-parse", "HEAD")
        known["sha256"] = content_digest(known)
        path.write_text(json.dumps(known), "utf-8")
        found = find_places(bench.copy, known)
    if not found:
        say("capturing a baseline of the copy")
        timing = bench.time("off")
        if timing.code:
            what = f"expected the copy's suite to pass without a fault, got exit {timing.code}: {bench.said()}"
            raise EvidenceError(f"{bench.settings.root}: {what}; mend it, or leave tests out after --")
        found = find_places(bench.copy, read_artifact(path))
    if not found:
        what = "expected functions that the suite covers, got none; is it another copy of the code that is measured?"
        raise EvidenceError(
            f"{bench.settings.root}: {what} give coverage its source, or install the project editable"
        )
    return found


def fitting_map(run: Run) -> dict[str, Any] | None:
    """The project's own map, if it was made from a passing suite and the very files that are there now.

    Not if pytest's rootdir is above the project: its test files are named from there, and the copy has no such place.
    """
    try:
        known = read_artifact(run.artifacts / "test.map.json")
    except EvidenceError:
        return None
    commit, dirty = run.commit
    there = [known.get(key) for key in ("commit", "dirty", "failed", "rootdir")]
    return known if commit and not dirty and there == [commit, False, [], "."] else None


def try_fault(bench: Bench, place: Place) -> Trial:
    """Time every mode on one fault, in turn and in another sequence each round; the full run must see it first."""
    trial, durations = Trial(place), bench.artifacts / "durations.json"
    with bench.fault(place):
        for number in range(bench.settings.runs):
            for mode in turn(number, bench.settings.seeded):
                durations.unlink(missing_ok=True)
                timing = bench.time(mode, trial.target)
                trial.timings[mode].append(timing)
                if timing.code not in RED[mode]:
                    trial.unseen = f"{mode} ended with {timing.code}: {bench.said()}"
                    if mode in ("soft", "hard"):
                        raise EvidenceError(f"{place.title}: off saw the fault, {trial.unseen}; report this")
                    return trial
                if mode == "off" and not number:
                    trial.target = fastest_red(durations)
                if mode in ("soft", "hard"):
                    trial.summaries[mode] = read_artifact(bench.artifacts / "failfast.summary.json")
                    trial.target = trial.target or trial.summaries[mode]["first_failure"]["id"]
        return trial


def turn(number: int, seeded: bool) -> tuple[str, ...]:
    """The modes of a round: off first in the first, since it tells what the limit is to run; then rotated.

    The seeded scenario is about the modes and has no time to lose: after its first round it runs only these.
    """
    modes = MODES[:3] if seeded and number else MODES
    shift = number % len(modes)
    return modes[shift:] + modes[:shift]


def fastest_red(durations: Path) -> str:
    """The failing test that took least time; empty if no test failed, because a file could not be collected."""
    try:
        tests = read_artifact(durations)["tests"]
    except EvidenceError:
        return ""
    red = [(row["seconds"], row["id"]) for row in tests if row["outcome"] in ("failed", "error")]
    return str(min(red)[1]) if red else ""


def run_trials(bench: Bench, places: Sequence[Place], say: Say) -> tuple[list[Trial], list[Trial], str]:
    """As many faults as asked for that the suite sees, those that it did not, and why there are fewer."""
    seen: list[Trial] = []
    unseen: list[Trial] = []
    wanted = min(bench.settings.faults, len(places))
    for place in places[: wanted * TRIES]:
        if len(seen) == wanted:
            break
        try:
            trial = try_fault(bench, place)
        except KeyboardInterrupt:
            if not seen:
                raise
            return seen, unseen, f"interrupted after {len(seen)} of {wanted} faults"
        (unseen if trial.unseen else seen).append(trial)
        times = "  ".join(f"{mode} {trial.typical(mode):.2f} s" for mode in MODES if trial.timings[mode])
        say(f"{len(seen)} of {wanted}: {place.title}: {trial.unseen or times}")
    if not seen:
        raise EvidenceError(
            f"no fault was seen by the suite; the last one: {unseen[-1].place.title}: {unseen[-1].unseen}"
        )
    return seen, unseen, ""


def choose(places: Sequence[Place], settings: Settings) -> list[Place]:
    """The faults in the order in which they are tried: a pure function of the seed and the places."""
    if settings.seeded:
        return [place for place in places if (place.path, place.name) == SEEDED]
    import random

    return random.Random(settings.seed).sample(list(places), len(places))


def measure(run: Run, settings: Settings) -> int:
    """Copy, break, time, judge, write, show: the whole benchmark; its exit code."""
    say = progress if sys.stderr.isatty() and not settings.quiet else silent
    for mode in settings.targets:
        run.log.info("failfast_mode_applied", mode=mode, benchmark=settings.root.name)
    with throw_away(settings.root) as copy:
        bench = Bench(copy, settings)
        chosen = choose(prepare(bench, run, say), settings)
        seen, unseen, stopped = run_trials(bench, chosen, say)
    body = summary_body(settings, seen, unseen)
    run.write("failfast.summary.json", SUMMARY_VERSION, body)
    log_stops(run, seen[-1])
    if not settings.quiet:
        show(table(body["benchmark"]))
    if stopped:
        return complain(PROG, f"{stopped}; they are written")
    return 0 if all(row["met"] for row in body["benchmark"]["targets"].values()) else 1


def log_stops(run: Run, trial: Trial) -> None:
    """What the last fault's runs logged in the copy, once per mode; the copy's own log goes with it."""
    for mode, summary in trial.summaries.items():
        facts = {
            key: summary[key] for key in ("first_failure", "elapsed_to_detection_s", "tests_run", "tests_collected")
        }
        run.log.warning("early_exit_detected", mode=mode, benchmark=trial.place.title, **facts)
        if summary["rollback"]:
            run.log.warning("risk_trigger", drill=True, trigger="hard_failfast_exit", **summary["rollback"])


def silent(_text: str) -> None:
    """Say nothing."""


def progress(text: str) -> None:
    print(f"{PROG}: {one_line(text)}", file=sys.stderr, flush=True)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 100, got {text!r}")
    return value


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def parse(argv: Sequence[str] | None) -> tuple[Settings, Path, Path]:
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    env = os.environ
    parser = Arguments(__doc__ or "", "benchmark_failfast")
    add = parser.add_argument
    add("--scenario", choices=("faults", "seeded"), default="faults", help="what to break (default: faults)")
    add("--faults", type=positive, default=5, metavar="K", help="how many functions to break (default 5)")
    add("--runs", type=positive, default=3, metavar="N", help="how many runs per fault and mode (default 3)")
    add("--seed", type=whole, default=env.get("TPR_SEED", "12345"), help="chooses the faults (default: TPR_SEED)")
    add("--timeout", type=positive, default=900, metavar="SECONDS", help="give up on a run after this long")
    soft = env.get("TPR_MAX_FAIL_FAST_IMPROVEMENT_TARGET", "40")
    hard = env.get("TPR_HARD_FAIL_FAST_IMPROVEMENT_TARGET", "60")
    add("--soft-target", type=percent, default=soft, metavar="PERCENT", help="improvement asked of soft (40)")
    add("--hard-target", type=percent, default=hard, metavar="PERCENT", help="improvement asked of hard (60)")
    args = parser.parse_args(words[:cut])
    seeded = args.scenario == "seeded"
    settings = Settings(
        root=SAMPLE if seeded else args.root,
        seeded=seeded,
        faults=args.faults,
        runs=args.runs,
        seed=args.seed,
        targets={"soft": args.soft_target, "hard": args.hard_target},
        timeout=args.timeout,
        quiet=args.quiet,
        pytest_args=tuple(words[cut + 1 :]),
    )
    return settings, args.root, args.artifacts or args.root / "artifacts"


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the benchmark as Ctrl-C does, so that its copy is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    settings, root, artifacts = parse(argv)
    try:
        with terminable():
            return measure(Run("benchmark_failfast", root, artifacts), settings)
    except EvidenceError as error:
        return complain(PROG, str(error))
    except OSError as error:
        return complain(PROG, f"{error.filename or 'the temporary folder'}: {error.strerror}; make room for a copy")
    except KeyboardInterrupt:
        return complain(PROG, "interrupted; nothing was written")


if __name__ == "__main__":
    raise SystemExit(main())
