"""Random instruction sequences without a kernel: in QEMU, and in a model of the architecture.

The model is the package ``oracle`` in ``guest-tests/bare-metal``. It belongs to the programs there
and is imported from there.
"""

from __future__ import annotations

import sys

from harness import paths

if (_place := str(paths.GUEST_TESTS / "bare-metal")) not in sys.path:
    sys.path.append(_place)
