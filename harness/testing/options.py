"""Options that an installed harness adds to each pytest. Without one of them it does nothing.

The plugin itself, :mod:`harness.testing.plugin`, is loaded when an option is given. It imports this
module before pytest does, which pytest would warn of: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import pytest

_PLUGIN = "harness.testing.plugin"
#: Options that choose the cells, without a run's folder.
CELLS = {
    "kernel": "Kernel profiles, by name or path, separated by commas.",
    "cpu": "CPU models, by name or path, separated by commas.",
    "smp": "Numbers of CPUs of the guest, separated by commas.",
    "cc": "Compilers of the guest programs, separated by commas.",
    "accel": "auto, tcg or kvm.",
    "qemu": "The QEMU to use, or that of a run's folder which is to be started.",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that select the cells of tests with a guest."""
    group = parser.getgroup("uintr", "guests to run tests in")
    group.addoption(
        "--uintr-run", metavar="FOLDER", help="Use the cells and artefacts of this run's folder."
    )
    for option, text in CELLS.items():
        group.addoption(f"--uintr-{option}", metavar=option.upper(), help=text)
    group.addoption(
        "--uintr-repeat",
        metavar="N",
        type=int,
        default=1,
        help="Run each test with a guest N times in a row.",
    )
    group.addoption(
        "--uintr-retries",
        metavar="N",
        type=int,
        default=0,
        help="Run a program that failed up to N times again, each in a fresh guest.",
    )
    group.addoption(
        "--uintr-isolate",
        action="store_true",
        help="Give each test a guest in which nothing has run before it.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin if an option asks for cells."""
    if config.pluginmanager.has_plugin(_PLUGIN):
        return
    if any(config.getoption(f"--uintr-{name}") for name in ("run", *CELLS)):
        config.pluginmanager.import_plugin(_PLUGIN)
    else:
        config.pluginmanager.register(_Idle(), "uintr-idle")


class _Idle:
    """Stands in for the plugin."""

    @pytest.fixture(scope="session")
    def guest(self) -> None:
        """The guest of a cell; there is none without an option."""
        raise pytest.UsageError(NO_GUEST)


#: What a test says whose guest no option describes.
NO_GUEST = (
    "this test needs a guest: give --uintr-run FOLDER, or select one with "
    "--uintr-kernel, --uintr-cpu, --uintr-smp"
)
