from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.results.reproducer import (
    Reproduction,
    freeze,
    script,
    script_path,
    write_script,
)
from tests.unit.results import make

NASTY = "it's $(touch pwned) `touch pwned`\ntouch pwned\n\x1b[2J \"; exit 0 #"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "a folder" / "it's a program"
    path.parent.mkdir()
    path.write_text("ELF")
    return path


@pytest.fixture
def reproduction(program: Path) -> Reproduction:
    return Reproduction(
        cell=make.CELL,
        program="api/open",
        case=NASTY,
        message=NASTY,
        inputs=(freeze("program", program),),
        argv=("uintr-harness", "run", "--tree", "/a b", "-k", "api/open"),
        qemu="#!/bin/sh\nexec qemu-system-x86_64 \\\n    -smp 4\n",
    )


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A harness that prints its arguments, one a line, and exits with 7."""
    path = tmp_path / "stub harness"
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    path.chmod(0o755)
    return path


def run(path: Path, stub: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(path), *argv],
        capture_output=True,
        text=True,
        cwd=stub.parent,
        env={"PATH": "/usr/bin:/bin", "UINTR_HARNESS": str(stub)},
        timeout=20,
    )


def test_it_runs_the_program_again(tmp_path: Path, reproduction: Reproduction, stub: Path) -> None:
    done = run(write_script(tmp_path, reproduction), stub, "-x")
    assert done.stdout.split("\n")[:-1] == [*reproduction.argv[1:], "-x"]
    assert (done.returncode, done.stderr) == (7, "")
    assert not (tmp_path / "pwned").exists()


def test_a_changed_input_is_another_test(
    tmp_path: Path, reproduction: Reproduction, stub: Path, program: Path
) -> None:
    path = write_script(tmp_path, reproduction)
    program.write_text("ELF of another build")
    done = run(path, stub)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the program has changed: {program}" in done.stderr
    program.unlink()
    assert f"the program is missing: {program}" in run(path, stub).stderr
    assert run(path, stub, "--anyway").returncode == 7


def test_qemu_by_hand(tmp_path: Path, reproduction: Reproduction, stub: Path) -> None:
    path = write_script(tmp_path, reproduction)
    (path.parent.parent / "qemu.sh").write_text("echo booted\n")
    done = run(path, stub, "--qemu")
    assert (done.returncode, done.stdout) == (0, "booted\n")


@pytest.fixture
def bare_metal(tmp_path: Path, reproduction: Reproduction) -> Callable[[str], Path]:
    """Write the reproducer of a bare-metal program whose QEMU is this shell script."""

    def written(qemu: str, limit_s: int = 10) -> Path:
        path = tmp_path / "cells" / make.CELL / "bare-metal/it's.sh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{qemu}\n")
        return write_script(
            tmp_path,
            reproduction.model_copy(
                update={"bare_metal": "bare-metal/it's.sh", "limit_s": limit_s}
            ),
        )

    return written


@pytest.mark.parametrize(
    ("qemu", "code", "said"),
    [
        ("exit 1", 0, ""),
        ("exit 3", 1, ""),
        ("exit 9", 4, ""),
        ("exit 0", 1, "QEMU's exit status is 0"),
        ("kill -ABRT $$", 1, "QEMU's exit status is 134"),
        ("exec sleep 60", 1, "did not end within 1 s"),
    ],
)
def test_a_bare_metal_program_is_run_by_qemu_and_gives_its_exit_code(
    bare_metal: Callable[..., Path], stub: Path, qemu: str, code: int, said: str
) -> None:
    done = run(bare_metal(f'echo "$@"; {qemu}', limit_s=1), stub, "-s", "a b")
    assert (done.returncode, done.stdout) == (code, "-s a b\n")
    assert said in done.stderr
    assert bool(done.stderr) == bool(said)


def test_a_bare_metal_program_that_changed_is_another_test(
    bare_metal: Callable[..., Path], stub: Path, program: Path
) -> None:
    path = bare_metal("exit 1")
    program.write_text("ELF of another build")
    assert run(path, stub).returncode == 2
    assert run(path, stub, "--anyway").returncode == 0


@pytest.mark.parametrize("checker", [["bash", "-n"], ["sh", "-n"], ["shellcheck"]])
def test_shells_and_shellcheck_take_it(
    tmp_path: Path, reproduction: Reproduction, checker: list[str]
) -> None:
    if not shutil.which(checker[0]):
        pytest.skip(f"{checker[0]} is not installed")
    bare = Reproduction(cell="c", program="api/open", case="a", argv=("uintr-harness", "run"))
    by_qemu = reproduction.model_copy(update={"bare_metal": "bare-metal/x.sh", "limit_s": 9})
    for one in [reproduction, bare, by_qemu]:
        path = write_script(tmp_path, one)
        done = subprocess.run([*checker, str(path)], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_nothing_that_a_guest_printed_leaves_its_comment(reproduction: Reproduction) -> None:
    lines = script(reproduction).split("\n")
    assert all(line.startswith("#") for line in lines if "pwned" in line)
    assert "\x1b" not in script(reproduction)


def test_every_case_has_its_own_script() -> None:
    cases = ["a", "A", "a b", "a-b", "a/b", "..", "../../x", "x" * 300, "x" * 301, "", "ä", "\x00"]
    paths = {script_path("cell", "api/open", case) for case in cases}
    assert len(paths) == len(cases)
    for path in paths:
        assert path.parent == Path("cells/cell/reproduce")
        assert len(path.name) < 120
        assert path.name.isascii()
