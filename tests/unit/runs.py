"""Runs that are prepared without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.results.folder import CellSetup, RunArtefacts, RunFolder
from harness.results.records import Record, Recorder
from harness.values import (
    Cell,
    CpuProfile,
    Emulator,
    ImageArtefact,
    KernelArtefact,
    KernelProfile,
    Plan,
    Program,
    ProgramsArtefact,
    TreeSource,
)
from tests.unit.results import make

KEY = "0" * 64


def cell(name: str = "k", cpu: str = "hidden", smp: int = 1, cmdline: str = "") -> Cell:
    return Cell(
        kernel=KernelProfile(name=name, source=TreeSource(path=Path("/tree")), cmdline=cmdline),
        cpu=CpuProfile(name=cpu, model="max", exposes_uintr=False),
        smp=smp,
        cc="gcc",
    )


#: The name of that cell.
NAME = cell().name


def prepared(
    folder: Path,
    scripts: dict[str, str],
    cells: tuple[Cell, ...] = (),
    timeout_s: float = 30,
    isolated: tuple[str, ...] = (),
    missing: Mapping[str, str] | None = None,
) -> RunFolder:
    """Return a run of shell scripts as programs.

    Those named ``latency/…`` measure, and ``kselftest-…`` are the kernel's.

    :param isolated: those that want a guest of their own.
    :param missing: why these are not there.
    """
    programs = []
    for name, text in scripts.items():
        path = folder / "programs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        programs.append(
            Program(
                name=name,
                path=path,
                timeout_s=timeout_s,
                latency=name.startswith("latency/"),
                isolate=name in isolated,
                kind="kselftest" if name.startswith("kselftest-") else "linux",
                missing=(missing or {}).get(name, ""),
            )
        )
    run = RunFolder(folder / "run")
    run.path.mkdir()
    chosen = cells or (cell(),)
    run.write_plan(Plan(cells=chosen))
    run.write_artefacts(
        RunArtefacts(
            cells=tuple(
                CellSetup(
                    cell=one,
                    emulator=Emulator(binary=Path("/qemu"), version="0"),
                    accel="tcg",
                    kernel=KernelArtefact(key=KEY, path=folder, release="6.12.0"),
                    image=ImageArtefact(key=KEY, path=folder),
                    programs=ProgramsArtefact(
                        key=KEY, path=folder / "programs", cc="gcc", programs=tuple(programs)
                    ),
                )
                for one in chosen
            )
        )
    )
    return run


def ended(
    folder: Path, code: int, *records: Record, errors: tuple[HarnessError, ...] = ()
) -> RunFolder:
    """Write a run's folder as one that ended leaves it for whoever started it."""
    run = RunFolder(folder)
    with Recorder(run.results) as recorder:
        for record in records:
            recorder.write(record)
    run.end(code, errors=errors)
    return run


def finished(folder: Path, *cases: str) -> RunFolder:
    """Return a run that passed, with a record for each case."""
    folder.mkdir(parents=True, exist_ok=True)
    run = prepared(folder, {"api/open": "true"})
    run.begin(["uintr-harness", "run"])
    with Recorder(run.results) as recorder:
        recorder.write(make.boot(cell=NAME))
        for name in cases or ("a", "b", "ünïcode"):
            recorder.write(make.case(name, cell=NAME))
    run.end(0, reason="3 passed", cells=[NAME])
    return run
