"""Random histories, and mailboxes made from them, for :mod:`tools.mailboxes`."""

from __future__ import annotations

import base64
import gzip
import itertools
import quopri
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Git = Callable[..., bytes]
Change = Callable[[Path, random.Random], None]

_FROM = re.compile(rb"^From [0-9a-f]{40} Mon Sep 17 00:00:00 2001$", re.MULTILINE)
_CTE = re.compile(rb"^Content-Transfer-Encoding:.*\n", re.MULTILINE)
_IDS = re.compile(
    rb"^(?:Message-ID|In-Reply-To|References):.*(?:\n[ \t].*)*", re.IGNORECASE | re.MULTILINE
)
_TYPE = re.compile(rb"^Content-Type:.*\n", re.MULTILINE)


@dataclass
class Box:
    """A mailbox for the harness, and the mails in it that are the patches."""

    mails: list[bytes]
    patches: list[bytes]
    traits: list[str] = field(default_factory=list)
    as_folder: bool = False
    packed: bool = False

    def write(self, folder: Path) -> None:
        """Write the mailbox, or a file per patch and a ``series`` file."""
        folder.mkdir(parents=True, exist_ok=True)
        pack = gzip.compress if self.packed else bytes
        if not self.as_folder:
            (folder / "mbox").write_bytes(pack(b"".join(self.mails)))
            return
        suffix = ".gz" if self.packed else ""
        names = [f"{number:04}-it's.patch{suffix}" for number in range(len(self.patches))]
        for name, mail in zip(names, self.patches, strict=True):
            (folder / name).write_bytes(pack(mail))
        (folder / "series").write_bytes(b"# \xe9\n" + "".join(f"{n}\n" for n in names).encode())


# --- histories -----------------------------------------------------------------------------


def make_base(tree: Path) -> None:
    """Write the files of the base commit."""
    for folder in ("kernel", "lib", "with space", "deep/er"):
        (tree / folder).mkdir(parents=True)
    lines = [f"line {n}\n" for n in range(60)]
    for name in ("kernel/a.c", "kernel/b.c", "lib/c.c", "with space/d e.txt", "deep/er/f"):
        (tree / name).write_text(name + "\n" + "".join(lines))
    (tree / "tool.sh").write_text("#!/bin/sh\n" + "".join(lines))
    (tree / "tool.sh").chmod(0o755)
    (tree / "blob").write_bytes(bytes(range(256)) * 8)
    (tree / "dos.txt").write_text("".join(lines), newline="\r\n")
    (tree / "latin").write_bytes("".join(f"zeile {n} für\n" for n in range(60)).encode("latin-1"))
    (tree / "utf").write_text("".join(f"Zeile {n} für €\n" for n in range(60)), encoding="utf-8")
    (tree / "short").write_text("no end of line")
    (tree / "empty").write_text("")
    (tree / "größe").write_text("".join(lines))
    (tree / 'quo"te\ttab').write_text("".join(lines))
    (tree / "link").symlink_to("kernel/a.c")


def _files(tree: Path) -> list[Path]:
    found = [path for path in sorted(tree.rglob("*")) if ".git" not in path.parts]
    return [path for path in found if path.is_file() and not path.is_symlink()]


_ODD_LINES = (
    b"-- ", b"---", b"From me to you", b">From here", b"--- a/kernel/a.c", b"+++ b/kernel/a.c",
    b"diff --git a/x b/x", b"@@ -1 +1 @@", b"=", b"=3D", b"a=20", b"  trailing   ", b"\ttab\t",
    b"form\x0cfeed", b"lone\rreturn", b"\xe2\x82\xac", b"\xfc", b"x" * 1500, b"- dash",
    b"Subject: x",     b"Index: x", b"-- >8 --", b".", b"", b" ", b"crlf\r",
)  # fmt: skip


def _edit(tree: Path, rng: random.Random) -> None:
    path = rng.choice(_files(tree))
    lines = path.read_bytes().split(b"\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines) + 1)
        text = rng.choice(_ODD_LINES) if rng.random() < 0.2 else b"new %d" % rng.randrange(999)
        lines[at : at + rng.randint(0, 2)] = [text] * rng.randint(0, 2)
    path.write_bytes(b"\n".join(lines))


def _add(tree: Path, rng: random.Random) -> None:
    content = rng.choice([b"", b"one\n", b"no end", b"dos\r\nends\r\n", b"\0\1\2" * 99, b"\xe9\n"])
    name = rng.choice(["n.c", "lib/n.c", "fresh/n.c", "sp ace", "ü", "from\ttab"])
    path = tree / f"{rng.randrange(99)}{name.replace('/', '_')}"
    if "fresh" in name:
        path = tree / "fresh" / str(rng.randrange(99))
        path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(rng.choice([0o644, 0o755]))


def _delete(tree: Path, rng: random.Random) -> None:
    rng.choice(_files(tree)).unlink()


def _rename(tree: Path, rng: random.Random) -> None:
    path = rng.choice(_files(tree))
    path.rename(tree / f"moved {rng.randrange(999)}")


def _rename_and_edit(tree: Path, rng: random.Random) -> None:
    path = rng.choice(_files(tree))
    path.write_bytes(path.read_bytes() + b"more\n")
    path.rename(tree / f"moved{rng.randrange(999)}.c")


def _copy(tree: Path, rng: random.Random) -> None:
    path = rng.choice(_files(tree))
    (tree / f"copy{rng.randrange(999)}").write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes() + b"copied\n")


def _mode(tree: Path, rng: random.Random) -> None:
    path = rng.choice(_files(tree))
    path.chmod(path.stat().st_mode ^ 0o111)


def _binary(tree: Path, rng: random.Random) -> None:
    (tree / "blob").write_bytes(rng.randbytes(rng.randint(0, 3000)))


def _link(tree: Path, rng: random.Random) -> None:
    path = tree / rng.choice(["link", "link2", "kernel/b.c"])
    path.unlink(missing_ok=True)
    path.symlink_to(rng.choice(["lib/c.c", "nowhere", "größe"]))


_CHANGES: tuple[Change, ...] = (
    _edit, _edit, _edit, _add, _add, _delete, _rename, _rename_and_edit, _copy, _mode, _binary,
    _link,
)  # fmt: skip

_SUBJECTS = (
    "kernel: change it", "größe: für €", "[foo] in brackets", "lib: " + "long " * 30, "Re: a reply",
    "x: y: z", "fix \x1b[31m colour", "PATCH 1/2 of the past", "a [b] c", "v2: better",
)  # fmt: skip
_BODIES = (
    "", "Why.\n", "From now on it works.\n", "Größe €.\n", "a\n---\nb\n", "> quoted\n", "x" * 1200,
    "-- >8 --\nScissors.\n", "A snippet:\n\n    diff --git a/x b/x\n    @@ -1 +1 @@\n",
    "From: Other <other@example.org>\n\nNot by me.\n", "=20 = =3D\n", "Subject: none\n\nx\n",
)  # fmt: skip


def add_history(git: Git, tree: Path, rng: random.Random) -> None:
    """Commit one to five random changes."""
    wanted = rng.randint(1, 5)
    for number in range(wanted):
        for _ in range(rng.randint(1, 3)):
            rng.choice(_CHANGES)(tree, rng)
        git("add", "--all", "--force", ".")
        message = f"{rng.choice(_SUBJECTS)} {number}\n\n{rng.choice(_BODIES)}"
        author = rng.choice(["A Developer", "Dév Eloper", "Last, First"])
        git("-c", "core.quotePath=false", "commit", "--quiet", "--allow-empty-message",
            "--cleanup=verbatim", f"--author={author} <dev@example.org>", "-m", message,
            "--allow-empty")  # fmt: skip


# --- mails ---------------------------------------------------------------------------------


_OPTIONS = (
    "-M", "-C", "--no-renames", "--full-index", "--attach", "--inline", "-U1", "-U0", "--no-prefix",
    "-D", "--signoff", "--no-signature", "--no-binary", "--encode-email-headers", "--no-stat",
)  # fmt: skip


def disguise(git: Git, base: str, history: str, rng: random.Random) -> Box:
    """Return a mailbox of a history, changed as in transit."""
    traits = [history]
    options = ["--stdout", "--binary"]
    options += [option for option in _OPTIONS if rng.random() < 0.05]
    options += ["--base=" + base] if rng.random() < 0.1 else []
    version = rng.choice([1, 1, 1, 2, 3])
    numbered = rng.random() < 0.8
    thread = rng.random() < 0.5
    options.append("--numbered" if numbered else "--no-numbered")
    options += [f"-v{version}"] if version > 1 else []
    options += [rng.choice(["--thread=shallow", "--thread=deep"])] if thread else []
    cover = numbered and rng.random() < 0.5
    options += ["--cover-letter"] if cover else []
    traits += options[1:]
    text = git("format-patch", *options, f"{base}..{history}")
    mails = _cut(text)
    covers, patches = (mails[:1], mails[1:]) if cover else ([], mails)
    patches = [_transform(mail, rng, traits) for mail in patches]
    box = Box([*covers, *patches], patches, traits)
    if not patches:
        return box
    if rng.random() < 0.15:
        traits.append("folder")
        box.as_folder = True
    else:
        _surround(git, base, history, box, rng, numbered=numbered, thread=thread, version=version)
    if rng.random() < 0.1:
        traits.append("gzip")
        box.packed = True
    return box


def _cut(text: bytes) -> list[bytes]:
    starts = [match.start() for match in _FROM.finditer(text)]
    return [text[a:b] for a, b in itertools.pairwise([*starts, len(text)])]


def _parts(mail: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a mail's From line, headers and body."""
    first, _, rest = mail.partition(b"\n")
    head, _, body = rest.partition(b"\n\n")
    return first + b"\n", head + b"\n", body


def _recode(mail: bytes, encoding: str, charset: str = "UTF-8", flowed: str = "") -> bytes:
    first, head, body = _parts(mail)
    if b"multipart/" in head:
        return mail
    head = _TYPE.sub(b"", _CTE.sub(b"", head)).replace(b"MIME-Version: 1.0\n", b"")
    if encoding == "base64":
        body = base64.encodebytes(body)
    elif encoding == "quoted-printable":
        body = quopri.encodestring(body)
    head += b"MIME-Version: 1.0\nContent-Type: text/plain; charset=%s%s\n" % (
        charset.encode(), flowed.encode()
    )  # fmt: skip
    head += b"Content-Transfer-Encoding: %s\n" % encoding.encode()
    return first + head + b"\n" + body + b"\n"


def _damaged(mail: bytes, rng: random.Random) -> bytes:
    first, head, body = _parts(mail)
    at = rng.randrange(len(body) + 1)
    return first + head + b"\n" + body[:at] + body[at + rng.randint(1, 60) :] + b"\n"


def _with_text(mail: bytes, text: bytes) -> bytes:
    """Return a mail with text at the start of its body."""
    first, head, body = _parts(mail)
    return first + head + b"\n" + text + body


def _with_headers(mail: bytes, headers: bytes) -> bytes:
    first, head, body = _parts(mail)
    return first + headers + head + b"\n" + body


def _flowed(mail: bytes, rng: random.Random) -> bytes:
    encoding = rng.choice(["8bit", "quoted-printable"])
    return _recode(
        mail, encoding, flowed=rng.choice(["; format=flowed", "; format=flowed; delsp=yes"])
    )


def _in_body(mail: bytes, pattern: bytes, by: bytes) -> bytes:
    first, head, body = _parts(mail)
    return first + head + b"\n" + re.sub(pattern, by, body)


_FOOTER = b"_______________________________________________\nlist mailing list\n\n"

#: How a mail is changed on its way, by name.
_TRANSFORMS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "as it is": lambda mail, _: mail,
    "base64": lambda mail, _: _recode(mail, "base64"),
    "quoted-printable": lambda mail, _: _recode(mail, "quoted-printable"),
    "8bit": lambda mail, _: _recode(mail, "8bit"),
    "crlf": lambda mail, _: mail.replace(b"\n", b"\r\n"),
    "qp crlf": lambda mail, _: _recode(mail, "quoted-printable").replace(b"\n", b"\r\n"),
    "base64 of crlf": lambda mail, _: _recode(mail.replace(b"\n", b"\r\n"), "base64"),
    "flowed": _flowed,
    "latin-1": lambda mail, _: _recode(mail, "8bit", charset="ISO-8859-1"),
    "odd charset": lambda mail, rng: _recode(
        mail, "8bit", charset=rng.choice(["x-unknown", "koi8-r", "utf-16"])
    ),
    "in-body": lambda mail, _: _with_text(
        mail, b"From: In Body <in@example.org>\nSubject: [PATCH] in\n\n"
    ),
    "scissors": lambda mail, _: _with_text(mail, b"Hello,\n\n-- >8 --\nSubject: x\n\n"),
    "greeting": lambda mail, _: _with_text(mail, b"From the list:\nDiff below.\n\n"),
    "no diffstat": lambda mail, _: re.sub(rb"(?m)^---\n(?: .*\n)*", b"---\n", mail, count=1),
    "more headers": lambda mail, _: _with_headers(
        mail, b"Received: from x\n\tby y\nX-Spam: no\nList-Id: <l.example.org>\n"
    ),
    "damaged": _damaged,
    "spaces lost": lambda mail, _: _in_body(mail, rb"(?m)[ \t]+$", b""),
    "list footer": lambda mail, _: mail + _FOOTER,
    "wrapped": lambda mail, _: _in_body(mail, rb"(?m)^(.{78})(.+)$", rb"\1\n\2"),
}


def _transform(mail: bytes, rng: random.Random, traits: list[str]) -> bytes:
    """Return a mail, sometimes changed as mail programs and people do."""
    kind = rng.choice(list(_TRANSFORMS)) if rng.random() < 0.3 else "as it is"
    traits.append(kind)
    return _TRANSFORMS[kind](mail, rng)


# --- other mails in a mailbox ----------------------------------------------------------------

_SUGGESTION = b"""How about this instead?

diff --git a/kernel/b.c b/kernel/b.c
--- a/kernel/b.c
+++ b/kernel/b.c
@@ -1,4 +1,4 @@
-kernel/b.c
+a reviewer's idea
 line 0
 line 1
 line 2
"""


def _mail(subject: bytes, body: bytes, answers: bytes = b"", who: bytes = b"rev") -> bytes:
    head = b"From %040d Mon Sep 17 00:00:00 2001\nFrom: R <%s@example.org>\n" % (0, who)
    head += b"Date: Tue, 2 Jan 2024 10:00:00 +0000\nSubject: " + subject + b"\n"
    if answers:
        head += b"In-Reply-To: " + answers + b"\nReferences: " + answers + b"\n"
    return head + b"\n" + body + b"\n\n"


def _id_of(mail: bytes) -> bytes:
    match = re.search(rb"(?mi)^Message-ID: (<[^>]+>)", mail)
    return match[1] if match else b""


def _subject_of(mail: bytes) -> bytes:
    match = re.search(rb"(?m)^Subject: (.*(?:\n[ \t].*)*)", mail.replace(b"\r\n", b"\n"))
    return match[1] if match else b"x"


def _surround(
    git: Git, base: str, history: str, box: Box, rng: random.Random, *, numbered: bool,
    thread: bool, version: int,
) -> None:  # fmt: skip
    """Add mails to a mailbox that must not be taken for its patches; in place."""
    every = box.mails
    if rng.random() < 0.3:
        target = rng.choice(every)
        reply = _mail(b"Re: " + _subject_of(target), _SUGGESTION, _id_of(target))
        every.insert(rng.randint(every.index(target) + 1, len(every)), reply)
        box.traits.append("reply with diff")
    if thread and rng.random() < 0.2:
        target = rng.choice(box.patches)
        answer = _mail(b"[PATCH] a suggestion", _SUGGESTION, _id_of(target))
        if _id_of(target):
            every.append(answer)
            box.traits.append("unnumbered answer")
    if rng.random() < 0.2:
        every.insert(rng.randint(0, len(every)), _mail(b"Re: hello", b"Looks good.\n"))
        box.traits.append("plain reply")
    _add_versions(git, f"{base}..{history}", box, rng, numbered=numbered, thread=thread,
                  version=version)  # fmt: skip
    unique = len({_id_of(mail) for mail in box.patches}) == len(box.patches)
    if thread and unique and rng.random() < 0.15:
        every.append(rng.choice(box.patches))
        box.traits.append("duplicate")
    if thread and numbered and unique and rng.random() < 0.2:
        rng.shuffle(every)
        box.traits.append("shuffled")
    if numbered and rng.random() < 0.15:
        _add_series(git, base, box, rng)


def _add_versions(
    git: Git, commits: str, box: Box, rng: random.Random, *, numbered: bool, thread: bool,
    version: int,
) -> None:  # fmt: skip
    """Add another version of the patches, or the same that was sent again; in place."""
    if numbered and version > 1 and rng.random() < 0.5:
        box.mails[:0] = _cut(git("format-patch", "--stdout", "--binary", "--numbered", commits))
        box.traits.append("older version")
    if numbered and thread and version == 1 and rng.random() < 0.2:
        _reroll(box, rng)
    elif (numbered or thread) and rng.random() < 0.15:
        first = [mail for mail in box.mails if mail in box.patches or b" 0/" in _subject_of(mail)]
        box.mails += [_sent_again(mail, rng) for mail in first]
        box.traits.append("sent again")


def _reroll(box: Box, rng: random.Random) -> None:
    """Make one patch the second version of another; in place."""
    at = rng.randrange(len(box.patches))
    wanted = box.patches[at]
    old_id = _id_of(wanted)
    if not old_id:
        return
    first, head, _ = _parts(wanted.replace(b"\r\n", b"\n"))
    head = _TYPE.sub(b"", _CTE.sub(b"", head))
    box.mails[box.mails.index(wanted)] = first + head + b"\n" + _SUGGESTION + b"\n"
    new = wanted.replace(old_id, b"<v2." + old_id[1:])
    new = re.sub(rb"(?m)^Subject: \[PATCH", b"Subject: [PATCH v2", new, count=1)
    box.patches[at] = _with_headers(new, b"In-Reply-To: " + old_id + b"\n")
    box.mails.append(box.patches[at])
    box.traits.append("partial reroll")


def _sent_again(mail: bytes, rng: random.Random) -> bytes:
    """Return a mail as if it were sent another time: it has other identifiers."""
    first, head, body = _parts(mail)
    head = _IDS.sub(lambda match: match[0].replace(b"<", b"<again."), head)
    if rng.random() < 0.5:
        head = head.replace(b"Subject: [PATCH", b"Subject: [PATCH RESEND", 1)
    return first + head + b"\n" + body


def _add_series(git: Git, base: str, box: Box, rng: random.Random) -> None:
    """Add another series, whose patches are applied after the others; in place."""
    names = git("for-each-ref", "--format=%(refname:short)", "refs/heads/h*").decode().split()
    options = ["--stdout", "--binary", "--numbered", f"-v{rng.randint(1, 3)}"]
    options += ["--cover-letter"] * rng.randint(0, 1)
    mails = _cut(git("format-patch", *options, f"{base}..{rng.choice(names)}"))
    mails = [
        re.sub(rb"(?m)^(Subject: \[PATCH[^\]]*\]) ", rb"\1 second: ", mail, count=1)
        for mail in mails
    ]
    box.mails += mails
    box.patches += mails[len(options) - 4 :]
    box.traits.append("two series")
