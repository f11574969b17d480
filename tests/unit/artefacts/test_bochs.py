"""Debian's Bochs, with scripts in the place of apt, dpkg and Bochs's loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.bochs import MODEL, check, command_in, fetch_bochs, find_bochs
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.lib.process import capture
from harness.progress import Silent

from .conftest import MakeStub

APT_GET = r"""
echo "$@" >> "$LOG"
case "$*" in
*indextargets*) echo 'Debian|Debian|http://mirror/debian/|main' ;;
*update*)
    grep -q '^deb http://mirror/debian/ sid main\|^deb .*http://mirror/debian/ sid main' \
        "$(echo "$*" | tr ' ' '\n' | sed -n 's/.*SourceList=//p')" ;;
*download*) touch bochs_3.1_amd64.deb bochs-term_3.1_amd64.deb libc6_2_amd64.deb ;;
esac
"""
APT_CACHE = r"""
echo "$@" >> "$LOG"
case "$*" in
*libc6) printf 'Package: libc6\nVersion: 2\nSHA256: c\n' ;;
*) printf 'Package: bochs\nVersion: 3.1\nDepends: libc6, bochs-wx | bochs-gui\nSHA256: a\n\n'
   printf 'Package: bochs-term\nVersion: 3.1\nDepends: bochs\nSHA256: b\n' ;;
esac
"""
#: Unpacks ``-x ARCHIVE FOLDER``. The loader is a script that says how it was called.
DPKG_DEB = r"""
cd "$3"
lib=usr/lib/x86_64-linux-gnu
case "$2" in
*/bochs_*) mkdir -p usr/bin $lib/bochs/plugins usr/share/bochs
    echo program > usr/bin/bochs-bin; echo x > $lib/bochs/plugins/libbx_vga.so
    echo x > usr/share/bochs/BIOS ;;
*/bochs-term_*) mkdir -p $lib/bochs/plugins; echo x > $lib/bochs/plugins/libbx_term_gui.so ;;
*/libc6_*) mkdir -p $lib
    echo x > $lib/libm.so.6.1; ln -s libm.so.6.1 $lib/libm.so.6
    printf '#!/bin/sh\necho "$TERM $LTDL_LIBRARY_PATH $*"\necho sapphire_rapids\n' \
        > $lib/ld-linux-x86-64.so.2
    chmod +x $lib/ld-linux-x86-64.so.2 ;;
esac
"""


@pytest.fixture
def log(stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    monkeypatch.setenv("LOG", str(path))
    stub("apt-get", APT_GET)
    stub("apt-cache", APT_CACHE)
    stub("dpkg-deb", DPKG_DEB)
    return path


def test_it_is_fetched_once_with_its_libraries(store: Store, log: Path) -> None:
    found = fetch_bochs(store, Silent())
    assert fetch_bochs(store, Silent()) == found
    calls = log.read_text().splitlines()
    assert sum("update" in call for call in calls) == 1
    assert sum("download" in call for call in calls) == 1
    (folder,) = (path for path in (store.root / "bochs").iterdir())
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {
        *("bochs-bin", "lib/ld-linux-x86-64.so.2", "lib/libm.so.6", "lib/libm.so.6.1"),
        *("plugins/libbx_vga.so", "plugins/libbx_term_gui.so", "inputs.json"),
    } <= names
    assert not [name for name in names if "BIOS" in name or "apt" in name]
    assert (folder / "lib" / "libm.so.6").read_text() == "x\n"


def test_the_hosts_own_apt_configuration_stays_as_it_is(store: Store, log: Path) -> None:
    fetch_bochs(store, Silent())
    calls = [call for call in log.read_text().splitlines() if "indextargets" not in call]
    assert len(calls) == 4
    assert all("Dir::State::Lists" in call and "Dir::Etc::SourceParts" in call for call in calls)
    assert all("APT::Get::AllowUnauthenticated=false" in call for call in calls)


def test_it_starts_with_its_own_loader_and_libraries(store: Store, log: Path) -> None:
    del log
    found = fetch_bochs(store, Silent())
    (folder,) = (store.root / "bochs").iterdir()
    said = capture([*found.argv, "-q"]).text.splitlines()[0]
    assert said == f"linux {folder}/plugins --library-path {folder}/lib {folder}/bochs-bin -q"


@pytest.mark.parametrize(
    ("name", "script", "said"),
    [
        ("apt-get", "exit 1", "could not list its mirrors"),
        ("apt-get", APT_GET.replace("*update*)", "*update*) exit 100;"), "read the index of sid"),
        ("apt-cache", "echo 'E: none' >&2; exit 100", "apt-cache failed"),
        ("dpkg-deb", DPKG_DEB.replace("usr/bin/bochs-bin", "usr/bin/bochs"), "no bochs-bin"),
        ("dpkg-deb", DPKG_DEB.replace("sapphire_rapids", "pentium"), "no processor"),
    ],
)
def test_what_goes_wrong_is_told_and_nothing_is_kept(
    store: Store, log: Path, stub: MakeStub, name: str, script: str, said: str
) -> None:
    del log
    stub(name, script)
    with pytest.raises(BuildError, match=said):
        fetch_bochs(store, Silent())
    assert not list(store.root.glob("bochs/*"))


def test_a_command_is_taken_if_its_bochs_has_the_processor(stub: MakeStub) -> None:
    stub("my-bochs", f'test "$1 $2 $3" = "-x --help cpu" && echo "tigerlake {MODEL}"')
    assert find_bochs("my-bochs -x").argv[-2:] == ("my-bochs", "-x")
    with pytest.raises(UserError, match="starts Bochs") as caught:
        find_bochs("my-bochs -y")
    assert "sapphire_rapids" in str(caught.value)


def test_a_bochs_that_is_not_there_does_not_pass(tmp_path: Path) -> None:
    with pytest.raises(BuildError):
        check(command_in(tmp_path))
