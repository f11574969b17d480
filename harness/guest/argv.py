"""QEMU's command line. Each part is made by a pure function."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.guest.spec import GuestSpec
from harness.lib.text import clean_line
from harness.values import Accel, CpuProfile, Emulator

#: The guest's address in QEMU's user network, and its gateway there.
GUEST_IP = "10.0.2.15"
GATEWAY_IP = "10.0.2.2"
HOST_IP = "127.0.0.1"
#: Kernel parameter that sets the guest's address before the init runs.
NETWORK_WORDS = f"ip={GUEST_IP}::{GATEWAY_IP}:255.255.255.0:guest:eth0:off"
#: Identifiers that QMP commands use.
SERIAL_ID = "serial"
NET_ID = "net0"
#: Machines without the devices that no guest uses. Probing for them takes 0.2 s under emulation.
MACHINES = {"q35": "q35,sata=off,smbus=off", "pc": "pc"}


@dataclass(frozen=True)
class Runtime:
    """Files and descriptors that exist only while a guest runs."""

    #: The image, followed by the archive with the guest's keys.
    initrd: Path
    #: Descriptor of QEMU's end of a Unix socket pair.
    qmp_fd: int
    pidfile: Path
    #: Whether QEMU waits for a state to restore, instead of booting.
    incoming: bool = False


def base_argv(emulator: Emulator) -> list[str]:
    """Return the binary and its firmware folders, with the user's configuration disabled."""
    firmware = [part for folder in emulator.firmware for part in ("-L", str(folder))]
    return [
        *(str(emulator.binary), *firmware),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
    ]


def cpu_argument(profile: CpuProfile, *, knows_uintr: bool) -> str:
    """Return the value of ``-cpu``. With ``enforce``, a missing feature is an error.

    :param knows_uintr: whether this QEMU's model has the property ``uintr``. It is switched off
        then if the profile hides it, because the model ``max`` has all features.
    """
    hide = ["uintr=off"] if knows_uintr and not profile.exposes_uintr else []
    return ",".join([profile.model, *profile.features, *hide, "enforce"])


def machine_argv(
    cpu: CpuProfile,
    accel: Accel,
    *,
    knows_uintr: bool,
    smp: int = 1,
    memory_mib: int,
    threads: Literal["multi", "single"] = "multi",
) -> list[str]:
    """Return the machine, its accelerator, CPUs and memory.

    :param threads: whether TCG runs each CPU in its own thread, or all in one.
    """
    return [
        *("-machine", MACHINES[cpu.machine]),
        *("-accel", f"tcg,thread={threads}" if accel == "tcg" else accel),
        *("-cpu", cpu_argument(cpu, knows_uintr=knows_uintr)),
        *("-smp", str(smp)),
        *("-m", f"{memory_mib}M"),
    ]


def guest_machine_argv(
    spec: GuestSpec, *, knows_uintr: bool, threads: Literal["multi", "single"] = "multi"
) -> list[str]:
    """Return the machine of a guest, see :func:`machine_argv`."""
    return machine_argv(
        spec.cpu,
        spec.accel,
        knows_uintr=knows_uintr,
        smp=spec.smp,
        memory_mib=spec.memory_mib,
        threads=threads,
    )


def monitor_argv(fd: int) -> list[str]:
    """Return the options for a QMP monitor on an open descriptor."""
    return [
        *("-chardev", f"socket,id=qmp,fd={fd}"),
        *("-mon", "chardev=qmp,mode=control"),
    ]


def device_argv() -> list[str]:
    """Return the serial console on QEMU's standard streams, the network card, and entropy.

    SSH is forwarded from 127.0.0.1, on a port that the host's kernel chooses (0). QMP has its
    number.
    """
    return [
        *("-chardev", f"stdio,id={SERIAL_ID},signal=off"),
        *("-serial", f"chardev:{SERIAL_ID}"),
        *network_argv(),
    ]


def network_argv() -> list[str]:
    """Return a network card that is isolated but for the SSH port, and the entropy source."""
    return [
        *("-netdev", f"user,id={NET_ID},restrict=on,hostfwd=tcp:{HOST_IP}:0-{GUEST_IP}:22"),
        *("-device", f"virtio-net-pci,netdev={NET_ID},romfile="),
        *("-device", "virtio-rng-pci"),
    ]


def program_argv(program: Path, words: str) -> list[str]:
    """Return a program that runs without a kernel, its words, and its ports for output and end."""
    return [
        *("-kernel", str(program)),
        *("-append", words),
        *("-chardev", "stdio,id=out,signal=off"),
        *("-device", "isa-debugcon,iobase=0xe9,chardev=out"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
    ]


def kernel_cmdline(spec: GuestSpec, own: str = NETWORK_WORDS) -> str:
    """Return the kernel's command line.

    :param own: parameters for this kind of guest.

    ``earlyprintk`` shows a panic before the console driver is registered. A panic ends QEMU at
    once (``panic=-1`` with ``-no-reboot``), and so does the NMI that ends a diagnosis. ``quiet``
    is not used: it would keep warnings off the console.
    """
    return " ".join(
        part
        for part in (
            "earlyprintk=serial,ttyS0,115200",
            "console=ttyS0,115200",
            "panic=-1",
            "ignore_loglevel",  # a program must not be able to silence the kernel
            "unknown_nmi_panic",
            "no_timer_check",  # the check counts ticks, and a busy host delays them
            "i8042.noaux i8042.nokbd",  # probing takes 0.4 s under emulation
            own,
            spec.cpu.cmdline,
            spec.cmdline,
        )
        if part
    )


def boot_argv(spec: GuestSpec, initrd: Path, own: str = NETWORK_WORDS) -> list[str]:
    """Return the kernel, its archive and its command line, see :func:`kernel_cmdline`."""
    return [
        *("-kernel", str(spec.kernel.bzimage)),
        *("-initrd", str(initrd)),
        *("-append", kernel_cmdline(spec, own)),
    ]


def guest_argv(spec: GuestSpec, runtime: Runtime, *, knows_uintr: bool = False) -> list[str]:
    """Return the whole command line of a guest."""
    return [
        *base_argv(spec.emulator),
        *("-pidfile", str(runtime.pidfile)),
        *guest_machine_argv(spec, knows_uintr=knows_uintr),
        *monitor_argv(runtime.qmp_fd),
        *device_argv(),
        *boot_argv(spec, runtime.initrd),
        *(("-incoming", "defer") if runtime.incoming else ()),
    ]


def as_script(spec: GuestSpec, argv: list[str], *, knows_uintr: bool = False) -> str:
    """Return a shell script that boots the same guest by hand.

    It has the serial console on the terminal, no monitor, and the image without keys. ``argv``,
    which needs an open descriptor and this run's keys, is in it as a comment.
    """
    by_hand = [
        *base_argv(spec.emulator),
        *guest_machine_argv(spec, knows_uintr=knows_uintr),
        *device_argv(),
        *boot_argv(spec, spec.image.initramfs),
    ]
    lines = " \\\n    ".join(shlex.join(group) for group in _options(by_hand))
    ran = clean_line(shlex.join(argv))  # a line end in it would end the comment
    return f"#!/bin/sh\n# The harness ran:\n#   {ran}\nexec {lines}\n"


def console_argv(spec: GuestSpec, initrd: Path, *, knows_uintr: bool = False) -> list[str]:
    """Return a command that boots the guest with a shell on the caller's terminal.

    Ctrl-A X ends QEMU. Ctrl-A C switches to its monitor.
    """
    return [
        *base_argv(spec.emulator),
        *guest_machine_argv(spec, knows_uintr=knows_uintr),
        *("-serial", "mon:stdio"),
        *network_argv(),
        *boot_argv(spec, initrd, f"{NETWORK_WORDS} harness.console"),
    ]


def _options(argv: list[str]) -> list[list[str]]:
    """Group each option with its values."""
    groups: list[list[str]] = []
    for word in argv:
        if word.startswith("-") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups
