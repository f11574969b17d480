"""One run, from the request to the exit code: plan, prepare, pytest, render.

pytest runs in this process with the plugin of :mod:`harness.testing`. The live display replaces
pytest's own output. What was recorded is rendered even if an error or the user ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness import paths
from harness.errors import BuildError, ExitCode, GuestError, HarnessError, UserError
from harness.guest.verdict.known_splats import load_known_splats
from harness.paths import PROGRAMS_TEST, PYTEST_INI
from harness.progress import Progress
from harness.report.render import show_run, write_reports
from harness.request.request import Request
from harness.results.ending import Ending, worse
from harness.results.folder import RunFolder, make_run_folder
from harness.results.outcome import load_baseline, read_outcome
from harness.results.summary import Outcome
from harness.run.capacity import jobs_for, read_capacity
from harness.run.engine import Run, begin_run, early_error_noted, errors_noted
from harness.values import Cell, Value

if TYPE_CHECKING:
    from harness.results.compare.baseline import Baseline
    from harness.results.compare.comparison import Comparison
    from harness.run.live import Display, Live

#: The values of ``pytest.ExitCode``. pytest is imported only after the checks.
PYTEST_OK, PYTEST_FAILED, PYTEST_INTERRUPTED, PYTEST_INTERNAL, PYTEST_USAGE, PYTEST_NO_TESTS = (
    range(6)
)


class RunOptions(Value):
    """Options for running the cells of a request."""

    out: Path | None = None
    #: Guests at a time. None: as many as the host has room for.
    jobs: int | None = 1
    #: Number of times that each program runs.
    repeat: int = 1
    #: Runs, or baseline files made from runs, to compare this run with.
    baseline: tuple[Path, ...] = ()
    #: Accept that cases and cells of the baseline are missing in this run.
    allow_missing: bool = False
    #: Number of times that a failed program is run again, to find out whether it always fails.
    retries: int = 1
    #: Give each program a guest in which nothing has run before.
    isolate: bool = False
    exit_first: bool = False
    last_failed: bool = False
    #: Run other cells when the build for one failed.
    keep_going: bool = True
    #: How much of the latencies is shown at the end.
    latency: Literal["full", "summary", "none"] = "summary"
    #: Show pytest's own output instead of the live display.
    verbose: int = 0
    #: Tests to run instead of the guest programs: files, folders or node ids.
    tests: tuple[str, ...] = ()
    #: Passed to pytest unchanged.
    pytest_args: tuple[str, ...] = ()


def run(request: Request, options: RunOptions, display: Display, argv: Sequence[str]) -> int:
    """Do a whole run and return its exit code.

    :raise UserError: the request names something that does not exist or cannot run here.
    :raise BuildError: no cell can run because builds failed.
    :raise GuestError: the host cannot store the results.
    """
    with early_error_noted(options.out, argv):
        plan = request.plan()
        if options.jobs is None:
            options = options.model_copy(update={"jobs": jobs_for(plan.cells, read_capacity())})
        _check_tests(options.tests, request.clock)
        load_known_splats()
        # A baseline may be runs/latest, which begin_run() makes a link to this run.
        baselines = [load_baseline(path) for path in options.baseline]
        run = begin_run(
            request,
            display,
            lambda: make_run_folder(options.out),
            argv,
            plan=plan,
            keep_going=options.keep_going,
        )
        with errors_noted(run.folder):
            return _test_and_render(run, request, options, display, baselines)


def _test_and_render(
    run: Run,
    request: Request,
    options: RunOptions,
    display: Display,
    baselines: Sequence[Baseline],
) -> int:
    """Run pytest, note how it ended, and render what was recorded, even if it was stopped."""
    from harness.run.live import Live  # imports pytest

    folder, failures = run.folder, run.failures
    cells = [setup.cell for setup in run.setups]
    live = Live(display, [cell.name for cell in cells], options.jobs or 1)
    ended: int | None = None
    try:
        ended = run_pytest(pytest_argv(folder, request, options), live)
    except KeyboardInterrupt:
        live.interrupted = True
    finally:
        live.close()
        display.close()
    # -x and --lf leave out cells on purpose. A cell that began must have results.
    partial = options.exit_first or options.last_failed or live.interrupted
    chosen = [cell for cell in cells if cell.name in live.begun] if partial else cells
    error = live.fatal or _pytest_error(ended, live)
    try:
        folder.observe_end()
        _read_coverage(folder, display)
        if error:
            names = [cell.name for cell in chosen]
            folder.end(error.exit_code, reason=error.what, errors=[error], cells=names)
            found = None
        else:
            found, error = _note_end(folder, options, ended, live, failures, baselines, chosen)
        # From here on the verdict is stored, even if writing the reports fails.
        rendered = read_outcome(folder)
        write_reports(folder, rendered)
    except GuestError as failed:
        raise error or failed from failed
    outcome = rendered.outcome
    if outcome.cases or outcome.guest_failures or not error:
        show_run(folder, outcome, options.latency, verbose=options.verbose > 0)
    if outcome.tallies:
        _add_to_history(folder, outcome, display)
    if error:
        raise error
    for failure in failures:
        display.note(f"error: {failure}")
    if found:
        _show_comparison(found)
    return outcome.exit_code


def _note_end(
    folder: RunFolder,
    options: RunOptions,
    ended: int | None,
    live: Live,
    failures: Sequence[BuildError],
    baselines: Sequence[Baseline],
    cells: Sequence[Cell],
) -> tuple[Comparison | None, UserError | None]:
    """Write into ``run.json`` how a run ended in which tests ran.

    :param cells: the cells that should have results.
    :return: the comparison with the baselines, and the error if it cannot be made.
    :raise GuestError: the host cannot store it.
    """
    rendered = read_outcome(folder, cells, ending=_RECORDS_ALONE)
    code, reason = verdict(ended, live, rendered.outcome, failures)
    found, error = None, None
    # An incomplete run is not compared: missing results would look like a difference.
    if baselines and code <= ExitCode.TESTS_FAILED:
        try:
            found = _compare(folder, rendered.baseline, baselines, options)
        except UserError as refused:
            error = refused
            code, reason = refused.exit_code, f"{reason}, but {refused.what}"
        else:
            if found.exit_code:
                reason = f"{reason}, and compared with the baseline: {found.reason}"
            code = worse(code, ExitCode(found.exit_code))
    errors = [*failures, *([error] if error else [])]
    folder.end(code, reason=reason, errors=errors, cells=[cell.name for cell in cells])
    return found, error


#: Assumed before the end is known, so that the outcome depends on the records alone.
_RECORDS_ALONE = Ending(state="ended", exit_code=ExitCode.PASSED)


def pytest_argv(folder: RunFolder, request: Request, options: RunOptions) -> list[str]:
    """Return pytest's arguments for a run that is prepared."""
    qemu = {str(setup.emulator.binary) for setup in folder.read_artefacts().cells}
    return [
        # Other plugins on this machine neither change a run nor slow its start.
        "--disable-plugin-autoload",
        *("-c", str(PYTEST_INI)),
        *("-p", "harness.testing.plugin"),
        *("--uintr-run", str(folder.path)),
        *(part for binary in qemu for part in ("--uintr-qemu", binary)),
        # Kept between runs, for --lf of the next one.
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
    """Return true if failed programs are run again: not with ``-x`` or ``--repeat``."""
    return options.retries > 0 and options.repeat == 1 and not options.exit_first


def run_pytest(argv: list[str], live: object) -> int:
    """Run pytest in this process and return its exit code (see ``pytest.ExitCode``)."""
    import pytest  # takes a third of a second, so only a run imports it

    try:
        return int(pytest.main(argv, plugins=[live]))
    except pytest.fail.Exception:
        # A cell's end failed while an interrupted session was ending.
        return PYTEST_FAILED
    except SystemExit:
        # A test or fixture tried to exit the process. Its exit code is not the run's.
        return PYTEST_INTERNAL


def _pytest_error(ended: int | None, live: Live) -> HarnessError | None:
    """Return the error that pytest's exit code means, None if tests ran or were interrupted.

    :param ended: pytest's exit code; None if pytest was interrupted before it had one.
    """
    if live.interrupted:
        return None
    detail = "\n".join(live.errors) or None
    if ended == PYTEST_NO_TESTS:
        return UserError(
            "no program matches, so nothing was run",
            where="-k, --lf, --tests or the arguments after --",
            hint="ls guest-tests/*/*.c lists the programs; -k takes a part of a name",
        )
    if ended == PYTEST_USAGE or (ended == PYTEST_INTERRUPTED and live.errors):
        return UserError(
            "pytest could not start the tests", detail=detail, hint="-v shows what pytest says"
        )
    if ended not in {PYTEST_OK, PYTEST_FAILED, PYTEST_INTERRUPTED}:
        return GuestError("pytest failed", detail=detail, hint="-v shows what pytest says")
    return None


def verdict(
    ended: int | None, live: Live, outcome: Outcome, failures: Sequence[BuildError]
) -> tuple[ExitCode, str]:
    """Return a run's exit code and the reason for it.

    The cause that leaves most of the results missing comes first: interrupted, a guest failed, a
    build failed, tests failed. A failure that pytest saw counts even if no record explains it.

    :param ended: pytest's exit code; None if pytest was interrupted before it had one.
    """
    if live.interrupted:
        return ExitCode.INTERRUPTED, "interrupted"
    if outcome.exit_code == ExitCode.GUEST:
        return ExitCode.GUEST, outcome.reason
    if failures:
        what = "a build" if len(failures) == 1 else f"{len(failures)} builds"
        return ExitCode.BUILD, f"{what} failed ({failures[0].what}), otherwise {outcome.reason}"
    if outcome.exit_code == ExitCode.PASSED and ended == PYTEST_INTERRUPTED:
        # A test or plugin stopped pytest, for example with pytest.exit().
        return ExitCode.GUEST, f"pytest was stopped, until then: {outcome.reason}"
    if outcome.exit_code == ExitCode.PASSED and ended != PYTEST_OK:
        what = f"{_guestless(live)} failed, otherwise {outcome.reason}"
        return ExitCode.TESTS_FAILED, what
    return outcome.exit_code, outcome.reason


def _guestless(live: Live) -> str:
    """Name the failed tests that take no guest."""
    names = list(dict.fromkeys(live.guestless))
    if len(names) > 1:
        return f"{names[0]} and {len(names) - 1} more, which take no guest,"
    return f"{names[0]}, which takes no guest," if names else "a test without a record"


def _read_coverage(folder: RunFolder, progress: Progress) -> None:
    """Write the coverage of kernels built with gcov. A run without it is still complete."""
    from harness.run.coverage import write_coverage

    try:
        write_coverage(folder)
    except BuildError as error:
        progress.note(f"no coverage: {error}")


def _add_to_history(folder: RunFolder, outcome: Outcome, progress: Progress) -> None:
    from harness.run.history import add_to_history  # imports sqlite3

    environment = folder.read_environment()
    began = environment.start.time if environment else datetime.now(UTC)
    add_to_history(folder, outcome, f"{began:%Y-%m-%dT%H:%M:%SZ}", progress)


def _compare(
    folder: RunFolder, new: Baseline, baselines: Sequence[Baseline], options: RunOptions
) -> Comparison:
    """Compare a run with its baselines, and store the result for the report.

    :raise UserError: they have no cell in common.
    :raise GuestError: the host cannot store it.
    """
    from harness.results.compare.comparison import COMPARISON_FILE, compare

    found = compare(baselines, new, allow_missing=options.allow_missing)
    found.write(folder.path / COMPARISON_FILE)
    return found


def _show_comparison(found: Comparison) -> None:
    from harness.report.comparison import print_comparison
    from harness.report.console import make_console

    print_comparison(make_console(), found)


def _check_tests(tests: Sequence[str], clock: str) -> None:
    for test in tests:
        if not Path(test.partition("::")[0]).exists():
            raise UserError("there is no such test file or folder", where=test)
    if tests and clock != "host":
        raise UserError(
            "a guest that counts instructions has no SSH, so it cannot run tests of your own",
            where=f"--clock {clock} --tests {tests[0]}",
            hint="leave one of them out",
        )
