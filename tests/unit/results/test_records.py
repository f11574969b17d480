from __future__ import annotations

import json
import multiprocessing
import resource
import signal
from pathlib import Path

import pytest

from harness.errors import ExitCode, GuestError
from harness.results.reading import read_records
from harness.results.records import ProgramRecord, Record, Recorder
from tests.unit.results import make

EVERY: list[Record] = [
    make.boot(phases={"init": 3.2}),
    make.case(diagnostics="# \x00\x1b[31m \u2028 é\n# two", message="why"),
    ProgramRecord(cell=make.CELL, program="api/open", returncode=None, signal="SIGSEGV"),
    make.latency(),
    make.splat(),
    make.lost(),
]


def test_every_record_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    with Recorder(path) as recorder:
        for record in EVERY:
            recorder.write(record)
    found = read_records(path)
    assert list(found.records) == EVERY
    assert (found.unknown, found.broken) == ((), ())


def test_a_line_says_its_type_and_schema(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Recorder(path) as recorder:
        for record in EVERY:
            recorder.write(record)
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert [line["type"] for line in lines] == [
        "boot", "case", "program", "latency", "splat", "guest-failure"
    ]  # fmt: skip
    assert {line["schema"] for line in lines} == {1}


def test_a_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    recorder = Recorder(path)
    recorder.write(EVERY[0])
    assert read_records(path).records == (EVERY[0],)
    recorder.close()
    recorder.close()


def test_unknown_types_fields_and_versions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    later = {"type": "weather", "schema": 1, "cell": "c"}
    newer = json.loads(make.case().model_dump_json(by_alias=True)) | {"schema": 2}
    wider = json.loads(make.case().model_dump_json(by_alias=True)) | {"colour": "red"}
    path.write_text("\n".join(json.dumps(value) for value in [later, newer, wider]) + "\n[1]\n{}\n")
    found = read_records(path)
    assert found.records == ()
    assert found.unknown == (later, newer, wider, {})
    assert found.broken == ("[1]",)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_cut_last_line_is_kept_and_the_next_record_stands_alone(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "results.jsonl"
    with Recorder(path) as recorder:
        recorder.write(EVERY[0])
        recorder.write(EVERY[1])
    path.write_bytes(path.read_bytes()[:-cut])
    left = read_records(path)
    assert len(left.records) + len(left.broken) == 2
    with Recorder(path) as recorder:
        recorder.write(EVERY[4])
    assert read_records(path).records[-1] == EVERY[4]
    assert read_records(path).records[0] == EVERY[0]


def test_garbage_never_raises(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\xff\xfe\n\x00\n" + b"[" * 100_000 + b"\n\n  \n" + b'"x"\n{"type":\n')
    assert len(read_records(path).broken) == 5
    assert read_records(tmp_path / "none").records == ()


def _append(path: Path, number: int) -> None:
    with Recorder(path) as recorder:
        for place in range(40):
            text = f"{number}." * 2000
            recorder.write(make.case(f"{number}-{place}", diagnostics=text))


def test_writers_in_several_processes_do_not_mix_lines(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = read_records(path)
    assert (len(found.records), found.unknown, found.broken) == (120, (), ())


def test_a_full_disk_is_a_failure_of_the_host(tmp_path: Path) -> None:
    """A limit on file size makes write() fail as a full disk does: short first, then an error."""
    path = tmp_path / "results.jsonl"
    recorder = Recorder(path)
    recorder.write(EVERY[0])
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
        for _ in range(2):
            with pytest.raises(GuestError, match="cannot be stored") as caught:
                recorder.write(EVERY[1])
        assert caught.value.exit_code is ExitCode.GUEST
        assert caught.value.hint
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    recorder.write(EVERY[4])
    found = read_records(path)
    assert found.records == (EVERY[0], EVERY[4])
    assert len(found.broken) == 1


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuestError, match="cannot be stored"):
        Recorder(tmp_path / "file" / "results.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
