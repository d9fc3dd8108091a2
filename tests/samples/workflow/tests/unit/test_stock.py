import pytest

from stock import largest, merge

pytestmark = pytest.mark.unit


def test_merged_stock_adds_up() -> None:
    assert merge({"a": 1}, {"a": 2, "b": 3}) == {"a": 3, "b": 3}


def test_the_largest_is_found() -> None:
    assert largest({"a": 1, "b": 2}) == "b"
    assert largest({}) is None
