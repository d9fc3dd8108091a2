import os


def test_before():
    pass


def test_dies():
    os._exit(3)


def test_never_reached():
    pass
