"""The guest test programs: ``guest-tests/SUBJECT/NAME.c``, each compiled to one static binary.

The headers of the kernel under test come before the host's, so that ``<asm/unistd.h>`` has the
system calls of its series and ``<asm/uintr.h>`` exists.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.artefacts import recipe
from harness.artefacts.host_inputs import fingerprint
from harness.artefacts.store import JSON, Store
from harness.artefacts.toolchain import require_uintr
from harness.errors import BuildError, UserError
from harness.lib.process import Captured, capture, disk_full, says_disk_full
from harness.progress import Progress, Step
from harness.values import (
    OUTPUT_LIMIT,
    TIMEOUT_S,
    Compiler,
    KernelArtefact,
    Program,
    ProgramsArtefact,
)

#: Seconds that compiling one program may take.
_COMPILE_S = 300.0

_FLAGS = ("-std=gnu11", "-O2", "-g", "-static", "-pthread", "-muintr", "-Wall", "-Wextra")
_SHARED = "include"
_LATENCY = "latency"
#: Folder of programs without a kernel, see :mod:`harness.artefacts.bare_metal`.
_BARE_METAL = "bare-metal"


class Settings(NamedTuple):
    """Content of a subject's ``settings`` file, which has the format of kselftest's."""

    #: Seconds that a program may take on a fast machine.
    timeout_s: float = TIMEOUT_S
    #: Whether each program needs a guest in which no other program has run.
    isolate: bool = False
    #: Limit of a program's output, in bytes.
    output_limit: int = OUTPUT_LIMIT


class Unit(NamedTuple):
    """One source file."""

    name: str
    source: Path
    settings: Settings


def compile_argv(cc: Compiler, source: Path, tests: Path, headers: Path, out: Path) -> list[str]:
    """Return the command line that compiles one program.

    :param tests: the folder of all subjects.
    :param headers: the installed kernel headers.
    """
    return [
        cc,
        *_FLAGS,
        f"-ffile-prefix-map={tests}/=",
        "-I",
        str(tests / _SHARED),
        "-isystem",
        str(headers),
        "-o",
        str(out),
        str(source),
    ]


def build_programs(
    kernel: KernelArtefact,
    cc: Compiler,
    store: Store,
    progress: Progress,
    tests: Path = paths.GUEST_TESTS,
) -> ProgramsArtefact:
    """Return all guest programs, compiled unless they are in the store.

    :param kernel: the kernel whose headers are used.
    :param tests: the folder of the subjects.
    :raise UserError: there are no programs, or one's name or settings are malformed.
    :raise BuildError: the compiler is missing or too old, or a program does not compile.
    """
    units = tuple(find_programs(tests))
    if not units:
        raise UserError(
            "there are no guest programs",
            where=tests,
            hint="a program is a file SUBJECT/NAME.c in this folder",
        )

    def build(folder: Path) -> None:
        with progress.step(f"compile guest programs with {cc}") as step:
            results = _compile(units, cc, tests, kernel.headers, folder, step)
        judge(results, cc, store)
        said = "".join(result.complaint + "\n" for _, result in results if result.complaint)
        (folder / "build.log").write_text(said)

    entry = store.get("programs", _inputs(units, kernel, cc, tests), build)
    if entry.hit:
        progress.note(f"guest programs by {cc}: already built ({entry.key[:12]})")
    programs = tuple(
        Program(
            name=unit.name,
            path=entry.path / unit.name,
            timeout_s=unit.settings.timeout_s,
            isolate=unit.settings.isolate,
            output_limit=unit.settings.output_limit,
            latency=unit.name.startswith(f"{_LATENCY}/"),
        )
        for unit in units
    )
    return ProgramsArtefact(key=entry.key, path=entry.path, cc=cc, programs=programs)


def find_programs(tests: Path) -> Iterator[Unit]:
    """Yield all programs for Linux in a folder of subjects, sorted by name.

    :raise UserError: as :func:`find_units`.
    """
    for unit in find_units(tests, "*/*.c"):
        if unit.source.parent.name not in {_SHARED, _BARE_METAL}:
            yield unit


def find_units(tests: Path, pattern: str) -> Iterator[Unit]:
    """Yield the programs whose sources match a pattern, sorted by name.

    :raise UserError: a file's name is no valid program name, or a ``settings`` file is malformed.
    """
    for source in sorted(tests.glob(pattern)):
        subject = source.parent
        name = f"{subject.name}/{source.stem}"
        if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", name):
            raise UserError(
                f"{name} is no program name",
                where=source,
                hint="use small letters, digits and dashes",
            )
        yield Unit(name, source, read_settings(subject / "settings"))


def read_settings(settings: Path) -> Settings:
    """Read a ``settings`` file; a missing one means the defaults.

    :raise UserError: a line is neither ``timeout=SECONDS``, ``isolate=yes|no`` nor
        ``output-limit=BYTES``, which may end in K, M or G (powers of 1024).
    """
    found = Settings()
    if not settings.is_file():
        return found
    for number, raw in enumerate(settings.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if match := re.fullmatch(r"timeout\s*=\s*(\d+(?:\.\d+)?)", line):
            found = found._replace(timeout_s=float(match[1]))
        elif match := re.fullmatch(r"isolate\s*=\s*(yes|no)", line):
            found = found._replace(isolate=match[1] == "yes")
        elif match := re.fullmatch(r"output-limit\s*=\s*([1-9]\d{0,9})([KMG]?)", line):
            unit = 1 << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]
            found = found._replace(output_limit=int(match[1]) * unit)
        elif line:
            raise UserError(
                f"{line!r} is no setting",
                where=f"{settings}:{number}",
                hint="write timeout=SECONDS, isolate=yes or output-limit=BYTES (K, M, G)",
            )
    return found


def _inputs(
    units: Sequence[Unit], kernel: KernelArtefact, cc: Compiler, tests: Path
) -> dict[str, JSON]:
    """Return everything that determines the programs."""
    return {
        "sources": {unit.name: _digest(unit.source) for unit in units},
        "shared": digest_folder(tests / _SHARED),
        "private": {
            str(path.relative_to(tests)): _digest(path) for path in sorted(tests.glob("*/*.h"))
        },
        "headers": digest_folder(kernel.headers),
        "compiler": require_uintr(cc).model_dump(),
        "flags": list(_FLAGS),
        # The host's C library is linked into them statically.
        "host": fingerprint(cc),
        "recipe": recipe.digest(sys.modules[__name__]),
    }


def _compile(
    units: Sequence[Unit], cc: Compiler, tests: Path, headers: Path, folder: Path, step: Step
) -> list[tuple[Unit, Captured]]:
    """Compile all programs into ``folder``, as many at a time as there are CPUs."""

    def compile_one(unit: Unit) -> Captured:
        argv = compile_argv(cc, unit.source, tests, headers, folder / unit.name)
        return capture(argv, timeout_s=_COMPILE_S)

    step.update(done=0, total=len(units))
    for unit in units:
        (folder / unit.name).parent.mkdir(exist_ok=True)
    results = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for unit, result in zip(units, pool.map(compile_one, units), strict=True):
            results.append((unit, result))
            step.update(unit.name, done=len(results), total=len(units))
    return results


def judge(results: Sequence[tuple[Unit, Captured]], cc: Compiler, store: Store) -> None:
    """Check that all programs compiled.

    :raise BuildError: one did not; the error shows the first.
    """
    bad = [(unit, result) for unit, result in results if result.returncode != 0]
    if not bad:
        return
    unit, result = bad[0]
    if says_disk_full(result.complaint):
        raise disk_full(store.root)
    log = store.log(f"programs-{cc}")
    log.write_text("".join(f"== {one.name}\n{said.complaint}\n" for one, said in bad))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    raise BuildError(
        f"guest program {unit.name} does not compile with {cc}{more}",
        where=unit.source,
        detail=result.complaint,
        hint=f"the output for all of them is in {log}",
    )


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def digest_folder(folder: Path) -> str:
    """Return a digest of every file's name and content below a folder."""
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{_digest(path)}\n".encode())
    return digest.hexdigest()
