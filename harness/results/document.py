"""JSON files for other programs, with a version of their format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.lib.files import write_atomically
from harness.values import Value


class Document(Value):
    """Contents of a JSON file. The fields have the same names as in the file."""

    #: The version of the format; ``schema`` in the file.
    version: Literal[1] = Field(default=1, alias="schema")

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Replace the file atomically.

        :raise GuestError: the host cannot store it.
        """
        write_atomically(path, self.to_json())
