"""The guest programs, compiled for the later generation of the ABI."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from harness import paths
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.programs import compile_argv, find_programs
from harness.artefacts.store import Store
from harness.names import DEFAULT_KERNEL
from harness.progress import Silent
from harness.request.profiles import load_kernel
from harness.values import Compiler
from tests.later_abi.headers import make_headers

UNITS = {unit.name: unit.source for unit in find_programs(paths.GUEST_TESTS)}

#: Gives the binary of a program by a compiler, and fails the test if there is a warning.
Compile = Callable[[str, Compiler], Path]


def compile_into(folder: Path) -> Compile:
    """Return what compiles programs into a folder, each once.

    The headers may take the default profile's kernel to build.
    """
    kernel = build_kernel(load_kernel(DEFAULT_KERNEL), Store.open(), Silent())
    headers = make_headers(kernel.headers, folder / "headers")

    @cache
    def compile_one(name: str, cc: Compiler) -> Path:
        if shutil.which(cc) is None:
            pytest.skip(f"{cc} is not installed")
        out = folder / cc / name
        out.parent.mkdir(parents=True, exist_ok=True)
        argv = compile_argv(cc, UNITS[name], paths.GUEST_TESTS, headers, out)
        done = subprocess.run([*argv, "-Werror"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return out

    return compile_one
