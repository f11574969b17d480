"""The folders of the package import each other in one direction only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import paths

PACKAGE = paths.ROOT / "harness"
#: From the ground up: each may import itself and what stands before it.
ROOMS = (
    *("lib", "request", "artefacts", "guest", "results"),
    *("report", "run", "testing", "campaigns", "cli"),
)
GROUND = {"errors", "names", "paths", "progress", "values"}


def imported(path: Path) -> Iterator[str]:
    """Give the names of the package's modules that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            yield from (f"harness.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def rooms_of(path: Path) -> set[str]:
    """Return the first names below ``harness`` that a file imports."""
    names = (name.split(".") for name in imported(path))
    return {name[1] for name in names if name[0] == "harness" and len(name) > 1}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_that_stands_after_it(room: str) -> None:
    allowed = GROUND | {"__version__"} | set(ROOMS[: ROOMS.index(room) + 1])
    for path in (PACKAGE / room).rglob("*.py"):
        assert rooms_of(path) <= allowed, path.relative_to(paths.ROOT)


def test_the_ground_imports_only_ground() -> None:
    modules = {path.stem: path for path in PACKAGE.glob("*.py")}
    assert set(modules) == GROUND | {"__init__", "__main__"}
    for name in GROUND:
        assert rooms_of(modules[name]) <= GROUND, name


def test_every_folder_is_a_room() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
