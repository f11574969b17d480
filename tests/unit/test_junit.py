from __future__ import annotations

from xml.etree import ElementTree as ET

from harness.report.junit import render_junit
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    SplatRecord,
)

NAME = "linux-6.12-hidden-smp1-gcc"


def test_a_suite_per_cell_and_a_case_per_case() -> None:
    text = render_junit(
        [
            BootRecord(
                cell=NAME, kernel="linux-6.12", cpu="hidden", smp=1, cc="gcc", accel="tcg", boot_s=5
            ),
            CaseRecord(cell=NAME, program="api/a", case="ok", status="pass", seconds=0.5),
            CaseRecord(
                cell=NAME,
                program="api/a",
                case="b<",
                status="fail",
                message="\x1b[1m",
                diagnostics="x",
            ),
            CaseRecord(cell=NAME, program="api/a", case="c", status="skip", message="why"),
            SplatRecord(cell=NAME, kind="warn", title="WARNING", program="api/a"),
            SplatRecord(cell=NAME, kind="warn", title="old", excused="known"),
            GuestFailureRecord(cell=NAME, verdict="panic", phase="ready", message="m"),
        ],
        [NAME, "never-ran"],
    )
    root = ET.fromstring("".join(text))
    counts = {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "2", "errors": "1", "skipped": "2"}
    suite, empty = root
    assert empty.get("tests") == "0"
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["accel"] == "tcg"
    first, bad, *_ = suite.findall("testcase")
    assert first.get("classname") == "linux-6_12-hidden-smp1-gcc.api.a"
    failure = bad.find("failure")
    assert failure is not None
    assert (bad.get("name"), failure.get("message"), failure.text) == ("b<", "\\x1b[1m", "x")


def test_runs_of_a_repeated_program_are_told_apart() -> None:
    records = [
        CaseRecord(cell=NAME, program="api/a", case="x", status=status, attempt=number)
        for number, status in ((1, "pass"), (2, "fail"))
    ]
    root = ET.fromstring("".join(render_junit(records)))
    assert [case.get("name") for case in root.iter("testcase")] == ["x", "x #2"]
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
