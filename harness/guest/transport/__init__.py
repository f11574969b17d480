"""Connections to a guest: SSH, QEMU's monitor, the serial console."""
