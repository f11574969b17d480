# SPDX-License-Identifier: GPL-2.0-only
"""State component 14 under XSAVES and XRSTORS; SDM volume 1, chapter 13, and volume 2.

Only bit 14 is set in IA32_XSS, and only bit 0 in XCR0. Requests for component 0 are not modelled.
"""

from __future__ import annotations

from oracle import msrs
from oracle.processor import GP, MASK64, Fault, Processor, Unmodelled

COMPONENT = 1 << 14
ENABLED = COMPONENT | 1
COMPACTED = 1 << 63
#: Offsets of the header, and of the first component after it.
HEADER, EXTENDED = 512, 576
_UIF = 1 << 63
#: MSRs in the order of the component's image.
_IMAGE = (msrs.HANDLER, msrs.STACKADJUST, msrs.MISC, msrs.PD, msrs.RR, msrs.TT)


def _rfbm(cpu: Processor, requested: int, area: int) -> int:
    """Check CPL and alignment, and return RFBM: the requested components that are enabled."""
    if cpu.cpl:
        cpu.by("XSAVE-19")
        raise Fault(GP)
    if area % 64:
        raise Fault(GP)
    if requested & 1:
        raise Unmodelled("x87 state")
    return requested & ENABLED


def _image(cpu: Processor) -> list[int]:
    """Return the current state as the six words of the component."""
    misc = cpu.uinv << 32 | cpu.uittsz | (_UIF if cpu.uif else 0)
    return [cpu.uihandler, cpu.uistackadjust, misc, cpu.upidaddr, cpu.uirr, cpu.uitt]


def xsaves(cpu: Processor, requested: int, area: int) -> None:
    """Save the component unless it is in its initial configuration, then clear UINV."""
    rfbm = _rfbm(cpu, requested, area)
    image = _image(cpu)
    # XINUSE: the configuration is initial only if all of the component is 0.
    saved = rfbm & COMPONENT if any(image) else 0
    cpu.by("XSAVE-7")
    cpu.write(area + HEADER, 8, saved)
    cpu.write(area + HEADER + 8, 8, rfbm | COMPACTED)
    if not rfbm:
        cpu.by("XSAVE-6")
    if saved:
        cpu.by("XSAVE-4")
        for place, word in enumerate(image):
            cpu.write(area + EXTENDED + 8 * place, 8, word)
        cpu.by("XSAVE-5")
        cpu.uinv = 0


def xrstors(cpu: Processor, requested: int, area: int) -> None:
    """Load the component, or its initial configuration."""
    rfbm = _rfbm(cpu, requested, area)
    xstate_bv, xcomp_bv, *reserved = (cpu.read(area + HEADER + 8 * place, 8) for place in range(8))
    outside = xcomp_bv & ~COMPACTED & ~ENABLED | xstate_bv & ~xcomp_bv
    if not xcomp_bv & COMPACTED or outside or any(reserved):
        cpu.by("XSAVE-17")
        raise Fault(GP)
    if not rfbm & COMPONENT:
        return
    if cpu.uinv:
        cpu.circumstance("initial-state-with-uinv", not xstate_bv & COMPONENT)
        cpu.by("XSAVE-9")
        raise Fault(GP)
    if not xstate_bv & COMPONENT:
        cpu.by("XSAVE-10")
        cpu.circumstance("initial-state-with-requests", cpu.uirr)
        start, end = area + EXTENDED, area + EXTENDED + 8 * len(_IMAGE)
        watched = (one.address + one.size > start and one.address < end for one in cpu.breakpoints)
        cpu.circumstance("initial-state-beside-a-breakpoint", any(watched))
        _load(cpu, [0] * 6)
        return
    image = [cpu.read(area + EXTENDED + 8 * place, 8) for place in range(6)]
    if _refused(cpu, image):
        cpu.by("XSAVE-11")
        # Elements other than UINV may have been loaded.
        cpu.component_open = True
        raise Fault(GP)
    cpu.by("XSAVE-8")
    if image[4]:
        cpu.by("XSAVE-12")
    _load(cpu, image)


def _refused(cpu: Processor, image: list[int]) -> bool:
    """Return true if WRMSR would refuse one of the words. Bit 63 of MISC is UIF."""
    words = [word & ~_UIF if place == 2 else word for place, word in enumerate(image)]
    return any(msrs.refused(cpu, number, word) for number, word in zip(_IMAGE, words, strict=True))


def _load(cpu: Processor, image: list[int]) -> None:
    cpu.uihandler, cpu.uistackadjust, misc, cpu.upidaddr, cpu.uirr, cpu.uitt = image
    cpu.uittsz, cpu.uinv = misc & 0xFFFFFFFF, misc >> 32 & 0xFF
    cpu.uif = bool(misc & _UIF)


def mask(cpu: Processor) -> int:
    """Return the requested components, EDX:EAX."""
    return cpu.regs[2] << 32 & MASK64 | cpu.regs[0] & 0xFFFFFFFF
