from __future__ import annotations

import pytest

from harness.report.figures import quantity, ratio, seconds


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "ns", "0 ns"),
        (850, "ns", "850 ns"),
        (999.6, "ns", "1.00 µs"),
        (1000, "ns", "1.00 µs"),
        (12_345, "ns", "12.3 µs"),
        (123_456, "ns", "123 µs"),
        (999_999, "ns", "1.00 ms"),
        (4_560_000, "ns", "4.56 ms"),
        (2_000_000_000, "ns", "2.00 s"),
        (2**64 - 1, "ns", "18446744074 s"),
        (7, "insn", "7 insn"),
        (12_345, "insn", "12,345 insn"),
        (4_560_001, "insn", "4,560,001 insn"),
        (5, "furlong", "5 furlong"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "base", "text"),
    [
        (5, 5, "1.00x"),
        (12, 5, "2.40x"),
        (150, 10, "15.0x"),
        (1500, 10, "150x"),
        (5, 0, "-"),
        (5, None, "-"),
        (0, 5, "-"),
    ],
)
def test_ratio(value: float, base: float | None, text: str) -> None:
    assert ratio(value, base) == text
