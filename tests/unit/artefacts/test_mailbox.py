"""Mailboxes and folders of patches: what is a patch in them, and what is refused by name."""

from __future__ import annotations

import codecs
import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.artefacts.source.git import Repository
from harness.artefacts.source.patch import Changes, Patch, changes, split_mails, was_saved_with_crs
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.trees import fetch_source
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.progress import Silent
from harness.request.profiles import parse_series
from harness.values import FolderSeries, MboxSeries, TreeSource
from tools.mailboxes import check_range

from .conftest import Fetch, Notes, added, git, mail, make_checkout, make_patch


@pytest.fixture
def checkout(toy: Path) -> Path:
    return make_checkout(toy)


#: Names that mail and diffs quote or that look like other parts of them.
ODD_NAMES = ("a b.c", "tab\t.c", 'q"uote.c', "back\\slash.c", "f\u00fcr.c", "b/b/b.c",
             "line\nend.c", "x => y.c", "{a => b}.c", " b", "-- ")  # fmt: skip


@pytest.mark.parametrize("strip", [0, 1, 2, 3])
def test_the_files_that_a_patch_changes_are_those_of_git(checkout: Path, strip: int) -> None:
    """Whatever their names are, however many folders the diff has in front of them."""
    top = "top/" * (strip - 1)
    before = ("changed", "gone", "moved", "mode", "becomes-link")
    after = ("arrived", "added", "empty", "binary")
    for folder in (checkout / top / kind for kind in before + after):
        for name in ODD_NAMES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if folder.name in before:
                (folder / name).write_text(f"{folder.name} {name}\n" * 9)
    git(checkout, "add", "-f", ".")
    git(checkout, "commit", "-qm", "Before")
    for name in ODD_NAMES:
        at = {kind: checkout / top / kind / name for kind in before + after}
        at["changed"].write_text(f"changed {name}\n" * 10)
        at["gone"].unlink()
        at["mode"].chmod(0o755)
        at["becomes-link"].unlink()
        at["becomes-link"].symlink_to("x")
        at["moved"].rename(at["arrived"])
        at["added"].write_text(name)
        at["empty"].touch()
        at["binary"].write_bytes(bytes(range(256)))
    git(checkout, "add", "-fA", ".")
    options = ("--cached", "--binary", "-M", *(["--no-prefix"] if strip == 0 else []))
    diff = git(checkout, "diff", *options) + "\n"
    found = changes(Patch("x.patch", diff.encode(), strip))
    kept = [kind for kind in before + after if kind not in ("gone", "moved")]
    assert set(found.kept) == {f"{kind}/{name}" for kind in kept for name in ODD_NAMES}
    added = [*after[1:], "becomes-link"]
    assert set(found.added) == {f"{kind}/{name}" for kind in added for name in ODD_NAMES}
    assert found.removes


def test_a_patch_that_git_cannot_read_changes_nothing() -> None:
    assert changes(Patch("x", b"hello\n")) == Changes()
    assert changes(Patch("x", b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", 9)) == Changes()


def apply(store: Store, checkout: Path, patches: tuple[Patch, ...]) -> tuple[Repository, str]:
    base = fetch_source(TreeSource(path=checkout), store, Silent())
    repository = Repository(base.repository)
    return repository, apply_series(repository, base.commit, patches, "toy", Silent())


def test_patches_without_hunks_are_applied(store: Store, checkout: Path, fetch: Fetch) -> None:
    """A mode, a rename, an empty file, a binary one, a deletion of an empty one."""
    first = git(checkout, "rev-parse", "HEAD")
    (checkout / "kernel/fork.c").chmod(0o755)
    git(checkout, "commit", "-qam", "Mode")
    git(checkout, "mv", "lib/string.c", "lib/text.c")
    git(checkout, "commit", "-qm", "Rename")
    (checkout / "void").touch()
    git(checkout, "add", "-f", "void")
    git(checkout, "commit", "-qm", "Empty")
    (checkout / "blob").write_bytes(bytes(range(256)))
    git(checkout, "add", "-f", "blob")
    git(checkout, "commit", "-qm", "Binary")
    git(checkout, "rm", "-q", "void")
    git(checkout, "commit", "-qm", "Remove")
    wanted = git(checkout, "rev-parse", "HEAD^{tree}")
    mails = git(checkout, "format-patch", "--stdout", "--binary", "-M", first) + "\n"
    git(checkout, "reset", "-q", "--hard", first)
    patches, notes = fetch(mails.encode())
    assert notes == ["mbox: 5 mails: 5 patches"]
    repository, commit = apply(store, checkout, patches)
    assert repository.tree_of(commit) == wanted


def test_a_mail_that_is_no_patch_is_named_and_counted(fetch: Fetch) -> None:
    patches, notes = fetch(
        mail("[PATCH v2 0/2] all", id_="0"),
        mail("[PATCH v2 1/2] one", "one", id_="1", answers="0"),
        mail("Re: [PATCH v2 1/2] one", "suggested", answers="1", who="rev"),
        mail("[PATCH] what about this", "idea", answers="1", who="rev"),
        mail("[PATCH v2 2/2] two", "two", id_="2", answers="0"),
        mail("hello"),
    )
    assert added(patches) == ["one", "two"]
    assert notes == [
        "mbox: 6 mails: 2 patches, 1 cover letter, 2 replies, 1 other mail",
        "not applied, cover letter: mail 0001 ([PATCH v2 0/2] all)",
        "not applied, reply: mail 0003 (Re: [PATCH v2 1/2] one)",
        "not applied, reply: mail 0004 ([PATCH] what about this)",
        "not applied, other: mail 0006 (hello)",
    ]


def test_of_two_versions_in_a_thread_the_higher_is_applied(fetch: Fetch) -> None:
    patches, notes = fetch(
        mail("[PATCH 1/1] one", "old", id_="1"),
        mail("[PATCHv2 2/2] more", "more", id_="3", answers="2"),
        mail("[PATCHv2 1/2] one", "new", id_="2", answers="1"),
        mail("[PATCHv2 1/2] one", "new", id_="2", answers="1"),
    )
    assert added(patches) == ["new", "more"]
    assert "1 patch of an older version" in notes[0]
    assert "1 duplicate" in notes[0]


def test_versions_are_known_without_thread_headers(fetch: Fetch) -> None:
    old = [
        mail(f"[PATCH {n}/3] {name}", f"old-{name}") for n, name in ((1, "a"), (2, "b"), (3, "c"))
    ]
    new = [mail(f"[PATCH v2 {n}/2] {name}", name) for n, name in enumerate("ab", 1)]
    assert added(fetch(*old, *new)[0]) == ["a", "b"]


def test_another_series_in_the_mailbox_is_no_older_version(fetch: Fetch) -> None:
    patches, _ = fetch(
        mail("[PATCH v3 1/2] needed", "a"),
        mail("[PATCH v3 2/2] first", "b"),
        mail("[PATCH 1/2] own", "c"),
        mail("[PATCH 2/2] work", "d"),
        mail("[PATCH] alone", "e"),
    )
    assert added(patches) == ["a", "b", "c", "d", "e"]


def test_an_author_may_go_on_without_numbers(fetch: Fetch) -> None:
    patches, _ = fetch(
        mail("[PATCH] one", "a", id_="1"),
        mail("[PATCH] two", "b", id_="2", answers="1"),
        mail("[PATCH] a reviewer's", "c", answers="1", who="rev"),
    )
    assert added(patches) == ["a", "b"]


@pytest.mark.parametrize("words", ["v2", "RFC"])
def test_subjects_as_patchwork_writes_them(fetch: Fetch, words: str) -> None:
    patches, notes = fetch(
        mail(f"[{words},2/2] y", "b", id_="2", answers="1"),
        mail(f"[{words},1/2] x", "a", id_="1"),
    )
    assert added(patches) == ["a", "b"]
    assert notes == ["mbox: 2 mails: 2 patches"]


def test_an_author_may_send_the_next_version_from_elsewhere(fetch: Fetch) -> None:
    patches, _ = fetch(
        mail("[PATCH] one", "a", id_="1"),
        mail("[PATCH v2] one", "b", id_="2", answers="1", who="at-work"),
    )
    assert added(patches) == ["b"]


def test_a_series_that_is_not_complete_is_refused(fetch: Fetch) -> None:
    with pytest.raises(UserError, match=r"^mbox lacks patch 2 of 3"):
        fetch(mail("[PATCH 1/3] a", "a"), mail("[PATCH 3/3] c", "c"))
    with pytest.raises(UserError, match=r"^mbox lacks patch 1, 3 of 3"):
        fetch(mail("[PATCH 2/3] b", "b"), mail("Re: [PATCH 2/3] b", who="rev"))


def test_a_single_mail_of_a_series_is_applied_alone(fetch: Fetch) -> None:
    patches, notes = fetch(mail("[PATCH 2/3] b", "b"))
    assert added(patches) == ["b"]
    assert notes == ["mbox is one mail of a series: [PATCH 2/3] b"]


def test_format_patch_leaves_out_a_commit_that_changes_nothing(
    store: Store, checkout: Path, fetch: Fetch
) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    for name in ("a", "", "c"):
        if name:
            (checkout / f"{name}.c").write_text(f"int {name};\n")
            git(checkout, "add", "-f", f"{name}.c")
        git(checkout, "commit", "-q", "--allow-empty", "-m", f"Commit {name}")
    mails = (git(checkout, "format-patch", "--stdout", first) + "\n").encode()
    git(checkout, "reset", "-q", "--hard", first)
    # Some versions of git write a mail without a diff, which `git am` refuses.
    patches, notes = fetch(*(one for one in split_mails(mails)[0] if b"\ndiff --git " in one))
    assert len(patches) == 2
    assert notes[-1] == "mbox lacks patch 2 of 3, perhaps a commit without a change"


def test_a_byte_order_mark_is_none_of_a_patch(store: Store, tmp_path: Path, checkout: Path) -> None:
    patch = make_patch(checkout, "first", **{"kernel/a.c": "int a;\n"})
    folder = tmp_path / "quilt"
    folder.mkdir()
    (folder / "series").write_text("a.patch\n")
    (folder / "a.patch").write_bytes(codecs.BOM_UTF8 + patch[patch.index("diff ") :].encode())
    patches = fetch_series(FolderSeries(path=folder), store, Silent())
    repository, commit = apply(store, checkout, patches)
    assert "kernel/a.c" in repository.files_of(commit)


def test_a_maildir_is_a_mailbox(store: Store, tmp_path: Path) -> None:
    """The order in it says nothing. ``git am`` takes one, too."""
    folder = tmp_path / "maildir"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "cur/1:2,S").write_bytes(mail("[PATCH 2/2] b", "b", id_="2", answers="1"))
    (folder / "new/2").write_bytes(mail("[PATCH 1/2] a", "a", id_="1"))
    series = parse_series(str(folder))
    assert series is not None
    assert added(fetch_series(series, store, Silent())) == ["a", "b"]
    os.mkfifo(folder / "new/pipe")
    with pytest.raises(UserError, match="this is no mail"):
        fetch_series(series, store, Silent())


def test_a_pipe_is_refused(store: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader, writer = os.pipe()
    for name in (str(pipe), f"/dev/fd/{reader}"):
        with pytest.raises(UserError, match="a pipe can be read only once") as caught:
            parse_series(name)
        assert str(caught.value.where) == name
    os.close(reader)
    os.close(writer)
    with pytest.raises(UserError, match="a pipe can be read only once"):
        fetch_series(MboxSeries(path=pipe), store, Silent())


def test_a_patch_whose_diff_is_gone_is_refused_by_name(fetch: Fetch) -> None:
    with pytest.raises(UserError, match=r"mail 0002 \(\[PATCH 2/2\] two\) has no diff"):
        fetch(mail("[PATCH 1/2] one", "one"), mail("[PATCH 2/2] two"))
    flat = mail("a diff", "x").split(b"new file")[0] + b"\n"
    with pytest.raises(UserError, match=r"mail 0002 \(a diff\) has no diff that git can read"):
        fetch(mail("[PATCH] one", "one"), flat)


def test_a_charset_that_nobody_knows_is_refused_by_name(fetch: Fetch) -> None:
    head = b"Content-Type: text/plain; charset=x-none\nFrom:"
    odd = mail("[PATCH 2/2] two", "two").replace(b"From:", head, 1).replace(b"Text", b"T\xe9xt")
    with pytest.raises(BuildError, match="mail 0002 cannot be read") as caught:
        fetch(mail("[PATCH 1/2] one", "one"), odd)
    assert "x-none" in (caught.value.detail or "")


def test_crlf_and_packed_mailboxes(store: Store, checkout: Path, fetch: Fetch) -> None:
    text = make_patch(checkout, "Change", **{"kernel/fork.c": "int changed;\n"}).encode()
    for given in (text.replace(b"\n", b"\r\n"), gzip.compress(text)):
        patches, _ = fetch(given)
        repository, commit = apply(store, checkout, patches)
        assert repository.run("show", f"{commit}:kernel/fork.c") == "int changed;"


def test_a_folder_as_quilt_has_it(store: Store, checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "patches"
    folder.mkdir()
    bare = b"--- Kbuild.orig\n+++ Kbuild\n@@ -0,0 +1 @@\n+#\n".replace(b"Kbuild", b"new")
    bare = bare.replace(b"new.orig", b"/dev/null")
    (folder / "it's.patch").write_bytes(mail("it", "one"))
    (folder / "p0.patch.gz").write_bytes(gzip.compress(bare))
    (folder / "crlf.patch").write_bytes(mail("crlf", "three").replace(b"\n", b"\r\n"))
    series = (
        b"# f\xfcr\nit's.patch -p 1 # why\np0.patch.gz -p0\n-no crlf.patch -pab\n+yes gone.patch\n"
    )
    (folder / "series").write_bytes(series)
    progress = Notes()
    patches = fetch_series(FolderSeries(path=folder), store, progress)
    assert [patch.name for patch in patches] == ["it's.patch", "p0.patch.gz", "crlf.patch"]
    assert progress.notes == ["not applied, its guard is not set: gone.patch"]
    repository, commit = apply(store, checkout, patches)
    assert {"one", "new", "three"} <= set(repository.files_of(commit))
    assert repository.run("show", f"{commit}:three") == "three"


def test_an_empty_series_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "series").write_text("# none yet\n")
    progress = Notes()
    assert fetch_series(FolderSeries(path=tmp_path), store, progress) == ()
    assert "names no patch" in progress.notes[0]


def test_a_patch_in_a_folder_without_a_diff_is_refused(
    store: Store, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "series").write_text("text.patch\n")
    (tmp_path / "text.patch").write_text("no diff at all\n")
    patches = fetch_series(FolderSeries(path=tmp_path), store, Silent())
    with pytest.raises(BuildError, match=r"patch text\.patch holds no diff"):
        apply(store, checkout, patches)


def test_generated_mailboxes_are_read_as_git_reads_them() -> None:
    ends, faults = check_range(seed=7, first=0, count=12, histories=4)
    assert faults == []
    assert ends["same tree"] > 2


def with_nul(mail_: bytes) -> bytes:
    return mail_.replace(b"Text", b"Te\0xt")


@pytest.mark.parametrize("alone", [True, False])
def test_a_message_with_nul_bytes_is_refused_by_name(fetch: Fetch, alone: bool) -> None:
    mails = [with_nul(mail("[PATCH 2/2] two", "two"))]
    mails += [] if alone else [mail("[PATCH 1/2] one", "one")]
    with pytest.raises(UserError, match=r"mail 0001 \(two\) has NUL bytes") as caught:
        fetch(*mails)
    assert (caught.value.where or "").endswith("mbox")
    assert "tr -d" in (caught.value.hint or "")


def test_nul_bytes_in_an_encoded_message_are_refused(fetch: Fetch) -> None:
    encoded = mail("[PATCH] x", "x").replace(b"Text", b"Te=00xt")
    head = b"Content-Transfer-Encoding: quoted-printable\nFrom:"
    with pytest.raises(UserError, match="NUL bytes"):
        fetch(encoded.replace(b"From:", head, 1))


def test_nul_bytes_in_a_diff_are_kept(store: Store, checkout: Path, fetch: Fetch) -> None:
    """``git am`` takes them, too."""
    text = mail("[PATCH] x", "x").replace(b"\n+x\n", b"\n+x\0y\n")
    repository, commit = apply(store, checkout, fetch(text)[0])
    assert repository.run("show", f"{commit}:x") == "x\0y"


def test_nul_bytes_in_a_folder_s_patch_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "series").write_text("x.patch\n")
    (tmp_path / "x.patch").write_bytes(with_nul(mail("[PATCH] x", "x")))
    with pytest.raises(UserError, match=r"x\.patch \(x\) has NUL bytes") as caught:
        fetch_series(FolderSeries(path=tmp_path), store, Silent())
    assert (caught.value.where or "").endswith("x.patch")


def test_an_empty_mailbox_is_refused_without_a_scratch_file_s_name(fetch: Fetch) -> None:
    with pytest.raises(UserError, match="no mbox of patches") as caught:
        fetch(b"\n\n")
    assert "'mbox'" in (caught.value.detail or "")
    assert "/tmp" not in (caught.value.detail or "")


CR_DIFFS = {
    "git's": (
        b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\r\n+b\r\n"
    ),
    "with a function": b"--- a/x\n+++ b/x\n@@ -1 +1 @@ int f()\n-a\r\n+b\r\n",
    "odd content": b"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- a\r\n+++ b\r\n c\r\n",
}


@pytest.mark.parametrize("diff", CR_DIFFS.values(), ids=CR_DIFFS.keys())
def test_crs_that_come_from_saving_a_file_are_those_that_gnu_patch_strips(
    tmp_path: Path, diff: bytes
) -> None:
    """Saved with CRs, with text around that has none; and as the diff of a file with CRs."""
    gnu = shutil.which("patch")
    saved = diff.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for text, strips in ((diff, False), (saved, True), (b"hello\n\n" + saved + b"\nend\n", True)):
        assert was_saved_with_crs(text) == strips, text
        if gnu:
            (tmp_path / "x").write_bytes(b"-- a\nc\n" if b"-- a" in diff else b"a\n")
            done = subprocess.run(
                [gnu, "-p1", "--dry-run"],
                cwd=tmp_path,
                input=text,
                capture_output=True,
                check=False,
            )
            assert (b"Stripping trailing CRs" in done.stdout) == strips, done.stdout
