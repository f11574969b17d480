"""Reading JSON and TOML files, with errors that say what is wrong, where, and what to do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import UserError
from harness.lib.files import MOST, may_exist, read_bounded

M = TypeVar("M", bound=BaseModel)


def read_json(path: Path, kind: type[M], what: str, hint: str, *, most: int = MOST) -> M:
    """Return the document in a JSON file.

    :param what: the error's text, to which the reason is added.
    :param hint: what to do about it.
    :raise UserError: the file cannot be read, or is no such document.
    """
    try:
        return kind.model_validate_json(read_bounded(path, most))
    except (OSError, ValueError) as error:
        raise unreadable(error, path, what, hint) from error


def read_optional(path: Path, kind: type[M]) -> M | None:
    """Return the document in a JSON file of a run. None if there is no file.

    :raise UserError: it cannot be read.
    """
    if not may_exist(path):
        return None
    return read_json(path, kind, f"{path.name} cannot be read", "remove the file, or run again")


def read_toml(path: Path, what: str, hint: str) -> dict[str, Any]:
    """Return the table in a TOML file. The parameters and errors are those of :func:`read_json`."""
    try:
        return tomllib.loads(read_bounded(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(error, path, what, hint) from error


def validate(kind: type[M], data: object, path: Path, what: str, hint: str) -> M:
    """Return the value in a table that was read from ``path``.

    :raise UserError: it is no such value.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise unreadable(error, path, what, hint) from error


def unreadable(error: Exception, path: Path, what: str, hint: str) -> UserError:
    """Return the user's error for a file that could not be read or parsed."""
    why, field = reason(error)
    return UserError(f"{what}: {why}", where=f"{path}: {field}" if field else path, hint=hint)


def reason(error: Exception) -> tuple[str, str]:
    """Return why a file could not be read or parsed, and the field concerned, if any."""
    match error:
        case OSError():
            return error.strerror or type(error).__name__, ""
        case UnicodeDecodeError():
            return "it is not UTF-8", ""
        case ValidationError():
            return _fault(error)
        case RecursionError():
            return "it is nested too deeply", ""
        case _:
            return f"it is not TOML: {error}", ""


def _fault(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        if not first["input"].strip():
            return "it is empty", field
        return f"it is not JSON: {first['ctx']['error']}", field
    if first["type"] == "missing":
        return "a field is missing", field
    if first["type"] == "extra_forbidden":
        return "there is no such field", field
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    more = error.error_count() - 1
    return said + (f" (and {more} more)" if more else ""), field
