"""Build patched kernels, boot them where user interrupts are shown or hidden, test over SSH."""

__version__ = "0.1.0"
