"""A project with its own profile, loaded without a parent, and an `events` module of its own."""

from hypothesis import settings

settings.register_profile("theirs", max_examples=20)
settings.load_profile("theirs")
