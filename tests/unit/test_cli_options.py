"""Every option of every command, with values that are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import pytest

from harness import cli
from harness.artefacts.store import Store
from harness.errors import GuestError

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
    ),
)
#: Arguments that a command needs besides the option.
NEEDED = {"report": ["nothing"], "compare": ["nothing", "nothing"], "completion": ["bash"]}


class Option(NamedTuple):
    """An option or an argument that takes a value."""

    command: tuple[str, ...]
    flag: str
    type: click.ParamType[object]


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
            elif isinstance(param, click.Option) and not param.is_flag:
                yield Option(words, param.opts[0], param.type)


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
    needed = NEEDED.get(option.command[0], []) if option.flag else []
    for value in ABSURD:
        given = [f"{option.flag}={value}"] if option.flag.startswith("--") else [value]
        if len(option.flag) == 2:
            given = [option.flag, value]
        code = cli.invoke([*option.command, *given, *needed])
        err = capsys.readouterr().err
        assert "unexpected" not in err, (value[:40], err)
        if code == 2:
            assert err.startswith("error: "), value[:40]
        else:
            assert code in {0, 1, 4}, (value[:40], err)
        if "\0" in value or len(value) == 5000:
            assert code == 2, value[:40]
            assert "hint: " in err


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
