"""What every script shares: the event log, redaction, hashed artifacts, one-line errors.

The log is JSON lines. Each line carries the SHA-256 of the line before it, so an edited, dropped or reordered
line shows (`read_log`). An artifact is one JSON document with its own content digest (`Run.write`,
`read_artifact`). Everything written is made plain JSON, then loses its secrets, then is hashed. Standard library
only; knows none of the scripts. What not every run needs is imported where it is used: a script's start counts.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - a suite's interpreter may be older: it gets this line, no traceback
    prog, found = sys.argv[0].rpartition("/")[2], ".".join(map(str, sys.version_info[:3]))
    sys.stderr.write(f"{prog}: error: expected Python 3.11 or newer, got {found}; run it with python3.11\n")
    raise SystemExit(2)

import argparse
import os
import re
import time
from collections.abc import Mapping
from functools import cached_property, lru_cache, partial, partialmethod

try:
    from fcntl import LOCK_EX, LOCK_UN, flock
except ImportError:  # Windows: one process at a time writes the log
    LOCK_EX, LOCK_UN, flock = 2, 8, lambda *_: None  # type: ignore[misc]

TYPE_CHECKING = False  # typing itself would cost a third of an interpreter's start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any, NoReturn

TAXONOMY = frozenset(
    "metrics_capture_start metrics_capture_complete environment_validation_start environment_validation_ok "
    "environment_validated environment_validation_fail failfast_mode_applied early_exit_detected "
    "property_test_start property_test_complete flake_scan_complete coverage_ladder_recorded "
    "foundation_checkpoint_emitted logging_deficit risk_trigger".split()
)
LOG_NAME = "events.log.jsonl"
GENESIS = "0" * 64
MASK = "[redacted]"
MAX_DEPTH, MAX_PROBLEMS = 64, 1000
_OWN_FIELDS = frozenset({"timestamp", "event", "context"})
_ENVELOPE = frozenset({"artifact", "schema_version", "run_id", "generated_at", "commit", "dirty", "sha256"})


class EvidenceError(Exception):
    """Bad input or an unusable place; its text is one line: what, where, expected, actual, remedy."""


_WORDS = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|authorization|cookie|credential|dsn"
    r"|(?:api|access|account|private|secret|signing|encryption|deploy|ssh)[\W_]{0,2}key"
    r"|(?:database|db|redis|mongo|mongodb|postgres|postgresql|mysql|amqp|broker|sqlalchemy)[\W_]{0,2}ur[li])s?"
)
_SECRET_KEY = rf"(?ai){_WORDS}(?:$|[\W_\d])"
_DATA_KEY = r"/|\\|::|\.(?:py[iwx]?|json[lc]?|toml|ya?ml|ini|cfg|txt|md|rst|xml|html|lock|hash|log|sh)$"
_PLACE = r"^(?:OLD)?PWD$|(?:FILE|PATH|DIR|HOME|SOCK)$"  # such a variable says where a thing is, not what
# A text with none of these in lower case, and no long word after an underscore, has no secret of the forms below:
# looking for them keeps an ordinary line cheap.
_HINTS = (
    "passw passp pwd secret token key cred dsn url uri authoriz cookie bearer basic @ -----begin eyj akia asia abia "
    "acca aiza ya29. gocspx- glpat- gloas- gldt- glrt- glptt- glcbt- xox xapp- hooks.slack api/webhooks/ :aa sk- "
    "sg. hvs. sq0 pypi-a atatt3"
).split()
_COMMON = 'xesta"onir:,_./[]-0123456789ldcupmhfgbyvwkqzj'  # in a line of the log, the most frequent first
# In each form, group 1 stays and what follows it is the secret, replaced whole.
_TOKEN = r"""(?xa)()(?: -----BEGIN\ [A-Z0-9\ ]{1,40}----- [\s\S]*? (?: -----END\ [A-Z0-9\ ]{1,40}----- | \Z ) |
    (?: (?<![A-Za-z0-9]) | (?<=\\[nrt]) ) (?:
    eyJ[\w-]{5,999}\.[\w-]{5,}(?:\.[\w-]*)?                                                 # JWT
  | (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])                                      # AWS
  | AIza[\w-]{35} | ya29\.[\w-]{10,} | GOCSPX-[\w-]{20,}                                    # Google
  | gl(?:pat|oas|dt|rt|ptt|cbt)-[\w-]{16,}                                                  # GitLab
  | xox[a-z]-[\w-]{8,} | xapp-[\w-]{8,} | hooks\.slack\.com/services/[\w/]+                 # Slack
  | discord(?:app)?\.com/api/webhooks/\d+/[\w-]+ | \d{8,10}:AA[\w-]{33}(?![\w-])            # Discord, Telegram
  | sk-(?=[\w-]{0,80}[A-Z0-9])[\w-]{20,} | SG\.[\w-]{16,}\.[\w-]{16,} | hvs\.[\w-]{20,}     # OpenAI, SendGrid, Vault
  | sq0[a-z]{3}-[\w-]{20,} | pypi-A[\w-]{20,} | ATATT3[\w=-]{20,}                           # Square, PyPI, Atlassian
  | (?:gh[pousr]|github_pat|[srp]k_(?:live|test)|whsec|npm|hf|do[opr]_v1|shp(?:at|ca|pa|ss)|gl(?:sa|c)|sntry[su]
      |dckr_pat|rubygems)_[A-Za-z0-9]{16}[\w-]*   # GitHub, Stripe, npm, Hugging Face, DigitalOcean, Shopify, ...
    ))"""
_NODE_ID = r"(?s)[^\s\[:]+\.py(?:::[^\s\[:]+)*(?:\[.*\])?"
_BASIC = r"(?:[A-Za-z\d+/]{4})+(?:[A-Za-z\d+/]{4}|[A-Za-z\d+/]{3}=|[A-Za-z\d+/]{2}==)(?![\w+/=])"
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|(?P<mark>\\+[\"'])(?:(?!(?P=mark))[^\n])*(?P=mark)"
_VALUE = rf"(?!\[redacted|(?:none|null|true|false)\b)(?:{_QUOTED}|(?:\[redacted\]|[^\s,;&)}}\]])+)"
_GAP = r"(?:\s|\\[nrt]|\\(?=\s)|(?<=\s)[E>|](?=\s))*+"  # to the next line, too: of a repr, a shell, a traceback
_LOOSE = (  # not sought in a node id: a test's parameters are source code, and ids must stay apart
    r"(?ai)(?<![a-z])((?:authorization|cookie)\\*[\"']?\s*[:=](?![:=])" + _GAP + r")[^\r\n]+",
    r"(?ai)(\bbearer\s+)(?![a-z]{1,19}(?![\w~+/=-]|\.\w))[\w.~+/=-]{4,}",
    rf"(?a)(\b(?:[Bb]asic|BASIC)\s+)(?=\w*(?:[\d+/=]|[a-z][A-Z])){_BASIC}",
    r"(://)(?:[^\s/?#\"'<>@:]*:[^\s/\"'<>]*|[^\s/?#\"'<>]+)(?=@)",
    rf"(?ai)({_WORDS}[_-]?\d{{0,3}}\\*[\"']?\s*(?:=(?!=)|:(?![:=/])){_GAP}){_VALUE}",
)
_NUMBERS = (int, float)
_CONTAINERS = (dict, list, tuple, set, frozenset, Mapping)
_ESCAPE = "backslashreplace"  # a lone surrogate is written as the JSON escape that it is read back from
_LARGEST = 10**4300  # an integer of more digits can be neither written nor read


class _Json:
    """Encoders and decoder of JSON without NaN and Infinity; made at first need, which --help never has."""

    def __getattr__(self, name: str) -> Any:
        import json

        encoder = partial(json.JSONEncoder, ensure_ascii=False, allow_nan=False)
        self.compact = encoder(separators=(",", ":"), check_circular=False).encode
        self.canonical = encoder(separators=(",", ":"), sort_keys=True).encode
        self.spaced = encoder().encode
        self.parted = encoder(separators=(",\n", ": ")).encode  # a line end is in no text: it is always a separator
        self.parse = json.JSONDecoder(parse_constant=int).decode  # int() refuses their names
        return self.__dict__[name]


_json = _Json()


def is_secret_name(name: str) -> bool:
    """Whether a field or environment variable of this name holds a secret, in any case and joiner."""
    field = not re.search(_DATA_KEY, name)  # a path or a node id is data, not the name of a field
    return field and re.search(_SECRET_KEY, re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name)) is not None


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values, longest first, of the environment variables whose names say secret (TPR_ ones are public)."""
    names = [name for name in environ if is_secret_name(name) and not name.startswith("TPR_")]
    values = {environ[name] for name in names if not re.search(_PLACE, name)}
    return tuple(sorted((v for v in values if len(v) >= 6 and v not in MASK), key=lambda v: (-len(v), v)))


@lru_cache(maxsize=1)
def _hint() -> re.Pattern[str]:
    """One pattern for all hints, each looked for from its rarest character on: a search that seldom stops in vain."""
    groups = {"_": ["[a-z0-9]{16}"]}
    for hint in _HINTS:
        at = max(range(len(hint)), key=lambda place: _COMMON.find(hint[place]) % 99)
        groups.setdefault(hint[at], []).append(f"{hint[at + 1 :]}(?<={hint})")
    return re.compile("|".join(f"{mark}(?:{'|'.join(rest)})" for mark, rest in groups.items()))


def redact_text(text: str, secrets: Sequence[str] = ()) -> str:
    """`text` with every secret that its own form or the values in `secrets` give away replaced by a mask."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    if _hint().search(text.lower()):
        for form in (_TOKEN,) if re.fullmatch(_NODE_ID, text) else (_TOKEN, *_LOOSE):
            text = re.sub(form, rf"\g<1>{MASK}", text)
    return text


def redact(value: Any, secrets: Sequence[str] = (), _above: tuple[int, ...] = ()) -> Any:
    """`value` as plain JSON data without secrets; what JSON cannot hold becomes text, value by value."""
    try:
        if isinstance(value, str):
            return redact_text(_plain_text(value), secrets)
        if value is None or (isinstance(value, _NUMBERS) and abs(value) < _LARGEST):
            return value
        if isinstance(value, _CONTAINERS):
            return _redact_container(value, tuple(secrets), _above)
        return redact_text(_plain_text(str(value) if isinstance(value, os.PathLike) else repr(value)), secrets)
    except Exception as error:  # foreign methods may raise anything; the neighbours stay
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _redact_container(value: Any, secrets: tuple[str, ...], above: tuple[int, ...]) -> Any:
    if id(value) in above or len(above) == MAX_DEPTH:
        return f"<{type(value).__name__}: {'contains itself' if id(value) in above else 'nested too deep'}>"
    above = (*above, id(value))
    if not isinstance(value, Mapping):
        rows = [redact(item, secrets, above) for item in value]
        return sorted(rows, key=_json.compact) if isinstance(value, set | frozenset) else rows
    document = {}
    for key, item in value.items():
        plain = key if isinstance(key, str) else redact(key, secrets, above)
        name, secret = _field(plain if isinstance(plain, str) else _json.compact(plain), secrets)
        document[name] = MASK if secret and not isinstance(item, bool | None) else redact(item, secrets, above)
    return document


@lru_cache(maxsize=1024)
def _field(name: str, secrets: tuple[str, ...]) -> tuple[str, bool]:
    """A field's name without secrets, and whether what it holds is one."""
    return redact_text(_plain_text(name), secrets), is_secret_name(name)


def _plain_text(text: str) -> str:
    """`text` with each pair of surrogates as the one character that JSON would read back."""
    text = str.__str__(text)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def canonical(document: Any) -> bytes:
    """Canonical JSON: UTF-8, sorted keys, no spaces, no NaN or Infinity."""
    return str(_json.canonical(document)).encode(errors=_ESCAPE)


def content_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the document without its own `sha256`, as canonical JSON."""
    return sha256(canonical({k: v for k, v in document.items() if k != "sha256"}))


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def indented(value: Any, indent: str = "") -> str:
    """JSON for people: a container that fits in a line stays on it, so a list of rows reads as a table."""
    container = isinstance(value, dict | list)
    if not container or not _is_long(value):
        text = _json.spaced(value)
        if not container or len(indent) + len(text) <= 400:
            return text
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{_json.spaced(key)}: {indented(item, inner)}" for key, item in value.items()]
    else:
        rows = _flat_rows(value, inner) or [indented(item, inner) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(rows) + f"\n{indent}{closing}"


def _is_long(value: dict[str, Any] | list[Any]) -> bool:
    """Whether this, or what it directly holds, is too long for a line: not worth encoding to see it."""
    items = value.values() if isinstance(value, dict) else value
    return len(value) > 200 or any(isinstance(item, dict | list) and len(item) > 200 for item in items)


def _flat_rows(table: list[Any], indent: str) -> list[str]:
    """The rows of a table of plain values, encoded at once, an encoder each being slow; empty if it is none."""
    rows: list[str] = _json.parted(table)[2:-2].split("},\n{")
    if len(rows) != len(table) or not all(isinstance(row, dict) for row in table):
        return []
    lines = ["{" + row.replace(",\n", ", ") + "}" for row in rows]
    return [
        line if len(indent) + len(line) <= 400 else indented(row, indent)
        for line, row in zip(lines, table, strict=True)
    ]


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
        document = _json.parse(path.read_bytes().decode())
        if not isinstance(document, dict) or document.get("artifact") != name:
            raise EvidenceError(f"{path}: expected artifact {name!r}, got another document; {remedy}")
        stated, actual = document.get("sha256"), content_digest(document)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; produce it first") from None
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{path}: expected a JSON artifact, got {one_line(error)}; {remedy}") from None
    if stated != actual:
        changed = f"expected sha256 {one_line(stated)}, got {actual}: changed since written"
        raise EvidenceError(f"{path}: {changed}; {remedy}")
    return document


class EventLog:
    """Appends to the event log: one write a line under a file lock, chained, safe for threads, processes, forks.

    Not for signal handlers, which may have interrupted an append: raise there, log later.
    """

    def __init__(self, path: Path, script: str, run_id: str) -> None:
        self.path, self._fd, self._pid = path, -1, 0
        self._context = '"context":' + _json.compact({"run_id": run_id, "script": script})[:-1]
        self._secrets = secret_values(os.environ)
        self._known = tuple(_json.compact(secret)[1:-1] for secret in self._secrets)
        self._open()

    def _open(self) -> None:
        import hashlib
        import threading

        if self._pid:  # forked: the parent's file lock is shared, and its guard may be held
            os.close(self._fd)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._fd, self._guard, self._pid = os.open(self.path, flags, 0o644), threading.Lock(), os.getpid()
        self._end, self._prev, self._last = -1, GENESIS, ""  # end of file, its last line's hash and timestamp
        self._sha256 = hashlib.sha256

    def _append(self, level: str, event: str, /, **fields: Any) -> None:
        if event not in TAXONOMY:
            raise ValueError(f"unknown event {event!r}; PLAN.md lists the taxonomy")
        if not _OWN_FIELDS.isdisjoint(fields):
            raise ValueError(f"fields {sorted(_OWN_FIELDS)} are the log's own")
        body = self._body(fields)
        try:
            if self._pid != os.getpid():
                self._open()
            with self._guard:
                flock(self._fd, LOCK_EX)
                try:
                    self._write_line(level, event, body)
                finally:
                    flock(self._fd, LOCK_UN)
        except OSError as error:
            raise EvidenceError(f"{self.path}: cannot be appended to: {error.strerror}; make room") from None

    info = partialmethod(_append, "info")
    warning = partialmethod(_append, "warning")
    error = partialmethod(_append, "error")

    def _body(self, fields: Mapping[str, Any]) -> str:
        """The fields as JSON. Most are plain and harmless: a look at the text tells, and saves the walk."""
        try:
            text = _json.compact(fields)
            deep = len(text) > 500 and text.count("[") + text.count("{") > MAX_DEPTH
            known = self._known and any(secret in text for secret in self._known)
            if not (deep or known or _hint().search(text.lower())):
                return text
        except Exception:  # whatever it was, the walk leaves a note in its place
            pass
        return _json.compact(redact(fields, self._secrets))

    def _write_line(self, level: str, event: str, body: str) -> None:
        fd = self._fd
        end = os.lseek(fd, 0, os.SEEK_END)
        lead = b"" if end == self._end else self._catch_up(fd, end)
        self._last = self.now()
        context = f'{self._context},"pid":{self._pid},"level":"{level}","prev":"{self._prev}"}}'
        comma = "," if len(body) > 2 else ""
        line = f'{{"timestamp":"{self._last}","event":"{event}",{context}{comma}{body[1:]}'.encode(errors=_ESCAPE)
        data = lead + line + b"\n"
        written = os.write(fd, data)
        if written < len(data):
            os.ftruncate(fd, end)
            raise OSError(28, "no room for a whole line")
        self._end, self._prev = end + written, self._sha256(line).hexdigest()

    def now(self) -> str:
        """The time, and no earlier than the last line's: a clock set back does not take the evidence with it."""
        return max(self._last, timestamp())

    def _catch_up(self, fd: int, end: int) -> bytes:
        """Learn the last line, which another writer wrote; a newline to write first if that line is torn."""
        tail, size = b"", 4096
        while len(tail) < end and b"\n" not in tail[:-1]:
            os.lseek(fd, max(0, end - size), os.SEEK_SET)
            tail = os.read(fd, min(size, end))
            size *= 8
        last = tail.removesuffix(b"\n").rpartition(b"\n")[2]
        self._prev = sha256(last) if end else GENESIS
        stamp = re.match(rb'{"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"', last)
        self._last = stamp[1].decode() if stamp else ""
        return b"" if tail.endswith(b"\n") or not end else b"\n"

    def close(self) -> None:
        if self._pid == os.getpid():
            os.close(self._fd)
            self._pid = 0


def timestamp() -> str:
    """Now as RFC 3339 in UTC with microseconds; of fixed width, so text order is time order."""
    now = time.time_ns() // 1000
    return f"{_second(now // 1_000_000)}.{str(now)[-6:]}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class LogReading:
    """A log as read: its events in order, the hash of its last line, and every line that does not hold."""

    def __init__(self, events: list[dict[str, Any]], head: str, problems: list[str]) -> None:
        self.events, self.head, self.problems = events, head, problems


def read_log(path: Path) -> LogReading:
    """Read and verify an event log; a torn, forged, dropped or reordered line is a problem, never an error.

    A log that is not there has no events; one that cannot be read is an EvidenceError.
    """
    reading, last, more = LogReading([], GENESIS, []), "", 0
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                line = raw.removesuffix(b"\n")
                record, found = _check_line(line, reading.head, last)
                if record:
                    reading.events.append(record)
                    last = record["timestamp"]
                if len(line) == len(raw):
                    found.append("torn (no newline at its end)")
                room = MAX_PROBLEMS - len(reading.problems)
                reading.problems += [f"line {number}: {problem}" for problem in found[:room]]
                more += len(found[room:])
                reading.head = sha256(line)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    reading.problems += [f"and {more} more"] if more else []
    return reading


def _check_line(line: bytes, head: str, last: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The event in this line, if it is one, and what does not hold of it after a line with this hash and time."""
    try:
        record = _json.parse(line.decode())
        stamp, name, prev = record["timestamp"], record["event"], record["context"]["prev"]
        if not isinstance(stamp + name + prev, str):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, ["torn or not an event"]
    found = []
    if prev != head:
        found.append(f"expected prev {head[:12]}, got {one_line(prev, 12)}: chain broken")
    if name not in TAXONOMY:
        found.append(f"unknown event {one_line(name)}")
    if stamp < last:
        found.append(f"{one_line(stamp)} is earlier than the line before")
    return record, found


class Run:
    """One run of one script: where it works, its id, its log, and the one door through which artifacts go."""

    def __init__(self, script: str, root: Path, artifacts: Path) -> None:
        self.script, self.root, self.artifacts = script, root, artifacts
        made = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"
        self.id = _plain_text(os.environ.get("TPR_RUN_ID") or made)
        try:
            artifacts.mkdir(parents=True, exist_ok=True)
            self.log = EventLog(artifacts / LOG_NAME, script, self.id)
        except OSError as error:
            where = error.filename or artifacts
            raise EvidenceError(f"{where}: cannot be written: {error.strerror}; pass another --artifacts") from None

    @cached_property
    def commit(self) -> tuple[str | None, bool]:
        """git HEAD of the root (None without git or a commit) and whether tracked or new files differ from it."""
        import subprocess

        command = "git --no-optional-locks status --porcelain=v2 --branch -- .".split()
        if self.artifacts.is_relative_to(self.root):
            command.append(f":(exclude,literal){self.artifacts.relative_to(self.root).as_posix()}")
        try:
            done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
        except OSError:
            return None, False
        lines = done.stdout.decode(errors="replace").splitlines()
        oid = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
        return None if oid == "(initial)" else oid, any(not line.startswith("#") for line in lines)

    def write(self, artifact: str, schema_version: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write `body` in its envelope to artifacts/`artifact`; returns the document as written."""
        if not _ENVELOPE.isdisjoint(body):
            raise ValueError(f"fields {sorted(_ENVELOPE)} are the envelope's own")
        document: dict[str, Any] = {"artifact": artifact, "schema_version": schema_version, "run_id": self.id}
        document |= {"generated_at": self.log.now(), "commit": self.commit[0], "dirty": self.commit[1]}
        document |= redact(body, secret_values(os.environ))
        document["sha256"] = content_digest(document)
        self.write_bytes(artifact, (indented(document) + "\n").encode(errors=_ESCAPE))
        return document

    def write_bytes(self, name: str, data: bytes) -> None:
        try:
            write_atomic(self.artifacts / name, data)
        except OSError as error:
            raise EvidenceError(f"{self.artifacts / name}: cannot be written: {error.strerror}; make room") from None


def show(text: str) -> None:
    """Print for people, in the characters that their terminal has. A reader that left, as head does, is no error."""
    try:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        print(text.encode(encoding, _ESCAPE).decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise EvidenceError(f"standard output: cannot be written: {error.strerror}; make room for it") from None


class Arguments(argparse.ArgumentParser):
    """The flags that every script has, with a script's docstring as its help and one-line usage errors."""

    def __init__(self, doc: str, script: str) -> None:
        formatter = partial(argparse.RawTextHelpFormatter, width=110)  # to ask the terminal and to wrap is slow
        super().__init__(prog=f"{script}.py", description=doc, formatter_class=formatter, allow_abbrev=False)
        self.add_argument("--root", type=folder, default=".", help="project under test (default: here)")
        self.add_argument("--artifacts", type=_place, help="where evidence goes (default: ROOT/artifacts)")
        self.add_argument("--quiet", action="store_true", help="no table at the end, no progress")

    def error(self, message: str) -> NoReturn:
        self.exit(complain(self.prog, f"{one_line(message)}; see {self.prog} --help"))


def folder(text: str) -> Path:
    """argparse type: an existing folder, absolute and past its links: as git and coverage name it."""
    try:
        if (place := _place(text)).is_dir():
            return place.resolve()
        found: object = "a file" if place.exists() else "nothing"
    except OSError as error:
        found = error.strerror
    raise argparse.ArgumentTypeError(f"{text}: expected a folder, got {found}")


def _place(text: str) -> Path:
    """argparse type: where a folder is or will be; it may be a link itself, but none leads to it."""
    from pathlib import Path

    path = Path(text)
    try:
        return Path(os.path.realpath(path.parent), path.name)
    except OSError:  # the working directory is gone: --root says so
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
