import prices
import pytest


@pytest.mark.parametrize("count", range(20))
def test_a_basket_costs_the_sum_of_its_prices(count):
    assert prices.total([5] * count) == 5 * count
