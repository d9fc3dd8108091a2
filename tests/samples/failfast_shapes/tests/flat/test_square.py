import pytest
from shapes.flat import square


@pytest.fixture(scope="module")
def paper(ground):
    yield "paper"


@pytest.mark.parametrize("side", range(4))
def test_square(side, paper):
    assert square(side) == side**2


class TestCorners:
    @pytest.fixture(scope="class", autouse=True)
    def corner(self, paper):
        yield "corner"

    def test_four(self):
        assert square(2) == 4

    @pytest.mark.slow
    def test_none(self):
        assert square(0) == 0
