"""Wishes for a kernel's configuration: granted as far as the tree and the fragments allow.

A selftest target's ``config`` file assumes a distribution's configuration, in which most
dependencies of its options are on. In this project's small kernels they are not, so the
dependencies of a wish become wishes, too. A wish that cannot be granted is reported with the
reason. A fragment's option is an order; one that cannot be granted is an error
(:func:`harness.artefacts.kernel.kconfig.verify`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from harness import paths
from harness.artefacts.kernel import kconfig
from harness.artefacts.kernel.kconfig_expr import Either, Expression, Symbol, parse, unmet
from harness.artefacts.kernel.kconfig_reader import KconfigReader, reasons
from harness.lib.documents import read_toml, validate
from harness.values import Value

#: Folder of a tree's selftests.
SELFTESTS = "tools/testing/selftests"

#: Rounds in which the dependencies of the last round's wishes become wishes.
_ROUNDS = 6
_ON = {"y", "m"}
_NAME = re.compile(r"[A-Z0-9_a-z]+")


class Wish(Value):
    """A wanted option, and the file that asks for it."""

    name: str
    value: str
    place: str

    def __str__(self) -> str:
        """The option's line, and the file that asks for it."""
        return f"{kconfig.spell(self.name, self.value)} ({self.place})"


class Needs(Value):
    """A target's table in ``kernel-config/selftests.toml``."""

    options: tuple[str, ...] = ()
    #: Program → options without which it cannot pass.
    needs: dict[str, tuple[str, ...]] = Field(default_factory=dict)


def load_needs(path: Path) -> dict[str, Needs]:
    """Read the options that selftest targets need besides their ``config`` files.

    :raise UserError: the file is malformed.
    """
    what = "the needs of the kernel's selftests cannot be read"
    hint = "each table is of a target, with `options` and `needs`"
    tables = read_toml(path, what, hint)
    return {name: validate(Needs, table, path, what, hint) for name, table in tables.items()}


def read_wishes(text: str, place: str) -> list[Wish]:
    """Read a target's ``config`` file; lines without an option are skipped.

    Modules become built-in, because guests load none.
    """
    wishes = []
    for number, line in enumerate(text.splitlines(), 1):
        if found := kconfig.parse_line(line.strip()):
            name, value = found
            value = "y" if value == "m" else value
            wishes.append(Wish(name=name, value=value, place=f"{place}:{number}"))
    return wishes


def gather(
    targets: Iterable[str], needs: Mapping[str, Needs], read: Callable[[str], str | None]
) -> dict[str, Wish]:
    """Return the wishes of selftest targets, from the tree's ``config`` files and from ``needs``.

    The files of the folders around a target are read as well, as in ``make kselftest-merge``.

    :param read: returns the text of a file of the tree, by its path, or None if it has none.
    """
    found: list[Wish] = []
    for target in targets:
        for folder in (target, *map(str, Path(target).parents)):
            path = str(Path(SELFTESTS, folder, "config"))
            found += read_wishes(read(path) or "", path)
        own = f"{paths.SELFTEST_NEEDS.name}: {target}"
        for name in needs.get(target, Needs()).options:
            found.append(Wish(name=name, value="y", place=own))
    return merge(found)


def merge(wishes: Iterable[Wish]) -> dict[str, Wish]:
    """Return one wish for each option: on before off, else the first."""
    merged: dict[str, Wish] = {}
    for wish in wishes:
        before = merged.get(wish.name)
        if before is None or (before.value == kconfig.OFF and wish.value != kconfig.OFF):
            merged[wish.name] = wish
    return merged


def _gives_way(option: kconfig.Option, base: str) -> bool:
    """Tell whether a wish overrides a fragment's option: one that the base fragment switches off.

    The base fragment does so to keep the kernel small. No other option of a fragment gives way.
    """
    return option.value == kconfig.OFF and option.fragment == base


def over_base(
    wishes: Mapping[str, Wish], options: Mapping[str, kconfig.Option], base: str
) -> dict[str, kconfig.Option]:
    """Return the fragments' options without those that a wish overrides."""
    on = {name for name, wish in wishes.items() if wish.value != kconfig.OFF}
    return {
        name: option
        for name, option in options.items()
        if not (_gives_way(option, base) and name in on)
    }


def granted(wish: Wish, config: Mapping[str, str]) -> bool:
    """Tell whether a configuration fulfils a wish."""
    got = config.get(wish.name, kconfig.OFF)
    return got == wish.value or (wish.value in _ON and got in _ON)


def grant(
    wishes: Mapping[str, Wish],
    options: Mapping[str, kconfig.Option],
    base: str,
    tree: Path,
    configure: Callable[[Mapping[str, kconfig.Option]], Mapping[str, str]],
) -> tuple[dict[str, kconfig.Option], list[str]]:
    """Find the options that grant as many wishes as the tree and the fragments allow.

    :param options: the options of the fragments.
    :param base: name of the fragment whose "off" gives way to a wish.
    :param configure: returns the whole configuration that results from some options.
    :return: all options to set, and a line for each wish that is not granted.
    """
    reader = KconfigReader(tree)
    wanted = {name: wish for name, wish in wishes.items() if name in reader.definitions}
    orders: dict[str, kconfig.Option] = {}
    config: Mapping[str, str] = {}
    asked: dict[str, kconfig.Option] = {}
    for _ in range(_ROUNDS):
        orders = over_base(wanted, options, base)
        asked = orders | {
            name: kconfig.Option(name=name, value=wish.value, fragment=wish.place, line=0)
            for name, wish in wanted.items()
            if name not in orders
        }
        config = configure(asked)
        more = _missing(wanted, config, reader)
        if not more:
            break
        wanted |= more
    # A wish may also select an option that the base fragment switches off.
    spoiled = kconfig.dropped(orders, config)
    if held := [option for option in spoiled if not _gives_way(option, base)]:
        lines = [f"{wish}: would take {held[0].text} away" for wish in wishes.values()]
        return dict(options), lines
    asked = {name: option for name, option in asked.items() if option not in spoiled}
    lost = [wish for wish in wishes.values() if not granted(wish, config)]
    return asked, [f"{wish}: {_why(wish, reader, orders, config)}" for wish in lost]


def _missing(
    wanted: Mapping[str, Wish],
    config: Mapping[str, str],
    reader: KconfigReader,
) -> dict[str, Wish]:
    """Return wishes for the unmet dependencies of wishes, as far as an option can meet them."""
    more: dict[str, Wish] = {}
    for wish in wanted.values():
        if wish.value == kconfig.OFF or granted(wish, config):
            continue
        for definition in reader.definitions[wish.name]:
            clauses = [*definition.depends, *([definition.prompt] if definition.prompt else [])]
            for clause in clauses:
                expression = parse(clause.text) if clause.text else None
                for part in unmet(expression, config) if expression else ():
                    name = _switch(part, reader)
                    if name and name not in wanted:
                        more[name] = Wish(name=name, value="y", place=wish.place)
    return more


def _switch(part: Expression, reader: KconfigReader) -> str | None:
    """Return an option that meets an unmet dependency when it is on; None if there is none."""
    candidates: Sequence[Expression] = part.parts if isinstance(part, Either) else (part,)
    for one in candidates:
        if isinstance(one, Symbol) and _NAME.fullmatch(one.text) and one.text in reader.definitions:
            return one.text
    return None


def _why(
    wish: Wish,
    reader: KconfigReader,
    orders: Mapping[str, kconfig.Option],
    config: Mapping[str, str],
) -> str:
    """Return in one line why a wish is not granted."""
    if order := orders.get(wish.name):
        return f"{order.place} asks for {order.text}"
    return "; ".join(reasons(reader, wish.name, wish.value, config)) or "Kconfig drops it"
