import numbers_of

import pytest


@pytest.mark.parametrize("number, expected", [(-2, -1), (3, 1)])
def test_sign(number, expected):
    assert numbers_of.sign(number) == expected


@pytest.mark.slow
def test_marked():
    assert numbers_of.sign(5) == 1


@pytest.mark.skip(reason="not today")
def test_skipped():
    raise AssertionError


@pytest.mark.xfail(reason="known")
def test_xfailed():
    assert numbers_of.sign(0) == 1
