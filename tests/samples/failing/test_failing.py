import pytest


@pytest.fixture
def broken():
    raise RuntimeError("no database at https://user:hunter22@db.example/x")


@pytest.fixture
def broken_end():
    yield
    raise OSError("cannot close")


def test_passes():
    pass


def test_fails():
    assert 1 == 2


def test_setup_error(broken):
    pass


def test_teardown_error(broken_end):
    pass


def test_fails_twice(broken_end):
    raise ValueError("both phases")
