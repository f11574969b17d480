"""Mailboxes made from random histories, for :mod:`tools.mailboxes`."""

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

from tools.histories import Git

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
