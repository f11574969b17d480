"""The form that the JSON files of a run's folder have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from harness.values import Value


class Document(Value):
    """A JSON file that other programs read."""

    model_config = ConfigDict(populate_by_name=True)

    #: The version of the file's form; ``schema`` in JSON.
    version: Literal[1] = Field(default=1, alias="schema")

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
