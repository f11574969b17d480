"""Git as a store of trees: every base tree and every patched tree is a commit.

A tree's identity is its git tree id. Patches are applied to an index without touching a file.
Switching a kept work tree to another commit touches only the files that differ, so that ``make``
rebuilds no more than necessary.

Commits have fixed names and dates, so that the same content always has the same id.
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

#: Name and date as a line for ``git fast-import``.
COMMITTER = f"{_WHO} <{_WHO}@localhost> 1631491200 +0000"

#: Settings that keep content exact and the repository unchanged by git's maintenance, whatever the
#: user's configuration is. All files go into one pack at once, instead of ninety thousand objects.
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
    """Return the environment without variables that redirect git, and in the C locale."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env["LC_ALL"] = "C"
    env["GIT_TERMINAL_PROMPT"] = "0"
    return env


def own_environment() -> dict[str, str]:
    """Return an environment in which git ignores the user's and the host's configuration."""
    env = clean_environment()
    env["GIT_CONFIG_NOSYSTEM"] = "1"
    env["GIT_CONFIG_GLOBAL"] = os.devnull
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"] = _WHO
        env[f"GIT_{role}_EMAIL"] = f"{_WHO}@localhost"
        env[f"GIT_{role}_DATE"] = _WHEN
    return env


def quoted_path(path: Path) -> bytes:
    """Return a path quoted for git's list of object folders.

    Unquoted, a colon or a line end would end the path.
    """
    special = {ord('"'): b'\\"', ord("\\"): b"\\\\", ord("\n"): b"\\n"}
    quoted = b"".join(special.get(byte, bytes([byte])) for byte in os.fsencode(path))
    return b'"' + quoted + b'"'


def _unquoted(entry: bytes) -> Path:
    """Return the path of an entry, quoted as by :func:`quoted_path` or not."""
    if not entry.startswith(b'"'):
        return Path(os.fsdecode(entry))
    special = {b"n": b"\n"}
    inner = entry[1:].removesuffix(b'"')
    plain = re.sub(rb"\\(.)", lambda match: special.get(match[1], match[1]), inner)
    return Path(os.fsdecode(plain))


class Repository:
    """A bare repository of the harness, with an optional work tree elsewhere."""

    def __init__(self, git_dir: Path, work_tree: Path | None = None) -> None:
        self.git_dir = git_dir.absolute()
        self.work_tree = work_tree

    def init(self) -> Repository:
        """Create the repository, if it does not exist yet."""
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
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        cwd: Path | None = None,
    ) -> Captured:
        """Run a git command; no exit code is an error.

        :param cwd: its working directory; by default the work tree, if there is one.
        """
        return capture(
            self.argv(*args),
            cwd=cwd or self.work_tree,
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
        """Tell whether a commit and its tree exist here."""
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
        """Commit a tree with the fixed name and date, and return the commit's id."""
        parents = ["-p", parent] if parent else []
        return self.run("commit-tree", *parents, "-F", "-", tree, stdin=message.encode() + b"\n")

    def borrow(self, other: Path) -> None:
        """Use the objects of another bare repository without copying them."""
        alternates = self.git_dir / "objects" / "info" / "alternates"
        line = quoted_path(other / "objects")
        known = alternates.read_bytes() if alternates.exists() else b""
        # With an entry whose folder was removed, git would complain in every command.
        kept = [entry for entry in known.split(b"\n") if entry and _unquoted(entry).is_dir()]
        if line not in kept:
            kept.append(line)
        alternates.write_bytes(b"".join(entry + b"\n" for entry in kept))

    # --- the work tree -----------------------------------------------------------------------

    def check_out(self, commit: str) -> None:
        """Make the work tree equal to a commit, without touching files that are equal already.

        All other files in the work tree are removed. The caller holds the folder's lock, so that a
        lock file of the index is one that a killed git left.
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
