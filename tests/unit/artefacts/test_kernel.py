"""The whole path from a source to a kernel, on a toy tree that builds in a second."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness import paths
from harness.artefacts.kernel import kbuild
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.errors import BuildError, GuestError, UserError
from harness.progress import Silent
from harness.values import (
    FolderSeries,
    GitSource,
    KernelArtefact,
    KernelProfile,
    MboxSeries,
    TreeSource,
)

from .conftest import MakeStub, git, make_checkout, make_patch

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("fragments")


def build(profile: KernelProfile, store: Store) -> KernelArtefact:
    return build_kernel(profile, store, Silent())


def compiled(kernel: KernelArtefact) -> list[str]:
    """Return the names of the objects that the build made."""
    log = (kernel.path / "build.log").read_text()
    return sorted(line.split()[1] for line in log.splitlines() if line.startswith("  CC "))


@pytest.fixture
def seal(stub: MakeStub):  # type: ignore[no-untyped-def]
    """Make every program fail that a build needs and a look-up does not."""

    def seal() -> None:
        for name in ("make", "tar", "ccache", "rsync", "setlocalversion"):
            stub(name, f"echo {name} was called >&2; exit 99")

    return seal


def test_a_kernel_is_built_and_then_only_looked_up(  # type: ignore[no-untyped-def]
    profile: KernelProfile, store: Store, seal
) -> None:
    kernel = build(profile, store)
    assert kernel.release == "6.12.0-toy"
    assert kernel.bzimage.read_bytes() == kernel.vmlinux.read_bytes()
    assert "CONFIG_NR_CPUS=16\n" in kernel.config.read_text()
    assert (kernel.headers / "asm/toy.h").is_file()
    assert "do_fork" in (kernel.path / "System.map").read_text()
    assert json.loads((kernel.path / "metadata.json").read_text())["results"]["status"] == "PASS"
    assert compiled(kernel) == ["kernel/fork.o", "kernel/panic.o", "lib/string.o"]
    inputs = json.loads((kernel.path / "inputs.json").read_text())
    assert set(inputs) == {"recipe", "tree", "config", "tools", "settings"}

    seal()
    shutil.rmtree(store.root / "work")
    assert build(profile, store) == kernel


def test_nothing_of_this_machine_is_in_a_kernel(
    profile: KernelProfile, store: Store, tmp_path: Path
) -> None:
    first = build(profile, store)
    other = build(profile, Store(tmp_path / "elsewhere" / "deeper"))
    assert other.key == first.key
    assert other.vmlinux.read_bytes() == first.vmlinux.read_bytes()
    assert str(tmp_path).encode() not in first.vmlinux.read_bytes()
    assert b"2021-09-13" in first.vmlinux.read_bytes()


def with_one_patch(profile: KernelProfile, tmp_path: Path) -> tuple[KernelProfile, Path]:
    """Return the profile with a series, and its folder: ``one.patch`` is to be written."""
    series = tmp_path / "series"
    series.mkdir()
    (series / "series").write_text("one.patch\n")
    return profile.model_copy(update={"series": FolderSeries(path=series)}), series


def test_a_changed_patch_rebuilds_what_it_touches(
    profile: KernelProfile, store: Store, toy: Path, tmp_path: Path
) -> None:
    make_checkout(toy)
    with_series, series = with_one_patch(profile, tmp_path)

    def patch(subject: str, value: int) -> None:
        text = (toy / "kernel/fork.c").read_text().replace("++", f" += {value}")
        (series / "one.patch").write_text(make_patch(toy, subject, **{"kernel/fork.c": text}))

    plain = build(profile, store)
    patch("Count", 2)
    first = build(with_series, store)
    assert compiled(first) == ["kernel/fork.o"]
    patch("Count", 3)
    second = build(with_series, store)
    assert compiled(second) == ["kernel/fork.o"]
    assert len({plain.key, first.key, second.key}) == 3
    assert first.vmlinux.read_bytes() != second.vmlinux.read_bytes()

    patch("Count, said better", 3)  # other words, same bits
    assert build(with_series, store) == second
    assert build(profile, store) == plain


def test_only_what_decides_a_configuration_is_configured_anew(
    profile: KernelProfile, store: Store, toy: Path, tmp_path: Path
) -> None:
    make_checkout(toy)
    with_series, series = with_one_patch(profile, tmp_path)

    def configurations_with(path: str, added: str) -> int:
        text = (toy / path).read_text() + added
        (series / "one.patch").write_text(make_patch(toy, "Change", **{path: text}))
        build(with_series, store)
        return len(list((store.root / "dot-config").glob("*/config")))

    assert configurations_with("kernel/fork.c", "int one;\n") == 1
    assert configurations_with("kernel/fork.c", "int two;\n") == 1
    assert configurations_with("arch/x86/Kconfig", "\nconfig MORE\n\tdef_bool y\n") == 2


def test_a_patch_may_add_an_option_that_a_fragment_asks_for(
    profile: KernelProfile, store: Store, toy: Path, tmp_path: Path, fragments: Path
) -> None:
    make_checkout(toy)
    kconfig = (toy / "arch/x86/Kconfig").read_text()
    mail = make_patch(
        toy,
        "x86: User interrupts",
        **{
            "arch/x86/Kconfig": kconfig
            + '\nconfig X86_USER_INTERRUPTS\n\tbool "User interrupts"\n',
            "arch/x86/kernel/uintr.c": "int uintr;\n",
        },
    )
    (tmp_path / "mbox").write_text(mail)
    (fragments / "uintr.config").write_text("CONFIG_X86_USER_INTERRUPTS=y\n")
    wanted = profile.model_copy(update={"fragments": ("base", "uintr")})
    with pytest.raises(BuildError, match="CONFIG_X86_USER_INTERRUPTS=y did not survive") as caught:
        build(wanted, store)
    assert caught.value.where == "uintr.config:1"
    assert "no Kconfig file of the tree defines this option" in (caught.value.detail or "")

    patched = wanted.model_copy(update={"series": MboxSeries(path=tmp_path / "mbox")})
    assert "arch/x86/kernel/uintr.o" in compiled(build(patched, store))


def test_the_rfc_profile_goes_from_git_and_lore_to_a_kernel(
    store: Store, toy: Path, tmp_path: Path, stub: MakeStub, fragments: Path
) -> None:
    """The profile as it is, but for the address of its repository; b4 is a stub."""
    (fragments / "uintr.config").write_text("CONFIG_SMP=y\n")
    data = tomllib.loads((paths.KERNELS / "rfc-2021.toml").read_text())
    profile = KernelProfile.model_validate({"name": "rfc-2021", **data})
    assert isinstance(profile.source, GitSource)
    make_checkout(toy)
    git(toy, "tag", "--annotate", "--message", "toy", profile.source.revision)
    source = profile.source.model_copy(update={"url": toy.as_uri()})
    mbox = tmp_path / "mails"
    mbox.write_text(make_patch(toy, "x86/uintr: First", **{"kernel/fork.c": "int rfc;\n"}))
    stub(
        "b4",
        'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out=$2; shift; done\n'
        f'test "$1" = 20210913200132.3396598-1-sohil.mehta@intel.com && cp {mbox} "$out/x.mbx"',
    )
    kernel = build(profile.model_copy(update={"source": source}), store)
    assert " rfc\n" in (kernel.path / "System.map").read_text()
    git(toy, "tag", "--delete", profile.source.revision)
    stub("b4", "exit 1")
    assert build(profile.model_copy(update={"source": source}), store) == kernel


def test_clang_builds_another_kernel(profile: KernelProfile, store: Store) -> None:
    if shutil.which("clang") is None or shutil.which("ld.lld") is None:
        pytest.skip("clang or lld is not installed")
    clang = build(profile.model_copy(update={"toolchain": "clang"}), store)
    assert clang.key != build(profile, store).key
    assert "LLVM=1" in (clang.path / "build.log").read_text()
    assert b"clang version" in clang.vmlinux.read_bytes()


def test_a_compiler_error_shows_its_lines_and_keeps_the_log(
    profile: KernelProfile, store: Store, toy: Path
) -> None:
    (toy / "kernel/fork.c").write_text("int fork_count = undeclared;\n")
    with pytest.raises(BuildError, match="the kernel toy does not build") as caught:
        build(profile, store)
    assert "kernel/fork.c:1:18: error:" in (caught.value.detail or "")
    log = Path(caught.value.where or "")
    assert log == store.root / "logs/kernel-toy-gcc.log"
    assert "error:" in log.read_text()
    assert list((store.root / "kernel").iterdir()) == []

    (toy / "kernel/fork.c").write_text("int fork_count;\n")  # and it mends
    assert "kernel/fork.o" in compiled(build(profile, store))


def test_a_full_disk_during_make(profile: KernelProfile, store: Store, stub: MakeStub) -> None:
    stub("ccache", 'echo "fatal error: error writing to x.s: No space left on device" >&2; exit 1')
    with pytest.raises(GuestError, match="disk is full"):
        build(profile, store)


def test_what_is_wrong_with_a_profile_is_said_first(
    profile: KernelProfile, store: Store, tmp_path: Path
) -> None:
    for change in (
        {"fragments": ("base", "nope")},
        {"series": FolderSeries(path=tmp_path / "nope")},
        {"source": TreeSource(path=tmp_path / "nope")},
    ):
        with pytest.raises(UserError):
            build(profile.model_copy(update=change), store)


def test_a_tool_that_is_missing(
    profile: KernelProfile, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    have = shutil.which
    monkeypatch.setattr(
        "harness.lib.process.shutil.which",
        lambda name, **kw: None if name == "rsync" else have(name, **kw),
    )
    with pytest.raises(BuildError, match="a kernel build needs rsync") as caught:
        build(profile, store)
    assert "ci/bootstrap" in (caught.value.hint or "")


def test_two_processes_at_once_build_one_kernel(
    profile: KernelProfile, store: Store, tmp_path: Path, fragments: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from harness import paths\n"
        "from harness.artefacts.kernel.build import build_kernel\n"
        "from harness.artefacts.store import Store\n"
        "from harness.progress import Silent; from harness.values import KernelProfile\n"
        "paths.FRAGMENTS = Path(sys.argv[2])\n"
        "profile = KernelProfile.model_validate_json(sys.argv[1])\n"
        "print(build_kernel(profile, Store.open(), Silent()).key)\n"
    )
    log = tmp_path / "toy-conf.log"  # the toy's name for it
    log.touch()
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-c", code, profile.model_dump_json(), str(fragments)]
    both = [subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) for _ in range(2)]
    keys = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert keys[0] == keys[1]
    assert log.read_text() == "conf\n" * 2  # tinyconfig and olddefconfig, once


def test_the_users_shell_does_not_steer_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KBUILD_BUILD_HOST", "MAKEFLAGS", "ARCH", "KCFLAGS", "GIT_DIR", "LLVM"):
        monkeypatch.setenv(name, "mine")
    env = kbuild.environment(Path("/t"), Path("/o"))
    assert env["KBUILD_BUILD_HOST"] == "harness"
    assert env["KCFLAGS"].split() == [
        f"-ffile-prefix-map={text}" for text in ("/t=.", "/o=.", "/t/=", "/o/=")
    ]
    assert not {"MAKEFLAGS", "ARCH", "GIT_DIR", "LLVM"} & set(env)


def test_lines_of_make_are_told_apart() -> None:
    for line in ("  CC      kernel/fork.o", "  LD [M]  a.ko", "  HOSTCC  scripts/x"):
        assert kbuild.is_step(line)
    for line in ("make[1]: Entering", "  HDRINST usr/include/x.h", "warning: x", "  lower case"):
        assert not kbuild.is_step(line)


def test_the_first_errors_of_a_log() -> None:
    lines = ["  CC a.o", "a.c:1: error: no", "  1 | x", "  | ^", "make: *** [a.o] Error 1", "late"]
    assert kbuild.first_errors(lines) == "\n".join(lines[1:5])
    assert kbuild.first_errors(["only", "this"]) == "only\nthis"
