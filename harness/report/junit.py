"""``junit.xml``: a suite for each cell, a test case for each KTAP case.

Cases that do not apply to a cell are no test cases. A property of the suite has their number.

pytest's own ``--junitxml`` has a test case for each item. A program with forty cases would be one
test case, and a killed run would have no file. So this file is made from the records, also later by
``uintr-harness report``.
"""

from __future__ import annotations

import codecs
import os
import re
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, assert_never
from xml.etree import ElementTree as ET

from harness.lib.text import clean
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    ProgramRecord,
    Record,
    SplatRecord,
)

#: Characters that are not allowed in XML 1.0.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
KERNEL_LOG = "(kernel log)"
GUEST = "(guest)"
RUN = "(run)"
_PLURAL = {"failure": "failures", "error": "errors", "skipped": "skipped"}
_COUNTS = ("tests", *_PLURAL.values())
#: Bytes that are copied at a time.
_CHUNK = 1 << 20


def render_junit(
    records: Iterable[Record], cells: Iterable[str] = (), unexplained: str = ""
) -> Iterator[str]:
    """Yield the file's text in parts.

    The test cases are in a temporary file until all are counted, so that memory does not grow with
    their number.

    :param cells: cells to list even if they have no records.
    :param unexplained: why the run is not passed, if no record explains it; added as an error.
    """
    with tempfile.TemporaryFile() as spool:
        suites = {name: _Suite(name, spool) for name in cells}
        for record in records:
            suite = suites.get(record.cell)
            if suite is None:
                suite = suites[record.cell] = _Suite(record.cell, spool)
            suite.add(record)
        every = [*suites.values(), *([_run(unexplained, spool)] if unexplained else ())]
        counts = {name: str(sum(one.counts[name] for one in every)) for name in _COUNTS}
        yield '<?xml version="1.0" encoding="utf-8"?>\n'
        yield _begin("testsuites", {"name": "uintr-harness", **counts}, 0)
        for suite in every:
            yield from suite.text()
        yield "</testsuites>\n"


class _Suite:
    """A cell's suite, whose test cases are in a file that all suites share."""

    def __init__(self, name: str, spool: IO[bytes]) -> None:
        self.name = name
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._seconds = 0.0
        self._properties: dict[str, str] = {}
        #: Number of cases that do not apply to the cell, by what it lacks.
        self._elsewhere: Counter[str] = Counter()
        self._spool = spool
        #: Begin and end of each piece in the file.
        self._pieces = array("Q")

    def add(self, record: Record) -> None:
        """Add a record, if it is shown."""
        match record:
            case CaseRecord() if record.lacks:
                self._seconds += record.seconds
                if record.attempt == 1:
                    self._elsewhere[record.lacks] += 1
            case CaseRecord():
                self._seconds += record.seconds
                self.put(_case(record))
            case SplatRecord():
                self.put(_splat(record))
            case GuestFailureRecord():
                self.put(_guest_failure(record))
            case BootRecord():
                if not record.restored:
                    self._properties = _properties(record)
            case ProgramRecord() | LatencyRecord():
                pass
            case _:
                assert_never(record)

    def put(self, case: ET.Element) -> None:
        """Add a test case, and count it."""
        self.counts["tests"] += 1
        for verdict in case:
            self.counts[_PLURAL[verdict.tag]] += 1
        begin = self._spool.seek(0, os.SEEK_END)
        self._spool.write(_indented(case, 2).encode())
        end = self._spool.tell()
        if self._pieces and self._pieces[-1] == begin:
            self._pieces[-1] = end
        else:
            self._pieces.extend((begin, end))

    def text(self) -> Iterator[str]:
        """Yield the suite's text in parts."""
        counts = {name: str(number) for name, number in self.counts.items()}
        about = {"name": _plain(self.name), **counts, "time": f"{self._seconds:.3f}"}
        yield _begin("testsuite", about, 1)
        lacks = {f"not_for_cell.{need}": str(many) for need, many in self._elsewhere.items()}
        if properties := self._properties | lacks:
            table = ET.Element("properties")
            for key, value in properties.items():
                ET.SubElement(table, "property", name=_plain(key), value=_plain(value))
            yield _indented(table, 2)
        for begin, end in zip(self._pieces[::2], self._pieces[1::2], strict=True):
            reader = codecs.getincrementaldecoder("utf-8")()
            self._spool.seek(begin)
            for left in range(end - begin, 0, -_CHUNK):
                yield reader.decode(self._spool.read(min(_CHUNK, left)), final=left <= _CHUNK)
        yield "  </testsuite>\n"


def _begin(tag: str, attributes: Mapping[str, str], level: int) -> str:
    """Return the start tag of an element with others in it."""
    text = ET.tostring(ET.Element(tag, dict(attributes)), "unicode", short_empty_elements=False)
    return f"{'  ' * level}{text.removesuffix(f'</{tag}>')}\n"


def _indented(element: ET.Element, level: int) -> str:
    ET.indent(element, level=level)
    return f"{'  ' * level}{ET.tostring(element, 'unicode')}\n"


def _run(why: str, spool: IO[bytes]) -> _Suite:
    suite = _Suite(RUN, spool)
    case = _testcase("run", "run", RUN)
    _verdict(case, "error", why, "")
    suite.put(case)
    return suite


def _properties(record: BootRecord) -> dict[str, str]:
    return {
        "kernel": record.kernel,
        "kernel_release": record.release,
        "cpu": record.cpu,
        "smp": str(record.smp),
        "cc": record.cc,
        "accel": record.accel,
        "boot_s": f"{record.boot_s:.2f}",
    }


def _case(record: CaseRecord) -> ET.Element:
    name = record.case if record.attempt == 1 else f"{record.case} #{record.attempt}"
    case = _testcase(record.cell, record.program, name, record.seconds)
    if record.status == "fail":
        _verdict(case, "failure", record.message or "not ok", record.diagnostics)
    elif record.status == "skip":
        _verdict(case, "skipped", record.message, "")
    return case


def _splat(record: SplatRecord) -> ET.Element:
    case = _testcase(record.cell, record.program or GUEST, KERNEL_LOG)
    if record.excused:
        _verdict(case, "skipped", f"known: {record.title}: {record.excused}", "")
    else:
        _verdict(case, "failure", record.title, record.excerpt)
    return case


def _guest_failure(record: GuestFailureRecord) -> ET.Element:
    case = _testcase(record.cell, record.program or GUEST, GUEST)
    phase = f" in phase {record.phase}" if record.phase else ""
    _verdict(case, "error", f"{record.verdict}{phase}: {record.message}", record.console_tail)
    return case


def _testcase(cell: str, program: str, name: str, seconds: float = 0.0) -> ET.Element:
    # Viewers split class names at dots. A kernel's version must not be split.
    return ET.Element(
        "testcase",
        classname=_plain(f"{cell.replace('.', '_')}.{program.replace('/', '.')}"),
        name=_plain(name),
        time=f"{seconds:.3f}",
    )


def _verdict(case: ET.Element, tag: str, message: str, text: str) -> None:
    ET.SubElement(case, tag, message=_plain(message)).text = _plain(text)


def _plain(text: str) -> str:
    return _ILLEGAL.sub(lambda found: f"\\x{ord(found[0]):02x}", clean(text))
