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

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.property

PROPERTY = settings(deadline=None)  # the rest is the profile's

NUMBERS = ["0", "-1", "1e999", "1" * 400, "9" * 5000, "NaN", "0x10", "1_0", ".5", "true", "null", "2025-11-23"]
SCALARS = st.sampled_from(
    [*NUMBERS, '""', '"\\ud800"', "é", "\0", "&e;", "[" * 30, "{a: " * 30, "*a", "!!python/x y"]
)
MARKUP = st.text("aé<>&;:-'\"[]{}\0\n\ud800\U0001f600", max_size=6)
BYTES = st.binary(max_size=40) | st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\x1f\x8b"])


def noisy(*texts: str) -> st.SearchStrategy[bytes]:
    """Valid documents with a scalar put in somewhere, a piece cut out, or bytes added; and plain bytes."""

    def change(text: str, place: float, size: int, scalar: str, tail: bytes) -> bytes:
        start = int(place * len(text))
        return (text[:start] + scalar + text[start + size :]).encode("utf-8", "surrogatepass") + tail

    pieces = (
        st.sampled_from(texts),
        st.floats(0, 1),
        st.integers(0, 30),
        SCALARS | st.text("aé<>&;:-'\"[]{}\0\n\ud800\U0001f600", max_size=6),
        BYTES,
    )
    return st.builds(change, *pieces) | BYTES


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boundary") / "file"


LADDER = "baseline:\n  line: {0}\n  branch: {1}\ntarget: {{line: {0}, branch: {1}}}\ntolerance: {1}\nhorizon: {0}\n"
JUNIT = (
    '<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="2" timestamp="2025-11-23T00:00:00">'
    '<properties><property name="commit" value="abc"/></properties>'
    '<testcase classname="tests.test_a.TestB" name="test_c[x-1]" time="0.1"/>'
    '<testcase classname="tests.test_a" name="test_d"><failure message="m">E  x != 1</failure></testcase>'
    "</testsuite></testsuites>"
)
EVENT = '{"timestamp":"2025-11-23T00:00:00.000000Z","event":"risk_trigger","context":{"prev":"' + "0" * 64 + '"}}\n'


@PROPERTY
@given(noisy(EVENT, EVENT * 2))
@example(b"[" * 100_000)
def test_the_event_reader_reports_and_never_raises(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    reading = read_log(path)
    assert reading.events or reading.problems or not data


@PROPERTY
@given(noisy('{"artifact": "file", "sha256": "0"}', '{"artifact":"file","rows":[{"a":1.5},null]}'))
@example(b'{"artifact": "file", "a": ' + b"[" * 100_000)
def test_the_artifact_reader_raises_only_its_own_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with suppress(EvidenceError):
        read_artifact(path)


@PROPERTY
@given(st.tuples(SCALARS, SCALARS).map(lambda pair: LADDER.format(*pair).encode()) | noisy(LADDER.format(80, 70)))
def test_the_ladder_reader_raises_only_its_own_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with suppress(EvidenceError):
        read_ladder(path)


@PROPERTY
@given(noisy(JUNIT))
def test_the_junit_reader_raises_only_its_own_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with suppress(UnreadableError):
        read_report(path, lambda *_: "")
