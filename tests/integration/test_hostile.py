"""Programs that hand over without end: each has its named verdict, and the others theirs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import CaseRecord, GuestFailureRecord

pytestmark = pytest.mark.guest

LIMIT_S = 3000
#: Runs the command line with another folder of guest programs; prints its largest size in KiB.
_RUN = """
import pathlib, resource, sys
from harness import paths
paths.GUEST_TESTS = pathlib.Path(sys.argv[1])
from harness.cli import main
try:
    status = main(sys.argv[2:])
except SystemExit as end:
    status = end.code
print("peak:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def test_hostile_programs_are_ended_and_named(tmp_path: Path) -> None:
    tests = tmp_path / "guest-tests"
    shutil.copytree(paths.GUEST_TESTS / "include", tests / "include")
    shutil.copytree(paths.ROOT / "tests/hostile", tests, dirs_exist_ok=True)
    out = tmp_path / "out"
    argv = [sys.executable, "-c", _RUN, str(tests), "run", "--out", str(out)]
    done = subprocess.run(
        [*argv, "-k", "hostile or latency"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    print(done.stdout, done.stderr)
    assert done.returncode in {1, 4}
    records = read_records(RunFolder(out).results).records
    said = {
        (record.program, record.case): f"{record.status}: {record.message}"
        for record in records
        if isinstance(record, CaseRecord)
    }
    died = {r.program: r.verdict for r in records if isinstance(r, GuestFailureRecord)}
    program = "(program)"
    assert said["hostile/well", "well"].startswith("pass")
    assert said["hostile/reads", "end of input"].startswith("pass")
    assert "too much output: more than 4 MiB" in said["hostile/stdout", program]
    assert "too much output: more than" in said["hostile/results", program]
    ended = said["hostile/console", program]
    assert "too much output: more than 4 MiB on the console" in ended or "timed out" in ended
    assert died == {"hostile/reboots": "rebooted", "hostile/powers-off": "powered-off"}
    assert "200000000000 bytes" in said["latency/sparse", "(samples)"]
    assert "a folder among the files" in said["latency/deep", "(samples)"]
    assert "xff b" in said["latency/names", "(samples)"]
    lines = (out / "results.jsonl").read_bytes().splitlines()
    assert max(map(len, lines)) < 128 << 10
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert size < 128 << 20
    assert int(done.stdout.rpartition("peak:")[2]) < 512 << 10
