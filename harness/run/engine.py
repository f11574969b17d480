"""The beginning and the end of every run: prepare it, write what is run, note how it ended.

Each command that starts the guests of cells begins here, so that a run's folder has ``run.json``,
``environment.json``, ``plan.json`` and ``artefacts.json``. The caller decides what guests do.

Two kinds of runs use only :func:`errors_noted`. ``fuzz --bare-metal`` has no cells, and so neither
a plan nor artefacts. The runs of a generated mutant have the cells of the run without a mutant,
which was prepared here and has their ``environment.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from harness.artefacts.store import Store
from harness.errors import BuildError, ExitCode, HarnessError, exit_code_of
from harness.progress import Progress
from harness.request.request import Request
from harness.results.ending import RunError
from harness.results.folder import CellSetup, RunFolder, make_run_folder
from harness.run.announce import announce
from harness.run.prepare import ChosenQemu, choose_qemu, prepare
from harness.values import Plan


class Run(NamedTuple):
    """A run whose guests can start."""

    folder: RunFolder
    #: The cells that can run.
    setups: tuple[CellSetup, ...]
    #: The failed builds. Their cells are not in ``setups``.
    failures: tuple[BuildError, ...]


def begin_run(
    request: Request,
    progress: Progress,
    make_folder: Callable[[], RunFolder],
    argv: Sequence[str],
    *,
    plan: Plan | None = None,
    qemu: ChosenQemu | None = None,
    keep_going: bool = False,
) -> Run:
    """Prepare a run and write what is run into its folder. The caller has to end the run.

    :param make_folder: makes the folder, after QEMU has accepted each CPU of the plan.
    :param argv: the command line, for ``run.json``.
    :param plan: the cells; by default the request's.
    :param qemu: by default, what the request asks for.
    :param keep_going: continue with the other cells when the build for one fails.
    :raise UserError: the request names something that does not exist or cannot run here.
    :raise BuildError: no cell can run, or a build failed without ``keep_going``.
    :raise GuestError: the host cannot store the results, or QEMU does not start.
    """
    plan = plan or request.plan()
    store = Store.open(progress)
    announce(plan, store, progress)
    qemu = qemu or choose_qemu(plan, request.qemu, store, progress)
    folder = make_folder()
    folder.write_plan(plan)
    folder.begin(argv, qemu=qemu.emulator.binary)
    with errors_noted(folder):
        options = request.cell_options(plan)
        prepared = prepare(plan, qemu, store, progress, options=options, keep_going=keep_going)
        folder.write_artefacts(prepared.artefacts)
    return Run(folder, prepared.artefacts.cells, prepared.failures)


@contextmanager
def errors_noted(folder: RunFolder) -> Iterator[None]:
    """Note in ``run.json`` that an exception ended a run, unless its end is noted already."""
    try:
        yield
    except BaseException as error:
        info = folder.read_info()
        if info is None or info.finished is None:
            with suppress(HarnessError):  # the first error is the one to report
                _end_by(folder, error)
        raise


@contextmanager
def early_error_noted(out: Path | None, argv: Sequence[str]) -> Iterator[None]:
    """Note in ``out`` an error that stopped a run before it had made its folder.

    Commands that start other runs create ``out`` themselves, and read there how the run ended.
    """
    try:
        yield
    except BaseException as error:
        info = RunFolder(out).read_info() if out else None
        if out and out.is_dir() and not (info and RunError.of(error) in info.errors):
            with suppress(HarnessError):  # for example because the folder holds another run
                folder = make_run_folder(out)
                folder.begin(argv)
                _end_by(folder, error)
        raise


def _end_by(folder: RunFolder, error: BaseException) -> None:
    code = exit_code_of(error)
    reason = "interrupted" if code == ExitCode.INTERRUPTED else RunError.of(error).what
    folder.end(code, reason=reason, errors=[error])
