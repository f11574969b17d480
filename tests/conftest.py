"""What all tests of the harness share."""

from hypothesis import settings

pytest_plugins = ["pytester"]

# A host that does something else meanwhile makes no test wrong.
settings.register_profile("any-host", deadline=None)
settings.load_profile("any-host")
