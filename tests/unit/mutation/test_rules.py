"""The rules: what each makes of a piece of C, and what they leave alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.campaigns.mutation.rules import RULES, changes
from harness.campaigns.mutation.syntax import Change

EVERY = range(1, 1000)


def made(source: str, *, of: str = "", lines: range = EVERY) -> list[tuple[str, str]]:
    """Return the rule and what is written instead, of each change or of those of a rule."""
    found = changes(source.encode(), lines)
    return [(one.rule, one.new.decode()) for one in found if of in {"", one.rule}]


def texts(source: str, rule: str, *, lines: range = EVERY) -> list[str]:
    """Return the source as each change of a rule leaves it."""
    given = source.encode()
    return [one.apply(given).decode() for one in changes(given, lines) if one.rule == rule]


def body(*statements: str) -> str:
    return "void f(int a, int b)\n{\n" + "".join(f"\t{one}\n" for one in statements) + "}\n"


@pytest.mark.parametrize(
    ("statement", "rule", "expected"),
    [
        ("if (a) g();", "condition-negated", ["if (!(a)) g();"]),
        ("if (a) g();", "condition-always", ["if (1) g();"]),
        ("if (a) g();", "condition-never", ["if (0) g();"]),
        ("while (a) g();", "condition-always", []),
        ("while (a) g();", "condition-never", ["while (0) g();"]),
        ("for (; a < b; ) g();", "condition-never", ["for (; 0; ) g();"]),
        ("b = a ? 2 : b;", "condition-negated", ["b = !(a) ? 2 : b;"]),
        ("g(a && b);", "term-dropped", ["g(a);", "g(b);"]),
        ("g(a && b);", "operator", ["g(a || b);"]),
        ("g(a | b);", "term-dropped", ["g(a);", "g(b);"]),
        ("a &= b;", "operator", ["a |= b;", "a = b;"]),
        ("a++;", "operator", ["a--;"]),
        ("g(a << b);", "operator", ["g(a >> b);"]),
        ("g(a << b);", "operands-swapped", ["g(b << a);"]),
        ("g(a + b);", "operands-swapped", []),
        ("g(a == b);", "comparison", ["g(a != b);"]),
        ("g(a == b);", "boundary", []),
        ("g(a < b);", "comparison", ["g(a >= b);"]),
        ("g(a < b);", "boundary", ["g(a <= b);"]),
        ("g(!a, ~b);", "negation-dropped", ["g(a, ~b);", "g(!a, b);"]),
        ("g(63);", "constant", ["g(64);", "g(62);"]),
        ("g(0);", "constant", ["g(1);"]),
        ("g(010);", "constant", ["g(9);", "g(7);"]),
        ("g(0x14U);", "mask", ["g(0x4U);", "g(0x10U);", "g(0x34U);"]),
        ("g(20);", "mask", []),
        ("g(1ULL << a);", "type-narrowed", ["g(1 << a);"]),
        ("g((u64)a);", "type-narrowed", ["g((u32)a);"]),
        ("uint64_t c = a;", "type-narrowed", ["uint32_t c = a;"]),
        ("g(true);", "boolean", ["g(false);"]),
        ("return -EINVAL;", "error-code", ["return -EFAULT;"]),
        ("return -ENODEV;", "error-code", ["return -EINVAL;"]),
        ("g(ENODEV);", "error-code", []),
        ("raise(EXCP0D_GPF, 0);", "error-code", ["raise(EXCP06_ILLOP, 0);"]),
        ("g(a);", "statement-deleted", [";"]),
        ("return a;", "jump-deleted", [";"]),
        ("mutex_unlock(&a);", "synchronisation-deleted", [";"]),
        ("guard(mutex)(&a);", "synchronisation-deleted", [";"]),
        ("apic_eoi();", "synchronisation-deleted", [";"]),
        ("smp_mb();", "synchronisation-deleted", [";"]),
        ("block(a);", "synchronisation-deleted", []),
        ("smp_store_release(&a, b);", "ordering-weakened", ["WRITE_ONCE(*(&a), b);"]),
        ("qatomic_and(p, ~b);", "ordering-weakened", ["*(p) &= (~b);"]),
        ("int c = g(a);", "initialiser-zeroed", ["int c = 0;"]),
        ("int c = 3;", "initialiser-zeroed", []),
        ("g(a, b, 0);", "arguments-swapped", ["g(b, a, 0);", "g(a, 0, b);"]),
    ],
)
def test_a_rule_makes_what_it_says(statement: str, rule: str, expected: list[str]) -> None:
    assert texts(body(statement), rule) == [body(one) for one in expected]


def test_statements_change_places_with_each_other_and_with_checks() -> None:
    source = body("g(a);", "if (b)", "\treturn;", "h(b);", "int c = 1;")
    first, second = texts(source, "statements-swapped")
    assert first == body("if (b)", "\t\treturn;", "g(a);", "h(b);", "int c = 1;").replace(
        "\t\t\treturn", "\t\treturn"
    )
    assert second == body("g(a);", "h(b);", "if (b)", "\treturn;", "int c = 1;")


@pytest.mark.parametrize(
    "statement",
    [
        'trace_sent(a, 1 + b, "x");',
        "g_assert(a == 3);",
        "if (WARN_ON_ONCE(a)) ;",
        "/* if (a) return 3; */",
        '#include "a-1.h"',
        "#if 3 < 4\n#endif",
        "#if 3 < 4\n\ttrace_sent(3);\n#elif 5 < 4\n#endif",
    ],
)
def test_what_no_program_can_notice_is_left_alone(statement: str) -> None:
    assert made(body(statement)) == []


def test_the_text_of_a_macro_is_changed_too() -> None:
    source = "#define MASK\t(1ULL << 3)\t/* 4 bits */\n#define TYPE unsigned int\n"
    assert ("operator", ">>") in made(source)
    assert texts(source, "constant")[0] == source.replace("1ULL", "2ULL")
    long = "int x;\n#define LONG(a)\tg(a, \\\n\t\t   3)\nint y;\n"
    assert texts(long, "constant") == [long.replace("3)", "4)"), long.replace("3)", "2)")]


def test_only_lines_that_are_asked_for_are_looked_at() -> None:
    source = body("g(3);", "g(5);")
    assert made(source, of="constant", lines=range(4, 5)) == [("constant", "6"), ("constant", "4")]


def test_the_lines_behind_a_change_keep_their_numbers() -> None:
    source = b"a(b,\n  c);\nd();\n"
    assert Change("x", 0, 10, b";").apply(source) == b";\n\nd();\n"
    macro = b"#define A b, \\\n c\nd();\n"
    assert Change("x", 10, 17, b"c").apply(macro) == b"#define A c \\\n\nd();\n"


def test_what_a_rule_makes_of_a_program_is_still_c(tmp_path: Path) -> None:
    source = body(
        "int c = a & ~0x30;",
        "if (a < b && !c)",
        "\tb += a - 1;",
        "while (b--)",
        "\tc |= a << 2;",
        "h(c, b);",
        "h(a, c);",
    )
    whole = "void h(int, int);\n" + source
    found = list(changes(whole.encode(), EVERY))
    assert len({one.rule for one in found}) > 9
    for one in found:
        path = tmp_path / "a.c"
        path.write_bytes(one.apply(whole.encode()))
        argv = ["cc", "-fsyntax-only", "-w", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, (one, done.stderr)


def test_every_rule_is_described() -> None:
    source = Path(changes.__code__.co_filename).read_text()
    used = {rule for rule in RULES if source.count(f'"{rule}"') > 1}
    assert used == set(RULES)
