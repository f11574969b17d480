"""Packages of any Debian suite, through a private apt configuration.

Mirror, keys, proxies, certificates and credentials are the host's. Suite, lists and downloads are
in a separate folder, so that the host's configuration is not changed and root is not needed. apt
checks the archive's signature, and with it the digest of each file.

A source package is fetched once and then kept. A suite gets new versions now and then, and the
emulator must not change by itself. To use the present version, remove the entries in the store's
``debian-archive`` folder.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from harness.artefacts.source.git import clean_environment
from harness.artefacts.store import Entry, Store
from harness.errors import BuildError
from harness.lib.process import Captured, capture
from harness.values import DebianArchiveSource

#: Debian's keys for all suites, in the package debian-archive-keyring. Debian 13 renamed the file.
KEYRINGS = tuple(
    Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("gpg", "pgp")
)

#: Settings of the host to clear. Its default release would hide the packages of another suite. Its
#: update hooks refresh root's caches, and would make a good download fail.
_FORGET = """#clear APT::Default-Release;
#clear APT::Update;
"""

_PASSWORD = re.compile(r"//[^/@\s]*@")
_TARGET_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(COMPONENT)"
_FETCH_S = 1800.0
_HINT = (
    "apt must know a Debian mirror (`apt-get update` as root); elsewhere, name a tarball with its "
    "SHA-256, a git revision or a tree in an emulator profile of your own"
)


class AptFolder(NamedTuple):
    """A folder for the files that apt keeps under ``/etc`` and ``/var``."""

    path: Path

    def make(self, sources: str) -> None:
        """Make the folder, with the given text as its ``sources.list``."""
        for part in ("lists/partial", "cache/archives/partial", "parts"):
            (self.path / part).mkdir(parents=True)
        (self.path / "apt.conf").write_text(_FORGET, encoding="utf-8")
        listing = self.path / "sources.list"
        listing.touch(mode=0o600)  # a mirror's address may hold a password
        listing.write_text(sources, encoding="utf-8")

    def options(self) -> list[str]:
        """Return the options that make apt use this folder."""
        settings = {
            "Dir::Etc::SourceList": self.path / "sources.list",
            "Dir::Etc::SourceParts": self.path / "parts",
            "Dir::State::Lists": self.path / "lists",
            "Dir::Cache": self.path / "cache",
            # The folder is the user's; apt's sandbox user may not read it.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            # Stricter than the host may be.
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "APT::Get::AllowUnauthenticated": "false",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["-c", str(self.path / "apt.conf"), *options]


def find_keyring() -> Path | None:
    """Return Debian's keyring, or None if its package is not installed."""
    return next((path for path in KEYRINGS if path.exists()), None)


def parse_mirror(targets: str) -> str | None:
    """Return the URI of the first Debian mirror in ``apt-get indextargets``' output, or None.

    :param targets: a line ``origin|label|URI|component`` per index of the host.
    """
    for line in targets.splitlines():
        origin, label, uri, component = (*line.split("|"), "", "", "")[:4]
        if (origin, label, component) == ("Debian", "Debian", "main"):
            return uri
    return None


def sources_list(mirror: str, suite: str, keyring: Path | None, kind: str = "deb-src") -> str:
    """Return the ``sources.list`` for a suite's packages.

    :param keyring: None for the keys that apt trusts by default.
    :param kind: ``deb-src`` for source packages, ``deb`` for binary ones.
    """
    signed = f"[signed-by={keyring}] " if keyring else ""
    return f"{kind} {signed}{mirror} {suite} main\n"


def archive_version(source: DebianArchiveSource, store: Store) -> str:
    """Return the version of the package, fetching it if it is not in the store.

    :raise BuildError: apt cannot fetch it.
    """
    return (_fetched(source, store).path / "version").read_text().strip()


def archive_tarball(source: DebianArchiveSource, store: Store) -> Path:
    """Return the upstream tarball of the package, fetching it if it is not in the store.

    :raise BuildError: apt cannot fetch it, or it has none, or several.
    """
    found = sorted(_fetched(source, store).path.glob("*.orig.tar.*"))
    tarballs = [path for path in found if path.suffix not in {".asc", ".sig"}]
    if len(tarballs) != 1:
        raise BuildError(
            f"the source package {source.package} has {len(tarballs)} upstream tarballs, not one",
            where=f"{source.package} in {source.suite}",
        )
    return tarballs[0]


def _fetched(source: DebianArchiveSource, store: Store) -> Entry:
    inputs = {"package": source.package, "suite": source.suite}
    return store.get("debian-archive", inputs, lambda folder: _fetch(source, folder))


def _fetch(source: DebianArchiveSource, folder: Path) -> None:
    """Download a source package into a folder, with a file ``version`` beside it."""
    where = f"source package {source.package} of Debian {source.suite}"
    apt = AptFolder(folder / "apt")
    read_index(apt, source.suite, where)
    _apt(
        [*apt.options(), "source", "--download-only", "--only-source", source.package],
        where,
        "download it",
        cwd=folder,
    )
    (folder / "version").write_text(_version(source, folder) + "\n")
    shutil.rmtree(apt.path, ignore_errors=True)


def read_index(apt: AptFolder, suite: str, where: str, kind: str = "deb-src") -> None:
    """Make a folder in which apt knows a suite of the host's mirror.

    :param where: the package, for errors.
    :param kind: as in :func:`sources_list`.
    :raise BuildError: apt has no mirror of Debian, or cannot read the suite's index.
    """
    targets = _apt(["indextargets", "--format", _TARGET_FORMAT], where, "list its mirrors")
    mirror = parse_mirror(targets.text)
    if mirror is None:
        raise BuildError("apt has no mirror of Debian", where="`apt-get indextargets`", hint=_HINT)
    apt.make(sources_list(mirror, suite, find_keyring(), kind))
    shown = _PASSWORD.sub("//", mirror)
    _apt([*apt.options(), "update"], where, f"read the index of {suite} at {shown}")


def _version(source: DebianArchiveSource, folder: Path) -> str:
    descriptions = sorted(folder.glob("*.dsc"))
    text = descriptions[0].read_text(encoding="utf-8", errors="replace") if descriptions else ""
    found = re.search(r"^Version: (\S+)$", text, re.MULTILINE)
    if found is None:
        raise BuildError(
            "the source package has no .dsc file with a version",
            where=f"{source.package} in {source.suite}",
        )
    return found[1]


def _apt(argv: list[str], where: str, what: str, *, cwd: Path | None = None) -> Captured:
    result = capture(["apt-get", "-q", *argv], cwd=cwd, env=clean_environment(), timeout_s=_FETCH_S)
    if result.returncode != 0:
        raise BuildError(
            f"apt-get could not {what}",
            where=where,
            detail=result.complaint or result.text[-2000:],
            hint=_HINT,
        )
    return result
