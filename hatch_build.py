"""Put the folders that the harness reads into a wheel, see ``harness/paths.py``.

In an editable installation they stay where they are: in the checkout, where users change them.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Folders and files of the checkout, for ``harness/data`` of a wheel.
DATA = ("kernel-config", "patches", "guest-tests", "images", "ci/packages.run.txt")


class DataHook(BuildHookInterface[Any]):
    """Adds :data:`DATA` to a wheel that is no editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files, before the wheel is built."""
        if version == "standard":
            build_data["force_include"] |= {name: f"harness/data/{name}" for name in DATA}
