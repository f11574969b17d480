"""Options that several commands share, read into one :class:`~harness.request.request.Request`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from typing_extensions import override

from harness.lib.words import cmdline_problem, expression_problem, target_problem
from harness.names import (
    ALL_CPUS,
    COMPARED_CPUS,
    DEFAULT_COMPILER,
    DEFAULT_CPU,
    DEFAULT_KERNEL,
    DEFAULT_SMP,
    NO_SERIES,
    cpu_names,
    emulator_names,
    fragment_names,
    kernel_names,
    program_names,
)

F = TypeVar("F", bound=Callable[..., Any])


class Named(click.ParamType[str]):
    """A name that a shell can complete, or the path of a file.

    :param names: returns the known names.
    :param files: whether a path is accepted, too; it is completed if it begins like one.
    """

    def __init__(self, name: str, names: Callable[[], list[str]], *, files: bool = False) -> None:
        self.name = name
        self._names = names
        self._files = files

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Accept any text; existence is checked by the caller."""
        return str(value)

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with the incomplete word."""
        if self._files and incomplete.startswith(("/", "./", "../", "~")):
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


class Checked(click.ParamType[str]):
    """A text that a function of :mod:`harness.lib.words` looks at."""

    def __init__(
        self,
        name: str,
        problem: Callable[[str], str],
        names: Callable[[], list[str]] = list,
    ) -> None:
        self.name = name
        self._problem = problem
        self._names = names

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Refuse a text without a meaning."""
        text = str(value)
        if why := self._problem(text):
            self.fail(f"{text[:80]!r}: {why}", param, ctx)
        return text

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with the incomplete word."""
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


class List(click.ParamType[tuple[Any, ...]]):
    """Comma-separated values: ``--smp 1,2``. The option can also be given several times."""

    def __init__(self, item: click.ParamType[Any], name: str) -> None:
        self.item = item
        self.name = name

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Split at the commas and convert each part."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(parts):
            self.fail(f"{value!r} has an empty value", param, ctx)
        return tuple(self.item.convert(part, param, ctx) for part in parts)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the last value."""
        done, comma, last = incomplete.rpartition(",")
        items = self.item.shell_complete(ctx, param, last)
        return [CompletionItem(f"{done}{comma}{item.value}", item.type) for item in items]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the metavar of one value, marked as the first of several."""
        inner = self.item.get_metavar(param, ctx) or self.name.upper()
        return f"{inner}[,…]"


def flat(_ctx: click.Context, _param: click.Parameter, value: Any) -> tuple[Any, ...]:
    """Join the values of an option that was given several times."""
    return tuple(item for part in value for item in part)


def _list(flag: str, item: click.ParamType[Any], name: str, default: object, text: str) -> Any:
    return click.option(
        flag,
        type=List(item, name),
        multiple=True,
        default=[str(default)] if default is not None else [],
        show_default=default is not None and str(default),
        callback=flat,
        help=text,
    )


#: Limit for numbers that count something or that are seeds.
WHOLE = (1 << 63) - 1


class Minutes(click.FloatRange):
    """A number of minutes, up to a year."""

    def __init__(self) -> None:
        super().__init__(0, 365 * 24 * 60, min_open=True)

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse NaN, which is neither too small nor too large."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of minutes", param, ctx)
        return number


def out_option(text: str) -> Callable[[F], F]:
    """Return the option for the folder of a command's results."""
    return click.option("--out", type=click.Path(path_type=Path), help=text)


GUESTS_AT_A_TIME = click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Guests at a time."
)


def repeat_option(text: str) -> Callable[[F], F]:
    """Return the option that runs each program several times in a row."""
    return click.option(
        "--repeat",
        type=click.IntRange(1, 100_000),
        default=1,
        show_default=True,
        metavar="N",
        help=text,
    )


LATENCY_DETAIL = click.option(
    "--latency",
    type=click.Choice(["full", "summary", "none"]),
    default="summary",
    show_default=True,
    help="How much of the latencies is shown at the end. report.html has all of them.",
)


def baseline_option(text: str) -> Callable[[F], F]:
    """Return the option that names the runs to compare with."""
    return click.option(
        "--baseline",
        multiple=True,
        metavar="RUN|FILE",
        type=click.Path(path_type=Path),
        help=text,
    )


KERNEL = Named("name", kernel_names, files=True)
CPU = Named("name", lambda: [*cpu_names(), ALL_CPUS], files=True)
FRAGMENT = Named("name", fragment_names, files=True)
EMULATOR = Named("name", emulator_names, files=True)
QEMU = Named("qemu", lambda: ["auto", "system", "bundled"], files=True)
SERIES = Named("series", lambda: [NO_SERIES], files=True)
PROGRAMS = Checked("expr", expression_problem, program_names)
CMDLINE = Checked("words", cmdline_problem)
TARGET = Checked("target", target_problem)

CPU_HELP = "CPU model: a name, a pattern like hidden*, all, or a TOML file."

KERNEL_OPTIONS = (
    _list("--kernel", KERNEL, "name", DEFAULT_KERNEL, "Kernel profile: a name, or a TOML file."),
    click.option(
        "--tree",
        type=click.Path(path_type=Path),
        help="Your own kernel tree instead of the profile's source and series. Never written to.",
    ),
    click.option(
        "--series",
        type=SERIES,
        metavar="PATH|MSGID|none",
        help="Patches instead of the profile's: a folder with a series file, an mbox, "
        "a lore message-id.",
    ),
    _list(
        "--fragment",
        FRAGMENT,
        "name",
        None,
        "Config fragments to add, by name or by the path of a file: "
        f"{', '.join(fragment_names())}.",
    ),
    click.option(
        "--toolchain", type=click.Choice(["gcc", "clang"]), help="Compiler of the kernel."
    ),
)

MACHINE_OPTIONS = (
    _list(
        "--smp",
        click.IntRange(1, 16),
        "n",
        None,
        f"Number of CPUs of the guest  [default: {DEFAULT_SMP}; 1 with --clock icount]",
    ),
    _list(
        "--cc",
        click.Choice(["gcc", "clang"]),
        "cc",
        DEFAULT_COMPILER,
        "Compiler of the guest programs.",
    ),
    click.option(
        "--accel",
        type=click.Choice(["auto", "tcg", "kvm"]),
        default="auto",
        show_default=True,
        help="auto uses KVM if a probe guest runs with it.",
    ),
    click.option(
        "--qemu",
        type=QEMU,
        metavar="auto|system|bundled|PATH",
        help="The QEMU to use. auto: system, or bundled if a CPU exposes user interrupts. PATH: a "
        "binary, or the TOML file of an emulator profile, which is built.",
    ),
    click.option(
        "--cmdline",
        type=CMDLINE,
        metavar="WORDS",
        default="",
        help="Words to add to the guests' kernel command line: --cmdline uintr=emulate.",
    ),
)

PROGRAM_OPTIONS = (
    click.option(
        "--clock",
        type=click.Choice(["host", "icount"]),
        default="host",
        show_default=True,
        help="icount: measure in executed instructions, which are the same in every run. "
        "One CPU, TCG, latency programs only.",
    ),
    click.option(
        "-k",
        "select",
        type=PROGRAMS,
        metavar="EXPR",
        default="",
        help="Run only the programs that match (pytest's -k).",
    ),
)

SELFTESTS = _list(
    "--kselftest",
    TARGET,
    "target",
    None,
    "Also run the kernel's selftests in these folders of its tools/testing/selftests.",
)


def cell_options(function: F) -> F:
    """Add the options that choose cells and programs; the command gets ``request``."""
    return _with_cells(function, DEFAULT_CPU, PROGRAM_OPTIONS, ("clock", "select"))


def run_options(function: F) -> F:
    """Add the options that choose cells, programs and selftests; the command gets ``request``."""
    more = (*PROGRAM_OPTIONS, SELFTESTS)
    return _with_cells(function, DEFAULT_CPU, more, ("clock", "select"), {"kselftest": "selftests"})


def compared_cells_options(function: F) -> F:
    """Add the options that choose cells to compare; the command gets ``request``."""
    return _with_cells(function, COMPARED_CPUS, (), ())


def _with_cells(
    function: F,
    cpus: str,
    more: tuple[Any, ...],
    names: tuple[str, ...],
    renamed: Mapping[str, str] | None = None,
) -> F:
    fields = {"cpu": "cpus", "smp": "smp", "cc": "compilers", **(renamed or {})}
    same = {name: name for name in ("accel", "qemu", "cmdline", *names)}
    options = (_list("--cpu", CPU, "name", cpus, CPU_HELP), *MACHINE_OPTIONS, *more)
    return _with_request(function, (*KERNEL_OPTIONS, *options), fields | same)


def _with_request(function: F, options: tuple[Any, ...], more: Mapping[str, str]) -> F:
    """Add options, and pass their values on as one ``request``.

    :param more: by option, the request's field for it; the kernel's options need none.
    """

    @wraps(function)
    def command(
        kernel: tuple[str, ...],
        tree: Path | None,
        series: str | None,
        fragment: tuple[str, ...],
        toolchain: Any,
        **rest: Any,
    ) -> Any:
        from harness.request.profiles import (
            KernelOverrides,  # imports pydantic, which --help does not need
        )
        from harness.request.request import Request

        fields: dict[str, Any] = {
            "kernels": kernel,
            "overrides": KernelOverrides(
                tree=tree, series=series, fragments=fragment, toolchain=toolchain
            ),
        }
        given = {field: rest.pop(option) for option, field in more.items()}
        fields |= {field: value for field, value in given.items() if value != ()}
        return function(request=Request(**fields), **rest)

    for option in reversed(options):
        command = option(command)
    return command  # type: ignore[return-value]
