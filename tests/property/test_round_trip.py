"""Invariant 1: what the platform can write reads back equal, and its digests are equal."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from events import EventLog, Run, canonical, content_digest, indented, read_artifact, read_log, redact
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.property

PROPERTY = settings(deadline=None)  # the rest is the profile's
OWN = {"timestamp", "event", "context"}
LETTERS = "aZ09_ \"'\\/{}[]:,\0\n\r\x1b\x7f\x85éह\u200b\u2028\ufeff\uffff\ud800\udfff\U0001f600\U0010ffff"
TEXT = st.text(LETTERS, max_size=6) | st.sampled_from(["", "token=abc123", "a://b:c@d", "0" * 64])
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 2**64, 5e-324])
LEAF = st.none() | st.booleans() | NUMBERS | TEXT
FLAT = LEAF | st.lists(LEAF, max_size=2) | st.dictionaries(TEXT, LEAF, max_size=2)
JSON = FLAT | st.lists(FLAT, max_size=2) | st.dictionaries(TEXT, FLAT, max_size=2)
ODD = st.sampled_from([float("nan"), float("-inf"), b"\xff", {3, "3"}, PurePosixPath("a/b"), 1j, 10**5000, (1, (2,))])
FIELDS = st.dictionaries(st.text("aé_", min_size=1, max_size=3), JSON | ODD, max_size=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("round_trip")
    return Run("round_trip", folder, folder)


@PROPERTY
@given(st.dictionaries(TEXT, JSON, max_size=2))
@example({"b": [], "a": {}, "": [[[[[[None]]]]]]})
def test_json_reads_back_equal_in_any_order_and_layout(document: dict[str, Any]) -> None:
    written = redact(document)
    turned = dict(reversed(list(written.items())))
    assert json.loads(canonical(turned).decode()) == json.loads(indented(turned)) == written
    assert content_digest(json.loads(canonical(turned).decode())) == content_digest(turned) == content_digest(written)


@PROPERTY
@given(FIELDS)
@example({})
def test_an_event_reads_back_equal(run: Run, fields: dict[str, Any]) -> None:
    path = run.artifacts / "one.jsonl"
    path.unlink(missing_ok=True)
    log = EventLog(path, "round_trip", "1")
    log.info("risk_trigger", **fields)
    log.close()
    reading = read_log(path)
    assert not reading.problems
    (event,) = reading.events
    assert {key: event[key] for key in event if key not in OWN} == json.loads(json.dumps(redact(fields)))


@PROPERTY
@given(FIELDS)
@example({})
def test_an_artifact_reads_back_equal_with_its_digest(run: Run, body: dict[str, Any]) -> None:
    written = run.write("one.json", "1.0", body)
    read = read_artifact(run.artifacts / "one.json")
    assert read == written
    assert read["sha256"] == content_digest(read)
    assert redact(read) == read
