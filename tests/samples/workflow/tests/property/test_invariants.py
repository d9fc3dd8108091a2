import pytest
from hypothesis import given
from hypothesis import strategies as st

from stock import largest, merge

pytestmark = pytest.mark.property
STOCK = st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3)


@given(STOCK, STOCK)
def test_merging_loses_nothing(old: dict[str, int], new: dict[str, int]) -> None:
    assert sum(merge(old, new).values()) == sum(old.values()) + sum(new.values())


@given(STOCK, STOCK)
def test_merging_knows_no_order(old: dict[str, int], new: dict[str, int]) -> None:
    assert merge(old, new) == merge(new, old)


@given(STOCK)
def test_nothing_is_larger_than_the_largest(stock: dict[str, int]) -> None:
    name = largest(stock)
    assert all(amount <= stock[name or ""] for amount in stock.values()) or not stock
