import pytest


@pytest.fixture(scope="package", autouse=True)
def ground(world):
    assert world
    yield "ground"
    assert world, "the session's fixtures outlive the package's"
