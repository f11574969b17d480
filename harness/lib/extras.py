"""Python packages that only some commands need: the extras of ``pyproject.toml``."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

from harness import paths
from harness.errors import UserError


def install_line(extra: str) -> str:
    """Return the command that installs an extra for the Python that runs now."""
    pip = [sys.executable, "-m", "pip", "install"]
    if paths.IS_CHECKOUT:
        return shlex.join([*pip, "--editable", f"{paths.ROOT}[{extra}]"])
    return shlex.join([*pip, f"uintr-harness[{extra}]"])


def require_extra(extra: str, *modules: str, needed_for: str) -> None:
    """Check that the modules of an extra can be imported, without importing them.

    :raise UserError: one cannot.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UserError(
            f"{needed_for} needs Python modules that are not installed",
            where=" ".join(missing),
            hint=install_line(extra),
        )
