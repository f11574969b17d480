"""The folders of the package import each other in one direction only, and modules in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from harness import paths

PACKAGE = paths.ROOT / "harness"
#: From the ground up: each may import itself and what stands before it.
ROOMS = (
    *("lib", "request", "artefacts", "guest", "results"),
    *("report", "run", "testing", "campaigns", "cli"),
)
#: Lines of a module.
MAX_LINES = 400
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


def module_name(path: Path) -> str:
    """Return the name by which a file of the package is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return by module which of the others it imports, also in functions and for types alone."""
    found: dict[str, set[str]] = {}
    for name, source in sources.items():
        found[name] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = (f"{node.module}.{alias.name}" for alias in node.names)
                found[name] |= {one if one in sources else node.module for one in whole}
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
        found[name] &= sources.keys() - {name}
    return found


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle; none if there is no circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = PACKAGE.rglob("*.py")
    sources = {module_name(path): path.read_text(encoding="utf-8") for path in files}
    assert not circle_in(imports_of(sources))


def test_a_circle_is_seen_where_a_function_imports() -> None:
    sources = {
        "harness.a": "import harness.b",
        "harness.b": "def f():\n    from harness.c import X",
        "harness.c": "if TYPE_CHECKING:\n    from harness import a",
    }
    assert set(circle_in(imports_of(sources))) == set(sources)
    assert not circle_in(imports_of(sources | {"harness.c": ""}))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=module_name)
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    """A module that grows past this has two subjects: split it by them."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
