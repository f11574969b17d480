# SPDX-License-Identifier: GPL-2.0-only
"""An executable model of the architecture of user interrupts.

Each operation is a function, named after the pseudocode of Intel's Software Developer's Manual, and
written from the manual's text alone, independently of any emulator. If an emulator and the model
differ, one of them has misread the manual.

A branch that decides something calls :meth:`~oracle.processor.Processor.by` with the statement of
``CONTRACT.md`` that it follows.

=================  ==========================================================================
``processor``      registers, MSRs, flags, faults
``apic``           the local APIC
``memory``         pages and their rights
``uintr``          the five instructions, notification identification and processing, delivery
``msrs``           RDMSR and WRMSR
``xsave``          state component 14 under XSAVES and XRSTORS
``locked``         XCHG, LOCK BTS and BTR
``ordinary``       arithmetic, moves, branches and other ordinary instructions
``instruction``    the parts of an instruction
``decode``         decoding and dispatch of instructions
``machine``        instruction boundaries: events and their order
``others``         other processors, which act when the first one asks them to
=================  ==========================================================================
"""
