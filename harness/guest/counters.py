"""Coverage counters of a kernel built with gcov, copied to a folder that can be fetched.

Files in debugfs have no size, so tar and SFTP cannot copy them (see
Documentation/dev-tools/gcov.rst).
"""

from __future__ import annotations

#: Limit for copying, in seconds on a fast machine.
TIMEOUT_S = 30.0
#: The guest's folder for the copies, with paths as below ``/sys/kernel/debug/gcov``.
FOLDER = "/tmp/gcov"  # noqa: S108 - the guest's
#: Folder in a cell's folder, with a subfolder for each guest.
KEPT = "gcov"
_SCRIPT = """
mkdir -p "$1" && cd /sys/kernel/debug/gcov && find . -type f -name '*.gcda' | while read -r file; do
	mkdir -p "$1/${file%/*}" && cat "$file" >"$1/$file" || exit 1
done
"""
COMMAND = ("sh", "-c", _SCRIPT, "counters", FOLDER)
