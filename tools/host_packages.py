"""The host's configuration of apt, pip and the network, for a root of another Debian release."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import GuestError

_TARGET_FORMAT = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
#: apt's settings for reaching a mirror.
_APT_WAY = re.compile(r"Acquire::(https?|Check-|Retries|ForceIPv)")
#: Environment variables for reaching the network, for other programs.
_ENV_WAY = re.compile(
    r"(?i)(https?|ftp|no)_proxy|PIP_.*|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|GIT_SSL_CAINFO"
)
_PATH_WORD = re.compile(r"(?<![^\s\"'])(?:file://)?(/[^\s\"';]+)")


class Suite(NamedTuple):
    """A suite at a mirror."""

    uri: str
    name: str


class Bind(NamedTuple):
    """A folder of the host that is mounted in a root."""

    host: Path
    inside: Path
    writable: bool = False


def host_suites(release: str) -> list[Suite]:
    """Return the suites of a release at the host's mirrors, the shortest name first.

    :raise GuestError: apt cannot be asked.
    """
    return suites_of(output("apt-get", "indextargets", "--format", _TARGET_FORMAT), release)


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


def copy_configuration(root: Path, suites: Sequence[Suite]) -> tuple[list[Bind], dict[str, str]]:
    """Copy the host's configuration of apt, pip and the network into a root.

    :return: the folders of the host that it names, and the environment variables to set.
    """
    etc = root / "etc"
    carrier = Carrier(root)
    lines = (f"deb {suite.uri} {suite.name} main\n" for suite in suites)
    _private(etc / "apt/sources.list", "".join(lines))
    _private(etc / "apt/apt.conf.d/90host", carrier.carry(apt_way(output("apt-config", "dump"))))
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
    listing = output("python3", "-m", "pip", "config", "list", missing_ok=True)
    for section, values in pip_sections(listing).items():
        pip[section] = {key: carrier.carry(value) for key, value in values.items()}
    with (etc / "pip.conf").open("w", encoding="utf-8") as out:
        pip.write(out)
    env = {
        name: carrier.carry(value) for name, value in os.environ.items() if _ENV_WAY.fullmatch(name)
    }
    return list(carrier.binds.values()), env


def _private(path: Path, text: str) -> None:
    """Write a file for root only, because it may hold a password; apt reads it as root."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def output(*argv: str, stdin: str | None = None, missing_ok: bool = False) -> str:
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
