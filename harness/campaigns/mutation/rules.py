"""The rules by which mutants are made: each gives changes of one kind, wherever it fits.

A change is meant to be what a programmer might have got wrong. What no program can notice is left
alone: tracing, logging and assertions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise

from harness.campaigns.mutation.syntax import Change, Part, called, parse, walk

#: Every rule, and what it does.
RULES: Mapping[str, str] = {
    "condition-negated": "a condition is negated",
    "condition-always": "a condition always holds",
    "condition-never": "a condition never holds",
    "term-dropped": "one side of &&, ||, & or | is left out",
    "operator": "another operator",
    "comparison": "a comparison is reversed",
    "boundary": "a comparison includes its boundary, or no longer does",
    "negation-dropped": "a ! , ~ or - is left out",
    "constant": "a constant is one more or one less",
    "mask": "a mask has one bit more or less",
    "boolean": "true for false, or false for true",
    "error-code": "another error code, exception or signal",
    "type-narrowed": "64 bits become 32",
    "statement-deleted": "a statement is left out",
    "jump-deleted": "a return, break, continue or goto is left out",
    "synchronisation-deleted": "a lock, barrier or end of interrupt is left out",
    "ordering-weakened": "an atomic or ordered access becomes a plain one",
    "initialiser-zeroed": "a variable begins with 0",
    "operands-swapped": "the operands of an operator change places",
    "arguments-swapped": "two arguments change places",
    "statements-swapped": "two statements change places",
}

#: Calls that nothing is changed in: no program can notice.
_UNSEEN = re.compile(
    r"trace_|qemu_log|qemu_fprintf|error_report|printk|pr_|dev_|WARN|BUG|BUILD_BUG|g_assert|assert|"
    r"static_assert|_Static_assert|lockdep_|MODULE_|EXPORT_|kasan_|kmemleak_|might_|QEMU_BUILD_BUG"
)
#: Parts of names by which calls that order or exclude are known.
_SYNCHRONISES = re.compile(
    r"(?:^|_)(?:lock|unlock|trylock|guard|barrier|mb|rmb|wmb|eoi|fence|synchronize)(?:_|$)",
    re.IGNORECASE,
)

_LOGICAL = {"&&": ("||",), "||": ("&&",)}
_ARITHMETIC = {
    "+": ("-",),
    "-": ("+",),
    "*": ("+",),
    "/": ("*",),
    "%": ("/",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&",),
    "^": ("|",),
}
_ASSIGNMENTS = {
    "|=": ("&=", "="),
    "&=": ("|=", "="),
    "^=": ("=",),
    "+=": ("-=", "="),
    "-=": ("+=", "="),
    "<<=": (">>=",),
    ">>=": ("<<=",),
}
_UPDATES = {"++": ("--",), "--": ("++",)}
_REVERSED = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_ONE_WAY = {"-", "/", "%", "<<", ">>"}

#: Each becomes the next one in its line.
_ERRORS = (
    ("EXCP0D_GPF", "EXCP06_ILLOP", "EXCP0E_PAGE", "EXCP0C_STACK", "EXCP07_PREX"),
    ("X86_TRAP_GP", "X86_TRAP_UD", "X86_TRAP_PF", "X86_TRAP_SS", "X86_TRAP_AC"),
    ("SIGSEGV", "SIGILL", "SIGBUS", "SIGTRAP"),
    ("SEGV_MAPERR", "SEGV_ACCERR"),
    ("EINVAL", "EFAULT", "EPERM", "ENOMEM", "EBUSY", "ENOSPC", "ENOENT", "EBADF", "EINTR"),
)
_NEXT_ERROR = {
    one: following
    for line in _ERRORS
    for one, following in zip(line, (*line[1:], line[0]), strict=True)
}

_NARROWER = {"uint64_t": "uint32_t", "int64_t": "int32_t", "u64": "u32", "s64": "s32"}

#: Calls by name, and what is written with their arguments instead.
_WEAKER = {
    "qatomic_and": "*({0}) &= ({1})",
    "qatomic_or": "*({0}) |= ({1})",
    "qatomic_load_acquire": "qatomic_read({0})",
    "qatomic_store_release": "qatomic_set({0}, {1})",
    "smp_load_acquire": "READ_ONCE(*({0}))",
    "smp_store_release": "WRITE_ONCE(*({0}), {1})",
    "READ_ONCE": "({0})",
    "set_bit": "__set_bit({0}, {1})",
    "clear_bit": "__clear_bit({0}, {1})",
    "test_and_set_bit": "__test_and_set_bit({0}, {1})",
    "test_and_clear_bit": "__test_and_clear_bit({0}, {1})",
    "array_index_nospec": "({0})",
    "rcu_dereference": "rcu_dereference_raw({0})",
}

_NUMBER = re.compile(rb"(0[xX][0-9a-fA-F]+|[1-9][0-9]*|0[0-7]*)([uUlL]*)")


def changes(source: bytes, lines: Collection[int]) -> Iterator[Change]:
    """Give each change that a rule makes in a C file, in the order of the file.

    :param lines: numbers of lines, counted from 1; what is on no such line is not looked at, and
        what is partly on one is.
    """

    def skip(part: Part) -> bool:
        rows = range(part.first_line, part.last_line + 1)
        return _is_left_alone(part) or not any(line in lines for line in rows)

    for part in walk(parse(source), skip):
        for rule in _BY_TYPE.get(part.node.type, ()):
            yield from rule(part)


def _is_left_alone(part: Part) -> bool:
    """Tell whether nothing is changed in a part of the tree."""
    parent = part.node.parent
    if parent and parent.type in {"preproc_if", "preproc_elif"}:
        condition = parent.child_by_field_name("condition")
        if condition and condition.start_byte == part.node.start_byte:
            return True
    return bool(_UNSEEN.match(called(part)))


# --- conditions -----------------------------------------------------------------------------


def _condition(part: Part) -> Iterator[Change]:
    condition = part.field("condition")
    if condition and condition.node.type == "parenthesized_expression":
        inner = condition.children()
        condition = inner[0] if inner else None
    if condition is None or _UNSEEN.match(called(condition)):
        return
    yield condition.change("condition-negated", b"!(" + condition.text + b")")
    if part.node.type in {"if_statement", "conditional_expression"}:
        yield condition.change("condition-always", b"1")
    yield condition.change("condition-never", b"0")


def _binary(part: Part) -> Iterator[Change]:
    left, operator, right = (part.field(name) for name in ("left", "operator", "right"))
    if left is None or operator is None or right is None:
        return
    word = operator.text.decode()
    for other in (*_LOGICAL.get(word, ()), *_ARITHMETIC.get(word, ())):
        yield operator.change("operator", other.encode())
    if word in {"&&", "||", "&", "|"}:
        yield part.change("term-dropped", left.text)
        yield part.change("term-dropped", right.text)
    if word in _REVERSED:
        yield operator.change("comparison", _REVERSED[word].encode())
    if word in _BOUNDARIES:
        yield operator.change("boundary", _BOUNDARIES[word].encode())
    if word in _ONE_WAY:
        yield part.change("operands-swapped", right.text + b" " + operator.text + b" " + left.text)


def _assignment(part: Part) -> Iterator[Change]:
    operator = part.field("operator")
    for other in _ASSIGNMENTS.get(operator.text.decode(), ()) if operator else ():
        assert operator is not None
        yield operator.change("operator", other.encode())


def _update(part: Part) -> Iterator[Change]:
    operator = part.field("operator")
    for other in _UPDATES.get(operator.text.decode(), ()) if operator else ():
        assert operator is not None
        yield operator.change("operator", other.encode())


def _unary(part: Part) -> Iterator[Change]:
    argument = part.field("argument")
    if argument and part.node.child(0):
        yield part.change("negation-dropped", argument.text)


# --- constants ------------------------------------------------------------------------------


def _number(part: Part) -> Iterator[Change]:
    found = _NUMBER.fullmatch(part.text)
    if not found:
        return
    digits, suffix = found.groups()
    value = int(digits, 8 if re.fullmatch(rb"0[0-7]+", digits) else 0)
    form = b"0x%x%b" if digits[:2].lower() == b"0x" else b"%d%b"
    yield part.change("constant", form % (value + 1, suffix))
    if value:
        yield part.change("constant", form % (value - 1, suffix))
    if digits[:2].lower() == b"0x" and value:
        lowest, highest = value & -value, 1 << (value.bit_length() - 1)
        for mask in sorted({value ^ lowest, value ^ highest, value | highest << 1}):
            if mask < 1 << 64:
                yield part.change("mask", form % (mask, suffix))
    if suffix.lower() in {b"ull", b"ul"}:
        yield part.change("type-narrowed", digits)


def _boolean(part: Part) -> Iterator[Change]:
    yield part.change("boolean", b"false" if part.text == b"true" else b"true")


def _identifier(part: Part) -> Iterator[Change]:
    name = part.text.decode()
    parent = part.node.parent
    if name in _NEXT_ERROR:
        yield part.change("error-code", _NEXT_ERROR[name].encode())
    elif re.fullmatch(r"E[A-Z0-9]{3,}", name) and parent and parent.type == "unary_expression":
        yield part.change("error-code", b"EINVAL")


def _type(part: Part) -> Iterator[Change]:
    kind = part.field("type")
    narrower = _NARROWER.get(kind.text.decode()) if kind else None
    if kind and narrower:
        yield kind.change("type-narrowed", narrower.encode())


# --- statements -----------------------------------------------------------------------------


def _statement(part: Part) -> Iterator[Change]:
    inner = part.children()
    if not inner:
        return
    name = called(inner[0])
    if _UNSEEN.match(name):
        return
    rule = "synchronisation-deleted" if _SYNCHRONISES.search(name) else "statement-deleted"
    yield part.change(rule, b";")


def _jump(part: Part) -> Iterator[Change]:
    yield part.change("jump-deleted", b";")


def _initialiser(part: Part) -> Iterator[Change]:
    value = part.field("value")
    if value and value.node.type not in {"number_literal", "initializer_list", "string_literal"}:
        yield value.change("initialiser-zeroed", b"0")


def _call(part: Part) -> Iterator[Change]:
    listed = part.field("arguments")
    arguments = listed.children() if listed else []
    template = _WEAKER.get(called(part))
    texts = [one.text.decode() for one in arguments]
    if template and len(texts) > template.count("{") - 1:
        yield part.change("ordering-weakened", template.format(*texts).encode())
    for first, second in pairwise(arguments):
        yield _exchange("arguments-swapped", first, second, part)


def _order(part: Part) -> Iterator[Change]:
    """Exchange neighbours: what is done with each other, and with what is checked."""
    children = part.children()
    for first, second in pairwise(children):
        kinds = {first.node.type, second.node.type}
        if kinds in ({"expression_statement"}, {"expression_statement", "if_statement"}):
            yield _exchange("statements-swapped", first, second, part)


def _exchange(rule: str, first: Part, second: Part, around: Part) -> Change:
    offset = around.start
    between = around.text[first.end - offset : second.start - offset]
    return Change(rule, first.start, second.end, second.text + between + first.text)


_BY_TYPE: Mapping[str, tuple[Callable[[Part], Iterator[Change]], ...]] = {
    "if_statement": (_condition,),
    "while_statement": (_condition,),
    "do_statement": (_condition,),
    "for_statement": (_condition,),
    "conditional_expression": (_condition,),
    "binary_expression": (_binary,),
    "assignment_expression": (_assignment,),
    "update_expression": (_update,),
    "unary_expression": (_unary,),
    "number_literal": (_number,),
    "true": (_boolean,),
    "false": (_boolean,),
    "identifier": (_identifier,),
    "type_descriptor": (_type,),
    "declaration": (_type,),
    "expression_statement": (_statement,),
    "return_statement": (_jump,),
    "break_statement": (_jump,),
    "continue_statement": (_jump,),
    "goto_statement": (_jump,),
    "init_declarator": (_initialiser,),
    "call_expression": (_call,),
    "compound_statement": (_order,),
    "case_statement": (_order,),
}
