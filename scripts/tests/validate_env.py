"""Is this the recorded environment? Refuses a drifted one before a single test runs, with every reason at once.

    python scripts/tests/validate_env.py                  compare with what is recorded
    python scripts/tests/validate_env.py --record         record this environment as the expected one
    python scripts/tests/validate_env.py --drill          prove that each kind of drift is refused

Reads:  .python-version, requirements.lock.hash and the lock that it names (requirements.lock, poetry.lock, uv.lock,
        pylock.toml, or else the installed set), the metadata of the installed distributions, TPR_SEED,
        TPR_FAILFAST_MODE, TPR_REQUIRED_ENV, TPR_ENV_VALIDATE (skip leaves out everything, and the log says so).
Writes: env.signature.json, or env.validation.failure.json; with --record the two files of expectations.
Exits:  0 it is; 1 it is not, or a drill was not refused; 2 it could not be told.
"""

from __future__ import annotations

import os
import re
import sys
import time

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import (
    Arguments,
    EvidenceError,
    Run,
    complain,
    content_digest,
    one_line,
    read_artifact,
    redact,
    redact_text,
    secret_values,
    sha256,
    show,
    write_atomic,
)

TYPE_CHECKING = False  # what --help does not need is imported where it is used, and so are typing and pathlib
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    Row = dict[str, str]  # a reason: code, expected, actual, remedy
    Packages = Mapping[str, tuple[str, str]]  # canonical name: version, metadata folder
    Changes = Mapping[str, str | None]  # what a drill changes: content or value by name, None for gone

PROG = "validate_env.py"
SIGNATURE, FAILURE, VERSION = "env.signature.json", "env.validation.failure.json", "1.0"  # 1.0 first
HASH_FILE, PYTHON_FILE = "requirements.lock.hash", ".python-version"
LOCKS = ("requirements.lock", "poetry.lock", "uv.lock", "pylock.toml")  # the recorded one counts, else the first
INSTALLED_SET = "installed-set"  # stands for the lock where a project has none
TOOLS = ("pytest", "hypothesis", "coverage")
GUARDED = ("pytest", "hypothesis", "coverage", "pyyaml", "defusedxml")  # their files are hashed
MODES = ("off", "soft", "hard")
SWITCH = ("enable", "skip")
ANNOTATIONS = 10  # a workflow step shows no more
DRILL_LIMIT_S, DRILL_ATTEMPTS = 1.0, 3  # a busy machine may pause once or twice: that does not open a gate
REQUIREMENT = (
    r"([A-Za-z0-9][\w.-]*+)\s*+(?:\[[^]]*\]\s*+)?+(?:@.*|((?:(?:===?|[~!<>]=|[<>])\s*+[\w.*+!-]++\s*+,?\s*+)*+))"
)
HERE = "{}.{}".format(*sys.version_info[:2])


class LockError(ValueError):
    """A lock that cannot be read."""


class Lock:
    """The lock that counts: its name, its SHA-256, what it allows and what it requires.

    `allowed`: by distribution, the version specifiers of which one must hold (none: any version). `required`: the
    distributions that must be installed; any other may belong to an extra or to another platform.
    """

    def __init__(self, name: str, digest: str, allowed: dict[str, set[str]], required: set[str]) -> None:
        self.name, self.digest, self.allowed, self.required = name, digest, allowed, required


class Facts:
    """What is compared: what the project has recorded, and what is here."""

    def __init__(self, args: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.packages = installed(sys.path)
        self.wanted_python = recorded_text(args.root / PYTHON_FILE)
        self.known = recorded_hash(recorded_text(args.root / HASH_FILE))
        self.recorded = self.known is not None  # a .python-version alone is often there for other tools
        self.free = args.allow_unrecorded and not self.recorded
        self.lock, self.problem = None, ""
        try:
            self.lock = read_lock(args.root, self.packages, self.known[1] if self.known else "")
        except LockError as error:
            self.problem = str(error)
            self.lock = installed_set(self.packages) if self.free else None
        self.changed = {name: modified_files(self.packages[name][1]) for name in GUARDED if name in self.packages}
        named = re.split(r"[,\s]+", environ.get("TPR_REQUIRED_ENV", ""))
        self.required = sorted({"TPR_SEED", "TPR_FAILFAST_MODE", *args.require_env, *named} - {""})


def reason(code: str, expected: str, actual: str, remedy: str) -> Row:
    """One way in which this is not the recorded environment."""
    return {"code": code, "expected": expected, "actual": actual, "remedy": remedy}


def reasons_of(facts: Facts) -> list[Row]:
    """Every reason to refuse; none if this is the recorded environment."""
    found = [] if facts.free and not minors_of(facts.wanted_python) else [*python_reasons(facts.wanted_python)]
    if facts.lock is None:
        found.append(reason("lock_unreadable", "a lock that can be read", facts.problem, "lock the project anew"))
    elif not facts.free:  # a lock that came with somebody's project was never this environment's
        found += [*lock_reasons(facts.lock, facts.known), *package_reasons(facts.lock, facts.packages)]
    found += modified_reasons(facts.changed, facts.packages)
    wanted = [tool for tool in TOOLS if not (tool in facts.packages or (facts.free and tool == "hypothesis"))]
    found += [reason("tool_missing", tool, "not installed", f"python -m pip install {tool}") for tool in wanted]
    found += variable_reasons(facts.environ, facts.required)
    return found


def python_reasons(text: str | None) -> Iterator[Row]:
    """The interpreter's minor version against .python-version, which may name several."""
    minors = minors_of(text)
    if text is not None and HERE not in minors:
        expected = "Python " + " or ".join(minors) if minors else f"a version in {PYTHON_FILE}"
        remedy = f"run it with python{minors[0]}" if minors else f"python scripts/tests/{PROG} --record"
        yield reason("python_minor_mismatch", expected, f"Python {HERE}", remedy)


def minors_of(text: str | None) -> list[str]:
    """The minor versions that a .python-version names; an environment's name, which pyenv takes, is none."""
    lines = [line.partition("#")[0].strip() for line in (text or "").splitlines()]
    return sorted({match[1] for line in lines if (match := re.search(r"(\d+\.\d+)", line))})


def lock_reasons(lock: Lock, known: tuple[str, str] | None) -> Iterator[Row]:
    record = f"python scripts/tests/{PROG} --record"
    if known is None or not known[0]:
        actual = f"{HASH_FILE}: {known[1] or 'empty'}" if known else f"no {HASH_FILE}"
        yield reason("lock_hash_missing", f"the recorded SHA-256 of {lock.name}", actual, record)
    elif known[1] != lock.name:
        yield reason("lock_missing", known[1], f"{lock.name} instead", f"git checkout {known[1]}, or {record}")
    elif known[0] != lock.digest:
        restore = "pip uninstall what is new" if lock.name == INSTALLED_SET else f"git checkout {lock.name}"
        yield reason("lock_hash_mismatch", f"{lock.name} {known[0]}", lock.digest, f"{restore}, or {record}")


def package_reasons(lock: Lock, packages: Packages) -> Iterator[Row]:
    remedy = {
        "requirements.lock": "python -m pip install --require-hashes -r requirements.lock",
        "poetry.lock": "poetry sync",
        "uv.lock": "uv sync --frozen",
    }.get(lock.name, f"install from {lock.name}")
    for name, allowed in sorted(lock.allowed.items()):
        expected = f"{name} {' or '.join(sorted(allowed))}".strip()
        if name not in packages:
            if name in lock.required:
                yield reason("package_missing", expected, "not installed", remedy)
        elif not holds(packages[name][0], allowed):
            yield reason("package_drift", expected, packages[name][0], remedy)


def holds(version: str, allowed: Iterable[str]) -> bool:
    """Whether one of the version specifiers holds; the usual case needs no package to tell."""
    specifiers = set(allowed)
    if not specifiers or f"=={version}" in specifiers:
        return True
    try:
        from packaging.specifiers import SpecifierSet

        return any(SpecifierSet(text).contains(version, prereleases=True) for text in specifiers)
    except (ImportError, ValueError):
        return False


def modified_reasons(changed: Mapping[str, Sequence[str]], packages: Packages) -> Iterator[Row]:
    for name, files in changed.items():
        if files:
            actual = f"changed: {', '.join(files[:3])}" + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            again = f"python -m pip install --force-reinstall --no-deps {name}=={packages[name][0]}"
            yield reason("package_modified", f"the files of {name} as its RECORD says", actual, again)


def variable_reasons(environ: Mapping[str, str], required: Iterable[str]) -> Iterator[Row]:
    for name in required:
        if not environ.get(name):
            actual = "empty" if name in environ else "not set"
            yield reason("env_missing", f"{name} set", actual, f"export {name}=...")
    seed, mode = environ.get("TPR_SEED"), environ.get("TPR_FAILFAST_MODE")
    if seed and not (seed.isascii() and seed.isdecimal()):
        yield reason("seed_not_numeric", "TPR_SEED a whole number", one_line(seed, 40), "export TPR_SEED=12345")
    if mode and mode not in MODES:
        expected = f"TPR_FAILFAST_MODE {', '.join(MODES[:-1])} or {MODES[-1]}"
        yield reason("failfast_mode_invalid", expected, one_line(mode, 40), "export TPR_FAILFAST_MODE=off")


def requirement_pins(text: str) -> tuple[dict[str, set[str]], set[str]]:
    """What a requirements file allows and requires here; options, URLs and paths name no version and are left out."""
    allowed: dict[str, set[str]] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        requirement, _, marker = re.sub(r"(?:^|\s)(?:#|--).*", "", line).strip().partition(";")
        if not requirement or re.match(r"[-./]|[^\s@]+(?:://|\.whl$|\.zip$|\.gz$)", requirement):
            continue
        match = re.fullmatch(REQUIREMENT, requirement)
        if not match:
            raise LockError(f"expected name==version, got {one_line(requirement, 80)}")
        if applies(marker):
            specifier = re.sub(r"\s", "", match[2] or "")
            allowed.setdefault(canonical_name(match[1]), set()).update({specifier} if specifier else ())
    return allowed, set(allowed)


def applies(marker: object, **variables: Any) -> bool:
    """Whether an environment marker holds here; the plain ones about the platform need no package to tell."""
    text = str(marker or "").strip()
    plain = re.fullmatch(r"""(sys_platform|os_name)\s*(==|!=)\s*(['"])([^'"]*)\3""", text)
    if not text:
        return True
    if plain:
        return ({"sys_platform": sys.platform, "os_name": os.name}[plain[1]] == plain[4]) is (plain[2] == "==")
    try:
        from packaging.markers import Marker, UndefinedEnvironmentName

        return Marker(text).evaluate(**variables)
    except ImportError:
        raise LockError(f"marker {one_line(text, 80)}: needs packaging, which comes with pytest") from None
    except (ValueError, UndefinedEnvironmentName) as error:
        raise LockError(f"marker {one_line(text, 80)}: {one_line(error, 80)}") from None


def toml_pins(text: str, name: str) -> tuple[dict[str, set[str]], set[str]]:
    """What poetry.lock, uv.lock or pylock.toml allows here, and what it requires, which only pylock.toml can tell."""
    import tomllib

    document = tomllib.loads(text)
    packages = document.get("packages" if name == "pylock.toml" else "package", [])
    if not isinstance(packages, list) or not all(isinstance(row, dict) for row in packages):
        raise LockError("expected a list of packages")
    allowed: dict[str, set[str]] = {}
    required: set[str] = set()
    for package in packages:
        if not isinstance(package.get("name"), str):
            raise LockError("expected every package to have a name")
        needed = is_needed(package, document) if name == "pylock.toml" else None
        if needed is not False and not is_local(package):
            distribution, version = canonical_name(package["name"]), package.get("version")
            allowed.setdefault(distribution, set()).update({f"=={version}"} if isinstance(version, str) else ())
            required.update({distribution} if needed else ())
    return allowed, required


def is_local(package: Mapping[str, Any]) -> bool:
    """Whether a locked package is a folder, such as the project itself: its version is whatever it is."""
    source = package.get("source")
    told = {*source, source.get("type")} if isinstance(source, dict) else {*package}
    return not told.isdisjoint(("editable", "virtual", "directory", "path"))


def is_needed(package: Mapping[str, Any], document: Mapping[str, Any]) -> bool | None:
    """Whether a package of a pylock.toml must be installed here; None if its marker cannot be judged."""
    try:
        chosen = {"dependency_groups": set(document.get("default-groups", []))}
        return applies(package.get("marker"), environment=chosen, context="lock_file")
    except (TypeError, LockError):  # an older packaging knows nothing of lock files
        return None


def read_lock(root: Path, packages: Packages, recorded: str = "") -> Lock:
    """The recorded lock, else the first there, else the installed set; LockError names what is wrong."""
    for name in sorted(LOCKS, key=lambda name: name != recorded):
        try:
            data = (root / name).read_bytes()
            text = data.decode("utf-8-sig")
            allowed, required = requirement_pins(text) if name == LOCKS[0] else toml_pins(text, name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LockError(f"{name}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise LockError(f"{name}: {one_line(error, 200)}") from None
        return Lock(name, sha256(data), allowed, required)
    return installed_set(packages)


def installed_set(packages: Packages) -> Lock:
    return Lock(INSTALLED_SET, packages_digest(packages), {}, set())


def packages_digest(packages: Packages) -> str:
    return sha256("".join(f"{name}=={version}\n" for name, (version, _) in sorted(packages.items())).encode())


def recorded_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check what it is") from None


def recorded_hash(text: str | None) -> tuple[str, str] | None:
    """Digest and file name in the form that sha256sum writes; an empty digest and the text if it is another form."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9a-fA-F]{64}) [ *](\S+)\s*", text)
    return (match[1].lower(), match[2].removeprefix("./")) if match else ("", one_line(text.strip(), 80))


def canonical_name(name: str) -> str:
    """A distribution's name as the packaging standards normalise it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(folders: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Installed distributions by canonical name: version and metadata folder, by the names of the folders.

    The first on the import path counts. Importing importlib.metadata would cost more than all of this.
    """
    found: dict[str, tuple[str, str]] = {}
    for folder in filter(None, folders):
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith("-info"))
        except OSError:  # not there, or a zip file
            continue
        for name in names:
            match = re.fullmatch(r"(?!~)(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info", name)
            if match:
                found.setdefault(canonical_name(match[1]), (match[2], f"{folder}/{name}"))
    return found


def modified_files(metadata: str) -> list[str]:
    """Files of a distribution that are not as its RECORD says, or not there; unhashed entries aside.

    And byte code, and what lies elsewhere: programs such as bin/pytest, which are rewritten where environments move.
    """
    import csv
    from pathlib import Path

    try:
        rows = [*csv.reader(Path(metadata, "RECORD").read_text("utf-8").splitlines())]
    except (OSError, ValueError, csv.Error):
        return []
    stated = {row[0]: row[1] for row in rows if len(row) > 1 and row[1]}
    folder = Path(metadata).parent.as_posix()
    names = [name for name in stated if not name.endswith(".pyc") and not name.startswith("../")]
    return [name for name in names if record_hash(f"{folder}/{name}", stated[name]) != stated[name]]


def record_hash(path: str, like: str) -> str:
    """The hash of a file as a RECORD has it: algorithm, and digest in URL-safe base64 without padding."""
    import hashlib
    from base64 import urlsafe_b64encode
    from io import FileIO

    algorithm = like.partition("=")[0]
    try:
        with FileIO(path) as stream:
            digest = hashlib.new(algorithm, stream.readall()).digest()
    except (OSError, ValueError, TypeError):
        return ""
    return f"{algorithm}={urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def identity(facts: Facts, lock: Lock) -> dict[str, Any]:
    """What identifies the environment: no times, no run, no kernel release. Variables by name, the seed apart."""
    import platform
    from sysconfig import get_platform

    full, tag = platform.python_version(), get_platform()
    return {
        "recorded": facts.recorded,
        "python": {"full": full, "minor": HERE, "implementation": sys.implementation.name},
        "os": {"name": platform.system(), "architecture": platform.machine()},
        "platform": tag,
        "lock_sources": {"file": lock.name, "sha256": lock.digest, "python": full, "platform": tag},
        "packages_sha256": packages_digest(facts.packages),
        "tools": {name: facts.packages[name][0] for name in TOOLS if name in facts.packages},
        "extra": sorted(facts.packages.keys() - lock.allowed.keys()) if lock.allowed else [],
        "required_variables": facts.required,
        "seed": facts.environ.get("TPR_SEED"),
    }


def write_signature(run: Run, known: Mapping[str, Any], began: float) -> str:
    """Write env.signature.json unless the one there is of the same environment. Returns the signature."""
    import platform

    signature = content_digest(known)
    try:
        if read_artifact(run.artifacts / SIGNATURE).get("signature") == signature:
            return signature
    except EvidenceError:
        pass  # none yet, or one that is not whole
    times = {"validated_in_s": round(time.monotonic() - began, 6), "monotonic_start": began}
    run.write(SIGNATURE, VERSION, {"signature": signature, **known, "os_release": platform.release(), **times})
    return signature


def validate(run: Run, args: argparse.Namespace, began: float) -> int:
    """Compare, write the signature or the failure, log how it ended: the exit code."""
    facts = Facts(args, os.environ)
    rows = reasons_of(facts)
    if rows or facts.lock is None:
        return refuse(run, rows, args.quiet, began)
    known = redact(identity(facts, facts.lock), secret_values(os.environ))
    signature = write_signature(run, known, began)
    (run.artifacts / FAILURE).unlink(missing_ok=True)
    seconds = round(time.monotonic() - began, 6)
    for event in ("environment_validation_ok", "environment_validated"):
        run.log.info(event, signature=signature, seconds=seconds)
    if not args.quiet:
        show(summary(known, signature, facts, seconds))
    return 0


def refuse(run: Run, rows: Sequence[Row], quiet: bool, began: float) -> int:
    seconds = round(time.monotonic() - began, 6)
    run.write(FAILURE, VERSION, {"reasons": rows, "seconds": seconds})
    codes = [row["code"] for row in rows]
    run.log.error("environment_validation_fail", reasons=codes, details=rows, seconds=seconds)
    secrets = secret_values(os.environ)
    if not quiet:
        print(redact_text(table(rows, ("code", "expected", "actual", "remedy")), secrets), file=sys.stderr)
    said = f"{PROG}: refused: {', '.join(dict.fromkeys(codes))}; see {run.artifacts / FAILURE}"
    print(redact_text(one_line(said, 1000), secrets), file=sys.stderr)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(redact_text(line, secrets) for line in workflow_lines(rows)), file=sys.stderr)
    return 1


def workflow_lines(rows: Sequence[Row]) -> list[str]:
    """One workflow annotation for each reason; the last says how many there is no room for."""
    lines = [f"{row['code']}: expected {row['expected']}, got {row['actual']}; {row['remedy']}" for row in rows]
    if len(lines) > ANNOTATIONS:
        lines[ANNOTATIONS - 1 :] = [f"and {len(lines) - ANNOTATIONS + 1} more reasons, see {FAILURE}"]
    return [f"::error title={PROG}::{one_line(line, 1000).replace('%', '%25')}" for line in lines]


def summary(known: Mapping[str, Any], signature: str, facts: Facts, seconds: float) -> str:
    lock = known["lock_sources"]
    rows = {
        "python": f"{known['python']['full']} {known['python']['implementation']} on {known['platform']}",
        "lock": f"{lock['file']} {lock['sha256'][:12]}" + ("" if known["recorded"] else " (nothing is recorded)"),
        "packages": f"{len(facts.packages)}, {len(known['extra'])} of them not in the lock",
        "tools": ", ".join(f"{name} {version}" for name, version in known["tools"].items()),
        "unmodified": ", ".join(facts.changed),
        "signature": f"{signature[:12]} in {seconds * 1000:.0f} ms",
    }
    return "\n".join(f"{name:<12}{value}" for name, value in rows.items())


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The rows under their columns' names, aligned; the last column is not cut."""
    lines = [list(columns)]
    lines += [[one_line(row[column], 1000 if column == columns[-1] else 60) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines)


def record(run: Run, args: argparse.Namespace, _began: float) -> int:
    """Write the expectations: the lock's hash, and this minor version of Python unless it is among those named."""
    known = recorded_hash(recorded_text(args.root / HASH_FILE))
    try:
        lock = read_lock(args.root, installed(sys.path), known[1] if known else "")
    except LockError as error:
        raise EvidenceError(f"{args.root}: {error}; lock the project anew") from None
    files = {HASH_FILE: f"{lock.digest}  {lock.name}\n"}
    wanted = recorded_text(args.root / PYTHON_FILE)
    if wanted is None or [*python_reasons(wanted)]:
        files[PYTHON_FILE] = f"{HERE}\n"
    for name, text in files.items():
        write_atomic(args.root / name, text.encode())
        if not args.quiet:
            show(f"{name:<24}{text.strip()}")
    run.log.info("environment_validation_ok", recorded=sorted(files))
    return 0


# The throw-away project of the drills is valid; each drill changes one thing (files: None removes one) and must be
# refused for that alone. A changed lock is recorded anew unless the drill itself says what is recorded.
GOOD_LOCK = "".join(f"{name}==1.0\n" for name in GUARDED)
EMPTY_FILE = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
NO_HYPOTHESIS = {"site/hypothesis-1.0.dist-info/RECORD": None, LOCKS[0]: GOOD_LOCK.replace("hypothesis==1.0\n", "")}
DRILLS: tuple[tuple[str, Changes, Changes], ...] = (
    ("", {}, {}),
    ("python_minor_mismatch", {PYTHON_FILE: "3.0\n"}, {}),
    ("lock_missing", {LOCKS[0]: None}, {}),
    ("lock_hash_missing", {HASH_FILE: None}, {}),
    ("lock_hash_mismatch", {HASH_FILE: f"{'0' * 64}  {LOCKS[0]}\n"}, {}),
    ("lock_unreadable", {LOCKS[0]: "no pin at all!\n"}, {}),
    ("package_missing", {LOCKS[0]: GOOD_LOCK + "not-there==1.0\n"}, {}),
    ("package_drift", {LOCKS[0]: GOOD_LOCK.replace("pytest==1.0", "pytest==2.0")}, {}),
    ("package_modified", {"site/pytest.py": "changed\n"}, {}),
    ("tool_missing", NO_HYPOTHESIS, {}),
    ("env_missing", {}, {"TPR_FAILFAST_MODE": None}),
    ("seed_not_numeric", {}, {"TPR_SEED": "twelve"}),
    ("failfast_mode_invalid", {}, {"TPR_FAILFAST_MODE": "harder"}),
)


def drill(run: Run, args: argparse.Namespace) -> int:
    """Provoke every reason on a throw-away project; each must be refused for it alone, in under a second."""
    rows = []
    for code, files, variables in DRILLS:
        codes, seconds, held = list[str](), 0.0, False
        run.log.info("environment_validation_start", drill=True, provoked=code)
        try:
            for _ in range(DRILL_ATTEMPTS):
                codes, seconds = tried(files, variables)
                if seconds < DRILL_LIMIT_S:
                    break
            held = codes == [code] * bool(code) and seconds < DRILL_LIMIT_S
        finally:
            event = run.log.warning if code else run.log.info
            name = "environment_validation_fail" if code else "environment_validation_ok"
            event(name, drill=True, provoked=code, reasons=codes, seconds=seconds, held=held)
        said = "DID NOT HOLD" if not held else "refused" if code else "accepted"
        shown = {"drill": code or "(unchanged)", "result": said, "ms": f"{seconds * 1000:.0f}"}
        rows.append({**shown, "reasons": ", ".join(codes)})
    missed = [row for row in rows if row["result"] == "DID NOT HOLD"]
    if not args.quiet:
        show(table(rows, ("drill", "result", "ms", "reasons")))
    if missed:
        found = "; ".join(f"{row['drill']}: got {row['reasons'] or 'no reason'} in {row['ms']} ms" for row in missed)
        wanted = f"expected that reason alone in under {DRILL_LIMIT_S:g} s; where only the time is wrong, try again"
        print(f"{PROG}: the gate did not hold: {found}; {wanted}", file=sys.stderr)
    return 1 if missed else 0


def tried(files: Changes, variables: Changes) -> tuple[list[str], float]:
    """The codes with which this script, as a process, refuses the changed project, and its seconds."""
    import subprocess
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        root = Path(folder)
        make_project(root, files)
        plain = {"TPR_SEED": "1", "TPR_FAILFAST_MODE": "off", "TPR_REQUIRED_ENV": "", "TPR_ENV_VALIDATE": "enable"}
        changed = {**os.environ, **plain, "PYTHONPATH": str(root / "site"), "GITHUB_ACTIONS": None, **variables}
        environ = {name: value for name, value in changed.items() if value is not None}
        command = [sys.executable, "-S", __file__, "--quiet", "--root", folder]  # -S: no packages but the project's
        began = time.monotonic()
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        seconds = round(time.monotonic() - began, 6)
        if done.returncode == 1:
            return [row["code"] for row in read_artifact(root / "artifacts" / FAILURE)["reasons"]], seconds
        return [] if done.returncode == 0 else [f"exit {done.returncode}"], seconds


def make_project(root: Path, changes: Changes) -> None:
    """A valid project with five distributions of one empty file each, but for `changes`."""
    files: dict[str, str | None] = {PYTHON_FILE: f"{HERE}\n", LOCKS[0]: GOOD_LOCK}
    for name in GUARDED:
        files |= {f"site/{name}.py": "", f"site/{name}-1.0.dist-info/RECORD": f"{name}.py,{EMPTY_FILE},0\n"}
    recorded = sha256((changes.get(LOCKS[0]) or GOOD_LOCK).encode())
    files |= {HASH_FILE: f"{recorded}  {LOCKS[0]}\n", **changes}
    for name, text in files.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, "utf-8")


def skip(run: Run, args: argparse.Namespace, _began: float) -> int:
    run.log.warning("environment_validation_ok", skipped=True)
    if not args.quiet:
        print(f"{PROG}: skipped, as TPR_ENV_VALIDATE says", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    parser = Arguments(__doc__ or "", "validate_env")
    add = parser.add_argument
    add("--record", action="store_true", help="record this environment as the expected one")
    add("--drill", action="store_true", help="provoke every reason on throw-away projects")
    add("--require-env", action="append", default=[], metavar="NAME", help="a variable that must be set (repeatable)")
    add("--allow-unrecorded", action="store_true", help="accept a project that has recorded no lock to differ from")
    parser.usage = "%(prog)s [flags]"
    args = parser.parse_args(argv)
    switch = os.environ.get("TPR_ENV_VALIDATE", "enable")
    if switch not in SWITCH:
        parser.error(f"TPR_ENV_VALIDATE: expected {' or '.join(SWITCH)}, got {switch!r}")
    work = record if args.record else skip if switch == "skip" else validate
    try:
        run = Run("validate_env", args.root, args.artifacts or args.root / "artifacts")
        return drill(run, args) if args.drill else ended(run, lambda: work(run, args, began))
    except EvidenceError as error:
        return complain(PROG, str(error))
    except OSError as error:
        return complain(PROG, f"{error.filename or 'system'}: {error.strerror}; see that it can be written")
    except KeyboardInterrupt:
        return complain(PROG, "interrupted")


def ended(run: Run, work: Callable[[], int]) -> int:
    """Run `work` between a start event and its end, which it logs itself unless it is stopped."""
    run.log.info("environment_validation_start")
    try:
        return work()
    except BaseException as error:
        run.log.error("environment_validation_fail", reasons=[], problem=one_line(error) or type(error).__name__)
        raise


if __name__ == "__main__":
    raise SystemExit(main())
