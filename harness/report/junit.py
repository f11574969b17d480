"""``junit.xml``: a suite for each cell, a test case for each KTAP case.

pytest's own ``--junitxml`` has a test case for each item. A program with forty cases would be one
test case, and a killed run would have no file. So this file is made from the records, also later by
``uintr-harness report``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    Record,
    SplatRecord,
)

#: Characters that are not allowed in XML 1.0.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
KERNEL_LOG = "(kernel log)"
GUEST = "(guest)"
RUN = "(run)"


def render_junit(
    records: Sequence[Record], cells: Iterable[str] = (), unexplained: str = ""
) -> str:
    """Return the file's text.

    :param cells: cells to list even if they have no records.
    :param unexplained: why the run is not passed, if no record explains it; added as an error.
    """
    names = dict.fromkeys([*cells, *(record.cell for record in records)])
    root = ET.Element("testsuites", name="uintr-harness")
    for name in names:
        _suite(root, name, [record for record in records if record.cell == name])
    if unexplained:
        _run(root, unexplained)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _suite(root: ET.Element, name: str, records: Sequence[Record]) -> None:
    suite = ET.SubElement(root, "testsuite", name=_plain(name))
    properties = _properties(records)
    if properties:
        table = ET.SubElement(suite, "properties")
        for key, value in properties.items():
            ET.SubElement(table, "property", name=key, value=_plain(value))
    for record in records:
        if isinstance(record, CaseRecord):
            _case(suite, record)
        elif isinstance(record, SplatRecord):
            _splat(suite, record)
        elif isinstance(record, GuestFailureRecord):
            _guest_failure(suite, record)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")


def _run(root: ET.Element, why: str) -> None:
    suite = ET.SubElement(
        root, "testsuite", name=RUN, tests="1", failures="0", errors="1", skipped="0", time="0.000"
    )
    _verdict(_testcase(suite, "run", "run", RUN), "error", why, "")


def _properties(records: Sequence[Record]) -> dict[str, str]:
    """Return the cell's properties, from the last boot."""
    found: dict[str, str] = {}
    for record in records:
        if isinstance(record, BootRecord) and not record.restored:
            found = {
                "kernel": record.kernel,
                "kernel_release": record.release,
                "cpu": record.cpu,
                "smp": str(record.smp),
                "cc": record.cc,
                "accel": record.accel,
                "boot_s": f"{record.boot_s:.2f}",
            }
    return found


def _case(suite: ET.Element, record: CaseRecord) -> None:
    name = record.case if record.attempt == 1 else f"{record.case} #{record.attempt}"
    case = _testcase(suite, record.cell, record.program, name, record.seconds)
    if record.status == "fail":
        _verdict(case, "failure", record.message or "not ok", record.diagnostics)
    elif record.status == "skip":
        _verdict(case, "skipped", record.message, "")


def _splat(suite: ET.Element, record: SplatRecord) -> None:
    case = _testcase(suite, record.cell, record.program or GUEST, KERNEL_LOG)
    if record.excused:
        _verdict(case, "skipped", f"known: {record.title}: {record.excused}", "")
    else:
        _verdict(case, "failure", record.title, record.excerpt)


def _guest_failure(suite: ET.Element, record: GuestFailureRecord) -> None:
    case = _testcase(suite, record.cell, record.program or GUEST, GUEST)
    phase = f" in phase {record.phase}" if record.phase else ""
    _verdict(case, "error", f"{record.verdict}{phase}: {record.message}", record.console_tail)


def _testcase(
    suite: ET.Element, cell: str, program: str, name: str, seconds: float = 0.0
) -> ET.Element:
    # Viewers split class names at dots. A kernel's version must not be split.
    return ET.SubElement(
        suite,
        "testcase",
        classname=_plain(f"{cell.replace('.', '_')}.{program.replace('/', '.')}"),
        name=_plain(name),
        time=f"{seconds:.3f}",
    )


def _verdict(case: ET.Element, tag: str, message: str, text: str) -> None:
    ET.SubElement(case, tag, message=_plain(message)).text = _plain(text)


def _plain(text: str) -> str:
    return _ILLEGAL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
