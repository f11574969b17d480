"""Import of a tarball into git: streamed member by member to ``git fast-import``.

A kernel tree has ninety thousand files. Unpacking them, adding them to git and deleting them took
minutes; this takes half a minute.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from harness.artefacts.source.git import COMMITTER, Repository, own_environment
from harness.errors import BuildError
from harness.lib.process import bound, disk_full, says_disk_full
from harness.progress import Step

#: Members between two progress reports.
_REPORT_EVERY = 500


def import_tar(archive: Path, repository: Repository, message: str, step: Step) -> str:
    """Commit a tarball's content to a repository, and return the commit.

    If the tarball has a single folder at its top, as kernel tarballs have, paths begin below it.

    :raise BuildError: the archive is damaged, or git refuses its content.
    """
    total = archive.stat().st_size
    argv = bound(repository.argv("fast-import", "--quiet", "--depth=0", "--done"))
    process = subprocess.Popen(
        argv,
        env=own_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # it starts no process, so its death signal is enough
    assert process.stdin is not None
    assert process.stderr is not None
    broken: Exception | None = None
    with process:
        try:
            with archive.open("rb") as raw, suppress(BrokenPipeError):
                for number, chunk in enumerate(_commands(raw, message)):
                    process.stdin.write(chunk)
                    if number % _REPORT_EVERY == 0:
                        step.update("record in git, %", done=100 * raw.tell() / total, total=100)
        except (tarfile.TarError, EOFError, OSError) as error:
            broken = error
            process.kill()
        with suppress(BrokenPipeError):
            process.stdin.close()
        complaint = process.stderr.read().decode(errors="replace")
    if isinstance(broken, OSError) and broken.errno is not None:
        raise broken
    if broken:
        raise BuildError(f"the tarball is damaged: {broken}", where=archive)
    if process.returncode != 0:
        if says_disk_full(complaint):
            raise disk_full(repository.git_dir)
        raise BuildError("git cannot take the tarball in", where=archive, detail=complaint)
    return _without_top(repository, message)


def _commands(raw: IO[bytes], message: str) -> Iterator[bytes]:
    """Yield fast-import's commands for a tarball; the format is in git-fast-import(1)."""
    text = message.encode()
    yield b"commit refs/heads/tar\ncommitter %s\n" % COMMITTER.encode()
    yield b"data %d\n%s\n" % (len(text), text)
    with tarfile.open(fileobj=raw, mode="r|*") as archive:
        for member in archive:
            path = _quoted(member.name)
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                mode = b"100755" if member.mode & 0o100 else b"100644"
                yield b"M %s inline %s\ndata %d\n" % (mode, path, member.size)
                yield content.read() + b"\n"
            elif member.issym():
                target = member.linkname.encode(errors="surrogateescape")
                yield b"M 120000 inline %s\ndata %d\n%s\n" % (path, len(target), target)
            elif member.islnk():
                yield b"C %s %s\n" % (_quoted(member.linkname), path)
    yield b"\ndone\n"


def _quoted(name: str) -> bytes:
    raw = name.removeprefix("./").encode(errors="surrogateescape")
    escaped = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"%s"' % escaped


def _without_top(repository: Repository, message: str) -> str:
    """Return a commit of the tarball's single top folder, or of all of it if there is none."""
    entries = repository.run("ls-tree", "refs/heads/tar").splitlines()
    tree = repository.tree_of("refs/heads/tar")
    if len(entries) == 1 and entries[0].split()[1] == "tree":
        tree = entries[0].split()[2]
    commit = repository.commit(tree, message)
    repository.run("update-ref", "refs/heads/base", commit)
    repository.run("update-ref", "-d", "refs/heads/tar")
    return commit
