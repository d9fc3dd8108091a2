import constants


def test_plain():
    assert constants.LIMIT
