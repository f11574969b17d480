"""A guest that counts instructions, with a fake QEMU: what goes in, what comes out, how it ends."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.guest import counted
from harness.guest.counted import counted_argv, run_counted
from harness.guest.limits import CopyLimitError
from harness.guest.spec import GuestSpec
from harness.guest.verdict.failure import GuestFailure
from harness.guest.verdict.storm import MAX_SPLATS, STORM

MakeSpec = Callable[..., GuestSpec]
BOOT = "Linux version 6.12\r\nuintr-harness: init\r\n"
WARN = "WARNING: CPU: 0 PID: 7 at kernel/uintr.c:12 uintr_post+0x1/0x2\r\n"


def rest(files: dict[str, bytes]) -> str:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue().decode("latin-1")


def ports(console: str = BOOT, output: str = "", files: dict[str, bytes] | None = None) -> object:
    written = [["console", console], ["output", output]]
    return [*written, *([["rest", rest(files)]] if files is not None else [])]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[counted.Counted, bytes]]:
    """Run a program; gives what came of it, and what was streamed."""
    program = tmp_path / "uintr"
    program.write_bytes(b"ELF")

    def start(spec: GuestSpec, timeout_s: float = 20.0) -> tuple[counted.Counted, bytes]:
        streamed: list[bytes] = []
        result = run_counted(
            spec,
            program,
            tmp_path / "cell",
            tmp_path / "samples",
            timeout_s=timeout_s,
            on_stdout=streamed.append,
        )
        return result, b"".join(streamed)

    return start


def test_nothing_of_the_host_is_in_the_command_line(make_spec: MakeSpec) -> None:
    argv = counted_argv(make_spec(), Path("/i"), Path("/f"), knows_uintr=True)
    text = " ".join(argv)
    assert argv[argv.index("-icount") + 1] == "shift=0,sleep=off"
    assert argv[argv.index("-accel") + 1] == "tcg,thread=single"
    assert argv[argv.index("-rtc") + 1].endswith("clock=vm")
    assert argv[argv.index("-seed") + 1] == "1"
    assert argv[argv.index("-smp") + 1] == "1"
    assert "net" not in text.replace("-nodefaults", "")
    assert "rng" not in text
    assert "stdio" not in text
    words = argv[argv.index("-append") + 1].split()
    assert {"nokaslr", "norandmaps", "rdinit=/counted-init"} <= set(words)
    assert not any(word.startswith("ip=") for word in words)
    # The serial ports in the order in which the guest has them.
    files = [word.rpartition("/")[2] for word in argv if word.startswith("file,")]
    assert files == ["console.log", "output", "rest.tar"]


def test_output_samples_and_status_come_out(
    tmp_path: Path, make_spec: MakeSpec, run: Callable[..., tuple[counted.Counted, bytes]]
) -> None:
    files = {"status": b"1\n", "stderr": b"oh", "samples/uintr.return.insn.u64": b"8 bytes."}
    spec = make_spec(ports=ports(BOOT + WARN, "KTAP version 1\n", files), end=0)
    result, streamed = run(spec)
    assert streamed == result.done.stdout == b"KTAP version 1\n"
    assert (result.done.returncode, result.done.stderr) == (1, b"oh")
    assert [splat.kind for splat in result.splats] == ["warn"]
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["uintr.return.insn.u64"]
    assert (tmp_path / "cell" / "console.log").read_bytes().startswith(b"Linux version")
    assert list((tmp_path / "run").glob("uintr-harness-*/*/initramfs")) == []


def test_names_that_lead_elsewhere_are_left_out(
    tmp_path: Path, make_spec: MakeSpec, run: Callable[..., tuple[counted.Counted, bytes]]
) -> None:
    files = {"status": b"0", "samples/../../x": b"", "/etc/x": b"", "samples/a/b": b""}
    run(make_spec(ports=ports(files=files), end=0))
    assert list((tmp_path / "samples").iterdir()) == []


@pytest.mark.parametrize(
    ("console", "end", "verdict"),
    [
        (BOOT + "Kernel panic - not syncing: oops\r\n", 0, "panic"),
        ("Kernel panic - not syncing: no init\r\n", 0, "panic-before-init"),
        (BOOT + "# Kernel panic - not syncing: quoted\r\n", 1, "qemu-died"),
        (BOOT, 0, "panic"),  # a reset without a word
        (BOOT, 1, "qemu-died"),
    ],
)
def test_a_guest_that_dies(
    console: str,
    end: int,
    verdict: str,
    make_spec: MakeSpec,
    run: Callable[..., tuple[counted.Counted, bytes]],
) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(make_spec(ports=ports(console), end=end))
    assert caught.value.verdict == verdict


@pytest.mark.parametrize(("console", "verdict"), [(BOOT, "hang"), ("", "hang-in-init")])
def test_a_guest_that_hangs_is_asked_for_its_registers(
    console: str,
    verdict: str,
    tmp_path: Path,
    make_spec: MakeSpec,
    run: Callable[..., tuple[counted.Counted, bytes]],
) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(make_spec(ports=ports(console)), 1.0)
    assert caught.value.verdict == verdict
    assert "RIP=" in (tmp_path / "cell" / "registers.txt").read_text()


# --- hostile archives and consoles --------------------------------------------------------------


def header(name: str, kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def sparse_without_end() -> bytes:
    """Return a sparse file's header that says that another one follows."""
    block = bytearray(header("x", b"S", 0))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        gzip.compress(rest({"status": b"0"}).encode("latin-1")),
        header("x", b"x", 0) * 2000,
        header("x", b"L", 0) * 2000,
        sparse_without_end(),
        rest({"status": b"9" * 5000}).encode(),
        rest({"status": b"\xff"}).encode("latin-1"),
    ],
    ids=["empty", "compressed", "chain", "names", "sparse", "number", "no number"],
)
def test_an_odd_archive_is_an_incomplete_one(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "rest").write_bytes(archive)
    assert counted._unpack(tmp_path / "rest", tmp_path / "samples") is None


@settings(max_examples=300)
@given(
    spots=st.lists(
        st.tuples(st.integers(0, 2559), st.sampled_from(b"\0\xff\x800SxLg9")), max_size=8
    )
)
def test_no_damage_of_an_archive_raises(
    spots: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    raw = bytearray(rest({"status": b"0", "samples/a": b"8 bytes."}).encode("latin-1"))
    for at, byte in spots:
        raw[at] = byte
    for block in range(0, 2560, 512):  # otherwise a changed header ends the archive
        if raw[block + 257 : block + 262] == b"ustar":
            raw[block + 148 : block + 156] = b" " * 8
            raw[block + 148 : block + 156] = b"%06o\0 " % sum(raw[block : block + 512])
    (folder / "rest").write_bytes(raw)
    with suppress(CopyLimitError):
        counted._unpack(folder / "rest", folder / "samples")
    assert sum(path.stat().st_size for path in folder.rglob("samples/*")) <= len(raw)


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (header("samples/x", b"0", 64 << 30), "'samples/x' claims to have 68719476736 bytes"),
        (header("samples/x", b"5", 0) * 300, "more than 256 files and folders"),
    ],
)
def test_what_an_archive_has_too_much_is_a_result(
    archive: bytes,
    said: str,
    make_spec: MakeSpec,
    run: Callable[..., tuple[counted.Counted, bytes]],
) -> None:
    written = [["console", BOOT], ["output", "KTAP"], ["rest", archive.decode("latin-1")]]
    result, _ = run(make_spec(ports=written, end=0))
    assert result.done.cut_short is not None
    assert said in result.done.cut_short


def test_excused_reports_of_a_console_leave_room_for_others() -> None:
    known = b"WARNING: CPU: 0 PID: 1 at a.c:1 known%d+0x1/0x2\n---[ end trace 0000 ]---\n"
    console = b"".join(known % number for number in range(2 * MAX_SPLATS))
    kasan = b"BUG: KASAN: slab-use-after-free in real+0x1/0x2\n" + b"=" * 67 + b"\n"
    found = counted._scan(console + kasan, lambda splat: "known" in splat.line).splats()
    assert [splat.kind for splat in found][-1] == "kasan"
    found = counted._scan(console + kasan, lambda _: False).splats()
    assert [splat.kind for splat in found][-1] == STORM


def test_a_console_of_many_lines_is_a_result(
    monkeypatch: pytest.MonkeyPatch,
    make_spec: MakeSpec,
    run: Callable[..., tuple[counted.Counted, bytes]],
) -> None:
    monkeypatch.setattr(counted, "MOST_LINES", 100)
    result, _ = run(make_spec(ports=ports(BOOT + "\n" * 200, files={"status": b"0"}), end=0))
    assert result.done.cut_short == "too much output: more than 100 lines in console.log"
