"""Text of any length of which only the first and the last part are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

#: Characters kept of the first lines of a record's diagnostics, and of the last ones.
HALF = 8 << 10
#: Characters kept of a line, and of a message.
MAX_LINE, MAX_MESSAGE = 4 << 10, 2 << 10


class Lines:
    """Lines of text, the first and the last of which are kept.

    :param half: characters kept of the first lines, and of the last ones.
    """

    def __init__(self, half: int = HALF) -> None:
        self._half = half
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_room = half
        self._tail_size = 0
        self._dropped = 0

    def append(self, line: str) -> None:
        """Add a line."""
        line = cut(line, MAX_LINE)
        size = len(line) + 1
        if not self._tail and not self._dropped and size <= self._head_room:
            self._head_room -= size
            self._head.append(line)
            return
        self._tail.append(line)
        self._tail_size += size
        while self._tail_size > self._half and len(self._tail) > 1:
            self._tail_size -= len(self._tail.popleft()) + 1
            self._dropped += 1

    def extend(self, lines: Iterable[str]) -> None:
        """Add several lines."""
        for line in lines:
            self.append(line)

    def __iter__(self) -> Iterator[str]:
        yield from self._head
        if self._dropped:
            yield f"[ {self._dropped} lines left out; the program's output file has more ]"
        yield from self._tail

    def __bool__(self) -> bool:
        return bool(self._head or self._tail)


def cut(text: str, most: int) -> str:
    """Return the text, or its first ``most`` characters and how many were left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]} [ {len(text) - most} characters left out ]"


class LineCutter:
    """A splitter of bytes into lines that cuts long lines, so that memory stays bounded.

    :param most: bytes of a line that are kept.
    """

    def __init__(self, most: int = 4 * MAX_LINE) -> None:
        self._most = most
        self._partial = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that ``data`` completes, without their ends."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            yield self.rest()
            start = end + 1
        self._add(data[start:])

    def rest(self) -> bytes:
        """Return the unfinished line, and start a new one."""
        line = bytes(self._partial)
        if self._dropped:
            line += b" [ %d bytes left out ]" % self._dropped
        self._partial.clear()
        self._dropped = 0
        return line

    def _add(self, data: bytes) -> None:
        room = self._most - len(self._partial)
        self._partial += data[:room]
        self._dropped += max(0, len(data) - room)
