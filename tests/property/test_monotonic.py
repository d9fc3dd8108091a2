"""Invariant 2: quantiles never decrease, and the event log's times and chain never go backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
from collect_metrics import duration_stats
from events import GENESIS, EventLog, read_log, sha256
from hypothesis import example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.property

PROPERTY = settings(deadline=None)  # the rest is the profile's
SECONDS = st.floats(min_value=0, max_value=1e9) | st.sampled_from([0.0, 5e-324, 1e-6, 0.1, 1e9])
CLOCK = st.sampled_from([f"2025-11-2{day}T00:00:00.000000Z" for day in range(4)])
TICKS = st.lists(st.tuples(st.integers(0, 1), CLOCK), max_size=5)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monotonic") / "log.jsonl"


def write(path: Path, ticks: list[tuple[int, str]]) -> list[bytes]:
    """Two writers take turns while the clock jumps about; the log's lines."""
    path.write_bytes(b"")
    logs = [EventLog(path, "monotonic", str(number)) for number in range(2)]
    with mock.patch("events.timestamp", side_effect=[now for _, now in ticks]):
        for number, (writer, _) in enumerate(ticks):
            logs[writer].info("risk_trigger", number=number)
    for log in logs:
        log.close()
    return path.read_bytes().splitlines(keepends=True)


@PROPERTY
@given(st.lists(SECONDS, min_size=1, max_size=20), st.integers(1, 4))
@example([0.1], 1000)
@example([0.0, 687194768.0616375], 2)
def test_quantiles_never_decrease(some: list[float], times: int) -> None:
    seconds = some * times
    stats = duration_stats(seconds)
    shown = [stats[name] or 0.0 for name in ("p50", "p90", "p95", "p99", "max")]
    assert shown == sorted(shown)
    assert stats["count"] == len(seconds)
    assert min(seconds) - 1e-6 <= (stats["mean"] or 0.0) <= shown[-1]


def test_no_durations_have_no_quantiles() -> None:
    assert duration_stats([])["p50"] is None


@PROPERTY
@given(TICKS)
@example([])
def test_the_log_never_goes_back_in_time(path: Path, ticks: list[tuple[int, str]]) -> None:
    lines = write(path, ticks)
    reading = read_log(path)
    assert not reading.problems
    stamps = [event["timestamp"] for event in reading.events]
    assert stamps == sorted(stamps)
    assert [event["number"] for event in reading.events] == list(range(len(ticks)))
    heads = [GENESIS, *(sha256(line[:-1]) for line in lines)]
    assert [event["context"]["prev"] for event in reading.events] == heads[:-1]
    assert reading.head == heads[-1]


@PROPERTY
@given(TICKS.filter(len), st.integers(0, 4), st.sampled_from(["drop", "repeat", "swap", "edit"]))
def test_no_change_of_the_log_goes_unseen(path: Path, ticks: list[tuple[int, str]], at: int, how: str) -> None:
    lines = write(path, ticks)
    at %= len(lines)
    changes = {
        "drop": lines[:at] + lines[at + 1 :],
        "repeat": [*lines[: at + 1], *lines[at:]],
        "swap": [*lines[:at], *lines[at + 1 : at + 2], lines[at], *lines[at + 2 :]],
        "edit": [*lines[:at], lines[at].replace(b"risk", b"Risk"), *lines[at + 1 :]],
    }
    head = read_log(path).head
    path.write_bytes(b"".join(changes[how]))
    reading = read_log(path)
    assert reading.problems or reading.head != head or changes[how] == lines
