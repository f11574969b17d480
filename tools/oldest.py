"""Write the lowest version of each dependency, for pip: ``python -m tools.oldest FILE``.

``tox -e oldest`` installs with these constraints. They cover the dependencies in
``pyproject.toml``; pip chooses the versions of indirect dependencies.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_AT_LEAST = re.compile(r"([A-Za-z0-9._-]+)>=([0-9][0-9.]*)(?:,.*)?")


def constraints(text: str) -> Iterator[str]:
    """Yield ``NAME==VERSION`` for each dependency that has a lower bound.

    Of the extras only ``test`` is included, because the others are not used by tests.

    :param text: the content of ``pyproject.toml``.
    """
    project = tomllib.loads(text)["project"]
    for requirement in (*project["dependencies"], *requirements(project, "test")):
        if found := _AT_LEAST.fullmatch(requirement):
            yield f"{found[1]}=={found[2]}"


def requirements(project: dict[str, Any], extra: str) -> Iterator[str]:
    """Yield the requirements of an extra and of the project's extras that it includes."""
    for requirement in project["optional-dependencies"][extra]:
        if included := re.fullmatch(rf"{project['name']}\[(.+)\]", requirement):
            for name in included[1].split(","):
                yield from requirements(project, name)
        else:
            yield requirement


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("file", type=Path, help="file for the constraints")
    return options


def main() -> int:
    """Write the file."""
    lines = constraints(PYPROJECT.read_text(encoding="utf-8"))
    parser().parse_args().file.write_text("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
