"""What all tests of the harness share."""

import signal

from hypothesis import settings

pytest_plugins = ["pytester"]

# Under nohup(1) it would be ignored here, and by each process that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A host that does something else meanwhile makes no test wrong.
settings.register_profile("any-host", deadline=None)
settings.load_profile("any-host")
