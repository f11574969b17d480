"""One run, from the request to the exit code: plan, prepare, pytest, render.

pytest runs in this process with the plugin of :mod:`harness.testing`, its own output silenced in
favour of the live display. Whatever ends a run after its first guest, what was recorded until
then is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
from harness.run.capacity import jobs_for, look_around
from harness.run.engine import Run, begin_run, errors_noted, refusal_noted
from harness.values import Cell, Value

if TYPE_CHECKING:
    from harness.results.compare.baseline import Baseline
    from harness.results.compare.comparison import Comparison
    from harness.run.live import Display, Live

#: Of ``pytest.ExitCode``, which is not imported before the checks are done.
PYTEST_OK, PYTEST_FAILED, PYTEST_INTERRUPTED, PYTEST_INTERNAL, PYTEST_USAGE, PYTEST_NO_TESTS = (
    range(6)
)


class RunOptions(Value):
    """How a run goes about its cells; what the cells are is the request's."""

    out: Path | None = None
    #: Guests at a time; as many as the host has room for, if None.
    jobs: int | None = 1
    #: Times that each program runs, in a row.
    repeat: int = 1
    #: Runs, or files that were kept of some, that this one is compared with.
    baseline: tuple[Path, ...] = ()
    #: Whether cases and cells may be missing that these have.
    allow_missing: bool = False
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
    with refusal_noted(options.out, argv):
        plan = request.plan()
        if options.jobs is None:
            options = options.model_copy(update={"jobs": jobs_for(plan.cells, look_around())})
        _check_tests(options.tests, request.clock)
        load_known_splats()
        # Read before runs/latest, which may be one of them, becomes this run.
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
    """Run pytest, then note the end and render what was recorded, also when it was stopped."""
    from harness.run.live import Live  # with pytest, after the checks

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
    # With -x or --lf cells are left out on purpose; one that began must have results.
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
        # The verdict is kept from here on, whatever becomes of the reports.
        rendered = read_outcome(folder)
        write_reports(folder, rendered)
    except GuestError as failed:
        raise error or failed from failed
    outcome = rendered.outcome
    if outcome.cases or outcome.guest_failures or not error:
        show_run(folder, outcome)
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
    """Write into ``run.json`` how a run ended whose tests ran.

    :param cells: those that should have results.
    :return: how it compares with its baselines, or why it cannot be compared.
    :raise GuestError: the host cannot keep it.
    """
    rendered = read_outcome(folder, cells, ending=_RECORDS_ALONE)
    code, reason = verdict(ended, live, rendered.outcome, failures)
    found, error = None, None
    # A run that is not complete is not compared: what it lacks would look like a difference.
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


#: What the records come to by themselves, before the end is known.
_RECORDS_ALONE = Ending(state="ended", exit_code=ExitCode.PASSED)


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
    except SystemExit:
        # A test or a fixture that ends the process would end the run with its own code.
        return PYTEST_INTERNAL


def _pytest_error(ended: int | None, live: Live) -> HarnessError | None:
    """Return the error that pytest's exit code stands for; None if tests ran, or were stopped.

    :param ended: pytest's exit code; None if it did not come to one.
    """
    if live.interrupted:
        return None
    detail = "\n".join(live.errors) or None
    if ended == PYTEST_NO_TESTS:
        return UserError(
            "no program matches, so nothing was run",
            where="-k, --lf, --tests or the arguments after --",
            hint="ls guest-tests/*/*.c lists the programs; -k takes a part of such a name",
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
    """Return the contract's exit code for how pytest ended and what was recorded, and why.

    The order is that of how much of the answer is missing: an interrupted run, a guest that
    failed, a build that failed, and only then tests that failed. What pytest saw fail and no
    record explains has failed all the same.

    :param ended: pytest's exit code; None if it did not come to one.
    """
    if live.interrupted:
        return ExitCode.INTERRUPTED, "interrupted"
    if outcome.exit_code == ExitCode.GUEST:
        return ExitCode.GUEST, outcome.reason
    if failures:
        what = "a build" if len(failures) == 1 else f"{len(failures)} builds"
        return ExitCode.BUILD, f"{what} failed ({failures[0].what}), otherwise {outcome.reason}"
    if outcome.exit_code == ExitCode.PASSED and ended == PYTEST_INTERRUPTED:
        # Somebody stopped pytest from within, for example by pytest.exit().
        return ExitCode.GUEST, f"pytest was stopped, until then: {outcome.reason}"
    if outcome.exit_code == ExitCode.PASSED and ended != PYTEST_OK:
        what = f"pytest saw a test fail that has no record, otherwise {outcome.reason}"
        return ExitCode.TESTS_FAILED, what
    return outcome.exit_code, outcome.reason


def _read_coverage(folder: RunFolder, progress: Progress) -> None:
    """Read what kernels have counted; a run without that is complete all the same."""
    from harness.run.coverage import write_coverage

    try:
        write_coverage(folder)
    except BuildError as error:
        progress.note(f"no coverage: {error}")


def _add_to_history(folder: RunFolder, outcome: Outcome, progress: Progress) -> None:
    from harness.run.history import add_to_history  # SQLite, once there is something to keep

    environment = folder.read_environment()
    began = environment.start.time if environment else datetime.now(UTC)
    add_to_history(folder, outcome, f"{began:%Y-%m-%dT%H:%M:%SZ}", progress)


def _compare(
    folder: RunFolder, new: Baseline, baselines: Sequence[Baseline], options: RunOptions
) -> Comparison:
    """Compare a run with its baselines, and keep what changed; the report shows it.

    :raise UserError: they have no cell in common.
    :raise GuestError: the host cannot keep it.
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
            "tests of your own need a guest, and one that counts instructions has no way in or out",
            where=f"--clock {clock} --tests {tests[0]}",
            hint="leave one of them out",
        )
