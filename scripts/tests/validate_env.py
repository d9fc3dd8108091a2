"""Is this the recorded environment? Refuses a drifted one before a single test runs, with every reason at once.

    python scripts/tests/validate_env.py                  compare with what is recorded
    python scripts/tests/validate_env.py --record         record this environment as the expected one
    python scripts/tests/validate_env.py --drill          prove that each kind of drift is refused

Reads:  .python-version, requirements.lock.hash and the lock it names (requirements.lock, poetry.lock, uv.lock,
        pylock.toml, or else the installed set), the installed distributions' metadata, TPR_* variables.
Writes: env.signature.json, or env.validation.failure.json; with --record the two files of expectations.
Exits:  0 it is, 1 it is not (or a drill was not refused), 2 it could not be told.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time

from events import Arguments, EvidenceError, Run, complain, one_line, read_artifact, sha256, write_atomic

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

PROG = "validate_env.py"
SIGNATURE, FAILURE, VERSION = "env.signature.json", "env.validation.failure.json", "1.0"  # 1.0 first
HASH_FILE, PYTHON_FILE = "requirements.lock.hash", ".python-version"
LOCKS = ("requirements.lock", "poetry.lock", "uv.lock", "pylock.toml")  # the first one there is the lock
INSTALLED_SET = "installed-set"  # stands for the lock where a project has none
TOOLS = ("pytest", "hypothesis", "coverage")
GUARDED = ("pytest", "hypothesis", "coverage", "pyyaml", "defusedxml")  # their files are hashed
MODES = ("off", "soft", "hard")
ANNOTATIONS = 10  # a workflow step shows no more
DRILL_LIMIT_S = 1.0


class Reason:
    """One way in which this is not the recorded environment."""

    def __init__(self, code: str, expected: str, actual: str, remedy: str) -> None:
        self.row = {"code": code, "expected": expected, "actual": actual, "remedy": remedy}


class Lock:
    """The lock that counts: its file name, its SHA-256, the pins that apply here (None: any version)."""

    def __init__(self, name: str, digest: str, pins: dict[str, str | None], complete: bool) -> None:
        self.name, self.digest, self.pins = name, digest, pins
        self.complete = complete  # every pin must be installed; else a pin may be an extra


class LockError(ValueError):
    """A lock that cannot be read."""


def canonical_name(name: str) -> str:
    """A distribution's name as the packaging standards normalise it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(folders: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Installed distributions by canonical name: version and metadata folder, read from the folders' names.

    The first folder wins, as on the import path. Importing importlib.metadata would cost more than all of this.
    """
    found: dict[str, tuple[str, str]] = {}
    for folder in folders:
        try:
            names = sorted(os.listdir(folder or "."))  # noqa: PTH208 - pathlib is a slow import
        except OSError:
            continue
        for entry in names:
            match = re.fullmatch(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info", entry)
            if match:
                found.setdefault(canonical_name(match[1]), (match[2].replace("_", "-"), os.path.join(folder, entry)))  # noqa: PTH118
    return found


def modified_files(metadata: str) -> list[str]:
    """Files of a distribution that are missing or not as its RECORD says; byte code and unhashed entries aside."""
    changed = []
    for name, stated in record_entries(metadata):
        try:
            with open(os.path.join(os.path.dirname(metadata), name), "rb") as stream:  # noqa: PTH118, PTH120, PTH123
                same = file_hash(stream.read(), stated.partition("=")[0]) == stated
        except OSError:
            same = False
        if not same:
            changed.append(name)
    return changed


def record_entries(metadata: str) -> Iterator[tuple[str, str]]:
    import csv

    try:
        with open(os.path.join(metadata, "RECORD"), encoding="utf-8", newline="") as stream:  # noqa: PTH118, PTH123
            for row in csv.reader(stream):
                if len(row) > 1 and row[1] and not row[0].endswith(".pyc"):
                    yield row[0], row[1]
    except (OSError, ValueError, csv.Error):
        return


def file_hash(data: bytes, algorithm: str) -> str:
    """A RECORD hash: the algorithm and the digest in URL-safe base64 without padding."""
    from base64 import urlsafe_b64encode

    try:
        digest = hashlib.new(algorithm, data).digest()
    except ValueError:
        return ""
    return f"{algorithm}={urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def requirement_pins(text: str) -> dict[str, str | None]:
    """The pins of a requirements file that apply to this interpreter; LockError names a line that is none."""
    pins: dict[str, str | None] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        code = re.sub(r"(?:^|\s)#.*", "", line)
        code = re.split(r"\s--", code, maxsplit=1)[0].strip()
        if not code or code.startswith("-"):
            continue
        requirement, _, marker = code.partition(";")
        match = re.fullmatch(
            r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*(?:===?\s*([^\s,]+)|@\s*\S+|)", requirement.strip()
        )
        if not match:
            raise LockError(f"expected name==version, got {one_line(code, 80)}")
        if applies(marker):
            pins[canonical_name(match[1])] = match[2]
    return pins


def applies(marker: object) -> bool:
    if not marker or not str(marker).strip():
        return True
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    try:
        return Marker(str(marker).strip()).evaluate({"extra": ""})
    except (InvalidMarker, UndefinedEnvironmentName) as error:
        raise LockError(f"marker {one_line(marker, 80)}: {one_line(error, 80)}") from None


def toml_pins(text: str) -> dict[str, str | None]:
    """The pins of poetry.lock, uv.lock or pylock.toml; a package locked in several versions is free."""
    import tomllib

    document = tomllib.loads(text)
    packages = document.get("package") or document.get("packages") or []
    pins: dict[str, str | None] = {}
    if not isinstance(packages, list):
        raise LockError("expected a list of packages")
    for package in packages:
        if not isinstance(package, dict) or not isinstance(package.get("name"), str):
            raise LockError("expected every package to have a name")
        name, version = canonical_name(package["name"]), package.get("version")
        if applies(package.get("marker")):
            pins[name] = None if name in pins or not isinstance(version, str) else version
    return pins


def read_lock(root: Path, packages: Mapping[str, tuple[str, str]]) -> Lock:
    """The lock of the project; the installed set stands in where there is none. LockError names what is wrong."""
    for name in LOCKS:
        if (root / name).exists():
            try:
                data = (root / name).read_bytes()
                text = data.decode("utf-8-sig")
                pins = requirement_pins(text) if name == LOCKS[0] else toml_pins(text)
            except OSError as error:
                raise LockError(f"{name}: {error.strerror}") from None
            except (ValueError, RecursionError) as error:
                raise LockError(f"{name}: {one_line(error, 200)}") from None
            return Lock(name, sha256(data), pins, complete=name == LOCKS[0])
    return Lock(INSTALLED_SET, packages_digest(packages), {}, complete=False)


def packages_digest(packages: Mapping[str, tuple[str, str]]) -> str:
    return sha256("".join(f"{name}=={version}\n" for name, (version, _) in sorted(packages.items())).encode())


def recorded_hash(root: Path) -> tuple[str, str] | None:
    """Digest and file name from requirements.lock.hash, in the form that sha256sum writes; None if there is none."""
    try:
        text = (root / HASH_FILE).read_text("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EvidenceError(f"{root / HASH_FILE}: cannot be read: {error.strerror}; check its permissions") from None
    match = re.fullmatch(r"\s*([0-9a-fA-F]{64}) [ *](\S+)\s*", text)
    return (match[1].lower(), match[2]) if match else ("", one_line(text.strip(), 80))


def same_version(expected: str, actual: str) -> bool:
    if expected.lower() == actual.lower():
        return True
    from packaging.version import InvalidVersion, Version

    try:
        return Version(expected) == Version(actual)
    except InvalidVersion:
        return False


def python_reasons(root: Path) -> Iterator[Reason]:
    """The interpreter's minor version against .python-version (the file that pyenv, uv and setup-python read)."""
    try:
        lines = (root / PYTHON_FILE).read_text("utf-8", "replace").split("\n")
    except OSError:
        return
    wanted = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    minors = {match[1] for line in wanted if (match := re.search(r"(\d+\.\d+)", line))}
    here = "{}.{}".format(*sys.version_info[:2])
    if here not in minors:
        shown = ", ".join(sorted(minors)) or f"a version in {PYTHON_FILE}"
        yield Reason("python_minor_mismatch", shown, here, f"run it with python{min(minors, default='3.11')}")


def lock_reasons(lock: Lock, known: tuple[str, str] | None) -> Iterator[Reason]:
    if known is None or not known[0]:
        remedy, found = f"python scripts/tests/{PROG} --record", known[1] if known else "no such file"
        yield Reason("lock_hash_missing", f"{HASH_FILE} with the SHA-256 of {lock.name}", found, remedy)
    elif known[1] != lock.name:
        yield Reason("lock_missing", known[1], lock.name, f"restore {known[1]}, or record anew with --record")
    elif known[0] != lock.digest:
        remedy = f"restore {lock.name}, or record the new one with --record"
        yield Reason("lock_hash_mismatch", known[0], lock.digest, remedy)


def package_reasons(lock: Lock, packages: Mapping[str, tuple[str, str]]) -> Iterator[Reason]:
    install = (
        f"python -m pip install --require-hashes -r {lock.name}" if lock.complete else f"install from {lock.name}"
    )
    for name, version in sorted(lock.pins.items()):
        if name not in packages:
            if lock.complete:
                yield Reason("package_missing", f"{name} {version or ''}".strip(), "not installed", install)
        elif version is not None and not same_version(version, packages[name][0]):
            yield Reason("package_drift", f"{name} {version}", packages[name][0], install)
    for name in GUARDED:
        changed = modified_files(packages[name][1]) if name in packages else []
        if changed:
            shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
            remedy = f"python -m pip install --force-reinstall --no-deps {name}=={packages[name][0]}"
            yield Reason("package_modified", f"{name} as its RECORD says", f"changed: {shown}", remedy)


def tool_reasons(packages: Mapping[str, tuple[str, str]], tools: Iterable[str]) -> Iterator[Reason]:
    for name in tools:
        if name not in packages:
            yield Reason("tool_missing", name, "not installed", f"python -m pip install {name}")


def variable_reasons(environ: Mapping[str, str], required: Iterable[str]) -> Iterator[Reason]:
    for name in required:
        if not environ.get(name):
            yield Reason("env_missing", f"{name} set", "unset or empty", f"export {name}=...")
    seed, mode = environ.get("TPR_SEED"), environ.get("TPR_FAILFAST_MODE")
    if seed and not (seed.isascii() and seed.isdecimal()):
        yield Reason("seed_not_numeric", "TPR_SEED: a whole number", one_line(seed, 40), "export TPR_SEED=12345")
    if mode and mode not in MODES:
        remedy = "export TPR_FAILFAST_MODE=off"
        yield Reason(
            "failfast_mode_invalid", f"TPR_FAILFAST_MODE: one of {', '.join(MODES)}", one_line(mode, 40), remedy
        )


class Environment:
    """What is compared: the project's recorded expectations, and this interpreter's distributions and variables."""

    def __init__(self, args: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self.root, self.environ = args.root, environ
        self.packages = installed(args.site or [folder for folder in sys.path[1:] if folder])
        self.known = recorded_hash(self.root)
        self.recorded = self.known is not None or (self.root / PYTHON_FILE).exists()
        self.lenient = args.allow_unrecorded and not self.recorded
        named = re.split(r"[,\s]+", environ.get("TPR_REQUIRED_ENV", ""))
        self.required = sorted({"TPR_SEED", "TPR_FAILFAST_MODE", *args.require_env, *named} - {""})

    def compare(self) -> tuple[list[Reason], Lock | None]:
        """Every reason to refuse, and the lock if it can be read."""
        reasons = list(python_reasons(self.root))
        lock = None
        try:
            lock = read_lock(self.root, self.packages)
        except LockError as error:
            reasons.append(
                Reason("lock_unreadable", "a lock file that can be read", str(error), "lock the project anew")
            )
        if lock and not self.lenient:
            reasons += lock_reasons(lock, self.known)
        if lock and not (self.lenient and lock.name == INSTALLED_SET):
            reasons += package_reasons(lock, self.packages)
        reasons += tool_reasons(self.packages, ("pytest", "coverage") if self.lenient else TOOLS)
        reasons += variable_reasons(self.environ, self.required)
        return reasons, lock

    def identity(self, lock: Lock) -> dict[str, Any]:
        """What identifies the environment: no times, no run, no kernel release."""
        import platform
        from sysconfig import get_platform

        full = platform.python_version()
        python = {"full": full, "minor": ".".join(full.split(".")[:2]), "implementation": sys.implementation.name}
        return {
            "recorded": self.recorded,
            "python": python,
            "os": {"name": platform.system(), "architecture": platform.machine()},
            "platform": get_platform(),
            "lock_sources": {"file": lock.name, "sha256": lock.digest, "python": full, "platform": get_platform()},
            "packages_sha256": packages_digest(self.packages),
            "tools": {name: self.packages[name][0] for name in TOOLS if name in self.packages},
            "extra": sorted(self.packages.keys() - lock.pins.keys()) if lock.pins else [],
            "required_variables": self.required,
            "seed": self.environ.get("TPR_SEED"),
        }


def write_signature(run: Run, environment: Environment, lock: Lock, began: float) -> str:
    """Write env.signature.json; an earlier one of the same environment is reused as it is. Returns the signature."""
    import platform

    from events import content_digest

    identity = environment.identity(lock)
    signature = content_digest(identity)
    try:
        if read_artifact(run.artifacts / SIGNATURE).get("signature") == signature:
            return signature
    except EvidenceError:
        pass
    times = {"os_release": platform.release(), "validated_in_s": round(time.monotonic() - began, 6)}
    run.write(SIGNATURE, VERSION, {"signature": signature, **identity, **times, "monotonic_start": began})
    return signature


def validate(run: Run, args: argparse.Namespace, began: float) -> int:
    """Compare, write the signature or the failure, log how it ended: the exit code."""
    environment = Environment(args, os.environ)
    reasons, lock = environment.compare()
    failure = run.artifacts / FAILURE
    seconds = round(time.monotonic() - began, 6)
    if not reasons and lock:
        signature = write_signature(run, environment, lock, began)
        failure.unlink(missing_ok=True)
        run.log.info("environment_validation_ok", signature=signature, seconds=seconds)
        run.log.info("environment_validated", signature=signature, seconds=seconds)
        if not args.quiet:
            print(f"environment valid: {signature[:12]} ({seconds * 1000:.0f} ms)")
        return 0
    rows = [reason.row for reason in reasons]
    run.write(FAILURE, VERSION, {"reasons": rows, "seconds": seconds})
    codes = [row["code"] for row in rows]
    run.log.error("environment_validation_fail", reasons=codes, details=rows, seconds=seconds)
    if not args.quiet:
        print(table(rows), file=sys.stderr)
    for row in rows[:ANNOTATIONS]:
        complain(PROG, f"{row['code']}: expected {row['expected']}, got {row['actual']}; {row['remedy']}")
    if len(rows) > ANNOTATIONS:
        print(f"{PROG}: and {len(rows) - ANNOTATIONS} more reasons, see {failure.name}", file=sys.stderr)
    return 1


def table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = ("code", "expected", "actual")
    widths = [max(len(column), *(len(one_line(row[column], 70)) for row in rows)) for column in columns]
    lines = ["  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True)).rstrip()]
    for row in rows:
        cells = (one_line(row[column], 70).ljust(width) for column, width in zip(columns, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def record(run: Run, args: argparse.Namespace) -> int:
    """Write the expectations: the lock's hash and, if there is none, this interpreter's minor version."""
    environment = Environment(args, os.environ)
    try:
        lock = read_lock(environment.root, environment.packages)
    except LockError as error:
        raise EvidenceError(f"{environment.root}: {error}; lock the project anew") from None
    files = {HASH_FILE: f"{lock.digest}  {lock.name}\n"}
    if not (environment.root / PYTHON_FILE).exists():
        files[PYTHON_FILE] = "{}.{}\n".format(*sys.version_info[:2])
    for name, text in files.items():
        try:
            write_atomic(environment.root / name, text.encode())
        except OSError as error:
            raise EvidenceError(f"{environment.root / name}: cannot be written: {error.strerror}") from None
        print(f"recorded {name}: {text.strip()}")
    run.log.info("environment_validation_ok", recorded=sorted(files))
    return 0


# Each drill: the code it must provoke, and what is changed in the throw-away project (file: content, None to remove)
# or in its variables. {hash} is that of the changed lock, so that nothing else is wrong.
GOOD_LOCK = "".join(f"{name}==1.0\n" for name in GUARDED)
DRILLS: tuple[tuple[str, dict[str, str | None], dict[str, str | None]], ...] = (
    ("python_minor_mismatch", {PYTHON_FILE: "3.0\n"}, {}),
    ("lock_missing", {LOCKS[0]: None}, {}),
    ("lock_hash_missing", {HASH_FILE: None}, {}),
    ("lock_hash_mismatch", {HASH_FILE: f"{'0' * 64}  {LOCKS[0]}\n"}, {}),
    ("lock_unreadable", {LOCKS[0]: "no pin at all!\n"}, {}),
    ("package_missing", {LOCKS[0]: GOOD_LOCK + "not-there==1.0\n"}, {}),
    ("package_drift", {LOCKS[0]: GOOD_LOCK.replace("pytest==1.0", "pytest==2.0")}, {}),
    ("package_modified", {"site/pytest.py": "changed\n"}, {}),
    (
        "tool_missing",
        {"site/hypothesis-1.0.dist-info": None, LOCKS[0]: GOOD_LOCK.replace("hypothesis==1.0\n", "")},
        {},
    ),
    ("env_missing", {}, {"TPR_FAILFAST_MODE": None}),
    ("seed_not_numeric", {}, {"TPR_SEED": "twelve"}),
    ("failfast_mode_invalid", {}, {"TPR_FAILFAST_MODE": "harder"}),
)


def drill(run: Run, args: argparse.Namespace) -> int:
    """Provoke every reason on a throw-away project; each must be refused with its code alone, in under a second."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    held = True
    for code, files, variables in DRILLS:
        run.log.info("environment_validation_start", drill=True, provoked=code)
        with TemporaryDirectory() as folder:
            reasons, seconds = refused(Path(folder), files, variables)
        fine = reasons == [code] and seconds < DRILL_LIMIT_S
        held = held and fine
        facts = {"provoked": code, "reasons": reasons, "seconds": seconds, "held": fine}
        run.log.warning("environment_validation_fail", drill=True, **facts)
        if not args.quiet:
            said = "refused" if fine else "NOT REFUSED"
            print(f"{code:<22} {said:<12}{seconds * 1000:6.0f} ms  {', '.join(reasons)}")
    return 0 if held else 1


def refused(
    root: Path, files: Mapping[str, str | None], variables: Mapping[str, str | None]
) -> tuple[list[str], float]:
    """The codes with which this script, as a process, refuses the changed project, and its seconds."""
    import subprocess

    make_project(root, files)
    plain = {"TPR_SEED": "1", "TPR_FAILFAST_MODE": "off", "TPR_REQUIRED_ENV": "", "TPR_ENV_VALIDATE": "enable"}
    environ = {name: value for name, value in {**os.environ, **plain, **variables}.items() if value is not None}
    command = [sys.executable, __file__, "--quiet", "--root", str(root), "--site", str(root / "site")]
    began = time.monotonic()
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    seconds = round(time.monotonic() - began, 6)
    if done.returncode != 1:
        return [f"exit {done.returncode}"], seconds
    return [row["code"] for row in read_artifact(root / "artifacts" / FAILURE)["reasons"]], seconds


def make_project(root: Path, files: Mapping[str, str | None]) -> None:
    """A project with five fake distributions that is valid but for `files`."""
    good: dict[str, str] = {PYTHON_FILE: "{}.{}\n".format(*sys.version_info[:2]), LOCKS[0]: GOOD_LOCK}
    for name in GUARDED:
        source = f"# {name}\n"
        entry = f"{name}.py,{file_hash(source.encode(), 'sha256')},\n"
        good |= {f"site/{name}.py": source, f"site/{name}-1.0.dist-info/RECORD": entry}
    removed = [name for name, text in files.items() if text is None]
    wanted = {**good, **{name: text for name, text in files.items() if text is not None}}
    wanted.setdefault(HASH_FILE, f"{sha256(wanted[LOCKS[0]].encode())}  {LOCKS[0]}\n")
    for name, text in wanted.items():
        if not any(name == gone or name.startswith(f"{gone}/") for gone in removed):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, "utf-8")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Arguments(__doc__ or "", "validate_env")
    add = parser.add_argument
    add("--record", action="store_true", help="record this environment as the expected one")
    add("--drill", action="store_true", help="provoke every reason on throw-away projects")
    add("--require-env", action="append", default=[], metavar="NAME", help="a variable that must be set (repeatable)")
    add(
        "--allow-unrecorded",
        action="store_true",
        help="a project that has recorded nothing has nothing to differ from",
    )
    add("--site", action="append", default=[], help="look for distributions here instead of on the import path")
    args = parser.parse_args(argv)
    switch = os.environ.get("TPR_ENV_VALIDATE", "enable")
    if switch not in ("enable", "skip"):
        parser.error(f"TPR_ENV_VALIDATE: expected enable or skip, got {switch!r}")
    args.skip = switch == "skip"
    return args


def main(argv: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    args = parse(argv)
    try:
        run = Run("validate_env", args.root, (args.artifacts or args.root / "artifacts").absolute())
        if args.drill:
            return drill(run, args)
        run.log.info("environment_validation_start", skipped=args.skip)
        if args.skip and not args.record:
            run.log.warning("environment_validation_ok", skipped=True)
            print(f"{PROG}: skipped: TPR_ENV_VALIDATE=skip", file=sys.stderr)
            return 0
        return finish(run, args, began)
    except EvidenceError as error:
        return complain(PROG, str(error))


def finish(run: Run, args: argparse.Namespace, began: float) -> int:
    """Record or validate; whatever happens, the start that was logged gets its end."""
    try:
        return record(run, args) if args.record else validate(run, args, began)
    except EvidenceError as error:
        run.log.error("environment_validation_fail", reasons=["unusable"], problem=str(error))
        raise
    except KeyboardInterrupt:
        run.log.error("environment_validation_fail", reasons=["interrupted"])
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
