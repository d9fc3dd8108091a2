from shapes.flat import circle


def test_circle_of_one():
    assert circle(1) == 3


def test_circle_of_two():
    assert circle(2) == 12
