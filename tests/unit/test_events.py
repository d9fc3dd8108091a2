"""The event log, redaction and hashed artifacts: what every other script rests on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager
from enum import Enum, IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from events import (
    GENESIS,
    LOG_NAME,
    MASK,
    TAXONOMY,
    Arguments,
    EventLog,
    EvidenceError,
    Run,
    canonical,
    complain,
    content_digest,
    indented,
    is_secret_name,
    one_line,
    read_artifact,
    read_log,
    redact,
    redact_text,
    secret_values,
    timestamp,
    write_atomic,
)
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.unit

SCRIPTS = Path(__file__).parents[2] / "scripts" / "tests"
EVENT = "risk_trigger"
EXAMPLES = settings(max_examples=60, deadline=None, database=None, derandomize=True)
ABC = "abcdefghijklmnopqrstuvwxyz"
B64 = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TPR_RUN_ID", "GITHUB_ACTIONS", *(n for n in os.environ if is_secret_name(n))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("script", tmp_path, tmp_path / "artifacts")


def log_of(run: Run) -> Path:
    return run.artifacts / LOG_NAME


def fields_of(run: Run) -> dict[str, Any]:
    """The last event's own fields, from a log that holds."""
    reading = read_log(log_of(run))
    assert reading.problems == []
    return {k: v for k, v in reading.events[-1].items() if k not in ("timestamp", "event", "context")}


# What must go: what is written, and what is left of it.
SECRETS = {
    "assignment": ("connect(password=hunter2, port=1)", "connect(password=[redacted], port=1)"),
    "exception": ("ValueError('api_key=abc123')", "ValueError('api_key=[redacted])"),
    "yaml": ("client-secret: s3cret\nuser: bob", "client-secret: [redacted]\nuser: bob"),
    "quoted": ("{'password': 'it\\'s, a', 'n': 1}", "{'password': [redacted], 'n': 1}"),
    "json in text": ('{"access_token": "x y", "n": 1}', '{"access_token": [redacted], "n": 1}'),
    "json in json": (r"{\"token\": \"abc\"}", r"{\"token\": [redacted]}"),
    "secret key": ("SECRET_KEY = 'a b', secret-key: c", "SECRET_KEY = [redacted], secret-key: [redacted]"),
    "json in json in json": (r'{\\"token\\": \\"a b\\"}', r'{\\"token\\": [redacted]}'),
    "next line": ("password:\n    hunter2", "password:\n    [redacted]"),
    "next line of a repr": (r"'token =\n  a1b2'", r"'token =\n  [redacted]"),
    "next line of a traceback": ("E   E: 'secret':\nE     'a b'", "E   E: 'secret':\nE     [redacted]"),
    "next line of a group": ("  | api_key=\n  | a1b2", "  | api_key=\n  | [redacted]"),
    "next line of a shell": ("--token=\\\n  a1b2", "--token=\\\n  [redacted]"),
    "upper case": ("AWS_SECRET_ACCESS_KEY=wJalr/bPx", "AWS_SECRET_ACCESS_KEY=[redacted]"),
    "camel case": ("clientSecret = s3cret", "clientSecret = [redacted]"),
    "numbered": ("PASSWORD_2=hunter2", "PASSWORD_2=[redacted]"),
    "query": ("/login?token=abc&next=/home", "/login?token=[redacted]&next=/home"),
    "azure": ("AccountName=a;AccountKey=bG9uZw==;x=1", "AccountName=a;AccountKey=[redacted];x=1"),
    "dsn": ("SENTRY_DSN=https://k@s.io/1 x", "SENTRY_DSN=[redacted] x"),
    "database": ("DATABASE_URL: postgres://u:p@h/d", "DATABASE_URL: [redacted]"),
    "user info": ("git clone https://bob:hunter2@host/x.git", "git clone https://[redacted]@host/x.git"),
    "user only": ("https://s3cret@host/x", "https://[redacted]@host/x"),
    "at sign in password": ("redis://u:p@ss@host:1/0", "redis://[redacted]@host:1/0"),
    "marks in password": ("mysql://u:p?#x@host/db", "mysql://[redacted]@host/db"),
    "bearer": ("curl -H Bearer abc.def.ghi x", "curl -H Bearer [redacted] x"),
    "bearer lower": ("bearer A1b2C3d4", "bearer [redacted]"),
    "basic": ("sent Basic dXNlcjpwYXNz ok", "sent Basic [redacted] ok"),
    "basic padded": ("basic YWxhZGRpbjpvcGVuc2VzYW1lMQ==", "basic [redacted]"),
    "header": ("Authorization: Token a b c\nHost: h", "Authorization: [redacted]\nHost: h"),
    "header pair": ("{'Proxy-Authorization': 'NTLM x'}", "{'Proxy-Authorization': [redacted]"),
    "cookie": ("Cookie: a=b; c=d\r\nHost: h", "Cookie: [redacted]\r\nHost: h"),
    "set-cookie": ("set-cookie: sid=1; Path=/", "set-cookie: [redacted]"),
    "token then scheme": ("token: Bearer abc123def", "token: [redacted] [redacted]"),
    "pem": ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a [redacted] b"),
    "pem truncated": ("a -----BEGIN PRIVATE KEY-----\nMIIEvQ", "a [redacted]"),
    "pem in repr": (r"'x\n-----BEGIN EC PRIVATE KEY-----\nMII", r"'x\n[redacted]"),
    "jwt": ("got eyJhbGciOiJI.eyJzdWIiOiIx.dBjftJeZ4CVP!", "got [redacted]!"),
    "aws": ("id AKIAIOSFODNN7EXAMPLE.", "id [redacted]."),
    "aws temporary": ("ASIAIOSFODNN7EXAMPLE", MASK),
    "github": (f"ghp_{B64[:36]} gho_{B64[:36]}", f"{MASK} {MASK}"),
    "github fine": (f"github_pat_{B64[:22]}_{B64}", MASK),
    "github in repr": (rf"'\nghs_{B64[:36]}'", rf"'\n{MASK}'"),
    "gitlab": ("glpat-abc_DEF-1234567890xyz", MASK),
    "slack": ("xoxb-123456789012-abcDEF x", f"{MASK} x"),
    "slack app": ("xapp-1-A012-345-abc", MASK),
    "slack hook": ("https://hooks.slack.com/services/T0/B0/xyz", f"https://{MASK}"),
    "stripe": (f"sk_live_{B64[:24]} rk_test_{B64[:24]}", f"{MASK} {MASK}"),
    "stripe hook": (f"whsec_{B64[:32]}", MASK),
    "google key": (f"AIza{B64[:35]}", MASK),
    "google oauth": ("ya29.a0AfH6SMBx_y-z", MASK),
    "google client": (f"GOCSPX-{B64[:28]}", MASK),
    "openai": (f"sk-{B64}", MASK),
    "openai project": (f"sk-proj-{B64[:20]}_{B64[:20]}", MASK),
    "anthropic": (f"sk-ant-api03-{B64}-AA", MASK),
    "npm": (f"npm_{B64[:36]}", MASK),
    "pypi": (f"pypi-AgEIcHlwaS5vcmc{B64}", MASK),
    "hugging face": (f"hf_{B64[:34]}", MASK),
    "digitalocean": ("dop_v1_" + "0123456789abcdef" * 4, MASK),
    "sendgrid": (f"SG.{B64[:22]}.{B64}", MASK),
    "square": (f"sq0atp-{B64[:22]}", MASK),
    "shopify": ("shpat_" + "0123456789abcdef" * 2, MASK),
    "telegram": (f"bot 123456789:AA{B64[:33]}", f"bot {MASK}"),
    "discord": ("https://discord.com/api/webhooks/123/abC-x", f"https://{MASK}"),
    "vault": (f"hvs.{B64[:24]}", MASK),
    "atlassian": (f"ATATT3{B64}", MASK),
    "two in a line": ("pwd=a token=b", "pwd=[redacted] token=[redacted]"),
}
# What must stay: the text that is left is the text that was written.
HARMLESS = [
    "0123456789abcdef0123456789abcdef01234567",
    "sha256:" + "ab" * 32,
    "123e4567-e89b-12d3-a456-426614174000",
    "tests/test_token.py::TestToken::test_password[x]",
    "tests/test_token.py::TestToken::test_password[token=a]",
    "tests/test_url.py::test_parse[https://user:pw@host/]",
    "tests/test_auth.py::test_basic[Authorization: Basic dXNlcjpwYXNz]",
    "tests\\test_secret.py::test_cookie",
    "src/token.py:12",
    "src/password/token.py:12: AssertionError",
    "src/api/webhooks/12/handler.py",
    "assert token == expected",
    "assert password != 'x'",
    "secret := compute()",
    "TypeError: f() got an unexpected keyword argument 'token'",
    "KeyError: 'password'",
    "password=None, secret=True, token: null",
    "FAILED tests/test_a.py::TestSecret::test_it - KeyError",
    "pytest==9.2.0 tokenizers==0.15.1 python-dotenv-1.0.0",
    "markers: secret, token, slow",
    "see https://example.com/a?b=c#d and mail a@b.c",
    "git@github.com:owner/repo.git",
    "@pytest.mark.token",
    "bearer authentication is required. Bearer tokens, basic auth",
    "basic configuration of JavaScript",
    "monkey=banana keyboard: qwerty turkey: bird",
    "2026-11-22T17:40:00.000001Z",
    "task-list-of-things-to-be-done-1234567890",
    "desk-0123456789abcdef0123456789abcdef",
    "npm_config_cache hf_home ghp_short sk_live",
    "_" + "0123456789abcdef" * 2,
    "ordinary words about nothing",
]


@pytest.mark.parametrize(("text", "left"), SECRETS.values(), ids=SECRETS)
def test_a_secret_is_masked_whole_and_its_surroundings_stay(text: str, left: str) -> None:
    assert redact_text(text) == left


def test_what_is_masked_in_a_text_is_masked_in_the_log_and_in_an_artifact(run: Run) -> None:
    for text, left in SECRETS.values():
        run.log.info(EVENT, text=text)
        assert fields_of(run) == {"text": left}
    run.log.info(EVENT, n=1, client_secret="s3cret")
    assert fields_of(run) == {"n": 1, "client_secret": MASK}
    assert run.write("x.json", "1", {"rows": [[text] for text, _ in SECRETS.values()]})["rows"] == [
        [left] for _, left in SECRETS.values()
    ]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("text", [text for text, _ in SECRETS.values()], ids=SECRETS)
def test_masking_twice_is_masking_once(text: str) -> None:
    assert redact_text(redact_text(text)) == redact_text(text)


@pytest.mark.parametrize(
    "name",
    "password Password PASSWD db_password dbPassword user-password pass_phrase passphrase pwd secret client_secret "
    "clientSecret secrets token accessToken refresh-token X-Auth-Token api_key api-key api.key apiKey APIKEY apikey "
    "x-api-key authorization Proxy-Authorization cookie Set-Cookie cookies private_key privateKey ssh_key credential "
    "AWS_SECRET_ACCESS_KEY credentials dsn SENTRY_DSN database_url databaseUrl DB-URL redis_uri POSTGRES_URL "
    "password2 token_value secretValue".replace("pass_phrase ", "").split(),
)
def test_a_field_whose_name_says_secret_is_masked_in_any_case_and_joiner(name: str) -> None:
    body = redact({name: "x", "deep": [{"a": {name: {"b": 1}}}]})
    assert body == {name: MASK, "deep": [{"a": {name: MASK}}]}


@pytest.mark.parametrize(
    "name",
    "tokenizer secretary cookiecutter compass keyboard monkey key url author passed tests/test_token.py "
    "tests/a.py::test_password test_token.py token.json src\\token id commit sha256 line 3.11".split(),
)
def test_a_field_that_only_looks_like_a_secret_stays(name: str) -> None:
    assert redact({name: "x"}) == {name: "x"}


def test_nothing_and_yes_or_no_are_no_secrets() -> None:
    assert redact({"token": None, "secret": False, "password": 1234}) == {
        "token": None,
        "secret": False,
        "password": MASK,
    }


def test_marker_names_stay_readable_in_a_list() -> None:
    assert redact({"unused": ["token", "secret", "password"]}) == {"unused": ["token", "secret", "password"]}


def test_a_secret_is_masked_in_keys_and_in_nested_containers() -> None:
    token = f"ghp_{B64[:36]}"
    assert redact({token: {1: [(token,), {token}]}, ("a", token): 0}) == {
        MASK: {"1": [[MASK], [MASK]]},
        f'["a","{MASK}"]': 0,
    }


def test_values_of_secret_environment_variables_are_masked_longest_first() -> None:
    environ = {"DB_PASSWORD": "hunter2", "A_TOKEN": "hunter2-and-more", "HOME": "/home/x", "TPR_SECRET": "public1"}
    secrets = secret_values(environ)
    assert secrets == ("hunter2-and-more", "hunter2")
    assert redact_text("a hunter2-and-more b hunter2 c", secrets) == f"a {MASK} b {MASK} c"
    assert redact([ValueError("hunter2")], secrets) == [f"ValueError('{MASK}')"]
    assert redact({"of hunter2": 1}, secrets) == {f"of {MASK}": 1}


@pytest.mark.parametrize(
    "name", ["PWD", "OLDPWD", "GOOGLE_APPLICATION_CREDENTIALS_FILE", "SECRETS_DIR", "TOKEN_PATH"]
)
def test_a_variable_that_names_a_place_is_no_secret(name: str) -> None:
    assert secret_values({name: "/srv/project"}) == ()


def test_a_short_value_and_the_mask_itself_are_no_secrets() -> None:
    assert secret_values({"A_TOKEN": "abcde", "B_TOKEN": "redacted", "C_TOKEN": ""}) == ()
    assert secret_values({"A_TOKEN": "abcdef"}) == ("abcdef",)


HOSTILE = [
    "-----BEGIN A",
    "-----BEGIN A-----",
    "-----BEGIN A----------END ",
    "eyJ",
    "eyJaaaaa-",
    "eyJaaaaa.",
    "sk-",
    "sk-a_",
    "SG.",
    "SG.aaaaaaaaaaaaaaaa",
    "glpat-a",
    "ghp_a",
    "ghp_",
    "xoxb-",
    "12345678:AA",
    "1",
    "bearer ",
    "bearer\t",
    "bearer aaaa",
    "basic aaaa ",
    "basic ",
    "basic aB1+",
    "authorization",
    "cookie =",
    "cookie: ",
    "password",
    "password ",
    'password="',
    "password='\\",
    'password="\\"',
    "token=[redacted",
    "://",
    "://a",
    "://a:",
    "://@",
    "@",
    "a.py::",
    ".py",
    "[",
    "db.",
    "_",
    "a",
    " ",
    "\\n",
    "api api_",
    "s",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_costs_time_in_proportion_to_its_length(piece: str) -> None:
    for spice in ("", " token="):  # the word makes every form be searched for
        text = piece * ((150_000 if "eyJ" in piece else 50_000) // len(piece)) + spice
        began = time.process_time()
        redact_text(text)
        is_secret_name(text)
        assert time.process_time() - began < 1.0  # a quadratic search takes minutes


@pytest.mark.parametrize("gap", [" ", "a", "=", "\\", "'", "A", "-", "1"])
def test_one_long_gap_after_each_word_costs_no_more(gap: str) -> None:
    for word in (
        "bearer ",
        "basic ",
        "password ",
        "token=",
        "cookie ",
        "://",
        "eyJ",
        "sk-",
        "-----BEGIN ",
        "SG.",
        '"',
    ):
        began = time.process_time()
        redact_text(word + gap * 20_000)
        redact_text((word + gap * 200) * 30)
        assert time.process_time() - began < 1.0


def test_the_hash_is_taken_after_the_mask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_PASSWORD", 'hunter"2\n')
    run = Run("script", run.root, run.artifacts)
    run.log.info(EVENT, message='it was hunter"2\n', nested={"error": ValueError("token=abcdef")})
    run.log.info(EVENT)
    document = run.write("x.json", "1", {"text": 'hunter"2\n'})
    lines = log_of(run).read_bytes().splitlines()
    assert json.loads(lines[1])["context"]["prev"] == hashlib.sha256(lines[0]).hexdigest()
    assert document["sha256"] == content_digest(document) == content_digest(read_artifact(run.artifacts / "x.json"))
    written = log_of(run).read_bytes() + (run.artifacts / "x.json").read_bytes()
    assert written.count(MASK.encode()) == 3
    assert b"hunter" not in written
    assert b"abcdef" not in written


def test_the_value_of_a_secret_variable_is_masked_in_an_otherwise_harmless_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_PASSWORD", 'hunter"2\n')
    Run("script", run.root, run.artifacts).log.info(EVENT, message='it was hunter"2\n')
    assert fields_of(run) == {"message": f"it was {MASK}"}


def test_an_event_says_when_what_who_and_the_line_before(run: Run) -> None:
    run.log.info(EVENT, a=1)
    run.log.warning(EVENT)
    run.log.error(EVENT, b=[None])
    lines = log_of(run).read_bytes().splitlines()
    first, second, third = (json.loads(line) for line in lines)
    who = {"run_id": run.id, "script": "script", "pid": os.getpid()}
    assert list(first) == ["timestamp", "event", "context", "a"]
    assert first["context"] == {**who, "level": "info", "prev": GENESIS}
    assert second["context"] == {**who, "level": "warning", "prev": hashlib.sha256(lines[0]).hexdigest()}
    assert third["context"] == {**who, "level": "error", "prev": hashlib.sha256(lines[1]).hexdigest()}
    reading = read_log(log_of(run))
    assert (reading.events, reading.problems) == ([first, second, third], [])
    assert reading.head == hashlib.sha256(lines[2]).hexdigest()


def test_every_event_of_the_taxonomy_can_be_logged_and_no_other(run: Run) -> None:
    for event in TAXONOMY:
        run.log.info(event)
    with pytest.raises(ValueError, match="unknown event 'made_up'"):
        run.log.info("made_up")
    assert {event["event"] for event in read_log(log_of(run)).events} == TAXONOMY


@pytest.mark.parametrize("name", ["timestamp", "event", "context"])
def test_a_field_can_not_forge_the_logs_own(run: Run, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        run.log.info(EVENT, **{name: "x"})
    assert log_of(run).read_bytes() == b""


def test_a_clock_set_back_does_not_take_the_log_with_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.log.info(EVENT)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    run.log.info(EVENT)
    Run("other", run.root, run.artifacts).log.info(EVENT)
    made = run.write("a.json", "1.0", {})
    reading = read_log(log_of(run))
    assert reading.problems == []
    assert {event["timestamp"] for event in reading.events} == {made["generated_at"]}


def test_a_timestamp_is_utc_with_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_001_999)
    assert timestamp() == "2023-11-14T22:13:20.000001Z"


class Colour(str, Enum):  # noqa: UP042 - its str() is not its value
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Rude:
    def __repr__(self) -> str:
        raise SystemError("token=abc")


CYCLE: list[Any] = [1]
CYCLE += [CYCLE, CYCLE]
RING: dict[str, Any] = {"a": 1}
RING["ring"] = RING
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]
ODD = {
    "lone surrogate": ("a\udc80", "a\udc80"),
    "pair of surrogates": ("\ud83d\ude00\ud83d", "\U0001f600\ud83d"),
    "not a number": (float("nan"), "nan"),
    "infinite": ([1.5, float("-inf")], [1.5, "-inf"]),
    "cycle": (CYCLE, [1, "<list: contains itself>", "<list: contains itself>"]),
    "cycle of mappings": (RING, {"a": 1, "ring": "<dict: contains itself>"}),
    "raising repr": ([Rude(), 1], ["<Rude: SystemError>", 1]),
    "huge integer": ([10**4300, 10**4300 - 1], ["<int: ValueError>", 10**4300 - 1]),
    "odd keys": (
        {None: 1, True: 2, 1.5: 3, (1, "a"): 4, b"x": 5},
        {"null": 1, "true": 2, "1.5": 3, '[1,"a"]': 4, "b'x'": 5},
    ),
    "nan key": ({float("nan"): 1}, {"nan": 1}),
    "surrogate key": ({"\udc80": 1, "\ud83d\ude00": 2}, {"\udc80": 1, "\U0001f600": 2}),
    "bytes": (b"\xff", "b'\\xff'"),
    "path": (Path("/a/b"), "/a/b"),
    "set": (set("fedcba"), list("abcdef")),
    "mixed set": ({1, "a", 0.5}, ["a", 0.5, 1]),
    "tuple": ((1, (2,)), [1, [2]]),
    "enums": ([Colour.RED, Level.LOW], ["red", 1]),
    "exception": (ValueError("x"), "ValueError('x')"),
    "mapping": (MappingProxyType({"a": 1}), {"a": 1}),
    "control characters": ("\x00\x1b\n\u2028", "\x00\x1b\n\u2028"),
    "empty": ({"": [{}, [], ""]}, {"": [{}, [], ""]}),
}


@pytest.mark.parametrize(("value", "left"), ODD.values(), ids=ODD)
def test_an_odd_value_becomes_text_and_its_neighbours_stay(run: Run, value: Any, left: Any) -> None:
    run.log.info(EVENT, before=1, odd=value, after=[2])
    assert (
        fields_of(run)
        == {"before": 1, "odd": left, "after": [2]}
        == redact({"before": 1, "odd": value, "after": [2]})
    )
    document = run.write("odd.json", "1", {"before": 1, "odd": value})
    assert read_artifact(run.artifacts / "odd.json") == document
    assert document["odd"] == left


def test_deep_nesting_is_cut_where_any_reader_can_follow(run: Run) -> None:
    run.log.info(EVENT, deep=DEEP, after=1)
    text = json.dumps(fields_of(run)["deep"])
    assert text.count("[") < 70
    assert '"<list: nested too deep>"' in text
    assert fields_of(run)["after"] == 1


def text_of(characters: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(characters), max_size=20).map("".join)


TEXT = text_of('ab_-1"\\/{[:,=@\x00\n\x7f\u00e9\u2028\ud83d\ude00\U0001f600')
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=9)
KEYS = TEXT | st.integers() | st.floats() | st.booleans() | st.none()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


@pytest.mark.parametrize("odd", [None, {"a": "},\n{", "b": ",\n"}, {"a": "wide" * 100}, {"a": [{}, {}]}, "text", []])
def test_each_row_of_a_long_table_is_a_line_unless_it_is_wide(odd: object) -> None:
    rows = [odd, *({"id": f"{number}, [x]", "seconds": 0.5} for number in range(200)), odd]
    shown = indented({"rows": rows}).split("\n")
    wide = odd == {"a": "wide" * 100}
    assert json.loads("\n".join(shown)) == {"rows": rows}
    assert [json.loads(line.rstrip(",")) for line in shown if '"id"' in line] == rows[1:-1]
    assert len(shown) == 4 + len(rows) + 4 * wide


@EXAMPLES
@given(value=VALUES)
def test_whatever_is_written_reads_back_equal_and_digests_equal(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "round-trip"
    folder.mkdir(exist_ok=True)
    (folder / LOG_NAME).unlink(missing_ok=True)
    log = EventLog(folder / LOG_NAME, "script", "run")
    log.info(EVENT, value=value)
    log.close()
    reading = read_log(folder / LOG_NAME)
    assert reading.problems == []
    assert reading.events[0]["value"] == redact(value)
    document = {"value": redact(value)}
    assert content_digest(json.loads(indented(document))) == content_digest(document)
    assert json.loads(canonical(document)) == document


WRITER = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from events import Run
run = Run("writer", Path.cwd(), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()  # until all are
def write(thread):
    for number in range(20):
        text = "x" * (20_000 if number % 4 == 0 else 60)
        run.log.info("risk_trigger", who=[sys.argv[3], thread, number], text=text)
threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
"""


def test_eight_processes_with_threads_lose_tear_and_mix_nothing(run: Run) -> None:
    command = [sys.executable, "-c", WRITER, str(SCRIPTS), str(run.artifacts)]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen([*command, str(n)], stdin=pipe, stdout=pipe) for n in range(8)]
    assert all(writer.stdout and writer.stdout.readline() for writer in writers)
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0] * 8
    reading = read_log(log_of(run))
    assert reading.problems == []
    expected = [[str(p), t, n] for p in range(8) for t in range(3) for n in range(20)]
    assert sorted(event["who"] for event in reading.events) == expected
    assert all(event["text"].strip("x") == "" for event in reading.events)


def test_a_writer_waits_for_the_lock(run: Run) -> None:
    with log_of(run).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=run.log.info, args=(EVENT,))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        assert log_of(run).read_bytes() == b""
        fcntl.flock(other, fcntl.LOCK_UN)
    writer.join(10)
    assert len(read_log(log_of(run)).events) == 1


def test_a_fork_that_happens_amid_an_append_still_logs(run: Run) -> None:
    run.log.info(EVENT, who="before")
    with run.log._guard:  # as another thread of the parent would hold it
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # rather than hang
            try:
                run.log.info(EVENT, who="child")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    run.log.info(EVENT, who="parent")
    reading = read_log(log_of(run))
    assert ([event["who"] for event in reading.events], reading.problems) == (["before", "child", "parent"], [])


@pytest.mark.parametrize("torn", [b'{"timestamp":"2', b"x" * 50_000, b"\xff\x00"], ids=["short", "long", "bytes"])
def test_a_torn_last_line_is_reported_then_closed_by_the_next_writer_and_kept(run: Run, torn: bytes) -> None:
    run.log.info(EVENT, n=1)
    with log_of(run).open("ab") as stream:
        stream.write(torn)
    assert read_log(log_of(run)).problems == ["line 2: torn or not an event", "line 2: torn (no newline at its end)"]
    run.log.info(EVENT, n=2)
    run.log.info(EVENT, n=3)
    reading = read_log(log_of(run))
    assert [event["n"] for event in reading.events] == [1, 2, 3]
    assert reading.problems == ["line 2: torn or not an event"]
    assert log_of(run).read_bytes().splitlines()[1] == torn


def test_a_forged_timestamp_is_not_carried_on(run: Run) -> None:
    log_of(run).write_bytes(b'{"timestamp":"2zzz","event":"x","context":{}}\n')
    run.log.info(EVENT)
    assert read_log(log_of(run)).events[-1]["timestamp"] <= timestamp()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond this size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_leaves_no_torn_line(run: Run, room: int) -> None:
    run.log.info(EVENT, n=1)
    whole = log_of(run).read_bytes()
    with full_disk(len(whole) + room), pytest.raises(EvidenceError, match=r"cannot be appended to: .*; make room"):
        run.log.info(EVENT, n=2)
    assert log_of(run).read_bytes() == whole
    run.log.info(EVENT, n=3)
    reading = read_log(log_of(run))
    assert ([event["n"] for event in reading.events], reading.problems) == ([1, 3], [])


def test_a_full_disk_keeps_the_old_artifact_whole_and_no_leftover(run: Run) -> None:
    before = run.write("x.json", "1", {"a": 1})
    with full_disk(200), pytest.raises(EvidenceError, match=r"x\.json: cannot be written: .*; make room"):
        run.write("x.json", "1", {"a": "x" * 500})
    assert read_artifact(run.artifacts / "x.json") == before
    assert sorted(path.name for path in run.artifacts.iterdir()) == [LOG_NAME, "x.json"]


def _edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"n":1', b'"n":7'), *lines[2:]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_edited, "line 3: expected prev "),
        (lambda lines: [lines[0], *lines[2:]], "line 2: expected prev "),
        (lambda lines: lines[1:], "line 1: expected prev 000000000000"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], "line 2: expected prev "),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2: expected prev "),
        (lambda lines: [line.replace(EVENT.encode(), b"made_up") for line in lines], "line 1: unknown event made_up"),
        (lambda lines: [lines[0].replace(b':"20', b':"90'), *lines[1:]], "line 2: 20"),
        (lambda lines: [*lines, b""], "line 5: torn or not an event"),
    ],
    ids=["edited", "dropped", "beheaded", "reordered", "repeated", "renamed", "redated", "empty line"],
)
def test_a_forged_log_shows(run: Run, change: Callable[[list[bytes]], list[bytes]], problem: str) -> None:
    for n in range(4):
        run.log.info(EVENT, n=n)
    lines = log_of(run).read_bytes().splitlines()
    log_of(run).write_bytes(b"".join(line + b"\n" for line in change(lines)))
    assert any(found.startswith(problem) for found in read_log(log_of(run)).problems)


def test_changing_any_one_byte_of_a_log_or_an_artifacts_content_shows(run: Run) -> None:
    run.log.info(EVENT, n=1)
    run.log.info(EVENT, n=2)
    data = log_of(run).read_bytes()
    head = read_log(log_of(run)).head
    for place in range(len(data)):
        log_of(run).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        reading = read_log(log_of(run))
        assert reading.problems or reading.head != head, place


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[]",
        b"{}",
        b"1",
        b'"x"',
        b'{"timestamp":1,"event":2,"context":{"prev":3}}',
        b'{"timestamp":"a","event":["x"],"context":{"prev":"b"}}',
        b'{"timestamp":"a","event":"b","context":"prev"}',
        b'{"timestamp":["a"],"event":["b"],"context":{"prev":["c"]}}',
        b'{"a":NaN}',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\x00",
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"\r",
    ],
    ids=lambda line: repr(line[:20]),
)
def test_a_hostile_line_is_a_problem_not_a_traceback(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "log").write_bytes(line + b"\n")
    reading = read_log(tmp_path / "log")
    assert (reading.events, reading.problems) == ([], ["line 1: torn or not an event"])


@EXAMPLES
@given(data=st.binary() | text_of('{}[]":,truenl1e9-\\ ').map(str.encode))
def test_any_bytes_can_be_read_as_a_log_and_as_an_artifact(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(data)
    assert read_log(path).events == []
    with pytest.raises(EvidenceError):
        read_artifact(path)


def test_a_broken_chain_shows_both_hashes_in_short(tmp_path: Path) -> None:
    line = {"timestamp": "2026-01-05T07:30:00.000000Z", "event": EVENT, "context": {"prev": "f" * 64}}
    (tmp_path / LOG_NAME).write_text(json.dumps(line) + "\n")
    said = f"line 1: expected prev {'0' * 12}, got {'f' * 11}…: chain broken"
    assert read_log(tmp_path / LOG_NAME).problems == [said]


def test_a_log_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    reading = read_log(tmp_path / "missing")
    assert (reading.events, reading.head, reading.problems) == ([], GENESIS, [])
    with pytest.raises(EvidenceError, match="cannot be read"):
        read_log(tmp_path)


def test_reading_takes_memory_in_proportion(tmp_path: Path) -> None:
    log = EventLog(tmp_path / LOG_NAME, "script", "run")
    for number in range(500):
        log.info(EVENT, test=f"tests/unit/test_x.py::test_{number}", outcome="passed", text="x" * 80)
    tracemalloc.start()
    read_log(log.path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * log.path.stat().st_size


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n" * 2500)
    problems = read_log(tmp_path / "log").problems
    assert (len(problems), problems[-1]) == (1001, "and 1500 more")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a JSON artifact, got Expecting value"),
        (b"{", "expected a JSON artifact"),
        (b'{"a": NaN}', "expected a JSON artifact, got .*NaN"),
        (b"\xff", "expected a JSON artifact"),
        (b"[" * 100_000, "expected a JSON artifact"),
        (b"[]", "expected artifact 'x.json', got another document"),
        (b'{"artifact": "y.json"}', "expected artifact 'x.json', got another document"),
        (b'{"artifact": "x.json", "sha256": "abc"}', "expected sha256 abc, got [0-9a-f]{64}: changed since written"),
        (b'{"artifact": "x.json", "sha256": ["a\\n"]}', "expected sha256 "),
    ],
)
def test_an_artifact_that_does_not_fit_says_what_where_and_what_to_do(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match=message) as caught:
        read_artifact(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; remove x.json and produce it anew")
    assert "\n" not in str(caught.value)


def test_a_missing_artifact_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"x\.json: cannot be read: No such file or directory; produce it first"):
        read_artifact(tmp_path / "x.json")


def test_an_artifact_carries_its_envelope_and_its_digest(run: Run) -> None:
    document = run.write("x.json", "1.2.0", {"a": 1, "rows": [{"id": n, "text": "x" * 30} for n in range(9)]})
    assert list(document) == "artifact schema_version run_id generated_at commit dirty a rows sha256".split()
    assert (document["artifact"], document["schema_version"], document["run_id"]) == ("x.json", "1.2.0", run.id)
    content = {k: v for k, v in document.items() if k != "sha256"}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert document["sha256"] == hashlib.sha256(plain).hexdigest()
    assert read_artifact(run.artifacts / "x.json") == document
    text = (run.artifacts / "x.json").read_text()
    assert '\n    {"id": 0, "text": "' in text
    assert text.endswith("}\n")


def test_a_body_can_not_forge_the_envelope(run: Run) -> None:
    with pytest.raises(ValueError, match="commit"):
        run.write("x.json", "1", {"commit": "x"})


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "x", b"old")

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "x", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_a_reader_never_sees_a_part_of_a_file_that_is_being_replaced(tmp_path: Path) -> None:
    path, seen = tmp_path / "x", set()
    write_atomic(path, b"a" * 100_000)

    def write() -> None:
        for character in (b"b", b"c", b"d", b"e"):
            write_atomic(path, character * 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        seen.add(path.read_bytes())
    assert all(len(data) == 100_000 and len(set(data)) == 1 for data in seen)


def test_a_run_takes_its_id_from_the_chain_or_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {Run("a", tmp_path, tmp_path).id for _ in range(3)}
    assert len(made) == 3
    monkeypatch.setenv("TPR_RUN_ID", '7-1"\n\udc80')
    run = Run("a", tmp_path, tmp_path)
    run.log.info(EVENT)
    assert read_log(tmp_path / LOG_NAME).events[-1]["context"]["run_id"] == '7-1"\n\udc80' == run.id


@pytest.mark.parametrize("where", ["file", "file/below", "taken"])
def test_a_place_that_can_not_be_written_is_one_clear_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / LOG_NAME).mkdir(parents=True)
    with pytest.raises(EvidenceError, match=r"cannot be written: .*; pass another --artifacts"):
        Run("a", tmp_path, tmp_path / where)


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.check_output(["git", "-C", str(root), *identity, *arguments], text=True).strip()


def test_commit_is_the_head_and_dirty_leaves_out_the_evidence(tmp_path: Path) -> None:
    def commit() -> tuple[str | None, bool]:
        return Run("a", tmp_path, tmp_path / "artifacts").commit

    assert commit() == (None, False)
    git(tmp_path, "init", "-q")
    assert commit() == (None, False)
    (tmp_path / "x").write_text("1")
    git(tmp_path, "add", "x")
    git(tmp_path, "commit", "-qm", "x")
    head = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "artifacts" / "evidence").write_text("")
    index = (tmp_path / ".git" / "index").stat().st_mtime_ns
    assert commit() == (head, False)
    (tmp_path / "x").touch()
    assert commit() == (head, False)
    assert (tmp_path / ".git" / "index").stat().st_mtime_ns == index  # the project under test is not touched
    (tmp_path / "y").write_text("")
    assert commit() == (head, True)


def test_without_git_there_is_no_commit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert run.commit == (None, False)


def test_the_common_flags_default_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = Arguments("Doc.", "script").parse_args([])
    assert (args.root, args.artifacts, args.quiet) == (tmp_path, None, False)
    args = Arguments("Doc.", "script").parse_args(["--root", "..", "--artifacts", "x", "--quiet"])
    assert (args.root, args.artifacts, args.quiet) == (tmp_path.parent, tmp_path / "x", True)


def test_a_root_is_named_as_git_and_coverage_name_it(tmp_path: Path) -> None:
    """A path through a link is not below the folder that it leads to; of the evidence's folder only its place is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "artifacts").symlink_to("../disk")
    args = Arguments("Doc.", "script").parse_args(
        ["--root", str(tmp_path / "link"), "--artifacts", str(tmp_path / "link" / "artifacts")]
    )
    assert (args.root, args.artifacts) == (tmp_path / "real", tmp_path / "real" / "artifacts")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--root", "no\nwhere"], "argument --root: no where: expected a folder, got nothing"),
        (["--root", "file"], "argument --root: file: expected a folder, got a file"),
        (["--root", "x" * 5000], "File name too long"),
        (["--art", "x"], "unrecognized arguments: --art x"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        Arguments("Doc.", "script").parse_args(arguments)
    printed = capsys.readouterr().err
    assert caught.value.code == 2
    assert printed.startswith("script.py: error: ")
    assert printed.count("\n") == 1
    assert message in printed or "…" in printed


def test_a_working_directory_that_is_gone_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for arguments in ([], ["--artifacts", "x"]):
        with pytest.raises(SystemExit):
            Arguments("Doc.", "script").parse_args(arguments)
    monkeypatch.chdir(tmp_path)
    assert capsys.readouterr().err.count(", got No such file or directory") == 2


def test_a_complaint_is_one_redacted_line_and_an_annotation_in_a_workflow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complain("a.py", "x: bad\n::error::100% token=abc") == 2
    assert capsys.readouterr().err == "a.py: error: x: bad ::error::100% token=[redacted]\n"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    complain("a.py", "100% bad")
    assert capsys.readouterr().err == "a.py: error: 100% bad\n::error title=a.py::100%25 bad\n"


OUTPUTS = {  # where standard output leads, in what encoding: what is read there and the exit code
    "a terminal without the characters": (None, "ascii", "a\\u2026\n", 0),
    "a reader that has left": ("pipe", "utf-8", "", 0),
    "a full disk": (
        "/dev/full",
        "utf-8",
        "standard output: cannot be written: No space left on device; make room",
        3,
    ),
    "closed": ("closed", "utf-8", "", 0),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_whatever_becomes_of_the_output_neither_a_traceback_nor_another_verdict_follows(name: str) -> None:
    place, encoding, expected, code = OUTPUTS[name]
    script = (
        "import sys, events\n"
        "try: events.show('a\u2026')\n"
        "except events.EvidenceError as error: print(error, file=sys.stderr); sys.exit(3)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout={None: subprocess.PIPE, "pipe": writer, "/dev/full": full, "closed": None}[place],
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: os.close(1)) if place == "closed" else None,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONIOENCODING": encoding},
        check=False,
    )
    os.close(writer)
    os.close(full)
    said = ((done.stdout or b"") + done.stderr).decode()
    assert (done.returncode, said[: len(expected)] if code else said) == (code, expected)


def test_one_line_has_no_control_characters_and_a_length() -> None:
    assert one_line("a\nb\x1b[1m\u202e\udc80c") == "a b [1m  c"
    assert one_line("x" * 400, 10) == "xxxxxxxxx…"


def test_starting_a_script_imports_nothing_slow() -> None:
    slow = "typing dataclasses inspect pathlib subprocess hashlib uuid datetime threading shutil".split()
    code = f"import sys; before = set(sys.modules); import events; print(set({slow}) & set(sys.modules) - before)"
    environ = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environ) == "set()\n"
