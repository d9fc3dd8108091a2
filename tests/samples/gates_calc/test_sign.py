import calc


def test_sign():
    assert [calc.sign(n) for n in (3, -3, 0)] == [1, -1, 0]
