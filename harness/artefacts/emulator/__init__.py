"""The QEMU that starts the guests: the host's, or one that is built here."""
