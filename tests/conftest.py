"""What all tests of the harness share."""

from hypothesis import settings

pytest_plugins = ["pytester"]

# How long an example takes says what else the host does.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")
