"""The C of this repository, by the kernel's ``checkpatch.pl``: ``python -m tools.checkpatch``.

The script comes from the package ``linux-source-6.12``, which the default kernel needs as well, and
is unpacked once. The arguments are the files to check; by default all of ``guest-tests/``,
``images/`` and ``examples/``, which takes half a minute. The exit code is 1 after a complaint.

clang-format is not used: it takes the statements of the contract (``POST-9``) for subtractions, and
would change one line in eleven.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import paths
from harness.errors import HarnessError, UserError

PACKAGE = "linux-source-6.12"
FOLDERS = ("guest-tests", "images", "examples")
#: Types of complaints that do not fit these programs: they are about the kernel's own headers and
#: rules, or about assembly, handlers and macros that are lists.
IGNORED = (
    *("ARRAY_SIZE", "AVOID_EXTERNS", "ENOSYS", "NEW_TYPEDEFS", "PREFER_DEFINED_ATTRIBUTE_MACRO"),
    *("COMPLEX_MACRO", "LEADING_SPACE", "MACRO_ARG_UNUSED", "MACRO_WITH_FLOW_CONTROL", "VOLATILE"),
    *("EMBEDDED_FUNCTION_NAME", "FUNCTION_ARGUMENTS", "LINE_SPACING", "NAKED_SSCANF"),
    *("QUOTED_WHITESPACE_BEFORE_NEWLINE", "SPACING"),
)
_FILES = ("checkpatch.pl", "const_structs.checkpatch", "spelling.txt")


def script(archive: Path, folder: Path) -> Path:
    """Return checkpatch's path, unpacked from the package's archive unless it is there.

    :raise UserError: the package is not installed.
    """
    path = folder / _FILES[0]
    if not path.exists():
        if not archive.exists():
            raise UserError(f"{PACKAGE} is not installed", hint=f"apt-get install {PACKAGE}")
        folder.mkdir(parents=True, exist_ok=True)
        members = [f"{PACKAGE}/scripts/{name}" for name in _FILES]
        argv = ["tar", "-x", "-f", str(archive), "-C", str(folder), "--strip-components=2"]
        subprocess.run([*argv, "--occurrence=1", *reversed(members)], check=True)
    return path


def argv(script: Path, files: Sequence[Path]) -> list[str]:
    """Return the command line that checks files."""
    return [
        *("perl", str(script), "--no-tree", "--terse", "--no-summary", "--show-types"),
        *("--max-line-length=100", f"--ignore={','.join(IGNORED)}", "--file"),
        *map(str, files),
    ]


def all_files() -> list[Path]:
    """Return the C files of the folders that are checked."""
    found = (path for name in FOLDERS for path in (paths.ROOT / name).rglob("*.[ch]"))
    return sorted(path.relative_to(paths.ROOT) for path in found)


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("files", type=Path, nargs="*", help="files to check  [default: all]")
    return options


def main() -> int:
    """Run checkpatch."""
    options = parser().parse_args()
    try:
        found = script(
            Path(f"/usr/src/{PACKAGE}.tar.xz"), paths.cache_dir() / "checkpatch" / PACKAGE
        )
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    done = subprocess.run(argv(found, options.files or all_files()), cwd=paths.ROOT)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
