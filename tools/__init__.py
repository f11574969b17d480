"""What the QEMU series must not change, compared with the same QEMU without it; run by people."""
