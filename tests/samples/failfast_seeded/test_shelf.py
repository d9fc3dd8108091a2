import pytest
import stock


@pytest.mark.parametrize("count", range(20))
def test_a_sale_takes_one_off_the_shelf(count):
    assert stock.left({"tea": count + 1}, "tea") == count


@pytest.mark.parametrize("name", ["tea", "salt"])
def test_an_empty_shelf_stays_empty(name):
    assert stock.left({}, name) == 0
