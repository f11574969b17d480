"""A kernel that is broken in each of many ways gets the verdict that fits, and soon.

One kernel has all the ways: that of the default profile with the patch in ``broken/`` on top, which
breaks as ``broken=`` on the command line, or later a file in sysfs, says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.artefacts.emulator.choice import find_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import fetch_series, write_series
from harness.artefacts.store import Store
from harness.guest.spec import GuestSpec
from harness.guest.verdict.failure import Completed, GuestFailure
from harness.guest.verdict.splat_report import Splat
from harness.guest.vm import start_guest
from harness.names import DEFAULT_KERNEL
from harness.progress import Silent
from harness.request.profiles import load_cpu, load_kernel
from harness.values import FolderSeries

#: The first one builds the kernel, or what of it the patch changes.
pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

PATCHES = Path(__file__).parent / "broken"
#: Verdict, the phase in which it is given, and a pattern in the reason.
BOOT: Mapping[str, tuple[str, str, str]] = {
    "spin-at-start": ("hang-in-init", "decompress", "the CPUs make no progress"),
    "triple-fault": ("panic-before-init", "decompress", "reset itself"),
    "panic": ("panic-before-init", "kernel", "broken on purpose"),
    "null-pointer": ("panic-before-init", "kernel", "Attempted to kill init"),
    # This one leaves interrupts on. If the host is so slow that the kernel's own reports of the
    # lockup come within the tolerated silence, the boot's deadline ends it.
    "spin": ("hang-in-init", "kernel", "the CPUs make no progress|its first program did not"),
    "halt": ("hang-in-init", "kernel", "the CPUs make no progress"),
    "sleep": ("hang-in-init", "kernel", "all CPUs wait for an interrupt"),
    "power-off": ("powered-off", "kernel", "switched itself off"),
    "no-console": ("no-console", "kernel", "the console does not show"),
    "no-network": ("no-ssh", "sshd", "no SSH login"),
}
LATER: Mapping[str, tuple[str, str, str]] = {
    "hang": ("hang", "ready", "no sign of life"),
    "panic": ("panic", "ready", "broken on purpose, later"),
    "reboot": ("panic", "ready", "reset itself"),
    "power-off": ("powered-off", "ready", "switched itself off"),
}
#: Guests at a time: most of them only wait.
GUESTS = 3
#: A program's deadline, on a fast machine: far longer than any verdict takes.
FAR_S = 600


class Guests:
    """Guests with that kernel, each begun when the first test asks, a few at a time."""

    def __init__(self, spec: GuestSpec, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._spec = spec
        self._folder = folder
        self.boots = {way: pool.submit(self._boot, way) for way in (*BOOT, "warning")}
        self.runs = {way: pool.submit(self._run, way) for way in (*LATER, "oops")}

    def _boot(self, way: str) -> tuple[Splat, ...]:
        spec = self._spec.model_copy(update={"cmdline": f"broken={way}"})
        with start_guest(spec, self._folder / way) as guest:
            return guest.splats()

    def _run(self, way: str) -> tuple[Completed, tuple[Splat, ...]]:
        argv = ["sh", "-c", f"echo begun; sleep 1; echo {way} >/sys/module/broken/parameters/now"]
        with start_guest(self._spec, self._folder / f"{way}-later") as guest:
            return guest.run(argv, timeout_s=FAR_S * guest.factor), guest.splats()


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    folder = tmp_path_factory.mktemp("broken")
    store = Store.open()
    # The name is that of the profile: its kept build folder rebuilds what the patch touches.
    profile = load_kernel(DEFAULT_KERNEL)
    patches = [*fetch_series(profile.series, store, Silent())]
    patches += [Patch(path.name, path.read_bytes()) for path in sorted(PATCHES.glob("*.patch"))]
    series = FolderSeries(path=write_series(folder / "series", patches))
    profile = profile.model_copy(update={"series": series})
    spec = GuestSpec(
        emulator=find_emulator(),
        kernel=build_kernel(profile, store, Silent()),
        image=build_image(store, Silent()),
        cpu=load_cpu("hidden"),
        smp=2,
    )
    with ThreadPoolExecutor(GUESTS) as pool:
        yield Guests(spec, folder, pool)
        pool.shutdown(cancel_futures=True)


def failure(future: Future[Any]) -> GuestFailure:
    with pytest.raises(GuestFailure) as caught:
        future.result()
    return caught.value


@pytest.mark.parametrize("way", BOOT)
def test_a_kernel_that_does_not_boot(guests: Guests, way: str) -> None:
    verdict, phase, words = BOOT[way]
    error = failure(guests.boots[way])
    assert (error.verdict, error.phase) == (verdict, phase)
    assert re.search(words, str(error))


@pytest.mark.parametrize("way", LATER)
def test_a_kernel_that_breaks_while_a_program_runs(guests: Guests, way: str) -> None:
    verdict, phase, words = LATER[way]
    error = failure(guests.runs[way])
    assert (error.verdict, error.phase) == (verdict, phase)
    assert re.search(words, str(error))
    assert error.partial is not None
    assert error.partial.stdout == b"begun\n"


def test_a_warning_while_it_boots_is_a_splat(guests: Guests) -> None:
    (splat,) = guests.boots["warning"].result()
    assert (splat.kind, "broken_initcall" in splat.title) == ("warn", True)


def test_an_oops_ends_the_program_and_not_the_guest(guests: Guests) -> None:
    done, (splat,) = guests.runs["oops"].result()
    assert (done.signal, done.stdout) == ("KILL", b"begun\n")
    assert "NULL pointer dereference" in splat.title
