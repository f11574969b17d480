"""``uintr-harness shell``: a guest to work in, or to look into with a debugger."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.cli.options import cell_options
from harness.cli.show import shown
from harness.errors import ExitCode, GuestError, UserError
from harness.lib.memory import lifted

if TYPE_CHECKING:
    from harness.guest.vm import Guest
    from harness.report.progress import RichProgress
    from harness.request.request import Request
    from harness.results.folder import CellSetup
    from harness.values import KernelArtefact


def ssh_argv(port: int, key: Path, known_hosts: Path) -> list[str]:
    """Return the command that opens a shell in a guest; it trusts this guest's key only."""
    return [
        "ssh",
        *("-F", "none"),
        *("-i", str(key)),
        *("-p", str(port)),
        *("-o", f"UserKnownHostsFile={known_hosts}"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes"),
        *("-o", "LogLevel=ERROR"),
        "root@127.0.0.1",
    ]


def gdb_argv(kernel: KernelArtefact, socket: Path) -> list[str]:
    """Return the command that debugs a guest's kernel through QEMU's stub on ``socket``.

    The kernel's gdb commands (``lx-dmesg`` and others) are beside a vmlinux that was built with the
    fragment ``debug-info``. gdb loads them by itself from a folder that is declared safe.
    """
    return [
        *("gdb", "-q"),
        *("-iex", f"add-auto-load-safe-path {kernel.path}"),
        *("-ex", f"target remote {socket}"),
        str(kernel.vmlinux),
    ]


@click.command("shell", cls=Command)
@cell_options
@click.option("--gdb", is_flag=True, help="Open gdb on the guest's kernel instead of a shell.")
@click.option(
    "--console",
    is_flag=True,
    help="Open a shell on the serial console, which shows the boot too. Needs no SSH.",
)
def command(request: Request, gdb: bool, console: bool) -> int:
    """Open a shell in the guest of one cell. The programs are in /tests.

    The guest ends with the shell, and the exit code is the shell's. While the guest runs, scripts
    open more shells in it, or gdb; their paths are printed first.
    """
    from harness.results.folder import RunFolder
    from harness.run.engine import begin_run, errors_noted

    if gdb and console:
        raise UserError("gdb and the console each need a terminal", where="--gdb --console")
    tool, package = ("gdb", "gdb") if gdb else ("ssh", "openssh-client")
    if not console and not shutil.which(tool):
        raise UserError(f"{tool} is not installed", hint=f"apt-get install {package}")
    if gdb:
        # Without it, addresses in the guest differ from those in vmlinux.
        request = request.model_copy(update={"cmdline": f"{request.cmdline} nokaslr".strip()})
    if request.clock != "host":
        raise UserError(
            "a shell cannot reach a guest that counts instructions",
            where=f"--clock {request.clock}",
            hint="leave --clock out",
        )
    plan = request.plan()
    if len(plan.cells) != 1:
        names = ", ".join(cell.name for cell in plan.cells)
        raise UserError("a shell needs exactly one cell", where=names, hint="name one of each")
    with shown() as progress, tempfile.TemporaryDirectory(prefix="uintr-harness-shell-") as scratch:
        run = begin_run(request, progress, lambda: RunFolder(Path(scratch)), sys.argv, plan=plan)
        with errors_noted(run.folder):
            if console:
                code = _work_at_console(run.setups[0], run.folder.path, progress)
            else:
                code = _work_in(run.setups[0], run.folder.path, progress, gdb=gdb)
            run.folder.end(ExitCode.PASSED, reason=f"the shell ended with exit code {code}")
        return code


def _work_at_console(setup: CellSetup, folder: Path, progress: RichProgress) -> int:
    """Boot with the programs in the root file system, because nothing can be copied later."""
    from harness.guest.argv import console_argv
    from harness.guest.confined import confined_argv, environment
    from harness.guest.cpu import knows_property
    from harness.lib import cpio

    spec = setup.guest_spec()
    programs = [one for one in setup.programs.programs if one.kind == "linux"]
    archive = cpio.pack(
        cpio.file(f"tests/{one.name}", one.path.read_bytes(), 0o755) for one in programs
    )
    knows = not spec.cpu.exposes_uintr and knows_property(spec.emulator, spec.cpu.model, "uintr")
    initrd = folder / "initramfs"
    initrd.write_bytes(cpio.joined(spec.image.initramfs.read_bytes(), archive))
    progress.note("Ctrl-A X ends QEMU, `poweroff -f` the guest")
    with progress.paused():
        argv = confined_argv(console_argv(spec, initrd, knows_uintr=knows))
        return subprocess.run(argv, env=environment()).returncode


def _work_in(setup: CellSetup, folder: Path, progress: RichProgress, *, gdb: bool) -> int:
    from harness.guest.vm import start_guest  # imports paramiko, only once everything is built

    with ExitStack() as lifetime:
        with progress.step(f"boot {setup.cell.name}"):
            guest = lifetime.enter_context(start_guest(setup.guest_spec(), folder))
        with progress.step("copy the programs"):
            guest.push(setup.programs.path, "/tests")
        stub = folder / "gdb.socket"
        said = guest.monitor.human(f"gdbserver unix:{stub},server=on,wait=off")
        if gdb and not stub.exists():
            raise GuestError("QEMU did not open its gdb stub", where=stub, detail=said)
        scripts = {"ssh": _ssh(guest, folder), "gdb": gdb_argv(setup.kernel, stub)}
        for name, argv in scripts.items():
            _write_script(folder / name, argv)
        progress.note(f"console: {folder / 'console.log'}")
        progress.note(f"another shell: {folder / 'ssh'}; a debugger: {folder / 'gdb'}")
        with progress.paused():
            return subprocess.run(lifted(scripts["gdb" if gdb else "ssh"])).returncode


def _write_script(path: Path, argv: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
    path.chmod(0o700)


def _ssh(guest: Guest, folder: Path) -> list[str]:
    """Return the command for a shell in the guest, with what it needs in ``folder``."""
    key, known_hosts = folder / "key", folder / "known_hosts"
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(guest.keys.client_private)
    host = guest.keys.host
    known_hosts.write_text(f"[127.0.0.1]:{guest.ssh_port} {host.get_name()} {host.get_base64()}\n")
    return ssh_argv(guest.ssh_port, key, known_hosts)
