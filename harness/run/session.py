"""One run, from the request to the exit code: plan, prepare, pytest, render.

pytest runs in this process with the plugin of :mod:`harness.testing`, its own output silenced in
favour of the live display. Whatever ends a run after its first guest, what was recorded until
then is rendered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import __version__, paths
from harness.artefacts.store import Store
from harness.errors import BuildError, ExitCode, GuestError, HarnessError, UserError
from harness.guest.verdict.known_splats import load_known_splats
from harness.paths import PROGRAMS_TEST, PYTEST_INI
from harness.progress import Progress
from harness.report.render import render_run, show_run
from harness.request.request import Request
from harness.results.environment import finish, observe, write_environment
from harness.results.folder import RunFolder, RunInfo, make_run_folder
from harness.results.summary import Outcome, write_atomically
from harness.run.capacity import jobs_for, look_around
from harness.run.prepare import Preparation, choose_machine, prepare
from harness.values import Value

if TYPE_CHECKING:
    from harness.results.compare.baseline import Baseline
    from harness.run.live import Live, Table

#: Of ``pytest.ExitCode``, which is not imported before the checks are done.
PYTEST_OK, PYTEST_FAILED, PYTEST_INTERRUPTED, _, PYTEST_USAGE, PYTEST_NO_TESTS = range(6)


class Display(Progress, Protocol):
    """Where a run is shown, see :class:`harness.report.progress.RichProgress`."""

    def table(self) -> Table:
        """Return the table of cells and results."""

    def close(self) -> None:
        """Take the display away, for what is printed last."""


class RunOptions(Value):
    """How a run goes about its cells; what the cells are is the request's."""

    out: Path | None = None
    #: Guests at a time; as many as the host has room for, if None.
    jobs: int | None = 1
    #: Times that each program runs, in a row.
    repeat: int = 1
    #: Runs, or files that were kept of some, that this one is compared with.
    baseline: tuple[Path, ...] = ()
    #: Times that a program which failed is run again, to tell whether it always fails.
    retries: int = 1
    #: Give each program a guest in which nothing has run before it.
    isolate: bool = False
    exit_first: bool = False
    last_failed: bool = False
    #: Run other cells when the build for one failed.
    keep_going: bool = True
    #: Show pytest's own output instead of the live display.
    verbose: int = 0
    #: Tests to run instead of the guest programs: files, folders or node ids.
    tests: tuple[str, ...] = ()
    #: Handed to pytest as they are.
    pytest_args: tuple[str, ...] = ()


def run(request: Request, options: RunOptions, display: Display, argv: Sequence[str]) -> int:
    """Do a whole run and return its exit code.

    :raise UserError: the request names something that does not exist or cannot run here.
    :raise BuildError: nothing could be built that the cells need.
    :raise GuestError: the host cannot take the results.
    """
    plan = request.plan()
    if options.jobs is None:
        options = options.model_copy(update={"jobs": jobs_for(plan.cells, look_around())})
    _check_tests(options.tests)
    if options.tests and request.clock != "host":
        raise UserError(
            "tests of your own need a guest, and one that counts instructions has no way in or out",
            where=f"--clock {request.clock} --tests {options.tests[0]}",
            hint="leave one of them out",
        )
    load_known_splats()
    # Read before runs/latest, which may be one of them, becomes this run.
    baselines = _load_baselines(options.baseline)
    store = Store.open(display)
    machine = choose_machine(plan, request.qemu, store, display)
    folder = make_run_folder(options.out)
    info = RunInfo(version=__version__, argv=tuple(argv), started=_now())
    folder.write_plan(plan)
    folder.write_info(info)
    environment = observe({"qemu": [str(machine.emulator.binary), "--version"]})
    write_environment(folder.path, environment)
    code: int = ExitCode.GUEST
    try:
        prepared = prepare(
            plan,
            machine,
            store,
            display,
            options=request.cell_options(plan),
            keep_going=options.keep_going,
        )
        folder.write_artefacts(prepared.artefacts)
        code = _test_and_render(folder, request, options, display, prepared, baselines)
    except HarnessError as error:
        code = error.exit_code
        raise
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        raise
    finally:
        done = info.model_copy(update={"finished": _now(), "exit_code": int(code)})
        folder.write_info(done)
    return code


def _test_and_render(
    folder: RunFolder,
    request: Request,
    options: RunOptions,
    display: Display,
    prepared: Preparation,
    baselines: Sequence[Baseline],
) -> int:
    """Run pytest, then render whatever it recorded, also when it was stopped."""
    from harness.run.live import Live  # with pytest, after the checks

    cells = [setup.cell for setup in prepared.artefacts.cells]
    environment = folder.read_environment()
    live = Live(display, [cell.name for cell in cells], options.jobs or 1)
    ended: int | None = None
    try:
        ended = run_pytest(pytest_argv(folder, request, options), live)
    except KeyboardInterrupt:
        live.interrupted = True
    finally:
        live.close()
        display.close()
        # With -x or --lf cells are left out on purpose; one that began must have results.
        partial = options.exit_first or options.last_failed or live.interrupted
        chosen = [cell for cell in cells if cell.name in live.begun] if partial else cells
        try:
            if environment:
                write_environment(folder.path, finish(environment))
            _read_coverage(folder, display)
            outcome = render_run(folder, chosen, interrupted=live.interrupted)
        except GuestError as error:
            raise live.fatal or error from error
        if outcome.verdicts:
            show_run(folder, outcome)
        if outcome.tallies:
            _remember(folder, outcome, display)
    if live.fatal:
        raise live.fatal
    for failure in prepared.failures:
        display.note(f"error: {failure}")
    code = exit_code(ended, live, outcome, prepared.failures)
    # A run that is not complete is not compared: what it lacks would look like a difference.
    if baselines and code <= ExitCode.TESTS_FAILED:
        code = max(code, _compare(folder, outcome, baselines))
    return code


def pytest_argv(folder: RunFolder, request: Request, options: RunOptions) -> list[str]:
    """Return pytest's arguments for a run."""
    return [
        # Whatever plugins lie around on this machine, a run is the same, and starts at once.
        "--disable-plugin-autoload",
        *("-c", str(PYTEST_INI)),
        *("-p", "harness.testing.plugin"),
        *("--uintr-run", str(folder.path)),
        # Kept between runs, so that --lf of the next one knows.
        *("-o", f"cache_dir={paths.cache_dir() / 'pytest'}"),
        *(["-" + "v" * options.verbose] if options.verbose else ["-p", "no:terminal"]),
        *(["--uintr-repeat", str(options.repeat)] if options.repeat > 1 else []),
        *(["--uintr-retries", str(options.retries)] if _retries(options) else []),
        *(["--uintr-isolate"] if options.isolate else []),
        *(["-k", request.select] if request.select else []),
        *(["-x"] if options.exit_first else []),
        *(["--lf"] if options.last_failed else []),
        # A cell stays with one worker, which boots it once.
        *(["-p", "xdist.plugin", "-n", str(options.jobs)] if (options.jobs or 1) > 1 else []),
        *options.pytest_args,
        *(options.tests or (str(PROGRAMS_TEST),)),
    ]


def _retries(options: RunOptions) -> bool:
    """Whether failed programs are run again; ``-x`` and repeated runs are hunts of their own."""
    return options.retries > 0 and options.repeat == 1 and not options.exit_first


def run_pytest(argv: list[str], live: object) -> int:
    """Start pytest in this process; return its exit code (see ``pytest.ExitCode``)."""
    import pytest  # a third of a second that only a run pays

    try:
        return int(pytest.main(argv, plugins=[live]))
    except pytest.fail.Exception:
        # A cell that fails at its end, when its end is that of an interrupted session.
        return PYTEST_FAILED


def exit_code(
    ended: int | None, live: Live, outcome: Outcome, failures: Sequence[BuildError]
) -> int:
    """Return the contract's exit code for how pytest ended and what was recorded.

    The order is that of how much of the answer is missing: an interrupted run, pytest or a guest
    that failed, a build that failed, and only then tests that failed.

    :param ended: pytest's exit code; None if it did not come to one.
    :raise UserError: there was nothing to run, or pytest did not take its arguments.
    :raise GuestError: pytest itself failed.
    """
    if live.interrupted:
        return ExitCode.INTERRUPTED
    detail = "\n".join(live.errors) or None
    if ended == PYTEST_NO_TESTS:
        raise UserError(
            "no program matches, so nothing was run",
            where="-k, --lf, --tests or the arguments after --",
            hint="ls guest-tests/*/*.c lists the programs; -k takes a part of such a name",
        )
    if ended == PYTEST_USAGE or (ended == PYTEST_INTERRUPTED and live.errors):
        raise UserError(
            "pytest could not start the tests", detail=detail, hint="-v shows what pytest says"
        )
    if ended not in {PYTEST_OK, PYTEST_FAILED, PYTEST_INTERRUPTED}:
        raise GuestError("pytest failed", detail=detail, hint="-v shows what pytest says")
    if outcome.exit_code == ExitCode.GUEST:
        return ExitCode.GUEST
    if failures:
        return ExitCode.BUILD
    # A test without a guest has no record, but fails all the same.
    return outcome.exit_code or ended


def _read_coverage(folder: RunFolder, progress: Progress) -> None:
    """Read what kernels have counted; a run without that is complete all the same."""
    from harness.run.coverage import write_coverage

    try:
        write_coverage(folder)
    except BuildError as error:
        progress.note(f"no coverage: {error}")


def _remember(folder: RunFolder, outcome: Outcome, progress: Progress) -> None:
    from harness.run.remember import remember  # SQLite, once there is something to keep

    environment = folder.read_environment()
    began = environment.start.time if environment else datetime.now(UTC)
    remember(folder, outcome, f"{began:%Y-%m-%dT%H:%M:%SZ}", progress)


def _load_baselines(paths: Sequence[Path]) -> list[Baseline]:
    if not paths:
        return []
    from harness.results.compare.measured import load_baseline  # numpy, only for who compares

    return [load_baseline(path) for path in paths]


def _compare(folder: RunFolder, outcome: Outcome, baselines: Sequence[Baseline]) -> int:
    """Compare a run that is rendered; keep and show what changed, and return the exit code of it.

    :raise UserError: they have no cell in common.
    """
    from harness.report.comparison import print_comparison
    from harness.report.console import make_console
    from harness.report.html import write_html
    from harness.results.compare.comparison import COMPARISON_FILE, compare
    from harness.results.compare.measured import load_baseline

    found = compare(baselines, load_baseline(folder.path))
    write_atomically(folder.path / COMPARISON_FILE, found.to_json())
    write_html(outcome, folder.path, folder.read_environment())
    print_comparison(make_console(), found)
    return found.exit_code


def _check_tests(tests: Sequence[str]) -> None:
    for test in tests:
        if not Path(test.partition("::")[0]).exists():
            raise UserError("there is no such test file or folder", where=test)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
