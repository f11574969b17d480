"""The host's port for the guest's SSH server, which is chosen when QEMU starts."""

from __future__ import annotations

import re

from harness.guest.transport.qmp import MonitorError

_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+22\b")


def forwarded_port(info_usernet: str, net_id: str) -> int:
    """Return the host's port from the answer to ``info usernet``.

    :raise MonitorError: no port is forwarded.
    """
    found = _FORWARD.search(info_usernet)
    if found is None:
        raise MonitorError(
            f"QEMU forwards no port to the guest on {net_id}",
            where="info usernet",
            detail=info_usernet,
            hint="check that this QEMU has user networking (slirp)",
        )
    return int(found[1])
