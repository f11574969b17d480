"""Random histories of a small tree, for :mod:`tools.mailboxes`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Git = Callable[..., bytes]
Change = Callable[[Path, random.Random], None]


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
