"""``environment.json``: the host of a run, and the tools that it used.

Load and stolen CPU time can double a latency under emulation. So they are recorded at the start
and at the end of a run.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import Field

from harness import __version__
from harness.results.document import Document
from harness.values import Value

ENVIRONMENT_FILE = "environment.json"
_VERSION_S = 10.0
_PROC = Path("/proc")


class LoadSample(Value):
    """Load of the host at one time."""

    time: datetime
    #: Load averages over 1, 5 and 15 minutes.
    load: tuple[float, float, float]
    memory_available_mib: int
    #: CPU time since the host's boot, and the stolen part of it, in clock ticks.
    ticks: int = Field(ge=0, lt=1 << 64)
    stolen_ticks: int = Field(ge=0, lt=1 << 64)


class Host(Value):
    """Properties of the host that do not change during a run."""

    cpu: str
    #: CPUs that this process may use.
    cores: int
    memory_mib: int
    kernel: str
    system: str


class Environment(Document):
    """``environment.json``."""

    host: Host
    #: Tool → first line of its version output.
    tools: dict[str, str]
    start: LoadSample
    end: LoadSample | None = None
    #: CPU time that a hypervisor took away during the run (steal), in percent.
    steal_percent: float | None = None


def observe(tools: Mapping[str, Sequence[str]]) -> Environment:
    """Return the environment at the start of a run.

    :param tools: tool → command that prints its version: ``{"qemu": [BINARY, "--version"]}``.
    """
    return Environment(
        host=host(),
        tools={
            "uintr-harness": __version__,
            "python": platform.python_version(),
            **{name: tool_version(argv) for name, argv in tools.items()},
        },
        start=sample_load(),
    )


def finish(environment: Environment, now: LoadSample | None = None) -> Environment:
    """Return the environment with the host's load at the end of the run."""
    end = now or sample_load()
    ticks = end.ticks - environment.start.ticks
    stolen = end.stolen_ticks - environment.start.stolen_ticks
    percent = round(100 * stolen / ticks, 2) if ticks > 0 else None
    return environment.model_copy(update={"end": end, "steal_percent": percent})


def host() -> Host:
    """Return the properties of this host."""
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return Host(
        cpu=cpu_model(_read("cpuinfo")) or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=psutil.virtual_memory().total >> 20,
        kernel=platform.release(),
        system=system.get("PRETTY_NAME", platform.system()),
    )


def sample_load() -> LoadSample:
    """Return the current load of this host."""
    ticks, stolen = cpu_ticks(_read("stat"))
    return LoadSample(
        time=datetime.now(UTC),
        load=os.getloadavg(),
        memory_available_mib=psutil.virtual_memory().available >> 20,
        ticks=ticks,
        stolen_ticks=stolen,
    )


def cpu_model(cpuinfo: str) -> str:
    """Return the first CPU's model name in ``/proc/cpuinfo``, empty if there is none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def cpu_ticks(stat: str) -> tuple[int, int]:
    """Return all CPU time and the stolen part in clock ticks, from ``/proc/stat`` (see proc(5)).

    The line ``cpu`` has user, nice, system, idle, iowait, irq, softirq, steal, and guest times,
    which are already part of user.
    """
    for line in stat.splitlines():
        words = line.split()
        if words[:1] == ["cpu"] and all(word.isdigit() for word in words[1:]):
            times = [int(word) for word in words[1:9]]
            return sum(times), times[7] if len(times) > 7 else 0
    return 0, 0


def tool_version(argv: Sequence[str]) -> str:
    """Return the first line of a tool's output, or why there is none."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_S,
        )
    except FileNotFoundError:
        return "not found"
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not answer: {type(error).__name__}"
    first = done.stdout.decode("utf-8", "backslashreplace").strip().split("\n")[0]
    return first or f"prints nothing (exit code {done.returncode})"


def _read(name: str) -> str:
    try:
        return (_PROC / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
