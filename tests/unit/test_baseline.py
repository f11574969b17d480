from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.report.render import render_run
from harness.results.compare.measured import series_hash
from harness.results.outcome import load_baseline
from harness.results.records import Recorder
from harness.values import KernelArtefact
from tests.unit.results import make
from tests.unit.runs import KEY, cell, prepared


def store(root: Path, tree: str, patches: list[dict[str, str]]) -> KernelArtefact:
    kernel, config = root / "kernel" / KEY, root / "kernel-config" / tree
    for folder in (kernel, config):
        folder.mkdir(parents=True)
    (kernel / "inputs.json").write_text(json.dumps({"tree": tree}))
    (config / "tree").write_text(f"{tree}\n")
    (config / "inputs.json").write_text(json.dumps({"patches": patches}))
    return KernelArtefact(key=KEY, path=kernel, release="6.12.0")


def test_a_series_has_a_hash_of_its_patches(tmp_path: Path) -> None:
    one = store(tmp_path / "a", "t1", [{"sha256": "1"}])
    same = store(tmp_path / "b", "t2", [{"sha256": "1"}])
    other = store(tmp_path / "c", "t1", [{"sha256": "2"}])
    assert len(series_hash(one)) == 12
    assert series_hash(one) == series_hash(same) != series_hash(other)


def test_a_store_that_forgot_the_series_has_none(tmp_path: Path) -> None:
    kernel = store(tmp_path, "t1", [])
    (tmp_path / "kernel-config" / "t1" / "inputs.json").write_text("[")
    assert series_hash(kernel) == ""
    shutil.rmtree(tmp_path / "kernel-config")
    assert series_hash(kernel) == ""


def test_a_cell_has_its_own_complaints_and_failures_once(tmp_path: Path) -> None:
    run = prepared(tmp_path, {"api/a": "true"}, (cell(), cell(smp=2)))
    one, other = (setup.cell.name for setup in run.read_artefacts().cells)
    with Recorder(run.results) as recorder:
        for title in ("A", "B", "A"):
            recorder.write(make.splat(cell=one, title=title))
        recorder.write(make.splat(cell=one, title="C", excused="known"))
        recorder.write(make.splat(cell=other, title="D"))
        for _ in range(2):
            recorder.write(make.lost(cell=other))
    first, second = load_baseline(run.path).cells
    assert (first.name, first.splats, first.lost) == (one, ("A", "B"), ())
    assert (second.name, second.splats, second.lost) == (other, ("D",), ("panic",))


def test_a_folder_and_its_baseline_file_are_the_same(tmp_path: Path) -> None:
    run = prepared(tmp_path, {"api/a": "true"})
    with Recorder(run.results) as recorder:
        recorder.write(make.boot(cell=cell().name))
        recorder.write(make.case("a", "fail", cell=cell().name))
        recorder.write(make.case("a", cell=cell().name))
    script = run.cell(cell().name) / "qemu.sh"
    script.parent.mkdir(parents=True)
    script.write_text("exec qemu \\\n    -icount shift=0 \\\n")
    render_run(run)
    base = load_baseline(run.path)
    assert load_baseline(run.path / "baseline.json") == base
    (one,) = base.cells
    assert one.cases == {"api/open::a": "fail"}
    assert (one.accel, one.clock, one.made_of["kernel"]) == ("tcg", "icount", KEY[:12])


def test_what_is_no_run_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for path in (tmp_path, tmp_path / "x.json", tmp_path / "nothing"):
        with pytest.raises(UserError):
            load_baseline(path)


def test_a_file_without_an_end_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this is not a file"):
        load_baseline(Path("/dev/zero"))
    with (tmp_path / "large.json").open("wb") as large:
        large.truncate((64 << 20) + 1)
    with pytest.raises(UserError, match="more than 64 MiB"):
        load_baseline(tmp_path / "large.json")
