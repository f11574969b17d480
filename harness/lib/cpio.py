"""Reproducible archives for the kernel's initramfs: cpio in the ``newc`` format.

Owner and group are always root and times are 0, so that neither the user who packs an archive nor
the time shows in it.

libarchive is not used: with the library of Debian 12, its Python binding writes symbolic links as
hard links, and it would be one more library to install. The format is described in the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """An entry of an archive.

    :param path: without a leading slash.
    :param mode: type and permission bits, as in ``st_mode``.
    :param data: a file's content, or a symbolic link's target.
    :param device: major and minor number of a device node.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str, permissions: int = 0o755) -> Node:
    """Return a folder."""
    return Node(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Node:
    """Return a regular file."""
    return Node(path, stat.S_IFREG | permissions, data)


def link(path: str, target: str) -> Node:
    """Return a symbolic link."""
    return Node(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Node:
    """Return a character device; writing one into an archive needs no privileges."""
    return Node(path, stat.S_IFCHR | permissions, device=(major, minor))


def pack(nodes: Iterable[Node]) -> bytes:
    """Return the archive of ``nodes`` and of their parent folders, sorted by path.

    A path that is given twice keeps its last node. The length is a multiple of 512, so that
    archives can be joined: the kernel unpacks one after the other.
    """
    wanted: dict[str, Node] = {}
    for node in nodes:
        parts = node.path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            wanted.setdefault(parent, folder(parent))
        wanted[node.path] = node
    chunks = [_entry(number, wanted[path]) for number, path in enumerate(sorted(wanted), 1)]
    chunks.append(_entry(0, Node("TRAILER!!!", 0)))
    return _padded(b"".join(chunks), 512)


def _entry(inode: int, node: Node) -> bytes:
    name = node.path.encode() + b"\0"
    is_folder = stat.S_ISDIR(node.mode)
    fields = (
        inode,
        node.mode,
        0,  # owner
        0,  # group
        2 if is_folder else 1,  # links
        0,  # time
        len(node.data),
        0,  # device that holds the file
        0,
        *node.device,
        len(name),
        0,  # checksum, which only the ``crc`` format has
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name, 4) + _padded(node.data, 4)


def _padded(data: bytes, alignment: int) -> bytes:
    return data + b"\0" * (-len(data) % alignment)


def joined(first: bytes, second: bytes) -> bytes:
    """Join two archives, compressed or not, each aligned to 4 bytes as the kernel expects."""
    return first + b"\0" * (-len(first) % 4) + second
