from shapes import flat, solid


def test_names():
    assert flat.square and solid.cube
