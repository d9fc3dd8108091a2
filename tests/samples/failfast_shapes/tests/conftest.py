import pytest


@pytest.fixture(scope="session", autouse=True)
def world():
    alive = ["world"]
    yield alive
    alive.clear()
