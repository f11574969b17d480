"""What an emulator may do on the host: as little as it needs.

A guest runs programs that are broken on purpose, and TCG is no border that QEMU promises. So each
emulator that the harness starts has

- no capabilities, root's included, and no way to gain any,
- an environment of :data:`PASSED_ON` alone: it holds no token and no path to a secret,
- with a QEMU that can do it, a seccomp filter: it starts no program, and changes neither its rights
  nor its scheduling.

Scripts for a reader (``qemu.sh``) have none of this, so that they run anywhere.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import BuildError, GuestError
from harness.lib.process import bound, capture

#: Variables that an emulator gets. The first two find programs and libraries, the third temporary
#: files; the rest steer an emulator that is built with sanitizers, and Bochs.
PASSED_ON = (
    *("PATH", "LD_LIBRARY_PATH", "TMPDIR"),
    *("ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"),
    *("BXSHARE", "LTDL_LIBRARY_PATH"),
)
#: QEMU's seccomp filter: none of the system calls that QEMU groups under these names.
SANDBOX = (
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
)
#: The capability that changes the bounding set (``CAP_SETPCAP`` of linux/capability.h).
_SETPCAP = 8
_ASK_S = 30.0


def environment() -> dict[str, str]:
    """Return the environment of an emulator."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def confined_argv(argv: Sequence[str], *, sandbox: bool = True) -> list[str]:
    """Return the command that starts an emulator with no rights, and kills it with the harness.

    :param sandbox: whether it is a QEMU, which gets :data:`SANDBOX` if it knows it.
    :raise GuestError: setpriv is missing, or QEMU does not answer.
    """
    if shutil.which("setpriv") is None:
        raise GuestError("setpriv is not installed", hint="install util-linux")
    more = SANDBOX if sandbox and knows_sandbox(argv[0]) else ()
    return _powerless([*argv, *more])


def _powerless(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` without capabilities.

    Only a process that may change the bounding set can take root's capabilities away from its
    child. For any other user there are none to take: ``no_new_privs`` keeps it so.
    """
    drop = ["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]
    if may_drop_capabilities():
        drop.append("--bounding-set=-all")
    return bound(argv, *drop, death="KILL")


def may_drop_capabilities() -> bool:
    """Tell whether this process may remove capabilities from its children."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
        if line.startswith("CapEff:"):
            return bool(int(line.partition(":")[2], 16) >> _SETPCAP & 1)
    return False


@functools.lru_cache(maxsize=32)
def knows_sandbox(binary: str) -> bool:
    """Tell whether a QEMU has the seccomp filter, and this host's kernel, too. Asked once.

    QEMU reads its options in order. At ``-version`` it ends with 0; before that, it has ended with
    1 if it was built without seccomp, does not know one of the words, or the kernel has no filters.

    :raise GuestError: QEMU does not answer.
    """
    if shutil.which(binary) is None:
        return False  # the attempt to start it gives a better error
    argv = _powerless([binary, *SANDBOX, "-version"])
    try:
        return capture(argv, env=environment(), timeout_s=_ASK_S).returncode == 0
    except BuildError as error:
        raise GuestError("QEMU does not answer", where=binary, detail=error.what) from error
