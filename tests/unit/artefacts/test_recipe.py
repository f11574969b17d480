"""Recipes: every artefact's key holds the code that makes it."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import harness
from harness.artefacts import bochs, debian_packages, image, recipe
from harness.artefacts.emulator import choice, qemu_build, qemu_subprojects
from harness.artefacts.kernel import build, configure, gcov, kbuild
from harness.artefacts.source import attestation, local_tree, series, tar_import, trees
from harness.lib import cpio

#: For each number, what it is and for which code it was last looked at.
NUMBERED = {
    "bochs": (bochs.RECIPE, (bochs, debian_packages)),
    "kernel": (build.RECIPE, (build, configure, kbuild, gcov)),
    "emulator": (choice.RECIPE, (choice, qemu_build, qemu_subprojects)),
    "source": (trees.RECIPE, (trees, tar_import, local_tree)),
    "series": (series.RECIPE, (series, attestation)),
}
LOOKED_AT = {
    "bochs": (1, "b13677623c3bae1ad114287ee058c9efb3a47cc6e9bf66e8f4ce6f90d14642d6"),
    "kernel": (1, "81e15b8c9f5b81d91175c1259591aafe6e01c531608f57bdf25856304e02710a"),
    "emulator": (2, "630159d677e5c65ffc62a70e4e94c5d613fba3226e07d652913b6f4e3b75cb27"),
    "source": (1, "06d18a4bdbe5007332992d5c4e5a3b6d56804bfe901db2d87b8cf50711069f70"),
    "series": (1, "878bd62eb946c9ac0590c0329439404a9578da12e8b227f933ebcc573f24d248"),
}
#: Those with a digest of their modules in the key.
DIGESTED = {
    "apt-packages",
    "bare-metal",
    "dot-config",
    "image",
    "kernel-config",
    "kselftest",
    "kselftest-tree",
    "programs",
}
#: What a server says, kept as it said it: there is nothing that another recipe would change.
FACTS = {"debian-archive", "git-tag"}


@pytest.mark.parametrize("kind", NUMBERED)
def test_a_change_of_the_code_is_looked_at(kind: str) -> None:
    number, modules = NUMBERED[kind]
    now = (number, recipe.digest(*modules))
    names = ", ".join(module.__name__ for module in modules)
    assert now == LOOKED_AT[kind], (
        f"the code that makes a {kind} has changed ({names}). If the same inputs now make another "
        f"{kind}, raise RECIPE in {modules[0].__name__}. In any case write the new number and "
        f'digest here: LOOKED_AT["{kind}"] = {now}'
    )


def kinds() -> Iterator[tuple[str, str]]:
    """Give each kind of entry that a module asks the store for, and the module's source."""
    for found in pkgutil.walk_packages(harness.__path__, "harness."):
        if found.name.endswith("__main__"):
            continue
        source = inspect.getsource(import_module(found.name))
        tree = ast.parse(source)
        words = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
                and ast.unparse(node.func.value) in {"store", "self.store", "self._store"}
            ):
                first = node.args[0]
                assert isinstance(first, ast.Constant | ast.Name), ast.unparse(node)
                kind = first.value if isinstance(first, ast.Constant) else words[first.id]
                assert isinstance(kind, str)
                yield kind, source


def test_every_kind_of_artefact_has_a_recipe() -> None:
    found = dict(kinds())
    assert set(found) == set(NUMBERED) | DIGESTED | FACTS, "decide what its key holds of its code"
    for kind, source in found.items():
        if kind in DIGESTED:
            assert "recipe.digest(" in source, kind
        elif kind in NUMBERED:
            assert '"recipe": RECIPE' in source, kind


SOURCE = '''
"""A module."""

import os
from harness.names import X  # a comment
from harness.names import (
    Y,  # another
)


class A:
    """A class."""

    #: A field.
    word = "# no comment"  # but this is one

    def f(self, x: int) -> str:
        """Return it: a docstring with ä."""
        return f"{x} ä"  # ä
'''


def test_what_does_not_run_does_not_count() -> None:
    lines = [
        "import os",
        "class A:",
        '    word = "# no comment"',
        "    def f(self, x: int) -> str:",
        '        return f"{x} ä"',
    ]
    assert recipe.bare(SOURCE).splitlines() == lines


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("A class.", "Another text.", True),
        ("# a comment", "", True),
        ("harness.names", "harness.lib.names", True),
        ("\n\n\n", "\n", True),
        ("no comment", "a word", False),
        ("import os", "import sys", False),
        ("{x}", "{x!r}", False),
    ],
)
def test_which_changes_count(old: str, new: str, *, same: bool) -> None:
    assert old in SOURCE
    assert (recipe.bare(SOURCE) == recipe.bare(SOURCE.replace(old, new))) is same


@pytest.mark.parametrize("module", [image, build, cpio, recipe, choice])
def test_what_is_left_is_the_same_program(module: types.ModuleType) -> None:
    """Compare with Python's own parser, which knows no comments."""
    source = inspect.getsource(module)

    def program(text: str) -> str:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if not isinstance(body, list):
                continue
            kept = [one for one in body if not _left_out(one)]
            node.body = kept  # type: ignore[attr-defined]
        return ast.dump(tree)

    bare = recipe.bare(source)
    # A body that was a docstring alone is empty in both.
    assert program(source) == program(_filled(bare, source))


def _filled(bare: str, source: str) -> str:
    try:
        ast.parse(bare)
    except (SyntaxError, IndentationError):
        pytest.skip(f"a class of {len(source)} bytes has nothing but a docstring")
    return bare


def _left_out(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return bool(node.level) or (node.module or "").partition(".")[0] == "harness"
    if isinstance(node, ast.Import):
        return all(one.name.partition(".")[0] == "harness" for one in node.names)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_a_module_may_move(tmp_path: Path) -> None:
    text = "from harness.a import b\n\nX = b + 1\n"
    modules = []
    for folder, source in (("one", text), ("two", text.replace("harness.a", "harness.lib.a"))):
        path = tmp_path / folder / f"module_{folder}.py"
        path.parent.mkdir()
        path.write_text(source)
        module = types.ModuleType(path.stem)
        module.__file__ = str(path)
        modules.append(module)
    assert recipe.digest(modules[0]) == recipe.digest(modules[1])
