import pytest

NAMES = ["plain", "ünïcödé-\u202e", "new\nline", "<b>&amp;\"'", "x" * 10_000, "\x1b[31mred", "a::b/c[d]", "| pipe |"]
NUMBERS = range(5000 - len(NAMES))


@pytest.mark.parametrize("name", NAMES, ids=NAMES)
def test_hostile(name):
    assert name in NAMES


@pytest.mark.parametrize("number", NUMBERS)
def test_many(number):
    pass
