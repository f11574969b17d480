"""The toy's Kconfig: bool and int options with depends on, select and default, to a fixed point."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Option:
    """One ``config`` block."""

    depends: list[str]
    select: list[str] = field(default_factory=list)
    default: str = ""
    #: The value when it is off: nothing for a number.
    off: str = "n"
    prompt: bool = False

    def add(self, word: str, rest: str) -> None:
        """Take a property."""
        if word == "depends":
            self.depends.append(rest.removeprefix("on "))
        elif word == "select":
            self.select.append(rest)
        elif word == "default":
            self.default = rest
        elif word in {"bool", "int"}:
            self.off = "" if word == "int" else "n"
            self.prompt = bool(rest)


def read(path: Path, options: dict[str, Option]) -> None:
    """Collect the options of a Kconfig file and of those that it sources."""
    option = Option([])
    around: list[str] = []
    for raw in path.read_text().replace("\\\n", " ").splitlines():
        if raw.startswith("\t  "):
            continue  # a help text
        word, _, rest = raw.strip().partition(" ")
        if word == "source":
            read(path.parent / rest.strip('"').replace("$(SRCARCH)", "x86"), options)
        elif word == "config":
            option = options[rest] = Option(list(around))
        elif word == "if":
            around.append(rest)
        elif word == "endif":
            around.pop()
        else:
            option.add(word, rest)


def true(expression: str, values: dict[str, str]) -> bool:
    """Evaluate a dependency."""
    text = re.sub(
        r"[A-Za-z0-9_]+", lambda name: str(values.get(name[0], "n") not in {"n", ""}), expression
    )
    return bool(eval(text.replace("&&", " and ").replace("||", " or ").replace("!", " not ")))


def solve(options: dict[str, Option], asked: dict[str, str]) -> dict[str, str]:
    """Return every option's value."""
    values: dict[str, str] = {}
    for _ in range(len(options) + 1):
        selected = {s for n, o in options.items() if values.get(n) == "y" for s in o.select}
        for name, option in options.items():
            met = all(true(clause, values) for clause in option.depends)
            wanted = asked.get(name, "") if option.prompt else ""
            value = (wanted or option.default or option.off) if met else option.off
            values[name] = "y" if name in selected else value
    return values


def main() -> None:
    """Rewrite a ``.config`` so that it fits the Kconfig files."""
    top, config = Path(sys.argv[1]), Path(sys.argv[2])
    known: dict[str, Option] = {}
    read(top, known)
    before = config.read_text() if config.exists() else ""
    found = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", before, re.MULTILINE))
    found |= dict.fromkeys(re.findall(r"^# CONFIG_(\w+) is not set$", before, re.MULTILINE), "n")
    lines = []
    for name, value in solve(known, found).items():
        if value == "n":
            lines.append(f"# CONFIG_{name} is not set")
        elif value:
            lines.append(f"CONFIG_{name}={value}")
    config.write_text("\n".join(lines) + "\n")
    log_file = Path(os.environ.get("TMPDIR", "/tmp")) / "toy-conf.log"
    if log_file.exists():
        with log_file.open("a") as log:
            log.write("conf\n")


if __name__ == "__main__":
    main()
