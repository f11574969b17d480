"""``uintr-harness shell``: a guest to work in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Command
from harness.cli.options import cell_options
from harness.cli.show import shown
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.guest.vm import Guest
    from harness.report.progress import RichProgress
    from harness.request import Request
    from harness.runfolder import CellSetup


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


@click.command("shell", cls=Command)
@cell_options
def command(request: Request) -> int:
    """Boot the guest of one cell and open a shell in it; the programs are in /tests.

    The guest ends with the shell, whose exit code is returned.
    """
    from harness.artefacts.store import Store
    from harness.prepare import choose_machine, prepare

    if not shutil.which("ssh"):
        raise UserError("there is no ssh", hint="apt-get install openssh-client")
    if request.clock != "host":
        raise UserError(
            "a guest that counts instructions has no way in or out",
            where=f"--clock {request.clock}",
            hint="leave --clock out",
        )
    plan = request.plan()
    if len(plan.cells) != 1:
        names = ", ".join(cell.name for cell in plan.cells)
        raise UserError("a shell is in one guest", where=names, hint="name one of each")
    with shown() as progress:
        store = Store.open(progress)
        machine = choose_machine(plan, request.qemu, store, progress)
        options = request.cell_options(plan)
        setup = prepare(plan, machine, store, progress, options=options).artefacts.cells[0]
        return _work_in(setup, progress)


def _work_in(setup: CellSetup, progress: RichProgress) -> int:
    from harness.guest.vm import start_guest  # SSH is loaded once everything is built

    with tempfile.TemporaryDirectory(prefix="uintr-harness-shell-") as scratch:
        folder = Path(scratch)
        with ExitStack() as lifetime:
            with progress.step(f"boot {setup.cell.name}"):
                guest = lifetime.enter_context(start_guest(setup.guest_spec(), folder))
            with progress.step("copy the programs"):
                guest.push(setup.programs.path, "/tests")
            progress.note(f"console: {folder / 'console.log'}")
            with progress.paused():
                return _ssh(guest, folder)


def _ssh(guest: Guest, folder: Path) -> int:
    key, known_hosts = folder / "key", folder / "known_hosts"
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(guest.keys.client_private)
    host = guest.keys.host
    known_hosts.write_text(f"[127.0.0.1]:{guest.ssh_port} {host.get_name()} {host.get_base64()}\n")
    return subprocess.run(ssh_argv(guest.ssh_port, key, known_hosts)).returncode
