"""The bare-metal programs: ``guest-tests/bare-metal/NAME.c``, each a kernel of its own.

A program is compiled in one command together with the runtime in ``bare-metal/runtime``, whose file
``flags`` has the options, one per line. No kernel and no kernel headers are used: these programs
test the CPU model.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from harness import paths
from harness.artefacts import programs, recipe
from harness.artefacts.programs import Unit, find_units, judge
from harness.artefacts.store import Store
from harness.artefacts.toolchain import identify
from harness.errors import UserError
from harness.lib.process import Captured, capture
from harness.progress import Progress
from harness.values import Compiler, Program

#: Folder of the subject, and of the runtime in it that all its programs share.
SUBJECT = "bare-metal"
_RUNTIME = "runtime"
#: Sources of the tests, and of the program that plays random sequences.
TESTS, PLAYER = f"{SUBJECT}/*.c", f"{SUBJECT}/player/player.c"
_COMPILE_S = 300.0


def parse_flags(text: str) -> tuple[str, ...]:
    """Return the compiler's options from a flags file: one per line, ``#`` starts a comment."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


def compile_argv(
    cc: Compiler, flags: tuple[str, ...], source: Path, runtime: Path, out: Path
) -> list[str]:
    """Return the command line that compiles one program."""
    return [
        cc,
        *flags,
        f"-ffile-prefix-map={source.parent}/=",
        *("-I", str(runtime)),
        *("-T", str(runtime / "link.ld")),
        *("-o", str(out)),
        str(source),
        *(str(path) for path in sorted(runtime.glob("*.[cS]"))),
    ]


def build_bare_metal(
    cc: Compiler,
    store: Store,
    progress: Progress,
    tests: Path = paths.GUEST_TESTS,
    *,
    pattern: str = TESTS,
) -> tuple[Program, ...]:
    """Return the bare-metal programs, if any, compiled unless they are in the store.

    :param tests: the folder of all subjects.
    :param pattern: glob of the sources. Headers beside them are inputs, too.
    :raise UserError: a program's name, the settings or the flags are malformed.
    :raise BuildError: the compiler is missing, or a program does not compile.
    """
    units = tuple(find_units(tests, pattern))
    if not units:
        return ()
    runtime = tests / SUBJECT / _RUNTIME
    try:
        flags = parse_flags((runtime / "flags").read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"the compiler's options for bare-metal programs cannot be read: {error.strerror}",
            where=runtime / "flags",
            hint="the runtime's folder has a file `flags` with one option a line",
        ) from error
    headers = {path for unit in units for path in unit.source.parent.glob("*.h")}
    sources = [*(unit.source for unit in units), *sorted(headers), *sorted(runtime.iterdir())]

    def build(folder: Path) -> None:
        def compile_one(unit: Unit) -> Captured:
            argv = compile_argv(cc, flags, unit.source, runtime, folder / unit.source.stem)
            return capture(argv, timeout_s=_COMPILE_S)

        with (
            progress.step(f"compile bare-metal programs with {cc}"),
            ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        ):
            judge(list(zip(units, pool.map(compile_one, units), strict=True)), cc, store)

    inputs = {
        "sources": {
            str(path.relative_to(tests)): sha256(path.read_bytes()).hexdigest() for path in sources
        },
        "recipe": recipe.digest(sys.modules[__name__], programs),
        "compiler": [identify(tool).model_dump() for tool in (cc, "ld")],
    }
    entry = store.get("bare-metal", inputs, build)
    return tuple(
        Program(
            name=unit.name,
            path=entry.path / unit.source.stem,
            timeout_s=unit.settings.timeout_s,
            output_limit=unit.settings.output_limit,
            kind="bare-metal",
        )
        for unit in units
    )
