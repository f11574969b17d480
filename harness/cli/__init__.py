"""The command line: one module per command, and the mapping from errors to exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import click
from typing_extensions import override

from harness import __version__, paths
from harness.errors import ExitCode, GuestError, HarnessError, exit_code_of
from harness.lib.interrupts import terminated_as_interrupted
from harness.lib.memory import MEMORY_ENV, limit_in_force, limit_memory
from harness.lib.stdio import Output, say
from harness.names import ABORT, FOR_BISECT, UNTESTABLE

PROGRAM = "uintr-harness"
#: Environment variable by which a shell asks click for completions of this program.
COMPLETE_VARIABLE = "_UINTR_HARNESS_COMPLETE"

#: Limit for the characters of an option's value.
_LONGEST_WORD = 4000

#: Commands; each is in the module of its name, imported when called, so that ``plan`` does not
#: wait for modules that only ``run`` uses.
COMMANDS = (
    *("run", "plan", "build", "report", "compare", "history", "contract", "bisect", "shell"),
    *("mutants", "fuzz", "cache", "doctor", "completion"),
)


class LazyGroup(click.Group):
    """A group whose commands are imported when used."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command, and turn a broken pipe into an error of the host.

        click would take it for that of standard output, which cannot break here, and exit with the
        code of failed tests.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise GuestError(
                "a process or a connection went away while it was written to",
                detail=str(error),
                hint="run again with --debug for the place",
            ) from error

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use."""
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
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
    """Return the option that shows an error's traceback."""
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
    """A command that also accepts the group's options, so that they may follow its name."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.params += [quiet_option(), debug_option()]

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, after a look at the words that are no value of any option."""
        if not ctx.resilient_parsing:
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            for param in self.params:
                for word in _words(given.get(param.name or "")):
                    if why := _unusable(param, word):
                        raise click.BadParameter(why, ctx, param)
        return super().parse_args(ctx, args)


def _words(value: object) -> Iterator[str]:
    """Yield the words of an option that was given, once or several times."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _words(one)


def _unusable(param: click.Parameter, word: str) -> str:
    """Return why a word is no value of an option; empty if it may be one.

    An option that is empty by default may be given as empty.
    """
    free = param.type is click.UNPROCESSED
    if not word.strip() and not free and (word or param.default != ""):
        return "this is an empty value"
    if "\0" in word or (not free and any(unicodedata.category(one) == "Cc" for one in word)):
        return f"{word[:80]!r} has a control character"
    if any("\ud800" <= character <= "\udfff" for character in word):
        return "this name is not UTF-8"
    if len(word) > _LONGEST_WORD:
        return f"{word[:40]!r}... has more than {_LONGEST_WORD} characters"
    return ""


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
    """Run the command line and end the process with its exit code."""
    output = Output()
    try:
        given = list(sys.argv[1:] if argv is None else argv)
        code = _for_git(_limited(), given) or invoke(given)
    except SystemExit as done:  # by click, when it completes a shell's command line
        code = done.code if isinstance(done.code, int) else ExitCode.PASSED
    sys.exit(output.settle(code))


def _limited() -> int:
    """Limit this process's memory. Return the exit code if the limit is wrong, otherwise 0."""
    try:
        limit_memory()
    except HarnessError as error:
        return _explain(error)
    return ExitCode.PASSED


def invoke(argv: list[str]) -> int:
    """Run one command and return its exit code; errors are printed on stderr."""
    return _for_git(_invoked(argv), argv)


def _for_git(code: int, argv: Sequence[str]) -> int:
    """Return the exit code for ``git bisect run``, which takes each below 128 for a verdict.

    It takes 125 for a commit that cannot be tested, and stops at a code above 127.
    """
    if FOR_BISECT not in argv:
        return code
    if code == ExitCode.BUILD:
        return UNTESTABLE
    return code if code in {0, 1, UNTESTABLE} or code > 127 else ABORT


def _invoked(argv: list[str]) -> int:
    state: dict[str, bool] = {}
    try:
        with terminated_as_interrupted():
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
            say(traceback.format_exc(), err=True, nl=False)
        return _explain(error)
    return code if isinstance(code, int) else ExitCode.PASSED


def _explain(error: BaseException) -> int:
    """Print an error, and return the exit code of its family."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            say(error.format_message(), err=True)
            return ExitCode.USAGE
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else PROGRAM
            _say(f"{error.format_message()}\n  hint: {where} --help lists the options")
            return ExitCode.USAGE
        case click.ClickException():
            _say(error.format_message())
            return ExitCode.USAGE
        case KeyboardInterrupt() | click.Abort():
            _say("interrupted", label="")
            return ExitCode.INTERRUPTED
        case _:
            _say(_message(error))
            return exit_code_of(error)


def _message(error: BaseException) -> str:
    match error:
        case HarnessError():
            return str(error)
        case OSError() if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            where = f"\n  where: {error.filename}" if error.filename else ""
            return f"the disk is full{where}\n  hint: {_disk_full_hint(error.filename)}"
        case OSError(errno=errno.ENAMETOOLONG):
            name = str(error.filename)
            return f"a file's name is too long\n  where: {name[:80]}\n  hint: give a shorter name"
        case MemoryError():
            return _out_of_memory()
        case UnicodeEncodeError():
            return "a name is not UTF-8\n  hint: give names in UTF-8"
        case _:
            return (
                f"unexpected {type(error).__name__}: {error}\n"
                "  hint: this is a defect of the harness; run again with --debug for the traceback"
            )


def _out_of_memory() -> str:
    limit = limit_in_force()
    if limit is None:
        return "the host has no memory left for the harness\n  hint: end other processes"
    return (
        f"the harness would need more memory than its limit of {limit} MiB\n"
        f"  hint: set {MEMORY_ENV} to a larger number of MiB, or to 0 for no limit; if a file or a "
        "guest made it grow, that is a defect of the harness"
    )


def _disk_full_hint(name: object) -> str:
    """Return a hint on a full disk; only the artefact store can be moved by a variable."""
    store = paths.cache_place().absolute()
    if isinstance(name, str | bytes) and Path(os.fsdecode(name)).absolute().is_relative_to(store):
        return f"free some space, or move the artefact store with {paths.CACHE_ENV}"
    return "free some space on that file system, or use another one"


def _say(text: str, *, label: str = "error: ") -> None:
    """Write to stderr, in red on a terminal."""
    first, _, rest = text.partition("\n")
    say(f"{label}{first}", err=True, fg="red", bold=True)
    if rest:
        say(rest, err=True)
