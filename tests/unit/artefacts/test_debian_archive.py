"""Source packages of another suite, with scripts in apt-get's place."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.artefacts.source.debian_archive import (
    AptFolder,
    archive_tarball,
    archive_version,
    parse_mirror,
    sources_list,
)
from harness.artefacts.store import Store
from harness.errors import BuildError
from harness.values import DebianArchiveSource

from .conftest import MakeStub

SOURCE = DebianArchiveSource(package="qemu", suite="trixie")

#: Says its mirrors, reads indexes that are named by our options only, and downloads.
APT = r"""
echo "$@" >> "$LOG"
option() { echo "$all" | tr ' ' '\n' | sed -n "s/.*$1=//p"; }
all="$*"
case "$all" in
*indextargets*)
    echo 'Other|Other|http://other/|main'
    echo 'Debian|Debian|http://mirror/debian/|main' ;;
*update*) grep -q 'http://mirror/debian/ trixie main' "$(option SourceList)" ;;
*source*)
    echo xz > qemu_10.0.13+ds.orig.tar.xz
    printf 'Source: qemu\nVersion: 1:10.0.13+ds-0+deb13u1\n' > qemu_10.0.13.dsc ;;
esac
"""


def test_the_hosts_debian_mirror_counts() -> None:
    lines = (
        "Google|cloud-sdk|https://packages/|main\n"
        "Debian|Debian-Security|http://deb/debian-security/|main\n"
        "Debian|Debian|http://deb/debian/|contrib\n"
        "Debian|Debian|http://deb/debian/|main\n"
    )
    assert parse_mirror(lines) == "http://deb/debian/"
    assert parse_mirror("Ubuntu|Ubuntu|http://archive/|main\nodd\n\n") is None


def test_signatures_are_always_checked() -> None:
    text = sources_list("http://deb/debian/", "trixie", None)
    assert text == "deb-src http://deb/debian/ trixie main\n"
    assert "trusted" not in text


#: A host that wants its own suite, has hooks, and lets anything pass.
HOST = """
APT::Default-Release "bookworm";
APT::Update::Pre-Invoke { "touch /hook"; };
APT::Update::Post-Invoke-Success { "false"; };
APT::Get::AllowUnauthenticated "true";
Acquire::AllowInsecureRepositories "true";
Acquire::AllowWeakRepositories "true";
Acquire::http::Proxy "http://proxy:3128/";
"""


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="apt is not installed")
def test_of_the_hosts_settings_only_the_way_to_the_mirror_counts(tmp_path: Path) -> None:
    (tmp_path / "host.conf").write_text(HOST)
    apt = AptFolder(tmp_path / "apt")
    apt.make("")
    dump = subprocess.run(
        ["apt-config", *apt.options(), "dump"],
        env={**os.environ, "APT_CONFIG": str(tmp_path / "host.conf")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings = dict(line.rstrip(";").split(" ", 1) for line in dump.splitlines())
    assert settings["Acquire::http::Proxy"] == '"http://proxy:3128/"'
    assert settings.get("APT::Default-Release", '""') == '""'
    assert not [name for name in settings if "Invoke" in name and name.startswith("APT::Update")]
    for name in (
        "APT::Get::AllowUnauthenticated",
        "Acquire::AllowInsecureRepositories",
        "Acquire::AllowWeakRepositories",
    ):
        assert settings[name] == '"false"'


def test_a_mirrors_password_is_not_told(
    store: Store, stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    stub("apt-get", APT.replace("http://mirror", "http://me:secret@mirror", 1))
    with pytest.raises(BuildError, match=r"trixie at http://mirror/debian/") as caught:
        archive_version(SOURCE, store)
    assert "secret" not in str(caught.value)


def test_a_package_is_fetched_once(
    store: Store, stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("LOG", str(log))
    stub("apt-get", APT)
    assert archive_version(SOURCE, store) == "1:10.0.13+ds-0+deb13u1"
    assert archive_tarball(SOURCE, store).name == "qemu_10.0.13+ds.orig.tar.xz"
    calls = log.read_text().splitlines()
    assert [next(w for w in ("indextargets", "update", "source") if w in c) for c in calls] == [
        "indextargets",
        "update",
        "source",
    ]
    # Nothing of the host's own configuration is read or changed from here on.
    assert all(
        "Dir::State::Lists" in call and "Dir::Etc::SourceParts" in call for call in calls[1:]
    )
    assert all("APT::Get::AllowUnauthenticated=false" in call for call in calls[1:])
    # What apt needed is not kept.
    assert not list(store.root.glob("debian-archive/*/apt"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "could not list its mirrors"),
        ("echo 'Ubuntu|Ubuntu|http://archive/|main'", "no mirror of Debian"),
        (
            APT.replace("*update*)", "*update*) echo 'E: no network' >&2; exit 100;"),
            "read the index",
        ),
        (APT.replace("*source*)", "*source*) exit 100;"), "could not download"),
        (APT.replace("Version:", "Ver:"), "no .dsc file with a version"),
    ],
)
def test_what_can_go_wrong(
    store: Store,
    stub: MakeStub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    said: str,
) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    stub("apt-get", script)
    with pytest.raises(BuildError, match=said):
        archive_version(SOURCE, store)
    assert not list(store.root.glob("debian-archive/*"))


def test_more_than_one_tarball(
    store: Store, stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    stub("apt-get", APT.replace("echo xz >", "touch qemu_10.orig.tar.xz.asc qemu_10.orig.tar.gz >"))
    with pytest.raises(BuildError, match="has 2 upstream tarballs"):
        archive_tarball(SOURCE, store)
