"""Memory that the kernel has lost, as its kmemleak finds it."""

from __future__ import annotations

from pathlib import Path

#: Seconds that looking takes at most, on a fast machine.
TIMEOUT_S = 60.0
_OPTION = "CONFIG_DEBUG_KMEMLEAK=y"

#: Objects are reported from an age of 5 s on, and if two scans find the same content
#: (``MSECS_MIN_AGE`` and ``update_checksum()`` in mm/kmemleak.c). The kernel says how many they
#: are; what they are goes to the console, too, where complaints are found.
_SCRIPT = """
[ -w "$1" ] || exit 0
sleep 6
echo scan >"$1" && echo scan >"$1" && cat "$1" >"$2"
"""
COMMAND = ("sh", "-c", _SCRIPT, "leaks", "/sys/kernel/debug/kmemleak", "/dev/console")


def can_be_looked_for(config: Path) -> bool:
    """Tell by its configuration whether a kernel has kmemleak."""
    try:
        return _OPTION in config.read_text().splitlines()
    except OSError:
        return False
