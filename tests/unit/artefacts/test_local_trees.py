"""Local trees as sources: checkouts, plain folders, and trees that are hostile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.artefacts.source.commits import Commits
from harness.artefacts.source.git import Repository
from harness.artefacts.source.trees import fetch_source, identify_source
from harness.artefacts.store import Store
from harness.errors import GuestError, HarnessError, UserError
from harness.progress import Silent
from harness.values import TreeSource

from .conftest import MakeStub, git, make_checkout, snapshot
from .sources import content, fetch


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
