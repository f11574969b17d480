"""Baselines, made from a run's folder."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from harness.errors import UserError
from harness.lib.files import read_bounded
from harness.results.compare.baseline import Baseline, make_baseline
from harness.results.folder import CellSetup, RunFolder
from harness.results.measurements import Measurement
from harness.results.summary import Outcome
from harness.values import Clock, KernelArtefact


def baseline_of(
    folder: RunFolder, outcome: Outcome, measurements: tuple[Measurement, ...]
) -> Baseline:
    """Return the baseline of a run."""
    setups = read_setups(folder)
    return make_baseline(
        folder.path.name,
        outcome,
        measurements,
        environment=folder.read_environment(),
        made_of={name: made_of(setup) for name, setup in setups.items()},
        clocks={cell.name: clock(folder, cell.name) for cell in outcome.summary.cells},
    )


def read_setups(folder: RunFolder) -> dict[str, CellSetup]:
    """Return cell → setup; empty for a run that was never prepared."""
    try:
        return {setup.cell.name: setup for setup in folder.read_artefacts().cells}
    except UserError:
        return {}


def made_of(setup: CellSetup) -> dict[str, str]:
    """Return the hashes and versions of a cell's artefacts."""
    return {
        "kernel": setup.kernel.key[:12],
        "series": series_hash(setup.kernel),
        "release": setup.kernel.release,
        "emulator": (setup.emulator.key or setup.emulator.version)[:64],
        "programs": setup.programs.key[:12],
        "image": setup.image.key[:12],
    }


def series_hash(kernel: KernelArtefact) -> str:
    """Return the hash of the patches that a kernel was built with; empty if it is unknown."""
    patches = patches_of(kernel)
    if patches is None:
        return ""
    return sha256(json.dumps(patches, sort_keys=True).encode()).hexdigest()[:12]


def patches_of(kernel: KernelArtefact) -> list[dict[str, Any]] | None:
    """Return hash and strip of each patch that a kernel was built with; None if it is unknown.

    They are in the inputs of the ``kernel-config`` artefact with the same tree, in the same store.
    """
    try:
        tree = json.loads(read_bounded(kernel.path / "inputs.json"))["tree"]
        for found in sorted((kernel.path.parent.parent / "kernel-config").glob("*/tree")):
            if read_bounded(found).decode().strip() == tree:
                patches = json.loads(read_bounded(found.parent / "inputs.json"))["patches"]
                return [dict(patch) for patch in patches]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return None


def clock(folder: RunFolder, cell: str) -> Clock:
    """Return a cell's clock, read from its QEMU command."""
    try:
        script = read_bounded(folder.cell(cell) / "qemu.sh").decode(errors="replace")
    except (OSError, ValueError):  # a record's cell may be no file name
        return "host"
    return "icount" if "-icount" in script.split() else "host"
