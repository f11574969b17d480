"""Base trees: from a Debian package, a tarball, a git repository or a folder on this machine.

Each becomes a ``source`` entry of the store: a bare git repository with one commit. The identity of
a source (``identify_source``) is found without unpacking anything, so that a kernel that is built
already is found at once.
"""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from harness.artefacts.source import local_tree
from harness.artefacts.source.checkout import git_dir_of, main_git_dir
from harness.artefacts.source.debian_archive import archive_tarball, archive_version
from harness.artefacts.source.git import Repository, clean_environment
from harness.artefacts.source.tar_import import import_tar
from harness.artefacts.source.tree_kind import KERNEL_TREE, TreeKind
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.lib.process import capture, require
from harness.progress import Progress, Step
from harness.values import (
    DebianArchiveSource,
    DebianSource,
    GitSource,
    Source,
    TarballSource,
    TreeSource,
)

#: Recipe number of an imported tree, see :mod:`harness.artefacts.recipe`. Raise it when the same
#: source gives another repository than before.
RECIPE = 1

_BOOTSTRAP = "`ci/bootstrap run` installs what is missing"
_CHUNK = 1 << 20
_SHA1 = re.compile(r"[0-9a-f]{40}")


class BaseTree(NamedTuple):
    """An unpatched tree: a commit in a repository that is not written to any more."""

    repository: Path
    commit: str


def describe_source(source: Source) -> str:
    """Return a source's name for an error or a step."""
    if isinstance(source, DebianSource):
        return source.package
    if isinstance(source, DebianArchiveSource):
        return f"{source.package} of Debian {source.suite}"
    if isinstance(source, TarballSource):
        return source.url.rpartition("/")[2]
    if isinstance(source, GitSource):
        return f"{source.url} at {source.revision}"
    at = f" at {source.revision[:12]}" if source.revision else ""
    return f"{source.path}{at}"


def identify_source(source: Source, store: Store, kind: TreeKind = KERNEL_TREE) -> dict[str, str]:
    """Return what identifies the tree's content, without unpacking it.

    A Debian package is identified by its version (a source package is fetched for that), a tarball
    by its digest, a git revision by its commit, a local tree by its content (see
    :mod:`harness.artefacts.source.local_tree`).

    :raise UserError: there is no such tree or revision.
    :raise BuildError: apt does not know the package, or the repository cannot be read.
    """
    if isinstance(source, DebianSource):
        return {"kind": "debian", "package": source.package, "version": _debian_version(source)}
    if isinstance(source, DebianArchiveSource):
        version = archive_version(source, store)
        return {"kind": "debian-archive", "package": source.package, "version": version}
    if isinstance(source, TarballSource):
        return {"kind": "tarball", "sha256": source.sha256}
    if isinstance(source, GitSource):
        return {"kind": "git", "commit": _git_commit(source, store)}
    if source.revision:
        return local_tree.identify_commit(source.path, source.revision, kind)
    return local_tree.identify(source.path, kind)


def fetch_source(
    source: Source, store: Store, progress: Progress, kind: TreeKind = KERNEL_TREE
) -> BaseTree:
    """Bring a source's tree into the store, unless it is there.

    A commit of a local checkout is used in place: a bisection needs many, and a copy of each would
    take as much space as a kernel's build.

    :param kind: the kind of tree that the source must have.
    :raise UserError: a source that the profile names does not exist.
    :raise BuildError: it could not be fetched, verified or unpacked.
    """
    identity = identify_source(source, store, kind)
    if isinstance(source, TreeSource) and source.revision:
        return BaseTree(main_git_dir(git_dir_of(source.path)), source.revision)

    def build(folder: Path) -> None:
        require("git", needed_for=f"a {kind.name}")
        repository = Repository(folder / "repository.git").init()
        with progress.step(f"fetch {describe_source(source)}") as step:
            scratch = folder / "unpacked"
            if isinstance(source, DebianArchiveSource):
                name = describe_source(source)
                commit = import_tar(archive_tarball(source, store), repository, name, step)
            else:
                scratch.mkdir()
                commit = _import(source, identity, repository, scratch, step)
            if not isinstance(source, GitSource | TreeSource):
                _check_tree(repository, commit, describe_source(source), kind)
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        (folder / "commit").write_text(f"{commit}\n")

    entry = store.get("source", {"recipe": RECIPE, **identity}, build)
    return BaseTree(entry.path / "repository.git", (entry.path / "commit").read_text().strip())


def _import(
    source: DebianSource | TarballSource | GitSource | TreeSource,
    identity: Mapping[str, str],
    repository: Repository,
    scratch: Path,
    step: Step,
) -> str:
    """Commit a source's tree to an empty repository and return the commit."""
    if isinstance(source, GitSource):
        return _fetch_git(source, identity["commit"], repository, step)
    if isinstance(source, TreeSource):
        return local_tree.snapshot(source.path, identity, repository)
    if isinstance(source, DebianSource):
        archive = _debian_archive(source, identity["version"], scratch, step)
    else:
        archive = scratch / "archive"
        _download(source, archive, step)
    return import_tar(archive, repository, describe_source(source), step)


# --- Debian --------------------------------------------------------------------------------


def _debian_version(source: DebianSource) -> str:
    """Return the installed version, or the one that apt would fetch."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Version}", source.package]
    installed = capture(query, env=clean_environment())
    if installed.returncode == 0 and installed.text.startswith("ii"):
        return installed.text.split()[-1]
    policy = capture(["apt-cache", "policy", source.package], env=clean_environment())
    candidate = re.search(r"^\s*Candidate: (\S+)$", policy.text, re.MULTILINE)
    if candidate is None or candidate[1] == "(none)":
        raise BuildError(
            f"apt knows no package {source.package}",
            where=source.package,
            hint="`apt-get update` refreshes its lists; " + _BOOTSTRAP,
        )
    return candidate[1]


def _debian_archive(source: DebianSource, version: str, scratch: Path, step: Step) -> Path:
    """Return the package's tarball: the installed one after verifying it, or a downloaded one."""
    listing = capture(["dpkg-query", "-L", source.package], env=clean_environment())
    for line in listing.text.splitlines() if listing.returncode == 0 else ():
        if re.search(rf"/{re.escape(source.package)}\.tar\.\w+$", line) and Path(line).exists():
            step.update("verify the installed package")
            check = capture(["dpkg", "--verify", source.package], env=clean_environment())
            if any(changed.endswith(line) for changed in check.text.splitlines()):
                raise BuildError(
                    "the installed source package was changed",
                    where=line,
                    detail=check.text,
                    hint=f"`apt-get install --reinstall {source.package}` brings it back",
                )
            return Path(line)
    step.update("download the package")
    fetched = capture(
        ["apt-get", "download", f"{source.package}={version}"],
        cwd=scratch,
        env=clean_environment(),
        timeout_s=3600,
    )
    packages = list(scratch.glob("*.deb"))
    if fetched.returncode != 0 or not packages:
        raise BuildError(
            f"apt-get could not download {source.package} {version}",
            where=source.package,
            detail=fetched.complaint,
            hint="`apt-get update` refreshes its lists; " + _BOOTSTRAP,
        )
    unpacked = scratch / "package"
    opened = capture(["dpkg-deb", "-x", str(packages[0]), str(unpacked)])
    tarballs = sorted(unpacked.rglob(f"{source.package}.tar.*"))
    if opened.returncode != 0 or not tarballs:
        files = [str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()]
        raise BuildError(
            f"the package {source.package} has no {source.package}.tar.*",
            where=packages[0].name,
            detail=opened.complaint or f"its files: {', '.join(sorted(files)[:20]) or 'none'}",
            hint="name another package in the kernel profile, or a tarball with its SHA-256",
        )
    return tarballs[0]


# --- tarballs ------------------------------------------------------------------------------


def _download(source: TarballSource, to: Path, step: Step) -> None:
    """Stream a tarball to a file and check its digest.

    :raise BuildError: it cannot be read, or its digest is not the profile's.
    """
    scheme = source.url.partition(":")[0]
    if scheme not in {"http", "https", "file"}:
        raise UserError(
            f"a tarball cannot be fetched by {scheme}:",
            where=source.url,
            hint="use an https:, http: or file: URL",
        )
    digest = sha256()
    try:
        with (
            urllib.request.urlopen(source.url, timeout=60) as answer,  # noqa: S310 (checked above)
            to.open("wb") as out,
        ):
            total = int(answer.headers.get("Content-Length") or 0) or None
            done = 0
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
                done += len(chunk)
                step.update("download, MiB", done=done / _CHUNK, total=total and total / _CHUNK)
    except urllib.error.URLError as error:
        raise BuildError(
            f"the tarball cannot be read: {error.reason}",
            where=source.url,
            hint="check the URL and the network",
        ) from error
    if digest.hexdigest() != source.sha256:
        raise BuildError(
            "the tarball is not the one that the profile names",
            where=source.url,
            detail=f"SHA-256 asked: {source.sha256}\nSHA-256 got:   {digest.hexdigest()}",
            hint="if the new one is right, put its SHA-256 into the profile",
        )


def _check_tree(repository: Repository, commit: str, name: str, kind: TreeKind) -> None:
    """Check that a commit has the files that identify its kind of tree."""
    top = set(repository.run("ls-tree", "--name-only", commit).splitlines())
    lacking = [part for part in kind.top if part not in top]
    if lacking:
        raise BuildError(
            f"this is no {kind.name}: it has no {' and no '.join(lacking)}",
            where=name,
            hint=f"the tarball must have one folder at its top, with {kind.top[0]} in it",
        )


# --- git -----------------------------------------------------------------------------------


def _git_commit(source: GitSource, store: Store) -> str:
    """Return the commit that a revision names.

    A full commit id is returned as it is. A tag is looked up once and stored, so that a built
    kernel needs no network. A branch moves, and is looked up each time.
    """
    if _SHA1.fullmatch(source.revision):
        return source.revision
    known = {"url": source.url, "tag": source.revision}
    entry = store.find("git-tag", known)
    if entry:
        return (entry.path / "commit").read_text().strip()
    refs = _remote_refs(source)
    tag = f"refs/tags/{source.revision}"
    for ref in (f"{tag}^{{}}", tag):  # an annotated tag's commit is listed with ^{}
        if ref in refs:
            commit = refs[ref]
            _remember(store, known, commit)
            return commit
    for ref in (f"refs/heads/{source.revision}", source.revision):
        if ref in refs:
            return refs[ref]
    raise UserError(
        f"the repository has no tag or branch {source.revision}",
        where=source.url,
        hint="a commit must be given with all its 40 digits",
    )


def _remember(store: Store, tag: dict[str, str], commit: str) -> None:
    def build(folder: Path) -> None:
        (folder / "commit").write_text(f"{commit}\n")

    store.get("git-tag", tag, build)


def _remote_refs(source: GitSource) -> dict[str, str]:
    """Return a repository's refs; the user's git configuration (proxies, keys) is used."""
    result = capture(
        ["git", "ls-remote", "--", source.url, source.revision, f"{source.revision}^{{}}"],
        env=clean_environment(),
        timeout_s=120,
    )
    if result.returncode != 0:
        raise BuildError(
            "the git repository cannot be read",
            where=source.url,
            detail=result.complaint,
            hint="check the URL, the network, and that `git ls-remote` works on it",
        )
    lines = (line.split("\t", 1) for line in result.text.splitlines() if "\t" in line)
    return {ref: commit for commit, ref in lines}


def _fetch_git(source: GitSource, commit: str, repository: Repository, step: Step) -> str:
    """Fetch one commit, without history if the server allows that."""
    attempts = (
        ["--depth=1", "--", source.url, commit],
        ["--depth=1", "--", source.url, source.revision],
        ["--", source.url, "+refs/heads/*:refs/remotes/source/*", "+refs/tags/*:refs/tags/*"],
    )
    complaint = ""
    for number, attempt in enumerate(attempts):
        step.update("fetch" if number < 2 else "fetch with history")
        result = capture(
            repository.argv("fetch", "--quiet", "--no-tags", *attempt),
            env=clean_environment(),
            timeout_s=6 * 3600,
        )
        complaint = complaint or result.complaint
        if result.returncode == 0 and repository.has(commit):
            repository.run("update-ref", "refs/heads/base", commit)
            return commit
    raise BuildError(
        f"commit {commit} cannot be fetched",
        where=describe_source(source),
        detail=complaint,
        hint="check that the repository still has it, and the network",
    )
