"""A run's folder: its files, and reading and writing them.

A pytest worker, or another machine with the same artefact store, needs only ``plan.json`` and
``artefacts.json`` to run the cells.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from harness import __version__
from harness.errors import GuestError, UserError
from harness.guest.spec import GuestSpec
from harness.lib.documents import read_json, read_optional
from harness.lib.files import is_folder, link_out_of, may_exist, write_atomically
from harness.results.ending import (
    RUN_FILE,
    Ending,
    RunInfo,
    errors_of,
    read_ending,
    read_info,
    seal,
)
from harness.results.environment import (
    ENVIRONMENT_FILE,
    Environment,
    finish,
    observe,
)
from harness.results.summary import SUMMARY_FILE
from harness.values import (
    Accel,
    Cell,
    Emulator,
    ImageArtefact,
    KernelArtefact,
    Plan,
    ProgramsArtefact,
    Value,
)

#: Folder for runs without ``--out``, in the current folder.
RUNS = "runs"
LATEST = "latest"

V = TypeVar("V", bound=Value)


class CellSetup(Value):
    """A cell with all artefacts for booting it and running its programs."""

    cell: Cell
    emulator: Emulator
    accel: Accel
    #: Why this accelerator was chosen.
    accel_reason: str = ""
    kernel: KernelArtefact
    image: ImageArtefact
    programs: ProgramsArtefact
    #: The options of ``uintr-harness run`` that select this cell, for reproducers.
    options: tuple[str, ...] = ()

    def files(self) -> tuple[Path, ...]:
        """Return a file or folder of each of the cell's artefacts."""
        programs = tuple(program.path for program in self.programs.programs)
        return self.emulator.binary, self.kernel.path, self.image.path, *programs

    def guest_spec(self) -> GuestSpec:
        """Return the specification of this cell's guest."""
        return GuestSpec(
            emulator=self.emulator,
            kernel=self.kernel,
            image=self.image,
            cpu=self.cell.cpu,
            smp=self.cell.smp,
            accel=self.accel,
            cmdline=" ".join(filter(None, (self.cell.kernel.cmdline, self.cell.cmdline))),
        )


class RunArtefacts(Value):
    """``artefacts.json``: the cells of a run, each with its artefacts."""

    cells: tuple[CellSetup, ...]


def attempt_name(name: str, attempt: int) -> str:
    """Return the file name for a program's run within a run. From the second on it has a number."""
    return name if attempt == 1 else f"{name}.run-{attempt}"


def bare_metal_script(cell: Path, program: str) -> Path:
    """Return the path of a bare-metal program's script in the folder of its cell."""
    return cell / f"{program}.sh"


class RunFolder:
    """The files in one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def results(self) -> Path:
        """The records, one JSON object a line, appended during the run."""
        return self.path / "results.jsonl"

    @property
    def summary(self) -> Path:
        """The results in numbers, for other programs."""
        return self.path / "summary.json"

    @property
    def junit(self) -> Path:
        """The cases in JUnit's format, for CI systems."""
        return self.path / "junit.xml"

    def cell(self, name: str) -> Path:
        """Return the path of a cell's folder. It is created with the cell's first guest."""
        return self.path / "cells" / name

    def claim_guest_folder(self, cell: str) -> Path:
        """Create the folder of a cell's next guest: the cell's own, then ``guest-N`` in it.

        ``mkdir`` is atomic, so that two processes with guests of one cell never share a folder.

        :raise GuestError: the host cannot create it.
        """
        candidate, number = self.cell(cell), 1
        try:
            candidate.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    candidate.mkdir()
                except FileExistsError:
                    number += 1
                    candidate = self.cell(cell) / f"guest-{number}"
                else:
                    return candidate
        except OSError as error:
            raise GuestError(
                f"the guest's folder cannot be created: {error.strerror}",
                where=candidate,
                hint="free some space, or give another folder with --out",
            ) from error

    def write_plan(self, plan: Plan) -> None:
        """Write ``plan.json``."""
        self._write("plan.json", plan)

    def read_plan(self) -> Plan:
        """Read ``plan.json``.

        :raise UserError: this is not a run's folder.
        """
        return self._read("plan.json", Plan)

    def write_artefacts(self, artefacts: RunArtefacts) -> None:
        """Write ``artefacts.json``."""
        self._write("artefacts.json", artefacts)

    def read_artefacts(self) -> RunArtefacts:
        """Read ``artefacts.json``.

        :raise UserError: this is not a run's folder, or the run was never prepared.
        """
        return self._read("artefacts.json", RunArtefacts)

    def read_environment(self) -> Environment | None:
        """Read ``environment.json``. None if it does not exist.

        :raise UserError: it cannot be read.
        """
        return read_optional(self.path / ENVIRONMENT_FILE, Environment)

    def begin(self, argv: Sequence[str], *, qemu: Path | None = None) -> None:
        """Note that a run begins. Until :meth:`end` it counts as incomplete.

        :param qemu: the binary whose version ``environment.json`` gets; None to write no such file.
        """
        self._write(RUN_FILE, RunInfo(version=__version__, argv=tuple(argv), started=_now()))
        if qemu:
            observe({"qemu": [str(qemu), "--version"]}).write(self.path / ENVIRONMENT_FILE)

    def observe_end(self) -> None:
        """Note the host's load at the end of the run. Only the first call has an effect.

        :raise GuestError: the host cannot store it.
        """
        environment = None
        with suppress(UserError):  # a report says so
            environment = self.read_environment()
        if environment and environment.end is None:
            finish(environment).write(self.path / ENVIRONMENT_FILE)

    def end(
        self,
        exit_code: int,
        *,
        reason: str = "",
        errors: Iterable[BaseException] = (),
        cells: Iterable[str] | None = None,
    ) -> None:
        """Note how the run ended, and seal its results. A later call replaces an earlier one.

        :param reason: reason for the exit code, in one sentence.
        :param errors: errors of builds, followed by the error that ended the run, if any.
        :param cells: the cells that should have results; by default those noted before, or all
            cells of the plan.
        :raise GuestError: the host cannot store it.
        """
        self.observe_end()
        info = self.read_info() or RunInfo(version=__version__, argv=(), started=_now())
        try:
            sealed = seal(self.results)
        except OSError as error:
            raise GuestError(
                f"the results cannot be read: {error.strerror}", where=self.results
            ) from error
        changes = {
            "finished": _now(),
            "exit_code": int(exit_code),
            "reason": reason,
            "errors": errors_of(errors),
            "cells": info.cells if cells is None else tuple(cells),
            "results": sealed,
        }
        self._write(RUN_FILE, info.model_copy(update=changes))

    def check_links(self) -> None:
        """Check that no link leads out of the folder, which may be somebody else's.

        :raise UserError: one does. Files elsewhere would be read, and maybe written to.
        """
        if link := link_out_of(self.path):
            raise UserError(
                "a link leads out of the run's folder",
                where=link,
                hint="remove the link, or copy its file into the folder",
            )

    def read_info(self) -> RunInfo | None:
        """Read ``run.json``. None if it does not exist or cannot be read."""
        return read_info(self.path)

    def read_ending(self) -> Ending:
        """Return how the run ended."""
        return read_ending(self.path, self.results)

    def _write(self, name: str, value: Value) -> None:
        write_atomically(self.path / name, value.model_dump_json(indent=2) + "\n")

    def _read(self, name: str, kind: type[V]) -> V:
        path = self.path / name
        hint = f"give a folder that uintr-harness run made, for example {RUNS}/{LATEST}"
        if not may_exist(path):
            lacks = f"it has no {name}" if is_folder(self.path) else "it is no folder"
            raise UserError(
                f"this is not the folder of a prepared run: {lacks}", where=self.path, hint=hint
            )
        return read_json(path, kind, f"{name} cannot be read", f"{hint}, or run again")


def make_run_folder(out: Path | None) -> RunFolder:
    """Create the folder of a new run: ``out``, or ``runs/TIME-RANDOM`` with ``runs/latest``.

    :raise UserError: the folder cannot be created, or ``out`` already holds a run.
    """
    folder = out or Path(RUNS) / _stamp()
    if (folder / "plan.json").exists() and not _never_began(RunFolder(folder)):
        raise UserError(
            "this folder already holds a run",
            where=folder,
            hint="give another --out, or remove the old run",
        )
    with _made("the run's folder", folder):
        for name in _WRITTEN:
            (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if out is None:
            _point_latest(folder)
    return RunFolder(folder)


@contextmanager
def _made(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what} cannot be created: {error.strerror}",
            where=folder,
            hint="give a folder that you can write to with --out",
        ) from error


def _stamp() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


#: Files that a run may have written before its first result.
_WRITTEN = (
    *("plan.json", "artefacts.json", ENVIRONMENT_FILE, RUN_FILE, "results.jsonl"),
    *(SUMMARY_FILE, "junit.xml", "report.html", "baseline.json", "comparison.json"),
)


def _never_began(folder: RunFolder) -> bool:
    """Return true if the command of a folder ended by itself before its first result.

    Without ``run.json``, or if that has no exit code, a run may still be going on there.
    """
    info = folder.read_info()
    if info is None or info.finished is None:
        return False
    results = folder.results
    return (not results.exists() or not results.stat().st_size) and not (
        folder.path / "cells"
    ).exists()


def make_results_folder(out: Path | None, kind: str, file: str) -> Path:
    """Create the folder of a command with many runs: ``out``, or ``runs/KIND-TIME-RANDOM``.

    :param file: name of the command's results file.
    :raise UserError: the folder cannot be created, or already has that file.
    """
    folder = (out or Path(RUNS) / f"{kind}-{_stamp()}").absolute()
    if (folder / file).exists():
        raise UserError(
            f"this folder already holds results: {file}",
            where=folder,
            hint="give another --out, or remove the old results",
        )
    with _made("the folder for the results", folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _point_latest(folder: Path) -> None:
    """Replace the ``latest`` link atomically, by a rename."""
    temporary = folder.parent / f".{LATEST}.{folder.name}"
    temporary.symlink_to(folder.name, target_is_directory=True)
    temporary.replace(folder.parent / LATEST)
