"""What a kernel that was built with gcov has counted, copied to where it can be fetched.

Files of debugfs have no size, so that neither tar nor SFTP copies them as they are
(Documentation/dev-tools/gcov.rst).
"""

from __future__ import annotations

#: Seconds that copying takes at most, on a fast machine.
TIMEOUT_S = 30.0
#: The guest's folder with the copies, their paths as below ``/sys/kernel/debug/gcov``.
FOLDER = "/tmp/gcov"  # noqa: S108 - the guest's
#: The folder of a cell that holds a folder for each guest.
KEPT = "gcov"
_SCRIPT = """
mkdir -p "$1" && cd /sys/kernel/debug/gcov && find . -type f -name '*.gcda' | while read -r file; do
	mkdir -p "$1/${file%/*}" && cat "$file" >"$1/$file" || exit 1
done
"""
COMMAND = ("sh", "-c", _SCRIPT, "counters", FOLDER)
