"""The JSON files that others read: a form with a version, written as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.lib.files import write_atomically
from harness.values import Value


class Document(Value):
    """What is in such a file; its fields have the names that the file gives them."""

    #: The version of the form; ``schema`` in the file.
    version: Literal[1] = Field(default=1, alias="schema")

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Replace the file; readers see the old one or the new one, whole.

        :raise GuestError: the host cannot keep it.
        """
        write_atomically(path, self.to_json())
