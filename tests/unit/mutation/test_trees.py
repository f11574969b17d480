"""Build trees: which objects depend on a file, and whether a change is in one of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from harness.artefacts.kernel.configure import LaidOut
from harness.artefacts.source.git import Repository
from harness.campaigns.mutation import trees
from harness.campaigns.mutation.trees import (
    Built,
    KernelTree,
    Tree,
    code_digest,
    dependents_by_ninja,
)
from harness.errors import BuildError
from harness.request.profiles import load_kernel
from harness.values import KernelArtefact
from tests.unit.runs import KEY

SOURCE = """\
#include "toy.h"
int main(int argc, char **argv)
{
	/* more */
	if (argc > LIMIT)
		return 1;
	return 0;
}
"""
MAKEFILE = """\
toy: toy.o
	cc -o $@ toy.o
toy.o: toy.c toy.h
	cc -g -O1 -c toy.c
"""


class ToyTree(Tree):
    """A program of one C file and a header, built by make in its own folder."""

    @override
    def all_of_it(self) -> Sequence[str]:
        return ("toy",)

    @override
    def argv(self, targets: Sequence[str]) -> list[str]:
        return ["make", *targets]

    @override
    def environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin"}

    @override
    def dependents(self, files: Iterable[str]) -> dict[str, tuple[str, ...]]:
        return {file: ("toy.o",) for file in files if file in {"toy.c", "toy.h"}}

    @override
    def built(self, folder: Path) -> Built:
        return {}


def toy(folder: Path, source: str = SOURCE) -> ToyTree:
    (folder / "toy.c").write_text(source)
    (folder / "toy.h").write_text("#define LIMIT 3\n#define UNUSED 4\n")
    (folder / "other.c").write_text("int other;\n")
    (folder / "Makefile").write_text(MAKEFILE)
    added = {"toy.c": set(range(4, 8)), "toy.h": {1, 2}, "other.c": {1}}
    return ToyTree(folder, folder, added)


@pytest.fixture
def tree(tmp_path: Path) -> ToyTree:
    made = toy(tmp_path)
    made.prepare(tmp_path / "log")
    return made


@pytest.mark.parametrize(
    ("file", "old", "new", "verdict"),
    [
        ("toy.c", "return 1", "return 2", "differs"),
        ("toy.c", "/* more */", "/* less */", "equal"),
        ("toy.c", "	/* more */\n	if (argc", "	if\n(argc", "equal"),
        ("toy.c", "return 1", "return one", "broken"),
        ("toy.h", "LIMIT 3", "LIMIT 5", "differs"),
        ("toy.h", "UNUSED 4", "UNUSED 5", "equal"),
    ],
)
def test_a_change_is_one_of_the_objects(
    tree: ToyTree, tmp_path: Path, file: str, old: str, new: str, verdict: str
) -> None:
    before = (tree.tree / file).read_text()
    with tree.changed(file, before.replace(old, new).encode()):
        objects = tree.compile(file, tmp_path / "log")
    assert {None: "broken", "": "equal"}.get(objects, "differs") == verdict
    assert (tree.tree / file).read_text() == before


def test_a_file_has_its_text_again_whatever_happens(tree: ToyTree) -> None:
    with pytest.raises(KeyboardInterrupt), tree.changed("toy.c", b"int x;\n"):
        raise KeyboardInterrupt
    assert (tree.tree / "toy.c").read_text() == SOURCE


def test_the_change_before_is_in_no_later_object(tree: ToyTree, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tree.changed("toy.c", SOURCE.replace("return 1", "return 2").encode()):
        assert tree.compile("toy.c", log)
        assert tree.make(tree.all_of_it(), log)
    with tree.changed("toy.h", b"#define LIMIT 3\n#define UNUSED 5\n"):
        assert tree.compile("toy.h", log) == ""
        assert tree.make(tree.all_of_it(), log)
        assert subprocess.run([tree.out / "toy", *"abc"]).returncode == 1


def test_a_series_that_does_not_build_is_no_mutant(tmp_path: Path) -> None:
    made = toy(tmp_path, "int main(void) { return x; }\n")
    with pytest.raises(BuildError, match="unchanged series does not build") as caught:
        made.prepare(tmp_path / "log")
    assert "undeclared" in (caught.value.detail or "")


def test_files_that_nothing_built_depends_on_have_no_objects(tree: ToyTree) -> None:
    assert tree.objects("toy.h") == ("toy.o",)
    assert tree.objects("other.c") == ()


def test_debug_information_is_no_difference(tmp_path: Path) -> None:
    digests = set()
    for name, options in (("a", ["-g"]), ("b", [])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x.c").write_text("int f(int a) { return a + 1; }\n")
        subprocess.run(["cc", *options, "-O1", "-c", "x.c"], cwd=folder, check=True)
        digests.add(code_digest(folder / "x.o"))
    assert len(digests) == 1
    with pytest.raises(BuildError, match="cannot be read"):
        code_digest(tmp_path / "a/x.c")


def test_ninja_tells_what_depends_on_a_file() -> None:
    said = """\
lib.p/b.c.o: #deps 2, deps mtime 1790000000 (VALID)
    ../tree/b.c
    ../tree/include/x.h

lib.p/a.c.o: #deps 2, deps mtime 1790000000 (STALE)
    ../tree/a.c
    ../tree/include/x.h

meson-stuff: #deps 1, deps mtime 1790000000 (VALID)
    ../tree/a.c
"""
    places = {"../tree/include/x.h": "include/x.h", "../tree/a.c": "a.c", "../tree/c.c": "c.c"}
    assert dependents_by_ninja(said.splitlines(), places) == {
        "include/x.h": ("lib.p/a.c.o", "lib.p/b.c.o"),
        "a.c": ("lib.p/a.c.o",),
    }


def kernel(folder: Path) -> KernelTree:
    place = LaidOut(
        tree=folder / "tree",
        built=folder / "out",
        folder=folder,
        config="CONFIG_X=y\n",
        repository=Repository(folder / "repository.git"),
    )
    unchanged = KernelArtefact(key=KEY, path=folder / "kernel", release="6.12.0")
    return KernelTree(place, load_kernel("linux-6.12"), {}, unchanged)


def test_kbuild_tells_what_depends_on_a_file(tmp_path: Path) -> None:
    made = kernel(tmp_path)
    for name, header in (("kernel/a", "one.h"), ("kernel/deep/b", "two.h")):
        path = made.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        said = (
            f"source_x := {made.tree}/{name}.c\n\ndeps_x := \\\n  {made.tree}/include/{header} \\\n"
        )
        path.with_name(f".{path.name}.o.cmd").write_text(said)
    assert made.dependents(["include/two.h", "kernel/a.c", "kernel/c.c", "include/wo.h"]) == {
        "include/two.h": ("kernel/deep/b.o",),
        "kernel/a.c": ("kernel/a.o",),
    }


def test_a_built_kernel_is_the_unchanged_one_with_another_image(tmp_path: Path) -> None:
    made = kernel(tmp_path)
    assert (made.out / ".config").read_text() == "CONFIG_X=y\n"
    (tmp_path / "kernel").mkdir()
    for name in ("bzImage", "vmlinux", "System.map", "config"):
        (tmp_path / "kernel" / name).write_text(f"old {name}")
    for path in trees._KERNEL_FILES:
        (made.out / path).parent.mkdir(parents=True, exist_ok=True)
        (made.out / path).write_text(f"new {path}")
    built = made.built(tmp_path / "built")["kernel"]
    assert isinstance(built, KernelArtefact)
    assert built.key != KEY
    assert (built.path / "bzImage").read_text() == "new arch/x86/boot/bzImage"
    assert (built.path / "vmlinux").read_text() == "new vmlinux"
    assert (built.path / "config").read_text() == "old config"


def test_make_is_told_compiler_and_targets_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/ccache")
    argv = kernel(tmp_path).argv(["kernel/a.o", "kernel/b.o"])
    assert argv[:2] == ["make", "--no-print-directory"]
    assert f"O={tmp_path / 'out'}" in argv
    assert [word for word in argv if word.endswith(".o")] == ["kernel/a.o", "kernel/b.o"]
    assert "CC=ccache gcc" in argv
