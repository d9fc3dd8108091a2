"""Hypothesis takes constants from local modules: importing this one changes what it generates."""

LIMIT = 918273
