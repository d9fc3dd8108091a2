"""Does the whole chain hold, from a bare machine? Runs the scripts in order and stops where one says no.

    python3.11 scripts/tests/pipeline.py                            the chain
    python3.11 scripts/tests/pipeline.py baseline                   one stage of it
    python3.11 scripts/tests/pipeline.py test -- -k lock            this project's own tests
    python3.11 scripts/tests/pipeline.py --root ../click -- tests   the chain on another project

Makes .venv from requirements.lock if it is missing or no longer matches; a project with a [build-system] in its
pyproject.toml is installed into it, editable, with the build tools that the lock has. Gives all stages one
TPR_RUN_ID and, where they are unset, TPR_SEED and TPR_FAILFAST_MODE. What follows -- goes to pytest untouched.
Needs only Python 3.11 or newer. SIGINT and SIGTERM are passed on to the stage that runs.

Reads:  requirements.lock, pyproject.toml.
Writes: .venv; through its stages the artifacts folder; if .venv cannot be made, environment_validation_fail into
        the event log there.
Exits:  0 every stage said yes; 1 one said no; 2 one could not tell, or was stopped. The worst one counts.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import Arguments, EvidenceError, Run, complain, show, write_atomic

try:
    import fcntl
except ImportError:  # Windows: one pipeline at a time
    fcntl = None  # type: ignore[assignment]
SHARED, ALONE = (fcntl.LOCK_SH, fcntl.LOCK_EX) if fcntl else (0, 0)

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Say = Callable[[str], None]

PROG = "pipeline.py"
DEFAULTS = {"TPR_SEED": "12345", "TPR_FAILFAST_MODE": "off"}
VERDICTS = {0: "yes", 1: "no", 2: "could not tell"}
STAMP = "pipeline.stamp"  # in .venv, what it was made from: unfinished at first, the truth last
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
FILL = (  # what the new interpreter runs; the lock's path is added to the last
    ("-m", "ensurepip", "--default-pip"),
    (*PIP, "--require-hashes", "-r"),
)
INSTALL = (
    *PIP,
    "--no-deps",
    "--no-build-isolation",
    "--editable",
)  # built with what the lock has, so nothing unhashed


class Stage:
    """One row of the chain: the question it answers, and its steps, each a script (or pytest itself) with its flags.

    chained: part of the chain, not only run by name; always: runs even after a stage that did not say yes;
    tests: runs tests, so its last step takes pytest's arguments; folder: what its last step is told to run, where a
    project has it; abroad: its last step's flags for a project other than the platform's.
    """

    def __init__(
        self,
        name: str,
        question: str,
        *steps: Sequence[str],
        chained: bool = True,
        always: bool = False,
        tests: bool = False,
        folder: str = "",
        abroad: Sequence[str] = (),
    ) -> None:
        self.name, self.question, self.steps = name, question, steps
        self.chained, self.always, self.tests = chained, always, tests
        self.folder, self.abroad = folder, abroad
        self.is_pytest = steps[-1][0] == "pytest"


STAGES = (
    Stage(
        "environment",
        "is this the recorded environment?",
        ["validate_env.py", "--drill"],
        ["validate_env.py"],
        abroad=["--allow-unrecorded"],
    ),
    Stage("baseline", "what does the suite look like today?", ["collect_metrics.py"], tests=True),
    Stage("failfast", "how much sooner does a failure show?", ["benchmark_failfast.py", "--scenario", "seeded"]),
    Stage(
        "properties",
        "do the invariants hold, 30 times, identically?",
        ["aggregate_properties.py", "--jobs", "2"],
        folder="tests/property",
        abroad=["--allow-none"],
    ),
    Stage("gates", "may this change go in?", ["enforce_gates.py", "--drill"], ["enforce_gates.py"]),
    Stage("checkpoint", "is the foundation proven?", ["emit_checkpoint.py"]),
    Stage("report", "what does it all look like?", ["render_report.py"], always=True),
    Stage("test", "do this project's own tests pass?", ["pytest"], chained=False, tests=True),
)


class Order:
    """What is to be done: the stages, on which project, with which flags, pytest arguments and interpreter."""

    def __init__(
        self,
        stages: Sequence[Stage],
        root: Path,
        artifacts: Path,
        *,
        quiet: bool = False,
        extra: Sequence[str] = (),
        python: Path | None = None,
    ) -> None:
        self.stages, self.root, self.artifacts = stages, root, artifacts
        self.quiet, self.extra, self.python = quiet, extra, python  # python None: the platform's own, in .venv


class Result:
    """How a stage ended: 0, 1 or 2, or None if it did not run."""

    def __init__(self, stage: str, code: int | None, seconds: float = 0.0) -> None:
        self.stage, self.code, self.seconds = stage, code, seconds
        self.verdict = "not run" if code is None else VERDICTS[code]


class StoppedError(Exception):
    """SIGINT or SIGTERM came; by now the child that ran has ended."""


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The pipeline's own arguments, and pytest's after the first --."""
    own = list(argv)
    place = own.index("--") if "--" in own else len(own)
    return own[:place], own[place + 1 :]


def choose(name: str | None, stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if (stage.chained if name is None else stage.name == name)]


def commands(stage: Stage, python: Path, order: Order) -> list[list[str]]:
    """The command lines of a stage: a script gets the common flags, pytest its own arguments only."""
    extra = list(order.extra if stage.tests else ())
    if stage.folder and (order.root / stage.folder).is_dir():
        extra = [stage.folder]
    if stage.is_pytest:
        return [[str(python), "-m", "pytest", *extra]]
    scripts = scripts_folder()
    common = ["--root", str(order.root), "--artifacts", str(order.artifacts), *["--quiet"] * order.quiet]
    lines = [[str(python), str(scripts / script), *common, *flags] for script, *flags in stage.steps]
    lines[-1] += [] if order.root == scripts.parents[1] else stage.abroad
    lines[-1] += ["--", *extra] if extra else []
    return lines


def scripts_folder() -> Path:
    from pathlib import Path

    return Path(__file__).resolve().parent


def chain_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The stages' environment: the caller's, with one run id and the defaults of what is unset."""
    run_id = environ.get("TPR_RUN_ID") or f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"
    return {**DEFAULTS, **environ, "TPR_RUN_ID": run_id}


def translate(code: int) -> int:
    """A child's exit status as 0, 1 or 2: a signal, a crash or pytest's further codes could not tell."""
    return code if code in VERDICTS else 2


def chain(stages: Sequence[Stage], run: Callable[[Stage], Result]) -> list[Result]:
    """Run the stages in order; after one that did not say yes, only those that always run."""
    results: list[Result] = []
    for stage in stages:
        holds = all(result.code == 0 for result in results)
        results.append(run(stage) if holds or stage.always else Result(stage.name, None))
    return results


def worst(results: Sequence[Result]) -> int:
    return max(result.code for result in results if result.code is not None)


def table(results: Sequence[Result]) -> str:
    rows = [("stage", "verdict", "seconds")]
    rows += [(r.stage, r.verdict, "" if r.code is None else f"{r.seconds:.1f}") for r in results]
    return "\n".join(f"{stage:12}  {verdict:14}  {seconds:>7}".rstrip() for stage, verdict, seconds in rows)


class Relay:
    """Runs one child at a time. A signal goes to the child, so that it can save what it has; then StoppedError.

    A terminal sends Ctrl-C to every process of its foreground group: there the child stays in the group and has
    the signal already. Elsewhere the child has a group of its own and gets it from here. Never twice: a second
    one tells pytest to drop everything.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._signal = 0
        self._foreground = is_foreground()

    def pass_on(self, number: int, _frame: object = None) -> None:
        self._signal = number
        if self._child and not (self._foreground and number == signal.SIGINT):
            self._child.send_signal(number)

    def check(self) -> None:
        if self._signal:
            raise StoppedError(f"stopped by {signal.Signals(self._signal).name}")

    def run(
        self, line: Sequence[str], environ: Mapping[str, str], cwd: Path | None, output: int | None = None
    ) -> int:
        """The child's exit status; its output goes to the descriptor `output`, or where ours goes."""
        import subprocess

        self.check()
        group = None if self._foreground or os.name == "nt" else 0
        try:
            child = subprocess.Popen(line, env=environ, cwd=cwd, stdout=output, stderr=output, process_group=group)
        except OSError as error:
            raise EvidenceError(f"{line[0]}: cannot be run: {error.strerror}; pass another --python") from None
        self._child = child
        if self._signal:  # it came while the child was being started
            self.pass_on(self._signal)
        code = child.wait()
        self._child = None
        self.check()
        return code


def is_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to this process and its children."""
    with suppress(OSError, ValueError, AttributeError):  # no terminal, no stdin, Windows
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


@contextmanager
def relaying() -> Iterator[Relay]:
    relay = Relay()
    before = {number: signal.signal(number, relay.pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield relay
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def environment(platform: Path, relay: Relay, say: Say) -> Iterator[Path]:
    """The interpreter of a .venv that matches the lock; no other pipeline makes it anew while this one uses it."""
    venv, lock = platform / ".venv", platform / "requirements.lock"
    stamp = stamp_of(lock, venv)
    place = os.open(platform, os.O_RDONLY) if fcntl else None
    try:
        hold(place, SHARED, relay, say)
        while not is_ready(venv, stamp):
            hold(place, ALONE, relay, say)
            if not is_ready(venv, stamp):  # another may have made it meanwhile
                make(venv, lock, stamp, relay, say)
            hold(place, SHARED, relay, say)
        yield venv_python(venv)
    finally:
        if place is not None:
            os.close(place)


def stamp_of(lock: Path, venv: Path) -> str:
    """What an environment is made from: lock, project, interpreter, and its place (its scripts name it)."""
    from hashlib import sha256

    try:
        digests = [sha256(lock.read_bytes()).hexdigest(), sha256(build_file(lock.parent)).hexdigest()]
    except OSError as error:
        raise EvidenceError(f"{lock}: cannot be read: {error.strerror}; restore it, or pass --python") from None
    return "\n".join((*digests, sys.version, sys.base_prefix, str(venv), ""))


def build_file(platform: Path) -> bytes:
    """The pyproject.toml of a project that is to be installed; empty if this is none."""
    with suppress(OSError):
        data = (platform / "pyproject.toml").read_bytes()
        return data if b"[build-system]" in data else b""
    return b""


def is_ready(venv: Path, stamp: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return venv_python(venv).exists() and (venv / STAMP).read_text("utf-8") == stamp
    return False


def venv_python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def hold(place: int | None, mode: int, relay: Relay, say: Say) -> None:
    """Wait until the open folder `place` is locked, SHARED or ALONE; a signal ends the wait."""
    told = False
    while place is not None:
        relay.check()
        try:
            fcntl.flock(place, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                say("waiting for another pipeline")
            told = True
            time.sleep(0.1)
            continue
        except OSError:
            pass  # a file system without locks: one pipeline at a time
        break


def make(venv: Path, lock: Path, stamp: str, relay: Relay, say: Say) -> None:
    """Make `venv` from `lock`. Before its stamp is written, last, nobody trusts it."""
    from venv import EnvBuilder

    say(f"making {venv} from {lock.name}")
    started = time.monotonic()
    try:
        clear(venv)
        EnvBuilder(symlinks=os.name != "nt").create(venv)
        fill(venv, lock, relay)
        write_atomic(venv / STAMP, stamp.encode())
    except OSError as error:
        where = error.filename or venv
        raise EvidenceError(f"{where}: cannot be written: {error.strerror}; make room, or pass --python") from None
    say(f"made {venv} in {time.monotonic() - started:.1f} s")


def clear(venv: Path) -> None:
    """Leave an empty folder with an unfinished stamp; what this script did not make is not touched."""
    from shutil import rmtree

    if venv.is_dir() and any(venv.iterdir()) and not (venv / STAMP).exists():
        remedy = f"move it away, or use it as it is with --python {venv_python(venv)}"
        raise EvidenceError(f"{venv}: expected an environment made by {PROG}, got another; {remedy}")
    venv.mkdir(exist_ok=True)
    write_atomic(venv / STAMP, b"unfinished\n")
    for entry in venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            rmtree(entry)
        elif entry.name != STAMP:
            entry.unlink()


def fill(venv: Path, lock: Path, relay: Relay) -> None:
    """Run FILL; its output is kept in the environment, and quoted where it says why it failed."""
    log = venv / "pipeline.log"
    steps = [[*step, str(lock)] if step[-1] == "-r" else step for step in FILL]
    steps += [[*INSTALL, str(lock.parent)]] if build_file(lock.parent) else []
    for step in steps:
        line = [str(venv_python(venv)), *step]
        with log.open("wb") as stream:
            code = relay.run(line, os.environ, venv, stream.fileno())
        if code:
            said = log.read_text("utf-8", "replace").strip().splitlines() or [f"exit status {code}"]
            reason = next((text for text in said if text.startswith("ERROR")), said[-1]).strip()
            what = f"expected {step[1]} to fill it from {lock.name}, got {reason}"
            raise EvidenceError(f"{venv}: {what}; read {log}, mend it and run again")


def carry_out(order: Order, relay: Relay) -> list[Result]:
    """Run the order's stages, in an environment made first if need be."""
    say = silent if order.quiet else progress
    environ = chain_environ(os.environ)

    def run(stage: Stage) -> Result:
        say(f"{stage.name}: {stage.question}")
        started = time.monotonic()
        code = 0
        for line in commands(stage, python, order):
            code = code or translate(relay.run(line, environ, order.root if stage.is_pytest else None))
        result = Result(stage.name, code, time.monotonic() - started)
        say(f"{stage.name}: {result.verdict}, after {result.seconds:.1f} s")
        return result

    with ExitStack() as stack:
        try:
            python = order.python or stack.enter_context(environment(scripts_folder().parents[1], relay, say))
        except (EvidenceError, StoppedError) as error:
            log_unmade(order, str(error))
            raise
        return chain(order.stages, run)


def log_unmade(order: Order, reason: str) -> None:
    """No stage ran, so none has said so in the log."""
    log = Run("pipeline", order.root, order.artifacts).log
    log.info("environment_validation_start")
    expected, remedy = "an environment made from requirements.lock", "mend it and run again"
    row = {"code": "package_missing", "expected": expected, "actual": reason, "remedy": remedy}
    log.error("environment_validation_fail", reasons=[row["code"]], details=[row])


def silent(_text: str) -> None:
    """Say nothing."""


def progress(text: str) -> None:
    print(f"{PROG}: {text}", file=sys.stderr, flush=True)


def interpreter(text: str) -> Path:
    """argparse type: an interpreter by path or name, absolute; a link stays a link, as environments need it."""
    from argparse import ArgumentTypeError
    from pathlib import Path
    from shutil import which

    found = which(text)
    if found is None:
        raise ArgumentTypeError(f"{text}: expected an interpreter, got nothing that can be run")
    return Path(found).absolute()


def parser() -> Arguments:
    arguments = Arguments(__doc__ or "", "pipeline")
    names = [stage.name for stage in STAGES]
    rows = "; ".join(f"{stage.name}: {stage.question}" for stage in STAGES)
    arguments.add_argument("stage", nargs="?", choices=names, metavar="STAGE", help=f"one stage ({rows})")
    arguments.add_argument("--python", type=interpreter, help="use this interpreter as it is, make no .venv")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    own, extra = split(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(own)
    stages = choose(args.stage, STAGES)
    if extra and not any(stage.tests for stage in stages):
        return complain(PROG, f"expected nothing after --, as {args.stage} runs no tests; see {PROG} --help")
    artifacts = args.artifacts or args.root / "artifacts"
    order = Order(stages, args.root, artifacts, quiet=args.quiet, extra=extra, python=args.python)
    try:
        with relaying() as relay:
            results = carry_out(order, relay)
        if args.stage is None and not args.quiet:
            show(table(results))
    except (EvidenceError, StoppedError) as error:
        return complain(PROG, str(error))
    return worst(results)


if __name__ == "__main__":
    raise SystemExit(main())
