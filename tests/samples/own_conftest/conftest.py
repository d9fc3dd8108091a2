import pytest


def pytest_addoption(parser):
    parser.addoption("--own", default="unset")


@pytest.fixture
def own(pytestconfig):
    return pytestconfig.getoption("--own")
