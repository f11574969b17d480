"""A guest that is not there: programs are shell scripts, run on the host by the fake.

As a pytest plugin (``-p tests.unit.fake_guest``) it takes the place of the real guest in a pytest
that the tests start. What a script does to its guest it says on stderr, on a line of its own:

- ``console: TEXT`` prints TEXT on the guest's console,
- ``die: VERDICT`` ends the guest with this verdict, after the output so far.

What is written into the guest's ``/dev/console`` is printed on its console.

Words on the kernel's command line: ``fail-boot``, ``abort-once``, ``fail-save`` and
``fail-restore``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.guest import vm
from harness.guest.bootreport import BootReport
from harness.guest.limits import COPY, Budget, OutputLimitError
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.transport import keys
from harness.guest.verdict.failure import Completed, GuestFailure
from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splats import scan
from harness.values import OUTPUT_LIMIT


def _give(output: bytes, on_stdout: object, limit: int) -> str:
    """Give a program's output away in small pieces; return why not all of it."""
    try:
        for place in range(0, min(len(output), limit), 7):
            if callable(on_stdout):
                on_stdout(output[place : place + 7])
    except OutputLimitError as error:
        return str(error)
    return "more than it may" if len(output) > limit else ""


class FakeGuest:
    """Has what :class:`harness.run.cellguest.CellGuest` uses of a guest."""

    def __init__(
        self, spec: GuestSpec, folder: Path, root: Path, snapshot: Snapshot | None
    ) -> None:
        self.folder = folder
        self.root = root
        self.alive = True
        self.factor = 1.0
        self.qemu_pid = os.getpid()
        self.restored = snapshot is not None
        self.boot = BootReport(boot_s=0.1, phases={"ready": 0.1}, restored=self.restored)
        self.snapshot = snapshot
        self.unsaved: str | None = None
        self.aborted = ""
        self.console = b""
        self.log("restored" if self.restored else "booted")

    def log(self, text: str) -> None:
        """Print on the console."""
        self.console += f"[    1.000000] {text}\n".encode()
        (self.folder / "console.log").write_bytes(self.console)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        on_stdout: object = None,
        terminal: bool = False,
        stdin: bytes | None = None,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        assert self.alive
        places = [self._place(word) for word in argv]
        try:
            done = subprocess.run(
                ["sh", *places] if places[0].startswith("/") else places,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if terminal else subprocess.PIPE,
                timeout=timeout_s,
                env={"PATH": "/bin", **{k: self._place(v) for k, v in (env or {}).items()}},
                input=stdin or b"",
            )
        except subprocess.TimeoutExpired as error:
            out = error.stdout or b""
            if callable(on_stdout):
                on_stdout(out)
            return Completed(
                returncode=None, signal=None, stdout=out, stderr=b"", seconds=1, timed_out=True
            )
        overflow = _give(done.stdout, on_stdout, output_limit)
        device = self.root / "dev/console"
        if device.is_file():
            for line in device.read_text().splitlines():
                self.log(line)
            device.unlink()
        stderr = (done.stdout if terminal else done.stderr).decode()
        for line in stderr.splitlines():
            if line.startswith("console: "):
                self.log(line.removeprefix("console: "))
            elif line.startswith("die: "):
                self.alive = False
                verdict = line.removeprefix("die: ")
                raise GuestFailure(
                    verdict,  # type: ignore[arg-type]
                    f"{verdict}: as the script said",
                    phase="ready",
                    console_tail=self.console_tail(5),
                )
        return Completed(
            returncode=None if overflow else max(done.returncode, 0),
            overflow=overflow,
            signal=None,
            stdout=done.stdout,
            stderr=done.stderr or b"",
            seconds=0.1,
        )

    def push(self, local: Path, remote: str) -> None:
        place = Path(self._place(remote))
        if local.is_dir():
            shutil.copytree(local, place, dirs_exist_ok=True)
        else:
            folder = place if remote.endswith("/") else place.parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(local, place)

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Keep all complaints: there are never many."""

    def fetch(self, remote: str, local: Path, budget: Budget = COPY) -> None:
        shutil.copytree(self._place(remote), local, dirs_exist_ok=True)

    def splats(self) -> tuple[Splat, ...]:
        return scan(self.console.splitlines())

    def console_tail(self, lines: int) -> str:
        return b"\n".join(self.console.splitlines()[-lines:]).decode()

    def _place(self, word: str) -> str:
        return f"{self.root}{word}" if word.startswith("/") else word

    def save(self, spec: GuestSpec, state: Path) -> None:
        """Save the fake's state, of which it has none."""
        if "fail-save" in spec.cmdline:
            self.unsaved = "no room"
            return
        state.write_text("saved")
        self.snapshot = Snapshot(spec, state, keys.generate(), {}, 0.0, stamped=True)


@contextmanager
def start_guest(
    spec: GuestSpec, folder: Path, *, save: Path | None = None, snapshot: Snapshot | None = None
) -> Iterator[FakeGuest]:
    """Boot or restore it, unless the kernel's command line says that this fails."""
    if snapshot is not None:
        assert snapshot.state.read_text() == "saved"
        if "fail-restore" in spec.cmdline:
            raise GuestFailure("not-restored", "not-restored: it was cut", phase="start")
    elif "fail-boot" in spec.cmdline:
        raise GuestFailure(
            "panic-before-init", "panic-before-init: no root", phase="kernel", console_tail="panic!"
        )
    with tempfile.TemporaryDirectory() as root:
        guest = FakeGuest(spec, folder, Path(root), snapshot)
        if "abort-once" in spec.cmdline and snapshot is None:
            guest.aborted = "an assertion failed"
        if save is not None:
            guest.save(spec, save)
        try:
            yield guest
        finally:
            guest.alive = False
            (folder / "closed").touch()


def pytest_configure(config: pytest.Config) -> None:
    """Take the real guest's place."""
    vm.start_guest = start_guest  # type: ignore[assignment]
