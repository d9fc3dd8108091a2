"""Properties that go wrong, each in its own way."""

import os
import random
import time

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=15)
TRIES = []


@FEW
@given(st.integers())
def test_holds(x):
    assert x == x


@FEW
@given(st.integers())
def test_falsified(x):
    assert x < 100


@FEW
@example(3)
@given(st.integers(0, 2))
def test_falsified_by_its_example(x):
    assert x != 3


@settings(FEW, deadline=5)
@given(st.booleans())
def test_deadline(x):
    time.sleep(0.01)


@FEW
@given(st.booleans())
def test_unsatisfiable(x):
    assume(False)


@FEW
@given(st.integers().filter(lambda x: x % 1000 == 3))
def test_health_check(x):
    pass


@FEW
@given(st.integers())
def test_flaky(x):
    TRIES.append(x)
    assert len(TRIES) != 5


@FEW
@given(st.integers().map(lambda x: (x, random.SystemRandom().random())))
def test_clock(pair):
    pass


@FEW
@given(st.sampled_from(list({"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"})))
def test_hash_order(word):
    pass


@FEW
@given(st.integers(0, 1000))
def test_crash(x):
    if x > 10:
        os._exit(7)


@settings(FEW, derandomize=True)
@given(st.integers())
def test_derandomized(x):
    pass


@given(st.booleans())
def test_few_inputs(x):
    pass


@FEW
@given(x="not a strategy")
def test_misused(x):
    pass
