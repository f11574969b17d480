"""The format strings of a kernel's source that print an error.

A message is what a line of the console looks like, so far as the source shows it: with the prefix
of ``pr_fmt()``, of a macro such as ``FW_BUG``, and of a function or macro that prints what its
caller passes, such as ``slab_err()``. Headers are read for macros that print, and assembly for the
strings that it passes to ``printk()``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

#: Code that reports faults of the kernel itself.
REPORTING = (
    *("kernel/locking", "kernel/rcu", "kernel/kcsan", "kernel/irq", "kernel/sched", "kernel/time"),
    *("kernel/panic.c", "kernel/exit.c", "kernel/fork.c", "kernel/hung_task.c", "kernel/smp.c"),
    *("kernel/softirq.c", "kernel/watchdog.c", "kernel/workqueue.c", "init/main.c", "fs/sysfs"),
    *("lib/bug.c", "lib/debugobjects.c", "lib/kobject.c", "lib/list_debug.c", "lib/refcount.c"),
    *("lib/smp_processor_id.c", "lib/ubsan.c", "lib/string_helpers.c", "mm/kasan", "mm/kfence"),
    *("lib/maple_tree.c", "lib/percpu-refcount.c", "kernel/cfi.c", "mm/kmsan", "mm/kmemleak.c"),
    *("mm/memory.c", "mm/page_alloc.c", "mm/debug.c", "mm/slub.c", "mm/slab.c", "mm/slab.h"),
    *("mm/slab_common.c", "mm/usercopy.c", "mm/pgtable-generic.c", "mm/vmalloc.c", "mm/percpu.c"),
    *("mm/swapfile.c", "mm/rmap.c", "mm/mmap.c", "mm/filemap.c", "mm/debug_vm_pgtable.c"),
    *("arch/x86/kernel", "arch/x86/mm", "arch/x86/entry", "arch/x86/include/asm"),
    *("include/asm-generic", "include/linux"),
)
#: Folders that are read without those below, which are about devices.
_SHALLOW = frozenset({"include/linux"})
_SUFFIXES = frozenset({".c", ".h", ".S"})
_LEVEL = re.compile(r"KERN_([A-Z]+)\b")
_QUIET = ("notice", "info", "debug", "default", "cont", "soh")
_LEVELS = {"warn": "warn", "warning": "warn", **dict.fromkeys(_QUIET, "info")}
_SPEAKS = re.compile(r"WARNING|BUG|INFO: |INSANE|PANIC|corrupt", re.IGNORECASE)
_SHOUTS = re.compile(r"(?:%s: ?)?(?:BUG|PANIC|WARN)")
_STRING = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"")
_PART = r"(?:\"(?:[^\"\\\n]|\\.)*\"|[A-Z][A-Z_0-9]{2,})"
_FORM = rf"(?:{_PART}\s*)*\"(?:[^\"\\\n]|\\.)*\""
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_CONSTANT = re.compile(r"^[ \t]*#\s*define[ \t]+([A-Z]\w+)[ \t]+(\"[^\n]*\")[ \t]*$", re.MULTILINE)
_PR_FMT = re.compile(r"^#\s*define\s+pr_fmt\((\w+)\)\s+(.+)", re.MULTILINE)
_MACRO = re.compile(r"^#\s*define\s+(\w+)\(([^)]*)\)[ \t]*(.*)", re.MULTILINE)
_BODY = re.compile(
    r"\b(\w+)\(([^(){};]*\bchar \*[^(){};]*)\)\n\{\n(.*?)^\}", re.MULTILINE | re.DOTALL
)
_INCLUDED = re.compile(r"^#include \"(\w+\.h)\"", re.MULTILINE)
_ASSEMBLED = re.compile(r"\.(?:asciz|string)\s+" + _STRING.pattern)
#: The printing functions of the kernel. The group is the level that the name tells.
_BASE = r"pr_(emerg|alert|crit|err|warn|notice|info)(?!_fmt)\w*|printk\w*|early_printk"


@dataclass(frozen=True)
class Printer:
    """A function or macro that prints what its caller passes.

    :param form: the line that it prints, with ``{}`` for what the caller passes.
    :param level: ``err`` for each level from KERN_EMERG to KERN_ERR, ``warn``, or ``info``.
    """

    form: str
    level: str = "err"


@dataclass(frozen=True)
class Message:
    """A message of a kernel."""

    file: str
    line: int
    #: The format string in the source, which the file of benign messages is about.
    text: str
    #: The format string of the line on the console.
    printed: str


#: Functions whose messages do not begin as in the source, and are printed far from there.
_KNOWN = {
    "panic": Printer("Kernel panic - not syncing: {}"),
    "die": Printer("Oops: {}: 0000 [#1] SMP"),
    "die_addr": Printer("Oops: {}: 0000 [#1] SMP"),
    "print_lockdep_off": Printer("{}"),
}


@dataclass
class _Source:
    """What is needed of a file to find its messages."""

    path: str
    text: str
    prefix: str
    constants: Mapping[str, str] = field(default_factory=dict)

    def calls(
        self, printers: Mapping[str, Printer], text: str
    ) -> Iterator[tuple[re.Match[str], Printer]]:
        """Yield each call of ``text`` that prints a string, and how it prints."""
        names = "|".join(sorted(printers, key=len, reverse=True))
        call = re.compile(rf"(?<!define )\b(?:({_BASE})|({names}))\(([^;]{{0,400}}?)({_FORM})")
        for found in call.finditer(text):
            if found[3]:
                yield found, printers[found[3]]
            elif found[2]:
                yield found, Printer(self.prefix + "{}", _LEVELS.get(found[2], "err"))
            else:
                level = _LEVEL.search(found[4] + found[5])
                default = "err" if found[1] == "early_printk" else "warn"
                name = level[1].lower() if level else default
                yield found, Printer("{}", _LEVELS.get(name, "err"))


def messages(tree: Path) -> Iterator[Message]:
    """Yield the messages of a tree's :data:`REPORTING` code that are errors or say so."""
    sources = [_read(path, tree) for path in _paths(tree)]
    _pass_prefixes_on(sources)
    constants = {name: text for source in sources for name, text in source.constants.items()}
    headers = {
        name: printer
        for source in sources
        if source.path.endswith(".h")
        for name, printer in _wrappers(source, _KNOWN, constants).items()
    }
    for source in sources:
        printers = {**_KNOWN, **headers}
        while found := {
            name: printer
            for name, printer in _wrappers(source, printers, constants).items()
            if name not in printers
        }:
            printers |= found
        yield from _messages(source, printers, constants)


def _messages(
    source: _Source, printers: Mapping[str, Printer], constants: Mapping[str, str]
) -> Iterator[Message]:
    for call, printer in source.calls(printers, source.text):
        text = _joined(call[5], {**constants, **source.constants})
        if _counts(text, printer):
            line = source.text.count("\n", 0, call.start()) + 1
            yield Message(source.path, line, text, printer.form.replace("{}", text))
    if source.path.endswith(".S") and "printk" in source.text:
        for found in _ASSEMBLED.finditer(source.text):
            if re.search(r"[A-Za-z]{3}", found[1]):
                line = source.text.count("\n", 0, found.start()) + 1
                yield Message(source.path, line, found[1], found[1])


def _counts(text: str, printer: Printer) -> bool:
    """Tell whether a message is an error, or says that it is one."""
    if not re.search(r"[A-Za-z]{3}", text):
        return False
    if printer.level == "err":
        return True
    return bool(_SPEAKS.search(text) if printer.level == "warn" else _SHOUTS.match(text))


def _paths(tree: Path) -> Iterator[Path]:
    for part in REPORTING:
        at = tree / part
        if at.is_file():
            yield at
        else:
            every = at.glob("*") if part in _SHALLOW else at.rglob("*")
            yield from sorted(path for path in every if path.suffix in _SUFFIXES)


def _read(path: Path, tree: Path) -> _Source:
    """Read a file. Comments and continued lines are blanked, the numbers of lines stay."""
    text = path.read_text(encoding="utf-8", errors="replace")
    text = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    constants = {found[1]: "".join(_STRING.findall(found[2])) for found in _CONSTANT.finditer(text)}
    prefix = ""
    if found := _PR_FMT.search(text):
        before = found[2].partition(found[1])[0].replace("KBUILD_MODNAME", f'"{path.stem}"')
        prefix = _joined(before, constants)
    return _Source(str(path.relative_to(tree)), text, prefix, constants)


def _pass_prefixes_on(sources: list[_Source]) -> None:
    """Give the prefix of a file to the headers beside it that it includes."""
    by_path = {source.path: source for source in sources}
    for source in sources:
        for name in _INCLUDED.findall(source.text) if source.prefix else ():
            header = by_path.get(f"{Path(source.path).parent}/{name}")
            if header is not None and not header.prefix:
                header.prefix = source.prefix


def _joined(parts: str, constants: Mapping[str, str]) -> str:
    """Return the string that literals and constants beside each other make."""
    text = ""
    for part in re.findall(_PART, parts):
        text += part[1:-1] if part.startswith('"') else constants.get(part, "")
    return text


def _wrappers(
    source: _Source, printers: Mapping[str, Printer], constants: Mapping[str, str]
) -> dict[str, Printer]:
    """Return the functions and macros of a file that print what their caller passes."""
    found = {}
    for body in _BODY.finditer(source.text):
        passed = re.findall(r"\bchar \*(\w+)", body[2])
        if printer := _wrapper(source, body[3], passed, printers, constants):
            found[body[1]] = printer
    for macro in _MACRO.finditer(source.text.replace("\\\n", " ")):
        passed = [name.strip(" .") for name in macro[2].split(",")]
        if printer := _wrapper(source, macro[3], passed, printers, constants):
            found[macro[1]] = printer
    return {name: printer for name, printer in found.items() if not re.fullmatch(_BASE, name)}


def _wrapper(
    source: _Source,
    body: str,
    passed: list[str],
    printers: Mapping[str, Printer],
    constants: Mapping[str, str],
) -> Printer | None:
    """Return how a body prints one of the parameters ``passed``, or None."""
    if not (names := "|".join(filter(str.isidentifier, passed))):
        return None
    for call, printer in source.calls(printers, body):
        form = _joined(call[5], {**constants, **source.constants})
        rest = body[call.end() :].partition(";")[0]
        if "%pV" in form:
            return replace(printer, form=printer.form.replace("{}", form.replace("%pV", "{}")))
        if re.match(rf"\s*(?:{names})\b", rest):
            return replace(printer, form=printer.form.replace("{}", form + "{}"))
    within = re.search(rf"\b({'|'.join(printers)})\([^;\"]*?\b(?:{names})\b", body)
    return printers[within[1]] if within else None
