"""Kernel headers that declare the later generation: those of a real kernel, with its ABI exchanged.

Numbers and names are those of the series for Linux 6.0. It defines the ioctls' letters and numbers;
how they are encoded beyond that is not known here.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

#: The calls in the order of their numbers.
CALLS = (
    "register_handler",
    "unregister_handler",
    "vector_fd",
    "register_sender",
    "unregister_sender",
    "wait",
    "register_self",
    "alt_stack",
    "ipi_fd",
)
FIRST = 471

UINTR_H = """\
#ifndef _ASM_X86_UINTR_H
#define _ASM_X86_UINTR_H

#include <linux/ioctl.h>

#define UINTR_HANDLER_FLAG_WAITING_NONE		0x0
#define UINTR_HANDLER_FLAG_WAITING_RECEIVER	0x1000
#define UINTR_HANDLER_FLAG_WAITING_SENDER	0x2000
#define UINTR_HANDLER_FLAG_WAITING_ANY		0x3000

#define UINTR_IS_ACTIVE		_IO('U', 0)
#define UINTR_DISABLE		_IO('U', 1)
#define UINTR_NOTIFY		_IO('U', 2)

#define UIPI_SET_TARGET_TABLE	_IO('u', 0)
#define UIPI_CLEAR_TARGET_TABLE	_IO('u', 1)

#endif
"""


def make_headers(real: Path, to: Path) -> Path:
    """Return a folder of headers.

    :param real: installed headers of a kernel.
    :param to: the folder to make.
    :raise ValueError: the real headers have other calls under the numbers of the later generation.
    """
    shutil.copytree(real, to)
    numbers = to / "asm/unistd_64.h"
    text = re.sub(r"#define __NR_uintr_\w+ \d+\n", "", numbers.read_text())
    for number, call in enumerate(CALLS, FIRST):
        if re.search(rf"#define __NR_\w+ {number}\n", text):
            raise ValueError(f"{real} has another call {number}")
        text = text.replace(
            "#endif /* _ASM_UNISTD_64_H */",
            f"#define __NR_uintr_{call} {number}\n#endif /* _ASM_UNISTD_64_H */",
        )
    numbers.write_text(text)
    (to / "asm/uintr.h").write_text(UINTR_H)
    return to
