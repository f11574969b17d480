"""A guest of 117 bytes: it enters 64-bit mode, works for a moment, and halts.

Firmware is no proof of an accelerator: it runs in 16-bit mode. There are KVMs that interpret what
they cannot run and are a thousand times too slow for a kernel, or that stop at an instruction
which their interpreter does not know; both run the firmware to its end.
"""

from __future__ import annotations

import struct

#: Where the image is, in physical memory.
LOAD = 0x100000
#: What ``probe_guest.S`` assembles to.
CODE = bytes.fromhex(
    "c7050010100003201000c7050020100003301000c7050030100083000000b8001010000f22d8b8200000000f22e0"
    "b9800000c0b80001000031d20f30b8110000800f22c00f01156f001000ea520010000800b900000001ffc975fcfa"
    "f4ebfc000000000000000000000000009a20000f005f001000"
)
#: RIP once the guest has halted: behind its HLT.
HALTED_AT = LOAD + CODE.index(bytes.fromhex("faf4ebfc")) + 2

#: Behind the code: its page tables, which are zero at first.
_ZEROED = 0x4000
_HEADER, _SEGMENT = 64, 56
#: The note by which QEMU's -kernel knows the entry: ``XEN_ELFNOTE_PHYS32_ENTRY`` of Xen's
#: "x86/HVM direct boot ABI".
_NOTE = struct.pack("<3I4sQ", 4, 8, 18, b"Xen", LOAD)


def image() -> bytes:
    """Return the guest as an ELF file for QEMU's ``-kernel``."""
    note_at = _HEADER + 2 * _SEGMENT
    code_at = note_at + len(_NOTE)
    header = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0, 0),  # 64 bits, little endian
        *(2, 62, 1, LOAD, _HEADER, 0, 0),  # an executable for x86-64
        *(_HEADER, _SEGMENT, 2, 0, 0, 0),
    )
    load, note = 1, 4
    segments = [
        (load, 7, code_at, LOAD, LOAD, len(CODE), _ZEROED, 1),
        (note, 4, note_at, 0, 0, len(_NOTE), len(_NOTE), 4),
    ]
    return header + b"".join(struct.pack("<IIQQQQQQ", *one) for one in segments) + _NOTE + CODE
