"""Kinds of source trees, and the files by which they are recognised."""

from __future__ import annotations

from typing import NamedTuple


class TreeKind(NamedTuple):
    """A kind of tree."""

    name: str
    #: Files at the top by which it is recognised.
    top: tuple[str, ...]


KERNEL_TREE = TreeKind("kernel tree", ("Makefile", "Kconfig"))
QEMU_TREE = TreeKind("QEMU tree", ("configure", "meson.build"))
