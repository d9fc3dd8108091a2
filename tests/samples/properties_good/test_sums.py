import sys
import unittest

import events
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule


@pytest.mark.parametrize("start", [0, 1])
@given(st.lists(st.integers()))
def test_sum(start, tmp_path_factory, numbers):
    assert sum(numbers, start) == sum(reversed(numbers), start)


@given(st.sets(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon"])))
def test_sets(words):
    assert not words - words


def test_theirs():
    assert events.NAME == "theirs"
    assert not [name for name in sys.modules if "tpr" in name]
    assert "scripts" not in "".join(sys.path)


class TestUnit(unittest.TestCase):
    @given(st.integers())
    def test_unit(self, x):
        self.assertEqual(x, x)


class Machine(RuleBasedStateMachine):
    @rule(x=st.integers())
    def step(self, x):
        assert x == x


TestMachine = Machine.TestCase
