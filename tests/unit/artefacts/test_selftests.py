"""The kernel's own selftests, of a toy tree whose Makefiles are as small as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.selftest_needs import why_not
from harness.artefacts.selftests import (
    SelftestTree,
    build_selftests,
    find_selftests,
    read_timeout,
)
from harness.artefacts.store import Store
from harness.errors import UserError
from harness.progress import Silent
from harness.values import KernelArtefact, KernelProfile, Program

pytestmark = pytest.mark.usefixtures("fragments")

TOY = "tools/testing/selftests/toy"


def build(profile: KernelProfile, store: Store, target: str = "toy") -> dict[str, Program]:
    kernel = build_kernel(profile, store, Silent())
    tree = find_selftests(profile, store, Silent())
    programs = build_selftests(tree, (target,), kernel, "gcc", store, Silent())
    return {program.name: program for program in programs}


def test_what_builds_is_static_and_what_does_not_says_why(
    profile: KernelProfile, store: Store
) -> None:
    programs = build(profile, store)
    assert list(programs) == [
        "kselftest-toy/answer",
        "kselftest-toy/needs_a_library",
        "kselftest-toy/uses_a_library",
        "kselftest-toy/beside.sh",
        "kselftest-toy/needs_python.py",
    ]
    assert {(one.kind, one.timeout_s) for one in programs.values()} == {("kselftest", 7.0)}
    answer = programs["kselftest-toy/answer"]
    assert not answer.missing
    assert why_not(answer.path) == ""
    assert subprocess.check_output([answer.path]) == b"[OK]\t42\n"
    first, *rest = programs["kselftest-toy/needs_a_library"].missing.splitlines()
    assert first.startswith("not built: ")
    assert "no_such_library.h" in first
    assert rest
    assert not [line for line in (first, *rest) if str(store.root) in line]
    assert not programs["kselftest-toy/needs_a_library"].path.exists()
    python = programs["kselftest-toy/needs_python.py"]
    assert python.missing == "needs /usr/bin/env python3, which the guest has not"


def test_a_library_of_the_target_is_linked_statically(profile: KernelProfile, store: Store) -> None:
    program = build(profile, store)["kselftest-toy/uses_a_library"]
    assert not program.missing
    assert subprocess.check_output([program.path]) == b"[OK]\t43\n"


def test_a_script_finds_what_lies_beside_it(profile: KernelProfile, store: Store) -> None:
    script = build(profile, store)["kselftest-toy/beside.sh"]
    assert not script.missing
    assert subprocess.check_output([script.path], cwd=script.path.parent) == b"1..1\nok 1 data\n"


def test_what_selftests_are_made_of_decides_their_key(
    profile: KernelProfile, store: Store, toy: Path
) -> None:
    def place() -> Path:
        return build(profile, store)["kselftest-toy/answer"].path

    first = place()
    with (toy / "kernel/fork.c").open("a") as file:
        file.write("/* another kernel, the same selftests */\n")
    assert place() == first
    (toy / TOY / "settings").write_text("timeout=8\n")
    second = place()
    assert second != first
    (toy / "arch/x86/include/uapi/asm/toy.h").write_text("#define TOY_ANSWER 43\n")
    third = place()
    assert third not in (first, second)
    assert subprocess.check_output([third]) == b"[OK]\t43\n"


@pytest.mark.parametrize(
    ("target", "said", "hint"),
    [
        ("toi", "the tree has no selftests 'toi'", "there are toy"),
        ("none", "the tree has no selftests 'none'", "name a folder"),
        (".", "the tree has no selftests '.'", "name a folder"),
        ("empty", "the selftests empty have no programs of their own", "its folders may"),
    ],
)
def test_a_target_that_is_none(
    profile: KernelProfile, store: Store, tmp_path: Path, target: str, said: str, hint: str
) -> None:
    (tmp_path / "headers/include").mkdir(parents=True)
    kernel = KernelArtefact(key="0" * 64, path=tmp_path, release="6.12.0-toy")
    tree = find_selftests(profile, store, Silent())
    with pytest.raises(UserError, match=said) as caught:
        build_selftests(tree, (target,), kernel, "gcc", store, Silent())
    assert caught.value.where == f"--kselftest {target}"
    assert hint in (caught.value.hint or "")


def test_a_folder_of_another_is_found_by_its_own_name(profile: KernelProfile) -> None:
    tree = SelftestTree(profile, "0" * 40, {}, ("futex", "futex/functional"))
    with pytest.raises(UserError) as caught:
        tree.check(["functional"])
    assert caught.value.hint == "there are futex/functional"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 45),
        ("", 45),
        ("timeout=120\n", 120),
        ("# timeout=9\n timeout = 10 \n", 10),
        ("timeout=0\n", 1800),
    ],
)
def test_the_settings_of_a_target(tmp_path: Path, text: str | None, seconds: int) -> None:
    if text is not None:
        (tmp_path / "settings").write_text(text)
    assert read_timeout(tmp_path / "settings") == seconds


def test_what_no_guest_could_run(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("int x;\n")
    assert why_not(path) == "no program: it is neither ELF nor a script"
    path.write_text("#!/bin/bash\n")
    assert why_not(path) == "needs /bin/bash, which the guest has not"
    path.write_text("#! /bin/sh -e\n")
    assert why_not(path) == ""
    path.write_bytes(b"\x7fELF\2")
    assert why_not(path).startswith("no program: ")
    shutil.copy("/bin/sh", path)
    assert "it is not static" in why_not(path)


def entries(store: Store) -> list[Path]:
    return sorted(store.root.glob("kselftest/*"))


def test_a_failed_build_is_tried_again(
    profile: KernelProfile, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what mended it is in no key."""
    monkeypatch.setattr("harness.artefacts.selftests.fingerprint", lambda _: "the same")
    assert build(profile, store)["kselftest-toy/needs_a_library"].missing
    first = entries(store)
    assert build(profile, store)["kselftest-toy/needs_a_library"].missing
    assert entries(store) == first  # the same failure leaves nothing more behind
    (tmp_path / "toy").mkdir(exist_ok=True)
    (tmp_path / "toy/no_such_library.h").touch()
    monkeypatch.setenv("CPATH", str(tmp_path))
    mended = build(profile, store)["kselftest-toy/needs_a_library"]
    assert not mended.missing
    assert mended.path.is_file()
    # Nothing failed, so this one is found again, whatever the compiler would say now.
    monkeypatch.delenv("CPATH")
    assert build(profile, store)["kselftest-toy/needs_a_library"] == mended
    assert len(entries(store)) == 2


def test_a_library_that_was_removed_counts(
    profile: KernelProfile, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    (library / "toy").mkdir(parents=True)
    (library / "toy/no_such_library.h").touch()
    monkeypatch.setenv("CPATH", str(library))
    assert not build(profile, store)["kselftest-toy/needs_a_library"].missing
    (library / "toy/no_such_library.h").unlink()
    assert build(profile, store)["kselftest-toy/needs_a_library"].missing


def test_the_reason_is_the_linkers_and_not_the_compilers_summary(
    profile: KernelProfile, store: Store, toy: Path
) -> None:
    makefile = toy / TOY / "Makefile"
    text = makefile.read_text().replace("CFLAGS := -O2", "CFLAGS := -O2 -lno_such_library")
    makefile.write_text(text)
    first = build(profile, store)["kselftest-toy/answer"].missing.splitlines()[0]
    assert "cannot find -lno_such_library" in first
    assert "collect2" not in first


def test_a_helper_that_the_guest_cannot_run(
    profile: KernelProfile, store: Store, toy: Path
) -> None:
    folder = toy / TOY
    (folder / "data").write_text("#!/bin/bash\n")
    (folder / "answer.c").write_text(
        'extern int puts(const char *);\nint main(void) { return puts("./data") < 0; }\n'
    )
    (folder / "beside.sh").write_text("#!/bin/sh\nsed -n 1p metadata\n")
    programs = build(profile, store)
    said = "its helper data needs /bin/bash, which the guest has not"
    assert programs["kselftest-toy/answer"].missing == said
    assert not programs["kselftest-toy/beside.sh"].missing
    (folder / "beside.sh").write_text("#!/bin/sh\ncat data\n")
    assert build(profile, store)["kselftest-toy/beside.sh"].missing == said


def test_a_program_whose_kernel_lacks_an_option(
    profile: KernelProfile, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = tmp_path / "selftests.toml"
    needs.write_text('[toy]\nneeds.answer = ["SMP", "UNWANTED", "NO_SUCH"]\n')
    monkeypatch.setattr("harness.paths.SELFTEST_NEEDS", needs)
    missing = build(profile, store)["kselftest-toy/answer"].missing
    assert missing == "needs CONFIG_UNWANTED, CONFIG_NO_SUCH, which this kernel has not"
