"""The guest: a virtual machine of a cell, from its QEMU command line to its verdict."""
