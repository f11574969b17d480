"""``uintr-harness completion``: completion of commands, options and names in a shell."""

from __future__ import annotations

from typing import Literal

import click
from click.shell_completion import get_completion_class

from harness.cli import COMPLETE_VARIABLE, PROGRAM, Command, app


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print the completion script for SHELL.

    In ~/.bashrc or ~/.zshrc: eval "$(uintr-harness completion bash)", or zsh. For fish:
    uintr-harness completion fish > ~/.config/fish/completions/uintr-harness.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    # A script of click, whose tabs and escapes must stay.
    click.echo(kind(app, {}, PROGRAM, COMPLETE_VARIABLE).source())  # noqa: TID251
