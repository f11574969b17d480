"""Binary packages of Debian: downloaded by apt, and unpacked into a folder; nothing is installed.

apt checks the archive's signature, and with it the digest of each package.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable, Sequence
from email import message_from_string
from pathlib import Path

from harness.errors import BuildError
from harness.values import Value

#: Names of dependencies with shared libraries; others (openssh-client) are left out.
LIBRARY_PREFIXES = ("lib", "zlib1g")
TIMEOUT_S = 600
_APT_HINT = "run `apt-get update` as root, and see that apt has a Debian mirror with `main`"


class Package(Value):
    """A binary package as apt would install it now."""

    name: str
    version: str
    sha256: str
    depends: tuple[str, ...] = ()


def apt_show_argv(names: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """Return the command that prints the candidate versions of ``names``."""
    return ["apt-cache", *options, "show", "--no-all-versions", *names]


def apt_download_argv(packages: Sequence[Package], options: Sequence[str] = ()) -> list[str]:
    """Return the command that puts ``packages`` into the current folder."""
    exact = [f"{package.name}={package.version}" for package in packages]
    return ["apt-get", *options, "download", "-q", "-o", "APT::Sandbox::User=root", *exact]


def resolve_packages(wanted: Iterable[str], options: Sequence[str] = ()) -> tuple[Package, ...]:
    """Return packages, and those that hold their libraries, by name.

    :param options: further options of apt, which may name another configuration.
    :raise BuildError: apt does not know one of them.
    """
    found: dict[str, Package] = {}
    missing_depends = set(wanted)
    while missing_depends:
        names = sorted(missing_depends)
        shown = parse_apt_show(output(apt_show_argv(names, options), _APT_HINT))
        unknown = missing_depends - {package.name for package in shown}
        if unknown:
            raise BuildError(f"apt does not offer {', '.join(sorted(unknown))}", hint=_APT_HINT)
        found |= {package.name: package for package in shown}
        depends = {name for package in shown for name in package.depends}
        missing_depends = {name for name in depends if name.startswith(LIBRARY_PREFIXES)}
        missing_depends -= set(found)
    return tuple(found[name] for name in sorted(found))


def parse_apt_show(text: str) -> tuple[Package, ...]:
    """Return the packages of ``apt-cache show`` output, one paragraph each.

    The first of several alternatives is taken. A package that is shown twice (several
    architectures) is returned once.
    """
    found: dict[str, Package] = {}
    for paragraph in text.split("\n\n"):
        fields = message_from_string(paragraph.strip("\n"))
        name = fields.get("Package")
        if not name or name in found:
            continue
        depends = [item.split("|")[0] for item in fields.get("Depends", "").split(",")]
        found[name] = Package(
            name=name,
            version=fields.get("Version", ""),
            sha256=fields.get("SHA256", ""),
            depends=tuple(item.split()[0].split(":")[0] for item in depends if item.strip()),
        )
    return tuple(found.values())


def unpack(
    packages: Sequence[Package], scratch: Path, options: Sequence[str] = ()
) -> dict[str, Path]:
    """Download packages, and return the folder that each is unpacked into, by its name."""
    output(apt_download_argv(packages, options), _APT_HINT, cwd=scratch)
    unpacked = {}
    for archive in sorted(scratch.glob("*.deb")):
        # apt names an archive NAME_VERSION_ARCHITECTURE.deb, and no name has an underscore.
        name = archive.name.partition("_")[0]
        unpacked[name] = scratch / "unpacked" / name
        unpacked[name].mkdir(parents=True)
        output(["dpkg-deb", "-x", str(archive), str(unpacked[name])])
        for path in unpacked[name].rglob("*"):  # some files lack the permission to read them
            if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IRUSR)
    return unpacked


def output(argv: list[str], hint: str | None = None, *, cwd: Path | None = None) -> str:
    """Run a tool and return what it prints.

    :raise BuildError: it is not there, fails or does not end within ten minutes.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise BuildError(
            f"{argv[0]} is not installed", hint="the harness takes programs from Debian packages"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{argv[0]} did not end within {TIMEOUT_S} s", hint=hint) from error
    if done.returncode != 0:
        raise BuildError(
            f"{argv[0]} failed with exit code {done.returncode}",
            where=" ".join(argv),
            detail=done.stderr[-2000:],
            hint=hint,
        )
    return done.stdout
