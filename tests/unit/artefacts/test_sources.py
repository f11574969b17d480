"""Sources, each from something real on this machine: packages by stubs, URLs by file://."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.artefacts.emulator.qemu_subprojects import parse_wrap
from harness.artefacts.source.git import Repository
from harness.artefacts.source.trees import fetch_source, identify_source
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.progress import Silent
from harness.values import DebianSource, GitSource, TarballSource

from .conftest import MakeStub, git, make_checkout
from .sources import content, fetch


def pack(toy: Path, archive: Path, top: str = "linux-toy") -> TarballSource:
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(toy, top)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return TarballSource(url=archive.as_uri(), sha256=digest)


# --- tarballs --------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["linux-toy", "."])
def test_a_tarball_becomes_a_tree(store: Store, toy: Path, tmp_path: Path, top: str) -> None:
    (toy / "link").symlink_to("Makefile")
    (toy / "scripts" / "conf.py").chmod(0o755)
    os.link(toy / "Kbuild", toy / "hard")
    base = fetch(pack(toy, tmp_path / "toy.tar.xz", top), store)
    listing = Repository(base.repository).run("ls-tree", "-r", base.commit)
    modes = {line.split("\t")[1]: line.split()[0] for line in listing.splitlines()}
    assert modes["Makefile"] == "100644"
    assert modes["scripts/conf.py"] == "100755"
    assert modes["link"] == "120000"
    assert content(base)["hard"] == content(base)["Kbuild"]
    assert content(base)["arch/x86/Kconfig"] + "\n" == (toy / "arch/x86/Kconfig").read_text()
    assert ".gitignore" in modes


def test_a_tarball_is_fetched_once(store: Store, toy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "toy.tar.xz"
    source = pack(toy, archive)
    first = fetch(source, store)
    archive.unlink()
    assert fetch(source, store) == first


def test_another_tarball_than_the_profile_says(store: Store, toy: Path, tmp_path: Path) -> None:
    source = pack(toy, tmp_path / "toy.tar.xz")
    wrong = source.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(BuildError, match="not the one that the profile names") as caught:
        fetch(wrong, store)
    assert source.sha256 in (caught.value.detail or "")
    assert "0" * 64 in (caught.value.detail or "")
    assert list((store.root / "source").iterdir()) == []


def test_a_tarball_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot be read"):
        fetch(TarballSource(url=(tmp_path / "no.tar").as_uri(), sha256="0" * 64), store)
    with pytest.raises(UserError, match="by ftp"):
        fetch(TarballSource(url="ftp://host/no.tar", sha256="0" * 64), store)


def test_a_damaged_tarball(store: Store, toy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "toy.tar.xz"
    pack(toy, archive)
    archive.write_bytes(archive.read_bytes()[:-2000])
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(BuildError, match=r"damaged|cannot take"):
        fetch(TarballSource(url=archive.as_uri(), sha256=digest), store)


def test_a_tarball_of_something_else(store: Store, tmp_path: Path) -> None:
    archive = tmp_path / "other.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("other/README")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"hi"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(BuildError, match="no Makefile and no Kconfig"):
        fetch(TarballSource(url=archive.as_uri(), sha256=digest), store)


# --- Debian packages -------------------------------------------------------------------------

PACKAGE = DebianSource(package="linux-source-6.12")


def test_an_installed_package_is_verified_and_used(
    store: Store, toy: Path, tmp_path: Path, stub: MakeStub
) -> None:
    archive = tmp_path / "linux-source-6.12.tar.xz"
    pack(toy, archive)
    stub(
        "dpkg-query",
        f'case $1 in -W) echo "ii  6.12.9-1";; -L) echo /usr/src; echo {archive};; esac',
    )
    stub("dpkg", "exit 0")
    assert identify_source(PACKAGE, store)["version"] == "6.12.9-1"
    assert "Makefile" in content(fetch(PACKAGE, store))


def test_an_installed_package_that_was_changed(
    store: Store, toy: Path, tmp_path: Path, stub: MakeStub
) -> None:
    archive = tmp_path / "linux-source-6.12.tar.xz"
    pack(toy, archive)
    stub("dpkg-query", f'case $1 in -W) echo "ii  6.12.9-1";; -L) echo {archive};; esac')
    stub("dpkg", f"echo '??5??????   {archive}'; exit 1")
    with pytest.raises(BuildError, match="was changed") as caught:
        fetch(PACKAGE, store)
    assert "--reinstall" in (caught.value.hint or "")


def test_a_package_that_is_not_installed_is_downloaded(
    store: Store, toy: Path, tmp_path: Path, stub: MakeStub
) -> None:
    root = tmp_path / "package"
    (root / "usr/src").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        "Package: linux-source-6.12\nVersion: 6.12.9-1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@localhost>\nDescription: toy\n"
    )
    pack(toy, root / "usr/src/linux-source-6.12.tar.xz")
    deb = tmp_path / "toy.deb"
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    assert os.spawnlp(os.P_WAIT, "dpkg-deb", "dpkg-deb", "-b", str(root), str(deb)) == 0
    stub("dpkg-query", "exit 1")
    stub("apt-cache", "echo 'linux-source-6.12:'; echo '  Candidate: 6.12.9-1'")
    stub("apt-get", f'test "$2" = linux-source-6.12=6.12.9-1 && cp {deb} ./linux-source-6.12.deb')
    assert "Makefile" in content(fetch(PACKAGE, store))


def test_a_package_that_apt_does_not_know(store: Store, stub: MakeStub) -> None:
    stub("dpkg-query", "exit 1")
    stub("apt-cache", "exit 0")
    with pytest.raises(BuildError, match="apt knows no package") as caught:
        fetch(PACKAGE, store)
    assert "apt-get update" in (caught.value.hint or "")
    assert "ci/bootstrap run" in (caught.value.hint or "")


def test_a_download_that_fails(store: Store, stub: MakeStub) -> None:
    stub("dpkg-query", "exit 1")
    stub("apt-cache", "echo '  Candidate: 6.12.9-1'")
    stub("apt-get", "echo 'E: no network' >&2; exit 100")
    with pytest.raises(BuildError, match="could not download") as caught:
        fetch(PACKAGE, store)
    assert caught.value.detail == "E: no network"


# --- git -------------------------------------------------------------------------------------


@pytest.fixture
def remote(toy: Path, tmp_path: Path) -> Path:
    """A bare repository with two commits, an annotated tag on the first, and a branch."""
    make_checkout(toy)
    git(toy, "tag", "--annotate", "--message", "toy", "v1")
    (toy / "kernel/fork.c").write_text("int second;\n")
    git(toy, "commit", "--quiet", "--all", "--message", "second")
    bare = tmp_path / "remote.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(toy), str(bare))
    return bare


def test_a_tag_a_branch_and_a_commit(store: Store, remote: Path) -> None:
    url = remote.as_uri()
    first = git(remote, "rev-parse", "v1^{commit}")
    second = git(remote, "rev-parse", "main")
    tag = fetch(GitSource(url=url, revision="v1"), store)
    branch = fetch(GitSource(url=url, revision="main"), store)
    commit = fetch(GitSource(url=url, revision=first), store)
    assert (tag.commit, branch.commit, commit.commit) == (first, second, first)
    assert "second" not in content(tag)["kernel/fork.c"]
    assert content(branch)["kernel/fork.c"] == "int second;"
    assert tag.repository == commit.repository
    count = Repository(branch.repository).run("rev-list", "--count", branch.commit)
    assert count == "1", "history was fetched that nobody asked for"


def test_a_tag_needs_the_network_once_and_a_branch_each_time(store: Store, remote: Path) -> None:
    tag = GitSource(url=remote.as_uri(), revision="v1")
    branch = GitSource(url=remote.as_uri(), revision="main")
    known = fetch(tag, store)
    fetch(branch, store)
    remote.rename(remote.with_name("gone"))
    assert fetch(tag, store) == known
    with pytest.raises(BuildError, match="cannot be read"):
        fetch(branch, store)


def test_a_branch_that_moved_is_another_source(store: Store, remote: Path, toy: Path) -> None:
    branch = GitSource(url=remote.as_uri(), revision="main")
    before = identify_source(branch, store)
    git(toy, "commit", "--quiet", "--allow-empty", "--message", "third")
    git(toy, "push", "--quiet", str(remote), "main")
    assert identify_source(branch, store) != before


def test_a_revision_that_is_not_there(store: Store, remote: Path) -> None:
    with pytest.raises(UserError, match="no tag or branch v9"):
        fetch(GitSource(url=remote.as_uri(), revision="v9"), store)
    with pytest.raises(BuildError, match="cannot be fetched"):
        fetch(GitSource(url=remote.as_uri(), revision="1" * 40), store)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        {"url": "--upload-pack=touch pwned;false"},
        {"url": "-c"},
        {"url": ""},
        {"revision": "--upload-pack=x"},
        {"revision": "-x"},
        {"revision": "+refs/heads/*:refs/heads/*"},
        {"revision": "a:b"},
        {"revision": "v1\n--x"},
    ],
)
def test_a_git_source_is_never_an_option(field: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        GitSource(**{"url": "https://example.org/x.git", "revision": "v1", **field})


def test_options_end_before_what_a_profile_names(
    store: Store, stub: MakeStub, tmp_path: Path
) -> None:
    """Even a value that was not checked reaches git after ``--``."""
    real = shutil.which("git", path=os.defpath)
    stub("git", f'for word; do printf "%s " "$word"; done >> {tmp_path}/calls\n'
         f'echo >> {tmp_path}/calls; exec {real} "$@"')  # fmt: skip
    marker = tmp_path / "pwned"
    bad = GitSource.model_construct(
        kind="git", url=f"--upload-pack=touch {marker};false", revision="1" * 40
    )
    with pytest.raises(BuildError):
        fetch_source(bad, store, Silent())
    assert not marker.exists()
    calls = (tmp_path / "calls").read_text().splitlines()
    fetches = [call for call in calls if " fetch " in call]
    assert len(fetches) == 3
    assert all(" -- --upload-pack" in call for call in fetches)


def test_a_wrap_file_cannot_give_git_an_option() -> None:
    for url, revision in (("--upload-pack=x", "v1"), ("https://example.org/x.git", "-x")):
        wrap = f"[wrap-git]\nurl = {url}\nrevision = {revision}\n"
        with pytest.raises(BuildError, match="does not name a git revision"):
            parse_wrap(wrap, "subprojects/x.wrap")
