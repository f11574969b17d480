"""The pytest plugin: ``pytest --uintr-run FOLDER``, or the options of cells.

Each test with the fixture ``guest`` runs once in each cell, in the running guest of that cell.
pytest groups the tests by cell, so that a cell boots once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.artefacts.store import hold_all
from harness.errors import HarnessError
from harness.guest.verdict.known_splats import load_known_splats
from harness.lib.text import clean_for_log
from harness.results.folder import CellSetup, RunFolder
from harness.run.cellguest import CellGuest
from harness.run.journal import Journal
from harness.run.trust import check_emulators
from harness.testing import options
from harness.testing.session import SessionEnd
from harness.testing.stash import (
    ATTEMPT,
    CELL,
    CELLS,
    HOLDS,
    JOURNAL,
    KNOWN,
    OWN,
    PROGRAM,
    RUN,
    RUN_OF_WORKERS,
    SPLATS,
    Recorded,
)
from harness.testing.ways import needs_guest
from harness.values import Program

#: The module of the options, under the name by which an installed harness registers it.
pytest_plugins = ("harness.testing.options",)


def pytest_configure(config: pytest.Config) -> None:
    """Read the run's folder, or prepare one from the cell options."""
    try:
        given = config.getoption("--uintr-run")
        folder = given or _prepared(config)
        if not folder:
            config.stash[CELLS] = ()
            return
        run = RunFolder(Path(folder))
        cells = run.read_artefacts().cells
        if given:
            run.check_links()
            check_emulators(cells, config.getoption("--uintr-qemu"))
        config.stash[RUN] = run
        if not hasattr(config, "workerinput"):
            ends_run = _begins_run(run, prepared=not given)
            config.pluginmanager.register(SessionEnd(run, ends_run=ends_run))
        config.stash[CELLS] = cells
        config.stash[HOLDS] = hold_all(path for setup in cells for path in setup.files())
        config.stash[KNOWN] = load_known_splats()
        config.stash[JOURNAL] = Journal(run)
        config.pluginmanager.register(OwnTests(config.stash[JOURNAL]))
        if hasattr(config.hook, "pytest_xdist_make_scheduler"):
            from harness.testing import schedule  # imports pytest-xdist, which is optional

            config.pluginmanager.register(schedule)
    except HarnessError as error:
        raise pytest.UsageError(clean_for_log(str(error))) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the results file."""
    if JOURNAL in config.stash:
        config.stash[JOURNAL].close()


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Parametrize tests with a guest by cells, programs and repetitions."""
    cells = metafunc.config.stash[CELLS]
    if "guest" in metafunc.fixturenames and cells:
        metafunc.parametrize(
            "guest",
            cells,
            ids=[setup.cell.name for setup in cells],
            indirect=True,
            scope="session",
        )
    if "program" in metafunc.fixturenames:
        names = {program.name: None for setup in cells for program in setup.programs.programs}
        metafunc.parametrize("program", list(names))
    yield  # a test's own parameters
    times = metafunc.config.getoption("--uintr-repeat")
    if "guest" in metafunc.fixturenames and cells and times > 1:
        # The last parameter varies fastest, so that a test's repetitions follow each other.
        if ATTEMPT not in metafunc.fixturenames:
            metafunc.fixturenames.append(ATTEMPT)
        numbers = range(1, times + 1)
        metafunc.parametrize(ATTEMPT, numbers, ids=[f"#{n}" for n in numbers], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cell to each report, and deselect programs that a cell does not have."""
    kept, left_out = [], []
    for item in items:
        params = _params(item)
        setup, program = params.get("guest"), params.get("program")
        if isinstance(setup, CellSetup):
            item.user_properties += _properties(setup)
            item.user_properties.append((ATTEMPT, params.get(ATTEMPT, 1)))
            item.user_properties.append((PROGRAM, program or _own_name(item, setup)))
            if program is None:
                item.user_properties.append((OWN, True))
            programs = {found.name for found in setup.programs.programs}
            if program is not None and program not in programs:
                left_out.append(item)
                continue
        else:
            item.user_properties.append((PROGRAM, _own_name(item)))
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture(scope="session")
def uintr_journal(request: pytest.FixtureRequest) -> Journal:
    """The journal of the run."""
    return request.config.stash[JOURNAL]


@pytest.fixture
def uintr_attempt(request: pytest.FixtureRequest) -> int:
    """Number of the test's run, from 1."""
    number: int = getattr(request, "param", 1)
    return number


@pytest.fixture(scope="session")
def uintr_retries(request: pytest.FixtureRequest) -> int:
    """Number of times that a failed program is run again."""
    number: int = request.config.getoption("--uintr-retries")
    return number


@pytest.fixture(scope="session")
def guest(request: pytest.FixtureRequest) -> Iterator[CellGuest]:
    """The guest of a cell. Nothing is raised at its end: see :func:`_close`."""
    setup = getattr(request, "param", None)
    config = request.config
    if setup is None:
        raise pytest.UsageError(options.NO_GUEST)
    cell = CellGuest(setup, config.stash[RUN], config.stash[JOURNAL], config.stash[KNOWN])
    try:
        yield cell
    finally:
        _close(cell, config)


def _close(cell: CellGuest, config: pytest.Config) -> None:
    """Close a cell's guest, record an error, and keep the cell's splats for the end.

    pytest closes a cell's guest when the first test of the next cell asks for its own. An exception
    would be an error of that test, and it would not run.
    """
    try:
        cell.close()
    except Exception as error:
        if isinstance(error, HarnessError):
            config.stash[JOURNAL].failure(cell.name, None, error)
        else:
            config.stash[JOURNAL].defect(cell.name, None, error, traceback.format_exc())
    if cell.splats_seen:
        config.stash.setdefault(SPLATS, []).append(clean_for_log(_splat_text(cell)))


@pytest.fixture(autouse=True)
def _uintr_guest_ready(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make sure that each test has a running guest, and record splats after each test."""
    if "guest" not in request.fixturenames:
        yield
        return
    cell: CellGuest = request.getfixturevalue("guest")
    cell.user = dict(request.node.user_properties)[PROGRAM]
    program = _program(cell.setup, _params(request.node).get("program"))
    if not needs_guest(cell.setup, program):
        yield
        return
    isolate = request.config.getoption("--uintr-isolate") or (program and program.isolate)
    try:
        cell.ready(fresh=bool(isolate))
    except HarnessError as error:
        raise pytest.fail.Exception(clean_for_log(str(error)), pytrace=False) from None
    yield
    cell.take_splats()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Show the harness's errors without a traceback."""
    try:
        return (yield)
    except HarnessError as error:
        raise pytest.fail.Exception(clean_for_log(str(error)), pytrace=False) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record each failure, and make sure that the next test gets a fresh guest after it."""
    report = yield
    cell = getattr(item, "funcargs", {}).get("guest")
    if report.failed and isinstance(cell, CellGuest):
        cell.mark_suspect()
    if report.failed and call.excinfo is not None:
        _record_defect(item, call.excinfo, report)
    return report


def _record_defect(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], report: pytest.TestReport
) -> None:
    """Record an exception in a program's test, unless it is recorded already.

    Each must be recorded, because only records decide the verdict.
    """
    properties = dict(item.user_properties)
    if CELL not in properties or properties.get(OWN) or JOURNAL not in item.config.stash:
        return  # a developer's own test is recorded by its report
    journal = item.config.stash[JOURNAL]
    name, user = str(properties[CELL]), str(properties[PROGRAM])
    raised = excinfo.value
    # The fixtures of a test may raise several at its end.
    for error in raised.exceptions if isinstance(raised, BaseExceptionGroup) else [raised]:
        if isinstance(error, Recorded):
            continue
        # This plugin turns an error of the harness into a failure of pytest.
        behind = error.__context__ if isinstance(error, pytest.fail.Exception) else error
        if isinstance(behind, HarnessError):
            journal.failure(name, user, behind)
        else:
            journal.defect(name, user, error, report.longreprtext)


class OwnTests:
    """Records the results of a developer's own tests."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a test or subtest, in the process in which it ran."""
        properties = dict(report.user_properties)
        if properties.get(OWN) and not hasattr(report, "node"):
            self._journal.test(
                str(properties[CELL]),
                str(properties[PROGRAM]),
                report,
                attempt=int(str(properties[ATTEMPT])),
            )


def _program(setup: CellSetup, name: object) -> Program | None:
    """Return the program that a test runs, None if it runs none."""
    return next((found for found in setup.programs.programs if found.name == name), None)


def _own_name(item: pytest.Item, setup: CellSetup | None = None) -> str:
    """Return a developer's test as a node id relative to the current folder, without its cell."""
    name, _, params = item.nodeid.partition("::")[2].partition("[")
    if setup:
        params = params.removesuffix("]").removesuffix(f"-#{_params(item).get(ATTEMPT)}")
        params = params.replace(setup.cell.name, "", 1).strip("-")
        params = params and f"{params}]"
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"{path}::{name}" + (f"[{params}" if params else "")


def _params(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def _properties(setup: CellSetup) -> list[tuple[str, object]]:
    cell = setup.cell
    return [
        (CELL, cell.name),
        ("kernel", cell.kernel.name),
        ("kernel_release", setup.kernel.release),
        ("kernel_key", setup.kernel.key),
        ("cpu", cell.cpu.name),
        ("smp", cell.smp),
        ("cc", cell.cc),
        ("accel", setup.accel),
        ("qemu", setup.emulator.version),
    ]


def _splat_text(cell: CellGuest) -> str:
    lines = [
        f"{splat.title} (during {user or 'boot or shutdown'})" for splat, user in cell.splats_seen
    ]
    return "\n".join([f"splats in {cell.name}:", *lines])


def _begins_run(run: RunFolder, *, prepared: bool) -> bool:
    """Return true if this process has to end the run, and note that the run begins.

    A run that was just prepared has begun. If a run in an existing folder has begun and not ended,
    another process ends it. If it has ended, it begins again.
    """
    if prepared:
        return True
    info = run.read_info()
    if info is not None and info.finished is None:
        return False
    run.begin(sys.argv, qemu=run.read_artefacts().cells[0].emulator.binary)
    return True


def _prepared(config: pytest.Config) -> str | None:
    """Prepare a run from the cell options, and return its folder; None without such options.

    Workers of pytest-xdist get the same options, and use the folder of the main process.
    """
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is not None:
        return worker.get(RUN_OF_WORKERS)
    given = {
        name: value for name in options.CELLS if (value := config.getoption(f"--uintr-{name}"))
    }
    if not given:
        return None
    from harness.run.standalone import prepare_standalone  # imports the builders

    return str(prepare_standalone(config, given).path)
