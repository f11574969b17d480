"""Programs for fake guests, and calls of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from harness import cli
from harness.results.folder import RunFolder

GOOD = "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 first'"

Fake = Callable[..., None]


def run(*args: str) -> int:
    return cli.invoke(["run", "--series", "none", *args])


def latest() -> RunFolder:
    return RunFolder(Path("runs/latest").resolve())


def summary() -> dict[str, object]:
    loaded: dict[str, object] = json.loads(latest().summary.read_text())
    return loaded


#: 600 samples of about 5 µs, or as many times slower as asked for.
MEASURE = (
    "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 first'; "
    'python3 -c "import random, struct, os; random.seed(os.getpid()); '
    "open('$UINTR_SAMPLES/uintr.sender.ns.u64', 'wb').write(b''.join("
    "struct.pack('<Q', int(random.gauss({} * 5000, 50))) for _ in range(600)))\""
)
