"""Compilers and linkers: their identity for keys, and whether they know user interrupts.

``-muintr`` came with GCC 11 and Clang 12. Support is found by compiling, not by the version.
"""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from pathlib import Path

from harness.errors import BuildError
from harness.lib.process import capture
from harness.values import Compiler, Value

#: Only the harness's own tests need Clang, so `ci/bootstrap run` does not install it.
_HINT = "`ci/bootstrap run` installs GCC; for Clang: apt-get install clang lld llvm"

_PROBE = b"""#include <x86gprintrin.h>
void probe(void);
void probe(void) { _senduipi(0); }
"""


class CompilerIdentity(Value):
    """Identity of a tool; builds with equal identities are equal."""

    name: str
    #: The whole text of ``--version``.
    version: str
    #: Digest of the driver's binary, symbolic links followed.
    sha256: str


@cache
def identify(program: str) -> CompilerIdentity:
    """Return the identity of a compiler or linker on the PATH.

    :raise BuildError: it is not installed, or ``--version`` fails.
    """
    found = shutil.which(program)
    if found is None:
        raise BuildError(f"{program} is not installed", hint=_HINT)
    answer = capture([program, "--version"], timeout_s=30)
    if answer.returncode != 0:
        raise BuildError(
            f"{program} --version failed with {answer.returncode}",
            where=found,
            detail=answer.complaint,
        )
    digest = hashlib.sha256(Path(found).resolve().read_bytes()).hexdigest()
    return CompilerIdentity(name=program, version=answer.text, sha256=digest)


def kernel_tools(cc: Compiler) -> tuple[CompilerIdentity, ...]:
    """Return the identities of a kernel's compiler and linker.

    :raise BuildError: one of them is not installed.
    """
    linker = "ld.lld" if cc == "clang" else "ld"
    return identify(cc), identify(linker)


@cache
def knows_uintr(cc: Compiler) -> bool:
    """Tell whether the compiler builds user-interrupt instructions (``-muintr``).

    :raise BuildError: it is not installed.
    """
    argv = [cc, "-muintr", "-x", "c", "-", "-S", "-o", "/dev/null"]
    return capture(argv, stdin=_PROBE, timeout_s=60).returncode == 0


def require_uintr(cc: Compiler) -> CompilerIdentity:
    """Return the identity of a compiler for the guest programs.

    :raise BuildError: it is not installed, or too old for ``-muintr``.
    """
    identity = identify(cc)
    if not knows_uintr(cc):
        raise BuildError(
            f"{cc} does not know user interrupts (-muintr)",
            where=identity.version.partition("\n")[0],
            hint="GCC 11 or Clang 12 is the oldest that does",
        )
    return identity
