"""Memory leaks in the kernel, as found by kmemleak."""

from __future__ import annotations

from pathlib import Path

#: Limit for the scans, in seconds on a fast machine.
TIMEOUT_S = 60.0
_OPTION = "CONFIG_DEBUG_KMEMLEAK=y"

#: kmemleak reports objects that are older than 5 s and have the same contents in two scans
#: (``MSECS_MIN_AGE`` and ``update_checksum()`` in mm/kmemleak.c). The kernel prints only their
#: number. The script prints the objects on the console as well, where the splat is found.
_SCRIPT = """
[ -w "$1" ] || exit 0
sleep 6
echo scan >"$1" && echo scan >"$1" && cat "$1" >"$2"
"""
COMMAND = ("sh", "-c", _SCRIPT, "leaks", "/sys/kernel/debug/kmemleak", "/dev/console")


def has_kmemleak(config: Path) -> bool:
    """Return true if a kernel's configuration has kmemleak."""
    try:
        return _OPTION in config.read_text().splitlines()
    except OSError:
        return False
