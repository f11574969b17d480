"""Compare the reading of random mailboxes with git's: ``python -m tools.mailboxes``.

Each case is a mailbox (or a folder of patches) made from a random history by ``git format-patch``,
and changed as mail programs, lists and people change mails: encodings, line ends, threads, replies
with diffs, cover letters, older versions. The generator knows which mails are the patches.
``git am`` gets those alone, in order; the harness gets everything. Both must produce the same tree,
or both must refuse, and the harness must name the files that each patch changes and leave nothing
in the working directory. A seed and a number reproduce a case.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from harness.artefacts.source.git import Repository, own_environment
from harness.artefacts.source.patch import changes, has_diff, open_patch
from harness.artefacts.source.series import apply_series, fetch_series
from harness.artefacts.store import Store
from harness.errors import HarnessError
from harness.progress import Silent
from harness.values import FolderSeries, MboxSeries
from tools.histories import add_history, make_base
from tools.mails import Box, disguise
from tools.scratch import scratch, workers

#: Cases after which a new repository is made, so that a memory file system does not fill up.
BATCH = 100
#: Histories in a repository; each case takes one of them.
HISTORIES = 12


class Bench:
    """A repository with random histories, a work tree for ``git am``, and a store."""

    def __init__(self, folder: Path, rng: random.Random, histories: int) -> None:
        self.folder = folder
        self.work, self.empty = folder / "work", folder / "empty"
        for path in (self.work, self.empty):
            path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        for name in ("core.autocrlf", "gc.auto", "core.fsync"):
            self.git("config", name, {"gc.auto": "0", "core.fsync": "none"}.get(name, "false"))
        make_base(self.work)
        self.git("add", "--all", "--force", ".")
        self.git("commit", "--quiet", "--message", "base")
        self.base = self.git("rev-parse", "HEAD").decode().strip()
        self.histories = []
        for number in range(histories):
            self.git("checkout", "--quiet", "-B", f"h{number}", self.base)
            add_history(self.git, self.work, rng)
            self.histories.append(f"h{number}")
        self.git("checkout", "--quiet", "--detach", self.base)
        self.store = Store(folder / "store")
        #: The last output of ``git am``.
        self.complaint = ""
        #: A patch whose files the harness names wrongly.
        self.misread = ""

    def git(self, *args: str) -> bytes:
        """Run git in the work tree and return its output."""
        return self.try_(*args, check=True).stdout

    def try_(self, *args: str, check: bool = False) -> subprocess.CompletedProcess[bytes]:
        """Run git in the work tree."""
        return subprocess.run(
            ["git", *args],
            cwd=self.work,
            env=own_environment(),
            capture_output=True,
            check=check,
            stdin=subprocess.DEVNULL,
        )

    def am(self, mails: Sequence[bytes], *options: str) -> str | None:
        """Return the tree that ``git am`` produces from mails, or None if it refuses."""
        mbox = self.folder / "am.mbox"
        mbox.write_bytes(b"".join(mails))
        done = self.try_("am", "--quiet", *options, str(mbox))
        tree = self.git("rev-parse", "HEAD^{tree}").decode().strip()
        self._drop_session()
        self.git("reset", "--quiet", "--hard", self.base)
        if done.returncode:
            self.git("clean", "-ffdxq")
        self.complaint = (done.stdout + done.stderr).decode(errors="replace")[:500]
        return tree if done.returncode == 0 else None

    def _drop_session(self) -> None:
        """Remove what ``git am`` leaves when it refuses a mail, or dies of one."""
        shutil.rmtree(self.work / ".git/rebase-apply", ignore_errors=True)
        (self.work / ".git/index.lock").unlink(missing_ok=True)

    def am_each(self, box: Box) -> str | None:
        """Return the tree that ``git am`` produces if it may apply each mail with other options."""
        keep = ["--keep-cr"] if box.as_folder else []
        mbox = self.folder / "am.mbox"
        taken = True
        for mail in box.patches:
            # The CRs come from saving the file if each line ends in one, or the diff's first does.
            first = mail.partition(b"\ndiff --git ")[2].partition(b"\n")[0]
            throughout = mail.count(b"\r\n") == mail.count(b"\n")
            saved = box.as_folder and (throughout or first.endswith(b"\r"))
            mbox.write_bytes(mail.replace(b"\r\n", b"\n") if saved else mail)
            for options in ((), ("--quoted-cr=strip",), ("--3way",)):
                taken = self.try_("am", "--quiet", *keep, *options, str(mbox)).returncode == 0
                if taken:
                    break
                self._drop_session()
                self.git("reset", "--quiet", "--hard")
                self.git("clean", "-ffdxq")
            if not taken:
                break
        tree = self.git("rev-parse", "HEAD^{tree}").decode().strip()
        self.git("reset", "--quiet", "--hard", self.base)
        return tree if taken else None

    def can_be_checked_out(self, tree: str) -> bool:
        """Tell whether a tree can be checked out; an index accepts an empty link, too."""
        done = self.try_("read-tree", "--reset", "-u", tree)
        self.git("reset", "--quiet", "--hard", self.base)
        self.git("clean", "-ffdxq")
        return done.returncode == 0

    def ours(self, box: Box) -> tuple[str | None, str]:
        """Return the tree that the harness produces from a mailbox, or None and its error."""
        given = self.folder / "given"
        shutil.rmtree(given, ignore_errors=True)
        open_patch.cache_clear()
        has_diff.cache_clear()
        box.write(given)
        series = FolderSeries(path=given) if box.as_folder else MboxSeries(path=given / "mbox")
        repository = Repository(self.work / ".git")
        self.misread = ""
        try:
            patches = fetch_series(series, self.store, Silent())
            commit = apply_series(repository, self.base, patches, "base", Silent())
        except HarnessError as error:
            return None, str(error)
        for patch, (kept, removes) in zip(patches, self._changes(commit), strict=True):
            found = changes(patch)
            # Of two series that make the same change the second changes nothing.
            several = "two series" in box.traits
            same = kept <= set(found.kept) if several else kept == set(found.kept)
            # Of a damaged deletion it says that it changes the file /dev/null.
            if not same or (found.removes < removes and "damaged" not in box.traits):
                self.misread = f"{patch.name} changes {sorted(kept)}, not {sorted(found.kept)}"
        return repository.tree_of(commit), ""

    def _changes(self, commit: str) -> Iterator[tuple[set[str], bool]]:
        """Return, by commit, the files that it changes and keeps, and whether it removes one."""
        options = ("--reverse", "--format=%x01", "-z", "--name-status", "--no-renames")
        log = self.git("log", *options, f"{self.base}..{commit}")
        for part in log.split(b"\1")[1:]:
            words = [os.fsdecode(word) for word in part.split(b"\0") if word.strip(b"\n")]
            changed = dict(zip(words[1::2], words[::2], strict=True))
            kept = {name for name, status in changed.items() if status.strip("\n") != "D"}
            yield kept, len(kept) < len(changed)

    def check(self, box: Box) -> tuple[str, str]:
        """Return how a case ended, and the fault in it, or an empty text."""
        wanted = self.am(box.patches)
        said = self.complaint
        with contextlib.chdir(self.empty):
            got, complaint = self.ours(box)
        if left := [path.name for path in self.empty.iterdir()]:
            shutil.rmtree(self.empty)
            self.empty.mkdir()
            return "written", f"the harness leaves {left[0]!r} in the working directory"
        if self.misread:
            return "misread", self.misread
        if got is None and wanted is None:
            return "both refuse", ""
        if got == wanted:
            return "same tree", ""
        if got is None:
            return "refused", f"git am takes it, the harness does not: {complaint}"
        # The harness does more than git am by default: in a folder CRs are kept, as in quilt, and a
        # patch that fails is tried again without the CRs of an encoded mail, then merged.
        if got == self.am_each(box):
            return "same tree, by options", ""
        if wanted is None and not self.can_be_checked_out(got):
            return "both refuse, one at the check-out", ""
        if wanted is None:
            return "applied", f"git am refuses it, the harness does not: {said}"
        return "different", f"git am makes {wanted}, the harness {got}"


def memory_folder() -> Path | None:
    """Return a folder in memory, if there is one and no other was chosen."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and "TMPDIR" not in os.environ else None


def check_range(
    seed: int, first: int, count: int, keep: Path | None = None, histories: int = HISTORIES
) -> tuple[Counter[str], list[str]]:
    """Check cases of one batch by number; return counts of how they ended, and the faults."""
    ends: Counter[str] = Counter()
    faults = []
    batch = first // BATCH
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), random.Random(f"{seed}/{batch}"), histories)
        for number in range(first, first + count):
            rng = random.Random(f"{seed}/{batch}/{number}")
            box = disguise(bench.git, bench.base, rng.choice(bench.histories), rng)
            try:
                end, fault = bench.check(box)
            except Exception:
                end, fault = "exception", traceback.format_exc()
            ends[end] += 1
            if fault:
                faults.append(f"seed {seed}, case {number}: {', '.join(box.traits)}: {fault}")
                if keep:
                    box.write(keep / f"{seed}-{number}")
    return ends, faults


def _batches(first: int, count: int) -> Iterator[tuple[int, int]]:
    """Cut a range of cases at the borders of batches."""
    end = first + count
    while first < end:
        size = min(end, (first // BATCH + 1) * BATCH) - first
        yield first, size
        first += size


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=1000, help="cases (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--first", type=int, default=0, help="number of the first case")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options.add_argument("--keep", type=Path, help="folder for the mailboxes that are wrong")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Check mailboxes; return 1 if one is read differently from git."""
    args = parser().parse_args(argv)
    ends: Counter[str] = Counter()
    wrong = 0
    # Each patch needs scratch files, which take as long as git if they are on a disk.
    with (
        scratch("mailboxes", memory_folder()) as folder,
        workers(args.jobs, folder) as pool,
    ):
        parts = [
            pool.submit(check_range, args.seed, first, count, args.keep)
            for first, count in _batches(args.first, args.count)
        ]
        for part in as_completed(parts):
            found, faults = part.result()
            ends += found
            wrong += len(faults)
            print(*faults, f"{ends.total()} of {args.count}", sep="\n", flush=True)
    print(", ".join(f"{end}: {count}" for end, count in sorted(ends.items())))
    print(f"{wrong} of {args.count} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
