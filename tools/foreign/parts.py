"""What strangers hand over, and the code of the harness that reads it."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from harness import cli, paths
from harness.artefacts.source.series import fetch_series, subject_of, touched_files
from harness.artefacts.store import Store
from harness.campaigns.bare_fuzz.campaign import read_finding
from harness.campaigns.fuzz.generate import generate as generate_script
from harness.campaigns.fuzz.script import read_script
from harness.errors import ExitCode, HarnessError
from harness.guest import counted
from harness.guest.alarm import Alarm
from harness.guest.limits import CopyLimitError
from harness.guest.transport.console import Console
from harness.lib.text import clean, clean_line
from harness.progress import Silent
from harness.results.folder import RunFolder
from harness.results.ktap.reader import KtapReader
from harness.results.ktap.selftest import SelftestReader
from harness.results.latency import read_folder
from harness.values import FolderSeries, MboxSeries
from tools.prefixes import generate

#: A word that a defect of the harness prints.
DEFECT = "this is a defect of the harness"
#: Seconds that a command, or else a case, may take.
LIMIT_S = 60


class Part(NamedTuple):
    """A kind of input.

    :param make: writes right files into a folder.
    :param read: reads the changed files of it, in a folder where nothing may appear, and yields
        complaints.
    :param changed: patterns of the files that are changed.
    """

    make: Callable[[Path, Random], None]
    read: Callable[[Path], Iterator[str]]
    changed: tuple[str, ...] = ("**/*",)


def command(*argv: str) -> Iterator[str]:
    """Run a command of the harness, and yield complaints on how it ends and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(LIMIT_S)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.invoke(list(argv))
    name = f"{' '.join(argv)[:80]}: "
    if code not in set(ExitCode):
        yield f"{name}exit code {code}"
    if DEFECT in err.getvalue():
        yield name + err.getvalue()[:600]
    if code and not err.getvalue() and not out.getvalue():
        yield f"{name}exit code {code} without a word"
    for text in (out.getvalue(), err.getvalue()):
        if text != clean(text):
            yield f"{name}a control character is printed"


# --- profiles --------------------------------------------------------------------------------


def _profiles(folder: Path, chance: Random) -> None:
    for kind in ("kernels", "cpus", "emulators"):
        found = sorted((paths.ROOT / "kernel-config" / kind).glob("*.toml"))
        shutil.copy(chance.choice(found), folder / f"{kind}.toml")


def _read_profiles(folder: Path) -> Iterator[str]:
    yield from command("plan", "--kernel", str(folder / "kernels.toml"))
    yield from command("plan", "--cpu", str(folder / "cpus.toml"), "--format", "github")
    yield from command("plan", "--qemu", str(folder / "emulators.toml"), "--format", "json")


# --- runs ------------------------------------------------------------------------------------


def runs_like(given: Sequence[Path]) -> Part:
    """Return the part of runs' folders: generated ones, or copies of those that are given."""

    def make(folder: Path, chance: Random) -> None:
        if given and chance.random() < 0.5:
            shutil.copytree(chance.choice(given), folder / "run", symlinks=True)
        else:
            generate(folder / "run", chance)
        shutil.copytree(folder / "run", folder / "good", symlinks=True)

    return Part(make, _read_runs, ("run/*", "run/**/*"))


def _read_runs(folder: Path) -> Iterator[str]:
    run, good = str(folder / "run"), str(folder / "good")
    for argv in (
        *(["report", *form, run] for form in ([], ["--markdown"], ["--mail"], ["--kcidb", "x"])),
        *(["compare", *form, good, run] for form in ([], ["--json"], ["--markdown"])),
        ["compare", run, good],
        ["contract", run],
        ["contract", "--json", run],
    ):
        yield from command(*argv)
    results = folder / "run" / "results.jsonl"
    same = results.read_bytes() == (folder / "good" / "results.jsonl").read_bytes()
    info = (folder / "run" / "run.json").read_bytes()
    if not same and info == (folder / "good" / "run.json").read_bytes():
        with contextlib.suppress(HarnessError):
            if RunFolder(folder / "run").read_ending().state == "ended":
                yield "results that are not those of the seal count as ended"


# --- mails -----------------------------------------------------------------------------------


def _mails(folder: Path, chance: Random) -> None:
    series = paths.PATCHES / "linux-6.12"
    found = sorted(series.glob("*.patch"), key=lambda path: path.stat().st_size)[:6]
    some = chance.sample(found, 3)
    (folder / "mbox").write_bytes(b"\n".join(path.read_bytes() for path in some))
    (folder / "quilt").mkdir()
    for path in some:
        shutil.copy(path, folder / "quilt")
    text = "".join(f"{path.name}\n" for path in some)
    (folder / "quilt" / "series").write_text(text)


def _read_mails(folder: Path) -> Iterator[str]:
    yield from command("plan", "--series", str(folder / "mbox"))
    yield from command("plan", "--series", str(folder / "quilt"))
    store = Store(folder / "store")
    for series in (MboxSeries(path=folder / "mbox"), FolderSeries(path=folder / "quilt")):
        with contextlib.suppress(HarnessError):
            patches = fetch_series(series, store, Silent())
            for path in touched_files(patches):
                if path.startswith("/") or ".." in Path(path).parts:
                    yield f"a patch changes {path[:80]!r}"
            for patch in patches:
                subject_of(patch)


# --- what a guest says -----------------------------------------------------------------------


def _guest(folder: Path, chance: Random) -> None:
    logs = sorted((paths.ROOT / "tests/unit/guest/golden").glob("*.log"))
    shutil.copy(chance.choice(logs), folder / "console.log")
    ktap = sorted((paths.ROOT / "tests/unit/results/ktap").glob("*.ktap"))
    shutil.copy(chance.choice(ktap), folder / "out.ktap")


def _read_guest(folder: Path) -> Iterator[str]:
    data = (folder / "out.ktap").read_bytes()
    readers: tuple[KtapReader | SelftestReader, ...] = (KtapReader(), SelftestReader())
    for reader in readers:
        results = [*_listed(reader.feed(data)), *_listed(reader.close(0, reason="end"))]
        for one in results:
            case = str(getattr(one, "case", ""))
            if case != clean_line(case):
                yield f"the name of a case has a control character: {case[:80]!r}"
    alarm = Alarm()
    console = Console(folder / "seen.log", alarm)
    console.feed((folder / "console.log").read_bytes())
    for splat in console.splats():
        if splat.title != clean_line(splat.title) or len(splat.title) > 1000:
            yield f"the title of a splat: {splat.title[:80]!r}"
    console.close()
    alarm.close()


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


# --- archives and samples --------------------------------------------------------------------


def _archives(folder: Path, chance: Random) -> None:
    samples = struct.pack("<64Q", *(chance.randrange(10**6) for _ in range(64)))
    with tarfile.open(folder / "rest.tar", "w") as tar:
        for name, content in (
            ("status", b"0\n"),
            ("stderr", b"text\n"),
            ("samples/uintr.ping-pong.ns.u64", samples),
            ("samples/../../canary", b"x"),
            ("samples/pipe.sender.ns.u64", samples),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (folder / "samples").mkdir()
    for mode in ("ping-pong", "one-way"):
        (folder / "samples" / f"uintr.{mode}.ns.u64").write_bytes(samples)
    (folder / "samples" / "spin").write_text("bare\n")


def _read_archives(folder: Path) -> Iterator[str]:
    with contextlib.suppress(CopyLimitError):
        counted._unpack(folder / "rest.tar", folder / "unpacked")
    for samples in ("unpacked", "samples"):
        found = read_folder(folder / samples, cell="c", program="p", run=folder)
        for one in found.records:
            if not one.min <= one.p50 <= one.max:
                yield f"percentiles out of order: {one}"


# --- findings --------------------------------------------------------------------------------


def _findings(folder: Path, chance: Random) -> None:
    found = sorted((paths.ROOT / "tests").rglob("sequences/*.json"))
    shutil.copy(chance.choice(found), folder / "finding-1.json")
    (folder / "one.script").write_text(generate_script(1, chance.randrange(1000)).text())


def _read_findings(folder: Path) -> Iterator[str]:
    with contextlib.suppress(HarnessError):
        read_finding(folder / "finding-1.json")
    with contextlib.suppress(HarnessError):
        read_script(folder / "one.script")
    yield from ()


PARTS = {
    "profiles": Part(_profiles, _read_profiles),
    "runs": runs_like(()),
    "mails": Part(_mails, _read_mails),
    "guest": Part(_guest, _read_guest),
    "archives": Part(_archives, _read_archives),
    "findings": Part(_findings, _read_findings),
}
