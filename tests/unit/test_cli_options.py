"""Every option of every command, with values that are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import pytest
from _pytest.mark import expression
from hypothesis import example, given
from hypothesis import strategies as st

from harness import cli, paths
from harness.artefacts.store import Store
from harness.errors import GuestError
from harness.lib.words import expression_problem
from harness.names import DEFAULT_KERNEL

ABSURD = (
    *("", " ", "0", "-1", "-", "--", "nan", "inf", "-inf", "1e400", "1" + "0" * 400, "9" * 5000),
    *(
        "a\0b",
        "a\nb",
        "\udcff",
        "x" * 300,
        "x" * 5000,
        "../" * 900,
        "1.5",
        "٣",
        "0x10",
        "/dev/null",
    ),
    *(
        "99999999999d",
        "9" * 30 + "G",
        "1e400%",
        ",",
        "a,,b",
        "*",
        "[",
        "' \"",
        "${HOME}",
        "%s",
        "{}",
        "../../..",
        'a="b',
        "foo and",
        "not",
        "(a",
        "a b",
        "()",
        "a\tb",
    ),
)
#: Values that mean nothing for any option; the first only if the option is not empty by default.
MEANINGLESS = ("", " ", " \t ", "a\0b", "a\nb", "a\x1b[2Jb", "a\x7fb", "a\u0085b")
#: Values that mean nothing for one option, by its flag.
UNREADABLE = {
    "-k": ("foo and", "and", "not", "a b", "(a", "a)", "()", "a or or b", "a, b", "a == b", "a(b)",
           "(" * 1000 + "a" + ")" * 1000, "a & b", "a # b"),
    "--cmdline": ('a="b', '"', 'a="b" c="', "x" * 1600, "a printk.ignore-loglevel=0"),
    "--kselftest": ("..", "../../..", "x86/..", "/x86", "x86/", "net//lib", "./x86", ".", "x86 net",
                    "*", "x86;id", "$(id)", "~"),
    "--smp": ("0", "17", "-1", "two", "1.5", "1,,2", ","),
    "--jobs": ("0", "65", "-1", "many"),
    "--repeat": ("0", "-1", "100001"),
    "--retries": ("-1", "101"),
    "--minutes": ("0", "-1", "nan", "inf", "1e9"),
    "--seed": ("1.5", "9" * 30, "x"),
    "--last": ("-1", "9" * 30, "x"),
}  # fmt: skip
#: Arguments that a command needs besides the option.
NEEDED = {"report": ["nothing"], "compare": ["nothing", "nothing"], "completion": ["bash"]}


class Option(NamedTuple):
    """An option or an argument that takes a value."""

    command: tuple[str, ...]
    flag: str
    type: click.ParamType[object]
    #: It is empty by default.
    empty: bool = False


def options() -> Iterator[Option]:
    """Yield each option with a value of each command, from click's own list."""
    context = click.Context(cli.app)
    todo: list[tuple[tuple[str, ...], click.Command]] = [
        ((name,), found)
        for name in cli.app.list_commands(context)
        if (found := cli.app.get_command(context, name))
    ]
    for words, command in todo:
        if isinstance(command, click.Group):
            todo += [((*words, name), one) for name, one in command.commands.items()]
            continue
        for param in command.params:
            if isinstance(param, click.Argument):
                yield Option(words, "", param.type)
            elif isinstance(param, click.Option) and not (param.is_flag or param.count):
                yield Option(words, param.opts[0], param.type, param.default == "")


OPTIONS = list(options())


@pytest.fixture(autouse=True)
def nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End every command that would begin to work."""

    def stopped(*_: object, **__: object) -> NoReturn:
        raise GuestError("stopped before it works")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Store, "open", stopped)


def test_there_are_options() -> None:
    assert len(OPTIONS) > 60
    assert {option.command[0] for option in OPTIONS} > {"run", "cache", "fuzz", "history"}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda one: " ".join((*one.command, one.flag)))
def test_an_absurd_value_is_refused_or_used(
    option: Option, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ABSURD:
        code = cli.invoke(words(option, value))
        err = capsys.readouterr().err
        assert "unexpected" not in err, (value[:40], err)
        if code == 2:
            assert err.startswith("error: "), value[:40]
        else:
            assert code in {0, 1, 4}, (value[:40], err)
        if "\0" in value or len(value) == 5000:
            assert code == 2, value[:40]
            assert "hint: " in err


def words(option: Option, value: str) -> list[str]:
    """Return a command line that gives an option, or an argument, a value."""
    needed = NEEDED.get(option.command[0], []) if option.flag else []
    given = [f"{option.flag}={value}"] if option.flag.startswith("--") else [value]
    if len(option.flag) == 2:
        given = [option.flag, value]
    return [*option.command, *given, *needed]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda one: " ".join((*one.command, one.flag)))
def test_a_value_without_a_meaning_is_wrong_usage(
    option: Option, capsys: pytest.CaptureFixture[str]
) -> None:
    if option.type is click.UNPROCESSED:
        pytest.skip("pytest reads these")
    for value in (*MEANINGLESS, *UNREADABLE.get(option.flag, ())):
        if not value and option.empty:
            continue
        assert cli.invoke(words(option, value)) == 2, value[:40]
        err = capsys.readouterr().err
        assert err.startswith("error: Invalid value for "), err
        assert "hint: " in err


#: What pytest raises, before version 9 and since.
PARSE_ERROR = getattr(expression, "ParseError", SyntaxError)
PIECES = [*"a1 .[]:/+-\\	()#é,&'=", "and ", " or ", " not ", "not ", "(a", "a)"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example("a or or b")
@example("")
def test_an_expression_is_one_that_pytest_reads(text: str) -> None:
    """pytest has no public function for this, so that the harness reads expressions itself."""
    try:
        expression.Expression.compile(text)
    except PARSE_ERROR:
        assert expression_problem(text)
    else:
        assert not expression_problem(text)


@pytest.mark.parametrize("field", ["cmdline = 'a=\"b'", 'selftests = ["../.."]'])
def test_a_profile_is_looked_at_like_the_options(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "mine.toml"
    text = (paths.KERNELS / f"{DEFAULT_KERNEL}.toml").read_text()
    profile.write_text(f"{field}\n{text}")
    assert cli.invoke(["plan", "--kernel", str(profile)]) == 2
    assert f"{profile}: {field.partition(' ')[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["cache", "prune", "--older-than", "99999999999d"],
        ["cache", "prune", "--older-than", "999999999w"],
        ["cache", "prune", "--keep-bytes", "9" * 30 + "G"],
        ["compare", "--floor", "9" * 400, "a", "b"],
        ["fuzz", "--minutes", "nan"],
        ["fuzz", "--minutes", "inf"],
        ["fuzz", "--seed", "9" * 30],
        ["history", "--last", "9" * 30],
        ["report", "--kcidb", "", "a"],
        ["report", ""],
        ["run", "--out", ""],
        ["run", "--tree="],
        ["run", "--series", "a\0b"],
        ["report", "a\udcff"],
    ],
)
def test_what_has_no_meaning_is_wrong_usage(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.invoke(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: Invalid value for ")
    assert "hint: " in err


def test_options_that_are_empty_by_default_may_be_empty() -> None:
    assert cli.invoke(["plan", "--cmdline", "", "-k", ""]) == 0


@pytest.mark.parametrize("words", [[], ["cache"]])
def test_a_command_without_its_subcommand_shows_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.invoke(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: {' '.join(['uintr-harness', *words])} ")
    assert "error" not in err.partition("Options:")[0]


def test_the_summary_of_each_command_is_whole() -> None:
    """In the list of commands, click cuts a long first sentence off."""
    for name in cli.app.list_commands(click.Context(cli.app)):
        command = cli.app.get_command(click.Context(cli.app), name)
        assert command
        assert not command.get_short_help_str(limit=62).endswith("..."), name
