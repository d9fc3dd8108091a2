import os
import time

import calc


def test_add():
    time.sleep(float(os.environ.get("SAMPLE_SECONDS", "0")))
    assert calc.add(1, 2) == 3
