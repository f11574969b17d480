"""A limit on the harness's own memory, behind the limits of each reader.

What a guest, a file or a mail can make large has a limit where it is read. Should one of them be
missing, an error ends the harness before it takes the host's memory from other processes.

``RLIMIT_DATA`` counts memory that the process can write to, whether or not it has used it, and not
what it has only reserved, as ``RLIMIT_AS`` would. Child processes inherit it, so each command that
the harness starts gets it lifted again (:func:`lifted`).
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Sequence

from harness.errors import UserError

#: Environment variable with the limit in MiB; 0 for none.
MEMORY_ENV = "UINTR_HARNESS_MEMORY"
#: The limit in MiB. A run takes about 150.
DEFAULT_MIB = 2048
#: The least that can be asked for: with less, a run may fail before it begins.
LEAST_MIB = 256
#: Numpy's library allocates some 40 MiB for each CPU when it is loaded. The harness multiplies no
#: matrices.
_THREADS = "OPENBLAS_NUM_THREADS"


def wanted_mib() -> int:
    """Return the limit in MiB, 0 for none.

    :raise UserError: the variable has no number of MiB.
    """
    text = os.environ.get(MEMORY_ENV, "").strip() or str(DEFAULT_MIB)
    if not text.isascii() or not text.isdigit() or 0 < int(text[:9]) < LEAST_MIB:
        raise UserError(
            f"this is no limit on memory: {text[:80]!r}",
            where=MEMORY_ENV,
            hint=f"give a number of MiB, at least {LEAST_MIB}; 0 for no limit",
        )
    return int(text[:9])


def limit_memory() -> None:
    """Limit this process's memory, unless it has a lower limit already.

    :raise UserError: as :func:`wanted_mib`.
    """
    os.environ.setdefault(_THREADS, "1")
    wanted = wanted_mib() << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if wanted and (soft == resource.RLIM_INFINITY or soft > wanted):
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def lifted(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` with the limit lifted again, by util-linux's ``prlimit``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == hard:
        return list(argv)
    limit = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    return [shutil.which("prlimit") or "prlimit", f"--data={limit}:{limit}", "--", *argv]


def limit_in_force() -> int | None:
    """Return this process's limit in MiB, None if there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft >> 20
