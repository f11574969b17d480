"""Command lines of the kernel's build, by make and tuxmake, with a pinned environment.

``make`` configures: tuxmake would merge the fragments with a script that hides which one was
overridden, and its checks take longer than the configuration. tuxmake compiles: it provides the
wrapper for ccache, ``metadata.json``, and a reproducer that a kernel developer can run.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from harness.artefacts import build_log
from harness.lib.scrubbed import build_environment
from harness.progress import Step
from harness.values import Compiler

#: Keeps date, host and user of a build out of the kernel. The date is that of the RFC's posting.
PINNED = {
    "KBUILD_BUILD_TIMESTAMP": "2021-09-13 00:00:00 UTC",
    "KBUILD_BUILD_USER": "uintr",
    "KBUILD_BUILD_HOST": "harness",
    "KBUILD_BUILD_VERSION": "1",
    # Set and empty: scripts/setlocalversion then adds no "+" for a tree with patches.
    "LOCALVERSION": "",
}

#: Prefixes of local paths to map: first of the compiler's working folder, which has no final slash
#: in debug information, then of files. If several match, the compiler uses the last one.
_PREFIX_MAPS = ("{tree}=.", "{out}=.", "{tree}/=", "{out}/=")

_STEP = re.compile(r"^  ([A-Z][A-Z0-9_]+)(?: \[M\])?\s+\S")
_ERROR = re.compile(
    r"error:|undefined (?:reference|symbol)|multiple definition|No rule to make target|"
    r"\bld[^ :]*: (?:cannot find|unrecognized|.*file not recognized)|"
    r"Segmentation fault|internal compiler error|command not found|Killed|"
    r"No package '|was not found in the pkg-config search path"
)
#: Lines that only repeat that an earlier line is an error.
_FOLLOWS = re.compile(r"^collect2: error:|linker command failed|ld returned \d+ exit status")

#: Shortest time between two progress reports of a build, in seconds.
_REPORT_EVERY_S = 0.2


def build_settings(cc: Compiler) -> dict[str, object]:
    """Return the part of a kernel's key that is not tree, configuration or compiler."""
    return {"make": make_variables(cc), "environment": PINNED, "prefix-maps": list(_PREFIX_MAPS)}


def make_variables(cc: Compiler) -> list[str]:
    """Return the variables that choose the tools."""
    return ["LLVM=1"] if cc == "clang" else []


def environment(tree: Path, out: Path) -> dict[str, str]:
    """Return the environment of a kernel build.

    Local paths are mapped, so that the same inputs give the same bytes in any cache folder.
    Variables of the user's shell that steer make and kbuild are no part of it.
    """
    maps = (text.format(tree=tree, out=out) for text in _PREFIX_MAPS)
    flags = " ".join(f"-ffile-prefix-map={text}" for text in maps)
    return {**build_environment(), "LC_ALL": "C", **PINNED, "KCFLAGS": flags, "KAFLAGS": flags}


def config_argv(tree: Path, out: Path, cc: Compiler, target: str) -> list[str]:
    """Return the command line of a configuration target (``tinyconfig``, ``olddefconfig``)."""
    return [
        "make",
        "--no-print-directory",
        "--directory",
        str(tree),
        f"O={out}",
        *make_variables(cc),
        target,
    ]


def release_argv(tree: Path, out: Path, cc: Compiler) -> list[str]:
    """Return the command line that prints the release, as ``uname -r`` will."""
    return ["make", "--silent", *config_argv(tree, out, cc, "kernelrelease")[1:]]


def tuxmake_argv(
    python: Path,
    tree: Path,
    out: Path,
    report: Path,
    headers: Path,
    cc: Compiler,
    jobs: int,
    env: dict[str, str],
    variables: Sequence[str] = (),
) -> list[str]:
    """Return the command line that builds image and headers.

    :param python: the interpreter that has tuxmake.
    :param report: folder for tuxmake's log, metadata and reproducer.
    :param headers: folder that ``headers_install`` fills.
    :param env: the result of :func:`environment`; its pinned variables are also given as options,
        for the reproducer.
    :param variables: further variables for make, ``NAME=VALUE``.
    """
    said = [*PINNED, "KCFLAGS", "KAFLAGS"]
    return [
        str(python),
        "-m",
        "tuxmake",
        "--runtime=null",
        f"--toolchain={cc}",
        f"--wrapper={'ccache' if shutil.which('ccache') else 'none'}",
        f"--directory={tree}",
        f"--build-dir={out}",
        f"--output-dir={report}",
        f"--kconfig={out / '.config'}",
        f"--jobs={jobs}",
        "--fail-fast",
        "--verbose",
        *(f"--environment={name}={env[name]}" for name in said),
        "--make-target=bzImage",
        "--make-target=headers_install",
        *make_variables(cc),
        *variables,
        f"INSTALL_HDR_PATH={headers}",
        "config",  # instead of tuxmake's default targets, which include modules and archives
    ]


def is_step(line: str) -> bool:
    """Tell whether a line of make's output is a build step (``  CC   kernel/fork.o``)."""
    match = _STEP.match(line)
    return match is not None and match[1] not in {"HDRINST", "INSTALL", "SYNC"}


def first_errors(lines: Sequence[str]) -> str:
    """Return the first complaints of a build log, each with the lines after it.

    The compiler's line on a failed linker is used only if there is no other complaint.
    """
    real = any(_is_complaint(line) for line in lines)
    return build_log.first_errors(lines, _is_complaint if real else _is_error)


def _is_complaint(line: str) -> bool:
    return _is_error(line) and not _FOLLOWS.search(line)


def _is_error(line: str) -> bool:
    return bool(_ERROR.search(line))


class StepCounter:
    """A counter of build steps that reports to the display a few times per second at most."""

    def __init__(self, step: Step, total: float | None) -> None:
        self.count = 0
        self._step = step
        self._total = total
        self._told = 0.0

    def line(self, line: str) -> None:
        """Take one line of make's output."""
        if not is_step(line):
            return
        self.count += 1
        now = time.monotonic()
        if now - self._told < _REPORT_EVERY_S:
            return
        self._told = now
        total = max(self._total, self.count) if self._total else None
        self._step.update(line.split()[-1], done=self.count, total=total)
