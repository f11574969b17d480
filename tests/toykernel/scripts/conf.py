"""The toy's Kconfig: bool and int options with depends on, select and default, to a fixed point."""

import os
import re
import sys
from pathlib import Path


def read(path, options):
    """Collect the options of a Kconfig file and of those that it sources."""
    option = {}
    around = []
    for raw in path.read_text().replace("\\\n", " ").splitlines():
        if raw.startswith("\t  "):
            continue  # a help text
        word, _, rest = raw.strip().partition(" ")
        if word == "source":
            read(path.parent / rest.strip('"').replace("$(SRCARCH)", "x86"), options)
        elif word == "config":
            option = {"depends": list(around), "select": [], "default": None, "prompt": False}
            options[rest] = option
        elif word == "if":
            around.append(rest)
        elif word == "endif":
            around.pop()
        else:
            add(option, word, rest)


def add(option, word, rest):
    """Add a property to an option."""
    if word == "depends":
        option["depends"].append(rest.removeprefix("on "))
    elif word == "select":
        option["select"].append(rest)
    elif word == "default":
        option["default"] = rest
    elif word in {"bool", "int"}:
        option["type"] = word
        option["prompt"] = bool(rest)


def true(expression, values):
    """Evaluate a dependency."""
    text = re.sub(
        r"[A-Za-z0-9_]+", lambda name: str(values.get(name[0], "n") not in {"n", ""}), expression
    )
    return eval(text.replace("&&", " and ").replace("||", " or ").replace("!", " not "))


def solve(options, asked):
    """Return every option's value."""
    values = {}
    for _ in range(len(options) + 1):
        selected = {s for n, o in options.items() if values.get(n) == "y" for s in o["select"]}
        for name, option in options.items():
            met = all(true(clause, values) for clause in option["depends"])
            off = "" if option["type"] == "int" else "n"
            wanted = asked.get(name) if option["prompt"] else None
            value = (wanted or option["default"] or off) if met else off
            values[name] = "y" if name in selected else value
    return values


def main():
    """Rewrite a ``.config`` so that it fits the Kconfig files."""
    top, config = Path(sys.argv[1]), Path(sys.argv[2])
    known = {}
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
    if "TOY_LOG" in os.environ:
        with Path(os.environ["TOY_LOG"]).open("a") as log:
            log.write("conf\n")


if __name__ == "__main__":
    main()
