"""Invariant 3: the platform's readers raise nothing but their own error, whatever is in the file."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from collect_metrics import read_ladder
from events import EvidenceError, read_artifact, read_log
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scan_flakes import UnreadableError, read_report
from validate_env import LockError, read_lock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.property

PROPERTY = settings(deadline=None)  # the rest is the profile's
NUMBERS = ["0", "-1", "1e999", "1" * 400, "9" * 5000, "NaN", "0x10", "1_0", ".5", "true", "null", "2025-11-23"]
MARKUP = ["", '""', '"\\ud800"', "é", "\ud800", "\0", "&e;", "<a>", "[" * 30, "{a: " * 30, "*a", "!!python/x y"]
SCALAR = st.sampled_from(NUMBERS + MARKUP)
TAIL = st.binary(max_size=20) | st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b"])
NOISE = st.tuples(st.integers(0, 100), st.integers(0, 40), SCALAR, TAIL)
WHOLE = (0, 0, "", b"")

EVENT = '{"timestamp":"2025-11-23T00:00:00.000000Z","event":"risk_trigger","context":{"prev":"' + "0" * 64 + '"}}\n'
ARTIFACT = '{"artifact":"file","rows":[{"a":1.5},null],"sha256":"0"}'
LOCKS = {
    "requirements.lock": "a==1.0 ; python_version >= '3.11' \\\n    --hash=sha256:00\n# note\nb[x]==2\nc @ file:///c\n",
    "uv.lock": "version = 1\n[[package]]\nname = 'a'\nversion = '1'\n[[package]]\nname='b'\nmarker = 'extra == 1'\n",
}
LADDER = "baseline:\n  line: %s\n  branch: %s\ntarget: {line: 80, branch: 70}\ntolerance: 1\nhorizon: 2026-01-01\n"
JUNIT = (
    '<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="2" timestamp="2025-11-23T00:00:00">'
    '<properties><property name="commit" value="abc"/></properties>'
    '<testcase classname="tests.test_a.TestB" name="test_c[x-1]" time="0.1"/>'
    '<testcase classname="tests.test_a" name="test_d"><failure message="m">E  x != 1</failure></testcase>'
    "</testsuite></testsuites>"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boundary") / "file"


def write(path: Path, text: str, noise: tuple[int, int, str, bytes]) -> bytes:
    """Write the text with something put in at a place in percent, a piece cut out there, and bytes added."""
    percent, size, scalar, tail = noise
    start = percent * len(text) // 100
    changed = text[:start] + scalar + text[start + size :]
    data = changed.encode("utf-8", "surrogatepass") + tail
    path.write_bytes(data)
    return data


@PROPERTY
@given(NOISE)
@example((0, len(EVENT), "[" * 100_000, b""))
def test_the_event_reader_reports_and_never_raises(path: Path, noise: tuple[int, int, str, bytes]) -> None:
    data = write(path, EVENT * 2, noise)
    reading = read_log(path)
    assert reading.events or reading.problems or not data


@PROPERTY
@given(NOISE)
@example((30, 0, "[" * 100_000, b""))
def test_the_artifact_reader_raises_only_its_own_error(path: Path, noise: tuple[int, int, str, bytes]) -> None:
    write(path, ARTIFACT, noise)
    with suppress(EvidenceError):
        read_artifact(path)


@PROPERTY
@given(st.sampled_from(sorted(LOCKS)), NOISE)
@example("uv.lock", (0, 0, "a = " + "[" * 5000, b""))
def test_the_lock_reader_raises_only_its_own_error(path: Path, name: str, noise: tuple[int, int, str, bytes]) -> None:
    lock = path.parent / name
    write(lock, LOCKS[name], noise)
    with suppress(LockError):
        assert read_lock(path.parent, {}).name == name
    lock.unlink()


@PROPERTY
@given(SCALAR, SCALAR, NOISE | st.just(WHOLE))
def test_the_ladder_reader_raises_only_its_own_error(
    path: Path, line: str, branch: str, noise: tuple[int, int, str, bytes]
) -> None:
    write(path, LADDER % (line, branch), noise)
    with suppress(EvidenceError):
        read_ladder(path)


@PROPERTY
@given(NOISE)
@example(WHOLE)
def test_the_junit_reader_raises_only_its_own_error(path: Path, noise: tuple[int, int, str, bytes]) -> None:
    write(path, JUNIT, noise)
    with suppress(UnreadableError):
        read_report(path, lambda *_: "")
