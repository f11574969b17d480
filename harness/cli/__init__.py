"""The command line: one module per command, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import click

from harness import __version__
from harness.errors import ExitCode, HarnessError
from harness.lib.text import clean

PROGRAM = "uintr-harness"
#: By what a shell's completion asks: click's own mechanism, and its name for this program.
COMPLETE_VARIABLE = "_UINTR_HARNESS_COMPLETE"

#: Command → module of this package that has it under the same name. They are imported when
#: called: ``plan`` need not wait for what only ``run`` uses.
COMMANDS = (
    *("run", "plan", "build", "report", "compare", "history", "contract", "bisect", "shell"),
    *("mutants", "fuzz", "cache", "doctor", "completion"),
)


class LazyGroup(click.Group):
    """A group whose commands are imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order of use, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"harness.cli.{cmd_name}")
        command: click.Command = module.command
        return command


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(dict)["debug"] = True


def debug_option() -> click.Option:
    """Return the option that each command has besides the group."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )


def _set_quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(dict)["quiet"] = True


def quiet_option() -> click.Option:
    """Return the option that keeps progress off stderr."""
    return click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="No progress on stderr, only notes and errors.",
    )


class Command(click.Command):
    """A command that takes the group's options itself too, where users look for them first."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.params += [quiet_option(), debug_option()]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all passed, 1 tests failed, 2 wrong usage or configuration, "
    "3 a build failed, 4 a guest or the host failed, 130 interrupted.",
)
@click.version_option(__version__, prog_name=PROGRAM)
def app() -> None:
    """Build patched kernels, boot them in QEMU, test user interrupts over SSH."""


app.params += [quiet_option(), debug_option()]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with the contract's exit code."""
    sys.exit(invoke(list(sys.argv[1:] if argv is None else argv)))


def invoke(argv: list[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong is told on stderr."""
    state: dict[str, bool] = {}
    try:
        with _terminated_as_interrupted():
            code = app.main(
                argv,
                prog_name=PROGRAM,
                complete_var=COMPLETE_VARIABLE,
                standalone_mode=False,
                obj=state,
            )
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if state.get("debug"):
            traceback.print_exc()
        return _explain(error)
    return code if isinstance(code, int) else ExitCode.PASSED


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM (a CI system that cancels) end a command like Ctrl-C: nothing left running."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explain(error: BaseException) -> int:
    """Tell the user about an error, and return the exit code of its family."""
    match error:
        case HarnessError():
            _say(str(error))
            return error.exit_code
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else PROGRAM
            _say(f"{error.format_message()}\n  hint: {where} --help lists what it takes")
            return ExitCode.USAGE
        case click.ClickException():
            _say(error.format_message())
            return ExitCode.USAGE
        case KeyboardInterrupt() | click.Abort():
            _say("interrupted", label="")
            return ExitCode.INTERRUPTED
        case BrokenPipeError():
            # The reader of our output went away (head, less): not an error of anybody. Python
            # would complain once more when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.PASSED
        case OSError() if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            _say(
                f"the disk is full\n  where: {error.filename or 'the file system in use'}\n"
                "  hint: free some space, or move the artefact store with UINTR_HARNESS_CACHE"
            )
            return ExitCode.GUEST
        case _:
            kind = type(error).__name__
            _say(
                f"unexpected {kind}: {error}\n"
                "  hint: this is a defect of the harness; run again with --debug for the traceback"
            )
            return ExitCode.GUEST


def _say(text: str, *, label: str = "error: ") -> None:
    """Write to stderr, in red where a person looks at it.

    An error may quote a mail, a tree or a guest: what would steer the terminal is shown instead.
    """
    first, _, rest = clean(text).partition("\n")
    click.secho(f"{label}{first}", err=True, fg="red", bold=True)
    if rest:
        click.echo(rest, err=True)
