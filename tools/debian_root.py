"""Roots of other Debian releases, made by debootstrap, in which commands run as on a fresh machine.

Mirrors, apt's and pip's configuration are the host's; no address is written here. A command runs in
its own mount and PID namespaces, whose init gets SIGKILL when this process ends. So no mount and no
process is left, however this process ends. If it is killed, the next one removes the folder of its
root.
"""

from __future__ import annotations

import ast
import configparser
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.artefacts.source.debian_archive import find_keyring
from harness.errors import GuestError

RELEASES = ("bookworm", "trixie")

#: Paths in a root: of the checkout, and of HOME, which is empty at first.
CHECKOUT = Path("/srv/uintr-harness")
HOME = Path("/root")
#: File that marks a root, so that no roots are made inside of it.
MARK = Path("/etc/uintr-harness-root")

_PREFIX = "uintr-harness-root-"
_ARCHIVES = Path("var/cache/apt/archives")
_TARGET_FORMAT = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
#: apt's settings for reaching a mirror.
_APT_WAY = re.compile(r"Acquire::(https?|Check-|Retries|ForceIPv)")
#: Environment variables for reaching the network, for other programs.
_ENV_WAY = re.compile(
    r"(?i)(https?|ftp|no)_proxy|PIP_.*|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|GIT_SSL_CAINFO"
)
_PATH_WORD = re.compile(r"(?<![^\s\"'])(?:file://)?(/[^\s\"';]+)")

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


class Suite(NamedTuple):
    """A suite at a mirror."""

    uri: str
    name: str


class Bind(NamedTuple):
    """A folder of the host that is mounted in a root."""

    host: Path
    inside: Path
    writable: bool = False


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
    if not suites_of(_output("apt-get", "indextargets", "--format", _TARGET_FORMAT), RELEASES[0]):
        return "apt has no mirror of Debian (`apt-get indextargets`)"
    return ""


def suites_of(targets: str, release: str) -> list[Suite]:
    """Return the suites of a release that correspond to those in the host's configuration.

    :param targets: a line ``origin|URI|codename|component`` per index of the host.
    """
    found = [line.split("|") for line in targets.splitlines()]
    rows = [row for row in found if len(row) == 4 and (row[0], row[3]) == ("Debian", "main")]
    if not rows:
        return []
    host = rows[0][2].partition("-")[0]
    names = {
        Suite(uri, release + codename.removeprefix(host)): None
        for _, uri, codename, _ in rows
        if codename.partition("-")[0] == host
    }
    return sorted(names, key=lambda suite: len(suite.name))


def apt_way(dump: str) -> str:
    """Return the lines of ``apt-config dump`` with settings for reaching a mirror."""
    return "".join(f"{line}\n" for line in dump.splitlines() if _APT_WAY.match(line))


def pip_sections(listing: str) -> dict[str, dict[str, str]]:
    """Return the output of ``pip config list`` as sections of a configuration file.

    Environment variables are left out, because they are passed on as such.
    """
    sections: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        section, _, key = name.partition(".")
        if separator and section != ":env:":
            sections.setdefault(section, {})[key] = str(ast.literal_eval(value))
    return sections


class Carrier:
    """Makes files that the host's configuration names available in a root.

    A file is copied to a separate folder, because the root's packages could replace it. A folder is
    bound, read-only.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.binds: dict[Path, Bind] = {}

    def carry(self, text: str) -> str:
        """Return a configuration with the paths of copied files replaced."""
        return _PATH_WORD.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        path = Path(match[1])
        if path.is_dir():
            # A package index's pages link to files beside its folder "simple".
            folder = path.parent if path.name == "simple" else path
            self.binds[folder] = Bind(folder, folder)
        elif path.is_file():
            inside = Path("/etc/carried", *path.parts[1:])
            target = self._root / inside.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            return match[0].replace(match[1], str(inside))
        return match[0]


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
        targets = _output("apt-get", "indextargets", "--format", _TARGET_FORMAT)
        suites = suites_of(targets, self.release)
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
        self._configure(suites)

    def _configure(self, suites: Sequence[Suite]) -> None:
        """Copy the host's configuration of apt, pip and the network."""
        etc = self.path / "etc"
        carrier = Carrier(self.path)
        lines = (f"deb {suite.uri} {suite.name} main\n" for suite in suites)
        _private(etc / "apt/sources.list", "".join(lines))
        _private(
            etc / "apt/apt.conf.d/90host", carrier.carry(apt_way(_output("apt-config", "dump")))
        )
        for name in ("auth.conf", "auth.conf.d"):
            source = Path("/etc/apt") / name
            if source.is_file():
                shutil.copy(source, etc / "apt" / name)
            elif source.is_dir():
                shutil.copytree(source, etc / "apt" / name, dirs_exist_ok=True)
        # A root need not survive a power cut.
        (etc / "dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
        for name in ("hosts", "resolv.conf"):
            shutil.copy(Path("/etc") / name, etc / name)
        pip = configparser.RawConfigParser()
        listing = _output("python3", "-m", "pip", "config", "list", missing_ok=True)
        for section, values in pip_sections(listing).items():
            pip[section] = {key: carrier.carry(value) for key, value in values.items()}
        with (etc / "pip.conf").open("w", encoding="utf-8") as out:
            pip.write(out)
        self._env = {
            name: carrier.carry(value)
            for name, value in os.environ.items()
            if _ENV_WAY.fullmatch(name)
        }
        self.binds += carrier.binds.values()

    def clone(self, checkout: Path = paths.ROOT) -> None:
        """Clone a checkout into the root, with its uncommitted changes.

        :raise GuestError: ``checkout`` is not a git checkout.
        """
        target = self.path / CHECKOUT.relative_to("/")
        if target.exists():
            shutil.rmtree(target)
        git = ("git", "-c", "safe.directory=*")
        _output(*git, "clone", "--quiet", "--depth=1", checkout.resolve().as_uri(), str(target))
        changes = _output(*git, "-C", str(checkout), "diff", "--binary", "HEAD")
        if changes:
            _output(*git, "-C", str(target), "apply", "--index", stdin=changes)
        listed = _output(
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
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with _lock(folder):
        try:
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


def _private(path: Path, text: str) -> None:
    """Write a file for root only, because it may hold a password; apt reads it as root."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _output(*argv: str, stdin: str | None = None, missing_ok: bool = False) -> str:
    """Run a tool of the host and return its output.

    :param missing_ok: return an empty text if it fails.
    :raise GuestError: it fails, and ``missing_ok`` is not set.
    """
    done = subprocess.run(
        argv,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0 and not missing_ok:
        raise GuestError(f"{argv[0]} failed", where=" ".join(argv), detail=done.stderr[-2000:])
    return done.stdout if done.returncode == 0 else ""
