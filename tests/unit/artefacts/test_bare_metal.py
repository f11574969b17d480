"""Bare-metal programs: found, compiled with their runtime, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.bare_metal import build_bare_metal, compile_argv, parse_flags
from harness.artefacts.programs import find_programs
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.progress import Silent

from .conftest import MakeStub


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    runtime = tmp_path / "guest-tests/bare-metal/runtime"
    runtime.mkdir(parents=True)
    (runtime / "flags").write_text("# why\n-nostdlib\n-static  # because\n\n-no-pie\n")
    (runtime / "link.ld").write_text("SECTIONS { . = 1M; .text : { *(.text*) } }\n")
    (runtime / "start.S").write_text(".globl start\nstart: call program\n1: jmp 1b\n")
    (runtime / "bare.h").write_text("void program(void);\n")
    (runtime.parent / "hello.c").write_text('#include "bare.h"\nvoid program(void) {}\n')
    (runtime.parent / "settings").write_text("timeout=7\n")
    return tmp_path / "guest-tests"


def test_flags_are_one_a_line() -> None:
    assert parse_flags("# no\n -a \n\n-b=c # yes\n") == ("-a", "-b=c")


def test_a_program_is_compiled_with_its_runtime(tests: Path) -> None:
    runtime = tests / "bare-metal/runtime"
    source = tests / "bare-metal/hello.c"
    argv = compile_argv("clang", ("-static",), source, runtime, Path("/out"))
    assert argv[:2] == ["clang", "-static"]
    assert argv[-2:] == [str(source), str(runtime / "start.S")]
    assert argv[argv.index("-T") + 1] == str(runtime / "link.ld")
    assert argv[argv.index("-o") + 1] == "/out"


def test_programs_are_built_once_and_again_for_a_changed_runtime(store: Store, tests: Path) -> None:
    (program,) = build_bare_metal("gcc", store, Silent(), tests)
    assert (program.name, program.kind, program.timeout_s) == ("bare-metal/hello", "bare-metal", 7)
    assert program.path.read_bytes()[:4] == b"\x7fELF"
    assert build_bare_metal("gcc", store, Silent(), tests) == (program,)
    (tests / "bare-metal/runtime/bare.h").write_text("void program(void); /* new */\n")
    (again,) = build_bare_metal("gcc", store, Silent(), tests)
    assert again.path != program.path


def test_they_are_no_programs_for_linux(tests: Path) -> None:
    (tests / "api").mkdir()
    (tests / "api/one.c").touch()
    assert [unit.name for unit in find_programs(tests)] == ["api/one"]


def test_there_may_be_none(store: Store, tmp_path: Path) -> None:
    assert build_bare_metal("gcc", store, Silent(), tmp_path) == ()


def test_what_can_go_wrong(store: Store, tests: Path, stub: MakeStub) -> None:
    (tests / "bare-metal/bad.c").write_text("int x = ;\n")
    with pytest.raises(BuildError, match=r"bare-metal/bad does not compile") as caught:
        build_bare_metal("gcc", store, Silent(), tests)
    assert "expected expression" in (caught.value.detail or "")
    (tests / "bare-metal/runtime/flags").unlink()
    with pytest.raises(UserError, match="options for bare-metal programs cannot be read"):
        build_bare_metal("gcc", store, Silent(), tests)
