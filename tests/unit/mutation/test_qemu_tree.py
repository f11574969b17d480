"""QEMU's tree from its profile, with a toy whose configure writes a small build.ninja."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.artefacts.emulator import qemu_build
from harness.artefacts.store import Store
from harness.campaigns.mutation.trees import qemu_tree
from harness.progress import Silent
from harness.request.profiles import load_emulator
from harness.values import Emulator

CONFIGURE = """#!/bin/sh
tree=$(dirname "$0")
cat > build.ninja <<END
rule compile
  command = cc -MD -MF \\$out.d -O1 -c \\$in -o \\$out
  depfile = \\$out.d
  deps = gcc
rule link
  command = cc \\$in -o \\$out
build main.p/main.c.o: compile $tree/main.c
build main.p/more.c.o: compile $tree/more.c
build qemu-system-x86_64: link main.p/main.c.o main.p/more.c.o
END
"""
MAIN = """\
#include <stdio.h>
int more(int);
int main(int argc, char **argv)
{
	printf("QEMU emulator version 10.0.13\\n");
	return more(argc);
}
"""
MORE = '#include "more.h"\nint more(int n)\n{\n\treturn n > MORE;\n}\n'
PATCH = """\
Return more

--- a/more.c
+++ b/more.c
@@ -1,5 +1,7 @@
 #include "more.h"
 int more(int n)
 {
+\tif (n == 7)
+\t\treturn 3;
 \treturn n > MORE;
 }
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a profile with a series of one patch."""
    tree = tmp_path / "qemu"
    (tree / "pc-bios").mkdir(parents=True)
    (tree / "configure").write_text(CONFIGURE)
    (tree / "configure").chmod(0o755)
    for name, text in (("meson.build", ""), ("main.c", MAIN), ("more.c", MORE)):
        (tree / name).write_text(text)
    (tree / "more.h").write_text("#define MORE 20\n")
    for name in qemu_build.FIRMWARE:
        (tree / "pc-bios" / name).write_text(name)
    folder = tmp_path / "emulators"
    (folder / "series").mkdir(parents=True)
    (folder / "series/series").write_text("0001.patch\n")
    (folder / "series/0001.patch").write_text(PATCH)
    (folder / "devices.mak").write_text("CONFIG_Q35=y\n")
    (folder / "toy.toml").write_text(
        f'devices = "devices.mak"\n[source]\nkind = "tree"\npath = "{tree}"\n'
        '[series]\nkind = "folder"\npath = "series"\n'
    )
    monkeypatch.setattr("harness.paths.EMULATORS", folder)
    monkeypatch.setattr("harness.artefacts.store._flush", lambda _: None)
    return "toy"


def ends_with(emulator: object, *arguments: str) -> int:
    assert isinstance(emulator, Emulator)
    done = subprocess.run([str(emulator.binary), *arguments], stdout=subprocess.DEVNULL)
    return done.returncode


def test_a_line_that_the_series_adds_is_changed_and_put_back(tmp_path: Path, profile: str) -> None:
    store = Store(tmp_path / "store")
    log = tmp_path / "log"
    six = ("a",) * 6  # with the program's name, n is 7
    with qemu_tree(load_emulator(profile), store, Silent()) as tree:
        assert tree.added == {"more.c": {4, 5}}
        tree.prepare(log)
        assert tree.objects("more.c") == ("main.p/more.c.o",)
        text = (tree.tree / "more.c").read_bytes()
        assert ends_with(tree.built(tmp_path)["emulator"], *six) == 3
        with tree.changed("more.c", text.replace(b"return 3", b"return 4")):
            assert tree.compile("more.c", log)
            assert tree.make(tree.all_of_it(), log)
        emulator = tree.built(tmp_path)["emulator"]
        assert ends_with(emulator, *six) == 4
        # Firmware and version are those of the unchanged one.
        assert isinstance(emulator, Emulator)
        assert (emulator.version, emulator.key) == ("10.0.13", None)
        assert emulator.firmware[0].is_relative_to(store.root / "emulator")
    # What an ended campaign left is no part of the next one.
    (tree.tree / "more.c").write_bytes(text.replace(b"return 3", b"return 5"))
    with qemu_tree(load_emulator(profile), store, Silent()) as tree:
        tree.prepare(log)
        assert ends_with(tree.built(tmp_path)["emulator"], *six) == 3


def test_the_folder_is_apart_from_that_of_other_builds(tmp_path: Path, profile: str) -> None:
    store = Store(tmp_path / "store")
    with qemu_tree(load_emulator(profile), store, Silent()) as tree:
        assert tree.tree == store.root / "work/emulator-toy-mutants/tree"
