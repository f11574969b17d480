"""Roots of other Debian releases, made by debootstrap, in which commands run as on a fresh machine.

Mirrors and configuration are the host's (``host_packages``); no address is written here. A command
runs in its own mount and PID namespaces, whose init gets SIGKILL when this process ends. So no
mount and no process is left, however this process ends. If it is killed, the next one removes the
folder of its root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness import paths
from harness.artefacts.source.debian_archive import find_keyring
from harness.errors import GuestError
from harness.lib.interrupts import terminated_as_interrupted
from tools.host_packages import Bind, copy_configuration, host_suites, output

RELEASES = ("bookworm", "trixie")

#: Paths in a root: of the checkout, and of HOME, which is empty at first.
CHECKOUT = Path("/srv/uintr-harness")
HOME = Path("/root")
#: File that marks a root, so that no roots are made inside of it.
MARK = Path("/etc/uintr-harness-root")

_PREFIX = "uintr-harness-root-"
_ARCHIVES = Path("var/cache/apt/archives")

#: Arguments: the root; "from", "to" and "ro" or "rw" of each folder to bind; "--"; the command.
#: The shell stays as the namespace's init and reaps orphans.
_ENTER = """
set -eu
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
	mkdir -p "$root$2"
	mount --bind "$1" "$root$2"
	[ "$3" = rw ] || mount -o "remount,bind,$3" "$root$2"
	shift 3
done
shift
chroot "$root" "$@"
exit $?
"""


def why_not() -> str:
    """Return why no root can be made on this host, or an empty string."""
    if MARK.exists():
        return "this is such a root already"
    if os.getuid() != 0:
        return "making a root of another release needs root rights"
    for tool in ("debootstrap", "unshare", "setpriv", "chroot", "apt-get", "git"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if find_keyring() is None:
        return "the package debian-archive-keyring is not installed"
    tried = subprocess.run(
        [*_namespaces(), "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True
    )
    if tried.returncode != 0:
        return f"mounting in a namespace is not permitted here: {tried.stderr.strip()}"
    if not host_suites(RELEASES[0]):
        return "apt has no mirror of Debian (`apt-get indextargets`)"
    return ""


class DebianRoot:
    """A root in which commands can be run."""

    def __init__(self, release: str, path: Path, archives: Path) -> None:
        self.release = release
        self.path = path
        #: Folder of downloaded packages, shared by roots.
        self.archives = archives
        self.binds: list[Bind] = []
        self._env: dict[str, str] = {}

    def make(self) -> None:
        """Make the root, unless it exists.

        :raise GuestError: debootstrap fails, or apt has no mirror of Debian.
        """
        suites = host_suites(self.release)
        if not suites:
            raise GuestError("apt has no mirror of Debian", where="`apt-get indextargets`")
        if not (self.path / MARK.relative_to("/")).exists():
            self.archives.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                [
                    *_bound(),
                    "debootstrap",
                    "--variant=minbase",
                    f"--keyring={find_keyring()}",
                    f"--cache-dir={self.archives}",
                    self.release,
                    str(self.path),
                    suites[0].uri,
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                raise GuestError(
                    f"debootstrap could not make a root of {self.release}",
                    where=self.path,
                    detail=(done.stdout + done.stderr)[-2000:],
                    hint="check that the host's mirror has this release",
                )
            (self.path / MARK.relative_to("/")).write_text(self.release + "\n")
        binds, self._env = copy_configuration(self.path, suites)
        self.binds += binds

    def clone(self, checkout: Path = paths.ROOT) -> None:
        """Clone a checkout into the root, with its uncommitted changes.

        :raise GuestError: ``checkout`` is not a git checkout.
        """
        target = self.path / CHECKOUT.relative_to("/")
        if target.exists():
            shutil.rmtree(target)
        git = ("git", "-c", "safe.directory=*")
        output(*git, "clone", "--quiet", "--depth=1", checkout.resolve().as_uri(), str(target))
        changes = output(*git, "-C", str(checkout), "diff", "--binary", "HEAD")
        if changes:
            output(*git, "-C", str(target), "apply", "--index", stdin=changes)
        listed = output(
            *git, "-C", str(checkout), "ls-files", "-z", "--others", "--exclude-standard"
        )
        for name in filter(None, listed.split("\0")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target / name, follow_symlinks=False)

    def argv(self, *command: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a command in the root's checkout."""
        binds = [
            part
            for bind in self.binds
            for part in (str(bind.host), str(bind.inside), "rw" if bind.writable else "ro")
        ]
        variables = {
            "HOME": str(HOME),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **({"TERM": term} if (term := os.environ.get("TERM")) else {}),
            **self._env,
            **(env or {}),
        }
        return [
            *_namespaces(),
            *("sh", "-c", _ENTER, "enter", str(self.path), *binds, "--"),
            *("/usr/bin/env", "-i", "-C", str(CHECKOUT)),
            *(f"{name}={value}" for name, value in variables.items()),
            *command,
        ]

    def lend_archives(self) -> None:
        """Put the packages downloaded before into the root's cache."""
        self.archives.mkdir(parents=True, exist_ok=True)
        _link_all(self.archives, self.path / _ARCHIVES)

    def keep_archives(self) -> None:
        """Keep the packages that were downloaded in the root."""
        _link_all(self.path / _ARCHIVES, self.archives)


@contextmanager
def debian_root(release: str, *, archives: Path, keep: Path | None = None) -> Iterator[DebianRoot]:
    """Make a root with the checkout in it, and remove it at the end.

    :param archives: folder for downloaded packages, by release.
    :param keep: folder for a root that is not removed, and is used again by later calls.
    :raise GuestError: the root cannot be made.
    """
    with ExitStack() as stack:
        if keep is None:
            sweep()
            folder = stack.enter_context(_locked_folder())
        else:
            folder = keep
            folder.mkdir(parents=True, exist_ok=True)
        root = DebianRoot(release, folder / "root", archives / release)
        root.make()
        root.clone()
        root.lend_archives()
        stack.callback(root.keep_archives)
        yield root


def sweep() -> None:
    """Remove the roots of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), _lock(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked_folder() -> Iterator[Path]:
    with terminated_as_interrupted():
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            with _lock(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock.

    :raise OSError: another process holds it, or the folder is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _bound() -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "--"]


def _namespaces() -> list[str]:
    """Return the command prefix that starts a command in new mount and PID namespaces."""
    return [
        *_bound(),
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"),
        "--",
    ]


def _link_all(source: Path, target: Path) -> None:
    """Link, or copy, the packages of a folder into another."""
    for package in source.glob("*.deb"):
        place = target / package.name
        if place.exists():
            continue
        try:
            os.link(package, place)
        except OSError:
            shutil.copy2(package, place)
