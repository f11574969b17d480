"""Run the README's commands on Debian 12 and 13: ``python -m tools.releases``.

::

    python -m tools.releases                              everything, on each release
    python -m tools.releases --release trixie             on one
    python -m tools.releases --release trixie test -e unit
                                                                     one command of ci/bootstrap

Each release gets a fresh root by debootstrap, with an empty HOME, Debian's essential packages only,
and a clone of this checkout. It needs root rights, and about two hours and 15 GB for each release.
Run it before a release, and whenever package lists or bootstrap change.

``--keep DIR`` leaves the root in DIR/RELEASE and uses it again, to investigate a failure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness import paths
from harness.errors import HarnessError
from tools.debian_root import CHECKOUT, RELEASES, DebianRoot, debian_root, why_not

#: Commands to run by default. The last one needs Clang, which `test` installs.
COMMANDS = (
    ("run", "--cpu", "exposed,hidden"),
    ("test",),
    ("run", "--cpu", "exposed,hidden", "--cc", "gcc,clang"),
)
BOOTSTRAP = str(CHECKOUT / "ci" / "bootstrap")


def play(root: DebianRoot, commands: Sequence[Sequence[str]]) -> int:
    """Run commands of ``ci/bootstrap`` in a root, and return how many failed."""
    failed = 0
    for command in commands:
        began = time.monotonic()
        # In the same session, so that Ctrl-C reaches the command.
        done = subprocess.run(root.argv(BOOTSTRAP, *command), stdin=subprocess.DEVNULL)
        took = time.monotonic() - began
        shown = " ".join(("ci/bootstrap", *command))
        print(f"{root.release}: {shown}: exit code {done.returncode}, {took:.0f} s", flush=True)
        failed += done.returncode != 0
    return failed


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(
        prog="python -m tools.releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--release", default=",".join(RELEASES), help="by codename, with commas")
    options.add_argument("--keep", type=Path, metavar="DIR", help="keep the roots in this folder")
    options.add_argument(
        "command", nargs=argparse.REMAINDER, help="command of ci/bootstrap, with arguments"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the commands in a root of each release; return 0 if all of them succeeded."""
    options = parser().parse_args(argv)
    if reason := why_not():
        print(f"error: {reason}", file=sys.stderr)
        return 4
    failed = 0
    for release in options.release.split(","):
        try:
            with debian_root(
                release,
                archives=paths.cache_dir() / "debian-packages",
                keep=options.keep and options.keep / release,
            ) as root:
                failed += play(root, [options.command] if options.command else COMMANDS)
        except HarnessError as error:
            print(f"error: {release}: {error}", file=sys.stderr)
            return 4
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
