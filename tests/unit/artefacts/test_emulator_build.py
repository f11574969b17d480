"""Building QEMU, with a toy tree whose configure and ninja take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import paths
from harness.artefacts.emulator import qemu_build
from harness.artefacts.emulator.choice import build_emulator, is_built
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.progress import Silent
from harness.request.profiles import load_emulator

from .conftest import MakeStub, git, make_checkout

CONFIGURE = """#!/bin/sh
tree=$(dirname "$0")
echo "configured $*"
case "$*" in *--with-devices-x86_64=uintr-harness*) ;; *) exit 1 ;; esac
test -e "$tree/configs/devices/x86_64-softmmu/uintr-harness.mak" || exit 1
cat > build.ninja <<END
rule copy
  command = cp \\$in \\$out && chmod +x \\$out
build qemu-system-x86_64: copy $tree/qemu.sh
END
"""
QEMU = "#!/bin/sh\necho 'QEMU emulator version 10.0.13'\n"

PATCH = """From: A <a@example.org>
Subject: Say another version

--- a/qemu.sh
+++ b/qemu.sh
@@ -1,2 +1,2 @@
 #!/bin/sh
-echo 'QEMU emulator version 10.0.13'
+echo 'QEMU emulator version 10.0.13-uintr'
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "qemu"
    (folder / "pc-bios").mkdir(parents=True)
    (folder / "configure").write_text(CONFIGURE)
    (folder / "configure").chmod(0o755)
    (folder / "meson.build").write_text("")
    (folder / "pc-bios/meson.build").write_text("fds = ['edk2-i386-code.fd', 'edk2-arm.fd']\n")
    (folder / "pc-bios/edk2-arm.fd.bz2").write_text("there")
    for name in qemu_build.FIRMWARE:
        (folder / "pc-bios" / name).write_text(name)
    (folder / "qemu.sh").write_text(QEMU)
    return folder


@pytest.fixture
def profile(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A profile of the toy tree, by its path, and a list of devices of its own."""
    folder = tmp_path / "emulators"
    folder.mkdir()
    monkeypatch.setattr("harness.paths.EMULATORS", folder)
    (folder / "devices.mak").write_text("CONFIG_Q35=y\n")
    path = folder / "toy.toml"
    path.write_text(f'devices = "devices.mak"\n[source]\nkind = "tree"\npath = "{tree}"\n')
    return str(path)


def add_series(profile: str) -> Path:
    folder = Path(profile).parent / "series-of-toy"
    folder.mkdir()
    (folder / "series").write_text("0001.patch\n")
    (folder / "0001.patch").write_text(PATCH)
    with Path(profile).open("a") as file:
        file.write('[series]\nkind = "folder"\npath = "series-of-toy"\n')
    return folder / "0001.patch"


def test_a_built_one_is_complete_in_itself(store: Store, profile: str) -> None:
    emulator = build_emulator(store, Silent(), profile)
    assert emulator.version == "10.0.13"
    assert emulator.key
    folder = emulator.binary.parent.parent
    assert emulator.binary == folder / "bin/qemu-system-x86_64"
    assert emulator.firmware == (folder / "share/qemu",)
    assert {path.name for path in (folder / "share/qemu").iterdir()} == set(qemu_build.FIRMWARE)
    assert "configured" in (folder / "build.log").read_text()
    assert json.loads((folder / "inputs.json").read_text())["settings"]


def test_it_is_built_once_and_again_for_a_changed_patch(store: Store, profile: str) -> None:
    assert not is_built(store, profile)
    first = build_emulator(store, Silent(), profile)
    assert is_built(store, profile)
    assert build_emulator(store, Silent(), profile) == first
    patch = add_series(profile)
    second = build_emulator(store, Silent(), profile)
    assert second.version == "10.0.13-uintr"
    assert second.key != first.key
    # The kept build folder needs no configure for that.
    log = (second.binary.parent.parent / "build.log").read_text()
    assert "configured" not in log
    patch.write_text(PATCH.replace("13-uintr", "13-mended"))
    assert build_emulator(store, Silent(), profile).version == "10.0.13-mended"


def test_other_devices_make_another_emulator(store: Store, profile: str) -> None:
    first = build_emulator(store, Silent(), profile)
    (paths.EMULATORS / "devices.mak").write_text("CONFIG_I440FX=y\n")
    assert build_emulator(store, Silent(), profile).key != first.key


def test_a_build_without_seccomp_is_another_emulator(
    store: Store, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = build_emulator(store, Silent(), profile).binary.parent.parent / "build.log"
    assert "--enable-seccomp" in log.read_text().splitlines()[0].split()
    features = tuple(word for word in qemu_build._FEATURES if word != "--enable-seccomp")
    monkeypatch.setattr(qemu_build, "_FEATURES", features)
    assert not is_built(store, profile)


def test_a_missing_library_is_named(
    store: Store, profile: str, stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub("pkg-config", 'case "$*" in *libseccomp*) echo "No package" >&2; exit 1 ;; esac; echo 1')
    with pytest.raises(BuildError, match="library libseccomp that QEMU is built with is missing"):
        build_emulator(store, Silent(), profile)


def test_the_tree_is_not_written_to(store: Store, profile: str, tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*")}
    build_emulator(store, Silent(), profile)
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*")} == before


def test_a_checkout_gets_its_subprojects(
    store: Store, profile: str, tree: Path, tmp_path: Path
) -> None:
    """Git has them as addresses only; what a release's tarball has is left alone."""
    (tree / "configure").write_text(
        CONFIGURE + 'cat "$tree"/subprojects/*/README "$tree/subprojects/keycodemapdb/build"\n'
    )
    folder = tree / "subprojects"
    (folder / "packagefiles/keys").mkdir(parents=True)
    (folder / "packagefiles/keys/build").write_text("ours\n")
    (folder / ".gitignore").write_text("/keycodemapdb\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "README").write_text("from afar\n")
    (other / "build").write_text("theirs\n")
    make_checkout(other)
    (folder / "keycodemapdb.wrap").write_text(
        f"[wrap-git]\nurl = {other.as_uri()}\nrevision = {git(other, 'rev-parse', 'HEAD')}\n"
        "patch_directory = keys\ndepth = 1\n"
    )
    (folder / "berkeley-softfloat-3").mkdir()
    (folder / "berkeley-softfloat-3/README").write_text("at hand\n")
    (folder / "berkeley-softfloat-3.wrap").write_text("[wrap-git]\nurl = file:///none\n")
    make_checkout(tree)
    (folder / "keycodemapdb").mkdir()  # as meson would download it: ignored, so not in the tree
    (folder / "keycodemapdb/README").write_text("of another revision\n")
    log = build_emulator(store, Silent(), profile).binary.parent.parent / "build.log"
    assert log.read_text().splitlines()[1:4] == ["at hand", "from afar", "ours"]
    other.rename(other.with_name("gone"))
    add_series(profile)
    assert build_emulator(store, Silent(), profile).version == "10.0.13-uintr"


def test_a_subproject_that_cannot_be_had(store: Store, profile: str, tree: Path) -> None:
    (tree / "subprojects").mkdir()
    wrap = tree / "subprojects/keycodemapdb.wrap"
    wrap.write_text("[wrap-file]\nsource_url = https://example.org/keys.tar.gz\n")
    with pytest.raises(BuildError, match="does not name a git revision") as caught:
        build_emulator(store, Silent(), profile)
    assert caught.value.where == "subprojects/keycodemapdb.wrap"
    assert "archive-source.sh" in (caught.value.hint or "")
    wrap.write_text(f"[wrap-git]\nurl = file:///none\nrevision = {'1' * 40}\n")
    with pytest.raises(BuildError, match="cannot be fetched"):
        build_emulator(store, Silent(), profile)


def test_a_build_that_fails(store: Store, profile: str, tree: Path) -> None:
    (tree / "configure").write_text("#!/bin/sh\necho 'ERROR: glib-2.56 is required'; exit 1\n")
    with pytest.raises(BuildError, match=r"does not build \(configure ended with 1\)") as caught:
        build_emulator(store, Silent(), profile)
    assert "glib-2.56 is required" in (caught.value.detail or "")
    assert Path(str(caught.value.where)).read_text().startswith("ERROR: glib")
    (tree / "configure").write_text(CONFIGURE)
    (tree / "qemu.sh").write_text("#!/bin/sh\necho 'cannot open libslirp.so.0' >&2; exit 127\n")
    with pytest.raises(BuildError, match="does not start") as caught:
        build_emulator(store, Silent(), profile)
    assert caught.value.detail == "cannot open libslirp.so.0"


def test_a_build_without_its_python_modules_says_how_to_install_them(
    store: Store, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"distlib"}
    monkeypatch.setattr(
        "harness.lib.extras.find_spec", lambda name: object() if name in there else None
    )
    with pytest.raises(UserError) as caught:
        build_emulator(store, Silent(), profile)
    assert caught.value.where == "mesonbuild pycotap"
    assert (caught.value.hint or "").endswith(f"pip install --editable '{paths.ROOT}[emulator]'")


def test_devices_count_from_the_profiles_folder(
    store: Store, profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As other paths in a profile do, wherever the harness has its own."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("harness.paths.EMULATORS", elsewhere)
    monkeypatch.chdir(elsewhere)
    assert build_emulator(store, Silent(), profile).version == "10.0.13"
    assert load_emulator(profile).devices == Path(profile).parent / "devices.mak"


def test_an_option_that_this_qemu_does_not_know(store: Store, profile: str, tree: Path) -> None:
    (tree / "hw").mkdir()
    (tree / "hw/Kconfig").write_text("config Q35\n    bool\n\nconfig SERIAL_ISA\n    bool\n")
    assert build_emulator(store, Silent(), profile).version == "10.0.13"
    devices = Path(profile).parent / "devices.mak"
    devices.write_text("# CONFIG_COMMENT=y\nCONFIG_Q35=y\nCONFIG_SERIAL_ISO=y\nCONFIG_ODD = y\n")
    with pytest.raises(UserError, match="no such option: CONFIG_SERIAL_ISO, CONFIG_ODD") as caught:
        build_emulator(store, Silent(), profile)
    assert caught.value.where == str(devices)


def test_paths_of_a_kept_build_are_none_of_ccaches_business(tmp_path: Path) -> None:
    """Otherwise the build of a second profile compiles everything once more."""
    assert qemu_build.environment(tmp_path).get("CCACHE_BASEDIR", str(tmp_path)) == str(tmp_path)


def test_a_profile_without_its_devices(store: Store, profile: str) -> None:
    (paths.EMULATORS / "devices.mak").unlink()
    with pytest.raises(UserError, match="no such list of devices"):
        build_emulator(store, Silent(), profile)


def test_the_bundled_profile_names_what_there_is() -> None:
    profile = load_emulator("qemu-10.0")
    assert (paths.EMULATORS / profile.devices).is_file()
    assert profile.series is not None
    assert profile.series.kind == "folder"
    assert (profile.series.path / "series").is_file()


# --- parts -----------------------------------------------------------------------------------


def test_only_what_is_missing_gets_a_stand_in() -> None:
    files = qemu_build.overlay(
        b"CONFIG_Q35=y\n",
        {"pc-bios/edk2-arm-code.fd.bz2"}.__contains__,
        "fds = ['edk2-arm-code.fd', 'edk2-x86_64-code.fd', 'other.fd']",
    )
    assert files == {
        "configs/devices/x86_64-softmmu/uintr-harness.mak": b"CONFIG_Q35=y\n",
        "pc-bios/edk2-x86_64-code.fd.bz2": b"",
    }


def test_firmware_of_the_tree_comes_before_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_build, "installed_files", lambda *packages: [])
    tree, host = tmp_path / "tree", tmp_path / "host"
    (tree / "pc-bios").mkdir(parents=True)
    host.mkdir()
    for name in qemu_build.FIRMWARE:
        (host / name).touch()
    (tree / "pc-bios/pvh.bin").touch()
    found = qemu_build.find_firmware(tree, (tmp_path / "gone", host))
    assert found["pvh.bin"] == tree / "pc-bios/pvh.bin"
    assert found["bios-256k.bin"] == host / "bios-256k.bin"
    (host / "bios-256k.bin").unlink()
    with pytest.raises(BuildError, match=r"missing: bios-256k\.bin"):
        qemu_build.find_firmware(tree, (host,))
    moved = tmp_path / "elsewhere/bios-256k.bin"
    moved.parent.mkdir()
    moved.touch()
    monkeypatch.setattr(qemu_build, "installed_files", lambda *packages: [tmp_path, moved])
    assert qemu_build.find_firmware(tree, (host,))["bios-256k.bin"] == moved


def test_the_users_shell_does_not_steer_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CC", "CFLAGS", "CXXFLAGS", "NINJA_STATUS", "PYTHON", "GIT_DIR"):
        monkeypatch.setenv(name, "mine")
    assert "mine" not in qemu_build.environment(tmp_path).values()


def test_steps_and_errors_of_a_build() -> None:
    assert qemu_build.step_of("[7/1336] Compiling C object util_cutils.c.o") == (
        7,
        1336,
        "util_cutils.c.o",
    )
    assert qemu_build.step_of("ninja: no work to do.") is None
    log = [
        "[1/3] Compiling C object error_report.c.o",
        "[2/3] Compiling C object b.c.o",
        "FAILED: b.c.o",
        "b.c:1:1: error: unknown type name 'x'",
        "    1 | x;",
        "[3/3] Compiling C object c.c.o",
    ]
    assert qemu_build.first_errors(log).splitlines()[0] == log[3]
    assert qemu_build.first_errors(["one", "two"]) == "one\ntwo"
