"""Sources, each from something real on this machine: packages by stubs, URLs by file://."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.artefacts.emulator.qemu_subprojects import parse_wrap
from harness.artefacts.source.commits import Commits
from harness.artefacts.source.git import Repository
from harness.artefacts.source.trees import BaseTree, fetch_source, identify_source
from harness.artefacts.store import Store
from harness.errors import BuildError, GuestError, HarnessError, UserError
from harness.progress import Silent
from harness.values import DebianSource, GitSource, Source, TarballSource, TreeSource

from .conftest import MakeStub, git, make_checkout, snapshot


def content(base: BaseTree) -> dict[str, str]:
    """Return what a base tree holds: path to file content."""
    repository = Repository(base.repository)
    names = repository.run("ls-tree", "-r", "--name-only", base.commit).splitlines()
    return {name: repository.run("show", f"{base.commit}:{name}") for name in names}


def fetch(source: Source, store: Store) -> BaseTree:
    return fetch_source(source, store, Silent())


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


# --- local trees -----------------------------------------------------------------------------


def test_a_checkout_is_known_by_its_content_and_not_written_to(store: Store, toy: Path) -> None:
    make_checkout(toy)
    source = TreeSource(path=toy)
    clean = identify_source(source, store)
    assert clean == {"kind": "tree", "tree": git(toy, "rev-parse", "HEAD^{tree}")}

    (toy / "kernel/fork.c").write_text("int changed;\n")
    (toy / "kernel/new.c").write_text("int untracked;\n")
    (toy / ".gitignore").write_text("*.o\n")
    (toy / "kernel/fork.o").write_text("an object")
    before = snapshot(toy)
    changed = identify_source(source, store)
    base = fetch(source, store)
    assert snapshot(toy) == before
    assert changed != clean
    assert content(base)["kernel/fork.c"] == "int changed;"
    assert content(base)["kernel/new.c"] == "int untracked;"
    assert "kernel/fork.o" not in content(base)

    shutil.rmtree(toy)  # the store's copy stands on its own
    assert Repository(base.repository).run("fsck", "--full") == ""


def test_a_linked_work_tree_is_a_checkout_too(store: Store, toy: Path, tmp_path: Path) -> None:
    make_checkout(toy)
    linked = tmp_path / "linked"
    git(toy, "worktree", "add", "--quiet", "--detach", str(linked))
    (linked / "kernel/fork.c").write_text("int linked;\n")
    assert content(fetch(TreeSource(path=linked), store))["kernel/fork.c"] == "int linked;"


def test_a_commit_of_a_checkout_is_used_where_it_is(
    store: Store, toy: Path, tmp_path: Path
) -> None:
    make_checkout(toy)
    first = git(toy, "rev-parse", "HEAD")
    clean = identify_source(TreeSource(path=toy), store)
    (toy / "kernel/fork.c").write_text("int second;\n")
    git(toy, "commit", "--quiet", "--all", "--message", "second")
    linked = tmp_path / "linked"
    git(toy, "worktree", "add", "--quiet", "--detach", str(linked))
    (toy / "kernel/fork.c").write_text("int uncommitted;\n")
    before = snapshot(toy)
    for tree in (toy, linked):
        source = TreeSource(path=tree, revision=first)
        # Known as the checkout was when it was just that: its kernel is built already.
        assert identify_source(source, store) == clean
        base = fetch(source, store)
        assert "fork_count" in content(base)["kernel/fork.c"]
        assert base.repository == toy / ".git"
    assert snapshot(toy) == before
    assert not (store.root / "source").exists()


def test_a_commit_that_is_not_there_and_one_of_something_else(store: Store, toy: Path) -> None:
    with pytest.raises(UserError, match="no git checkout"):
        fetch(TreeSource(path=toy, revision="1" * 40), store)
    make_checkout(toy)
    with pytest.raises(UserError, match="no such commit"):
        fetch(TreeSource(path=toy, revision="1" * 40), store)
    git(toy, "rm", "--quiet", "Kconfig")
    git(toy, "commit", "--quiet", "--message", "no Kconfig")
    with pytest.raises(UserError, match="no kernel tree: it has no Kconfig"):
        fetch(TreeSource(path=toy, revision=git(toy, "rev-parse", "HEAD")), store)


def hooks(git_dir: Path, run: str) -> None:
    (git_dir / "hooks").mkdir(parents=True, exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        hook = git_dir / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{run}\n")
        hook.chmod(0o755)


def hooks_elsewhere(tree: Path, run: str) -> None:
    hooks(tree / ".git/own", run)
    git(tree, "config", "core.hooksPath", str(tree / ".git/own/hooks"))


def nested(tree: Path, run: str) -> None:
    """Put another checkout into a tree, as a submodule that is checked out."""
    inner = tree / "sub"
    inner.mkdir()
    (inner / "file").write_text("one\n")
    make_checkout(inner)
    git(tree, "add", "--force", "sub")
    git(tree, "commit", "--quiet", "--message", "sub")
    git(inner, "config", "core.fsmonitor", f"{run}; false")
    (inner / "file").write_text("two\n")


def partial(tree: Path, run: str) -> None:
    """Leave out an object that a promisor would fetch."""
    blob = git(tree, "rev-parse", "HEAD:Kbuild")
    (tree / ".git/objects" / blob[:2] / blob[2:]).unlink()
    (tree / "Kbuild").touch()
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::sh -c '{run}'",
        "protocol.ext.allow": "always",
    }.items():
        git(tree, "config", name, value)


def contents(tree: Path) -> dict[str, bytes]:
    return {name: content for name, (_, _, content) in snapshot(tree).items()}


EVIL: dict[str, Callable[[Path, str], object]] = {
    "filter": lambda tree, run: git(tree, "config", "filter.evil.clean", f"{run}; cat"),
    "process": lambda tree, run: git(tree, "config", "filter.evil.process", run),
    "fsmonitor": lambda tree, run: git(tree, "config", "core.fsmonitor", f"{run}; false"),
    "hooks": lambda tree, run: hooks(tree / ".git", run),
    "hooks elsewhere": hooks_elsewhere,
    "include": lambda tree, run: (
        (tree / ".git/more").write_text(f'[core]\n\tfsmonitor = "{run}; false"\n'),
        git(tree, "config", "include.path", "more"),
    ),
    "signature": lambda tree, run: git(tree, "config", "log.showSignature", "true"),
    "pager": lambda tree, run: git(tree, "config", "core.pager", run),
    "submodule": nested,
    "promisor": partial,
}


@pytest.mark.parametrize("what", EVIL)
def test_nothing_of_a_checkout_runs_when_it_is_read(
    what: str, store: Store, toy: Path, tmp_path: Path
) -> None:
    (toy / ".gitattributes").write_text("*.c filter=evil\nKbuild filter=evil diff=evil\n")
    make_checkout(toy)
    commit = git(toy, "rev-parse", "HEAD")
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    script.chmod(0o755)
    for name in ("gpg.program", "diff.evil.textconv", "diff.evil.command"):
        git(toy, "config", name, str(script))
    EVIL[what](toy, str(script))
    (toy / "kernel/fork.c").write_text("int changed;\n")
    before = contents(toy)
    for source in (TreeSource(path=toy), TreeSource(path=toy, revision=commit)):
        identify_source(source, store)
        if what != "promisor":
            fetch(source, store)
    commits = Commits(toy)
    assert commits.resolve("main")
    assert commits.subject(commit) == "Linux of toys"
    assert commits.suspects([], commit) == [commit]
    assert not commits.next_best([], commit)
    assert commits.is_ancestor(commit, commit)
    assert not (tmp_path / "pwned").exists()
    assert contents(toy) == before


def test_a_split_index_is_read(store: Store, toy: Path) -> None:
    make_checkout(toy)
    clean = identify_source(TreeSource(path=toy), store)
    git(toy, "update-index", "--split-index")
    assert list((toy / ".git").glob("sharedindex.*"))
    assert identify_source(TreeSource(path=toy), store) == clean


def test_what_is_excluded_locally_is_no_part_of_a_checkout(store: Store, toy: Path) -> None:
    make_checkout(toy)
    clean = identify_source(TreeSource(path=toy), store)
    (toy / ".git/info/exclude").write_text("notes\n")
    (toy / "notes").write_text("mine")
    (toy / ".gitignore").write_text("*.o\n")
    git(toy, "commit", "--quiet", "--all", "--message", "ignore less")
    assert identify_source(TreeSource(path=toy), store) == {
        "kind": "tree",
        "tree": git(toy, "rev-parse", "HEAD^{tree}"),
    }
    assert identify_source(TreeSource(path=toy), store) != clean


def test_a_plain_folder_is_copied_without_what_a_build_left(store: Store, toy: Path) -> None:
    source = TreeSource(path=toy)
    (toy / "include/generated").mkdir(parents=True)
    for left in (".config", "include/generated/autoconf.h", "kernel/fork.o", "vmlinux"):
        (toy / left).write_text("left by a build")
    (toy / "kernel/vmlinux.lds.S").write_text("a source file")
    before = snapshot(toy)
    base = fetch(source, store)
    assert snapshot(toy) == before
    assert set(content(base)) == {
        str(path.relative_to(toy))
        for path in toy.rglob("*")
        if path.is_file() and path.read_text() != "left by a build"
    }
    identity = identify_source(source, store)
    (toy / "kernel/fork.c").write_text("int changed;\n")
    assert identify_source(source, store) != identity
    assert content(fetch(source, store))["kernel/fork.c"] == "int changed;"


def test_no_tree_and_no_kernel(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        fetch(TreeSource(path=tmp_path / "nope"), store)
    with pytest.raises(UserError, match="no kernel tree"):
        fetch(TreeSource(path=tmp_path), store)


def test_a_disk_that_fills_up_while_git_writes(store: Store, toy: Path, stub: MakeStub) -> None:
    stub("git", 'echo "fatal: write error: No space left on device" >&2; exit 128')
    with pytest.raises(HarnessError) as caught:
        fetch(TreeSource(path=toy), store)
    assert isinstance(caught.value, GuestError)


@pytest.mark.parametrize("name", ["a:b", 'quo"te', "back\\slash", "line\nend", "#hash", "sp ace;x"])
def test_any_path_of_a_checkout(store: Store, toy: Path, tmp_path: Path, name: str) -> None:
    """Git separates object folders by colons and line ends, unless they are quoted."""
    tree = tmp_path / name / name
    shutil.copytree(toy, tree)
    make_checkout(tree)
    (tree / "kernel/fork.c").write_text("int changed;\n")
    base = fetch_source(TreeSource(path=tree), store, Silent())
    repository = Repository(base.repository)
    assert repository.run("show", f"{base.commit}:kernel/fork.c") == "int changed;"
    commit = Repository(tree / ".git").run("rev-parse", "HEAD")
    user = Repository(tmp_path / f"user {name}").init()
    for _ in range(2):
        user.borrow(tree / ".git")
    assert user.has(commit)
    assert (user.git_dir / "objects/info/alternates").read_bytes().count(b"objects") == 1


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
