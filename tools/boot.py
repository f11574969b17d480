"""Boot times, compared with virtme-ng: ``python -m tools.boot --virtme-run PATH``.

Both boot the same kernel (``--fragment virtme-ng`` has the options for virtme-ng), with the same
QEMU, accelerator, memory and number of CPUs. Each round times these, in an order that rotates:

``boot``      a guest of the harness, from QEMU's start to the end of the first command over SSH
``restore``   a guest restored from the state that ``boot`` saved
``isolated``  twenty guests restored one after the other, with a program pushed and run in each:
              seconds per guest, its end included; only with ``--isolated``
``virtme-ng`` ``virtme-run --script-sh``, from its start until the script has printed a word

virtme-ng does not come with the harness: ``pip install virtme-ng`` into an environment of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.artefacts.emulator.choice import find_emulator
from harness.artefacts.image import build_image
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.errors import GuestError, HarnessError
from harness.guest.snapshot import Snapshot
from harness.guest.spec import GuestSpec
from harness.guest.vm import start_guest
from harness.names import DEFAULT_KERNEL
from harness.progress import Progress
from harness.report.progress import RichProgress
from harness.request.profiles import KernelOverrides, load_cpu, load_kernel
from tools.scratch import scratch

WORD = b"the-first-command"
GUESTS = 20
_LINE = re.compile(rb"^%s\r?$" % WORD, re.MULTILINE)
_LIMIT_S = 120.0


def virtme_argv(command: str, spec: GuestSpec, more: Sequence[str]) -> list[str]:
    """Return the command that boots ``spec``'s kernel under virtme-ng and prints the word."""
    return [
        *(command, "--kimg", str(spec.kernel.bzimage), "--mods", "none"),
        *("--memory", f"{spec.memory_mib}M", "--cpus", str(spec.smp)),
        *("--qemu-bin", str(spec.emulator.binary)),
        *(["--disable-kvm"] if spec.accel == "tcg" else []),
        # A kernel without block devices accepts no other name for its root.
        *("-a", "root=/dev/root"),
        # Without udev, its init finds no port but the console for the script's output.
        "--show-boot-console",
        *more,
        *("--script-sh", f"echo {WORD.decode()}"),
    ]


def until_word(argv: Sequence[str]) -> float:
    """Start a command, and return the seconds until it has printed the word on a line of its own.

    :raise GuestError: the command ended early, or did not print the word in time.
    """
    began = time.monotonic()
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            return _wait_for_word(process, argv[0], began)
        finally:
            process.kill()


def _wait_for_word(process: subprocess.Popen[bytes], what: str, began: float) -> float:
    assert process.stdout is not None
    assert process.stderr is not None
    said: dict[int, bytes] = {}
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() - began < _LIMIT_S:
            for key, _ in selector.select(1.0):
                data = key.fileobj.read1(65536)  # type: ignore[union-attr]
                if not data:
                    selector.unregister(key.fileobj)
                said[key.fd] = said.get(key.fd, b"") + data
            if any(_LINE.search(text) for text in said.values()):
                return time.monotonic() - began
    text = b"".join(said.values()).decode(errors="replace")
    raise GuestError("the word was not printed", where=what, detail=text[-2000:] or "nothing was")


class Bench:
    """The timed operations, all with one spec."""

    def __init__(self, spec: GuestSpec, folder: Path, virtme: Sequence[str]) -> None:
        self._spec = spec
        self._folder = folder
        self._virtme = virtme
        self._number = 0
        self._snapshot: Snapshot | None = None

    def kinds(self, *, isolated: bool) -> dict[str, Callable[[], float]]:
        """Return the timed operations by name."""
        return {
            "boot": self.boot,
            "restore": self.restore,
            **({"isolated": self.isolated} if isolated else {}),
            **({"virtme-ng": lambda: until_word(self._virtme)} if self._virtme else {}),
        }

    def _next(self) -> Path:
        self._number += 1
        return self._folder / str(self._number)

    def boot(self) -> float:
        """Boot a guest, and return the seconds."""
        place = self._next()
        with start_guest(self._spec, place, save=place.with_suffix(".state")) as guest:
            self._snapshot = guest.snapshot or self._snapshot
            return guest.boot.boot_s

    def restore(self) -> float:
        """Restore a guest, and return the seconds."""
        with start_guest(self._spec, self._next(), snapshot=self._saved()) as guest:
            return guest.boot.boot_s

    def isolated(self) -> float:
        """Run a program in each of twenty guests, and return the seconds per guest."""
        program = self._folder / "program"
        program.write_text("#!/bin/sh\necho ok\n")
        program.chmod(0o755)
        began = time.monotonic()
        for _ in range(GUESTS):
            with start_guest(self._spec, self._next(), snapshot=self._saved()) as guest:
                guest.push(program, "/tests/")
                guest.run(["/tests/program"], timeout_s=_LIMIT_S)
        return (time.monotonic() - began) / GUESTS

    def _saved(self) -> Snapshot:
        if self._snapshot is None:
            self.boot()
        assert self._snapshot is not None, "QEMU could not save a guest"
        return self._snapshot


def measure(
    kinds: Mapping[str, Callable[[], float]], rounds: int, progress: Progress
) -> dict[str, list[float]]:
    """Measure until the last round or ^C, and return the times of each kind."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    with progress.step("measure") as step, contextlib.suppress(KeyboardInterrupt):
        for number in range(rounds):
            step.update(f"round {number + 1}", done=number, total=rounds)
            at = number % len(names)
            for name in names[at:] + names[:at]:
                times[name].append(kinds[name]())
    return times


def report(times: Mapping[str, Sequence[float]]) -> str:
    """Return a table in seconds, with the median as a multiple of virtme-ng's."""
    lines = [f"{'':11}{'median':>8}{'min':>8}{'max':>8}  of virtme-ng's"]
    rival = statistics.median(times["virtme-ng"]) if times.get("virtme-ng") else None
    for name, taken in times.items():
        if taken:
            middle = statistics.median(taken)
            part = f"{middle / rival:14.2f}" if rival else f"{'-':>14}"
            lines.append(f"{name:11}{middle:8.2f}{min(taken):8.2f}{max(taken):8.2f}{part}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--virtme-run", metavar="PATH", help="virtme-ng's command virtme-run")
    options.add_argument(
        "--virtme-arg", action="append", default=[], help="further argument of virtme-run"
    )
    options.add_argument("--isolated", action="store_true")
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--smp", type=int, default=2)
    options.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    return options


def main() -> int:
    """Measure, and print the table."""
    options = parser().parse_args()
    try:
        with RichProgress() as progress:
            times = _measure(options, progress)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(report(times))
    return 0


def _measure(options: argparse.Namespace, progress: Progress) -> dict[str, list[float]]:
    store = Store.open(progress)
    profile = load_kernel(DEFAULT_KERNEL, KernelOverrides(fragments=("virtme-ng",)))
    spec = GuestSpec(
        emulator=find_emulator(),
        kernel=build_kernel(profile, store, progress),
        image=build_image(store, progress),
        cpu=load_cpu("hidden"),
        smp=options.smp,
        accel=options.accel,
    )
    virtme = virtme_argv(options.virtme_run, spec, options.virtme_arg) if options.virtme_run else []
    with scratch("boot") as folder:
        bench = Bench(spec, folder, virtme)
        return measure(bench.kinds(isolated=options.isolated), options.rounds, progress)


if __name__ == "__main__":
    sys.exit(main())
