"""A pytest with the plugin and fake guests."""

from __future__ import annotations

from pathlib import Path

import pytest

# Imported here although unused: pytester forgets, test by test, what a pytest in this process
# imports first, and would import it again each time.
import harness.results.latency
import harness.testing.counted
import harness.testing.plugin
import harness.testing.schedule  # noqa: F401
from harness import paths
from harness.guest import vm
from harness.paths import PROGRAMS_TEST, PYTEST_INI
from harness.results.folder import RunFolder
from tests.unit import fake_guest
from tests.unit.testing.started import Start


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    """Run pytest as `uintr-harness run` does, with the fake guest."""
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    # pytest runs in this process, but for workers: restored at the end what the plugin replaces.
    monkeypatch.setattr(vm, "start_guest", fake_guest.start_guest)

    def start(run: RunFolder, *args: str, tests: str = str(PROGRAMS_TEST)) -> pytest.RunResult:
        return pytester.runpytest_inprocess(
            "--disable-plugin-autoload",
            *("-c", str(PYTEST_INI)),
            *("-p", "harness.testing.plugin", "-p", "tests.unit.fake_guest"),
            *("-o", f"cache_dir={pytester.path}/cache"),
            *("--uintr-run", str(run.path), "--uintr-qemu", "/qemu", *args, tests),
        )

    return start
