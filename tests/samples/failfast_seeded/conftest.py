import access
import pytest


@pytest.fixture(autouse=True)
def logged_in():
    assert access.key("open sesame")
