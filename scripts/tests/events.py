"""What every script shares: the event log, redaction, hashed artifacts, one-line errors.

The log is JSON lines. Each line carries the SHA-256 of the line before it, so an edited, dropped or reordered
line shows (`read_log`). An artifact is one JSON document with its own content digest (`Run.write`,
`read_artifact`). Everything written passes `redact` first. Standard library only; knows none of the scripts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

try:
    import fcntl
except ImportError:  # Windows: one process at a time writes the log
    fcntl = None  # type: ignore[assignment]

TAXONOMY = frozenset(
    "metrics_capture_start metrics_capture_complete environment_validation_start environment_validation_ok "
    "environment_validated environment_validation_fail failfast_mode_applied early_exit_detected "
    "property_test_start property_test_complete flake_scan_complete coverage_ladder_recorded "
    "foundation_checkpoint_emitted logging_deficit risk_trigger".split()
)
LOG_NAME = "events.log.jsonl"
GENESIS = "0" * 64
MASK = "[redacted]"
MAX_DEPTH = 64


class EvidenceError(Exception):
    """Bad input or an unusable place; its text is one line: what, where, expected, actual, remedy."""


_SECRET_WORD = (
    r"pass(?:word|wd|phrase)|pwd|secret|token|api[\W_]?key|access[\W_]?key|private[\W_]?key|authorization|cookie"
    r"|credential|dsn|(?:database|db|redis|mongo|mongodb|postgres|mysql|amqp|broker)[\W_]?ur[li]"
)
_SECRET_KEY = re.compile(rf"(?:^|[\W_]|(?<=[a-z0-9]))(?:{_SECRET_WORD})s?(?:$|[\W_])", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DATA_KEY = re.compile(r"/|\\|::|\.\w{1,4}$")  # a path or a node id is data, not the name of a field
_TOKENS = (  # hints that stand in every such token (in lower case), and its published form
    ("akia asia abia acca aroa aida", r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
    ("ghp_ gho_ ghu_ ghs_ ghr_ github_", r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"),
    ("glpat- glptt- gldt- glrt- glcbt- gloas- glsoat- glft- glimt- glagent-", r"gl[a-z]{2,5}-[\w-]{16,}"),  # GitLab
    ("xox xapp- hooks.slack", r"xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}|hooks\.slack\.com/services/[\w/]+"),
    ("k_live_ k_test_ whsec_", r"[srp]k_(?:live|test)_\w{10,}|whsec_\w{16,}"),  # Stripe
    ("sq0 shp", r"sq0(?:atp|csp)-[\w-]{20,}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),  # Square, Shopify
    ("aiza ya29. gocspx", r"AIza[\w-]{35}|ya29\.[\w-]{10,}|GOCSPX-[\w-]{20,}"),  # Google
    ("sk-", r"sk-(?:ant-|proj-|svcacct-)?[\w-]{20,}"),  # OpenAI, Anthropic
    ("npm_ pypi-ag hf_ dop_v1", r"npm_[A-Za-z0-9]{30,}|pypi-AgE[\w-]{20,}|hf_[A-Za-z0-9]{20,}|dop_v1_[0-9a-f]{32,}"),
    ("sg. atatt3 :aa", r"SG\.[\w-]{16,}\.[\w-]{16,}|ATATT3[\w=-]{20,}|\d{8,10}:AA[\w-]{33}(?![\w-])"),
    ("eyj", r"eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"),  # JWT
)
_FORMS = (  # hints, what precedes the secret and stays (group 1), the secret
    ("-----begin", r"(?s)()-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)"),
    ("bearer", r"(?i)(\bbearer\s+)(?=[\w.~+/=-]*\d|[\w.~+/=-]{20})[\w.~+/=-]{8,}"),
    ("basic", r"(?i)(\bbasic\s+)(?=[A-Za-z+/]*[0-9=])[A-Za-z0-9+/]{6,}={0,2}(?![\w+/=])"),
    ("authoriz cookie", r"(?i)(?<![A-Za-z])((?:authorization|cookie)[\"']?\s*[:=](?![:=])\s*)[^\r\n]+"),
    (
        "passw passp pwd secret token key credential dsn url uri",
        rf"(?i)((?:{_SECRET_WORD})s?[\"']?\s*(?:=(?!=)|:(?![:=/]))\s*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&)}}\]]+)",
    ),
    ("://", r"(://)[^/\s@?#]+(?=@)"),
    *((hints, rf"(?<![A-Za-z0-9])()(?:{form})") for hints, form in _TOKENS),
)
_SECRETS = tuple((tuple(hints.split()), re.compile(form)) for hints, form in _FORMS)
_HINTS = tuple(hint for hints, _ in _SECRETS for hint in hints)
_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def is_secret_name(name: str) -> bool:
    """Whether a field or environment variable of this name holds a secret, in any case and joiner."""
    return not _DATA_KEY.search(name) and _SECRET_KEY.search(_CAMEL.sub("_", name)) is not None


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values, longest first, of the environment variables whose names say secret (TPR_ ones are public)."""
    found = {v for k, v in environ.items() if len(v) >= 6 and not k.startswith("TPR_") and is_secret_name(k)}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def _suspicious(text: str, secrets: Iterable[str]) -> bool:
    return any(map(text.lower().__contains__, _HINTS)) or any(s in text or _compact(s)[1:-1] in text for s in secrets)


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with every secret that its own form or the values in `secrets` give away replaced by a mask."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    lowered = text.lower()
    for hints, form in _SECRETS:
        if any(map(lowered.__contains__, hints)):
            text = form.sub(rf"\g<1>{MASK}", text)
    return text


def redact(value: Any, secrets: Iterable[str] = (), depth: int = 0) -> Any:
    """`value` as plain JSON data without secrets; what JSON cannot hold becomes its repr, value by value."""
    with suppress(TypeError, ValueError, RecursionError):  # nearly all is harmless: look once at the whole
        if not _suspicious(_compact(value), secrets):
            return value
    if isinstance(value, str):
        return redact_text(str(value), secrets)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return dict(_redact_item(key, item, secrets, depth + 1) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset) and depth < MAX_DEPTH:
        rows = value if isinstance(value, list | tuple) else sorted(value, key=repr)
        return [redact(item, secrets, depth + 1) for item in rows]
    try:
        return redact_text(str(value) if isinstance(value, os.PathLike) else repr(value), secrets)
    except Exception as error:  # a foreign __repr__ may raise anything; the neighbours stay
        return f"<{type(value).__name__}: repr raised {type(error).__name__}>"


def _redact_item(key: Any, item: Any, secrets: Iterable[str], depth: int) -> tuple[str, Any]:
    name = key if isinstance(key, str) else str(redact(key, secrets, depth))
    hide = item is not None and not isinstance(item, bool) and is_secret_name(name)
    return redact_text(name, secrets), MASK if hide else redact(item, secrets, depth)


def canonical(document: Any) -> bytes:
    """Canonical JSON: UTF-8, sorted keys, no spaces, no NaN; a lone surrogate stays the escape it came from."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def content_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the document without its own `sha256`, as canonical JSON."""
    return hashlib.sha256(canonical({k: v for k, v in document.items() if k != "sha256"})).hexdigest()


def indented(value: Any, indent: str = "") -> str:
    """JSON for people: a container that fits in a line stays on it, so a list of rows reads as a table."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(text) + len(indent) <= 160 or not isinstance(value, dict | list) or not value:
        return text
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(k, ensure_ascii=False)}: {indented(v, inner)}" for k, v in value.items()]
    else:
        rows = [inner + indented(item, inner) for item in value]
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return opening + "\n" + ",\n".join(rows) + f"\n{indent}{closing}"


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash, sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_artifact(path: Path, artifact: str | None = None) -> dict[str, Any]:
    """The JSON artifact at `path`, its name and digest checked; EvidenceError says what does not fit."""
    name = artifact or path.name
    remedy = f"remove {path.name} and produce it anew"
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; produce it first") from None
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{path}: expected a JSON artifact, got {one_line(error)}; {remedy}") from None
    if not isinstance(document, dict) or document.get("artifact") != name:
        raise EvidenceError(f"{path}: expected artifact {name!r}, got another document; {remedy}")
    actual = content_digest(document)
    if document.get("sha256") != actual:
        stated = one_line(document.get("sha256"))
        raise EvidenceError(f"{path}: expected sha256 {stated}, got {actual}: changed since written; {remedy}")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class EventLog:
    """Appends to the event log: one write a line under a file lock, chained, safe for threads and processes."""

    def __init__(self, path: Path, script: str, run_id: str) -> None:
        self.path = path
        self._context = _compact({"run_id": run_id, "script": script})[:-1]
        self._secrets = secret_values(os.environ)
        self._guard = threading.Lock()
        self._pid, self._fd = 0, -1
        self._end, self._prev, self._last = -1, GENESIS, ""  # end of file, its last line's hash and timestamp

    def info(self, event: str, **fields: Any) -> None:
        self._append("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._append("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._append("error", event, fields)

    def _append(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if event not in TAXONOMY:
            raise ValueError(f"unknown event {event!r}; PLAN.md lists the taxonomy")
        if taken := {"timestamp", "event", "context"} & fields.keys():
            raise ValueError(f"field {min(taken)!r} is the log's own")
        try:
            body = _compact(fields)
        except (TypeError, ValueError, RecursionError):
            body = ""
        if not body or _suspicious(body, self._secrets):
            body = _compact(redact(fields, self._secrets))
        with self._guard, self._locked() as fd:
            lead = self._catch_up(fd)
            self._last = max(self._last, timestamp())  # a clock set back does not take the log with it
            context = f'{self._context},"pid":{self._pid},"level":"{level}","prev":"{self._prev}"}}'
            head = f'{{"timestamp":"{self._last}","event":"{event}","context":{context}'
            line = (head + ("," + body[1:] if fields else "}")).encode("utf-8", "backslashreplace")
            self._write(fd, lead + line + b"\n")
            self._prev = hashlib.sha256(line).hexdigest()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        if self._pid != os.getpid():  # a fork shares the parent's lock: open anew
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
            self._pid, self._end = os.getpid(), -1
        if fcntl:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield self._fd
        finally:
            if fcntl:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _catch_up(self, fd: int) -> bytes:
        """Learn the last line if another writer wrote it; a newline to write first if that line is torn."""
        end = os.fstat(fd).st_size
        if end == self._end:
            return b""
        tail, size = b"", 4096
        while len(tail) < end and tail.count(b"\n", 0, -1) == 0:
            tail = _read_at(fd, max(0, end - size), min(size, end))
            size *= 8
        whole = tail.endswith(b"\n")
        last = tail[:-1].rpartition(b"\n")[2] if whole else tail.rpartition(b"\n")[2]
        self._end = end
        self._prev = hashlib.sha256(last).hexdigest() if end else GENESIS
        self._last = last[14:41].decode("ascii", "replace") if last.startswith(b'{"timestamp":"2') else ""
        return b"" if whole or not end else b"\n"

    def _write(self, fd: int, data: bytes) -> None:
        try:
            written = os.write(fd, data)
            if written < len(data):
                raise OSError(28, "no room for a whole line")
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(fd, self._end)
            raise EvidenceError(f"{self.path}: cannot be appended to: {error.strerror}; make room") from None
        self._end += written

    def close(self) -> None:
        if self._pid == os.getpid():
            os.close(self._fd)
            self._pid = 0


def _read_at(fd: int, offset: int, size: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


def timestamp() -> str:
    """Now as RFC 3339 in UTC with microseconds; of fixed width, so text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")[:26] + "Z"


@dataclass(frozen=True)
class LogReading:
    """A log as read: its events in order, the hash of its last line, and every line that does not hold."""

    events: list[dict[str, Any]]
    head: str
    problems: list[str]


def read_log(path: Path) -> LogReading:
    """Read and verify an event log; a torn, forged, dropped or reordered line is a problem, never an error."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    lines = data.split(b"\n")
    problems = [f"line {len(lines)}: torn (no newline at its end)"] if lines.pop() else []
    events: list[dict[str, Any]] = []
    head, last = GENESIS, ""
    for number, line in enumerate(lines + ([data.rpartition(b"\n")[2]] if problems else []), 1):
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
            stamp, name, prev = record["timestamp"], record["event"], record["context"]["prev"]
            order = stamp >= last
        except (ValueError, TypeError, KeyError, RecursionError):
            problems.append(f"line {number}: torn or not an event")
        else:
            if prev != head:
                problems.append(f"line {number}: expected prev {head[:12]}, got {one_line(prev, 12)}: chain broken")
            if name not in TAXONOMY:
                problems.append(f"line {number}: unknown event {one_line(name)}")
            if not order:
                problems.append(f"line {number}: {stamp} is earlier than the line before")
            events.append(record)
            last = stamp
        head = hashlib.sha256(line).hexdigest()
    return LogReading(events, head, problems)


class Run:
    """One run of one script: where it works, its id, its log, and the one door through which artifacts go."""

    def __init__(self, script: str, root: Path, artifacts: Path) -> None:
        self.script, self.root, self.artifacts = script, root, artifacts
        self.id = os.environ.get("TPR_RUN_ID") or f"{time.strftime('%Y%m%dT%H%M%SZ')}-{uuid.uuid4().hex[:8]}"
        try:
            artifacts.mkdir(parents=True, exist_ok=True)
            self.log = EventLog(artifacts / LOG_NAME, script, self.id)
            with self.log._locked():
                pass
        except OSError as error:
            where = error.filename or artifacts
            raise EvidenceError(f"{where}: cannot be written: {error.strerror}; pass --artifacts another") from None

    @cached_property
    def commit(self) -> tuple[str | None, bool]:
        """git HEAD of the root (None without git or a commit) and whether tracked or new files differ from it."""
        command = ["git", "-C", str(self.root), "status", "--porcelain=v2", "--branch", "--", "."]
        with suppress(ValueError):
            command.append(f":(exclude){self.artifacts.relative_to(self.root).as_posix()}")
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError:
            return None, False
        lines = done.stdout.splitlines()
        oid = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
        return None if oid == "(initial)" else oid, any(not line.startswith("#") for line in lines)

    def write(self, artifact: str, schema_version: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write `body` in its envelope to artifacts/`artifact`; returns the document as written."""
        commit, dirty = self.commit
        envelope = {
            "artifact": artifact,
            "schema_version": schema_version,
            "run_id": self.id,
            "generated_at": timestamp(),
            "commit": commit,
            "dirty": dirty,
        }
        document: dict[str, Any] = {**envelope, **redact(body, secret_values(os.environ))}
        document["sha256"] = content_digest(document)
        self.write_bytes(artifact, (indented(document) + "\n").encode("utf-8", "backslashreplace"))
        return document

    def write_bytes(self, name: str, data: bytes) -> None:
        try:
            write_atomic(self.artifacts / name, data)
        except OSError as error:
            where = self.artifacts / name
            raise EvidenceError(f"{where}: cannot be written: {error.strerror}; make room for it") from None


class Arguments(argparse.ArgumentParser):
    """The flags that every script has, with a script's docstring as its help and one-line usage errors."""

    def __init__(self, doc: str, script: str) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"{script}.py", description=doc, formatter_class=formatter, allow_abbrev=False)
        self.add_argument("--root", type=folder, default=Path.cwd(), help="project under test (default: here)")
        self.add_argument("--artifacts", type=Path, help="where evidence goes (default: ROOT/artifacts)")
        self.add_argument("--quiet", action="store_true", help="no table at the end, no progress")

    def error(self, message: str) -> NoReturn:
        self.exit(complain(self.prog, f"{one_line(message)}; see {self.prog} --help"))


def folder(text: str) -> Path:
    """argparse type: an existing folder, absolute."""
    path = Path(text).absolute()
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise argparse.ArgumentTypeError(f"{text}: expected a folder, got {found}")
    return path


def one_line(value: object, limit: int = 300) -> str:
    """Text safe for one line of a terminal or a workflow log: no control characters, cut at `limit`."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def complain(prog: str, message: str) -> int:
    """Say on stderr, in one line, why nothing can be told; under GitHub Actions as an annotation too. Returns 2."""
    text = redact_text(one_line(message, 1000), secret_values(os.environ))
    print(f"{prog}: error: {text}", file=sys.stderr)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(f"::error title={prog}::{text.replace('%', '%25')}", file=sys.stderr)
    return 2
