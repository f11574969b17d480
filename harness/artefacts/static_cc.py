"""A compiler for selftests that links statically, whatever their Makefiles link.

Some targets, such as ``rseq``, make a shared library and link their programs with it. The script
also makes an archive of the library's code, with the name that the linker looks for when it links
statically.
"""

from __future__ import annotations

from pathlib import Path

#: Usage: ``static-cc COMPILER ARGUMENT…``
SCRIPT = r"""#!/bin/sh
cc=$1
shift
shared= out= before=
for word; do
	[ "$word" = -shared ] && shared=yes
	[ "$before" = -o ] && out=$word
	before=$word
done
[ -n "$shared" ] && [ -n "$out" ] || exec "$cc" -static "$@"
"$cc" "$@" || exit
for word; do
	shift
	case $word in
	-shared | -o | "$out" | -l* | -Wl,*) ;;
	*) set -- "$@" "$word" ;;
	esac
done
"$cc" -r -nostdlib "$@" -o "$out.o" && ar rcs "${out%.so*}.a" "$out.o"
"""


def write_static_cc(folder: Path) -> Path:
    """Write the script into a folder and return its path."""
    path = folder / "static-cc"
    path.write_text(SCRIPT, encoding="utf-8")
    path.chmod(0o755)
    return path
