"""Git as a store of trees: every base tree and every patched tree is a commit.

One form for all sources makes the rest simple: a tree's identity is its git tree id, patches are
applied to an index without touching a file, and moving a kept work tree to another commit
touches only the files that differ, so that ``make`` rebuilds no more than it must.

Commits carry fixed names and dates: the same content always has the same id.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from harness.errors import BuildError
from harness.lib.process import Captured, capture, disk_full, says_disk_full

_WHO = "uintr-harness"
_WHEN = "2021-09-13T00:00:00Z"

#: The same as one line, in the form that ``git fast-import`` takes.
COMMITTER = f"{_WHO} <{_WHO}@localhost> 1631491200 +0000"

#: Settings that keep content exact and the repository as we made it, whatever the user's own
#: configuration says. Large files go into one pack right away instead of ninety thousand files.
_SETTINGS = {
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.fileMode": "true",
    "core.excludesFile": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.bigFileThreshold": "1",
    "core.compression": "1",
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
}


def clean_environment() -> dict[str, str]:
    """Return the environment without anything that steers git elsewhere."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env["LC_ALL"] = "C"
    env["GIT_TERMINAL_PROMPT"] = "0"
    return env


def own_environment() -> dict[str, str]:
    """Return an environment in which only our settings count, not the user's or the host's."""
    env = clean_environment()
    env["GIT_CONFIG_NOSYSTEM"] = "1"
    env["GIT_CONFIG_GLOBAL"] = os.devnull
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"] = _WHO
        env[f"GIT_{role}_EMAIL"] = f"{_WHO}@localhost"
        env[f"GIT_{role}_DATE"] = _WHEN
    return env


def quoted_path(path: Path) -> bytes:
    """Return a path as git reads it in a list of object folders: any byte may be in it.

    Unquoted, a colon or a line end would end the path.
    """
    special = {ord('"'): b'\\"', ord("\\"): b"\\\\", ord("\n"): b"\\n"}
    quoted = b"".join(special.get(byte, bytes([byte])) for byte in os.fsencode(path))
    return b'"' + quoted + b'"'


def _unquoted(entry: bytes) -> Path:
    """Return the path that :func:`quoted_path` wrote, or that stands there without quotes."""
    if not entry.startswith(b'"'):
        return Path(os.fsdecode(entry))
    special = {b"n": b"\n"}
    inner = entry[1:].removesuffix(b'"')
    plain = re.sub(rb"\\(.)", lambda match: special.get(match[1], match[1]), inner)
    return Path(os.fsdecode(plain))


class Repository:
    """A bare repository of ours, with an optional work tree elsewhere."""

    def __init__(self, git_dir: Path, work_tree: Path | None = None) -> None:
        self.git_dir = git_dir
        self.work_tree = work_tree

    def init(self) -> Repository:
        """Make the repository, if it is not there yet."""
        if not (self.git_dir / "HEAD").exists():
            self.git_dir.mkdir(parents=True, exist_ok=True)
            _checked(
                capture(
                    ["git", "init", "--quiet", "--bare", str(self.git_dir)], env=own_environment()
                ),
                "git init",
            )
            for name, value in _SETTINGS.items():
                self.run("config", name, value)
        return self

    def argv(self, *args: str) -> list[str]:
        """Return the command line of a git command on this repository."""
        tree = [f"--work-tree={self.work_tree}"] if self.work_tree else []
        return ["git", f"--git-dir={self.git_dir}", *tree, *args]

    def try_(
        self, *args: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> Captured:
        """Run a git command; a non-zero exit is data."""
        return capture(
            self.argv(*args),
            cwd=self.work_tree,
            env={**own_environment(), **(env or {})},
            stdin=stdin,
            timeout_s=3600,
        )

    def run(
        self, *args: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> str:
        """Run a git command and return its output as text.

        :raise BuildError: it failed.
        """
        return _checked(self.try_(*args, env=env, stdin=stdin), f"git {args[0]}", self.git_dir)

    # --- objects -----------------------------------------------------------------------------

    def has(self, commit: str) -> bool:
        """Tell whether a commit is there with its tree."""
        return self.try_("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}").returncode == 0

    def tree_of(self, commit: str) -> str:
        """Return the id of a commit's tree."""
        return self.run("rev-parse", "--verify", f"{commit}^{{tree}}")

    def files_of(self, commit: str) -> dict[str, str]:
        """Return the id of each file of a commit, by its path."""
        listing = self.run("ls-tree", "-r", "-z", "--full-tree", commit)
        entries = (line.partition("\t") for line in listing.split("\0") if line)
        return {path: entry.split()[2] for entry, _, path in entries}

    def commit(self, tree: str, message: str, parent: str | None = None) -> str:
        """Make a commit of a tree with our fixed name and date, and return its id."""
        parents = ["-p", parent] if parent else []
        return self.run("commit-tree", *parents, "-F", "-", tree, stdin=message.encode() + b"\n")

    def borrow(self, other: Path) -> None:
        """Use the objects of another bare repository without copying them."""
        alternates = self.git_dir / "objects" / "info" / "alternates"
        line = quoted_path(other / "objects")
        known = alternates.read_bytes() if alternates.exists() else b""
        # One that was cleaned away would make git complain with every command.
        kept = [entry for entry in known.split(b"\n") if entry and _unquoted(entry).is_dir()]
        if line not in kept:
            kept.append(line)
        alternates.write_bytes(b"".join(entry + b"\n" for entry in kept))

    # --- the work tree -----------------------------------------------------------------------

    def check_out(self, commit: str) -> None:
        """Make the work tree equal to a commit; a file that is right already is not touched.

        Whatever else lies in the work tree is removed. The caller holds the folder's lock, so an
        index lock that is there belongs to a git that was killed.
        """
        assert self.work_tree is not None
        self.work_tree.mkdir(parents=True, exist_ok=True)
        (self.git_dir / "index.lock").unlink(missing_ok=True)
        self.run("read-tree", "--reset", "-u", commit)
        self.run("clean", "-ffdxq")


def _checked(result: Captured, what: str, where: Path | None = None) -> str:
    if result.returncode == 0:
        return result.text
    if says_disk_full(result.complaint):
        raise disk_full(where or what)
    raise BuildError(
        f"{what} failed with {result.returncode}", where=where, detail=result.complaint
    )
