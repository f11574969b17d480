"""Configuration fragments as values: read, merged, and compared with the final ``.config``.

Kconfig silently drops an option with unmet dependencies. Here every option of a fragment is looked
up in the final ``.config``; one that differs is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.artefacts.kernel.kconfig_reader import explain
from harness.errors import BuildError, UserError
from harness.lib.files import read_bounded
from harness.values import Value

_SET = re.compile(r"CONFIG_([A-Za-z0-9_]+)=(.*)")
_UNSET = re.compile(r"# CONFIG_([A-Za-z0-9_]+) is not set")

#: Value here of an option that is off, "not set" in a ``.config``.
OFF = "n"


class Option(Value):
    """One line of a fragment: an option, its value and its place."""

    name: str
    #: As in ``.config``: ``y``, ``m``, a number, or a string in its quotes; ``n`` for "not set".
    value: str
    fragment: str
    line: int

    @property
    def place(self) -> str:
        """``fragments/NAME.config:LINE``."""
        return f"{self.fragment}.config:{self.line}"

    @property
    def text(self) -> str:
        """The line as ``.config`` spells it."""
        return spell(self.name, self.value)


class Fragment(Value):
    """A ``kernel-config/fragments/NAME.config`` file."""

    name: str
    options: tuple[Option, ...]


class Conflict(Value):
    """Two fragments that set one option to different values; the later one wins."""

    earlier: Option
    later: Option

    def __str__(self) -> str:
        """One line for a note."""
        return (
            f"{self.later.place} asks for {self.later.text}, "
            f"over {self.earlier.text} from {self.earlier.place}"
        )


def spell(name: str, value: str) -> str:
    """Return an option's line in ``.config``."""
    return f"# CONFIG_{name} is not set" if value == OFF else f"CONFIG_{name}={value}"


def parse_line(line: str) -> tuple[str, str] | None:
    """Return (name, value) of a line of a ``.config`` or fragment; None if it sets nothing."""
    match = _SET.fullmatch(line)
    if match:
        return match[1], match[2]
    match = _UNSET.fullmatch(line)
    return (match[1], OFF) if match else None


def parse_fragment(text: str, name: str, where: Path | None = None) -> Fragment:
    """Read a fragment.

    :raise UserError: a line is neither an option, a comment nor blank, or asks twice for the same
        option.
    """
    options: dict[str, Option] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        found = parse_line(line)
        if found is None:
            if line and not line.startswith("#"):
                raise UserError(
                    f"{line!r} is no configuration line",
                    where=f"{where or name}:{number}",
                    hint="write CONFIG_NAME=value or `# CONFIG_NAME is not set`",
                )
            continue
        option = Option(name=found[0], value=found[1], fragment=name, line=number)
        if option.name in options:
            raise UserError(
                f"CONFIG_{option.name} is asked for twice",
                where=f"{where or name}:{number}",
                hint=f"the first is in line {options[option.name].line}",
            )
        options[option.name] = option
    return Fragment(name=name, options=tuple(options.values()))


def load_fragments(names: Sequence[str | Path], folder: Path) -> tuple[Fragment, ...]:
    """Read fragments by name, or by the path of a file.

    :raise UserError: there is none of that name, or one is malformed.
    """
    fragments = []
    for name in names:
        path = name if isinstance(name, Path) else folder / f"{name}.config"
        if not path.is_file():
            known = sorted(found.stem for found in folder.glob("*.config"))
            raise UserError(
                f"there is no fragment {name}",
                where=path,
                hint=f"the fragments are: {', '.join(known)}",
            )
        try:
            text = read_bounded(path).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"a fragment cannot be read: {error}", where=path) from error
        fragments.append(parse_fragment(text, path.stem, path))
    return tuple(fragments)


def merge(fragments: Iterable[Fragment]) -> tuple[dict[str, Option], tuple[Conflict, ...]]:
    """Merge fragments, later ones over earlier ones, and return the options and the conflicts."""
    merged: dict[str, Option] = {}
    conflicts = []
    for fragment in fragments:
        for option in fragment.options:
            before = merged.pop(option.name, None)  # the later one also goes to the end
            if before and before.value != option.value:
                conflicts.append(Conflict(earlier=before, later=option))
            merged[option.name] = option
    return merged, tuple(conflicts)


def parse_config(text: str) -> dict[str, str]:
    """Read a ``.config``: every option with its value, ``n`` for those that are off."""
    return dict(found for line in text.splitlines() if (found := parse_line(line)))


def write_config(base: Mapping[str, str], options: Mapping[str, Option]) -> str:
    """Return the text of a ``.config``: a base with options merged into it.

    The options come last, because Kconfig takes the last one of two members of a choice that are
    both y.
    """
    values = {name: value for name, value in base.items() if name not in options}
    values |= {name: option.value for name, option in options.items()}
    return "".join(f"{spell(name, value)}\n" for name, value in values.items())


def dropped(options: Mapping[str, Option], config: Mapping[str, str]) -> tuple[Option, ...]:
    """Return the options that have another value in the configuration."""
    return tuple(
        option for option in options.values() if config.get(option.name, OFF) != option.value
    )


def verify(options: Mapping[str, Option], config: Mapping[str, str], tree: Path) -> None:
    """Check that all options have their value in the final configuration.

    :param tree: the kernel tree, whose Kconfig files tell why an option was dropped.
    :raise BuildError: one has not; the error names the option, both values, the fragment's line and
        the reasons.
    """
    lost = dropped(options, config)
    if not lost:
        return
    lines = []
    for option in lost:
        got = config.get(option.name)
        lines.append(f"CONFIG_{option.name} ({option.place})")
        lines.append(f"  asked: {option.text}")
        lines.append(f"  got:   {spell(option.name, got) if got else 'nothing'}")
        lines.extend(f"  {reason}" for reason in explain(tree, option.name, option.value, config))
    first = lost[0]
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    raise BuildError(
        f"CONFIG_{first.name}={first.value}{more} did not survive `make olddefconfig`",
        where=first.place,
        detail="\n".join(lines),
        hint="add what it depends on to the fragment, or take the option out of it",
    )
