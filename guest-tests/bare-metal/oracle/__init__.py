# SPDX-License-Identifier: GPL-2.0-only
"""The architecture of user interrupts as a program.

Each operation is a function, named after the pseudocode of Intel's Software Developer's Manual, and
written from what the manual says. Nothing here knows how an emulator works: where the two differ,
one of them has misread the manual.

A branch that decides something calls :meth:`~oracle.processor.Processor.by` with the statement of
``CONTRACT.md`` that it follows.

=================  ==========================================================================
``processor``      registers, MSRs, flags, faults
``memory``         pages and their rights
``uintr``          the five instructions, notification identification and processing, delivery
``msrs``           RDMSR and WRMSR
``xsave``          state component 14 under XSAVES and XRSTORS
``ordinary``       the arithmetic and moves that stand around them
``instruction``    the parts of an instruction
``decode``         from bytes to these
``machine``        instruction boundaries
=================  ==========================================================================
"""
