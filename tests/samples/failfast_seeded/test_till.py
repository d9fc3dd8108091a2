import prices
import pytest


@pytest.mark.parametrize("count", range(17))
def test_the_till_adds_up(count):
    assert prices.total([count, 1]) == count + 1


def test_a_discount_is_taken_off():
    assert prices.discount(999, 10) == 899
