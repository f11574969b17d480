"""Paths of the files that this package reads, and of the artefact store."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import platformdirs

from harness.errors import UserError

_PACKAGE = Path(__file__).resolve().parent
#: Copies of the checkout's folders in a package that was installed from a wheel.
_DATA = _PACKAGE / "data"

#: Whether this is a checkout, or installed from one in editable mode.
IS_CHECKOUT = not _DATA.is_dir()
#: The folder with profiles, fragments, series, programs and the image's init: the checkout, where
#: users read and change them, or the copies in the package.
ROOT = _PACKAGE.parent if IS_CHECKOUT else _DATA

KERNELS = ROOT / "kernel-config" / "kernels"
FRAGMENTS = ROOT / "kernel-config" / "fragments"
SELFTEST_NEEDS = ROOT / "kernel-config" / "selftests.toml"
PATCHES = ROOT / "patches"
GUEST_TESTS = ROOT / "guest-tests"
IMAGES = ROOT / "images"
CPUS = ROOT / "kernel-config" / "cpus"
EMULATORS = ROOT / "kernel-config" / "emulators"

#: The test that runs the guest programs, the one that only boots, and the configuration of both.
PROGRAMS_TEST = _PACKAGE / "testing" / "test_programs.py"
BOOT_TEST = _PACKAGE / "testing" / "test_boot.py"
PYTEST_INI = _PACKAGE / "testing" / "pytest.ini"

CACHE_ENV = "UINTR_HARNESS_CACHE"
#: Permission of the group and of all others to write.
_OTHERS_WRITE = 0o022


def own_folders(kind: str) -> tuple[Path, ...]:
    """Return the folders of the user's own profiles: in the current folder, and in the settings.

    :param kind: ``kernels``, ``cpus``, ``emulators`` or ``fragments``.
    """
    here = Path("kernel-config").absolute() / kind
    settings = platformdirs.user_config_path("uintr-harness") / kind
    ours = ROOT / "kernel-config" / kind
    return tuple(folder for folder in (here, settings) if folder.is_dir() and folder != ours)


def cache_place() -> Path:
    """Return the path of the artefact store, which may not exist yet."""
    configured = os.environ.get(CACHE_ENV)
    return Path(configured) if configured else Path(platformdirs.user_cache_dir("uintr-harness"))


def cache_dir() -> Path:
    """Return the path of the artefact store, and make the folder if it is missing.

    It is ``$UINTR_HARNESS_CACHE``, or the user's cache folder (``~/.cache/uintr-harness``). What is
    in it is run, so nobody else may write to it.

    :raise UserError: the folder cannot be made or written to, or others can write to it.
    """
    path = cache_place()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.stat()
        if found.st_uid == os.getuid() and not os.environ.get(CACHE_ENV):
            path.chmod(0o700)  # an older version made it for all to read
            found = path.stat()
    except OSError as error:
        raise UserError(
            f"the cache folder cannot be made: {error.strerror}",
            where=path,
            hint=f"set {CACHE_ENV} to a folder that you can write to",
        ) from error
    if found.st_uid != os.getuid():
        raise UserError(
            f"the cache folder belongs to another user (number {found.st_uid})",
            where=path,
            hint=f"set {CACHE_ENV} to a folder of your own: what is in it is run as you",
        )
    if found.st_mode & _OTHERS_WRITE:
        raise UserError(
            "others can write to the cache folder",
            where=path,
            hint=f"chmod go-w {shlex.quote(str(path))}: what is in it is run as you",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(
            "the cache folder cannot be written to",
            where=path,
            hint=f"set {CACHE_ENV} to a folder that you can write to",
        )
    return path
