"""The guest programs against headers of the later generation of the ABI; there is no such kernel.

The host's kernel has no user interrupts, and is what they must skip on.
"""

from __future__ import annotations

import ctypes
import errno
import re
import subprocess
from typing import get_args

import pytest

from harness.values import Compiler
from tests.later_abi.headers import CALLS, FIRST
from tests.later_abi.programs import UNITS, Compile, compile_into

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]

#: What is measured for comparison knows no ABI.
INDEPENDENT = {name for name in UNITS if name.startswith("latency/")} - {"latency/uintr"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    return compile_into(tmp_path_factory.mktemp("later-abi"))


@pytest.mark.parametrize("cc", get_args(Compiler))
@pytest.mark.parametrize("name", UNITS)
def test_a_kernel_without_the_calls_skips_a_program_and_says_so(
    compiled: Compile, name: str, cc: Compiler
) -> None:
    program = compiled(name, cc)
    if name in INDEPENDENT:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(FIRST, FIRST + len(CALLS)):
        if libc.syscall(number, 0, -1, -1) != -1 or ctypes.get_errno() != errno.ENOSYS:
            pytest.skip(f"the host's kernel has a call {number}")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert re.fullmatch(r"KTAP version 1\n1\.\.0 # SKIP the kernel.{20,}\n", done.stdout) or (
        name == "api/off" and "# SKIP nouintr is not on the kernel's command line" in done.stdout
    ), done.stdout
