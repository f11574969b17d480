"""The pytest plugin: ``pytest -p harness.testing.plugin --uintr-run FOLDER`` or cell options.

Any test that takes ``guest`` is run once in each cell, in the living guest of that cell. pytest
groups the tests by cell, so that a cell boots once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.artefacts.store import hold_all
from harness.errors import ExitCode, HarnessError
from harness.guest.verdict.known_splats import load_known_splats
from harness.results.folder import CellSetup, RunFolder
from harness.run.cellguest import CellGuest
from harness.run.journal import Journal
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
    STANDALONE,
    TROUBLES,
)
from harness.testing.ways import needs_guest
from harness.values import Program


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say in which cells tests with a guest run."""
    group = parser.getgroup("uintr", "guests to run tests in")
    group.addoption(
        "--uintr-run", metavar="FOLDER", help="A run's folder: its cells, with its artefacts."
    )
    for option, text in (
        ("kernel", "Kernel profiles, by name or path, separated by commas."),
        ("cpu", "CPU models, by name or path, separated by commas."),
        ("smp", "Numbers of CPUs of the guest, separated by commas."),
        ("cc", "Compilers of the guest programs, separated by commas."),
        ("accel", "auto, tcg or kvm."),
        ("qemu", "The QEMU to use."),
    ):
        group.addoption(f"--uintr-{option}", metavar=option.upper(), help=text)
    group.addoption(
        "--uintr-repeat",
        metavar="N",
        type=int,
        default=1,
        help="Run each test with a guest N times in a row.",
    )
    group.addoption(
        "--uintr-retries",
        metavar="N",
        type=int,
        default=0,
        help="Run a program that failed up to N times again, each in a fresh guest.",
    )
    group.addoption(
        "--uintr-isolate",
        action="store_true",
        help="Give each test a guest in which nothing has run before it.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the run's folder, or prepare one from the cell options."""
    try:
        given = config.getoption("--uintr-run")
        folder = given or _prepared(config)
        if not folder:
            config.stash[CELLS] = ()
            return
        run = RunFolder(Path(folder))
        config.stash[RUN] = run
        config.stash[STANDALONE] = _begins(config, run, prepared=not given)
        cells = run.read_artefacts().cells
        config.stash[CELLS] = cells
        config.stash[HOLDS] = hold_all(path for setup in cells for path in setup.files())
        config.stash[KNOWN] = load_known_splats()
        config.stash[JOURNAL] = Journal(run)
        config.pluginmanager.register(OwnTests(config.stash[JOURNAL]))
        if hasattr(config.hook, "pytest_xdist_make_scheduler"):
            from harness.testing import schedule  # pytest-xdist, which need not be there

            config.pluginmanager.register(schedule)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how a run ended that somebody started by hand."""
    config = session.config
    if not config.stash.get(STANDALONE, False) or RUN not in config.stash:
        return
    codes = {
        pytest.ExitCode.OK: (ExitCode.PASSED, ""),
        pytest.ExitCode.TESTS_FAILED: (ExitCode.TESTS_FAILED, "a test failed"),
        pytest.ExitCode.INTERRUPTED: (ExitCode.INTERRUPTED, "interrupted"),
        pytest.ExitCode.NO_TESTS_COLLECTED: (ExitCode.USAGE, "no test was found"),
        pytest.ExitCode.USAGE_ERROR: (ExitCode.USAGE, "pytest was used wrongly"),
    }
    code, reason = codes.get(pytest.ExitCode(exitstatus), (ExitCode.GUEST, "pytest failed"))
    with suppress(HarnessError):  # without an end the run is incomplete, which is true
        config.stash[RUN].end(code, reason=reason)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the results file."""
    if JOURNAL in config.stash:
        config.stash[JOURNAL].close()


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Run tests with a guest in each cell, with a program for each program, and repeat them."""
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
        # The last to be added varies fastest: a test's runs stand in a row.
        if ATTEMPT not in metafunc.fixturenames:
            metafunc.fixturenames.append(ATTEMPT)
        numbers = range(1, times + 1)
        metafunc.parametrize(ATTEMPT, numbers, ids=[f"#{n}" for n in numbers], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell each report its cell, and leave out programs that a cell does not have."""
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
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture(scope="session")
def uintr_journal(request: pytest.FixtureRequest) -> Journal:
    """Where results are recorded as they happen."""
    return request.config.stash[JOURNAL]


@pytest.fixture
def uintr_attempt(request: pytest.FixtureRequest) -> int:
    """Which run of the test this is; 1 for one that is not repeated."""
    number: int = getattr(request, "param", 1)
    return number


@pytest.fixture(scope="session")
def uintr_retries(request: pytest.FixtureRequest) -> int:
    """How often a program that failed is run again."""
    number: int = request.config.getoption("--uintr-retries")
    return number


@pytest.fixture(scope="session")
def guest(request: pytest.FixtureRequest) -> Iterator[CellGuest]:
    """The guest of a cell; the cell fails at its end if the kernel complained in it."""
    setup = getattr(request, "param", None)
    config = request.config
    if setup is None:
        raise pytest.UsageError(
            "this test needs a guest: give --uintr-run FOLDER, or say which guest with "
            "--uintr-kernel, --uintr-cpu, --uintr-smp"
        )
    cell = CellGuest(setup, config.stash[RUN], config.stash[JOURNAL], config.stash[KNOWN])
    try:
        yield cell
    finally:
        cell.close()
    if cell.splats_seen:
        raise Recorded(_splat_text(cell), pytrace=False)


@pytest.fixture(autouse=True)
def _uintr_guest_ready(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each test a living guest, and tell apart which test made the kernel complain."""
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
        kind = Recorded if error in cell.failures else pytest.fail.Exception
        raise kind(str(error), pytrace=False) from None
    yield
    cell.take_splats()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Show the harness's errors as they are written: a traceback adds nothing."""
    try:
        return (yield)
    except HarnessError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See that each failure has a record, and that the next test has another guest then."""
    report = yield
    cell = getattr(item, "funcargs", {}).get("guest")
    if report.failed and isinstance(cell, CellGuest):
        cell.doubt()
    if report.failed and call.excinfo is not None:
        _record_defect(item, call.excinfo, report)
    return report


class Recorded(pytest.fail.Exception):  # type: ignore[misc,name-defined]  # made at run time
    """A failure whose reason is in the records already, perhaps by an earlier test."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember what had gone wrong before a test."""
    if JOURNAL in item.config.stash:
        item.stash[TROUBLES] = item.config.stash[JOURNAL].troubles


def _record_defect(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], report: pytest.TestReport
) -> None:
    """Record an exception of a program's test that no record tells of yet.

    What fails in a program's cases, its guest or its kernel has been recorded where it was seen.
    Anything else is a defect, and must not be lost: the records alone decide the verdict.
    """
    properties = dict(item.user_properties)
    if CELL not in properties or properties.get(OWN) or JOURNAL not in item.config.stash:
        return  # a developer's own test is recorded by its report
    journal = item.config.stash[JOURNAL]
    if isinstance(excinfo.value, Recorded) or journal.troubles > item.stash.get(TROUBLES, 0):
        return
    name, user = str(properties[CELL]), str(properties[PROGRAM])
    # An error of the harness was made a failure of pytest's, to be shown as it is written.
    behind: BaseException | None = excinfo.value
    if isinstance(behind, BaseExceptionGroup):  # of several fixtures
        behind = behind.exceptions[0]
    if isinstance(behind, pytest.fail.Exception):
        behind = behind.__context__
    if isinstance(behind, HarnessError):
        journal.failure(name, user, behind)
    else:
        journal.defect(name, user, excinfo.value, report.longreprtext)


class OwnTests:
    """Records the results of tests that are no programs: a developer's own."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a test's or a subtest's outcome where it ran, not where workers report to."""
        properties = dict(report.user_properties)
        if properties.get(OWN) and not hasattr(report, "node"):
            self._journal.test(
                str(properties[CELL]),
                str(properties[PROGRAM]),
                report,
                attempt=int(str(properties[ATTEMPT])),
            )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print where the results are, for people who start pytest themselves."""
    if RUN in config.stash and not hasattr(config, "workerinput"):
        folder = config.stash[RUN].path
        terminalreporter.write_line(f"results: {folder} (uintr-harness report {folder})")


def _program(setup: CellSetup, name: object) -> Program | None:
    """Return the program that a test is about, if it is about one."""
    return next((found for found in setup.programs.programs if found.name == name), None)


def _own_name(item: pytest.Item, setup: CellSetup) -> str:
    """Return a developer's test as pytest takes it from the current folder, without its cell."""
    name, _, params = item.name.partition("[")
    params = params.removesuffix("]").removesuffix(f"-#{_params(item).get(ATTEMPT)}")
    rest = params.replace(setup.cell.name, "", 1).strip("-")
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"{path}::{name}" + (f"[{rest}]" if rest else "")


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
    return "\n".join([f"the kernel of {cell.name} complained:", *lines])


def _begins(config: pytest.Config, run: RunFolder, *, prepared: bool) -> bool:
    """Tell whether this pytest is the whole run, and note that it begins.

    One that was just prepared has begun. A run that has begun is somebody else's to end; one that
    has ended begins once more.
    """
    if hasattr(config, "workerinput"):
        return False
    if prepared:
        return True
    info = run.read_info()
    if info is not None and info.finished is None:
        return False
    run.begin(sys.argv, qemu=run.read_artefacts().cells[0].emulator.binary)
    return True


def _prepared(config: pytest.Config) -> str | None:
    """Return the folder of a run that is prepared from the cell options; None without any.

    Workers of pytest-xdist get the same options, and what is prepared once for all of them.
    """
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is not None:
        return worker.get(RUN_OF_WORKERS)
    given = {
        name: value
        for name in ("kernel", "cpu", "smp", "cc", "accel", "qemu")
        if (value := config.getoption(f"--uintr-{name}"))
    }
    if not given:
        return None
    from harness.run.standalone import prepare_standalone  # pulls the builders in

    return str(prepare_standalone(config, given).path)
