import pytest

NAMES = ["plain", "ünïcödé-\u202e", "new\nline", "<b>&amp;\"'", "x" * 10_000, "\x1b[31mred", "a::b/c[d]", "| pipe |"]


@pytest.mark.parametrize("name", NAMES, ids=NAMES)
def test_hostile(name):
    assert name != "plain" or True


@pytest.mark.parametrize("number", range(500))
def test_many(number):
    assert number >= 0
