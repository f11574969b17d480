"""The guest's CPU: checks of a profile with QEMU and in the guest."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.errors import UserError
from harness.guest.argv import base_argv
from harness.guest.query import monitored
from harness.guest.transport.qmp import Monitor, MonitorError
from harness.guest.verdict.failure import Completed
from harness.values import CpuProfile, Emulator

#: CPUID.(EAX=7,ECX=0):EDX[5], by the Intel SDM, volume 1, chapter "User interrupts".
UINTR_EDX_BIT = 5
UINTR_HINT = (
    "no released QEMU models user interrupts: --qemu bundled builds one that does; or test the "
    "kernel's emulation with --cpu hidden"
)

#: Separates the two parts of the guest's answer.
_MARK = "-- cpuinfo --"

_UNKNOWN_MODEL = re.compile(r"unable to find CPU model '([^']*)'")
_UNKNOWN_PROPERTY = re.compile(r"Property '([\w-]+)\.([\w.-]+)' not found")
_BAD_VALUE = re.compile(
    r"(Property '[\w-]+\.[\w.-]+' (?:doesn't take|can't)[^\n]*|"
    r"[^\n]*Parameter '[\w.-]+' expects [^\n]*)"
)
_LACKS = re.compile(r"warning: (\S+) doesn't support requested feature: (\S+)")
_ENFORCED = re.compile(r"doesn't support requested features?\b")


def refusal(stderr: str, profile: CpuProfile, emulator: Emulator) -> UserError | None:
    """Return the error for a CPU that QEMU refuses, None if QEMU failed for another reason.

    :param stderr: QEMU's messages.
    """
    where = f"cpu profile {profile.name}, {emulator.binary} {emulator.version}"
    if found := _UNKNOWN_PROPERTY.search(stderr):
        name = found[2]
        return UserError(
            f"this QEMU's CPU model {profile.model!r} has no property {name!r}",
            where=where,
            detail=found[0],
            hint=UINTR_HINT if name == "uintr" else f"`{emulator.binary} -cpu help` lists them",
        )
    if found := _UNKNOWN_MODEL.search(stderr):
        return UserError(
            f"this QEMU has no CPU model {found[1]!r}",
            where=where,
            hint=f"`{emulator.binary} -cpu help` lists its models; correct the profile's `model`",
        )
    if _ENFORCED.search(stderr):
        lacks = sorted({name for _, name in _LACKS.findall(stderr)})
        return UserError(
            f"the accelerator lacks features of the CPU model {profile.model!r}",
            where=where,
            detail="\n".join(lacks) or stderr[-1000:],
            hint="use a smaller model, or switch these off in the profile's `features`",
        )
    if found := _BAD_VALUE.search(stderr):
        return UserError(
            "QEMU refuses a value in the profile's `features`",
            where=where,
            detail=found[0].strip(),
        )
    return None


@functools.lru_cache(maxsize=32)
def knows_property(emulator: Emulator, model: str, name: str) -> bool:
    """Return true if QEMU's CPU ``model`` has the property ``name``. No guest is started.

    False for a model that QEMU does not know: starting it gives a better error.

    :raise GuestError: QEMU does not start.
    """
    argv = [*base_argv(emulator), "-machine", "none", "-S"]
    with monitored(argv) as monitor:
        try:
            found = monitor.command("device-list-properties", {"typename": f"{model}-x86_64-cpu"})
        except MonitorError:
            return False
    return any(item.get("name") == name for item in found)


def cpu_differences_by_qmp(monitor: Monitor, profile: CpuProfile) -> list[str]:
    """Return the differences between the profile's features and each vCPU, as QMP reports it.

    :raise MonitorError: QEMU did not answer.
    """
    wanted = dict(_wanted(profile.features))
    found = []
    for cpu in monitor.command("query-cpus-fast"):
        for name, value in wanted.items():
            try:
                got = monitor.command("qom-get", {"path": cpu["qom-path"], "property": name})
            except MonitorError as error:
                found.append(f"CPU {cpu['cpu-index']}: {name}: {error.what}")
                continue
            if _plain(got) != value:
                found.append(f"CPU {cpu['cpu-index']}: {name} is {_plain(got)}, not {value}")
    return found


def _wanted(features: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield the name and value of each feature, as QMP writes them."""
    for feature in features:
        if feature[:1] in "+-":
            yield feature[1:], "on" if feature[0] == "+" else "off"
        elif "=" in feature:
            name, value = feature.split("=", 1)
            yield name, {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(value, value)
        else:
            yield feature, "on"


def _plain(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def parse_cpuid(text: str) -> Mapping[int, tuple[int, int, int, int]]:
    """Return CPU → (EAX, EBX, ECX, EDX) from the output of the guest's ``cpuid``.

    Other lines are skipped.
    """
    found: dict[int, tuple[int, int, int, int]] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(\d+)((?: [0-9a-f]{8}){4})", line.strip())
        if match:
            a, b, c, d = (int(word, 16) for word in match[2].split())
            found[int(match[1])] = (a, b, c, d)
    return found


def parse_flags(cpuinfo: str) -> list[frozenset[str]]:
    """Return the flags of each CPU in ``/proc/cpuinfo``."""
    return [
        frozenset(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.startswith("flags")
    ]


def parse_vendors(cpuinfo: str) -> frozenset[str]:
    """Return the vendors of the CPUs in ``/proc/cpuinfo``, normally one."""
    return frozenset(
        line.partition(":")[2].strip()
        for line in cpuinfo.splitlines()
        if line.startswith("vendor_id")
    )


def cpu_query_command(first: Sequence[str]) -> list[str]:
    """Return a command that runs ``first``, then prints the guest's CPUs."""
    return ["sh", "-c", f"{shlex.join(first)} && cpuid 7 0 && echo '{_MARK}' && cat /proc/cpuinfo"]


def cpu_differences_in_output(done: Completed, profile: CpuProfile, smp: int) -> list[str]:
    """Return the differences between the profile and the output of :func:`cpu_query_command`."""
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0 or _MARK not in text:
        said = done.stderr.decode(errors="replace").strip() or "no answer"
        return [f"the CPU check did not run: {said}"]
    cpuid, _, cpuinfo = text.partition(_MARK)
    return cpu_differences_in_guest(cpuid, cpuinfo, profile, smp)


def cpu_differences_in_guest(
    cpuid_7_0: str, cpuinfo: str, profile: CpuProfile, smp: int
) -> list[str]:
    """Return the differences between the profile and the CPUs that the guest sees."""
    registers = parse_cpuid(cpuid_7_0)
    found = []
    if len(registers) != smp:
        found.append(f"{len(registers)} CPUs answered CPUID, not {smp}")
    for cpu, (_, _, _, edx) in sorted(registers.items()):
        exposed = bool(edx >> UINTR_EDX_BIT & 1)
        if exposed != profile.exposes_uintr:
            found.append(
                f"CPU {cpu}: CPUID.(7,0):EDX is {edx:#010x}, bit {UINTR_EDX_BIT} (UINTR) "
                f"{'set' if exposed else 'clear'}, profile says "
                f"{'set' if profile.exposes_uintr else 'clear'}"
            )
    vendors = parse_vendors(cpuinfo)
    if profile.vendor is not None and vendors != {profile.vendor}:
        found.append(f"the vendor is {' and '.join(sorted(vendors))}, not {profile.vendor}")
    flags = parse_flags(cpuinfo)
    if len(flags) != smp:
        found.append(f"/proc/cpuinfo shows {len(flags)} CPUs, not {smp}")
    for cpu, have in enumerate(flags):
        if missing := sorted(set(profile.require_flags) - have):
            found.append(f"CPU {cpu}: required flags are missing: {' '.join(missing)}")
        if present := sorted(set(profile.forbid_flags) & have):
            found.append(f"CPU {cpu}: forbidden flags are present: {' '.join(present)}")
    return found
