"""Numbers as text."""

from __future__ import annotations

_NS = (("ns", 1), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000))


def quantity(value: float, unit: str) -> str:
    """Return a duration with three significant digits, or an instruction count with all digits.

    :param unit: ``ns`` or ``insn``; any other unit is appended to the number.
    """
    if unit == "ns":
        return _scaled(value, _NS)
    if unit == "insn":
        return f"{value:,.0f} insn"
    return f"{value:g} {unit}"


def _scaled(value: float, scale: tuple[tuple[str, int], ...]) -> str:
    name, factor = scale[0]
    for name, factor in reversed(scale):  # noqa: B007  # used after the loop
        if value >= factor * 0.9995:
            break
    number = value / factor
    digits = 0 if factor == 1 or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {name}"


def seconds(value: float) -> str:
    """Return seconds as text: ``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def ratio(value: float, base: float | None) -> str:
    """Return the ratio of a value to ``base``; a dash if one of them is missing or not positive."""
    if not base or value <= 0:
        return "-"
    times = value / base
    if times < 0.0995:
        return f"{float(f'{times:.2g}'):f}".rstrip("0") + "x"
    return (
        f"{times:.2f}x" if times < 9.995 else f"{times:.1f}x" if times < 99.95 else f"{times:.0f}x"
    )


def times(value: float) -> str:
    """Return a factor with three significant digits: ``0.65x``, ``12.3x``, ``158x``."""
    return ratio(value, 1.0)


def span(low: float, high: float, unit: str) -> str:
    """Return an interval. If both ends have the same unit, it is shown once: ``33.1…39.9 µs``."""
    first, last = quantity(low, unit), quantity(high, unit)
    number, _, scale = first.partition(" ")
    return f"{number}…{last}" if last.endswith(f" {scale}") else f"{first}…{last}"
