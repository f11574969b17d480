"""Pin the Python packages of ``ci/bootstrap``, with hashes: ``python -m tools.locks``.

Writes ``ci/python.NAME.txt``. A version stays as it is unless ``pyproject.toml`` asks for another,
or ``--upgrade`` is given. The versions hold for Python 3.11 and newer, and the hashes are of all
files of a version, so that each Python finds its own.

It uses uv, which resolves for several Pythons at once (``pip install uv`` in an environment of your
own), and the index that pip is configured to use. ``ci/bootstrap`` itself needs pip alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools.scratch import scratch

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
OLDEST_PYTHON = "3.11"
#: The extras that ``ci/bootstrap`` installs.
EXTRAS = ("emulator", "lore", "mutants", "watch")
#: What builds packages, besides the backend that pyproject.toml names: those of dependencies that
#: have no wheel, and what the backend needs for an editable installation.
BUILDERS = ("editables", "setuptools", "wheel")
HEAD = """\
# Python packages that `ci/bootstrap {what}` installs, with the hashes of their files.
# Made by `python -m tools.locks`.
"""
#: Lock file → what it is for.
WHAT = {"run": "COMMAND", "build": "COMMAND", "test": "test"}


def lock_file(name: str) -> Path:
    """Return the path of a lock file."""
    return ROOT / "ci" / f"python.{name}.txt"


def requirements(name: str) -> list[str]:
    """Return the requirements of a lock file that are not those of the project itself."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    if name == "test":
        return list(project["project"]["optional-dependencies"]["tox"])
    return [*project["build-system"]["requires"], *BUILDERS] if name == "build" else []


def uv_argv(uv: Sequence[str], name: str, extra: Path, out: Path, index: str | None) -> list[str]:
    """Return the command that writes a lock file.

    :param extra: a file with the result of :func:`requirements`.
    :param index: the address of a package index; None for uv's own choice.
    """
    sources = [str(PYPROJECT), *(f"--extra={one}" for one in EXTRAS)]
    return [
        *uv,
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes"),
        *("--no-header", "--no-annotate"),
        *("--python-version", OLDEST_PYTHON),
        *(("--default-index", index) if index else ()),
        # One version of what is in both, so that the second installation changes nothing.
        *(("--constraint", str(lock_file("run"))) if name == "build" else ()),
        *(sources if name == "run" else [str(extra)]),
        *("--output-file", str(out)),
    ]


def configured_index() -> str | None:
    """Return the index that pip uses, None for its default."""
    argv = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    if named := os.environ.get("PIP_INDEX_URL"):
        return named
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip() or None


def find_uv() -> list[str]:
    """Return the command of uv; empty if it is not installed."""
    if found := shutil.which("uv"):
        return [found]
    here = [sys.executable, "-m", "uv"]
    return here if subprocess.run([*here, "--version"], capture_output=True).returncode == 0 else []


def write(uv: Sequence[str], name: str, *, upgrade: bool) -> int:
    """Write a lock file, and return uv's exit code."""
    target = lock_file(name)
    with scratch("locks") as folder:
        extra, out = folder / "wanted.in", folder / "lock.txt"
        extra.write_text("".join(f"{one}\n" for one in requirements(name)))
        if target.exists() and not upgrade:
            shutil.copyfile(target, out)
        done = subprocess.run(uv_argv(uv, name, extra, out, configured_index()), cwd=ROOT)
        if done.returncode == 0:
            target.write_text(HEAD.format(what=WHAT[name]) + _without_comments(out.read_text()))
    return done.returncode


def _without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--upgrade", action="store_true", help="take the newest versions of all")
    return options


def main() -> int:
    """Write the lock files."""
    options = parser().parse_args()
    uv = find_uv()
    if not uv:
        print("error: uv is not installed\n  hint: pip install uv", file=sys.stderr)
        return 2
    return next((code for name in WHAT if (code := write(uv, name, upgrade=options.upgrade))), 0)


if __name__ == "__main__":
    sys.exit(main())
