"""Tests import the scripts as they are run: with scripts/tests on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "tests"))
