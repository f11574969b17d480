"""The README's two commands on the Debian releases that it names, in fresh roots.

Of `ci/bootstrap run` it is one program in one cell, of `ci/bootstrap test` one environment of tox:
packages, Python, sources, image, kernel and guest have all worked by then. All of both commands is
``python -m tools.releases``.

The host's own release takes its artefacts from the host's store. Another release has other
compilers, so it builds a kernel of its own, which is kept beside that store.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness import paths
from tools.debian_root import RELEASES, DebianRoot, debian_root, why_not
from tools.host_packages import Bind
from tools.releases import BOOTSTRAP

pytestmark = pytest.mark.guest

#: Packages, a Python environment and a kernel, on a slow machine.
LIMIT_S = 3000
STORE = Path("/srv/store")


@pytest.fixture(scope="module", autouse=True)
def _roots_can_be_made() -> None:
    if "UINTR_HARNESS_RELEASES" not in os.environ:
        pytest.skip("set UINTR_HARNESS_RELEASES=1: it takes a root of each release and a kernel")
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="module", params=RELEASES)
def root(request: pytest.FixtureRequest) -> Iterator[DebianRoot]:
    release = str(request.param)
    cache = paths.cache_dir()
    own = platform.freedesktop_os_release().get("VERSION_CODENAME") == release
    store = cache if own else cache / "releases" / release
    store.mkdir(parents=True, exist_ok=True)
    with debian_root(release, archives=cache / "debian-packages") as root:
        root.binds.append(Bind(store, STORE, writable=True))
        yield root


def bootstrap(root: DebianRoot, *args: str) -> subprocess.CompletedProcess[str]:
    env = {"UINTR_HARNESS_CACHE": str(STORE), "CCACHE_DIR": str(STORE / "ccache")}
    done = subprocess.run(
        root.argv(BOOTSTRAP, *args, env=env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    print(done.stdout)
    print(done.stderr, file=sys.stderr)
    return done


@pytest.mark.timeout(2 * LIMIT_S)
def test_run_reaches_its_first_result(root: DebianRoot) -> None:
    done = bootstrap(root, "run", "--cpu", "hidden", "-k", "api/create-fd", "--out", "/srv/out")
    assert done.returncode == 0
    summary = json.loads((root.path / "srv/out/summary.json").read_text())
    assert summary["totals"]["pass"] > 0
    assert summary["totals"]["fail"] == 0
    environment = (root.path / "srv/out/environment.json").read_text()
    assert f"({root.release})" in environment, "the run was not in the root"


@pytest.mark.timeout(2 * LIMIT_S)
def test_the_tests_start(root: DebianRoot) -> None:
    """Their packages are there by the names that the lists give, and tox works."""
    assert bootstrap(root, "test", "-e", "lint").returncode == 0


def test_a_killed_command_leaves_no_process_and_no_mount(root: DebianRoot) -> None:
    """Not even when its starter has no time to clean up: SIGKILL."""
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.run(sys.argv[1:])",
            *root.argv("sh", "-c", "setsid sleep 98765 & sleep 98764"),
        ],
        stdin=subprocess.DEVNULL,
    )
    assert eventually(lambda: len(sleepers()) == 2)
    assert str(root.path) not in Path("/proc/mounts").read_text()
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert eventually(lambda: not sleepers())
    assert str(root.path) not in Path("/proc/mounts").read_text()


def sleepers() -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [""])[-1] in {"98765", "98764"}
        and process.info["cmdline"][0] == "sleep"
    ]


def eventually(holds: object) -> bool:
    assert callable(holds)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False
