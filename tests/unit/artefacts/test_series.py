"""Series: where patches come from, how they are applied, and how a refusal reads."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import paths
from harness.artefacts.source.git import Repository
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.source.trees import fetch_source
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.lib.quilt import Entry, parse_series, read_patch, read_series
from harness.progress import Silent
from harness.values import FolderSeries, LoreSeries, MboxSeries, TreeSource

from .conftest import MakeStub, git, make_checkout, make_patch

LORE = LoreSeries(message_id="20210913200132.3396598-1-sohil.mehta@intel.com")

FORK = "int fork_count;\n\nint do_fork(void)\n{\n\tfork_count += 2;\n\treturn 0;\n}\n"


@pytest.fixture
def checkout(toy: Path) -> Path:
    return make_checkout(toy)


@pytest.fixture
def applied(store: Store, checkout: Path):  # type: ignore[no-untyped-def]
    """Apply patches on the toy, and return repository, resulting commit and notes."""
    base = fetch_source(TreeSource(path=checkout), store, Silent())
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    def apply(*patches: Patch) -> tuple[Repository, str, list[str]]:
        repository = Repository(base.repository)
        commit = apply_series(repository, base.commit, patches, "toy tree", Notes())
        return repository, commit, notes

    return apply


def edited(checkout: Path, old: str, new: str) -> str:
    return (checkout / "kernel/fork.c").read_text().replace(old, new, 1)


# --- where patches come from -----------------------------------------------------------------


def test_a_series_file_has_comments_and_options() -> None:
    text = b"# all\n\n0001-a.patch\nb.patch -p0  # why\n  c.diff -p 2\r\nit's.patch -pab\n"
    assert parse_series(text, Path("series")) == (
        Entry("0001-a.patch"),
        Entry("b.patch", 0),
        Entry("c.diff", 2),
        Entry("it's.patch"),
    )
    with pytest.raises(UserError, match="'-R'"):
        parse_series(b"a.patch -R\n", Path("series"))


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u2003", "\x85", "\x1c", "\u2028"])
def test_names_are_separated_by_ascii_blanks_only(blank: str) -> None:
    """As by quilt. The comment and the options after such a name are read."""
    name = f"a{blank}#b.patch"
    text = f"{name} -p0 # why\n+x{blank}y {name}\n".encode()
    assert parse_series(text, Path("series")) == (
        Entry(name, 0),
        Entry(name, guards=(f"+x{blank}y",)),
    )


def test_each_ascii_blank_separates() -> None:
    text = b"a.patch\t-p0\r\n\x0cb.patch\x0b-p\t2\x0b# why\n"
    assert parse_series(text, Path("series")) == (Entry("a.patch", 0), Entry("b.patch", 2))


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 256, "d/" * 2100, "\u00e9" * 128, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no file can have the name") as caught:
        parse_series(f"a.patch\n{name}\n".encode(), Path("series"))
    assert caught.value.where == "series:2"
    assert len(str(caught.value)) < 400
    assert "\0" not in str(caught.value)


def test_a_long_option_or_comment_does_not_fill_the_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not understood") as caught:
        parse_series(b"a.patch " + b"-x " * 9999, Path("series"))
    assert len(str(caught.value)) < 400
    assert parse_series(b"a.patch #" + b"x" * 999999, Path("series")) == (Entry("a.patch"),)


def test_a_series_file_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.lib.quilt.MAX_SERIES", 1 << 20)
    (tmp_path / "series").write_bytes(b"#" * (1 << 20))
    assert read_series(tmp_path / "series") == ()
    (tmp_path / "series").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(UserError, match="larger than 1 MiB"):
        read_series(tmp_path / "series")


def pack_lzma(content: bytes) -> bytes:
    return lzma.compress(content, format=lzma.FORMAT_ALONE)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, pack_lzma])
def test_packed_patches_are_read(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.patch").write_bytes(pack(b"--- a\n"))
    assert read_patch(tmp_path / "a.patch") == b"--- a\n"


@pytest.mark.parametrize(
    ("start", "program"),
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1f\x9d\x90", "uncompress"), (b"\x04\x22\x4d\x18", "lz4")],
)
def test_a_patch_in_another_packed_form_is_refused(
    tmp_path: Path, start: bytes, program: str
) -> None:
    (tmp_path / "a.patch").write_bytes(start + b"rest")
    with pytest.raises(UserError, match="not read") as caught:
        read_patch(tmp_path / "a.patch")
    assert f"with {program} first" in (caught.value.hint or "")


def test_a_path_that_is_too_long_is_missing(store: Store, tmp_path: Path) -> None:
    """Each name is allowed, but not the path with the folder."""
    (tmp_path / "series").write_text("d/" * 2040 + "x.patch\n")
    with pytest.raises(UserError, match="is missing"):
        fetch_series(FolderSeries(path=tmp_path), store, Silent())


def test_a_folder_gives_its_patches_in_order(store: Store, tmp_path: Path) -> None:
    for name in ("z", "a"):
        (tmp_path / f"{name}.patch").write_text(name)
    (tmp_path / "series").write_text("z.patch\na.patch -p0\n")
    patches = fetch_series(FolderSeries(path=tmp_path), store, Silent())
    assert [(patch.name, patch.content, patch.strip) for patch in patches] == [
        ("z.patch", b"z", 1),
        ("a.patch", b"a", 0),
    ]


def test_what_a_folder_lacks_is_the_users_to_add(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such series"):
        fetch_series(FolderSeries(path=tmp_path / "nope"), store, Silent())
    with pytest.raises(UserError, match="no file named `series`"):
        fetch_series(FolderSeries(path=tmp_path), store, Silent())
    (tmp_path / "series").write_text("0001-gone.patch\n")
    with pytest.raises(UserError, match=r"0001-gone\.patch is missing") as caught:
        fetch_series(FolderSeries(path=tmp_path), store, Silent())
    assert caught.value.where == str(tmp_path / "0001-gone.patch")


def test_an_mbox_gives_its_patches_without_the_cover_letter(
    store: Store, tmp_path: Path, checkout: Path
) -> None:
    cover = "From 0 Mon Sep 17 00:00:00 2001\nFrom: a@b\nSubject: [PATCH 0/2] Cover\n\nText.\n\n"
    first = make_patch(checkout, "first", **{"kernel/a.c": "int a;\n"})
    second = make_patch(checkout, "second", **{"kernel/b.c": "int b;\n"})
    (tmp_path / "mbox").write_text(cover + first + second)
    patches = fetch_series(MboxSeries(path=tmp_path / "mbox"), store, Silent())
    assert [b"kernel/a.c" in patch.content for patch in patches] == [True, False]
    assert len({patch.identity["sha256"] for patch in patches}) == 2


def test_an_mbox_that_is_none(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such mbox"):
        fetch_series(MboxSeries(path=tmp_path / "nope"), store, Silent())
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(UserError, match="mbox"):
        fetch_series(MboxSeries(path=tmp_path / "text"), store, Silent())


def test_lore_is_asked_through_b4_once(
    store: Store, tmp_path: Path, checkout: Path, stub: MakeStub
) -> None:
    mbox = tmp_path / "mails"
    mbox.write_text(make_patch(checkout, "first", **{"kernel/a.c": "int a;\n"}))
    stub(
        "b4",
        f'echo "$@" >> {tmp_path}/calls\n'
        'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out=$2; shift; done\n'
        f'cp {mbox} "$out/series.mbx"',
    )
    for _ in range(2):
        (patch,) = fetch_series(LORE, store, Silent())
        assert b"kernel/a.c" in patch.content
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("am --outdir ")
    assert call.endswith(f" {LORE.message_id}")


def test_a_series_that_is_not_complete_on_lore_is_not_kept(
    store: Store, tmp_path: Path, checkout: Path, stub: MakeStub
) -> None:
    made = [make_patch(checkout, name, **{f"kernel/{name}.c": f"int {name};\n"}) for name in "ab"]
    one, two = (
        "From git@z Thu Jan  1 00:00:00 1970\n"
        + patch.partition("\n")[2].replace("[PATCH]", f"[PATCH {number}/2]")
        for number, patch in enumerate(made, 1)
    )
    (tmp_path / "mails").write_text(one + one.replace("[PATCH 1/2]", "Re: [PATCH 1/2]"))
    stub(
        "b4",
        'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out=$2; shift; done\n'
        f'cp {tmp_path}/mails "$out/series.mbx"',
    )
    with pytest.raises(UserError, match="lacks patch 2 of 2"):
        fetch_series(LORE, store, Silent())
    (tmp_path / "mails").write_text(one + two)
    assert len(fetch_series(LORE, store, Silent())) == 2


def test_lore_that_cannot_be_reached(store: Store, stub: MakeStub) -> None:
    stub("b4", "echo 'Looking up'; echo 'ConnectionError: lore' >&2; exit 1")
    with pytest.raises(BuildError, match="b4 could not fetch") as caught:
        fetch_series(LORE, store, Silent())
    assert caught.value.where == LORE.message_id
    assert "ConnectionError" in (caught.value.detail or "")
    assert "mbox" in (caught.value.hint or "")


def test_b4_is_found_beside_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.artefacts.source import series

    (tmp_path / "b4").write_text("#!/bin/sh\n")
    (tmp_path / "b4").chmod(0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert series._b4() == str(tmp_path / "b4")
    (tmp_path / "b4").unlink()
    with pytest.raises(BuildError, match="b4 is not installed") as caught:
        series._b4()
    assert f"pip install --editable '{paths.ROOT}[lore]'" in str(caught.value)


# --- putting them on a tree ------------------------------------------------------------------


def test_patches_become_commits(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    mail = make_patch(checkout, "Count twice", **{"kernel/fork.c": FORK})
    bare = (
        "A description.\n\n--- lib/string.c\n+++ lib/string.c\n"
        "@@ -1,2 +1,3 @@\n // SPDX-License-Identifier: GPL-2.0\n+int bare;\n"
        " int string_length(const char *s)\n"
    )
    repository, commit, notes = applied(
        Patch("0001-count.patch", mail.encode()), Patch("bare.diff", bare.encode(), strip=0)
    )
    assert repository.run("show", f"{commit}:kernel/fork.c") + "\n" == FORK
    assert "int bare;" in repository.run("show", f"{commit}:lib/string.c")
    assert repository.run("log", "--format=%s", "-2", commit) == "bare.diff\nCount twice"
    assert "Why it is needed." in repository.run("log", "--format=%b", commit)
    assert notes == []


def test_the_same_series_gives_the_same_commit(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    patch = Patch("a", make_patch(checkout, "a", **{"kernel/a.c": "int a;\n"}).encode())
    assert applied(patch)[1] == applied(patch)[1]


def test_a_patch_that_does_not_apply_shows_its_hunk(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    mail = make_patch(
        checkout, "Undo", **{"kernel/fork.c": edited(checkout, "count--", "count -= 2")}
    )
    broken = mail.replace("\tfork_count--;", "\tfork_counter--;").replace("index ", "index 0")
    good = make_patch(checkout, "Good", **{"kernel/a.c": "int a;\n"})
    with pytest.raises(BuildError) as caught:
        applied(Patch("0001-good.patch", good.encode()), Patch("0002-undo.patch", broken.encode()))
    error = caught.value
    assert error.what == "patch 0002-undo.patch (Undo) does not apply, at kernel/fork.c:9"
    assert error.where == "tree toy tree"
    assert "-\tfork_counter--;\n+\tfork_count -= 2;" in (error.detail or "")
    assert "@@ -9" in (error.detail or "")
    assert "error: patch failed: kernel/fork.c:9" in (error.detail or "")
    assert not list(checkout.rglob("*.rej"))
    assert not list(checkout.rglob("*.orig"))


def test_a_patch_that_the_tree_has_already(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    mail = make_patch(checkout, "Twice", **{"kernel/fork.c": FORK}).encode()
    with pytest.raises(BuildError) as caught:
        applied(Patch("one.patch", mail), Patch("two.patch", mail.replace(b"index ", b"index 0")))
    assert "two.patch (Twice)" in caught.value.what
    assert "has this change already" in (caught.value.hint or "")


def test_a_patch_for_a_file_that_is_not_there(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    mail = make_patch(checkout, "Move", **{"kernel/fork.c": FORK})
    with pytest.raises(BuildError) as caught:
        applied(Patch("a.patch", mail.replace("kernel/fork.c", "kernel/gone.c").encode()))
    assert "kernel/gone.c: does not exist in index" in (caught.value.detail or "")


def test_a_patch_made_for_a_neighbouring_tree_is_merged(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    """The context differs, but the repository has the file that the patch was made for."""
    before = (checkout / "kernel/fork.c").read_text()
    wanted = before.replace("fork_count++;", "fork_count += 2;")
    wanted_patch = make_patch(checkout, "Count twice", **{"kernel/fork.c": wanted})
    moved = before.replace("int do_fork(void)", "int do_fork(void) /* next */")
    other_patch = make_patch(checkout, "Comment", **{"kernel/fork.c": moved})
    repository, commit, notes = applied(
        Patch("0001-comment.patch", other_patch.encode()),
        Patch("0002-count.patch", wanted_patch.encode()),
    )
    merged = repository.run("show", f"{commit}:kernel/fork.c")
    assert "fork_count += 2" in merged
    assert "/* next */" in merged
    assert notes == ["patch 0002-count.patch applied by a three-way merge"]


def test_the_same_patch_twice_is_refused(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    text = (checkout / "kernel/fork.c").read_text().replace("fork_count++;", "fork_count += 2;")
    patch = make_patch(checkout, "Count twice", **{"kernel/fork.c": text}).encode()
    with pytest.raises(BuildError, match="the tree has this change already"):
        applied(Patch("1.patch", patch), Patch("2.patch", patch))


def test_a_new_file_that_exists_is_written_nowhere(  # type: ignore[no-untyped-def]
    applied, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`git apply --cached --3way` writes such a file into the working directory."""
    new = make_patch(checkout, "New", **{"kernel/new.c": "one\n"})
    other = make_patch(checkout, "Another", **{"kernel/new.c": "two\n"})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BuildError, match="Another"):
        applied(Patch("1.patch", new.encode()), Patch("2.patch", other.encode()))
    assert list(Path().iterdir()) == []


def test_crlf_and_binary_patches_survive(applied, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    (checkout / "kernel/blob").write_bytes(bytes(range(256)))
    git(checkout, "add", "--force", ".")
    git(checkout, "commit", "--quiet", "--message", "Blob")
    mail = git(checkout, "format-patch", "--binary", "-1", "--stdout") + "\n"
    repository, commit, _ = applied(Patch("blob.patch", mail.encode()))
    assert repository.try_("show", f"{commit}:kernel/blob").stdout == bytes(range(256))
