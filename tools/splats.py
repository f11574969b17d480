#!/usr/bin/env python3
"""Check the rules for kernel reports against console logs and against a kernel tree.

``python -m tools.splats DIR`` scans each log of a folder and compares what it finds with the
expectation in the log's head. ``--tree DIR`` lists the messages of a kernel tree, KERN_EMERG to
KERN_ERR, that match no rule and are not listed as benign in ``tools/splats-benign.toml``.
``--describe LOG...`` prints the head for a log from what the scanner finds; check it against the
log.

A head consists of lines at the start of the log::

    # source: provoked, 7.3.4 with KASAN
    # kind: kasan
    # title: KASAN: slab-use-after-free Read in f
    # frames: f|caller
    # corrupted: no

``kind`` begins the next report, so that a log may have several. In a log with a head and no
``kind``, no report may be found. ``frames`` has the first frames, as many as are compared.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splat_rules import RULES, Rule
from harness.guest.verdict.splats import scan
from tools.splat_formats import Message, messages

_HEAD = re.compile(rb"# (source|kind|title|frames|corrupted): ?(.*)")

#: Stamps of programs that keep the kernel's log: ``dmesg -T``, and journald's ``short``,
#: ``short-precise`` and ``short-iso``, which are syslog's, too.
_KEPT = re.compile(
    rb"(?:\[\w{3} \w{3} +\d{1,2} [\d:]{8} \d{4}\]"
    rb"|(?:\w{3} +\d{1,2} [\d:.]{8,15}|\d{4}-\d\d-\d\dT[\d:.,+Z-]{8,24}) \S{1,64} kernel:) "
)


@dataclass(frozen=True)
class Expected:
    """A report that must be found in a log."""

    kind: str
    title: str | None = None
    frames: tuple[str, ...] = ()
    corrupted: bool = False

    def missing(self, splat: Splat) -> str | None:
        """Return how ``splat`` differs from the expectation, or None."""
        found = frames_of(splat)[: len(self.frames)]
        pairs = (
            ("kind", self.kind, splat.kind),
            ("title", self.title or splat.title, splat.title),
            ("frames", "|".join(self.frames), "|".join(found)),
            ("corrupted", str(self.corrupted), str(splat.corrupted)),
        )
        wrong = [f"{name}: {want!r}, not {have!r}" for name, want, have in pairs if want != have]
        return "; ".join(wrong) or None


@dataclass(frozen=True)
class Log:
    """A console log and its expected reports, None if it has no head."""

    path: Path
    lines: tuple[bytes, ...]
    expected: tuple[Expected, ...] | None


def frames_of(splat: Splat) -> tuple[str, ...]:
    """Return the frames in a report's fingerprint."""
    frames = splat.fingerprint.partition(":")[2]
    return () if frames == splat.line else tuple(frames.split("|"))


def read_log(path: Path) -> Log:
    """Read a log and its head."""
    lines = path.read_bytes().split(b"\n")
    reports: list[dict[str, str]] = []
    count = 0
    for line in lines:
        found = _HEAD.fullmatch(line)
        if found is None:
            break
        count += 1
        name, value = found[1].decode(), found[2].decode(errors="replace")
        if name == "kind":
            reports.append({})
        if name != "source" and reports:
            reports[-1][name] = value
    expected = tuple(
        Expected(
            kind=report["kind"],
            title=report.get("title"),
            frames=tuple(filter(None, report.get("frames", "").split("|"))),
            corrupted=report.get("corrupted", "no") == "yes",
        )
        for report in reports
    )
    text = tuple(_KEPT.sub(b"", line, count=1) for line in lines[count:])
    return Log(path, text, expected if count else None)


def head_of(splats: tuple[Splat, ...], source: str) -> str:
    """Return the head of a log with these reports."""
    text = f"# source: {source}\n"
    for splat in splats:
        text += f"# kind: {splat.kind}\n# title: {splat.title}\n"
        text += f"# frames: {'|'.join(frames_of(splat)[:2])}\n"
        text += f"# corrupted: {'yes' if splat.corrupted else 'no'}\n"
    return text


def check_folder(folder: Path) -> int:
    """Print missed, false and wrongly named reports of a folder's logs; return the exit code."""
    missed = false = wrong = reports = bare = logs = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        log = read_log(path)
        splats = scan(log.lines)
        logs += 1
        if log.expected is None:
            bare += 1
            print(f"{path}: no head: {', '.join(splat.title for splat in splats) or 'nothing'}")
            continue
        reports += len(log.expected)
        missed += max(0, len(log.expected) - len(splats))
        false += max(0, len(splats) - len(log.expected))
        if len(splats) != len(log.expected):
            titles = ", ".join(splat.title for splat in splats) or "nothing"
            print(f"{path}: {len(log.expected)} expected, found: {titles}")
        for want, have in zip(log.expected, splats, strict=False):
            if difference := want.missing(have):
                wrong += 1
                print(f"{path}: line {have.first_line}: {difference}")
    print(f"{logs} logs, {reports} reports: {missed} missed, {false} false, {wrong} named wrongly")
    if bare:
        print(f"{bare} logs have no head and are not counted")
    return 1 if missed or false or wrong else 0


# --- format strings of a tree ---------------------------------------------------------------

_CONVERSION = re.compile(
    r"%(?:%|p[A-Za-z]{0,3}|[-+ #0]*(?:\*|(\d+))?(?:\.(?:\*|\d+))?[hlzjt]{0,2}([a-zA-Z]))"
)
_SAMPLES = {"c": "c", "d": "7", "i": "7", "u": "7", "x": "1f", "X": "1F", "o": "7"}
_WORDS = ("word", "a b-C", "")


_SPEAKS = re.compile(r"(?:%s: ?)?(?:BUG|PANIC|INFO: )")
BENIGN = Path(__file__).with_name("splats-benign.toml")


@dataclass(frozen=True)
class Benign:
    """Messages that need no rule."""

    why: str
    files: re.Pattern[str]
    messages: tuple[re.Pattern[str], ...]

    def holds(self, message: Message) -> bool:
        """Tell whether a message is one of these.

        A group of whole files does not hold a message that says that it is a bug.
        """
        if not self.files.fullmatch(message.file):
            return False
        texts = (message.text, message.printed)
        if not self.messages:
            return not any(_SPEAKS.match(text) for text in texts)
        return any(one.search(text) for one in self.messages for text in texts)


def read_benign(path: Path = BENIGN) -> tuple[Benign, ...]:
    """Read the file of messages that are no reports, or part of one."""
    groups = tomllib.loads(path.read_text(encoding="utf-8"))["group"]
    return tuple(
        Benign(
            why=group["why"],
            files=re.compile(group["files"]),
            messages=tuple(map(re.compile, group.get("messages", ()))),
        )
        for group in groups
    )


def unknown_messages(tree: Path) -> Iterator[Message]:
    """Yield each message of ``tree`` that matches no rule."""
    return (message for message in messages(tree) if not _known(message.printed))


def _known(printed: str) -> bool:
    """Tell whether a line made from a format string begins a report.

    ``%s`` is tried with a word, with several, and empty.
    """
    return any(
        rule.match(line.encode())
        for words in _WORDS
        for line in _sample(printed, {**_SAMPLES, "s": words}).splitlines()
        for rule in _naming(RULES)
    )


def _sample(message: str, words: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[0] == "%p":
            return f"{1:016x}"
        text = words.get(found[2] or "", "f+0x1/0x2")
        return text.zfill(int(found[1] or 0)) if found[2] in {"x", "X"} else text

    sample = _CONVERSION.sub(value, message)
    return sample.replace("\\n", "\n").replace('\\"', '"').strip()


def _naming(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """Yield the rules that match a text of their own."""
    return (rule for rule in rules if rule.key)


def list_tree(tree: Path) -> int:
    """Print the messages of a tree that match no rule and are not benign; return the exit code."""
    benign = read_benign()
    counts: Counter[str] = Counter()
    for one in unknown_messages(tree):
        why = next((group.why for group in benign if group.holds(one)), "")
        counts[why] += 1
        if not why:
            print(f"{one.file}:{one.line}: {one.printed}")
    for why, count in counts.most_common():
        print(f"{count:5} {why or 'not looked at'}")
    return 1 if counts[""] else 0


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("logs", nargs="*", type=Path, help="a folder of logs, or logs to describe")
    options.add_argument("--tree", type=Path, help="a kernel tree whose messages are to be known")
    options.add_argument("--describe", action="store_true", help="print the head of each log")
    return options


def main(argv: list[str]) -> int:
    """Run the tool; return its exit code."""
    options = parser().parse_args(argv)
    if options.tree is not None:
        if not (options.tree / "Kbuild").is_file():
            parser().error(f"not a kernel tree: {options.tree}")
        return list_tree(options.tree)
    if not options.logs:
        parser().error("name a folder of logs, or a tree with --tree")
    if options.describe:
        for path in options.logs:
            print(f"{path}\n{head_of(scan(read_log(path).lines), 'unknown')}")
        return 0
    for folder in options.logs:
        if not folder.is_dir():
            parser().error(f"not a folder: {folder}")
    return max(check_folder(folder) for folder in options.logs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
