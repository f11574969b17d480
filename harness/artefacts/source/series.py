"""Patch series: read from a quilt folder, an mbox or lore, and applied to a tree.

Patches are applied to a git index, not to files, so that a patch that fails leaves neither a
half-patched tree nor ``.rej`` and ``.orig`` files.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from harness.artefacts.source.attestation import read_attestation
from harness.artefacts.source.git import Repository, clean_environment
from harness.artefacts.source.mail import check_text
from harness.artefacts.source.mailbox import read_mailbox
from harness.artefacts.source.patch import (
    Opened,
    Patch,
    changes,
    has_diff,
    is_mail,
    open_patch,
    split_mails,
    was_saved_with_crs,
    without_carriage_returns,
)
from harness.artefacts.store import JSON, Store
from harness.errors import BuildError, UserError
from harness.lib.extras import install_line
from harness.lib.process import Captured, capture, host_error
from harness.lib.quilt import Entry, is_there, read_patch, read_series
from harness.progress import Progress, Silent
from harness.values import FolderSeries, LoreSeries, MboxSeries, Series

#: Recipe number of a series from lore, see :mod:`harness.artefacts.recipe`. Raise it when the same
#: message-id gives other mails than before.
RECIPE = 1

#: Files of a series in the store.
_MBOX, _ATTESTATION = "series.mbox", "attestation"

#: Longest hunk that an error shows, in lines.
_HUNK_LINES = 60


class DoesNotApplyError(BuildError):
    """A patch of a series does not apply to the tree with the patches before it."""


def fetch_series(series: Series | None, store: Store, progress: Progress) -> tuple[Patch, ...]:
    """Return a series' patches in order; none if ``series`` is None.

    :raise UserError: a folder, its ``series`` file, a patch or an mbox is missing or malformed.
    :raise BuildError: b4 could not fetch the series from lore.
    """
    if series is None:
        return ()
    if isinstance(series, FolderSeries):
        return _from_folder(series.path, progress)
    if isinstance(series, MboxSeries):
        return read_mailbox(series.path, progress)
    mbox = _from_lore(series, store, progress)
    progress.note(f"series {series.message_id}: {_attestation_beside(mbox)}")
    return read_mailbox(mbox, progress)


def attestation_of(series: Series | None, store: Store) -> str:
    """Return what b4 said of the signatures of a series that was fetched from lore.

    Empty for other series, and for one that is not in the store.
    """
    if not isinstance(series, LoreSeries):
        return ""
    entry = store.find("series", _lore_inputs(series))
    return _attestation_beside(entry.path / _MBOX) if entry else ""


def is_fetched(series: LoreSeries, store: Store) -> bool:
    """Return true if a series of lore is in the store, so that nothing is downloaded for it."""
    return store.find("series", _lore_inputs(series)) is not None


def _attestation_beside(mbox: Path) -> str:
    """Return what was kept beside a series; an older version of the harness kept nothing."""
    try:
        return (mbox.parent / _ATTESTATION).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return "what b4 found of signatures was not kept"


# --- where patches come from ---------------------------------------------------------------


def _from_folder(folder: Path, progress: Progress) -> tuple[Patch, ...]:
    listing = folder / "series"
    if not listing.is_file():
        raise UserError(
            "the series has no file named `series`" if folder.is_dir() else "no such series",
            where=folder,
            hint="a series is a folder with its patches and a file `series` that names them",
        )
    patches = []
    for entry in read_series(listing):
        if not entry.chosen:
            progress.note(f"not applied, its guard is not set: {entry.shown}")
            continue
        path = folder / entry.name
        if not is_there(folder, entry):
            raise UserError(
                f"patch {entry.shown} is missing",
                where=folder / entry.shown,
                hint=f"add it, or take its line out of {listing}",
            )
        found = _from_file(entry, read_patch(path))
        for patch in found:
            check_text(patch, path)
        patches += found
    if not patches:
        progress.note(f"{listing} names no patch: the source is used as it is")
    return tuple(patches)


def _from_file(entry: Entry, content: bytes) -> list[Patch]:
    """Return the patch in a file, or several if it holds several mails.

    CRs are kept, as in quilt, unless they come from how the file was saved. So does a byte order
    mark.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    if not is_mail(content):
        plain = without_carriage_returns(content) if was_saved_with_crs(content) else content
        return [Patch(entry.shown, plain, entry.strip)]
    mails, complaint = split_mails(content, keep_cr=not was_saved_with_crs(content))
    if not mails:
        raise UserError(f"patch {entry.shown} cannot be read as a mail", detail=complaint)
    if len(mails) == 1:
        return [Patch(entry.shown, mails[0], entry.strip)]
    return [Patch(f"{entry.shown}:{n}", mail, entry.strip) for n, mail in enumerate(mails, 1)]


def _from_lore(series: LoreSeries, store: Store, progress: Progress) -> Path:
    """Fetch a series with b4, once, because the mails of a message-id never change."""

    def build(folder: Path) -> None:
        with progress.step(f"fetch series {series.message_id}"):
            result = capture(
                [
                    _b4(),
                    "am",
                    *("--outdir", str(folder)),
                    *("--mbox-name", "series"),
                    *("--", series.message_id),
                ],
                env=clean_environment(),
                cwd=folder,
                timeout_s=600,
            )
        found = sorted(folder.glob("*.mbx")) or sorted(folder.glob("*.mbox"))
        if result.returncode != 0 or not found:
            raise BuildError(
                "b4 could not fetch the series",
                where=series.message_id,
                detail="\n".join((result.text, result.complaint)).strip(),
                hint="lore must be reachable; or save the thread's mbox and give its path",
            )
        found[0].rename(folder / _MBOX)
        said = read_attestation(f"{result.text}\n{result.complaint}")
        (folder / _ATTESTATION).write_text(f"{said}\n", encoding="utf-8")
        # What is refused is not kept: patches that are not on lore yet may come.
        read_mailbox(folder / _MBOX, Silent())

    return store.get("series", _lore_inputs(series), build).path / _MBOX


def _lore_inputs(series: LoreSeries) -> dict[str, JSON]:
    return {"recipe": RECIPE, "message-id": series.message_id}


def _b4() -> str:
    """Return the path of b4: the user's, else the one beside this Python."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((os.environ.get("PATH", ""), beside))
    found = shutil.which("b4", path=path)
    if found is None:
        raise BuildError(
            "b4 is not installed, which fetches a series by its message-id",
            hint=f"{install_line('lore')}\n  or give an mbox instead",
        )
    return found


def subject_of(patch: Patch) -> str:
    """Return a patch's subject without ``[PATCH n/m]``; its name if it is a bare diff."""
    return open_patch(patch).subject or patch.name


def touched_files(patches: Iterable[Patch]) -> tuple[str, ...]:
    """Return the files that patches change or add, each once; patches without a diff have none."""
    return tuple(dict.fromkeys(name for patch in patches for name in changes(patch).kept))


def added_files(patches: Iterable[Patch]) -> tuple[str, ...]:
    """Return the files that patches add, each once."""
    return tuple(dict.fromkeys(name for patch in patches for name in changes(patch).added))


def slug(subject: str) -> str:
    """Return a subject as it appears in the names of git's patch files."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", subject).strip("-.")[:52] or "patch"


def write_series(folder: Path, patches: Sequence[Patch]) -> Path:
    """Write patches into a new folder for ``--series``, and return it.

    :raise HarnessError: the folder cannot be written.
    """
    names = []
    try:
        folder.mkdir(parents=True)
        for number, patch in enumerate(patches, 1):
            name = f"{number:04}-{slug(subject_of(patch))}.patch"
            (folder / name).write_bytes(patch.content)
            names.append(f"{name} -p{patch.strip}" if patch.strip != 1 else name)
        (folder / "series").write_text("".join(f"{name}\n" for name in names))
    except OSError as error:
        raise host_error(error, folder) from error
    return folder


# --- applying patches to a tree ------------------------------------------------------------


def apply_series(
    repository: Repository,
    base: str,
    patches: Sequence[Patch],
    tree_name: str,
    progress: Progress,
) -> str:
    """Apply patches to a commit, each as a commit, and return the last one.

    A patch that does not apply is tried again without its carriage returns, then by a three-way
    merge, which needs the blobs that it was made for. Either is noted.

    :param tree_name: name of the base tree, for an error.
    :raise BuildError: a patch does not apply; the error names patch, hunk and tree.
    """
    commit = base
    if not patches:
        return commit
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        repository.run("read-tree", base, env=env)
        for number, patch in enumerate(patches, 1):
            opened = open_patch(patch)
            if not has_diff(opened.diff):
                raise BuildError(
                    f"patch {patch.name} holds no diff that git can read",
                    where=f"tree {tree_name}",
                    hint="take it out of the series, or make it again with `git format-patch`",
                )
            result = _apply(repository, patch, opened.diff, env)
            if result.returncode != 0 and b"\r\n" in opened.diff:
                plain = replace(opened, diff=without_carriage_returns(opened.diff))
                again = _apply(repository, patch, plain.diff, env)
                if again.returncode == 0:
                    progress.note(f"patch {patch.name} applied without its carriage returns")
                    opened, result = plain, again
            if result.returncode != 0:
                if not _apply_3way(repository, patch, opened.diff, env):
                    raise _refusal(repository, patch, opened, result, env, tree_name)
                progress.note(f"patch {patch.name} applied by a three-way merge")
            tree = repository.run("write-tree", env=env)
            subject = opened.subject or patch.name
            message = f"{subject}\n\n{opened.message}".strip()
            commit = repository.commit(tree, message or f"patch {number}", parent=commit)
    return commit


def message_of(patch: Patch) -> tuple[str, str]:
    """Return a patch's subject and message; both are empty for a bare diff."""
    opened = open_patch(patch)
    return opened.subject, opened.message


def _apply(
    repository: Repository, patch: Patch, diff: bytes, env: dict[str, str], *options: str
) -> Captured:
    args = ["apply", "--cached", "--whitespace=nowarn", f"-p{patch.strip}", *options, "-"]
    # In spite of --cached, --3way writes a new file that exists already into the working directory.
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        return repository.try_(*args, env=env, stdin=diff, cwd=Path(scratch))


def _apply_3way(repository: Repository, patch: Patch, diff: bytes, env: dict[str, str]) -> bool:
    """Try a three-way merge on a copy of the index, which replaces the index if it succeeds.

    A merge that changes nothing is refused: the tree has the change already.
    """
    index = Path(env["GIT_INDEX_FILE"])
    scratch = index.with_name("scratch")
    shutil.copyfile(index, scratch)
    merged = _apply(repository, patch, diff, {"GIT_INDEX_FILE": str(scratch)}, "--3way")
    if merged.returncode != 0:
        return False
    before, after = (
        repository.run("write-tree", env={"GIT_INDEX_FILE": str(one)}) for one in (index, scratch)
    )
    if before == after:
        return False
    scratch.replace(index)
    return True


def _refusal(
    repository: Repository,
    patch: Patch,
    opened: Opened,
    result: Captured,
    env: dict[str, str],
    tree_name: str,
) -> BuildError:
    """Return the error for a patch that does not apply."""
    place = re.search(r"^error: patch failed: (.+):(\d+)$", result.complaint, re.MULTILINE)
    hunk = _hunk(opened.diff, place[1], int(place[2])) if place else ""
    title = f"{patch.name} ({opened.subject})" if opened.subject else patch.name
    in_file = f", at {place[1]}:{place[2]}" if place else ""
    reversed_ = _apply(repository, patch, opened.diff, env, "--reverse", "--check")
    hint = (
        "the tree has this change already: take the patch out of the series"
        if reversed_.returncode == 0
        else "make the patch again on this tree, or choose the tree that it was made for"
    )
    return DoesNotApplyError(
        f"patch {title} does not apply{in_file}",
        where=f"tree {tree_name}",
        detail="\n".join(part for part in (hunk, result.complaint) if part),
        hint=hint,
    )


def _hunk(diff: bytes, path: str, line: int) -> str:
    """Return the hunk that git named by file and first line."""
    try:
        files = PatchSet(diff.decode(errors="replace"))
    except UnidiffParseError:
        return ""
    for file in files:
        if file.path != path and not (file.source_file or "").endswith(path):
            continue
        for hunk in file:
            if hunk.source_start == line:
                return "\n".join(str(hunk).splitlines()[:_HUNK_LINES])
    return ""
