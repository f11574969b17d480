"""The README's commands are commands: each that it shows is taken by the command line."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from harness import paths
from harness.cli import app
from harness.errors import ExitCode

TEXT = (paths.ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line[:2] == "$ "
]


def test_the_readme_shows_commands() -> None:
    assert sum(line.startswith("uintr-harness run") for line in COMMANDS) > 5


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_parses(line: str) -> None:
    program, *args = shlex.split(line)
    if program == "pytest":
        assert "harness.testing.plugin" in args
        return
    if program == "python":
        assert args[0] == "-m"
        importlib.import_module(args[1]).parser().parse_args(args[2:])
        return
    if program == "ci/bootstrap":
        assert (paths.ROOT / program).is_file()
        if args == ["test"]:
            return
    name, *rest = args
    group = click.Context(app, info_name="uintr-harness")
    command = app.get_command(group, name)
    assert command is not None, f"there is no command {name}"
    with command.make_context(name, rest, parent=group):
        pass


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = TEXT.partition("### Exit codes")[2].partition("###")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {
        int(code) for code in ExitCode
    }


def test_every_option_of_run_is_in_the_readme() -> None:
    command = app.get_command(click.Context(app), "run")
    assert command is not None
    documented = TEXT.partition("### Options of `run`")[2].partition("\n## ")[0] + TEXT
    for param in command.params:
        if isinstance(param, click.Option):
            names = [*param.opts, *param.secondary_opts]
            assert any(name in documented for name in names), f"{names} are not in the README"


def test_files_that_the_readme_names_exist() -> None:
    for name in re.findall(r"`([a-z-]+/[a-z0-9_./-]+\.(?:py|toml|md|ini))`", TEXT):
        assert any((base / name).exists() for base in (paths.ROOT, Path(paths.ROOT, "harness"))), (
            name
        )
