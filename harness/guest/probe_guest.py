"""A guest of 117 bytes: it enters 64-bit mode, runs a short loop, and halts.

Firmware is not enough to test an accelerator: it runs in 16-bit mode. Some KVMs interpret code
that they cannot run natively, a thousand times too slowly for a kernel. Others stop at an
instruction that their interpreter lacks. Both run the firmware to its end.
"""

from __future__ import annotations

import struct

#: Physical address of the image.
LOAD = 0x100000
#: ``probe_guest.S``, assembled.
CODE = bytes.fromhex(
    "c7050010100003201000c7050020100003301000c7050030100083000000b8001010000f22d8b8200000000f22e0"
    "b9800000c0b80001000031d20f30b8110000800f22c00f01156f001000ea520010000800b900000001ffc975fcfa"
    "f4ebfc000000000000000000000000009a20000f005f001000"
)
#: RIP after the guest has halted: the address behind its HLT.
HALTED_AT = LOAD + CODE.index(bytes.fromhex("faf4ebfc")) + 2

#: Bytes for the code and its page tables, which are zero at first.
_ZEROED = 0x4000
_HEADER, _SEGMENT = 64, 56
#: The note in which QEMU's -kernel finds the entry point: ``XEN_ELFNOTE_PHYS32_ENTRY`` of Xen's
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
