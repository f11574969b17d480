"""The pytest side: cells as parameters, guests as a fixture, programs as items."""

from __future__ import annotations

from pathlib import Path

#: The test that runs the guest programs, and the configuration that pytest gets for it.
PROGRAMS_TEST = Path(__file__).resolve().parent / "test_programs.py"
PYTEST_INI = Path(__file__).resolve().parent / "pytest.ini"
#: The test that only boots.
BOOT_TEST = Path(__file__).resolve().parent / "test_boot.py"
