"""Guest programs: tiny C files through the host's own compilers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from harness.artefacts import toolchain
from harness.artefacts.programs import (
    Settings,
    build_programs,
    compile_argv,
    find_programs,
    read_settings,
)
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.progress import Silent
from harness.values import Compiler, KernelArtefact

from .conftest import MakeStub

SOURCE = """
#include <asm/toy.h>
#include <stdio.h>
#include <x86gprintrin.h>
#include "shared.h"
int main(void) { printf("%d %d\\n", TOY_ANSWER, SHARED); return 0; }
"""


@pytest.fixture
def kernel(tmp_path: Path) -> KernelArtefact:
    headers = tmp_path / "kernel/headers/include/asm"
    headers.mkdir(parents=True)
    (headers / "toy.h").write_text("#define TOY_ANSWER 42\n")
    return KernelArtefact(key="0" * 64, path=tmp_path / "kernel", release="6.12.0-toy")


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    folder = tmp_path / "guest-tests"
    for subject in ("api", "latency", "include"):
        (folder / subject).mkdir(parents=True)
    (folder / "include/shared.h").write_text("#define SHARED 1\n")
    (folder / "api/answer.c").write_text(SOURCE)
    (folder / "latency/ping-pong.c").write_text("int main(void) { return 0; }\n")
    (folder / "latency/settings").write_text("# slow\ntimeout=120\n")
    return folder


@pytest.mark.parametrize("cc", get_args(Compiler))
def test_programs_are_built_against_the_kernels_headers(
    store: Store, kernel: KernelArtefact, tests: Path, cc: Compiler
) -> None:
    if shutil.which(cc) is None:
        pytest.skip(f"{cc} is not installed")
    built = build_programs(kernel, cc, store, Silent(), tests)
    assert [(one.name, one.timeout_s, one.latency) for one in built.programs] == [
        ("api/answer", 30.0, False),
        ("latency/ping-pong", 120.0, True),
    ]
    answer = built.programs[0].path
    assert subprocess.check_output([answer]) == b"42 1\n"
    assert (
        b"interpreter" not in subprocess.check_output(["file", "-b", answer])
        if shutil.which("file")
        else True
    )
    assert type(built).model_validate_json(built.model_dump_json()) == built


def test_what_a_program_is_made_of_decides_its_key(
    store: Store, kernel: KernelArtefact, tests: Path
) -> None:
    def key() -> str:
        return build_programs(kernel, "gcc", store, Silent(), tests).key

    keys = [key()]
    for changed, text in (
        (tests / "api/answer.c", SOURCE + "\n"),
        (tests / "include/shared.h", "#define SHARED 2\n"),
        (kernel.headers / "asm/toy.h", "#define TOY_ANSWER 43\n"),
    ):
        changed.write_text(text)
        keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key() == keys[-1]


def test_a_program_that_does_not_compile(store: Store, kernel: KernelArtefact, tests: Path) -> None:
    (tests / "api/broken.c").write_text("int main(void) { return undeclared; }\n")
    (tests / "api/cut.c").write_text("int main(void) {\n")
    with pytest.raises(
        BuildError, match=r"api/broken does not compile with gcc \(and 1 more\)"
    ) as c:
        build_programs(kernel, "gcc", store, Silent(), tests)
    assert c.value.where == str(tests / "api/broken.c")
    assert "'undeclared' undeclared" in (c.value.detail or "").replace("\u2018", "'").replace(
        "\u2019", "'"
    )
    log = (store.root / "logs/programs-gcc.log").read_text()
    assert "== api/broken" in log
    assert "== api/cut" in log


def test_no_programs_and_bad_names(store: Store, kernel: KernelArtefact, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no guest programs"):
        build_programs(kernel, "gcc", store, Silent(), tmp_path)
    (tmp_path / "api").mkdir()
    (tmp_path / "api/Bad_Name.c").touch()
    with pytest.raises(UserError, match="api/Bad_Name is no program name"):
        list(find_programs(tmp_path))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("timeout=5", Settings(5.0)),
        ("", Settings(30.0, isolate=False, output_limit=64 << 20)),
        ("timeout = 1.5\n", Settings(1.5)),
        ("isolate=yes # it unplugs CPUs\ntimeout=7\n", Settings(7.0, isolate=True)),
        ("isolate=yes\nisolate=no\n", Settings()),
        ("output-limit=4096", Settings(output_limit=4096)),
        ("output-limit = 3M # it prints a lot", Settings(output_limit=3 << 20)),
    ],
)
def test_what_settings_state(tmp_path: Path, text: str, meant: Settings) -> None:
    (tmp_path / "settings").write_text(text)
    assert read_settings(tmp_path / "settings") == meant


def test_settings_that_are_not_understood(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("timeout=5\nretries=3\n")
    with pytest.raises(UserError, match="retries=3") as caught:
        read_settings(tmp_path / "settings")
    assert caught.value.where == f"{tmp_path}/settings:2"


def test_the_command_line() -> None:
    argv = compile_argv("gcc", Path("/t/api/a.c"), Path("/t"), Path("/k/include"), Path("/o/a"))
    assert argv == [
        "gcc", "-std=gnu11", "-O2", "-g", "-static", "-pthread", "-muintr", "-Wall", "-Wextra",
        "-ffile-prefix-map=/t/=", "-I", "/t/include", "-isystem", "/k/include",
        "-o", "/o/a", "/t/api/a.c",
    ]  # fmt: skip


# --- the compiler itself ---------------------------------------------------------------------


def test_a_compiler_is_known_by_what_it_says_and_what_it_is(stub: MakeStub) -> None:
    stub("gcc", "echo gcc 12.2")
    first = toolchain.identify("gcc")
    assert first.version == "gcc 12.2"
    stub("gcc", "echo gcc 12.2 # rebuilt")
    toolchain.identify.cache_clear()
    assert toolchain.identify("gcc").sha256 != first.sha256


def test_a_compiler_that_is_too_old_or_missing(
    stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(
        "gcc",
        'case $1 in --version) echo gcc 10.2;; *) echo "unrecognized -muintr" >&2; exit 1;; esac',
    )
    with pytest.raises(BuildError, match="does not know user interrupts") as caught:
        toolchain.require_uintr("gcc")
    assert caught.value.where == "gcc 10.2"
    toolchain.identify.cache_clear()
    toolchain.knows_uintr.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BuildError, match="clang is not installed"):
        toolchain.identify("clang")
