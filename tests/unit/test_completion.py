"""What a shell completes, by click's mechanism; once by a real shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from harness import cli, paths
from harness.cli import COMMANDS, COMPLETE_VARIABLE, PROGRAM, app

#: Each takes a tenth of a second or more to import.
HEAVY = {"pydantic", "rich", "pytest", "paramiko", "numpy", "jinja2", "tuxmake", "psutil"}

ASK = """
import sys
from harness.cli import main
try:
    main()
except SystemExit:
    pass
print(*(set(sys.modules) & set(sys.argv[1:])), file=sys.stderr)
"""


def completed(*words: str) -> list[str]:
    """Return what is offered for the last word."""
    *args, incomplete = words
    found = BashComplete(app, {}, PROGRAM, COMPLETE_VARIABLE).get_completions(args, incomplete)
    return [item.value if item.type == "plain" else f"({item.type})" for item in found]


def test_commands_and_options_are_completed() -> None:
    assert completed("") == list(COMMANDS)
    assert completed("re") == ["report"]
    assert completed("cache", "") == ["list", "prune"]
    assert completed("run", "--repe") == ["--repeat"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--kernel", "linux"], ["linux-6.12"]),
        (["run", "--kernel", "linux-6.12,plain"], ["linux-6.12,plain-6.12"]),
        (["run", "--kernel", "./"], ["(file)"]),
        (["run", "--cpu", "hidden-i"], ["hidden-intel"]),
        (["run", "--cpu", "exposed,al"], ["exposed,all"]),
        (["mutants", "--cpu", "hidden-i"], ["hidden-intel"]),
        (["bisect", "--fragment", "kas"], ["kasan"]),
        (["run", "--cc", "gcc,cl"], ["gcc,clang"]),
        (["plan", "--accel", ""], ["auto", "tcg", "kvm"]),
        (["shell", "--qemu", "b"], ["bundled"]),
        (["build", "--emulator", "qemu-10.0-"], ["qemu-10.0-stock"]),
        (["run", "-k", "api/create"], ["api/create-fd"]),
        (["run", "-k", "bare-metal/race"], ["bare-metal/races"]),
        (["run", "-k", "include/"], []),
        (["report", ""], ["(file)"]),
        (["run", "--series", "no"], ["none"]),
    ],
)
def test_names_are_completed(words: list[str], expected: list[str]) -> None:
    assert completed(*words) == expected


@pytest.mark.parametrize("line", ["", "run --cpu hid", "run -k api/", "bisect --"])
def test_a_completion_loads_no_heavy_module(line: str) -> None:
    words = [PROGRAM, *line.split(" ")]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *HEAVY],
        env={
            **os.environ,
            "PYTHONPATH": str(paths.ROOT),
            COMPLETE_VARIABLE: "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
    )
    assert "plain," in done.stdout
    assert done.stderr.split() == []


def test_a_real_shell_completes(tmp_path: Path) -> None:
    program = tmp_path / PROGRAM
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harness "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$({PROGRAM} completion bash)"
        complete -p {PROGRAM} >&2
        COMP_WORDS=({PROGRAM} run --cpu exposed,hidden-a) COMP_CWORD=3
        _uintr_harness_completion {PROGRAM}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(paths.ROOT),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["exposed,hidden-amd"]
    assert done.stderr.strip().endswith(PROGRAM)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{COMPLETE_VARIABLE}={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
    assert cli.invoke(["completion", "ksh"]) == 2
