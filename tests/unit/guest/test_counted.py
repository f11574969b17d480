"""A guest that counts instructions, with a fake QEMU: what goes in, what comes out, how it ends."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest import counted
from harness.guest.counted import counted_argv, run_counted
from harness.guest.spec import GuestSpec
from harness.guest.verdict.failure import GuestFailure

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
