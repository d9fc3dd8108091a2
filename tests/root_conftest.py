"""The root conftest.py as a module of its own name, since `conftest` is the name of several files in a test run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("tpr_conftest", Path(__file__).parents[1] / "conftest.py")
assert _spec
assert _spec.loader
platform = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = platform
_spec.loader.exec_module(platform)
